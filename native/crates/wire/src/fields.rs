//! The fields of a message, in order of arrival, in one arena.
//!
//! Names are lower-case. A name that we know is not stored at all: its discriminant is. The same
//! object serves message after message; `clear` keeps the memory, `shrink` gives it back.
//!
//! Invariant: every entry's name and value lie inside the arena.

use std::fmt;

use crate::name::Name;

/// RFC 7541 §4.1 and RFC 9113 §10.5.1: what one field costs its holder beyond its bytes.
const FIELD_OVERHEAD_BYTES: usize = 32;

/// One field, as it lies in [`Fields`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which known name it is.
    pub known: Name,
    /// The name in lower case.
    pub name: &'a [u8],
    /// The value without surrounding whitespace.
    pub value: &'a [u8],
    /// The peer asked that no table keeps it, and whoever sends it on has to ask the same (RFC 7541
    /// §6.2.3).
    pub secret: bool,
}

/// The fields of one message.
#[derive(Clone, Default)]
pub struct Fields {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    /// Sum of name + value + 32 over all entries.
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    /// Where the name begins in the arena, or the value if the name is known.
    start: u32,
    /// 0 for a known name.
    name_len: u32,
    value_len: u32,
    known: Name,
    secret: bool,
}

impl Fields {
    /// No fields and no memory.
    pub const fn new() -> Self {
        Self {
            arena: Vec::new(),
            entries: Vec::new(),
            bytes: 0,
        }
    }

    /// Forgets the fields and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
        self.bytes = 0;
    }

    /// After `clear`: gives back an arena of more than `bytes_max`, and the entries with it.
    pub fn shrink(&mut self, bytes_max: usize) {
        if self.arena.capacity() > bytes_max {
            self.arena.shrink_to(bytes_max);
        }
        if self.entries.capacity() * size_of::<Entry>() > bytes_max {
            self.entries.shrink_to(bytes_max / size_of::<Entry>());
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the list costs: name + value + 32 bytes for each field (RFC 9113 §10.5.1).
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a field and gives its known name. The name is lower-cased; the content is not
    /// checked: whoever took it from a peer has done so, and `encode::field` does it again.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Name {
        self.push_as(Name::from_bytes(name), name, value)
    }

    /// Appends as [`push`](Self::push) does a field whose known name was looked up.
    #[inline]
    pub(crate) fn push_as(&mut self, known: Name, name: &[u8], value: &[u8]) -> Name {
        if known == Name::Other {
            let start = self.arena.len();
            self.arena.extend_from_slice(name);
            if let Some(added) = self.arena.get_mut(start..) {
                added.make_ascii_lowercase();
            }
            self.arena.extend_from_slice(value);
            self.entry(known, start, name.len(), value.len(), name.len());
        } else {
            self.push_known(known, value);
        }
        known
    }

    /// Appends a field with a known name. [`Name::Other`] has no text and is not to be pushed.
    #[inline]
    pub fn push_known(&mut self, known: Name, value: &[u8]) {
        debug_assert!(known != Name::Other, "a field needs a name");
        let start = self.arena.len();
        self.arena.extend_from_slice(value);
        self.entry(known, start, 0, value.len(), known.as_str().len());
    }

    /// The arena is bounded by `head_bytes_max`, so its offsets fit 32 bits.
    #[inline]
    fn entry(&mut self, known: Name, start: usize, stored: usize, value: usize, name: usize) {
        self.entries.push(Entry {
            start: start as u32,
            name_len: stored as u32,
            value_len: value as u32,
            known,
            secret: false,
        });
        self.bytes += name + value + FIELD_OVERHEAD_BYTES;
    }

    /// Marks the last field as one that no table may keep.
    pub(crate) fn seal(&mut self) {
        if let Some(entry) = self.entries.last_mut() {
            entry.secret = true;
        }
    }

    /// The value of the first field of this name.
    pub fn find(&self, name: Name) -> Option<&[u8]> {
        let entry = self.entries.iter().find(|entry| entry.known == name)?;
        Some(self.field(entry).value)
    }

    /// The value of the first field of this name, which is given in lower case.
    pub fn find_str(&self, name: &str) -> Option<&[u8]> {
        match Name::from_bytes(name.as_bytes()) {
            Name::Other => self
                .iter()
                .find(|field| field.name == name.as_bytes())
                .map(|field| field.value),
            known => self.find(known),
        }
    }

    /// How many fields have this name.
    pub fn count(&self, name: Name) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.known == name)
            .count()
    }

    /// The fields in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    #[inline]
    fn field(&self, entry: &Entry) -> Field<'_> {
        let name_end = entry.start as usize + entry.name_len as usize;
        let value_end = name_end + entry.value_len as usize;
        let name = match entry.known {
            Name::Other => self
                .arena
                .get(entry.start as usize..name_end)
                .unwrap_or_default(),
            known => known.as_str().as_bytes(),
        };
        let value = self.arena.get(name_end..value_end).unwrap_or_default();
        Field {
            known: entry.known,
            name,
            value,
            secret: entry.secret,
        }
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            self.name.escape_ascii(),
            self.value.escape_ascii()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_lower_cases() {
        let mut fields = Fields::new();
        assert_eq!(
            fields.push(b"Content-TYPE", b"text/plain"),
            Name::ContentType
        );
        assert_eq!(fields.push(b"X-Custom", b"One"), Name::Other);
        fields.push_known(Name::Cookie, b"a=b");
        fields.push(b"x-custom", b"Two");
        let seen: Vec<_> = fields.iter().map(|f| (f.name, f.value)).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"content-type", b"text/plain"),
            (b"x-custom", b"One"),
            (b"cookie", b"a=b"),
            (b"x-custom", b"Two"),
        ];
        assert_eq!(seen, expected);
        assert_eq!(fields.find(Name::Cookie), Some(&b"a=b"[..]));
        assert_eq!(fields.find_str("x-custom"), Some(&b"One"[..]));
        assert_eq!(fields.find_str("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(fields.count(Name::ContentType), 1);
        assert_eq!(fields.len(), 4);
        assert_eq!(fields.bytes(), 12 + 10 + 8 + 3 + 6 + 3 + 8 + 3 + 4 * 32);
    }

    #[test]
    fn clear_keeps_memory_and_shrink_returns_it() {
        let mut fields = Fields::new();
        fields.push(b"a", &[b'x'; 10_000]);
        fields.clear();
        assert!(fields.is_empty() && fields.bytes() == 0);
        assert!(fields.arena.capacity() >= 10_000);
        fields.shrink(1_024);
        assert!(fields.arena.capacity() <= 1_024);
    }
}
