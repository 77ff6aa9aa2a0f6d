//! The bodies of the fuzz targets, shared with the tests that replay the committed seeds.
//!
//! Each takes arbitrary bytes and panics if a promise is broken: any chunking of the same bytes
//! gives the same events, buffers stay within their bounds, what was parsed and encoded parses
//! again to the same. Not a part of the interface.

use crate::h1::{Event, RequestReader, ResponseReader, encode};
use crate::{Body, Fields, Limits, Method, RequestHead, ResponseHead, Version, Violation};
use crate::{proxy_protocol, sse};

pub use crate::h2::fuzzing as h2;
pub use crate::h2::fuzzing::{h2_client, h2_server};

pub use crate::hpack::fuzzing::hpack;

/// What a reader gave, with neighbouring data joined, so that it does not depend on chunking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A request's head.
    Request(Box<RequestHead>),
    /// A response's head, interim or final.
    Response(Box<ResponseHead>),
    /// All body bytes up to the next other thing.
    Data(Vec<u8>),
    /// A trailer section.
    Trailers(Fields),
    /// The end of a message.
    End,
    /// Bytes behind a 101.
    Tunnel(Vec<u8>),
    /// The reader refused; nothing follows.
    Refused(Violation),
    /// The peer's FIN came in the middle.
    Truncated,
}

/// Cuts bytes into pieces of pseudo-random lengths, mostly short.
#[derive(Debug, Clone)]
pub struct Cuts(u32);

impl Cuts {
    /// The same seed gives the same cuts; 0 gives single bytes.
    pub const fn new(seed: u32) -> Self {
        Self(seed)
    }

    /// Splits the next piece off `bytes`; `None` when there is nothing left.
    pub fn piece<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        if bytes.is_empty() {
            return None;
        }
        let mut len = 1;
        if self.0 != 0 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            let wide = if self.0 & 0x700 == 0 { 200 } else { 7 };
            len += (self.0 >> 16) as usize % wide;
        }
        let (piece, rest) = bytes.split_at_checked(len).unwrap_or((*bytes, &[]));
        *bytes = rest;
        Some(piece)
    }
}

/// Runs a request reader over pieces.
pub fn read_requests<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut reader = RequestReader::new(limits);
    for mut piece in pieces {
        loop {
            // A head of its own at every call: nothing may be kept in it between calls.
            let mut head = RequestHead::new();
            match reader.next(&mut piece, &mut head) {
                Ok(Some(Event::Head)) => seen.push(Seen::Request(Box::new(head))),
                Ok(Some(event)) => push(&mut seen, event),
                Ok(None) => {
                    assert!(piece.is_empty(), "None must take all input");
                    break;
                }
                Err(violation) => {
                    assert_eq!(
                        reader.next(&mut piece, &mut head),
                        Err(violation),
                        "stays failed"
                    );
                    seen.push(Seen::Refused(violation));
                    return seen;
                }
            }
        }
    }
    seen
}

/// Runs a response reader over pieces, each response to `method`, with the peer's FIN at the end.
pub fn read_responses<'a>(
    limits: Limits,
    method: Method,
    upgrade: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut reader = ResponseReader::new(limits);
    reader.expect(method, upgrade);
    let mut tunnel = false;
    for mut piece in pieces {
        loop {
            if tunnel {
                append(&mut seen, piece, true);
                break;
            }
            let mut head = ResponseHead::new();
            match reader.next(&mut piece, &mut head) {
                Ok(Some(Event::Head | Event::Interim)) => {
                    tunnel = head.status == 101;
                    seen.push(Seen::Response(Box::new(head)));
                }
                Ok(Some(event)) => {
                    let ended = event == Event::End;
                    push(&mut seen, event);
                    if ended {
                        reader.expect(method, upgrade);
                    }
                }
                Ok(None) => {
                    assert!(piece.is_empty(), "None must take all input");
                    break;
                }
                Err(violation) => {
                    seen.push(Seen::Refused(violation));
                    return seen;
                }
            }
        }
    }
    match reader.close() {
        Ok(Some(event)) => push(&mut seen, event),
        Ok(None) => {}
        Err(_) => seen.push(Seen::Truncated),
    }
    seen
}

