"""The same head to us and to h11: who accepts what, and how it is framed.

"Accepted here and framed differently there" is a bug. Where one refuses what the other takes, the
reason stands in `known.toml`, with the section of the RFC that allows or demands it.
"""

import re
import tomllib
from pathlib import Path

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fastproxy

KNOWN = tomllib.loads((Path(__file__).parent / "known.toml").read_text())["row"]
TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

tokens = st.text(TOKEN, min_size=1, max_size=12)
targets = st.one_of(
    st.sampled_from(["/", "*", "/v1/models/org%2Fname", "/a?b=c&d", "http://a/x", "a:80", "/a b"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20).map("/".__add__),
)
values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.text(st.characters(min_codepoint=0, max_codepoint=0xFF), max_size=6),
)
framing = st.sampled_from(
    [
        "content-length: 0", "content-length: 5", "content-length: 05", "content-length: +5",
        "Content-Length: 5, 5", "content-length:", "content-length: 99999999999999999999",
        "transfer-encoding: chunked", "Transfer-Encoding: Chunked", "transfer-encoding: gzip",
        "transfer-encoding: chunked, chunked", "transfer-encoding: identity",
        "transfer-encoding:\tchunked", "transfer-encoding: chunked ", "transfer-encoding : chunked",
        "host: a", "Host: b", "host: a, b", "connection: close", "expect: 100-continue",
        " folded: x",
    ]
)  # fmt: skip
lines = st.one_of(framing, st.tuples(tokens, values).map(": ".join), values)
ends = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", "\r\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A head, mostly well made."""
    method = draw(st.one_of(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]), tokens))
    version = draw(
        st.sampled_from(["HTTP/1.1"] * 8 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1"])
    )
    text = f"{method} {draw(targets)} {version}" + draw(ends)
    if draw(st.integers(0, 9)):
        text += "host: a" + draw(ends)
    for line in draw(st.lists(lines, max_size=5)):
        text += line + draw(ends)
    return (text + "\r\n").encode("latin-1")


Verdict = tuple[str, str, str]


def ours(data: bytes) -> Verdict | str:
    """(method, target, framing), or why not."""
    try:
        found = fastproxy.parse_request_head(data)
    except ValueError as error:
        return f"refused: {error}"
    if found is None:
        return "incomplete"
    head = found[0]
    return head.method, head.target, head.body


def theirs(data: bytes) -> Verdict | str:
    """The same by h11."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        return f"refused: {error}"
    if not isinstance(event, h11.Request):
        return "incomplete"
    length, chunked = "none", False
    for name, value in event.headers:
        if name == b"transfer-encoding":
            chunked = True
        elif name == b"content-length":
            length = value.decode()
    body = "chunked" if chunked else "none" if length == "0" else length
    return event.method.decode(), event.target.decode("latin-1"), body


def explained(data: bytes, why: str) -> bool:
    """Whether a difference is a known one."""
    text = data.decode("latin-1")
    return any(
        re.search(row["input"], text) or re.search(row.get("why", "(?!)"), why) for row in KNOWN
    )


def normal(verdict: Verdict) -> Verdict:
    """A body of length 0 is no body."""
    method, target, body = verdict
    return method, target, "none" if body == "0" else body


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
@example(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
@given(heads())
def test_same_verdict_or_a_known_reason(data: bytes) -> None:
    """Equal framing where both accept; a row in the table where only one does."""
    us, them = ours(data), theirs(data)
    if isinstance(us, str) and isinstance(them, str):
        return
    if isinstance(us, tuple) and isinstance(them, tuple):
        us, them = normal(us), normal(them)
        assert us[0] == them[0]
        assert us[2] == them[2], "framed differently"
        if us[1] != them[1]:
            assert explained(data, "target normalised"), (data, us[1], them[1])
        return
    why = us if isinstance(us, str) else str(them)
    assert explained(data, why), f"{data!r}: ours {us}, h11 {them}"


@settings(max_examples=200, deadline=None)
@given(heads(), st.integers(0, 400))
def test_a_prefix_is_incomplete_or_refused_for_good(data: bytes, cut: int) -> None:
    """Ourselves split differently: what is refused early is refused whole, never the other way."""
    part = ours(data[: min(cut, len(data))])
    if isinstance(part, str) and part.startswith("refused"):
        assert isinstance(ours(data), str)


@pytest.mark.parametrize("row", KNOWN, ids=[row["name"] for row in KNOWN])
def test_known_differences_have_a_section(row: dict[str, str]) -> None:
    """A difference without a reason is a bug that nobody has looked at."""
    assert row["section"].startswith("RFC ")
    assert row["reason"]
    re.compile(row["input"])
