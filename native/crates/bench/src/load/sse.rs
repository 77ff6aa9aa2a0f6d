//! Finds the events of an event stream, at any split of its bytes, and what each one is.
//!
//! Reads no JSON: the stamp of our engine stands at the end of an event, and for other engines a
//! look at a few keys is enough. Holds at most one incomplete event.

use memchr::{memchr, memmem};

use crate::http::decimal;

/// An event beyond this length is given up on: the stream is then malformed.
pub(crate) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// One token; with the engine's send time in nanoseconds, if it says it.
    Token(Option<u64>),
    /// `[DONE]` or `message_stop`.
    Done,
    /// An error.
    Error,
    /// Anything else, comments too.
    Other,
}

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    tail: Vec<u8>,
    /// Where the last line of `tail` begins.
    line_at: usize,
}

impl Splitter {
    /// Calls back for every event that is complete now. False: an event is too long.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut event: impl FnMut(Event)) -> bool {
        let mut joined = std::mem::take(&mut self.tail);
        let bytes = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            joined.as_slice()
        };
        let mut start = 0;
        let mut line = self.line_at;
        while let Some(length) = memchr(b'\n', &bytes[line..]) {
            let empty = length == 0 || (length == 1 && bytes[line] == b'\r');
            if empty {
                if line > start {
                    event(classify(&bytes[start..line]));
                }
                start = line + length + 1;
            }
            line += length + 1;
        }
        self.tail.extend_from_slice(&bytes[start..]);
        self.line_at = line - start;
        self.tail.len() <= EVENT_BYTES_MAX
    }

    /// True inside an event.
    pub(crate) fn partial(&self) -> bool {
        !self.tail.is_empty()
    }
}

fn classify(event: &[u8]) -> Event {
    let mut rest = event;
    let mut named_error = false;
    while let Some(end) = memchr(b'\n', rest) {
        let line = rest[..end].trim_ascii_end();
        if let Some(data) = line.strip_prefix(b"data:") {
            return if named_error {
                Event::Error
            } else {
                classify_data(data.trim_ascii_start())
            };
        }
        if let Some(name) = line.strip_prefix(b"event:") {
            match name.trim_ascii() {
                b"error" => named_error = true,
                b"message_stop" => return Event::Done,
                _ => {}
            }
        }
        rest = &rest[end + 1..];
    }
    if named_error {
        Event::Error
    } else {
        Event::Other
    }
}

fn classify_data(data: &[u8]) -> Event {
    if data == b"[DONE]" {
        return Event::Done;
    }
    if let Some(stamp_ns) = stamp(data) {
        return Event::Token(Some(stamp_ns));
    }
    if data.starts_with(b"{\"error\"") || data.starts_with(b"{\"type\":\"error\"") {
        return Event::Error;
    }
    let has_text = |key: &[u8]| {
        let after = memmem::find(data, key).map(|at| data[at + key.len()..].trim_ascii_start());
        after.is_some_and(|text| text.starts_with(b"\"") && !text.starts_with(b"\"\""))
    };
    if has_text(b"\"content\":") || has_text(b"\"text\":") {
        return Event::Token(None);
    }
    Event::Other
}

/// The number of a trailing `"t":NUMBER}`.
fn stamp(data: &[u8]) -> Option<u64> {
    let data = data.strip_suffix(b"}")?;
    let digits = data
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (before, number) = data.split_at(data.len() - digits);
    if before.ends_with(b"\"t\":") {
        decimal(number)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Event::{Done, Error, Other, Token},
        *,
    };

    fn events(parts: &[&[u8]]) -> Vec<Event> {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        for part in parts {
            assert!(splitter.feed(part, |event| found.push(event)));
        }
        found
    }

    #[test]
    fn events_are_the_same_at_every_split() {
        let wire = b": hello\n\ndata: {\"a\":1,\"t\":77}\n\nevent: error\r\ndata: {}\r\n\r\n\
            data: {\"choices\":[{\"delta\":{\"content\": \"x\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n\
            data: {\"error\":{}}\n\ndata: [DONE]\n\nevent: message_stop\ndata: {}\n\n";
        let whole = events(&[wire]);
        assert_eq!(
            whole,
            [
                Other,
                Token(Some(77)),
                Error,
                Token(None),
                Other,
                Error,
                Done,
                Done
            ]
        );
        for split in 0..wire.len() {
            assert_eq!(
                events(&[&wire[..split], &wire[split..]]),
                whole,
                "at {split}"
            );
        }
        let bytes: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(events(&bytes), whole);
    }
}
