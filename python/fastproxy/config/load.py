"""A file, a mapping or a `Config` to something that can run, or to the list of all mistakes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastproxy.config.address import Resolve, system_resolve
from fastproxy.config.compile import Answers, compile_plan
from fastproxy.config.document import Node, parse, path_text, tree_of
from fastproxy.config.model import Admin, Config, Endpoint, Listener, Pool
from fastproxy.config.read import Reader, read
from fastproxy.config.tls import examine, stamps_of
from fastproxy.config.verify import Finding, verify
from fastproxy.config.watch import Stamp, digest_of
from fastproxy.errors import ConfigError, Mistake

__all__ = ["Loaded", "Source", "load", "load_text", "of_upstreams", "validate"]

Source = Config | Mapping[str, object] | str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read and verified.

    Attributes:
        config: the model.
        warnings: what is useless in it, as `Mistake`s.
        file: where it is from, or None.
        digest: of the file's content, as `config.watch` makes it; empty without a file.
        stamps: what the files of TLS looked like, before anything of them is served.
    """

    config: Config
    warnings: tuple[Mistake, ...] = ()
    file: Path | None = None
    digest: bytes = b""
    root: Node = field(default_factory=lambda: Node(None), repr=False)
    stamps: Mapping[Path, Stamp | None] = field(default_factory=dict, repr=False)

    def plan(self, look_up: Resolve = system_resolve, answers: Answers | None = None) -> bytes:
        """The native plan.

        Args:
            look_up: looks up the names of listeners, and of endpoints without `answers`.
            answers: what the names of endpoints mean; those that are not in it come later.

        Raises:
            ConfigError: a host name has no address; with file and line.
        """
        plan, findings = compile_plan(self.config, look_up, answers)
        if findings:
            file = None if self.file is None else str(self.file)
            raise ConfigError([_mistake(finding, self.root, file) for finding in findings])
        return plan


def load(
    source: Source,
    *,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read and verify a configuration from wherever it is.

    Args:
        source: a file's path, an endpoint's URL (`http://...` or `unix:...`), a mapping shaped as
            the file is, or a `Config`.
        environment: for `${NAME}`; the process's own when left out.

    Raises:
        ConfigError: with every mistake.
    """
    environment = os.environ if environment is None else environment
    if isinstance(source, Config):
        config = validate(source)
        return Loaded(config, stamps=stamps_of(config))
    if isinstance(source, Mapping):
        return _loaded(tree_of(source), Reader(environment, Path.cwd()), [])
    if isinstance(source, str) and (source.startswith("unix:") or "://" in source):
        return Loaded(validate(of_upstreams([source], listen="127.0.0.1:0")))
    path = Path(source)
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise ConfigError([Mistake("", None, reason, str(path))]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake("", None, "is not UTF-8 text", str(path))]) from None
    loaded = load_text(text, file=path, environment=environment)
    return replace(loaded, digest=digest_of(content))


def load_text(
    text: str,
    *,
    file: Path = Path("<text>"),
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read and verify a document: YAML or JSON, or TOML if `file` ends in `.toml`.

    Raises:
        ConfigError: with every mistake.
    """
    environment = os.environ if environment is None else environment
    root, mistakes = parse(text, file=str(file), toml=file.suffix == ".toml")
    return _loaded(root, Reader(environment, file.parent, str(file)), mistakes, file)


def validate(config: Config) -> Config:
    """Check a `Config` made in Python as strictly as one from a file, and give it back.

    Raises:
        ConfigError: with every mistake.
    """
    return _loaded(tree_of(config), Reader(None, Path.cwd()), []).config


def of_upstreams(
    upstreams: Sequence[str],
    *,
    listen: str = "127.0.0.1:8080",
    admin: str | None = None,
) -> Config:
    """The configuration of one pool named `default` over `upstreams`."""
    return Config(
        listen=(Listener(address=listen),),
        admin=None if admin is None else Admin(listen=admin),
        pools={"default": Pool(endpoints=tuple(Endpoint(url=url) for url in upstreams))},
    )


def _loaded(root: Node, reader: Reader, syntax: list[Mistake], file: Path | None = None) -> Loaded:
    config = read(root, reader)
    found = verify(config)
    examine(config, found)
    wrong = [
        _mistake(finding, root, reader.file)
        for finding in found.mistakes
        if not reader.covers(finding.path)
    ]
    mistakes = [*syntax, *reader.mistakes, *wrong]
    if mistakes:
        ordered = sorted(mistakes, key=lambda mistake: mistake.line or 0)
        raise ConfigError(ordered)
    warnings = tuple(_mistake(finding, root, reader.file) for finding in found.warnings)
    return Loaded(config, warnings, file, root=root, stamps=stamps_of(config))


def _mistake(finding: Finding, root: Node, file: str | None) -> Mistake:
    node = root.at(finding.path)
    line = node.key_line or node.line
    return Mistake(path_text(finding.path), finding.shown, finding.reason, file, line)
