"""Header blocks between ours and Python's `hpack`, both ways, with tables that live on."""

import hpack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fastproxy import _native
from harness.frames import integer, string

from .h2_scripts import SCALE, Fields

SECRET = {b"authorization", b"cookie", b"x-api-key"}
TABLE_MAX = 4096

names = st.one_of(
    st.sampled_from(
        [
            b"content-type", b"content-length", b"authorization", b"cookie", b"x-api-key",
            b"x-request-id", b"accept", b"user-agent", b"te", b"priority", b"date", b"server",
        ]
    ),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=40).map(str.encode),
)  # fmt: skip
values = st.one_of(
    st.sampled_from([b"", b"application/json", b"text/event-stream", b"trailers", b"gzip"]),
    st.binary(max_size=60),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200).map(str.encode),
    st.integers(0, 3).map(lambda n: b"v" * (1000 * n)),
)
lists = st.lists(st.tuples(names, values), max_size=12)
pseudo = st.sampled_from(
    [
        [(b":status", b"200")], [(b":status", b"429")], [(b":status", b"204")],
        [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a:1"), (b":path", b"/")],
        [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"b"), (b":path", b"/v1/x")],
    ]
)  # fmt: skip
sizes = st.one_of(st.none(), st.sampled_from([0, 1, 31, 64, 100, 1000, 4096, 100_000]))
talks = st.lists(st.tuples(sizes, pseudo, lists), min_size=1, max_size=8)
relaxed = settings(
    max_examples=150 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def read(decoder: hpack.Decoder, content: bytes) -> Fields:
    """What `hpack` makes of a block."""
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(content, raw=True)]


@relaxed
@given(talks)
def test_what_we_write_they_read(talk: list[tuple[int | None, Fields, Fields]]) -> None:
    """Many blocks over one table, whose size the peer changes at will."""
    ours, theirs = _native.Hpack(), hpack.Decoder(max_header_list_size=2**24)
    allowed = TABLE_MAX
    for size, first, fields in talk:
        if size is not None:
            ours.resize(size)
            theirs.max_allowed_table_size = allowed = size
        content = ours.encode(first + fields)
        assert read(theirs, content) == first + fields
        assert theirs.header_table_size <= min(allowed, TABLE_MAX)


@relaxed
@given(lists)
def test_secrets_are_never_indexed(fields: Fields) -> None:
    """RFC 7541 §7.1.3: neither here nor by whoever passes it on."""
    content = _native.Hpack().encode(fields)
    for found in hpack.Decoder(max_header_list_size=2**24).decode(content, raw=True):
        if found[0] in SECRET:
            assert not found.indexable, found


@relaxed
@given(talks, st.sampled_from(["huffman", "plain"]), st.sets(names, max_size=3))
def test_what_they_write_we_read(
    talk: list[tuple[int | None, Fields, Fields]], text: str, sensitive: set[bytes]
) -> None:
    """Every way of theirs to write a field, with and without Huffman, and sizes below ours."""
    ours, theirs, reader = _native.Hpack(), hpack.Encoder(), hpack.Decoder(2**24)
    for size, first, fields in talk:
        if size is not None and size <= TABLE_MAX:
            theirs.header_table_size = size
        sent = [(name, value, name in sensitive) for name, value in first + fields]
        content = theirs.encode(sent, huffman=text == "huffman")
        found = ours.decode(content)
        assert [one[:2] for one in found] == first + fields
        never = [not one.indexable for one in reader.decode(content, raw=True)]
        assert [one[2] for one in found] == never


def ops() -> st.SearchStrategy[bytes]:
    """One representation, mostly well made."""
    index = st.one_of(st.integers(0, 63), st.integers(60, 70), st.integers(0, 2**20))
    text = st.one_of(
        values.map(lambda value: string(value[:300])),
        st.binary(max_size=20).map(lambda raw: bytes([0x80 | len(raw)]) + raw),
    )
    return st.one_of(
        index.map(lambda n: integer(n, 7, 0x80)),
        st.builds(lambda n, value: integer(n, 6, 0x40) + value, index, text),
        st.builds(lambda n, value: integer(n, 4) + value, index, text),
        st.builds(lambda name, value: b"\x40" + name + value, text, text),
        st.builds(lambda name, value: b"\x10" + name + value, text, text),
        st.integers(0, 5000).map(lambda n: integer(n, 5, 0x20)),
        st.binary(max_size=6),
    )


@settings(max_examples=1000 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([b"\x20", b"\x20", b"\x20\x82"])
@given(st.lists(st.lists(ops(), max_size=6).map(b"".join), min_size=1, max_size=4))
def test_the_same_blocks_are_refused(blocks: list[bytes]) -> None:
    """Right, nearly right and wrong blocks: equal fields, or refused by both."""
    ours, theirs = _native.Hpack(), hpack.Decoder(max_header_list_size=2**24)
    for content in blocks:
        try:
            us: Fields | str = [(name, value) for name, value, _ in ours.decode(content)]
        except ValueError as error:
            us = str(error)
        try:
            them: Fields | str = read(theirs, content)
        except hpack.HPACKError as error:
            them = repr(error)
        assert isinstance(us, str) == isinstance(them, str), (content, us, them)
        if isinstance(us, str):
            return
        assert us == them, content
