//! The chunked transfer coding, RFC 9112 §7.1, one state per grammar position.
//!
//! ```text
//! Size ─hex*─▶ Size ─CR─▶ SizeLf ─LF─▶ Data ─n octets─▶ DataCr ─CR─▶ DataLf ─LF─▶ Size
//!               │ ;          ▲  └─ size 0 ─▶ Trailers ─▶ End
//!               ▼            │ CR
//!             Name ─▶ InName ┴─=─▶ Value ─▶ InValue | Quoted ⇄ Escaped, Closed ─;─▶ Name
//! ```
//!
//! Extensions are checked and dropped. Data is lent from the input, never copied.

use crate::error::Violation;
use crate::fields::Fields;
use crate::h1::Event;
use crate::h1::body::{data_event, take};
use crate::h1::field_block;
use crate::h1::lines::Bounds;
use crate::h1::section::Section;
use crate::hop;
use crate::limits::{CONTENT_LENGTH_MAX, Limits, Underscore};
use crate::octets;

/// Progress through one chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// In `Size`: what the digits say so far. In `Data`: how much of the chunk is to come.
    size: u64,
    /// Digits of the current size; `<= 16`.
    digits: usize,
    /// Bytes of all extensions so far.
    extension_bytes: usize,
    /// Bytes of all chunks so far, the current one included.
    body_bytes: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// In the digits of a size, or before the first.
    #[default]
    Size,
    /// Behind `;`.
    Name,
    /// In the name of an extension.
    InName,
    /// Behind `=`.
    Value,
    /// In the token that is an extension's value.
    InValue,
    /// In the quoted string that is one.
    Quoted,
    /// Behind a backslash in it.
    Escaped,
    /// Behind its closing quote.
    Closed,
    /// Behind the CR of a size line.
    SizeLf,
    /// In chunk data.
    Data,
    /// Behind chunk data.
    DataCr,
    /// Behind the CR after chunk data.
    DataLf,
    /// Behind the last chunk.
    Trailers,
}

impl Chunked {
    /// Data, then trailers or the end; neither is followed by anything.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        section: &mut Section,
        limits: &Limits,
    ) -> Result<Option<Event<'a>>, Violation> {
        loop {
            match self.state {
                State::Data => {
                    let data = take(input, self.size);
                    self.size -= data.len() as u64;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(data_event(data));
                }
                State::Trailers => return trailers(input, section, limits),
                _ => {
                    let Some((&byte, rest)) = input.split_first() else {
                        return Ok(None);
                    };
                    *input = rest;
                    self.state = self.step(byte, limits)?;
                }
            }
        }
    }

    #[inline]
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Violation> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte, limits),
            (State::Size, b'\r' | b';') if self.digits > 0 => {
                self.body_bytes = self.body_bytes.saturating_add(self.size);
                if byte == b';' {
                    self.extension(State::Name, limits)
                } else {
                    Ok(State::SizeLf)
                }
            }
            // RFC 9112 §7.1: chunk-size = 1*HEXDIG; no sign, prefix, whitespace or separator.
            (State::Size, _) => Err(Violation::bad_request("chunk size is not hexadecimal")),
            (State::SizeLf, b'\n') => {
                self.digits = 0;
                Ok(if self.size == 0 {
                    State::Trailers
                } else {
                    State::Data
                })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size),
            (State::SizeLf | State::DataCr | State::DataLf, _) => {
                Err(Violation::bad_request("chunk is not followed by CRLF"))
            }
            (State::InName | State::InValue | State::Closed, b'\r') => Ok(State::SizeLf),
            (state, byte) => {
                let next = extension_step(state, byte)
                    .ok_or(Violation::bad_request("chunk extension is malformed"))?;
                self.extension(next, limits)
            }
        }
    }

    #[inline]
    fn digit(&mut self, byte: u8, limits: &Limits) -> Result<State, Violation> {
        self.digits += 1;
        if self.digits > limits.chunk_size_digits_max.min(16) {
            return Err(Violation::bad_request("chunk size has too many digits"));
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        // At most 16 digits: nothing is shifted out.
        self.size = (self.size << 4) | u64::from(digit);
        if self.size > CONTENT_LENGTH_MAX {
            return Err(Violation::bad_request("chunk size is beyond 63 bits"));
        }
        Ok(State::Size)
    }

    /// RFC 9112 §7.1.1: unknown extensions MUST be ignored, and "a server ought to limit" them.
    /// CVE-2023-39326: a byte of body must not cost many bytes of extension.
    fn extension(&mut self, next: State, limits: &Limits) -> Result<State, Violation> {
        self.extension_bytes += 1;
        let bytes = self.extension_bytes;
        let ratio_applies = bytes > limits.chunk_extension_bytes_free;
        if bytes > limits.chunk_extension_bytes_max
            || (ratio_applies && bytes as u64 > self.body_bytes / 2)
        {
            return Err(Violation::bad_request("too many chunk extensions"));
        }
        Ok(next)
    }
}

/// RFC 9112 §7.1.1: `*( ";" token [ "=" ( token / quoted-string ) ] )`; BWS is "bad whitespace".
fn extension_step(state: State, byte: u8) -> Option<State> {
    let token = octets::is_token_octet(byte);
    match (state, byte) {
        (State::Name | State::InName, _) if token => Some(State::InName),
        (State::InName, b'=') => Some(State::Value),
        (State::Value | State::InValue, _) if token => Some(State::InValue),
        (State::Value, b'"') => Some(State::Quoted),
        // RFC 9110 §5.6.4: quoted-string = DQUOTE *( qdtext / quoted-pair ) DQUOTE.
        (State::Quoted, b'"') => Some(State::Closed),
        (State::Quoted, b'\\') => Some(State::Escaped),
        (State::Quoted | State::Escaped, _) if octets::is_value_octet(byte) => Some(State::Quoted),
        (State::InName | State::InValue | State::Closed, b';') => Some(State::Name),
        _ => None,
    }
}

/// RFC 9112 §7.1.2: the trailer section, usually just its empty line.
fn trailers<'a>(
    input: &mut &'a [u8],
    section: &mut Section,
    limits: &Limits,
) -> Result<Option<Event<'a>>, Violation> {
    if section.is_fresh()
        && let Some(rest) = input.strip_prefix(b"\r\n")
    {
        *input = rest;
        return Ok(Some(Event::End));
    }
    let bounds = Bounds {
        start_line_max: None,
        line_max: limits.field_bytes_max,
        section_max: limits.trailer_bytes_max,
        count_max: limits.trailer_count_max,
    };
    let Some(complete) = section.take(input, &bounds, |_| Ok(()))? else {
        return Ok(None);
    };
    if complete.count == 0 {
        return Ok(Some(Event::End));
    }
    let mut fields = Box::new(Fields::new());
    field_block::read(
        &complete.bytes,
        complete.count,
        Underscore::Reject,
        &mut fields,
    )?;
    // RFC 9110 §6.5.1: framing, routing, authentication and content fields MUST NOT be trailers.
    if fields.iter().any(|field| hop::trailer_forbidden(&field)) {
        return Err(Violation::bad_request("trailer that must be a header"));
    }
    Ok(Some(Event::Trailers(fields)))
}
