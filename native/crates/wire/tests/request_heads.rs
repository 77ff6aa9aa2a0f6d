//! What a good request's head says once it is read, and where the reader stands.

use wire::h1::{Event, RequestReader};
use wire::{Body, Limits, Method, Name, RequestHead, Version};

fn head_of(bytes: &str) -> RequestHead {
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let mut head = RequestHead::new();
    let event = reader.next(&mut bytes.as_bytes(), &mut head);
    assert_eq!(event, Ok(Some(Event::Head)), "{bytes}");
    head
}

fn get(target: &str) -> RequestHead {
    head_of(&format!("GET {target} HTTP/1.1\r\nHost: a:1\r\n\r\n"))
}

#[test]
fn targets() {
    for (target, path, query, forwarded) in [
        ("/", "/", None, "/"),
        ("/a/./../b?x=1?y", "/b", Some("x=1?y"), "/b?x=1?y"),
        ("/b?", "/b", Some(""), "/b?"),
        ("http://A:1", "/", None, "/"),
        ("http://a:1?q", "/", Some("q"), "/?q"),
        ("https://a:1/x/../y?q", "/y", Some("q"), "/y?q"),
        (
            "/v1/models/org%2Fname",
            "/v1/models/org%2Fname",
            None,
            "/v1/models/org%2Fname",
        ),
    ] {
        let head = get(target);
        assert_eq!(head.path(), path.as_bytes(), "{target}");
        assert_eq!(head.query(), query.map(str::as_bytes), "{target}");
        assert_eq!(head.target(), forwarded.as_bytes(), "{target}");
        assert!(head.authority().eq_ignore_ascii_case(b"a:1"), "{target}");
    }
    let head = head_of("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (head.path(), head.query(), head.target()),
        (&b"*"[..], None, &b"*"[..])
    );
    assert!(head_of("GET / HTTP/1.0\r\n\r\n").authority().is_empty());
}

#[test]
fn persistence() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x-y, CLOSE\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = head_of(&format!(
            "GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"
        ));
        assert_eq!(head.keep_alive, keep_alive, "{version} {connection}");
        assert_eq!(head.version == Version::Http10, version == "1.0");
    }
}

#[test]
fn bodies_and_expectations() {
    for (fields, body, expects) in [
        ("", Body::None, false),
        ("Expect: 100-continue\r\n", Body::None, false),
        (
            "Content-Length: 0\r\nExpect: 100-continue\r\n",
            Body::Length(0),
            false,
        ),
        ("Content-Length: 9\r\n", Body::Length(9), false),
        (
            "Content-Length: 9\r\nExpect: 100-continue\r\n",
            Body::Length(9),
            true,
        ),
        (
            "Transfer-Encoding: chunked\r\nEXPECT:100-continue\r\n",
            Body::Chunked,
            true,
        ),
    ] {
        let head = head_of(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(
            (head.body, head.expect_continue),
            (body, expects),
            "{fields}"
        );
    }
    let head = head_of("POST / HTTP/1.0\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    assert!(!head.expect_continue);
}

#[test]
fn upgrades() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert!(head_of(good).websocket);
    for (from, to) in [
        ("GET", "POST"),
        ("keep-alive, Upgrade", "keep-alive"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Upgrade: websocket", "Upgrade: websocket, h2c"),
        (
            "Upgrade: websocket",
            "Upgrade: websocket\r\nUpgrade: websocket",
        ),
        ("Version: 13", "Version: 12"),
        ("Version: 13", "Version: 13\r\nSec-WebSocket-Version: 13"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        (
            "Upgrade: websocket",
            "Upgrade: websocket\r\nContent-Length: 1",
        ),
        ("HTTP/1.1", "HTTP/1.0"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        assert!(!head_of(&changed).websocket, "{to}");
    }
}

#[test]
fn fields_are_kept_as_received() {
    let head = head_of(
        "BREW / HTTP/1.1\r\nHOST: a\r\nX-One:  1 \r\nCookie: a=b\r\ncookie:c=d\t\r\nEmpty:\r\n\r\n",
    );
    assert_eq!(head.method, Method::from_bytes(b"BREW").unwrap());
    let seen: Vec<_> = head
        .fields
        .iter()
        .map(|field| format!("{field:?}"))
        .collect();
    assert_eq!(
        seen,
        [
            "host: a",
            "x-one: 1",
            "cookie: a=b",
            "cookie: c=d",
            "empty: "
        ]
    );
    assert_eq!(head.fields.count(Name::Cookie), 2);
}

#[test]
fn a_reader_says_where_it_stands() {
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let mut head = RequestHead::new();
    let mut next = |reader: &mut RequestReader, mut bytes: &[u8]| {
        let event = reader
            .next(&mut bytes, &mut head)
            .unwrap()
            .map(|event| format!("{event:?}"));
        (event.unwrap_or_default(), bytes.len())
    };
    let stands =
        |reader: &RequestReader| (reader.idle(), reader.at_message_end(), reader.in_body());
    assert_eq!(stands(&reader), (true, true, false));
    assert_eq!(next(&mut reader, b"\r"), (String::new(), 0));
    assert_eq!(stands(&reader), (false, true, false));
    assert_eq!(next(&mut reader, b"\n"), (String::new(), 0));
    assert_eq!(
        stands(&reader),
        (true, true, false),
        "an empty line is not a message"
    );
    assert_eq!(
        next(&mut reader, b"PUT / HTTP/1.1\r\nHost: a\r\n"),
        (String::new(), 0)
    );
    assert_eq!(stands(&reader), (false, true, false));
    assert_eq!(
        next(&mut reader, b"Content-Length: 3\r\n\r\nab"),
        ("Head".into(), 2)
    );
    assert_eq!(stands(&reader), (false, false, true));
    assert_eq!(next(&mut reader, b"ab").1, 0);
    assert_eq!(next(&mut reader, b""), (String::new(), 0));
    assert_eq!(next(&mut reader, b"cGET").1, 3);
    assert_eq!(
        stands(&reader),
        (false, false, true),
        "End was not given yet"
    );
    assert_eq!(next(&mut reader, b"GET"), ("End".into(), 3));
    assert_eq!(stands(&reader), (true, true, false));
}

/// A length that was only announced costs nothing, and is not read past.
#[test]
fn an_announced_length_is_not_allocated() {
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let mut head = RequestHead::new();
    let mut input: &[u8] =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nx";
    assert_eq!(reader.next(&mut input, &mut head), Ok(Some(Event::Head)));
    assert_eq!(
        reader.next(&mut input, &mut head),
        Ok(Some(Event::Data(b"x")))
    );
    assert_eq!(reader.next(&mut input, &mut head), Ok(None));
}
