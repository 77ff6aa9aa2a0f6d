//! Which header fields go on, which stay here, and which are ours.
//!
//! **Invariant:** hop-by-hop fields never pass (RFC 9110 §7.6.1); identity headers pass only from
//! trusted peers; every value goes through the one serialiser, which refuses to split a head.

use std::net::IpAddr;

use crate::error::Failure;
use crate::exchange::{Exchange, Framing};
use crate::shared::Endpoint;
use crate::snapshot::{HostPolicy, Pool};
use wire::h1::encode;
use wire::hop::{self, ConnectionNames};
use wire::{Body, Field, Fields, Name, ResponseHead};

/// Prefix of our own headers, which no client may set.
const OURS: &[u8] = b"x-fastproxy-";

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    // A field of ours that cannot be serialised is left out whole: never a split head.
    let _ = encode::field(out, name, value);
}

/// The request as the upstream sees it.
pub(crate) fn request(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    pool: &Pool,
    endpoint: &Endpoint,
    via: &[u8],
) {
    let head = &exchange.head;
    let target = head.target();
    let stripped = strip(target, &pool.strip_prefix);
    if endpoint.path_prefix.is_empty() {
        encode::request_line(out, head.method.as_str(), stripped);
    } else {
        let target = [endpoint.path_prefix.as_bytes(), stripped].concat();
        encode::request_line(out, head.method.as_str(), &target);
    }
    let host = match &pool.host {
        HostPolicy::Client if !head.authority().is_empty() => head.authority(),
        HostPolicy::Client | HostPolicy::Endpoint => endpoint.authority.as_bytes(),
        HostPolicy::Literal(name) => name.as_bytes(),
    };
    line(out, b"host", host);
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
            Name::XForwardedPort | Name::XRealIp | Name::Forwarded => exchange.trusted,
            Name::Other => exchange.trusted || !field.name.starts_with(OURS),
            known => !hop::is_hop_by_hop(known),
        };
        if passes && !listed.lists(&field) && !pool.request_headers.drops(field.known, field.name) {
            encode::field_unchecked(out, field);
        }
    }
    forwarding(out, exchange, via);
    if head.websocket {
        put(out, b"connection", b"upgrade");
        put(out, b"upgrade", b"websocket");
    } else if hop::accepts_trailers(&head.fields) {
        line(out, b"te", b"trailers");
    }
    match head.body {
        Body::Length(length) => encode::content_length(out, length),
        Body::Chunked => encode::transfer_encoding_chunked(out),
        Body::None | Body::UntilClose => {}
    }
    for (name, value) in &pool.request_headers.set {
        line(out, name, value);
    }
    encode::end_of_head(out);
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

/// A line whose name and value are known to be good: constants, what a reader checked, and text
/// that is made here.
fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    encode::field_unchecked(
        out,
        Field {
            known: Name::Other,
            name,
            value,
        },
    );
}

fn via_line(out: &mut Vec<u8>, earlier: &Fields, via: &[u8]) {
    out.extend_from_slice(b"via: ");
    for field in earlier.iter().filter(|f| f.known == Name::Via) {
        out.extend_from_slice(field.value);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"1.1 ");
    out.extend_from_slice(via);
    out.extend_from_slice(b"\r\n");
}

fn forwarding(out: &mut Vec<u8>, exchange: &Exchange, via: &[u8]) {
    let fields = &exchange.head.fields;
    let known = |name: Name| exchange.trusted.then(|| fields.find(name)).flatten();
    via_line(out, fields, via);
    forwarded_for(out, exchange);
    let proto = known(Name::XForwardedProto).unwrap_or(b"http");
    line(out, b"x-forwarded-proto", proto);
    let host = known(Name::XForwardedHost).unwrap_or(exchange.head.authority());
    if !host.is_empty() {
        line(out, b"x-forwarded-host", host);
    }
    line(out, b"x-request-id", exchange.request_id.as_bytes());
}

fn forwarded_for(out: &mut Vec<u8>, exchange: &Exchange) {
    let fields = exchange.head.fields.iter();
    let earlier = fields.filter(|f| exchange.trusted && f.known == Name::XForwardedFor);
    let start = out.len();
    for field in earlier {
        let before: &[u8] = if out.len() > start {
            b", "
        } else {
            b"x-forwarded-for: "
        };
        out.extend_from_slice(before);
        out.extend_from_slice(field.value);
    }
    if let Some(peer) = exchange.peer {
        let before: &[u8] = if out.len() > start {
            b", "
        } else {
            b"x-forwarded-for: "
        };
        out.extend_from_slice(before);
        address(out, peer);
    }
    if out.len() > start {
        out.extend_from_slice(b"\r\n");
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    use std::io::Write;
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                encode::decimal(out, u64::from(octet));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// The upstream's response as the client sees it.
pub(crate) fn response(out: &mut Vec<u8>, exchange: &Exchange, pool: &Pool, via: &[u8]) {
    let head = &exchange.response.head;
    encode::status_line(out, head.status);
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
            encode::field_unchecked(out, field);
        }
    }
    match exchange.response.framing {
        Framing::Length => match head.body {
            Body::Length(length) => encode::content_length(out, length),
            _ => encode::content_length(out, 0),
        },
        Framing::Chunked => encode::transfer_encoding_chunked(out),
        Framing::None | Framing::Close => {}
    }
    if sse {
        line(out, b"x-accel-buffering", b"no");
    }
    via_line(out, &head.fields, via);
    for (name, value) in &pool.response_headers.set {
        line(out, name, value);
    }
    response_extras(out, exchange);
    encode::end_of_head(out);
}

