//! Which octets may stand where: the character classes of RFC 9110 and RFC 3986 as tables.

const fn table(allowed: &[u8], alphanumeric: bool, obs_text: bool) -> [bool; 256] {
    let mut out = [false; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(
            clippy::indexing_slicing,
            reason = "const; the loop's bound is the array's"
        )]
        if (alphanumeric && (at as u8).is_ascii_alphanumeric()) || (obs_text && at >= 0x80) {
            out[at] = true;
        }
        at += 1;
    }
    let mut next = 0;
    while next < allowed.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "const; a u8 index into 256 entries"
        )]
        {
            out[allowed[next] as usize] = true;
        }
        next += 1;
    }
    out
}

/// RFC 9110 §5.6.2: tchar.
static TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~", true, false);

/// RFC 9113 §8.2: tchar without upper case.
static LOWER_TOKEN: [bool; 256] = table(
    b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz",
    false,
    false,
);

/// RFC 9110 §5.5: field-vchar, SP and HTAB; obs-text is opaque and kept.
static VALUE: [bool; 256] = table(b"\t !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", true, true);

/// RFC 3986 §2, less `#` (never sent) and the octets that clients must encode: `"<>\^`{|}` and SP.
static TARGET: [bool; 256] = table(b"!$%&'()*+,-./:;=?@[]_~", true, false);

/// A registered name as DNS and container platforms use it; no list, path, userinfo or escapes.
static HOST: [bool; 256] = table(b"-._~", true, false);

#[inline]
fn all(class: &[bool; 256], bytes: &[u8]) -> bool {
    #[expect(clippy::indexing_slicing, reason = "a u8 index into 256 entries")]
    bytes.iter().all(|&byte| class[usize::from(byte)])
}

#[inline]
pub(crate) fn is_token_octet(byte: u8) -> bool {
    all(&TOKEN, &[byte])
}

#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(&TOKEN, bytes)
}

#[inline]
pub(crate) fn is_lower_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(&LOWER_TOKEN, bytes)
}

#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    all(&VALUE, bytes)
}

#[inline]
pub(crate) fn is_value_octet(byte: u8) -> bool {
    all(&VALUE, &[byte])
}

#[inline]
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    all(&TARGET, bytes)
}

#[inline]
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(&HOST, bytes)
}

/// RFC 9110 §5.6.3: optional whitespace around a value or a list's member is not part of it.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_rfcs() {
        for byte in 0..=255_u8 {
            let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_token_octet(byte), token, "{byte:#x}");
            let lower = token && !byte.is_ascii_uppercase();
            assert_eq!(is_lower_token(&[byte]), lower, "{byte:#x}");
            let value = matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
            assert_eq!(is_value_octet(byte), value, "{byte:#x}");
            let target = matches!(byte, 0x21..=0x7e) && !b"\"<>\\^`{|}#".contains(&byte);
            assert_eq!(is_target(&[byte]), target, "{byte:#x}");
        }
    }

    #[test]
    fn trim_takes_only_optional_whitespace() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba"), b"\x0ba");
    }
}
