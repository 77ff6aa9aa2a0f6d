//! Field sections to heads and trailers: RFC 9113 §8, without leniency.

use crate::error::{Code, Violation};
use crate::fields::Fields;
use crate::h2::config::{Config, Role};
use crate::h2::priority;
use crate::h2::section::{Fault, Section};
use crate::hop;
use crate::message::{Body, RequestHead, ResponseHead, Version};
use crate::method::Method;
use crate::name::Name;
use crate::octets;

/// RFC 8441 §4: what an extended CONNECT asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    None,
    Websocket,
    Unknown,
}

/// A request's head in the making.
#[derive(Debug)]
pub(crate) struct Request<'c, 'h> {
    section: Section<'c>,
    config: &'c Config,
    head: &'h mut RequestHead,
    method: Option<Method>,
    scheme: bool,
    path: bool,
    authority: bool,
    protocol: Protocol,
    host: bool,
    expect: bool,
    /// `sec-websocket-version: 13` once, and no other.
    websocket_versions: u32,
    websocket_13: bool,
    urgency: Option<u8>,
}

/// What a head says beside what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The content-length, unless the message has no content whatever it says.
    pub(crate) length: Option<u64>,
    /// RFC 9218 §5.
    pub(crate) urgency: Option<u8>,
    /// Whether DATA is a tunnel's from here on.
    pub(crate) tunnel: bool,
}

impl<'c, 'h> Request<'c, 'h> {
    /// Of a head that is larger than `room` the rest is not looked at.
    pub(crate) fn new(config: &'c Config, head: &'h mut RequestHead, room: u64) -> Self {
        head.clear();
        Self {
            section: Section::head(Role::Server, config).within(room),
            config,
            head,
            method: None,
            scheme: false,
            path: false,
            authority: false,
            protocol: Protocol::None,
            host: false,
            expect: false,
            websocket_versions: 0,
            websocket_13: false,
            urgency: None,
        }
    }

