"""Build the wheels and the sdist, and try each as a user would get it.

One abi3 wheel for x86_64 Linux, one for aarch64 where the Rust standard library for it is
installed. A wheel over the size budget, one that names a foreign platform or one that does not
serve in a clean environment fails the build.
"""

import os
import platform
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
WHEEL_BYTES_MAX = 8 * 1024 * 1024
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
GLIBC = "manylinux_2_28"
# maturin finds the linker through the `python3` that comes first.
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
SMOKE = "import fastproxy; from fastproxy import _native; print(_native.__version__)"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, show it, fail with it."""
    sys.stdout.write("$ " + " ".join(map(str, command)) + "\n")
    sys.stdout.flush()
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, check=True, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    return done.stdout.decode()


def has_std(target: str) -> bool:
    """Whether this toolchain can build for the target."""
    place = subprocess.run(
        ["rustc", "--print", "target-libdir", "--target", target],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return bool(place) and any(Path(place).glob("libstd-*"))


def build() -> list[Path]:
    """Every wheel that can be built here, and the sdist."""
    maturin = [sys.executable, "-m", "maturin"]
    for target in TARGETS:
        if not has_std(target):
            sys.stdout.write(f"no standard library for {target}: no wheel for it\n")
            continue
        run(*maturin, "build", "--release", "--locked", "--strip", "--zig", "--target", target,
            "--compatibility", GLIBC, "--out", DIST)  # fmt: skip
    run(*maturin, "sdist", "--out", DIST)
    return sorted(DIST.iterdir())


def check_contents(wheel: Path) -> None:
    """Size budget and what must and must not be inside."""
    if (size := wheel.stat().st_size) > WHEEL_BYTES_MAX:
        msg = f"{wheel.name}: {size:,} bytes, more than {WHEEL_BYTES_MAX:,}"
        raise SystemExit(msg)
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("fastproxy/py.typed", "fastproxy/_native.pyi", "fastproxy/_native.abi3.so"):
        if wanted not in names:
            msg = f"{wheel.name}: {wanted} is missing"
            raise SystemExit(msg)
    if stray := [name for name in names if name.endswith((".pth", ".rs")) or "tests/" in name]:
        msg = f"{wheel.name}: does not belong there: {stray}"
        raise SystemExit(msg)
    sys.stdout.write(f"{wheel.name}: {wheel.stat().st_size / 2**20:.2f} MiB\n")


def try_out(package: Path, *build_needs: str) -> None:
    """Install into an empty environment and run it."""
    with TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin/python"
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        run(*pip, "--require-hashes", "-r", ROOT / "requirements/runtime.txt")
        run(*pip, "--no-deps", *build_needs, package)
        run(python, "-c", SMOKE, cwd=Path(folder))
        run(Path(folder) / "bin/fastproxy", "--version", cwd=Path(folder))
        run(Path(folder) / "bin/fastproxy", "check", ROOT / "deploy/examples/sidecar.yaml")


def main() -> int:
    """Build, weigh and try."""
    DIST.mkdir(exist_ok=True)
    for old in DIST.iterdir():
        old.unlink()
    for package in build():
        if package.suffix == ".whl":
            check_contents(package)
            if platform.machine() in package.name:
                try_out(package)
        else:
            try_out(package, "--no-build-isolation")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