fn push(seen: &mut Vec<Seen>, event: Event<'_>) {
    match event {
        Event::Data(data) => append(seen, data, false),
        Event::Trailers(fields) => seen.push(Seen::Trailers(*fields)),
        Event::End => seen.push(Seen::End),
        Event::Head | Event::Interim => unreachable!("the caller takes heads"),
    }
}

fn append(seen: &mut Vec<Seen>, data: &[u8], tunnel: bool) {
    assert!(tunnel || !data.is_empty(), "no empty data events");
    match seen.last_mut() {
        Some(Seen::Data(joined)) if !tunnel => joined.extend_from_slice(data),
        Some(Seen::Tunnel(joined)) if tunnel => joined.extend_from_slice(data),
        _ if data.is_empty() => {}
        _ if tunnel => seen.push(Seen::Tunnel(data.to_vec())),
        _ => seen.push(Seen::Data(data.to_vec())),
    }
}

/// The first byte steers (chunking, limits, method); the rest is the peer's.
fn steer(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((0, data), |(&first, rest)| (first, rest))
}

/// Bounds small enough for a fuzzer to reach.
fn limits(steering: u8) -> Limits {
    if steering & 1 == 0 {
        return Limits::DEFAULT;
    }
    Limits {
        request_line_bytes_max: 40,
        head_bytes_max: 200,
        field_count_max: 4,
        field_bytes_max: 60,
        trailer_bytes_max: 60,
        trailer_count_max: 2,
        chunk_extension_bytes_max: 30,
        chunk_extension_bytes_free: 10,
        ..Limits::DEFAULT
    }
}

fn pieces(steering: u8, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut cuts = Cuts::new(u32::from(steering >> 3) * 0x0101_0101);
    std::iter::from_fn(move || cuts.piece(&mut bytes))
}

/// Requests: whole and in pieces.
pub fn h1_request(data: &[u8]) {
    let (steering, bytes) = steer(data);
    let whole = read_requests(limits(steering), [bytes]);
    assert_eq!(
        whole,
        read_requests(limits(steering), pieces(steering, bytes))
    );
}

/// Responses: whole and in pieces.
pub fn h1_response(data: &[u8]) {
    let (steering, bytes) = steer(data);
    let method = if steering & 2 == 0 {
        Method::Get
    } else {
        Method::Head
    };
    let upgrade = steering & 4 != 0;
    let whole = read_responses(limits(steering), method, upgrade, [bytes]);
    let split = read_responses(limits(steering), method, upgrade, pieces(steering, bytes));
    assert_eq!(whole, split);
}

/// A chunked body behind a fixed head: whole and in pieces.
pub fn chunked(data: &[u8]) {
    let (steering, bytes) = steer(data);
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let input = [&head[..], bytes].concat();
    let whole = read_requests(limits(steering & 0xfe), [input.as_slice()]);
    assert!(
        matches!(whole.first(), Some(Seen::Request(_))),
        "the head is good"
    );
    assert_eq!(
        whole,
        read_requests(limits(steering & 0xfe), pieces(steering, &input))
    );
}

/// Event ends: whole, in pieces, and by a scanner too simple to be wrong.
pub fn sse(data: &[u8]) {
    let (steering, bytes) = steer(data);
    let plain = plain_event_ends(bytes);
    assert_eq!(event_ends(bytes, [bytes]), plain);
    assert_eq!(event_ends(bytes, pieces(steering, bytes)), plain);
    for event in bytes.split(|&byte| byte == b'\n') {
        assert!(
            sse::fields(event).count() <= event.len(),
            "a line has at least one byte"
        );
    }
}

/// Ends as absolute offsets, the LF of a CRLF always counted in.
pub fn event_ends<'a>(bytes: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<usize> {
    let mut scanner = sse::Scanner::new();
    let mut ends = Vec::new();
    let mut start = 0;
    for piece in pieces {
        scanner.scan(piece, |end| {
            assert!((1..=piece.len()).contains(&end), "an end lies in its piece");
            let end = start + end;
            let halved = bytes.get(end - 1..=end) == Some(b"\r\n");
            ends.push(if halved { end + 1 } else { end });
        });
        start += piece.len();
    }
    ends
}

