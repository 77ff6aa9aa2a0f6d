//! As much of HTTP/1.1 as a load generator and a simulated engine need: heads and body framing.
//!
//! Lenient where it does not matter for a measurement, strict about framing, for a wrong end is
//! what a load test has to notice. Sans-I/O: bytes in, bytes consumed out.

use memchr::{memchr, memmem};

/// Heads longer than this are refused.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The bytes break the framing of HTTP/1.1; says which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Length of the head with its empty line, if it is all there.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// Name and value of a header line.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// First line and header lines of a complete head.
pub(crate) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(crate) fn new(head: &'a [u8]) -> Self {
        Self { rest: head }
    }

    /// The next line without its end, `None` at the empty one.
    pub(crate) fn line(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.rest)?;
        let line = self.rest[..end].trim_ascii_end();
        self.rest = &self.rest[end + 1..];
        if line.is_empty() { None } else { Some(line) }
    }

    /// The next header line as name and value.
    pub(crate) fn field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        let Some(line) = self.line() else {
            return Ok(None);
        };
        let colon = memchr(b':', line).ok_or(Malformed("a header line without a colon"))?;
        Ok(Some((&line[..colon], line[colon + 1..].trim_ascii())))
    }
}

/// A decimal number of at most 19 digits.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Appends a decimal number; `write!` would cost a tenth of a token event.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// True when a comma-separated header value holds this token.
pub(crate) fn has_token(value: &[u8], token: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// Where a body ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes are still to come.
    Length(u64),
    /// Chunks until the empty one.
    Chunked(Chunked),
    /// Everything until the peer closes.
    UntilClose,
}

impl Framing {
    /// Takes body bytes from the front of `input`, gives the content to `sink`; returns how many
    /// bytes were used and whether the body is complete.
    pub(crate) fn feed<'a>(
        &mut self,
        input: &'a [u8],
        mut sink: impl FnMut(&'a [u8]),
    ) -> Result<(usize, bool), Malformed> {
        match self {
            Self::Length(left) => {
                let take = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                if take > 0 {
                    sink(&input[..take]);
                }
                *left -= take as u64;
                Ok((take, *left == 0))
            }
            Self::Chunked(decoder) => decoder.feed(input, sink),
            Self::UntilClose => {
                sink(input);
                Ok((input.len(), false))
            }
        }
    }
}

/// Decoder of the chunked coding (RFC 9112 §7.1), at any split of its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: ChunkState,
    /// Bytes of the current chunk still to come, or its size while that is being read.
    left: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    FirstDigit,
    Digits,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    LastLf,
    Done,
}

impl Chunked {
    fn feed<'a>(
        &mut self,
        input: &'a [u8],
        mut sink: impl FnMut(&'a [u8]),
    ) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < input.len() && self.state != ChunkState::Done {
            if self.state == ChunkState::Data {
                let take = (input.len() - at).min(self.left as usize);
                sink(&input[at..at + take]);
                at += take;
                self.left -= take as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            self.byte(input[at])?;
            at += 1;
        }
        Ok((at, self.state == ChunkState::Done))
    }

    fn byte(&mut self, byte: u8) -> Result<(), Malformed> {
        use ChunkState::{
            DataCr, DataLf, Digits, Done, Extension, FirstDigit, LastLf, SizeEnd, Trailer,
            TrailerStart,
        };
        self.state = match (self.state, byte) {
            (FirstDigit | Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if self.left >> 40 != 0 {
                    return Err(Malformed("a chunk size beyond any bound"));
                }
                self.left = self.left * 16 + digit;
                Digits
            }
            (Digits, b';' | b' ' | b'\t') => Extension,
            (Digits | Extension, b'\r') => SizeEnd,
            (Extension, byte) if byte != b'\n' => Extension,
            (SizeEnd, b'\n') if self.left == 0 => TrailerStart,
            (SizeEnd, b'\n') => ChunkState::Data,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => FirstDigit,
            (TrailerStart, b'\r') => LastLf,
            (Trailer, b'\n') => TrailerStart,
            (TrailerStart | Trailer, _) => Trailer,
            (LastLf, b'\n') => Done,
            (FirstDigit, _) => return Err(Malformed("a chunk size that is no number")),
            _ => return Err(Malformed("a chunk that does not end where it should")),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_decode_alike_at_every_split() {
        let wire = b"5;x=1\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\n\r\nnext";
        for split in 0..wire.len() {
            let mut framing = Framing::Chunked(Chunked::default());
            let mut body = Vec::new();
            let (mut used, mut done) = (0, false);
            for part in [&wire[..split], &wire[split..]] {
                if !done {
                    let fed = framing
                        .feed(part, |bytes| body.extend_from_slice(bytes))
                        .unwrap();
                    used += fed.0;
                    done = fed.1;
                }
            }
            assert!(done);
            assert_eq!(&wire[used..], b"next");
            assert_eq!(body, b"hello0123456789abcdef");
        }
    }

    #[test]
    fn a_wrong_size_or_end_is_noticed() {
        for wire in [
            &b"zz\r\n"[..],
            b"1\r\nab\r\n",
            b"\r\n",
            b"fffffffffffffff\r\n",
            b"1 \n",
        ] {
            let fed = Framing::Chunked(Chunked::default()).feed(wire, |_| ());
            assert!(fed.is_err(), "{wire:?}");
        }
    }

    #[test]
    fn numbers_go_round() {
        for value in [0, 9, 10, 1234, u64::MAX / 2] {
            let mut out = Vec::new();
            push_decimal(&mut out, value);
            assert_eq!(decimal(&out), Some(value));
        }
        assert_eq!(decimal(b"-1"), None);
    }
}
