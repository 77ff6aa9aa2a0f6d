//! The field names that some part of the proxy asks for, as a dense enum.
//!
//! A name is found by one multiplication and one comparison: a perfect hash over length and four
//! octets, checked for collisions when the crate is compiled. Unknown names are [`Name::Other`].

macro_rules! names {
    ($($variant:ident $text:literal,)*) => {
        /// A field name that we know. `as_str` gives it in lower case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum Name {
            /// None of the names below; its text is in the [`Field`](crate::Field).
            #[default]
            Other,
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        /// By discriminant.
        const TEXTS: &[&str] = &["", $($text,)*];
        /// By discriminant.
        const NAMES: &[Name] = &[Name::Other, $(Name::$variant,)*];
    };
}

names! {
    Host "host",
    ContentLength "content-length",
    TransferEncoding "transfer-encoding",
    Connection "connection",
    KeepAlive "keep-alive",
    ProxyConnection "proxy-connection",
    Te "te",
    Trailer "trailer",
    Upgrade "upgrade",
    ProxyAuthenticate "proxy-authenticate",
    ProxyAuthorization "proxy-authorization",
    Http2Settings "http2-settings",
    Expect "expect",
    ContentType "content-type",
    ContentEncoding "content-encoding",
    ContentRange "content-range",
    ContentLanguage "content-language",
    ContentLocation "content-location",
    ContentDisposition "content-disposition",
    AcceptEncoding "accept-encoding",
    Accept "accept",
    AcceptLanguage "accept-language",
    Authorization "authorization",
    ApiKey "x-api-key",
    Cookie "cookie",
    SetCookie "set-cookie",
    UserAgent "user-agent",
    Referer "referer",
    Via "via",
    Forwarded "forwarded",
    XForwardedFor "x-forwarded-for",
    XForwardedProto "x-forwarded-proto",
    XForwardedHost "x-forwarded-host",
    XForwardedPort "x-forwarded-port",
    XForwardedPrefix "x-forwarded-prefix",
    XRealIp "x-real-ip",
    XRequestId "x-request-id",
    Traceparent "traceparent",
    Tracestate "tracestate",
    Baggage "baggage",
    Origin "origin",
    AccessControlRequestMethod "access-control-request-method",
    AccessControlRequestHeaders "access-control-request-headers",
    AccessControlAllowOrigin "access-control-allow-origin",
    AccessControlAllowMethods "access-control-allow-methods",
    AccessControlAllowHeaders "access-control-allow-headers",
    AccessControlExposeHeaders "access-control-expose-headers",
    AccessControlMaxAge "access-control-max-age",
    RetryAfter "retry-after",
    RetryAfterMs "retry-after-ms",
    XShouldRetry "x-should-retry",
    CacheControl "cache-control",
    Pragma "pragma",
    XAccelBuffering "x-accel-buffering",
    Server "server",
    Date "date",
    Vary "vary",
    Location "location",
    Allow "allow",
    Etag "etag",
    Range "range",
    LastModified "last-modified",
    IfMatch "if-match",
    IfNoneMatch "if-none-match",
    IfModifiedSince "if-modified-since",
    WwwAuthenticate "www-authenticate",
    SecWebsocketKey "sec-websocket-key",
    SecWebsocketVersion "sec-websocket-version",
    SecWebsocketAccept "sec-websocket-accept",
    SecWebsocketProtocol "sec-websocket-protocol",
    SecWebsocketExtensions "sec-websocket-extensions",
    GrpcStatus "grpc-status",
    GrpcMessage "grpc-message",
    GrpcStatusDetails "grpc-status-details-bin",
    GrpcTimeout "grpc-timeout",
    EndpointLoadMetrics "endpoint-load-metrics",
    EndpointLoadMetricsFormat "endpoint-load-metrics-format",
    IdempotencyKey "idempotency-key",
    AnthropicVersion "anthropic-version",
    InferenceObjective "x-gateway-inference-objective",
    InferenceFairnessId "x-gateway-inference-fairness-id",
    DestinationEndpoint "x-gateway-destination-endpoint",
    DestinationEndpointServed "x-gateway-destination-endpoint-served",
    DestinationEndpointSubset "x-gateway-destination-endpoint-subset",
}

/// Slots of the hash table; a byte each.
const SLOTS: usize = 1024;
/// The first odd multiplier for which no two names share a slot. `by_slot` refuses to compile with
/// a worse one; after adding a name, the ignored test `find_a_multiplier` prints the next.
const MULTIPLIER: u32 = 0x9E37_7AAF;

