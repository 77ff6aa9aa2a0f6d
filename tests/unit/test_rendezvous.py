"""Where the upgrade socket is, and who may talk there."""

import os
import socket
from pathlib import Path

import pytest

from fastproxy.config.load import Loaded, load, of_upstreams, validate
from fastproxy.config.model import Upgrade
from fastproxy.errors import ConfigError
from fastproxy.server import rendezvous

URL = "http://127.0.0.1:1"


def without_file(listen: str) -> Loaded:
    """As `fastproxy serve --upstream` makes it."""
    return Loaded(validate(of_upstreams([URL], listen=listen)))


def test_the_same_command_finds_the_same_path(tmp_path: Path) -> None:
    """By file, else by the first listener; never by a port that the system chooses."""
    tmp_path.chmod(0o700)
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    for file in (one, two):
        file.write_text(f"pools: {{a: {{endpoints: '{URL}'}}}}\n")
    (tmp_path / "link.yaml").symlink_to(one)
    places = [
        rendezvous.place(load(tmp_path / name), environment)
        for name in ("one.yaml", "link.yaml", "two.yaml")
    ]
    assert places[0] is not None
    assert places[0].parent == tmp_path
    assert places[0] == places[1] != places[2]
    here = rendezvous.place(without_file("127.0.0.1:8080"), environment)
    assert here == rendezvous.place(without_file("127.0.0.1:8080"), environment)
    assert here != rendezvous.place(without_file("127.0.0.1:8081"), environment)
    assert rendezvous.place(without_file("127.0.0.1:0"), environment) is None


def test_a_path_may_be_given_or_refused() -> None:
    """`upgrade: /path.sock`, `upgrade: off`, and what is no path."""
    base = {"pools": {"a": {"endpoints": URL}}}
    assert rendezvous.place(load(base | {"upgrade": "/run/x.sock"})) == Path("/run/x.sock")
    assert load(base | {"upgrade": {"deadline": "5m"}}).config.upgrade == Upgrade(
        deadline=type(Upgrade().deadline)(300_000)
    )
    assert rendezvous.place(load(base | {"upgrade": "off"})) is None
    for path, why in (("x.sock", "absolute"), ("/" + "x" * 200, "bytes")):
        with pytest.raises(ConfigError, match=why):
            load(base | {"upgrade": path})


def test_a_folder_that_others_write_to_is_not_used(tmp_path: Path) -> None:
    """The next candidate is, in the end one of our own."""
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    own.mkdir(mode=0o700)
    found = rendezvous.folder({"RUNTIME_DIRECTORY": str(shared), "XDG_RUNTIME_DIR": str(own)})
    assert found == own
    (tmp_path / "link").symlink_to(own)
    found = rendezvous.folder({"XDG_RUNTIME_DIR": str(tmp_path / "link")})
    assert found not in (own, tmp_path / "link")
    if found is not None:
        assert found.stat().st_uid == os.geteuid()
        assert not found.stat().st_mode & 0o022


def test_a_stale_socket_is_replaced_a_living_one_is_not(tmp_path: Path) -> None:
    """And only our user may connect, by the file's mode and by the system's word."""
    path = tmp_path / "x.sock"
    assert not rendezvous.answers(path)
    with rendezvous.bind(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert rendezvous.answers(path)
        with pytest.raises(OSError):
            rendezvous.bind(path)
    assert path.exists()
    assert not rendezvous.answers(path)
    with rendezvous.bind(path) as again, rendezvous.connect(path, 5) as ours:
        theirs, _ = again.accept()
        with theirs:
            assert rendezvous.peer_is_ours(theirs)
            assert rendezvous.peer_pid(theirs) == os.getpid()
        ours.close()
    path.unlink()
    path.write_text("a file")
    with pytest.raises(OSError):
        rendezvous.bind(path)
    assert path.read_text() == "a file"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
def test_another_user_is_refused(tmp_path: Path) -> None:
    """Though the file's mode would let it in."""
    path = Path(f"/tmp/fastproxy-test-{os.getpid()}.sock")  # where nobody may go, too
    with rendezvous.bind(path) as listener:
        path.chmod(0o777)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(str(path))
                sock.recv(1)
            os._exit(0)
        listener.settimeout(5)
        sock, _ = listener.accept()
        with sock:
            assert not rendezvous.peer_is_ours(sock)
        os.waitpid(child, 0)
    path.unlink()
