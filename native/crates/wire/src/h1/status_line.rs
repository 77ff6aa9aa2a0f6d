//! The status line of a response.

use crate::error::Violation;
use crate::h1::request_line::parse_version;
use crate::message::Version;
use crate::octets;

/// `line` is without its CRLF.
///
/// RFC 9112 §4: "status-line = HTTP-version SP status-code SP [ reason-phrase ]". The second space
/// is often forgotten where there is no reason; that is tolerated.
pub(super) fn parse(line: &[u8]) -> Result<(Version, u16), Violation> {
    let bad = Violation::bad_response("status line is malformed");
    let (version, rest) = line.split_at_checked(8).ok_or(bad)?;
    let version = parse_version(version)?;
    let [
        b' ',
        a @ b'1'..=b'5',
        b @ b'0'..=b'9',
        c @ b'0'..=b'9',
        reason @ ..,
    ] = rest
    else {
        return Err(bad);
    };
    let reason_ok = match reason {
        [] => true,
        [b' ', reason @ ..] => octets::is_value(reason),
        _ => false,
    };
    if !reason_ok {
        return Err(bad);
    }
    let digit = |byte: &u8| u16::from(*byte - b'0');
    Ok((version, digit(a) * 100 + digit(b) * 10 + digit(c)))
}
