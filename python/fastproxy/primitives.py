r"""The three primitives by themselves, for use outside the proxy.

They are the very code that the data plane runs, not a second implementation.

Header parsing, by the rules of RFC 9112 that the proxy enforces:

    >>> data = b"GET /v1/models HTTP/1.1\r\nHost: a.example\r\n\r\nrest"
    >>> head, taken = parse_request_head(data)
    >>> head.method, head.target, head.authority, head.version, head.body
    ('GET', '/v1/models', 'a.example', (1, 1), 'none')
    >>> taken
    44
    >>> parse_request_head(b"GET / HTTP/1.1\r\nHo") is None
    True

The bounded channel, which refuses instead of waiting:

    >>> channel = Channel(capacity=2)
    >>> [channel.try_send(item, priority=p) for item, p in (("low", 2), ("high", 0), ("late", 0))]
    [True, True, False]
    >>> channel.try_recv(), channel.try_recv(), channel.try_recv()
    ('high', 'low', None)
    >>> channel.refused, channel.high_water
    (1, 2)

The weighted picker, smooth as nginx's is:

    >>> picker = Picker([5, 1, 1])
    >>> [picker.pick() for _ in range(7)]
    [0, 0, 1, 0, 2, 0, 0]
"""

from fastproxy._native import Channel, Picker, RequestHead, parse_request_head

__all__ = ["Channel", "Picker", "RequestHead", "parse_request_head"]