    pub(crate) fn section(&self) -> &Section<'c> {
        &self.section
    }

    /// One field, in order.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8], secret: bool) {
        if !self.section.admit(name, value) {
            return;
        }
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        match name {
            b"host" => self.host(value),
            b"expect" => self.expect(value),
            b"priority" => self.urgency = priority::urgency(value).or(self.urgency),
            b"sec-websocket-version" => {
                self.websocket_versions += 1;
                self.websocket_13 = value == b"13";
            }
            _ => {}
        }
        self.section
            .field(name, value, secret, &mut self.head.fields);
    }

    /// RFC 9113 §8.3.1: known, once each, before all other fields.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if !self.section.only_pseudo() {
            return self.section.malform("pseudo-header field behind a field");
        }
        let twice = match name {
            b":method" if self.method.is_none() => return self.method(value),
            b":scheme" => std::mem::replace(&mut self.scheme, true),
            b":path" => std::mem::replace(&mut self.path, true),
            b":authority" => std::mem::replace(&mut self.authority, true),
            b":protocol" if self.config.connect_protocol => self.protocol != Protocol::None,
            b":method" => true,
            _ => return self.section.malform("unknown pseudo-header field"),
        };
        if twice {
            return self.section.malform("a pseudo-header field came twice");
        }
        match name {
            b":scheme" if !matches!(value, b"http" | b"https") => {
                self.section.malform(":scheme is neither http nor https");
            }
            b":path" => self.path(value),
            b":authority" => self.authority(value),
            b":protocol" if value == b"websocket" => self.protocol = Protocol::Websocket,
            b":protocol" => self.protocol = Protocol::Unknown,
            _ => {}
        }
    }

    fn method(&mut self, value: &[u8]) {
        if !octets::is_token(value) {
            return self.section.malform(":method is not a token");
        }
        let method = Method::from_bytes(value)
            .filter(|_| value.len() <= self.config.limits.method_bytes_max);
        if method.is_none() {
            // RFC 9112 §3: longer than any implemented one.
            let refused = Code::NotImplemented;
            self.section.refuse(refused, "method is too long");
        }
        self.method = Some(method.unwrap_or_default());
    }

    fn path(&mut self, value: &[u8]) {
        if !matches!(value, [b'/', ..] | b"*") || !octets::is_target(value) {
            return self.section.malform(":path is not a path");
        }
        if value.len() > self.config.limits.request_line_bytes_max {
            return self.section.refuse(Code::UriTooLong, ":path is too long");
        }
        let stored = self.head.set_target(value);
        self.store(stored);
    }

    fn authority(&mut self, value: &[u8]) {
        // RFC 9113 §8.3.1: never empty for these schemes, and without userinfo.
        if value.is_empty() || memchr::memchr(b'@', value).is_some() {
            return self.section.malform(":authority is empty or has userinfo");
        }
        let stored = self.head.set_authority(value);
        self.store(stored);
    }

    /// RFC 9113 §8.3.1: what differs from `:authority` names somebody else.
    fn host(&mut self, value: &[u8]) {
        if std::mem::replace(&mut self.host, true) {
            let refused = Code::BadRequest;
            return self.section.refuse(refused, "more than one Host");
        }
        if !self.authority {
            let stored = self.head.set_authority(value);
            self.store(stored);
        } else if !value.eq_ignore_ascii_case(self.head.authority()) {
            let refused = Code::BadRequest;
            self.section.refuse(refused, "Host differs from :authority");
        }
    }

    /// RFC 9110 §10.1.1: any expectation but this one fails; a second one as well.
    fn expect(&mut self, value: &[u8]) {
        if std::mem::replace(&mut self.expect, true) || value != b"100-continue" {
            let failed = Code::ExpectationFailed;
            self.section.refuse(failed, "Expect is not 100-continue");
        }
    }

    fn store(&mut self, stored: Result<(), Violation>) {
        if let Err(violation) = stored {
            self.section.refuse(violation.code, violation.why);
        }
    }

    /// The head is complete; `end` says whether the message is.
    pub(crate) fn finish(mut self, end: bool) -> Result<Said, Fault> {
        self.check_pseudo();
        self.head.version = Version::Http2;
        self.head.keep_alive = true;
        self.head.method = self.method.unwrap_or_default();
        let length = self.section.length();
        let tunnel = self.protocol == Protocol::Websocket;
        if tunnel {
            self.check_websocket(end);
            // What an HTTP/1.1 upstream is asked for (RFC 8441 §5).
            self.head.method = Method::Get;
            self.head.websocket = true;
        } else if end && length.is_some_and(|length| length > 0) {
            self.section.malform("content-length without content");
        } else {
            self.head.body = body(length, end);
            self.head.expect_continue = self.expect && !end;
        }
        self.section.finish(&mut self.head.fields)?;
        Ok(Said {
            length: length.filter(|_| !tunnel),
            urgency: self.urgency,
            tunnel,
        })
    }

    /// RFC 9113 §8.3.1 and §8.5, RFC 8441 §4: which must be there, which must not.
    fn check_pseudo(&mut self) {
        let connect = self.method == Some(Method::Connect);
        match self.protocol {
            Protocol::None if connect => {
                if self.scheme || self.path || !self.authority {
                    return self.section.malform("CONNECT names more than an authority");
                }
                let refused = Code::MethodNotAllowed;
                return self.section.refuse(refused, "TRACE or CONNECT");
            }
            Protocol::Websocket | Protocol::Unknown if !connect => {
                return self.section.malform(":protocol without CONNECT");
            }
            Protocol::Unknown => {
                let refused = Code::NotImplemented;
                self.section.refuse(refused, ":protocol is unknown");
            }
            Protocol::Websocket if !self.authority => {
                return self.section.malform("extended CONNECT without :authority");
            }
            Protocol::None | Protocol::Websocket => {}
        }
        if self.method.is_none() || !self.scheme || !self.path {
            return self.section.malform("a pseudo-header field is missing");
        }
        if self.head.target() == b"*" && self.method != Some(Method::Options) {
            return self.section.malform(":path is * without OPTIONS");
        }
        if self.method == Some(Method::Trace) {
            let refused = Code::MethodNotAllowed;
            return self.section.refuse(refused, "TRACE or CONNECT");
        }
        if !self.authority && !self.host {
            let refused = Code::BadRequest;
            self.section.refuse(refused, "neither :authority nor Host");
        }
    }

    /// RFC 8441 §5: the handshake's version still counts; key and accept do not.
    fn check_websocket(&mut self, end: bool) {
        if end {
            self.section.malform("a WebSocket that is ended");
        }
        if self.websocket_versions != 1 || !self.websocket_13 {
            let refused = Code::BadRequest;
            self.section.refuse(refused, "WebSocket version is not 13");
        }
    }
}

