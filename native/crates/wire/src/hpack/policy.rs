//! Which fields an encoder indexes, by name.

use super::statics;
use crate::name::Name;

/// How a field that no table holds is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indexing {
    /// §6.2.1: it will come again.
    Incremental,
    /// §6.2.2: its value is this message's own and would only push others out.
    Without,
    /// §6.2.3: a secret. Nobody on the way may put it where guesses can be tried against it (§7.1).
    Never,
}

const fn of_known(name: Name) -> Indexing {
    match name {
        Name::Authorization
        | Name::ProxyAuthorization
        | Name::ApiKey
        | Name::Cookie
        | Name::SetCookie => Indexing::Never,
        Name::ContentLength
        | Name::ContentRange
        | Name::ContentLocation
        | Name::Date
        | Name::Etag
        | Name::Forwarded
        | Name::XForwardedFor
        | Name::XRealIp
        | Name::XRequestId
        | Name::Traceparent
        | Name::Tracestate
        | Name::Baggage
        | Name::RetryAfter
        | Name::RetryAfterMs
        | Name::Location
        | Name::Range
        | Name::LastModified
        | Name::IfMatch
        | Name::IfNoneMatch
        | Name::IfModifiedSince
        | Name::SecWebsocketKey
        | Name::SecWebsocketAccept
        | Name::GrpcMessage
        | Name::GrpcStatusDetails
        | Name::GrpcTimeout
        | Name::EndpointLoadMetrics
        | Name::IdempotencyKey
        | Name::DestinationEndpoint
        | Name::DestinationEndpointServed
        | Name::DestinationEndpointSubset => Indexing::Without,
        _ => Indexing::Incremental,
    }
}

/// Index of the name in the static table, 0 for none, and how the field is sent.
#[inline]
pub(super) fn of(known: Name, name: &[u8]) -> (u8, Indexing) {
    match known {
        Name::Other => (statics::of_other(name), of_other(name)),
        known => (statics::of_known(known), of_known(known)),
    }
}

fn of_other(name: &[u8]) -> Indexing {
    // `api-key`, `x-goog-api-key`, `x-amz-security-token` and what others call theirs.
    if [&b"-key"[..], b"-token", b"-secret"]
        .iter()
        .any(|end| name.ends_with(end))
    {
        return Indexing::Never;
    }
    match name {
        b"server-timing"
        | b"age"
        | b"expires"
        | b"if-range"
        | b"if-unmodified-since"
        | b"x-correlation-id"
        | b"x-client-request-id"
        | b"x-amzn-trace-id" => Indexing::Without,
        _ => Indexing::Incremental,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        for (name, index, indexing) in [
            ("authorization", 23, Indexing::Never),
            ("cookie", 32, Indexing::Never),
            ("x-api-key", 0, Indexing::Never),
            ("api-key", 0, Indexing::Never),
            ("x-amz-security-token", 0, Indexing::Never),
            ("content-length", 28, Indexing::Without),
            ("age", 21, Indexing::Without),
            ("idempotency-key", 0, Indexing::Without),
            ("traceparent", 0, Indexing::Without),
            ("content-type", 31, Indexing::Incremental),
            ("accept-charset", 15, Indexing::Incremental),
            ("x-stainless-lang", 0, Indexing::Incremental),
        ] {
            let known = Name::from_bytes(name.as_bytes());
            assert_eq!(of(known, name.as_bytes()), (index, indexing), "{name}");
        }
    }
}