/// The slot of a name in any case: `| 0x20` folds letters and leaves `-`, digits and `_` distinct.
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "every index is below the length, which is not 0"
)]
const fn slot(name: &[u8], multiplier: u32) -> usize {
    let len = name.len();
    if len == 0 {
        return 0;
    }
    let first = name[0] | 0x20;
    let middle = name[len / 2] | 0x20;
    let fourth = name[len.saturating_sub(4)] | 0x20;
    let last = name[len - 1] | 0x20;
    let key = u32::from_le_bytes([first, middle, fourth, last]).wrapping_add((len as u32) << 5);
    (key.wrapping_mul(multiplier) >> 22) as usize
}

#[expect(
    clippy::indexing_slicing,
    reason = "const; a wrong index does not compile"
)]
const fn by_slot(multiplier: u32) -> ([u8; SLOTS], bool) {
    let mut out = [0; SLOTS];
    let mut index = 1;
    while index < TEXTS.len() {
        let at = slot(TEXTS[index].as_bytes(), multiplier);
        if out[at] != 0 {
            return (out, false);
        }
        out[at] = index as u8;
        index += 1;
    }
    (out, true)
}

/// Whether `name` is `text` in any case; `text` is lower case. Eight octets at a time, the last
/// eight overlapping those before.
#[inline]
fn same(text: &[u8], name: &[u8]) -> bool {
    if text.len() != name.len() {
        return false;
    }
    let (Some(text_end), Some(name_end)) = (text.last_chunk::<8>(), name.last_chunk::<8>()) else {
        return text.eq_ignore_ascii_case(name);
    };
    let (text_words, _) = text.as_chunks::<8>();
    let (name_words, _) = name.as_chunks::<8>();
    same_word(*text_end, *name_end)
        && text_words
            .iter()
            .zip(name_words)
            .all(|(&text, &name)| same_word(text, name))
}

/// Of the octets in our names only letters have bit 6; only they have a case, which is bit 5.
#[inline]
fn same_word(text: [u8; 8], name: [u8; 8]) -> bool {
    let text = u64::from_ne_bytes(text);
    let letters = text & 0x4040_4040_4040_4040;
    u64::from_ne_bytes(name) | (letters >> 1) == text
}

static BY_SLOT: [u8; SLOTS] = by_slot(MULTIPLIER).0;
const _: () = assert!(
    by_slot(MULTIPLIER).1,
    "two names share a slot: choose another MULTIPLIER"
);
const _: () = assert!(
    Name::COUNT <= 128,
    "sets of names are kept as bits of a u128"
);

impl Name {
    /// How many names there are, `Other` included.
    pub const COUNT: usize = NAMES.len();

    /// The name of these bytes, in any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> Self {
        let index = usize::from(BY_SLOT.get(slot(name, MULTIPLIER)).copied().unwrap_or(0));
        match (NAMES.get(index), TEXTS.get(index)) {
            (Some(&known), Some(text)) if same(text.as_bytes(), name) => known,
            _ => Self::Other,
        }
    }

    /// The name in lower case; empty for [`Name::Other`].
    #[inline]
    pub fn as_str(self) -> &'static str {
        TEXTS.get(self as usize).copied().unwrap_or_default()
    }

    /// A bit of its own in a set of names.
    #[inline]
    pub(crate) const fn bit(self) -> u128 {
        1 << (self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &name in NAMES.iter().skip(1) {
            let text = name.as_str();
            assert_eq!(Name::from_bytes(text.as_bytes()), name);
            assert_eq!(Name::from_bytes(text.to_ascii_uppercase().as_bytes()), name);
            assert_eq!(
                Name::from_bytes(text.replace('-', "_").as_bytes()) == name,
                { !text.contains('-') }
            );
            assert_eq!(Name::from_bytes(format!("{text}x").as_bytes()), Name::Other);
            // Any one bit of any octet changed, other than a letter's case, is another name.
            for (at, bit) in (0..text.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut changed = text.as_bytes().to_vec();
                changed[at] ^= 1 << bit;
                let same = changed.eq_ignore_ascii_case(text.as_bytes());
                assert_eq!(
                    Name::from_bytes(&changed) == name,
                    same,
                    "{text} {at} {bit}"
                );
            }
        }
        assert_eq!(Name::from_bytes(b""), Name::Other);
        assert_eq!(Name::Other.as_str(), "");
    }

    #[test]
    #[ignore = "a tool: prints a multiplier after a name was added"]
    fn find_a_multiplier() {
        let odd = (0..1_000_000).map(|i: u32| 0x9E37_79B1_u32.wrapping_add(2 * i));
        let found = odd.into_iter().find(|&multiplier| by_slot(multiplier).1);
        panic!("{found:#X?}");
    }
}