fn body(length: Option<u64>, end: bool) -> Body {
    match length {
        Some(length) => Body::Length(length),
        None if end => Body::None,
        None => Body::Chunked,
    }
}

/// A response's head in the making.
#[derive(Debug)]
pub(crate) struct Response<'c, 'h> {
    section: Section<'c>,
    head: &'h mut ResponseHead,
}

impl<'c, 'h> Response<'c, 'h> {
    pub(crate) fn new(config: &'c Config, head: &'h mut ResponseHead) -> Self {
        head.clear();
        Self {
            section: Section::head(Role::Client, config),
            head,
        }
    }

    pub(crate) fn section(&self) -> &Section<'c> {
        &self.section
    }

    /// One field, in order.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8], secret: bool) {
        if !self.section.admit(name, value) {
            return;
        }
        if name.first() != Some(&b':') {
            return self
                .section
                .field(name, value, secret, &mut self.head.fields);
        }
        // RFC 9113 §8.3.2: this one, once, first.
        match value {
            _ if name != b":status" || self.head.status != 0 || !self.section.only_pseudo() => {
                self.section.malform("a pseudo-header field but :status");
            }
            [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                let digit = |octet: &u8| u16::from(*octet - b'0');
                self.head.status = digit(a) * 100 + digit(b) * 10 + digit(c);
            }
            _ => self.section.malform(":status is not a status code"),
        }
    }

    /// The head is complete. `end` says whether the message is, `bodiless` whether HEAD was asked,
    /// `tunnel` whether an extended CONNECT was.
    pub(crate) fn finish(mut self, end: bool, bodiless: bool, tunnel: bool) -> Result<Said, Fault> {
        let status = self.head.status;
        let mut length = self.section.length();
        self.head.version = Version::Http2;
        self.head.keep_alive = true;
        match status {
            0 => self.section.malform("no :status"),
            // RFC 9113 §8.6.
            101 => self.section.malform("101 in HTTP/2"),
            // RFC 9113 §8.1: an interim response ends nothing.
            100..200 if end => self.section.malform("an interim response that ends"),
            // RFC 9110 §8.6: these have no content and announce none.
            100..200 | 204 if length.is_some_and(|length| length > 0) => {
                self.section.malform("content announced with 1xx or 204");
            }
            _ => {}
        }
        let granted = tunnel && (200..300).contains(&status);
        if bodiless || granted || matches!(status, 100..200 | 204 | 304) {
            self.head.body = Body::None;
            length = (!granted && status >= 200).then_some(0);
        } else if end && length.is_some_and(|length| length > 0) {
            self.section.malform("content-length without content");
        } else {
            self.head.body = body(length, end);
        }
        self.section.finish(&mut self.head.fields)?;
        Ok(Said {
            length,
            urgency: None,
            tunnel: granted,
        })
    }
}

/// A trailer section in the making.
#[derive(Debug)]
pub(crate) struct Trailers<'c> {
    section: Section<'c>,
    fields: Fields,
}

impl<'c> Trailers<'c> {
    /// `role` is ours.
    pub(crate) fn new(role: Role, config: &'c Config) -> Self {
        Self {
            section: Section::trailers(role, config),
            fields: Fields::new(),
        }
    }

    pub(crate) fn section(&self) -> &Section<'c> {
        &self.section
    }

    /// One field, in order.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8], secret: bool) {
        if !self.section.admit(name, value) {
            return;
        }
        // RFC 9113 §8.1, RFC 9110 §6.5.1.
        let field = crate::fields::Field {
            known: Name::from_bytes(name),
            name,
            value,
            secret,
        };
        if name.first() == Some(&b':') || hop::trailer_forbidden(&field) {
            return self.section.malform("a field that is no trailer");
        }
        self.section.field(name, value, secret, &mut self.fields);
    }

    /// The section is complete.
    pub(crate) fn finish(mut self) -> Result<Fields, Fault> {
        self.section.finish(&mut self.fields)?;
        Ok(self.fields)
    }
}
