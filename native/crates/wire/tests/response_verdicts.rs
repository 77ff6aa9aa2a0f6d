//! One row for every rule about an upstream's bytes, and what a response's head leads to.

use wire::fuzzing::{Cuts, Seen, read_responses};
use wire::h1::{Event, ResponseReader, Truncated};
use wire::{Body, Code, Limits, Method, ResponseHead};

/// How it ends: complete, refused, cut short, or behind a 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Ok,
    Bad,
    Cut,
    Tunnel,
}

use End::{Bad, Cut, Ok as Good, Tunnel};

#[rustfmt::skip]
const TO_GET: &[(&str, &[u8], End)] = &[
    ("RFC 9112 §4 plain", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Good),
    ("RFC 9112 §4 empty reason", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Good),
    ("RFC 9112 §4 no reason", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Good),
    ("RFC 9112 §4 obs-text in reason", b"HTTP/1.1 200 \xff\r\nContent-Length: 0\r\n\r\n", Good),
    ("RFC 9112 §4 CTL in reason", b"HTTP/1.1 200 a\x01\r\nContent-Length: 0\r\n\r\n", Bad),
    ("RFC 9112 §4 bare CR in reason", b"HTTP/1.1 200 a\rb\r\nContent-Length: 0\r\n\r\n", Bad),
    ("RFC 9112 §4 status 099", b"HTTP/1.1 099 x\r\n\r\n", Bad),
    ("RFC 9112 §4 status 600", b"HTTP/1.1 600 x\r\n\r\n", Bad),
    ("RFC 9112 §4 status 20", b"HTTP/1.1 20 x\r\n\r\n", Bad),
    ("RFC 9112 §4 status 2000", b"HTTP/1.1 2000 x\r\n\r\n", Bad),
    ("RFC 9112 §4 status 2x0", b"HTTP/1.1 2x0 x\r\n\r\n", Bad),
    ("RFC 9112 §4 two spaces", b"HTTP/1.1  200 OK\r\n\r\n", Bad),
    ("RFC 9112 §2.3 version 2.0", b"HTTP/2.0 200 OK\r\n\r\n", Bad),
    ("RFC 9112 §2.3 lower case", b"http/1.1 200 OK\r\n\r\n", Bad),
    ("RFC 9112 §2.2 not HTTP", b"SSH-2.0-OpenSSH\r\n", Bad),
    ("RFC 8446 §5.1 an alert of TLS", b"\x15\x03\x03\0\x02\x02\x46", Bad),
    ("RFC 9112 §2.2 empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", Bad),
    ("RFC 9112 §2.2 bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", Bad),
    ("RFC 9112 §5.2 obs-fold", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", Bad),
    ("RFC 9112 §5.1 space before colon", b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", Bad),
    ("RFC 9110 §5.5 NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", Bad),
    ("RFC 9112 §6.3 two lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", Bad),
    ("RFC 9112 §6.3 bad length", b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", Bad),
    ("RFC 9112 §6.3 length and coding", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Bad),
    ("RFC 9112 §6.3 chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n\
        0\r\n\r\n", Good),
    ("RFC 9112 §7 gzip, chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Bad),
    ("RFC 9112 §6.1 coding in 1.0",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Bad),
    ("RFC 9112 §6.3 until close", b"HTTP/1.1 200 OK\r\n\r\nabc", Good),
    ("RFC 9112 §8 cut in the head", b"HTTP/1.1 200 OK\r\nX", Cut),
    ("RFC 9112 §8 cut in the length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", Cut),
    ("RFC 9112 §8 cut before the last chunk",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", Cut),
    ("RFC 9112 §8 cut in the trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Cut),
    ("RFC 9112 §7.1 bad chunk",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", Bad),
    ("RFC 9110 §6.5.1 framing trailer",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\
        Content-Length: 1\r\n\r\n", Bad),
    ("RFC 9110 §15.3.5 204", b"HTTP/1.1 204 No Content\r\n\r\n", Good),
    ("RFC 9110 §8.6 204 with 0", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Good),
    ("RFC 9110 §8.6 204 with content",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na", Bad),
    ("RFC 9112 §6.1 204 chunked",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        ", Bad),
    ("RFC 9110 §15.4.5 304 with length",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Good),
    ("RFC 9110 §15.2 interim", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
        Content-Length: 0\r\n\r\n", Good),
    ("RFC 9110 §15.2 interim only", b"HTTP/1.1 100 Continue\r\n\r\n", Cut),
    ("RFC 9112 §6.1 interim with content",
        b"HTTP/1.1 103 Early\r\nContent-Length: 1\r\n\r\na", Bad),
    ("RFC 9110 §15.2 interim in 1.0", b"HTTP/1.0 100 Continue\r\n\r\n", Bad),
    ("RFC 9110 §15.2.2 101 unasked", b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n\
        Upgrade: websocket\r\n\r\n", Bad),
    ("RFC 9110 §7.6.1 lists Content-Length", b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\
        Content-Length: 0\r\n\r\n", Bad),
    ("underscore is the upstream's own",
        b"HTTP/1.1 200 OK\r\ncontent_type: x\r\nContent-Length: 0\r\n\r\n", Good),
];

#[rustfmt::skip]
const TO_UPGRADE: &[(&str, &[u8], End)] = &[
    ("RFC 6455 §4.1 granted", b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\n\
        Upgrade: WebSocket\r\n\r\n\x81\x01a", Tunnel),
    ("RFC 6455 §4.1 no Connection", b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", Bad),
    ("RFC 6455 §4.1 other protocol",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", Bad),
    ("RFC 9112 §6.1 101 with content", b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\n\
        Upgrade: websocket\r\nContent-Length: 0\r\n\r\n", Bad),
    ("RFC 9110 §7.8 declined", b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Good),
];

fn outcome(method: Method, upgrade: bool, bytes: &[u8]) -> End {
    let whole = read_responses(Limits::DEFAULT, method, upgrade, [bytes]);
    let mut rest = bytes;
    let mut cuts = Cuts::new(0);
    let pieces = std::iter::from_fn(|| cuts.piece(&mut rest));
    assert_eq!(
        whole,
        read_responses(Limits::DEFAULT, method, upgrade, pieces)
    );
    match whole.last() {
        Some(Seen::Refused(violation)) => {
            assert_eq!(
                violation.code,
                Code::BadResponse,
                "an upstream's fault is 502"
            );
            Bad
        }
        Some(Seen::Truncated) => Cut,
        Some(Seen::End) => Good,
        Some(Seen::Tunnel(_)) => Tunnel,
        other => panic!("{other:?} from {}", bytes.escape_ascii()),
    }
}

#[test]
fn every_row_gets_its_verdict() {
    for (name, bytes, expected) in TO_GET {
        assert_eq!(outcome(Method::Get, false, bytes), *expected, "{name}");
    }
    for (name, bytes, expected) in TO_UPGRADE {
        assert_eq!(outcome(Method::Get, true, bytes), *expected, "{name}");
    }
}

#[test]
fn head_has_no_body_whatever_it_says() {
    for fields in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert_eq!(
            outcome(Method::Head, false, bytes.as_bytes()),
            Good,
            "{fields}"
        );
    }
}

#[test]
fn interim_responses_at_the_limit_and_one_beyond() {
    let max = Limits::DEFAULT.interim_count_max;
    for (count, expected) in [(max, Good), (max + 1, Bad)] {
        let bytes = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count)
            + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            outcome(Method::Post, false, bytes.as_bytes()),
            expected,
            "{count}"
        );
    }
    // Counted for each response anew.
    let one = "HTTP/1.1 102 x\r\n\r\n".repeat(max) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(outcome(Method::Post, false, one.repeat(2).as_bytes()), Good);
}

fn head_of(method: Method, bytes: &str) -> ResponseHead {
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    let mut head = ResponseHead::new();
    reader.expect(method, false);
    assert_eq!(
        reader.next(&mut bytes.as_bytes(), &mut head),
        Ok(Some(Event::Head))
    );
    head
}

#[test]
fn framing_and_persistence() {
    for (bytes, body, keep_alive) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Body::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 5\r\n\r\n",
            Body::Length(5),
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Body::Chunked,
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", Body::UntilClose, false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            Body::Length(5),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
            Body::Length(5),
            true,
        ),
        ("HTTP/1.1 204 x\r\n\r\n", Body::None, true),
    ] {
        let head = head_of(Method::Post, bytes);
        assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{bytes}");
    }
    let head = head_of(Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((head.body, head.keep_alive), (Body::None, true));
}

#[test]
fn unasked_bytes_and_the_fin() {
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    let mut head = ResponseHead::new();
    assert!(reader.idle() && reader.at_message_end());
    assert_eq!(reader.close(), Ok(None));
    reader.expect(Method::Get, false);
    assert!(reader.idle() && !reader.at_message_end());
    assert_eq!(reader.close(), Ok(None), "no byte of a response was seen");
    let mut input: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nabc";
    assert_eq!(reader.next(&mut input, &mut head), Ok(Some(Event::Head)));
    assert_eq!(
        reader.next(&mut input, &mut head),
        Ok(Some(Event::Data(b"abc")))
    );
    assert!(!reader.idle());
    assert_eq!(reader.close(), Ok(Some(Event::End)));

    let mut reader = ResponseReader::new(Limits::DEFAULT);
    let violation = reader.next(&mut &b"H"[..], &mut head).unwrap_err();
    assert_eq!(violation.code, Code::BadResponse);
    assert_eq!(reader.close(), Err(Truncated));
}

#[test]
fn a_tunnel_takes_no_bytes() {
    let mut reader = ResponseReader::new(Limits::DEFAULT);
    let mut head = ResponseHead::new();
    reader.expect(Method::Get, true);
    let mut input: &[u8] =
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1";
    assert_eq!(reader.next(&mut input, &mut head), Ok(Some(Event::Head)));
    assert_eq!(head.status, 101);
    assert_eq!(reader.next(&mut input, &mut head), Ok(None));
    assert_eq!(input, b"HTTP/1.1");
}

#[test]
fn an_https_port_is_told_from_other_noise() {
    for (bytes, words) in [
        (&b"\x15\x03"[..], "https?"),
        (b"SSH-2.0", "does not start with HTTP"),
    ] {
        let mut reader = ResponseReader::new(Limits::default());
        reader.expect(Method::Get, false);
        let refused = reader.next(&mut &*bytes, &mut ResponseHead::default());
        assert!(refused.unwrap_err().why.ends_with(words));
    }
}
