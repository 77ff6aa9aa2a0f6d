//! Which fields end at this hop, what `Connection` may list, and which trailers may pass.
//!
//! The verdicts for a peer's bytes are given by the readers; the engine asks the rest when it
//! forwards.

use crate::error::Violation;
use crate::fields::{Field, Fields};
use crate::name::Name;
use crate::octets;

const fn set(names: &[Name]) -> u128 {
    let mut bits = 0;
    let mut rest = names;
    while let [first, others @ ..] = rest {
        bits |= first.bit();
        rest = others;
    }
    bits
}

/// RFC 9110 §7.6.1 and §11.7, RFC 9113 §3.1: never forwarded, listed or not.
const HOP_BY_HOP: u128 = set(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::Te,
    Name::Trailer,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::ProxyAuthenticate,
    Name::ProxyAuthorization,
    Name::Http2Settings,
]);

/// RFC 9113 §8.2.2: what makes a message malformed where connections carry many.
const CONNECTION_SPECIFIC: u128 = set(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::TransferEncoding,
    Name::Upgrade,
]);

/// Who the client is: a peer must not be able to have these removed or smuggled in.
const IDENTITY: u128 = set(&[
    Name::Forwarded,
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedPort,
    Name::XForwardedPrefix,
    Name::XRealIp,
    Name::XRequestId,
    Name::InferenceObjective,
    Name::InferenceFairnessId,
    Name::DestinationEndpoint,
    Name::DestinationEndpointServed,
    Name::DestinationEndpointSubset,
]);

/// Who may do it, and to whom it goes.
const AUTHORITY: u128 = set(&[
    Name::Host,
    Name::Authorization,
    Name::ApiKey,
    Name::Cookie,
    Name::SetCookie,
    Name::WwwAuthenticate,
]);

/// RFC 9110 §7.6.1: "a sender MUST NOT send a connection option corresponding to a field that is
/// intended for all recipients". Listing one of these would have us strip it for the attacker.
const NOT_LISTABLE: u128 = IDENTITY | AUTHORITY;

/// RFC 9110 §6.5.1: framing, routing, authentication, request modifiers, content.
const NOT_A_TRAILER: u128 = HOP_BY_HOP | IDENTITY | AUTHORITY | set(&[Name::Expect]);

/// Trailers that a forwarder may keep, if its client said `TE: trailers`.
const TRAILERS: u128 = set(&[
    Name::GrpcStatus,
    Name::GrpcMessage,
    Name::GrpcStatusDetails,
    Name::EndpointLoadMetrics,
]);

/// Checksums and timings: known only after the body.
const OTHER_TRAILERS: &[&[u8]] = &[
    b"repr-digest",
    b"digest",
    b"server-timing",
    b"endpoint-load-metrics-bin",
    b"x-amz-checksum-crc32",
    b"x-amz-checksum-crc32c",
    b"x-amz-checksum-sha256",
];

/// Whether a field of this name ends at this hop (RFC 9110 §7.6.1).
#[inline]
pub const fn is_hop_by_hop(name: Name) -> bool {
    HOP_BY_HOP & name.bit() != 0
}

/// Whether a field of this name has no place in HTTP/2 (RFC 9113 §8.2.2). TE has one, with the
/// value `trailers`.
#[inline]
pub(crate) const fn is_connection_specific(name: Name) -> bool {
    CONNECTION_SPECIFIC & name.bit() != 0
}

/// Whether a forwarder may keep a trailer of this lower-case name.
pub fn trailer_allowed(name: &[u8]) -> bool {
    match Name::from_bytes(name) {
        Name::Other => OTHER_TRAILERS.contains(&name),
        known => TRAILERS & known.bit() != 0,
    }
}

/// Whether this lower-case name must not be a trailer at all.
pub(crate) fn trailer_forbidden(field: &Field<'_>) -> bool {
    NOT_A_TRAILER & field.known.bit() != 0
        || field.name.starts_with(b"content-")
        || field.name.starts_with(b"x-forwarded-")
}

/// RFC 9110 §10.1.4: whether the peer said `TE: trailers`.
pub fn accepts_trailers(fields: &Fields) -> bool {
    fields
        .iter()
        .filter(|field| field.known == Name::Te)
        .flat_map(|field| field.value.split(|&byte| byte == b','))
        .any(|member| octets::trim(member).eq_ignore_ascii_case(b"trailers"))
}

/// The names that `Connection` lists. Allocates only if it lists a name that we do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionNames {
    known: u128,
    close: bool,
    /// Unknown names in lower case, each followed by a comma.
    others: Vec<u8>,
}

impl ConnectionNames {
    /// Reads every `Connection` field. Refuses members that are no token (pseudo-fields among
    /// them) and names that must reach the other side.
    pub fn of(fields: &Fields) -> Result<Self, Violation> {
        let mut names = Self::default();
        for field in fields
            .iter()
            .filter(|field| field.known == Name::Connection)
        {
            names.read(field.value)?;
        }
        Ok(names)
    }