fn plain_event_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
        3
    } else {
        0
    };
    let mut line_start = at;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at += 1;
        if *byte == b'\r' && bytes.get(at) == Some(&b'\n') {
            at += 1;
        }
        if matches!(byte, b'\r' | b'\n') {
            if start == line_start {
                ends.push(at);
            }
            line_start = at;
        }
    }
    ends
}

/// Every prefix asks for more until one decides, and what it decides stays.
pub fn proxy_protocol(data: &[u8]) {
    let data = data.get(..600).unwrap_or(data);
    let mut decided: Option<Result<_, ()>> = None;
    for end in 0..=data.len() {
        let result = proxy_protocol::parse(data.get(..end).unwrap_or(data)).map_err(|_| ());
        match (&decided, result.transpose()) {
            (None, verdict) => {
                if let Some(Ok((consumed, _))) = &verdict {
                    assert_eq!(*consumed, end, "decided by its last byte");
                }
                decided = verdict;
            }
            (Some(before), verdict) => assert_eq!(Some(*before), verdict, "a verdict stays"),
        }
    }
    assert!(data.len() < 600 || decided.is_some(), "a header is bounded");
}

/// What was read and written is read again as the same: requests, then responses.
pub fn reparse(data: &[u8]) {
    let (steering, bytes) = steer(data);
    let mut seen = read_requests(Limits::DEFAULT, [bytes]);
    // What we write is always 1.1, which an old client's request is not.
    if !old(&seen) {
        let written = write(&complete(&mut seen));
        assert_eq!(read_requests(Limits::DEFAULT, [written.as_slice()]), seen);
    }
    let method = if steering & 2 == 0 {
        Method::Get
    } else {
        Method::Head
    };
    let mut seen = read_responses(Limits::DEFAULT, method, false, [bytes]);
    if !old(&seen) {
        let written = write(&complete(&mut seen));
        let again = read_responses(Limits::DEFAULT, method, false, [written.as_slice()]);
        assert_eq!(again, seen);
    }
}

fn old(seen: &[Seen]) -> bool {
    seen.iter().any(|one| match one {
        Seen::Request(head) => head.version == Version::Http10,
        Seen::Response(head) => head.version == Version::Http10,
        _ => false,
    })
}

/// Leaves the complete messages only, and makes the authority what the written Host will say.
fn complete(seen: &mut Vec<Seen>) -> Vec<Seen> {
    let end = seen
        .iter()
        .rposition(|one| *one == Seen::End)
        .map_or(0, |at| at + 1);
    seen.truncate(end);
    for one in seen.iter_mut() {
        if let Seen::Request(head) = one {
            let host = head.fields.find_str("host").unwrap_or_default().to_vec();
            head.set_authority(&host).expect("a parsed Host is good");
        }
    }
    seen.clone()
}

/// Encodes messages as they were delimited.
pub fn write(seen: &[Seen]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut body = Body::None;
    let mut trailed = false;
    for one in seen {
        match one {
            Seen::Request(head) => {
                encode::request_line(&mut out, head.method, head.target());
                write_fields(&mut out, &head.fields);
                (body, trailed) = (head.body, false);
            }
            Seen::Response(head) => {
                encode::status_line(&mut out, head.status);
                write_fields(&mut out, &head.fields);
                (body, trailed) = (head.body, false);
            }
            Seen::Data(data) if body == Body::Chunked => encode::chunk(&mut out, data),
            Seen::Data(data) | Seen::Tunnel(data) => out.extend_from_slice(data),
            Seen::Trailers(trailers) => {
                encode::last_chunk(&mut out, Some(trailers));
                trailed = true;
            }
            Seen::End if body == Body::Chunked && !trailed => encode::last_chunk(&mut out, None),
            Seen::End | Seen::Refused(_) | Seen::Truncated => {}
        }
    }
    out
}

fn write_fields(out: &mut Vec<u8>, fields: &Fields) {
    for field in fields.iter() {
        encode::field(out, field.name, field.value).expect("a parsed field is good");
    }
    encode::end_of_head(out);
}
