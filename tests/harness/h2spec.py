"""One run of h2spec, and what it says of each case."""

import subprocess
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from harness.address import split
from harness.programs import built

PACKAGE = "github.com/summerwind/h2spec/cmd/h2spec"
CASES = 146
"""Cases of the pinned version with `--strict`: a run that knows fewer proves less than it says."""
ON_A_SHARED_PORT = {
    "http2/3.5/2": """RFC 9113 §3.3: where HTTP/1.1 is spoken too, bytes that are no preface are a
    request, here a bad one: 400 and the close that the suite asks for. It reads that answer as the
    head of a frame and so misses the close.""",
}
"""Cases that misjudge a port that speaks both versions, and why. TLS with ALPN has none."""
CASE_S = 3
RUN_S = 240


@dataclass(frozen=True, slots=True)
class Case:
    """One case and its verdict."""

    section: str
    number: int
    says: str
    verdict: str
    """`passed`, `skipped`, or what was expected and what came instead."""

    @property
    def name(self) -> str:
        """As h2spec names it on its command line."""
        return f"{self.section}/{self.number}"


def run(address: str, path: str = "/", *only: str, tls: bool = False) -> list[Case]:
    """All cases, or those named, against a server. A run that breaks off is an assertion."""
    host, port = split(address)
    with tempfile.TemporaryDirectory(prefix="fastproxy-h2spec-") as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [
                str(built(PACKAGE)), "--strict", "--host", host, "--port", str(port),
                "--path", path, "--timeout", str(CASE_S), "--junit-report", str(report),
                *(["--tls", "--insecure"] if tls else []), *only,
            ],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )  # fmt: skip
        assert report.exists(), done.stdout[-4000:] + done.stderr
        return parsed(report.read_text())


def parsed(report: str) -> list[Case]:
    """The cases of a JUnit report."""
    cases = []
    for suite in ET.fromstring(report).iter("testsuite"):
        for number, one in enumerate(suite.iter("testcase"), 1):
            trouble = [part for part in one if part.tag in ("failure", "error")]
            verdict = "skipped" if one.find("skipped") is not None else "passed"
            if trouble:
                verdict = " ".join("".join(trouble[0].itertext()).split()) or trouble[0].tag
            cases.append(Case(one.get("package", ""), number, one.get("classname", ""), verdict))
    return cases


def table(cases: list[Case]) -> str:
    """One line for each case."""
    return "\n".join(f"{case.name:<18} {case.says}\n{'':<19}-> {case.verdict}" for case in cases)