    pub(crate) fn read(&mut self, value: &[u8]) -> Result<(), Violation> {
        match value {
            b"keep-alive" => self.known |= Name::KeepAlive.bit(),
            b"close" => self.close = true,
            _ => {
                for member in value.split(|&byte| byte == b',') {
                    self.add(octets::trim(member))?;
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, member: &[u8]) -> Result<(), Violation> {
        // RFC 9110 §5.6.1.2: empty list members are to be ignored.
        if member.is_empty() {
            return Ok(());
        }
        if !octets::is_token(member) {
            return Err(Violation::bad_request("Connection lists what is no token"));
        }
        let known = Name::from_bytes(member);
        let prefixed = |prefix: &[u8]| {
            member
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if NOT_LISTABLE & known.bit() != 0 || prefixed(b"content-") || prefixed(b"x-forwarded-") {
            return Err(Violation::bad_request(
                "Connection lists a field meant for all recipients",
            ));
        }
        if member.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if known == Name::Other {
            let start = self.others.len();
            self.others.extend_from_slice(member);
            self.others.push(b',');
            self.others
                .get_mut(start..)
                .unwrap_or_default()
                .make_ascii_lowercase();
        } else {
            self.known |= known.bit();
        }
        Ok(())
    }

    /// Whether `close` is listed.
    pub fn close(&self) -> bool {
        self.close
    }

    /// Whether `keep-alive` is listed.
    pub fn keep_alive(&self) -> bool {
        self.known & Name::KeepAlive.bit() != 0
    }

    /// Whether `upgrade` is listed.
    pub fn upgrade(&self) -> bool {
        self.known & Name::Upgrade.bit() != 0
    }

    /// Whether this field's name is listed, so that it ends at this hop.
    #[inline]
    pub fn lists(&self, field: &Field<'_>) -> bool {
        match field.known {
            Name::Other => {
                !self.others.is_empty()
                    && self
                        .others
                        .split(|&byte| byte == b',')
                        .any(|name| name == field.name)
            }
            known => self.known & known.bit() != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: &[&str]) -> Result<ConnectionNames, Violation> {
        let mut fields = Fields::new();
        for value in values {
            fields.push_known(Name::Connection, value.as_bytes());
        }
        ConnectionNames::of(&fields)
    }

    fn field(name: &str) -> Field<'_> {
        Field {
            known: Name::from_bytes(name.as_bytes()),
            name: name.as_bytes(),
            value: b"",
            secret: false,
        }
    }

    #[test]
    fn lists_what_was_listed() {
        let listed = names(&["Keep-Alive, X-Custom", "close,,Upgrade , traceparent"]).unwrap();
        assert!(listed.close() && listed.keep_alive() && listed.upgrade());
        assert!(listed.lists(&field("x-custom")));
        assert!(listed.lists(&field("traceparent")));
        assert!(!listed.lists(&field("x-cust")));
        assert!(!listed.lists(&field("accept")));
        assert!(!names(&["keep-alive"]).unwrap().lists(&field("x-custom")));
        assert!(!names(&[]).unwrap().lists(&field("")));
    }

    #[test]
    fn refuses_names_for_all_recipients() {
        for name in [
            "Host",
            "content-length",
            "Content-Md5",
            "Authorization",
            "cookie",
            "X-Forwarded-For",
            "x-forwarded-anything",
            "x-real-ip",
            "X-Request-Id",
            "forwarded",
            ":path",
            "a b",
            "a/b",
            "x-api-key",
            "set-cookie",
            "\"close\"",
        ] {
            assert!(
                names(&["keep-alive", &format!("close, {name}")]).is_err(),
                "{name}"
            );
            assert!(names(&[name]).is_err(), "{name}");
        }
    }

    #[test]
    fn trailers() {
        for name in [
            "grpc-status",
            "grpc-message",
            "repr-digest",
            "server-timing",
        ] {
            assert!(
                trailer_allowed(name.as_bytes()) && !trailer_forbidden(&field(name)),
                "{name}"
            );
        }
        for name in ["x-unknown", "via", "date"] {
            assert!(!trailer_allowed(name.as_bytes()) && !trailer_forbidden(&field(name)));
        }
        for name in [
            "content-length",
            "content-foo",
            "host",
            "authorization",
            "te",
            "cookie",
        ] {
            assert!(
                !trailer_allowed(name.as_bytes()) && trailer_forbidden(&field(name)),
                "{name}"
            );
        }
        let mut fields = Fields::new();
        fields.push_known(Name::Te, b"gzip, Trailers");
        assert!(accepts_trailers(&fields));
        fields.clear();
        fields.push_known(Name::Te, b"trailers;q=1");
        assert!(!accepts_trailers(&fields));
    }
}
