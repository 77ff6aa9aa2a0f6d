//! Which header fields go on, which stay here, and which are ours.
//!
//! **Invariant:** hop-by-hop fields never pass (RFC 9110 §7.6.1); identity headers pass only from
//! trusted peers; every value goes through the one serialiser, which refuses to split a head.

use std::net::IpAddr;

use crate::error::Failure;
use crate::exchange::{Exchange, Framing};
use crate::grpc;
use crate::peer::{RequestLine, Sink};
use crate::shared::Endpoint;
use crate::snapshot::{Dialect, HostPolicy, Pool};
use wire::h1::encode;
use wire::hop::{self, ConnectionNames};
use wire::{Body, Fields, Name, ResponseHead, Version};

/// How names of fields begin by which gateways tell who a client is: ours, and those of others,
/// `x-forwarded-client-cert` among them. Only a gateway that we trust may say them.
const IDENTITY: [&[u8]; 2] = [b"x-fastproxy-", b"x-forwarded-"];

fn is_identity(name: &[u8]) -> bool {
    IDENTITY.iter().any(|prefix| name.starts_with(prefix))
}

/// The request as the upstream sees it.
pub(crate) fn request(
    out: &mut impl Sink,
    exchange: &Exchange,
    pool: &Pool,
    endpoint: &Endpoint,
    via: &[u8],
) {
    let head = &exchange.head;
    let stripped = strip(head.target(), &pool.strip_prefix);
    let prefixed;
    let target = if endpoint.path_prefix.is_empty() {
        stripped
    } else {
        prefixed = [endpoint.path_prefix.as_bytes(), stripped].concat();
        &prefixed
    };
    let authority = match &pool.host {
        HostPolicy::Client if !head.authority().is_empty() => head.authority(),
        HostPolicy::Client | HostPolicy::Endpoint => endpoint.authority.as_bytes(),
        HostPolicy::Literal(name) => name.as_bytes(),
    };
    out.request(&RequestLine {
        method: head.method.as_str(),
        target,
        authority,
    });
    let listed = ConnectionNames::of(&head.fields).unwrap_or_default();
    let stream = exchange.wants_stream();
    for field in head.fields.iter() {
        let passes = match field.known {
            Name::Host
            | Name::ContentLength
            | Name::Expect
            | Name::Via
            | Name::XRequestId
            | Name::XForwardedFor
            | Name::XForwardedProto
            | Name::XForwardedHost => false,
            Name::AcceptEncoding => !stream,
            Name::XForwardedPort | Name::XForwardedPrefix | Name::XRealIp | Name::Forwarded => {
                exchange.trusted
            }
            Name::GrpcTimeout => exchange.time_limit_ns == 0,
            Name::Other => exchange.trusted || !is_identity(field.name),
            known => !hop::is_hop_by_hop(known),
        };
        if passes && !listed.lists(&field) && !pool.request_headers.drops(field.known, field.name) {
            out.field(field);
        }
    }
    forwarding(out, exchange, via);
    deadline(out, exchange, pool);
    if head.websocket {
        out.hop(Name::Connection, b"upgrade");
        out.hop(Name::Upgrade, b"websocket");
    } else if hop::accepts_trailers(&head.fields) {
        out.known(Name::Te, b"trailers");
    }
    match head.body {
        Body::Length(length) => out.length(length),
        Body::Chunked => out.hop(Name::TransferEncoding, b"chunked"),
        Body::None | Body::UntilClose => {}
    }
    for (name, value) in &pool.request_headers.set {
        out.line(name, value);
    }
    out.end();
}

/// What is left of the caller's deadline now that the attempt begins: the time in our queue, and
/// in attempts before this one, is gone.
fn deadline(out: &mut impl Sink, exchange: &Exchange, pool: &Pool) {
    let Some(attempt) = exchange.attempt.as_ref() else {
        return;
    };
    let name = Name::GrpcTimeout;
    if exchange.time_limit_ns > 0 && !pool.request_headers.drops(name, name.as_str().as_bytes()) {
        let gone_ns = attempt.started_ns.saturating_sub(exchange.marks.started_ns);
        let left_ns = exchange.time_limit_ns.saturating_sub(gone_ns);
        out.known(name, &grpc::timeout_text(left_ns));
    }
}

