//! One section of lines (a head, a trailer section) as one slice, copied only if it came in pieces.
//!
//! Invariant: `partial` holds exactly the bytes that `lines` has seen, at most `section_max`, and
//! no memory between sections.

use std::borrow::Cow;

use crate::error::Violation;
use crate::h1::lines::{Bounds, Found, Lines};

/// A section in the making.
#[derive(Debug, Default)]
pub(crate) struct Section {
    lines: Lines,
    partial: Vec<u8>,
}

/// A complete section.
#[derive(Debug)]
pub(crate) struct Complete<'a> {
    /// From its first byte to the LF of its empty line.
    pub(crate) bytes: Cow<'a, [u8]>,
    /// Field lines in it.
    pub(crate) count: usize,
}

impl Section {
    /// Whether no byte of it was seen.
    pub(crate) fn is_fresh(&self) -> bool {
        self.lines.is_fresh()
    }

    /// Takes bytes up to the end of the section, or all of them if it goes on.
    ///
    /// `check` judges the start line, without CRLF, if the section does not end in `input`: it is
    /// refused without waiting for the rest, and before any later line is.
    pub(crate) fn take<'a>(
        &mut self,
        input: &mut &'a [u8],
        bounds: &Bounds,
        check: impl Fn(&[u8]) -> Result<(), Violation>,
    ) -> Result<Option<Complete<'a>>, Violation> {
        let bytes = *input;
        let mut at = 0;
        let mut start_line = None;
        loop {
            let found = self.lines.find(bytes.get(at..).unwrap_or_default(), bounds);
            if !matches!(found, Ok(Found::End(_) | Found::StartLine(_)))
                && let Some(end) = start_line
            {
                self.check_start(bytes.get(..end).unwrap_or_default(), &check)?;
            }
            match found? {
                Found::StartLine(end) => {
                    at += end;
                    start_line = Some(at);
                }
                Found::End(end) => {
                    let (taken, rest) = bytes.split_at_checked(at + end).unwrap_or((bytes, &[]));
                    *input = rest;
                    let count = std::mem::take(&mut self.lines).count();
                    return Ok(Some(Complete {
                        bytes: self.join(taken),
                        count,
                    }));
                }
                Found::More => {
                    self.partial.extend_from_slice(bytes);
                    *input = &[];
                    return Ok(None);
                }
            }
        }
    }

    fn join<'a>(&mut self, taken: &'a [u8]) -> Cow<'a, [u8]> {
        if self.partial.is_empty() {
            return Cow::Borrowed(taken);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(taken);
        Cow::Owned(whole)
    }

    /// `ending` ends in the CRLF of the start line; the part before it may be in `partial`.
    fn check_start(
        &self,
        ending: &[u8],
        check: impl Fn(&[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        if self.partial.is_empty() {
            return check(strip_crlf(ending));
        }
        let whole = [self.partial.as_slice(), ending].concat();
        check(strip_crlf(&whole))
    }
}

fn strip_crlf(line: &[u8]) -> &[u8] {
    line.get(..line.len().saturating_sub(2)).unwrap_or_default()
}

/// Splits a complete head behind the CRLF of its start line, which is given without it.
pub(crate) fn split_start_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).map_or(head.len(), |lf| lf + 1);
    let (line, block) = head.split_at_checked(end).unwrap_or((head, &[]));
    (strip_crlf(line), block)
}
