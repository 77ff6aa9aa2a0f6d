//! Server-sent events: where one ends, at any chunking, and what its lines say.
//!
//! The grammar is that of the HTML standard, "Parsing an event stream": lines end in LF, CR or
//! CRLF, a leading byte order mark is ignored, an empty line ends an event. Nothing is copied and
//! nothing is changed: the scanner names offsets, so what is forwarded is what came.

/// Finds the ends of events. A copy is a saved position.
///
/// An event that ends in a lone CR is complete: it is reported with that CR, at once, for nobody
/// knows when another byte will come. If an LF follows, be it in the next chunk, it belongs to that
/// same line end: it is swallowed, that is, it ends nothing, and it stays where it is as the first
/// byte of what comes next. [`fields`] skips it. Concatenated, the pieces are the stream.
///
/// Every empty line is reported, also one behind another: such an event is only its empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// Octets of the byte order mark seen at the very start; 3 also once it is ruled out.
    mark: u8,
    /// Whether the current line has no byte yet.
    line_empty: bool,
    /// Whether the last byte was a CR, whose LF may follow.
    after_cr: bool,
    /// Whether the last byte ended an event.
    at_boundary: bool,
}

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// A scanner at the start of a stream.
    pub const fn new() -> Self {
        Self {
            mark: 0,
            line_empty: true,
            after_cr: false,
            at_boundary: true,
        }
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether what was scanned so far ends with a whole event, or is nothing at all. The LF of a
    /// CRLF whose CR ended an event does not change that.
    pub fn at_boundary(&self) -> bool {
        self.at_boundary
    }

    /// Looks through the next bytes of the stream and calls `on_end` with the offset in `bytes`
    /// just behind each empty line, in ascending order.
    pub fn scan(&mut self, bytes: &[u8], mut on_end: impl FnMut(usize)) {
        let mut at = 0;
        if self.mark < 3 {
            at = self.skip_mark(bytes);
        }
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\n' if self.after_cr => {
                    self.after_cr = false;
                    at += 1;
                }
                b'\n' | b'\r' => {
                    at += 1;
                    self.after_cr = byte == b'\r';
                    if self.after_cr && bytes.get(at) == Some(&b'\n') {
                        at += 1;
                        self.after_cr = false;
                    }
                    self.at_boundary = self.line_empty;
                    if self.line_empty {
                        on_end(at);
                    }
                    self.line_empty = true;
                }
                _ => {
                    self.after_cr = false;
                    self.line_empty = false;
                    self.at_boundary = false;
                    let rest = bytes.get(at..).unwrap_or_default();
                    at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
            }
        }
    }

    /// Takes as much of a byte order mark as is there; gives how many bytes that is.
    fn skip_mark(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if BYTE_ORDER_MARK.get(usize::from(self.mark)) != Some(byte) {
                // What looked like a mark was the start of a line.
                self.line_empty = self.mark == 0 || self.mark == 3;
                self.mark = 3;
                break;
            }
            self.mark += 1;
            self.at_boundary = false;
            at += 1;
        }
        at
    }
}

/// What a line of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `data`
    Data,
    /// `event`
    Event,
    /// `id`
    Id,
    /// `retry`
    Retry,
    /// A line that starts with a colon.
    Comment,
    /// Any other field, to be ignored.
    Other,
}

/// The lines of one event, without empty ones, as key and value.
pub fn fields(event: &[u8]) -> impl Iterator<Item = (Key, &[u8])> {
    let mut rest = event.strip_prefix(&BYTE_ORDER_MARK).unwrap_or(event);
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            // CRLF gives an empty line between its halves, skipped like any other.
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            let line = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !line.is_empty() {
                return Some(parse_line(line));
            }
        }
    })
}

