//! The form scan: reads `model` and `stream` out of a multipart/form-data body (RFC 7578) as its
//! bytes arrive, linear at any chunking. A file's bytes are only searched for the next boundary.
//!
//! Engines read forms with parsers that forgive different things. **Invariant:** a form in which
//! two of them could find two values of one field is refused: nothing stands before the first
//! boundary, CRLF alone ends a line, a boundary has nothing behind it, a part has one plain name.

use memchr::memchr;

use super::{MODEL_BYTES_MAX, ScanViolation};

/// Bytes of one part's header lines at most. They name a field and perhaps a file.
const PART_HEAD_BYTES_MAX: usize = 4096;
/// RFC 2046 §5.1.1: a boundary has at most 70 characters.
const BOUNDARY_BYTES_MAX: usize = 70;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first boundary, which needs no CRLF before it.
    Start,
    /// Header lines of a part.
    Head,
    /// The value of a part, up to the next boundary.
    Data,
    /// Behind a boundary: CRLF begins a part, `--` ends the form. One byte may be here already.
    Behind(Option<u8>),
    /// Behind the last boundary: what follows is no part of the form.
    End,
    Failed,
}

/// The part that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    Other,
}

/// The scanner of one form.
#[derive(Debug)]
pub(super) struct FormScan {
    /// CRLF, two dashes, the boundary. CR is nowhere in it but in front.
    delimiter: Vec<u8>,
    /// Bytes of the delimiter that were seen.
    seen: usize,
    /// The first two of them were not there: it is the beginning of the body or of a value.
    bare: bool,
    at: At,
    head: Vec<u8>,
    field: Field,
    /// The value of `field`, up to one byte more than it may have.
    value: Vec<u8>,
    model: Option<String>,
    model_seen: bool,
    stream: Option<bool>,
    stream_seen: bool,
    violation: Option<ScanViolation>,
}

impl FormScan {
    pub(super) fn new(boundary: &[u8]) -> Self {
        Self {
            delimiter: [b"\r\n--", boundary].concat(),
            seen: 2,
            bare: true,
            at: At::Start,
            head: Vec::new(),
            field: Field::Other,
            value: Vec::new(),
            model: None,
            model_seen: false,
            stream: None,
            stream_seen: false,
            violation: None,
        }
    }

    /// The model, once its part is complete.
    pub(super) fn take_model(&mut self) -> Option<String> {
        self.model.take()
    }

    pub(super) fn stream(&self) -> Option<bool> {
        self.stream
    }

    pub(super) fn violation(&self) -> Option<ScanViolation> {
        self.violation
    }

    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.at {
                At::Start | At::Data => self.data(rest),
                At::Head => self.head(rest),
                At::Behind(first) => self.behind(first, rest[0]),
                At::End | At::Failed => return,
            };
            rest = &rest[taken..];
        }
    }

    fn fail(&mut self, violation: ScanViolation) {
        self.violation = Some(violation);
        self.at = At::Failed;
    }

    /// Bytes of a value, or of the delimiter behind it. CR begins the delimiter and is nowhere else
    /// in it: behind a mismatch only the present byte can begin another.
    fn data(&mut self, bytes: &[u8]) -> usize {
        if self.seen == 0 {
            let end = memchr(b'\r', bytes).unwrap_or(bytes.len());
            self.keep(&bytes[..end]);
            self.seen = usize::from(end < bytes.len());
            return end + self.seen;
        }
        if bytes[0] == self.delimiter[self.seen] {
            self.seen += 1;
            if self.seen == self.delimiter.len() {
                self.delimited();
            }
            return 1;
        }
        if self.at == At::Start {
            self.fail(ScanViolation::NotForm);
            return 1;
        }
        if self.field != Field::Other {
            let from = if self.bare { 2 } else { 0 };
            let passed = self.delimiter[from..self.seen].to_vec();
            self.keep(&passed);
        }
        self.bare = false;
        self.seen = 0;
        0
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.field != Field::Other {
            let room = (MODEL_BYTES_MAX + 1).saturating_sub(self.value.len());
            self.value
                .extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// A whole delimiter.
    fn delimited(&mut self) {
        if self.bare && self.at == At::Data {
            // Is the empty line before it that of the head, or the delimiter's own?
            return self.fail(ScanViolation::AmbiguousForm);
        }
        self.at = At::Behind(None);
        match std::mem::replace(&mut self.field, Field::Other) {
            Field::Model if self.value.len() > MODEL_BYTES_MAX => {
                self.fail(ScanViolation::ModelTooLong);
            }
            Field::Model => match std::str::from_utf8(&self.value) {
                Ok(model) => self.model = Some(model.to_owned()),
                Err(_) => self.fail(ScanViolation::ModelNotString),
            },
            Field::Stream => self.stream = truth(&self.value),
            Field::Other => {}
        }
        self.value.clear();
    }

    fn behind(&mut self, first: Option<u8>, byte: u8) -> usize {
        match (first, byte) {
            (None, b'\r' | b'-') => self.at = At::Behind(Some(byte)),
            (Some(b'\r'), b'\n') => {
                self.head.clear();
                self.at = At::Head;
            }
            (Some(b'-'), b'-') => self.at = At::End,
            // RFC 2046 §5.1.1 allows spaces and tabs here; not every parser does.
            _ => self.fail(ScanViolation::AmbiguousForm),
        }
        1
    }

    /// Header lines, up to an empty one.
    fn head(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        let room = (PART_HEAD_BYTES_MAX + 1).saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..end.min(room)]);
        if self.head.len() > PART_HEAD_BYTES_MAX {
            self.fail(ScanViolation::AmbiguousForm);
        } else if self.head == b"\r\n" || self.head.ends_with(b"\r\n\r\n") {
            self.headed();
        }
        end
    }

    fn headed(&mut self) {
        match part(&self.head) {
            None => self.fail(ScanViolation::AmbiguousForm),
            Some((Field::Model, _)) if std::mem::replace(&mut self.model_seen, true) => {
                self.fail(ScanViolation::DuplicateModel);
            }
            Some((Field::Stream, _)) if std::mem::replace(&mut self.stream_seen, true) => {
                self.fail(ScanViolation::DuplicateStream);
            }
            Some((Field::Model, true)) => self.fail(ScanViolation::ModelNotString),
            Some((field, _)) => {
                self.field = field;
                self.at = At::Data;
                self.seen = 2;
                self.bare = true;
            }
        }
    }
}

