//! A JSON string as its bytes arrive: skipped at the speed of memchr, or decoded and kept up to a
//! bound.
//!
//! **Invariant:** `kept.len() <= bytes_max`; what does not fit makes the whole string unknown, not
//! shorter.

/// Whether a string goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All bytes were taken and it goes on.
    More,
    /// The closing quote was taken.
    Closed,
    /// An escape that is none.
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind a backslash.
    Begun,
    /// Inside `\uXXXX`: digits seen and their value.
    Digits(u8, u16),
}

/// A string that is being read.
#[derive(Debug)]
pub(super) struct Text {
    kept: Vec<u8>,
    bytes_max: usize,
    keep: bool,
    overflow: bool,
    escaped: bool,
    escape: Escape,
    /// A high surrogate that waits for its low one.
    surrogate: Option<u16>,
}

impl Text {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            kept: Vec::new(),
            bytes_max,
            keep: false,
            overflow: false,
            escaped: false,
            escape: Escape::None,
            surrogate: None,
        }
    }

    /// Before the first byte of a new string, which is kept or only skipped.
    pub(super) fn begin(&mut self, keep: bool) {
        self.kept.clear();
        self.keep = keep;
        self.overflow = false;
        self.escaped = false;
        self.escape = Escape::None;
        self.surrogate = None;
    }

    /// The decoded bytes; `None` if they were not kept or were too many.
    pub(super) fn decoded(&self) -> Option<&[u8]> {
        (self.keep && !self.overflow).then_some(&self.kept)
    }

    /// Whether there was any escape in it.
    pub(super) fn had_escapes(&self) -> bool {
        self.escaped
    }

    /// Takes bytes up to the closing quote: how many, and whether it goes on.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, End) {
        let mut at = 0;
        while at < bytes.len() {
            if self.escape != Escape::None {
                if !self.escape_byte(bytes[at]) {
                    return (at + 1, End::Malformed);
                }
                at += 1;
                continue;
            }
            let plain = memchr::memchr2(b'"', b'\\', &bytes[at..]);
            let end = plain.map_or(bytes.len(), |n| at + n);
            if end > at {
                self.lone_surrogate();
                self.push(&bytes[at..end]);
            }
            if end == bytes.len() {
                return (end, End::More);
            }
            at = end + 1;
            if bytes[end] == b'"' {
                self.lone_surrogate();
                return (at, End::Closed);
            }
            self.escaped = true;
            self.escape = Escape::Begun;
        }
        (at, End::More)
    }

    /// One byte of an escape (RFC 8259 §7); false = it is none.
    fn escape_byte(&mut self, byte: u8) -> bool {
        if let Escape::Digits(seen, value) = self.escape {
            let Some(digit) = (byte as char).to_digit(16) else {
                return false;
            };
            let value = value << 4 | digit as u16;
            self.escape = Escape::Digits(seen + 1, value);
            if seen == 3 {
                self.escape = Escape::None;
                self.unit(value);
            }
            return true;
        }
        let plain = match byte {
            b'u' => {
                self.escape = Escape::Digits(0, 0);
                return true;
            }
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return false,
        };
        self.escape = Escape::None;
        self.lone_surrogate();
        self.push(&[plain]);
        true
    }

    /// One UTF-16 unit.
    fn unit(&mut self, unit: u16) {
        let pair = self.surrogate.take().map(|high| [high, unit]);
        let decoded = match pair {
            Some(pair) => char::decode_utf16(pair).next(),
            None if (0xd800..0xdc00).contains(&unit) => {
                self.surrogate = Some(unit);
                return;
            }
            None => char::decode_utf16([unit]).next(),
        };
        match decoded {
            Some(Ok(char)) => self.push(char.encode_utf8(&mut [0; 4]).as_bytes()),
            // Half a pair has no UTF-8: whoever keeps the string must find it unreadable.
            _ => self.push(&[0xff]),
        }
    }

    /// A high surrogate was followed by something else.
    fn lone_surrogate(&mut self) {
        if self.surrogate.take().is_some() {
            self.push(&[0xff]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if !self.keep || self.overflow {
            return;
        }
        if self.kept.len() + bytes.len() > self.bytes_max {
            self.overflow = true;
            return;
        }
        self.kept.extend_from_slice(bytes);
    }
}
