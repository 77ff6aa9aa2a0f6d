//! The static table (RFC 7541 Appendix A).

use crate::name::Name;

/// How many entries there are; the dynamic table's newest has the next index.
pub(super) const LEN: usize = 61;

/// Names and values; the first has index 1.
pub(super) static TABLE: [(&[u8], &[u8]); LEN] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// The index of a name that we know, 0 for none.
pub(super) const fn of_known(name: Name) -> u8 {
    match name {
        Name::AcceptEncoding => 16,
        Name::AcceptLanguage => 17,
        Name::Accept => 19,
        Name::AccessControlAllowOrigin => 20,
        Name::Allow => 22,
        Name::Authorization => 23,
        Name::CacheControl => 24,
        Name::ContentDisposition => 25,
        Name::ContentEncoding => 26,
        Name::ContentLanguage => 27,
        Name::ContentLength => 28,
        Name::ContentLocation => 29,
        Name::ContentRange => 30,
        Name::ContentType => 31,
        Name::Cookie => 32,
        Name::Date => 33,
        Name::Etag => 34,
        Name::Expect => 35,
        Name::Host => 38,
        Name::IfMatch => 39,
        Name::IfModifiedSince => 40,
        Name::IfNoneMatch => 41,
        Name::LastModified => 44,
        Name::Location => 46,
        Name::ProxyAuthenticate => 48,
        Name::ProxyAuthorization => 49,
        Name::Range => 50,
        Name::Referer => 51,
        Name::RetryAfter => 53,
        Name::Server => 54,
        Name::SetCookie => 55,
        Name::TransferEncoding => 57,
        Name::UserAgent => 58,
        Name::Vary => 59,
        Name::Via => 60,
        Name::WwwAuthenticate => 61,
        _ => 0,
    }
}

/// The index of a name that we do not know, 0 for none.
#[inline]
pub(super) fn of_other(name: &[u8]) -> u8 {
    match name {
        b"accept-charset" => 15,
        b"accept-ranges" => 18,
        b"age" => 21,
        b"expires" => 36,
        b"from" => 37,
        b"if-range" => 42,
        b"if-unmodified-since" => 43,
        b"link" => 45,
        b"max-forwards" => 47,
        b"refresh" => 52,
        b"strict-transport-security" => 56,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_an_ordinary_field_is_found() {
        for (at, (name, _)) in TABLE.iter().enumerate().skip(14) {
            let known = Name::from_bytes(name);
            let index = match known {
                Name::Other => of_other(name),
                known => of_known(known),
            };
            assert_eq!(usize::from(index), at + 1, "{}", name.escape_ascii());
        }
        assert_eq!(of_other(b"x-stainless-lang"), 0);
        assert_eq!(of_known(Name::XRequestId), 0);
    }
}