/// `path` without the pool's prefix, if it has it on a segment border.
fn strip<'a>(target: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    if prefix.is_empty() {
        return target;
    }
    match target.strip_prefix(prefix) {
        Some(rest) if rest.first() == Some(&b'/') => rest,
        Some([]) => b"/",
        _ => target,
    }
}

fn via_line(out: &mut impl Sink, earlier: &Fields, version: Version, via: &[u8]) {
    out.open(Name::Via);
    for field in earlier.iter().filter(|f| f.known == Name::Via) {
        out.part(field.value);
        out.part(b", ");
    }
    out.part(match version {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2 ",
    });
    out.part(via);
    out.shut();
}

fn forwarding(out: &mut impl Sink, exchange: &Exchange, via: &[u8]) {
    let fields = &exchange.head.fields;
    let known = |name: Name| exchange.trusted.then(|| fields.find(name)).flatten();
    via_line(out, fields, exchange.head.version, via);
    forwarded_for(out, exchange);
    let proto = known(Name::XForwardedProto).unwrap_or(match exchange.tls {
        Some(_) => b"https",
        None => b"http",
    });
    out.known(Name::XForwardedProto, proto);
    let host = known(Name::XForwardedHost).unwrap_or(exchange.head.authority());
    if !host.is_empty() {
        out.known(Name::XForwardedHost, host);
    }
    out.known(Name::XRequestId, exchange.request_id.as_bytes());
}

fn forwarded_for(out: &mut impl Sink, exchange: &Exchange) {
    let fields = exchange.head.fields.iter();
    let earlier = fields.filter(|f| exchange.trusted && f.known == Name::XForwardedFor);
    let mut begun = false;
    let mut next = |out: &mut dyn Sink| {
        if std::mem::replace(&mut begun, true) {
            out.part(b", ");
        } else {
            out.open(Name::XForwardedFor);
        }
    };
    for field in earlier {
        next(out);
        out.part(field.value);
    }
    if let Some(peer) = exchange.peer {
        next(out);
        address(out, peer);
    }
    if begun {
        out.shut();
    }
}

fn address(out: &mut dyn Sink, address: IpAddr) {
    use std::io::Write;
    // The longest IPv6 text has 45 bytes.
    let mut text = [0_u8; 48];
    let mut rest = &mut text[..];
    // Fits, by its size.
    let _ = write!(rest, "{address}");
    let left = rest.len();
    out.part(&text[..text.len() - left]);
}

/// The upstream's response as the client sees it.
pub(crate) fn response(out: &mut impl Sink, exchange: &Exchange, pool: &Pool, via: &[u8]) {
    let head = &exchange.response.head;
    out.status(head.status);
    let cors = exchange
        .listener
        .as_ref()
        .is_some_and(|l| l.plan.cors.is_some());
    let sse = exchange.response.sse;
    let listed = ConnectionNames::of(&head.fields).unwrap_or_default();
    for field in head.fields.iter() {
        let passes = match field.known {
            Name::ContentLength => exchange.response.framing == Framing::None,
            Name::XRequestId | Name::Via | Name::EndpointLoadMetrics => false,
            Name::XAccelBuffering => !sse,
            known => !hop::is_hop_by_hop(known),
        };
        let theirs = cors && field.name.starts_with(b"access-control-");
        if passes
            && !theirs
            && !listed.lists(&field)
            && !pool.response_headers.drops(field.known, field.name)
        {
            out.field(field);
        }
    }
    match exchange.response.framing {
        Framing::Length => match head.body {
            Body::Length(length) => out.length(length),
            _ => out.length(0),
        },
        Framing::Chunked => out.hop(Name::TransferEncoding, b"chunked"),
        Framing::None | Framing::Close => {}
    }
    if sse {
        out.known(Name::XAccelBuffering, b"no");
    }
    via_line(out, &head.fields, head.version, via);
    for (name, value) in &pool.response_headers.set {
        out.line(name, value);
    }
    response_extras(out, exchange);
    out.end();
}