/// A 103 or 102, passed on.
pub(crate) fn interim(out: &mut Vec<u8>, head: &ResponseHead) {
    encode::status_line(out, head.status);
    for field in head.fields.iter().filter(|f| !hop::is_hop_by_hop(f.known)) {
        encode::field_unchecked(out, field);
    }
    encode::end_of_head(out);
}

/// The 101 of a WebSocket.
pub(crate) fn switching(out: &mut Vec<u8>, exchange: &Exchange, via: &[u8]) {
    let head = &exchange.response.head;
    encode::status_line(out, 101);
    for field in head.fields.iter().filter(|f| !hop::is_hop_by_hop(f.known)) {
        encode::field_unchecked(out, field);
    }
    put(out, b"connection", b"upgrade");
    put(out, b"upgrade", b"websocket");
    put(out, b"via", &[b"1.1 ", via].concat());
    line(out, b"x-request-id", exchange.request_id.as_bytes());
    encode::end_of_head(out);
}

/// What every response of this gateway carries.
pub(crate) fn response_extras(out: &mut Vec<u8>, exchange: &Exchange) {
    line(out, b"x-request-id", exchange.request_id.as_bytes());
    if exchange.response.close {
        line(out, b"connection", b"close");
    } else if exchange.head.version == wire::Version::Http10 {
        line(out, b"connection", b"keep-alive");
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
fn expose(out: &mut Vec<u8>, exchange: &Exchange) {
    use std::io::Write;
    if let Some(attempt) = &exchange.attempt {
        put(
            out,
            b"x-fastproxy-endpoint",
            attempt.endpoint.name.as_bytes(),
        );
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
        put(out, b"server-timing", &text);
    }
}

/// The trailer fields that may pass (RFC 9110 §6.5.1); `None` if there are none.
pub(crate) fn trailers(fields: &Fields) -> Option<Box<Fields>> {
    let mut kept = Fields::new();
    for field in fields.iter().filter(|f| hop::trailer_allowed(f.name)) {
        kept.push(field.name, field.value);
    }
    (!kept.is_empty()).then(|| Box::new(kept))
}

/// Lines of fields that came from the control plane; one that cannot be serialised is left out.
pub(crate) fn lines(out: &mut Vec<u8>, fields: &[(String, String)]) {
    for (name, value) in fields {
        put(out, name.as_bytes(), value.as_bytes());
    }
}

/// The lines that a failure calls for: retry times, rate limits, allowed methods.
pub(crate) fn failure(
    out: &mut Vec<u8>,
    failure: &Failure,
    retry_ms: Option<u64>,
    exchange: &Exchange,
    now_ns: u64,
) {
    if let Some(ms) = retry_ms {
        number(out, b"retry-after: ", ms.div_ceil(1000).max(1), b"\r\n");
        number(out, b"retry-after-ms: ", ms.max(1), b"\r\n");
    }
    match failure.kind.should_retry_header() {
        Some(true) => line(out, b"x-should-retry", b"true"),
        Some(false) => line(out, b"x-should-retry", b"false"),
        None => {}
    }
    match (failure.kind.status(), &exchange.pool) {
        (405, _) => line(
            out,
            b"allow",
            b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
        ),
        (429, Some(pool)) => {
            // draft-ietf-httpapi-ratelimit-headers-10.
            let rate = pool.room.rate(now_ns);
            let name = pool.name.as_bytes();
            for part in [&b"ratelimit-policy: \""[..], name] {
                out.extend_from_slice(part);
            }
            let unit = b";qu=\"concurrent-requests\"\r\n";
            number(out, b"\";q=", u64::from(rate.limit), unit);
            for part in [&b"ratelimit: \""[..], name] {
                out.extend_from_slice(part);
            }
            number(out, b"\";r=", u64::from(rate.remaining), b"");
            number(out, b";t=", u64::from(rate.reset_s), b"\r\n");
        }
        _ => {}
    }
}

fn number(out: &mut Vec<u8>, before: &[u8], value: u64, after: &[u8]) {
    out.extend_from_slice(before);
    encode::decimal(out, value);
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_stripped_on_segment_borders_only() {
        assert_eq!(strip(b"/llm/v1/models", b"/llm"), b"/v1/models");
        assert_eq!(strip(b"/llm", b"/llm"), b"/");
        assert_eq!(strip(b"/llmx/v1", b"/llm"), b"/llmx/v1");
        assert_eq!(strip(b"/v1", b""), b"/v1");
    }
}
