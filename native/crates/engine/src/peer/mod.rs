//! The two peers of an exchange, whatever version they speak: the border below the stages.
//!
//! A stage says what happens to an exchange (`client_head`, `client_body`, `pump_request`); here it
//! becomes lines and chunks of HTTP/1.1 or frames of one stream of HTTP/2. **Invariant:** this
//! folder is the only place of the engine that asks which version a connection speaks.

mod client;
mod client_h2;
mod h2;
mod upstream;
mod upstream_h2;

pub(crate) use client::Said;
pub(crate) use h2::H2;
pub(crate) use upstream_h2::Shard;

use wire::h1::encode;
use wire::h2::HeadWriter;
use wire::{Field, Name};

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a [u8],
    /// Host and port.
    pub(crate) authority: &'a [u8],
}

/// Where a head goes: lines of HTTP/1.1, or one field block of HTTP/2.
///
/// Names are in lower case. What comes in by `put` is checked, since it was made of configuration
/// or of a peer's words; the rest was checked by a reader or is a constant.
pub(crate) trait Sink {
    /// The first line of a request, or its pseudo-header fields.
    fn request(&mut self, line: &RequestLine<'_>);
    /// The first line of a response, or its pseudo-header field.
    fn status(&mut self, status: u16);
    /// One field that a reader gave.
    fn field(&mut self, field: Field<'_>);
    /// Begins a field whose value comes in parts.
    fn open(&mut self, name: Name);
    /// A part of the value.
    fn part(&mut self, bytes: &[u8]);
    /// Ends the value.
    fn shut(&mut self);
    /// A field of this hop, which only HTTP/1.1 has.
    fn hop(&mut self, name: Name, value: &[u8]);
    /// The end of the head.
    fn end(&mut self);

    /// One field of a known name.
    fn known(&mut self, name: Name, value: &[u8]) {
        let text = name.as_str().as_bytes();
        self.field(Field {
            known: name,
            name: text,
            value,
            secret: false,
        });
    }

    /// One field whose name and value are known to be good.
    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.field(Field {
            known: Name::from_bytes(name),
            name,
            value,
            secret: false,
        });
    }

    /// One field that may hold what cannot be serialised; then it is left out whole.
    fn put(&mut self, name: &[u8], value: &[u8]) {
        if encode::legal(name, value).is_ok() {
            self.line(name, value);
        }
    }

    /// A field whose value is a number.
    fn number(&mut self, name: &[u8], value: u64) {
        let mut digits = Decimal::default();
        self.line(name, digits.of(value));
    }

    /// `content-length`
    fn length(&mut self, length: u64) {
        self.number(b"content-length", length);
    }
}

/// Room for a number in decimal.
#[derive(Default)]
struct Decimal([u8; 20]);

impl Decimal {
    fn of(&mut self, value: u64) -> &[u8] {
        let mut rest = value;
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return &self.0[at..];
            }
        }
    }
}

/// A head of HTTP/1.1.
pub(crate) struct Lines<'a>(pub(crate) &'a mut Vec<u8>);

impl Sink for Lines<'_> {
    fn request(&mut self, line: &RequestLine<'_>) {
        encode::request_line(self.0, line.method, line.target);
        self.known(Name::Host, line.authority);
    }

    fn status(&mut self, status: u16) {
        encode::status_line(self.0, status);
    }

    #[inline]
    fn field(&mut self, field: Field<'_>) {
        encode::field_unchecked(self.0, field);
    }

    fn line(&mut self, name: &[u8], value: &[u8]) {
        // Lines need no name's number.
        let known = Name::Other;
        self.field(Field {
            known,
            name,
            value,
            secret: false,
        });
    }

    fn open(&mut self, name: Name) {
        self.0.extend_from_slice(name.as_str().as_bytes());
        self.0.extend_from_slice(b": ");
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn shut(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }

    fn hop(&mut self, name: Name, value: &[u8]) {
        self.known(name, value);
    }

    fn end(&mut self) {
        encode::end_of_head(self.0);
    }

    fn length(&mut self, length: u64) {
        encode::content_length(self.0, length);
    }
}

/// A field block of HTTP/2.
pub(crate) struct Block<'a> {
    writer: HeadWriter<'a>,
    /// `http` or `https`, of the connection that the request goes over.
    scheme: &'static [u8],
    /// The name whose value is in `parts`.
    name: Name,
    parts: Vec<u8>,
}

impl<'a> Block<'a> {
    pub(crate) fn new(writer: HeadWriter<'a>, scheme: &'static [u8]) -> Self {
        Self {
            writer,
            scheme,
            name: Name::Other,
            parts: Vec::new(),
        }
    }

    /// Ends the block; `end`: and the message.
    pub(crate) fn finish(self, end: bool) {
        self.writer.finish(end);
    }
}

impl Sink for Block<'_> {
    fn request(&mut self, line: &RequestLine<'_>) {
        let method = line.method.as_bytes();
        self.writer
            .request(method, self.scheme, line.authority, line.target, None);
    }

    fn status(&mut self, status: u16) {
        self.writer.status(status);
    }

    fn field(&mut self, field: Field<'_>) {
        if field.secret {
            self.writer.secret(field.known, field.name, field.value);
        } else {
            self.writer.field(field.known, field.name, field.value);
        }
    }

    fn open(&mut self, name: Name) {
        self.name = name;
        self.parts.clear();
    }

    fn part(&mut self, bytes: &[u8]) {
        self.parts.extend_from_slice(bytes);
    }

    fn shut(&mut self) {
        let name = self.name.as_str().as_bytes();
        self.writer.field(self.name, name, &self.parts);
    }

    fn hop(&mut self, _: Name, _: &[u8]) {}

    fn end(&mut self) {}
}
