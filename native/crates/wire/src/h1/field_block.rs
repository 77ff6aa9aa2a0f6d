//! One block of field lines into [`Fields`]: httparse splits the lines, we judge the names.

use httparse::Status;

use crate::error::Violation;
use crate::fields::Fields;
use crate::limits::{FIELD_COUNT_CEILING, Underscore};
use crate::name::Name;

/// Heads of real clients have fewer fields; the array on the stack is initialised every time.
const USUAL_COUNT: usize = 24;

/// Appends the fields of `block`, which is `count` lines and the empty line, each ended by CRLF.
#[inline]
pub(crate) fn read(
    block: &[u8],
    count: usize,
    underscore: Underscore,
    fields: &mut Fields,
) -> Result<(), Violation> {
    if count <= USUAL_COUNT {
        split::<USUAL_COUNT>(block, underscore, fields)
    } else {
        split::<FIELD_COUNT_CEILING>(block, underscore, fields)
    }
}

fn split<const N: usize>(
    block: &[u8],
    underscore: Underscore,
    fields: &mut Fields,
) -> Result<(), Violation> {
    let mut lines = [httparse::EMPTY_HEADER; N];
    // httparse refuses, as configured by default: whitespace before a name or before the colon
    // (RFC 9112 §5.1), obs-fold (§5.2), names that are no token (RFC 9110 §5.1), and in values
    // NUL, CR and every control except HTAB (§5.5).
    match httparse::parse_headers(block, &mut lines) {
        Ok(Status::Complete((end, lines))) if end == block.len() => {
            for line in lines {
                let name = line.name.as_bytes();
                let known = fields.push(name, line.value);
                if known == Name::Other && underscore != Underscore::Allow {
                    check_underscore(name, underscore)?;
                }
            }
            Ok(())
        }
        Err(httparse::Error::HeaderName) => Err(Violation::bad_request(
            "field name is not a token followed by a colon",
        )),
        Err(httparse::Error::HeaderValue) => Err(Violation::bad_request(
            "field value has a control character",
        )),
        Err(httparse::Error::TooManyHeaders) => Err(Violation::too_large("too many fields")),
        _ => Err(Violation::bad_request("field lines are malformed")),
    }
}

/// `content_length` and `content-length` are one variable to a CGI-like upstream.
#[inline]
pub(crate) fn check_underscore(name: &[u8], underscore: Underscore) -> Result<(), Violation> {
    if memchr::memchr(b'_', name).is_none() {
        return Ok(());
    }
    let mut dashed = [0; 64];
    let reserved = match dashed.get_mut(..name.len()) {
        Some(dashed) => {
            for (to, from) in dashed.iter_mut().zip(name) {
                *to = if *from == b'_' {
                    b'-'
                } else {
                    from.to_ascii_lowercase()
                };
            }
            Name::from_bytes(dashed) != Name::Other || dashed.starts_with(b"x-forwarded-")
        }
        // No name that we know is that long.
        None => false,
    };
    if reserved || underscore == Underscore::Reject {
        return Err(Violation::bad_request(
            "field name with _ stands for another one",
        ));
    }
    Ok(())
}