/// "If the line contains a colon: the characters before it are the field name, those after it the
/// value; if value starts with a space, remove it." Without a colon the value is empty.
fn parse_line(line: &[u8]) -> (Key, &[u8]) {
    let colon = memchr::memchr(b':', line).unwrap_or(line.len());
    let name = line.get(..colon).unwrap_or_default();
    let value = line.get(colon + 1..).unwrap_or_default();
    let value = value.strip_prefix(b" ").unwrap_or(value);
    let key = match name {
        b"data" => Key::Data,
        b"event" => Key::Event,
        b"id" => Key::Id,
        b"retry" => Key::Retry,
        b"" => Key::Comment,
        _ => Key::Other,
    };
    (key, value)
}

/// Whether an event says nothing to a client: comments (heartbeats) or only an empty line.
pub fn is_comment_only(event: &[u8]) -> bool {
    fields(event).all(|(key, _)| key == Key::Comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(pieces: &[&str]) -> Vec<Vec<usize>> {
        let mut scanner = Scanner::new();
        let mut scan = |piece: &&str| {
            let mut ends = Vec::new();
            scanner.scan(piece.as_bytes(), |end| ends.push(end));
            ends
        };
        pieces.iter().map(&mut scan).collect()
    }

    #[test]
    fn every_line_end_ends_an_event() {
        for (text, expected) in [
            ("", vec![]),
            ("data: a\n", vec![]),
            ("data: a\n\n", vec![9]),
            ("data: a\r\n\r\n", vec![11]),
            ("data: a\r\r", vec![9]),
            ("data: a\n\r\n", vec![10]),
            ("data: a\r\n\n", vec![10]),
            ("data: a\r\n\r", vec![10]),
            ("data: a\n\ndata: b\n\nc", vec![9, 18]),
            ("\n\n", vec![1, 2]),
            ("\u{feff}\n", vec![4]),
            ("\u{feff}\u{feff}\n\n", vec![8]),
            ("a\u{feff}\n\n", vec![6]),
        ] {
            assert_eq!(ends(&[text]), [expected], "{text:?}");
        }
    }

    #[test]
    fn an_event_that_ends_in_cr_is_reported_at_once_and_its_lf_swallowed() {
        assert_eq!(ends(&["a\r\n\r", "\nb\r\n\r\n"]), [vec![4], vec![6]]);
        assert_eq!(
            ends(&["a\r", "\r", "\n", "\n"]),
            [vec![], vec![1], vec![], vec![1]]
        );
        assert_eq!(
            ends(&["a\r", "\n", "\r", "\n"]),
            [vec![], vec![], vec![1], vec![]]
        );
    }

    #[test]
    fn boundaries() {
        let mut scanner = Scanner::new();
        let mut after = |bytes: &[u8]| {
            scanner.scan(bytes, |_| {});
            scanner.at_boundary()
        };
        assert!(after(b""));
        assert!(!after(b"data"));
        assert!(!after(b"\n"));
        assert!(after(b"\r"));
        assert!(after(b"\n"), "the LF of the CR that ended the event");
        assert!(!after(b":"));
        assert!(after(b"\n\n"));
        scanner.reset();
        assert_eq!(scanner, Scanner::new());
    }

    #[test]
    fn lines_of_an_event() {
        let event =
            "\u{feff}data: a\r\ndata:b\rdata:  c\nid\nevent:x:y\n: ping\nretry:1\nDATA: x\n\n";
        let seen: Vec<_> = fields(event.as_bytes()).collect();
        let expected: [(Key, &[u8]); 8] = [
            (Key::Data, b"a"),
            (Key::Data, b"b"),
            (Key::Data, b" c"),
            (Key::Id, b""),
            (Key::Event, b"x:y"),
            (Key::Comment, b"ping"),
            (Key::Retry, b"1"),
            (Key::Other, b"x"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(
            fields(b"\ndata: a").collect::<Vec<_>>(),
            [(Key::Data, &b"a"[..])]
        );
        assert!(is_comment_only(b": ping\n\n") && is_comment_only(b"\n") && is_comment_only(b""));
        assert!(!is_comment_only(b": ping\ndata\n\n") && !is_comment_only(b"x: y\n\n"));
    }
}