/// A 103 or 102, passed on.
pub(crate) fn interim(out: &mut impl Sink, head: &ResponseHead) {
    out.status(head.status);
    for field in head.fields.iter().filter(|f| !hop::is_hop_by_hop(f.known)) {
        out.field(field);
    }
    out.end();
}

/// The agreement to a WebSocket: 101, or 200 to an extended CONNECT (RFC 8441 §5).
pub(crate) fn switching(out: &mut impl Sink, exchange: &Exchange, via: &[u8]) {
    let head = &exchange.response.head;
    out.status(if exchange.stream == 0 { 101 } else { 200 });
    for field in head.fields.iter().filter(|f| !hop::is_hop_by_hop(f.known)) {
        // The key's echo proves an HTTP/1.1 handshake; RFC 8441 has none.
        if exchange.stream == 0 || field.name != b"sec-websocket-accept" {
            out.field(field);
        }
    }
    out.hop(Name::Connection, b"upgrade");
    out.hop(Name::Upgrade, b"websocket");
    via_line(out, &head.fields, head.version, via);
    out.known(Name::XRequestId, exchange.request_id.as_bytes());
    out.end();
}

/// What every response of this gateway carries.
pub(crate) fn response_extras(out: &mut impl Sink, exchange: &Exchange) {
    out.known(Name::XRequestId, exchange.request_id.as_bytes());
    if exchange.response.close {
        out.hop(Name::Connection, b"close");
    } else if exchange.head.version == Version::Http10 {
        out.hop(Name::Connection, b"keep-alive");
    }
    if exchange.route.as_ref().is_some_and(|r| r.expose) {
        expose(out, exchange);
    }
    if let Some(listener) = &exchange.listener
        && listener.plan.cors.is_some()
    {
        crate::cors::fields(out, exchange, listener);
    }
}

/// Endpoint and timing, for routes that show them (Server-Timing).
fn expose(out: &mut impl Sink, exchange: &Exchange) {
    use std::io::Write;
    if let Some(attempt) = &exchange.attempt {
        out.put(b"x-fastproxy-endpoint", attempt.endpoint.name.as_bytes());
    }
    let marks = &exchange.marks;
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    let mut text = Vec::with_capacity(64);
    if marks.dispatched_ns > 0 {
        let queue = ms(marks.started_ns, marks.dispatched_ns);
        // Writing to a Vec cannot fail.
        let _ = write!(text, "queue;dur={queue:.3}");
        if marks.head_ns > 0 {
            let upstream = ms(marks.dispatched_ns, marks.head_ns);
            let _ = write!(text, ", upstream;dur={upstream:.3}");
        }
        out.put(b"server-timing", &text);
    }
}

/// Adds the key of a WebSocket handshake (RFC 6455 §4.1): 16 random octets in base64.
pub(crate) fn websocket_key(fields: &mut Fields, random: [u64; 2]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if fields.find_str("sec-websocket-key").is_some() {
        return;
    }
    let octets = [random[0].to_be_bytes(), random[1].to_be_bytes()].concat();
    let mut key = Vec::with_capacity(24);
    for three in octets.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(three.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            key.push(if at <= three.len() { digit } else { b'=' });
        }
    }
    fields.push(b"sec-websocket-key", &key);
}

/// The trailer fields that may pass (RFC 9110 §6.5.1); `None` if there are none. gRPC has metadata
/// of any name there, which HTTP/2's own rules have passed.
pub(crate) fn trailers(fields: &Fields, dialect: Dialect) -> Option<Box<Fields>> {
    let any = dialect == Dialect::Grpc;
    let mut kept = Fields::new();
    let passes =
        |name: &[u8], known: Name| hop::trailer_allowed(name) || any && !hop::is_hop_by_hop(known);
    for field in fields.iter().filter(|f| passes(f.name, f.known)) {
        kept.push(field.name, field.value);
    }
    (!kept.is_empty()).then(|| Box::new(kept))
}

