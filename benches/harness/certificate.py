"""A certificate for measurements: ECDSA P-256, for `localhost`, from an issuer of its own."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benches.harness.verdict import OUT

_DAYS = 30
_LEAF = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n"


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files."""

    ca: Path
    cert: Path
    key: Path
    both: Path
    """Certificate and key, as HAProxy reads them."""


def certificate() -> Certificate:
    """The certificate in benches/out/tls, made by `openssl` where it is missing or grows old."""
    place = OUT / "tls"
    found = Certificate(
        place / "ca.pem", place / "leaf.pem", place / "leaf.key", place / "both.pem"
    )
    fresh = time.time() - _DAYS / 2 * 86400
    if not found.both.exists() or found.both.stat().st_mtime < fresh:
        place.mkdir(parents=True, exist_ok=True)
        _make(place)
        found.both.write_bytes(found.cert.read_bytes() + found.key.read_bytes())
    return found


def _make(place: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    (place / "leaf.ext").write_text(_LEAF)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    days = ["-days", str(_DAYS)]
    issuer = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=bench issuer"]
    openssl("req", "-x509", *key, *issuer, *days)
    openssl("req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "leaf.ext"]
    openssl("x509", "-req", "-in", "leaf.csr", *signed, *days, "-out", "leaf.pem")
