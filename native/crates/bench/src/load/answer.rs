//! Reads one answer from a connection: head, framing, events.

use wire::{Name, ResponseHead};

use super::sse::{Event, Splitter};
use crate::http::{
    Chunked, Framing, HEAD_BYTES_MAX, Lines, Malformed, decimal, has_token, head_length,
};

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// How far an answer has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// A partial head.
    input: Vec<u8>,
    /// None until the final head is read.
    framing: Option<Framing>,
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    /// The server closes after this answer.
    pub(crate) close: bool,
    events: Option<Splitter>,
    pub(crate) done: bool,
    pub(crate) error_event: bool,
}

/// What the head says, before the framing is known.
struct Parsed {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    events: bool,
}

impl Answer {
    pub(crate) fn head_seen(&self) -> bool {
        self.status != 0
    }

    pub(crate) fn any_input(&self) -> bool {
        self.head_seen() || !self.input.is_empty()
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.events.is_some()
    }

    pub(crate) fn mid_event(&self) -> bool {
        self.events.as_ref().is_some_and(Splitter::partial)
    }

    /// An end of the connection is a proper end of this answer.
    pub(crate) fn until_close(&self) -> bool {
        self.framing == Some(Framing::UntilClose)
    }

    /// The head came on a stream of HTTP/2, where the frames say how long the body is.
    pub(crate) fn open(&mut self, head: &ResponseHead) {
        self.status = head.status;
        self.retry_after = head.fields.find(Name::RetryAfter).is_some();
        let kind = head.fields.find(Name::ContentType).unwrap_or_default();
        self.events = kind.starts_with(EVENT_STREAM).then(Splitter::default);
    }

    /// Takes bytes; returns how many belong to the answer and whether it is complete. `token` is
    /// called for each token with the engine's send time.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        mut token: impl FnMut(Option<u64>),
    ) -> Result<(usize, bool), Malformed> {
        if self.framing.is_some() {
            return self.body(bytes, &mut token);
        }
        let held = self.input.len();
        let mut joined = std::mem::take(&mut self.input);
        let all = if held == 0 {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            joined.as_slice()
        };
        let mut at = 0;
        loop {
            let Some(length) = head_length(&all[at..]) else {
                if all.len() - at > HEAD_BYTES_MAX {
                    return Err(Malformed("the head is too long"));
                }
                self.input.extend_from_slice(&all[at..]);
                return Ok((bytes.len(), false));
            };
            let parsed = self.head(&all[at..at + length])?;
            at += length;
            if parsed.status >= 200 {
                self.begin(&parsed);
                let (used, done) = self.body(&all[at..], &mut token)?;
                return Ok((at + used - held, done));
            }
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Result<Parsed, Malformed> {
        let mut lines = Lines::new(bytes);
        let first = lines.line().ok_or(Malformed("an empty status line"))?;
        let version = first
            .strip_prefix(b"HTTP/1.")
            .ok_or(Malformed("no HTTP/1 answer"))?;
        let status = version
            .get(2..5)
            .and_then(decimal)
            .ok_or(Malformed("no status number"))?;
        let mut parsed = Parsed {
            status: status as u16,
            length: None,
            chunked: false,
            events: false,
        };
        self.close = version.starts_with(b"0");
        while let Some((name, value)) = lines.field()? {
            let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
            match name.len() {
                14 if is(b"content-length") => {
                    parsed.length =
                        Some(decimal(value).ok_or(Malformed("a length that is no number"))?);
                }
                17 if is(b"transfer-encoding") => parsed.chunked = true,
                12 if is(b"content-type") => {
                    parsed.events = value.starts_with(EVENT_STREAM);
                }
                10 if is(b"connection") => self.close |= has_token(value, b"close"),
                11 if is(b"retry-after") => self.retry_after = true,
                _ => {}
            }
        }
        Ok(parsed)
    }

    fn begin(&mut self, parsed: &Parsed) {
        self.status = parsed.status;
        self.framing = Some(match (parsed.status, parsed.chunked, parsed.length) {
            (204 | 304, _, _) => Framing::Length(0),
            (_, true, _) => Framing::Chunked(Chunked::default()),
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => {
                self.close = true;
                Framing::UntilClose
            }
        });
        self.events = parsed.events.then(Splitter::default);
    }

    fn body(
        &mut self,
        bytes: &[u8],
        token: &mut impl FnMut(Option<u64>),
    ) -> Result<(usize, bool), Malformed> {
        let Some(mut framing) = self.framing.take() else {
            return Ok((0, false));
        };
        let mut content = Ok(());
        let fed = framing.feed(bytes, |part| {
            content = content.and(self.content(part, &mut *token));
        })?;
        self.framing = Some(framing);
        content.map(|()| fed)
    }

    /// Takes bytes of the body, without their framing.
    pub(crate) fn content(
        &mut self,
        part: &[u8],
        mut token: impl FnMut(Option<u64>),
    ) -> Result<(), Malformed> {
        let Self {
            events,
            done,
            error_event,
            ..
        } = self;
        let Some(events) = events else {
            return Ok(());
        };
        let fits = events.feed(part, |event| match event {
            Event::Token(stamp_ns) => token(stamp_ns),
            Event::Done => *done = true,
            Event::Error => *error_event = true,
            Event::Other => {}
        });
        if fits {
            Ok(())
        } else {
            Err(Malformed("an event is too long"))
        }
    }
}
