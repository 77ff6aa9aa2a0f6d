//! Finds the end of a head or of a trailer section, at any chunking, each byte looked at once.
//!
//! It knows lines, not their meaning: that each ends in CRLF, how long it is, how many there are.
//! Verdicts depend on the position of the offending byte alone, never on how the bytes arrived.

use crate::error::{Code, Violation};

/// The bounds of one section.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "every bound is named as in limits.rs"
)]
pub(crate) struct Bounds {
    /// Bytes of the start line without CRLF; `None` for a trailer section, which has none.
    pub(crate) start_line_max: Option<usize>,
    /// Bytes of a field line without CRLF.
    pub(crate) line_max: usize,
    /// Bytes of the whole section with its empty line.
    pub(crate) section_max: usize,
    /// Field lines.
    pub(crate) count_max: usize,
}

/// How far [`Lines::find`] came; offsets are into its argument, behind the LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All bytes were seen and the section goes on.
    More,
    /// The start line ends here.
    StartLine(usize),
    /// The section ends here.
    End(usize),
}

/// Progress through one section.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lines {
    /// Bytes seen.
    seen: usize,
    /// Where the current line begins; `<= seen`.
    line_start: usize,
    /// Whether the start line is behind us.
    started: bool,
    /// Field lines behind us.
    count: usize,
    /// Whether the last byte seen was a CR.
    after_cr: bool,
}

impl Lines {
    /// Whether nothing was seen yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// How many field lines are behind us.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Goes on with `bytes`, which follow those of the last call up to the offset it gave.
    pub(crate) fn find(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Found, Violation> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let found = memchr::memchr(b'\n', rest);
            let upto = found.map_or(rest.len(), |lf| lf + 1);
            self.seen += upto;
            self.check_sizes(bounds)?;
            let line = rest.get(..upto).unwrap_or_default();
            if found.is_none() {
                self.after_cr = line.last().map_or(self.after_cr, |&byte| byte == b'\r');
                return Ok(Found::More);
            }
            let crlf = match line {
                [_] | [] => self.after_cr,
                [.., before, _] => *before == b'\r',
            };
            // RFC 9112 §2.2: a recipient MAY take a lone LF; two that differ on it are a smuggler's
            // pair, so we do not.
            if !crlf {
                return Err(Violation::bad_request("line ends in LF without CR"));
            }
            let empty = self.seen - self.line_start == 2;
            self.line_start = self.seen;
            self.after_cr = false;
            at += upto;
            if !self.started && bounds.start_line_max.is_some() {
                self.started = true;
                return Ok(Found::StartLine(at));
            }
            if empty {
                return Ok(Found::End(at));
            }
            self.count += 1;
            if self.count > bounds.count_max {
                return Err(Violation::too_large("too many fields"));
            }
        }
    }

    /// The line is too long as soon as limit + CRLF + 1 bytes of it are there; the section as soon
    /// as limit + 1 are. If both are, the earlier byte decides.
    fn check_sizes(&self, bounds: &Bounds) -> Result<(), Violation> {
        let (line_max, violation) = match bounds.start_line_max {
            Some(max) if !self.started => (
                max,
                Violation::connection(Code::UriTooLong, "start line is too long"),
            ),
            _ => (bounds.line_max, Violation::too_large("field is too long")),
        };
        let line_end_max = self.line_start.saturating_add(line_max).saturating_add(2);
        if self.seen > line_end_max && line_end_max <= bounds.section_max {
            return Err(violation);
        }
        if self.seen > bounds.section_max {
            return Err(Violation::too_large("head or trailer section is too large"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        start_line_max: Some(10),
        line_max: 8,
        section_max: 40,
        count_max: 3,
    };

    fn whole(bytes: &[u8]) -> Result<usize, &'static str> {
        let mut lines = Lines::default();
        let mut at = 0;
        loop {
            match lines.find(&bytes[at..], &BOUNDS).map_err(|v| v.why)? {
                Found::More => return Ok(0),
                Found::StartLine(end) => at += end,
                Found::End(end) => return Ok(at + end),
            }
        }
    }

    fn bytewise(bytes: &[u8]) -> Result<usize, &'static str> {
        let mut lines = Lines::default();
        for (at, byte) in bytes.iter().enumerate() {
            match lines
                .find(std::slice::from_ref(byte), &BOUNDS)
                .map_err(|v| v.why)?
            {
                Found::End(_) => return Ok(at + 1),
                Found::More | Found::StartLine(_) => {}
            }
        }
        Ok(0)
    }

    #[test]
    fn verdicts_do_not_depend_on_chunking() {
        for (text, expected) in [
            ("start\r\n\r\n", Ok(9)),
            ("start\r\na:b\r\n\r\nrest", Ok(14)),
            ("start\r\na:b\r\n\r", Ok(0)),
            ("start\n", Err("line ends in LF without CR")),
            ("start\r\n\n", Err("line ends in LF without CR")),
            ("start\r\na:b\n", Err("line ends in LF without CR")),
            ("0123456789\r\n\r\n", Ok(14)),
            ("0123456789a\r\n\r\n", Err("start line is too long")),
            ("0123456789abcdef\n", Err("start line is too long")),
            ("s\r\n01234567\r\n\r\n", Ok(15)),
            ("s\r\n012345678\r\n\r\n", Err("field is too long")),
            ("s\r\na\r\nb\r\nc\r\n\r\n", Ok(14)),
            ("s\r\na\r\nb\r\nc\r\nd\r\n\r\n", Err("too many fields")),
            ("0123456789\r\n01234567\r\n01234567\r\n0123\r\n\r\n", Ok(40)),
            (
                "0123456789\r\n01234567\r\n01234567\r\n01234\r\n\r\n",
                Err("head or trailer section is too large"),
            ),
        ] {
            assert_eq!(whole(text.as_bytes()), expected, "{text:?}");
            assert_eq!(bytewise(text.as_bytes()), expected, "{text:?}");
        }
    }
}
