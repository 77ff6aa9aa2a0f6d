//! The serialiser: appends HTTP/1.1 to a buffer. The caller flushes.
//!
//! [`field`] is the one way for a value that we made, or changed, to reach the wire: it refuses
//! what could end a line. [`field_unchecked`] is for fields that a reader of ours has just parsed.

use crate::error::{Code, Violation};
use crate::fields::{Field, Fields};
use crate::octets;

/// `METHOD SP target SP HTTP/1.1 CRLF`, from a head that a reader filled.
pub fn request_line(out: &mut Vec<u8>, method: impl AsRef<[u8]>, target: &[u8]) {
    out.reserve(target.len() + 48);
    out.extend_from_slice(method.as_ref());
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 SP status SP reason CRLF`. RFC 9112 §4: the reason means nothing; some clients print
/// it.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One field line, checked. Nothing is appended on error.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Violation> {
    legal(name, value)?;
    line(out, name, value);
    Ok(())
}

/// Whether a field may be sent: the name is a token, the value holds no control character and
/// neither begins nor ends with whitespace.
pub fn legal(name: &[u8], value: &[u8]) -> Result<(), Violation> {
    if !octets::is_token(name) {
        return Err(Violation::stream(
            Code::BadRequest,
            "field name to send is not a token",
        ));
    }
    // RFC 9110 §5.5: CR, LF and NUL in a value would be read as something else.
    if !octets::is_value(value) || octets::trim(value).len() != value.len() {
        return Err(Violation::stream(
            Code::BadRequest,
            "field value to send is not legal",
        ));
    }
    Ok(())
}

/// One field line as a reader gave it; its content is not looked at again.
pub fn field_unchecked(out: &mut Vec<u8>, field: Field<'_>) {
    line(out, field.name, field.value);
}

#[inline]
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `content-length: n CRLF`
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// `transfer-encoding: chunked CRLF`
pub fn transfer_encoding_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The empty line.
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// One chunk. Empty data would be the last chunk (RFC 9112 §7.1), so it appends nothing.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.reserve(data.len() + 20);
    chunk_head(out, data.len());
    out.extend_from_slice(data);
    chunk_tail(out);
}

/// What precedes the data of a chunk; `len` is not 0.
pub fn chunk_head(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "a chunk of no bytes ends the body");
    let mut digits = [0; 18];
    let mut rest = len;
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = hex_digit(rest);
        rest >>= 4;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn hex_digit(value: usize) -> u8 {
    let digit = (value & 15) as u8;
    if digit < 10 {
        b'0' + digit
    } else {
        b'a' - 10 + digit
    }
}

/// What follows the data of a chunk.
pub fn chunk_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The last chunk and the trailer section. The caller has chosen the trailers
/// ([`trailer_allowed`](crate::hop::trailer_allowed)); they are fields that a reader has parsed.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for trailer in trailers.into_iter().flat_map(Fields::iter) {
        field_unchecked(out, trailer);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal.
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut rest = value;
    let mut at = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        at -= 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// RFC 9110 §15 and the registry of status codes; empty where there is none.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        _ => error_reason(status),
    }
}

fn error_reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        529 => "Overloaded",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_and_numbers() {
        assert_eq!(
            made(|o| request_line(o, "GET", b"/x")),
            "GET /x HTTP/1.1\r\n"
        );
        assert_eq!(made(|o| status_line(o, 200)), "HTTP/1.1 200 OK\r\n");
        assert_eq!(
            made(|o| status_line(o, 429)),
            "HTTP/1.1 429 Too Many Requests\r\n"
        );
        assert_eq!(made(|o| status_line(o, 299)), "HTTP/1.1 299 \r\n");
        assert_eq!(made(|o| content_length(o, 0)), "content-length: 0\r\n");
        assert_eq!(made(|o| decimal(o, u64::MAX)), u64::MAX.to_string());
        assert_eq!(
            made(|o| chunk_head(o, usize::MAX)),
            format!("{:x}\r\n", usize::MAX)
        );
        assert_eq!(made(|o| chunk(o, b"")), "");
        assert_eq!(
            made(|o| chunk(o, &[b'a'; 16])),
            format!("10\r\n{}\r\n", "a".repeat(16))
        );
        assert_eq!(made(|o| last_chunk(o, None)), "0\r\n\r\n");
    }

    #[test]
    fn the_serialiser_refuses_what_could_split_a_message() {
        let mut out = b"kept".to_vec();
        for (name, value) in [
            ("", "v"),
            ("a b", "v"),
            ("a:", "v"),
            ("a\r\n", "v"),
            (":path", "v"),
            ("a", "v\r\nx: y"),
            ("a", "v\n"),
            ("a", "v\0"),
            ("a", "v\x7f"),
            ("a", " v"),
            ("a", "v\t"),
        ] {
            assert!(
                field(&mut out, name.as_bytes(), value.as_bytes()).is_err(),
                "{name:?}"
            );
        }
        assert_eq!(out, b"kept");
        field(&mut out, b"x-a", "h\u{e9} \t v".as_bytes()).unwrap();
        field(&mut out, b"x-b", b"").unwrap();
        assert_eq!(out, "keptx-a: h\u{e9} \t v\r\nx-b: \r\n".as_bytes());
    }
}
