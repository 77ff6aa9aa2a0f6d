"""Header parsing, the bounded channel and the weighted picker, by themselves."""

import gc
import weakref

import pytest

from fastproxy import Channel, Picker, parse_request_head

HEAD = (
    b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a.example:8080\r\n"
    b"Content-Length: 12\r\nX-Team: red\r\n\r\n"
)


def test_a_head() -> None:
    """Names are lower case, values are bytes."""
    found = parse_request_head(HEAD + b"twelve bytes")
    assert found is not None
    head, taken = found
    assert taken == len(HEAD)
    assert (head.method, head.target, head.authority) == (
        *("POST", "/v1/chat/completions?x=1", "a.example:8080"),
    )
    assert (head.version, head.body) == ((1, 1), "12")
    assert ("x-team", b"red") in head.headers
    assert repr(head) == "<RequestHead POST /v1/chat/completions?x=1>"


def test_every_prefix_is_incomplete() -> None:
    """None until the last byte."""
    for n in range(len(HEAD)):
        assert parse_request_head(HEAD[:n]) is None, n


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"G T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_bad_heads(data: bytes) -> None:
    """The message names the rule."""
    with pytest.raises(ValueError) as caught:
        parse_request_head(data)
    assert len(str(caught.value)) > 10


def test_the_channel_refuses_when_full() -> None:
    """By items and by bytes, at once."""
    channel = Channel(2, bytes_max=100)
    assert channel.try_send("a", size=60)
    assert not channel.try_send("b", size=41)
    assert channel.try_send("b", size=40)
    assert not channel.try_send("c")
    assert (len(channel), channel.capacity, channel.refused, channel.high_water) == (2, 2, 2, 2)
    assert [channel.try_recv() for _ in range(3)] == ["a", "b", None]


def test_the_channel_keeps_order_within_a_class() -> None:
    """And higher classes go first."""
    channel = Channel()
    for n, priority in enumerate((2, 1, 0, 1, 0, 2)):
        assert channel.try_send(n, priority=priority)
    assert [channel.try_recv() for _ in range(6)] == [2, 4, 1, 3, 0, 5]
    with pytest.raises(ValueError, match="priority is 0"):
        channel.try_send("x", priority=3)


def test_the_channel_counts_depths() -> None:
    """What each send met."""
    channel = Channel()
    for n in range(5):
        channel.try_send(n)
    assert [pair for pair in channel.depth_histogram() if pair[1]] == [
        (0, 1),
        (1, 1),
        (2, 2),
        (4, 1),
    ]


def test_the_channel_lets_go() -> None:
    """Of what was received, and of what is left."""

    class Thing:
        pass

    channel = Channel()
    kept, received = Thing(), Thing()
    references = [weakref.ref(kept), weakref.ref(received)]
    channel.try_send(received)
    channel.try_send(kept)
    del kept, received
    channel.try_recv()
    del channel
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_the_picker_is_smooth() -> None:
    """nginx's sequence, exact over each round."""
    picker = Picker([5, 1, 1])
    assert [picker.pick() for _ in range(7)] == [0, 0, 1, 0, 2, 0, 0]
    picks = [picker.pick() for _ in range(700)]
    assert [picks.count(n) for n in range(3)] == [500, 100, 100]


def test_the_picker_leaves_out() -> None:
    """Those that are excluded or weigh nothing."""
    picker = Picker([1, 1, 0])
    assert {picker.pick([0]) for _ in range(4)} == {1}
    assert picker.pick([0, 1]) is None
    picker.set_weight(2, 3)
    assert [picker.pick() for _ in range(5)].count(2) == 3
    with pytest.raises(ValueError, match="there is no index 3"):
        picker.set_weight(3, 1)
    with pytest.raises(ValueError, match="at least one weight"):
        Picker([])