/// What a form's flag says, in the spellings that engines' parsers take.
fn truth(value: &[u8]) -> Option<bool> {
    let is = |words: [&str; 6]| {
        words
            .iter()
            .any(|w| value.eq_ignore_ascii_case(w.as_bytes()))
    };
    if is(["true", "1", "on", "yes", "t", "y"]) {
        Some(true)
    } else if is(["false", "0", "off", "no", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// Which field a part is, and whether it is a file; `None` if that can be read in two ways.
fn part(head: &[u8]) -> Option<(Field, bool)> {
    let (mut named, mut coded) = (None, false);
    for line in head.split_inclusive(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r\n")?;
        if line.is_empty() {
            break;
        }
        if memchr(b'\r', line).is_some() {
            return None;
        }
        let (name, value) = line.split_at(memchr(b':', line)?);
        // A folded line begins with white space: it has no name.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let value = value[1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-disposition") {
            let (plain, escaped) = (disposition(value, false)?, disposition(value, true)?);
            if plain != escaped || named.replace(plain).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            // RFC 7578 §4.7 has done away with it; some parsers decode still.
            coded |= ![&b"7bit"[..], b"8bit", b"binary"]
                .iter()
                .any(|plain| value.eq_ignore_ascii_case(plain));
        }
    }
    let (field, file) = named.unwrap_or((Field::Other, false));
    (field == Field::Other || !coded).then_some((field, file))
}

/// Reads a `Content-Disposition`, with a backslash in quotes as an escape or as itself.
fn disposition(value: &[u8], escapes: bool) -> Option<(Field, bool)> {
    let at = memchr(b';', value).unwrap_or(value.len());
    let form = value[..at].trim_ascii().eq_ignore_ascii_case(b"form-data");
    let (mut field, mut file) = (None, false);
    parameters(&value[at..], escapes, |name, text| {
        if name.eq_ignore_ascii_case(b"name") {
            let named = match &*text {
                b"model" => Field::Model,
                b"stream" => Field::Stream,
                _ => Field::Other,
            };
            return field.replace(named).is_none();
        }
        file |= name.len() >= 8 && name[..8].eq_ignore_ascii_case(b"filename");
        // `name*` is for other headers (RFC 7578 §4.2); some parsers take it.
        !(name.len() >= 4 && name[..4].eq_ignore_ascii_case(b"name"))
    })?;
    let field = field.unwrap_or(Field::Other);
    (form || field == Field::Other).then_some((field, file))
}

/// Reads `; name=value` pairs until `each` says no. `None` if it did or if they are malformed.
fn parameters(
    mut rest: &[u8],
    escapes: bool,
    mut each: impl FnMut(&[u8], Vec<u8>) -> bool,
) -> Option<()> {
    while let Some((b';', tail)) = rest.split_first() {
        let tail = tail.trim_ascii_start();
        if tail.is_empty() {
            return Some(());
        }
        let (name, value) = tail.split_at(memchr(b'=', tail)?);
        let (text, behind) = parameter(&value[1..], escapes)?;
        let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*' | b'.');
        if name.is_empty() || !name.iter().all(plain) || !each(name, text) {
            return None;
        }
        rest = behind.trim_ascii_start();
    }
    rest.is_empty().then_some(())
}

/// A parameter's value, a token or in quotes (RFC 9110 §5.6.4), and what is behind it.
fn parameter(value: &[u8], escapes: bool) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let end = memchr(b';', value).unwrap_or(value.len());
        let token = value[..end].trim_ascii_end();
        let plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        return (!token.is_empty() && token.iter().all(plain))
            .then(|| (token.to_vec(), &value[end..]));
    };
    let mut text = Vec::new();
    let mut rest = quoted;
    loop {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        match byte {
            b'"' => return Some((text, rest)),
            b'\\' if escapes => {
                let (byte, tail) = rest.split_first()?;
                rest = tail;
                text.push(*byte);
            }
            byte => text.push(*byte),
        }
    }
}

/// The boundary that a `content-type` gives, if it is that of a form that can be scanned: in
/// UTF-8 (RFC 7578 §5.1.2), and with one boundary of the characters of RFC 2046 §5.1.1.
pub fn boundary(content_type: &[u8]) -> Option<Vec<u8>> {
    let at = memchr(b';', content_type)?;
    let kind = content_type[..at].trim_ascii();
    if !kind.eq_ignore_ascii_case(b"multipart/form-data") || content_type.contains(&b'\\') {
        return None;
    }
    let mut boundary = None;
    parameters(&content_type[at..], false, |name, text| {
        if name.eq_ignore_ascii_case(b"boundary") {
            return boundary.replace(text).is_none();
        }
        let charset = name.len() >= 7 && name[..7].eq_ignore_ascii_case(b"charset");
        !charset || text.eq_ignore_ascii_case(b"utf-8")
    })?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    boundary.filter(|b| {
        (1..=BOUNDARY_BYTES_MAX).contains(&b.len()) && b.iter().all(plain) && !b.ends_with(b" ")
    })
}

#[cfg(test)]
mod tests;