/// What an answer of ours says beside its status, type and length.
#[derive(Clone, Copy)]
pub(crate) enum Extra<'a> {
    /// Nothing.
    None,
    /// What a failure calls for: retry times in milliseconds, rate limits, allowed methods.
    Failure(&'a Failure, Option<u64>),
    /// The status of a gRPC call that failed before its first message: trailers, and no head.
    Grpc(&'a Failure),
    /// Fields of the control plane; one that cannot be serialised is left out.
    Fields(&'a [(String, String)]),
}

impl Extra<'_> {
    /// Appends the fields.
    pub(crate) fn write(self, out: &mut impl Sink, exchange: &Exchange, now_ns: u64) {
        match self {
            Self::None => {}
            Self::Grpc(failure) => {
                for (name, value) in grpc::fields(failure) {
                    out.line(name.as_bytes(), value.as_bytes());
                }
            }
            Self::Failure(of, retry_ms) => failure(out, of, retry_ms, exchange, now_ns),
            Self::Fields(fields) => {
                for (name, value) in fields {
                    out.put(name.as_bytes(), value.as_bytes());
                }
            }
        }
    }
}

fn failure(
    out: &mut impl Sink,
    failure: &Failure,
    retry_ms: Option<u64>,
    exchange: &Exchange,
    now_ns: u64,
) {
    if let Some(ms) = retry_ms {
        out.number(b"retry-after", ms.div_ceil(1000).max(1));
        out.number(b"retry-after-ms", ms.max(1));
    }
    match failure.kind.should_retry_header() {
        Some(true) => out.line(b"x-should-retry", b"true"),
        Some(false) => out.line(b"x-should-retry", b"false"),
        None => {}
    }
    match (failure.kind.status(), &exchange.pool) {
        (405, _) => out.line(b"allow", b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
        (429, Some(pool)) => {
            // draft-ietf-httpapi-ratelimit-headers-10.
            let rate = pool.room.rate(now_ns);
            let name = pool.name.as_bytes();
            let mut text = Vec::with_capacity(name.len() + 48);
            for (field, q, number, rest) in [
                (&b"ratelimit-policy"[..], &b"\";q="[..], rate.limit, None),
                (b"ratelimit", b"\";r=", rate.remaining, Some(rate.reset_s)),
            ] {
                text.clear();
                text.push(b'"');
                text.extend_from_slice(name);
                text.extend_from_slice(q);
                encode::decimal(&mut text, u64::from(number));
                match rest {
                    None => text.extend_from_slice(b";qu=\"concurrent-requests\""),
                    Some(reset_s) => {
                        text.extend_from_slice(b";t=");
                        encode::decimal(&mut text, u64::from(reset_s));
                    }
                }
                out.line(field, &text);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_key_is_sixteen_octets_in_base64() {
        let mut fields = Fields::new();
        // RFC 6455 §1.3: "the sample nonce".
        let words = [0x7468_6520_7361_6d70, 0x6c65_206e_6f6e_6365];
        websocket_key(&mut fields, words);
        let key = fields.find_str("sec-websocket-key");
        assert_eq!(key, Some(&b"dGhlIHNhbXBsZSBub25jZQ=="[..]));
    }

    #[test]
    fn a_prefix_is_stripped_on_segment_borders_only() {
        assert_eq!(strip(b"/llm/v1/models", b"/llm"), b"/v1/models");
        assert_eq!(strip(b"/llm", b"/llm"), b"/");
        assert_eq!(strip(b"/llmx/v1", b"/llm"), b"/llmx/v1");
        assert_eq!(strip(b"/v1", b""), b"/v1");
    }
}
