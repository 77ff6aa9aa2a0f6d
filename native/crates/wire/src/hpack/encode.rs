//! Fields to header blocks.

use super::lookup::{Key, Lookup, TABLE_BYTES_MAX};
use super::policy::{self, Indexing};
use super::table::{ENTRY_OVERHEAD_BYTES, Table};
use super::{huffman, integer, statics};
use crate::name::Name;

/// A pseudo-header field of a request (RFC 9113 §8.3.1, RFC 8441 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pseudo {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:protocol`
    Protocol,
}

impl Pseudo {
    /// The name with its colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Protocol => ":protocol",
        }
    }

    /// The first index of the name in the static table, 0 for none.
    const fn index(self) -> u8 {
        match self {
            Self::Authority => 1,
            Self::Method => 2,
            Self::Path => 4,
            Self::Scheme => 6,
            Self::Protocol => 0,
        }
    }
}

/// §6.2: how a literal begins.
#[derive(Clone, Copy)]
struct Kind {
    bits: u8,
    mask: u8,
}

const INCREMENTAL: Kind = Kind {
    bits: 0x40,
    mask: 0x3f,
};
const WITHOUT: Kind = Kind {
    bits: 0,
    mask: 0x0f,
};
const NEVER: Kind = Kind {
    bits: 0x10,
    mask: 0x0f,
};

/// The writing end of one direction of a connection.
///
/// Blocks are sent in the order in which they were encoded, and each one is.
#[derive(Clone, Debug)]
pub struct Encoder {
    table: Table,
    lookup: Lookup,
    /// The least and the last size since the block before, if the size has changed (§4.2).
    resized: Option<(usize, usize)>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// With an empty table of at most 4096 bytes.
    pub const fn new() -> Self {
        Self {
            table: Table::new(TABLE_BYTES_MAX),
            lookup: Lookup::new(),
            resized: None,
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE. The next block begins with the change, if it is one
    /// for us: we use no more than 4096 bytes.
    pub fn resize(&mut self, peer_max_bytes: usize) {
        let max = peer_max_bytes.min(TABLE_BYTES_MAX);
        if max == self.table.max() {
            return;
        }
        let least = self.resized.map_or(max, |(least, _)| least.min(max));
        self.resized = Some((least, max));
        self.table.set_max(max);
    }

    /// Starts a block.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((least, last)) = self.resized.take() else {
            return;
        };
        // §4.2: the peer evicted for the least size in between, and so have we.
        if least < last {
            integer::write(out, 0x20, 0x1f, least);
        }
        integer::write(out, 0x20, 0x1f, last);
    }

    /// `:status`, 100 to 999.
    pub fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digit = |value: u16| b'0' + (value % 10) as u8;
                let value = [digit(status / 100), digit(status / 10), digit(status)];
                return self.indexed(out, 8, Name::Other, b":status", &value);
            }
        };
        integer::write(out, 0x80, 0x7f, index);
    }

    /// A pseudo-header field of a request.
    pub fn pseudo(&mut self, out: &mut Vec<u8>, name: Pseudo, value: &[u8]) {
        let index = match (name, value) {
            (Pseudo::Method, b"GET") => 2,
            (Pseudo::Method, b"POST") => 3,
            (Pseudo::Path, b"/") => 4,
            (Pseudo::Path, b"/index.html") => 5,
            (Pseudo::Scheme, b"http") => 6,
            (Pseudo::Scheme, b"https") => 7,
            // A query is rarely asked twice.
            (Pseudo::Path, _) if value.contains(&b'?') => {
                return literal(out, WITHOUT, name.index().into(), b"", value);
            }
            _ => {
                let text = name.as_str().as_bytes();
                return self.indexed(out, name.index(), Name::Other, text, value);
            }
        };
        integer::write(out, 0x80, 0x7f, index);
    }

    /// Any other field. `name` is in lower case and `known` is what it is; credentials are never
    /// indexed, values of one message alone are not.
    #[inline]
    pub fn field(&mut self, out: &mut Vec<u8>, known: Name, name: &[u8], value: &[u8]) {
        let (index, indexing) = policy::of(known, name);
        match indexing {
            Indexing::Incremental => self.indexed(out, index, known, name, value),
            Indexing::Without => literal(out, WITHOUT, index.into(), name, value),
            Indexing::Never => literal(out, NEVER, index.into(), name, value),
        }
    }

    /// A field that came as never indexed and is sent on: it stays so, whatever its name (§6.2.3).
    pub fn secret(&mut self, out: &mut Vec<u8>, known: Name, name: &[u8], value: &[u8]) {
        let (index, _) = policy::of(known, name);
        literal(out, NEVER, index.into(), name, value);
    }

    /// By an index of the whole field if a table has it, else as a literal that is added to the
    /// dynamic table if that is worth it. `index` is that of the name in the static table.
    fn indexed(&mut self, out: &mut Vec<u8>, index: u8, known: Name, name: &[u8], value: &[u8]) {
        let in_static = statics::TABLE.get(usize::from(index).wrapping_sub(1));
        if in_static.is_some_and(|entry| entry.1 == value) {
            return integer::write(out, 0x80, 0x7f, index.into());
        }
        let key = Key::new(known, name, value);
        if let Some(age) = self.lookup.field(&self.table, key, name, value) {
            return integer::write(out, 0x80, 0x7f, statics::LEN + 1 + age);
        }
        let index = match index {
            0 => self
                .lookup
                .name(&self.table, key, name)
                .map_or(0, |age| statics::LEN + 1 + age),
            known => known.into(),
        };
        // One field is not to push out more than half of the others.
        let cost = name.len() + value.len() + ENTRY_OVERHEAD_BYTES;
        if cost > self.table.max() / 2 || !self.lookup.is_worth_an_entry(key) {
            return literal(out, WITHOUT, index, name, value);
        }
        literal(out, INCREMENTAL, index, name, value);
        if self.table.insert(name, value) {
            self.lookup.insert(key);
        }
    }
}

/// §6.2: a literal, its name by index unless that is 0.
fn literal(out: &mut Vec<u8>, kind: Kind, index: usize, name: &[u8], value: &[u8]) {
    integer::write(out, kind.bits, kind.mask, index);
    if index == 0 {
        text(out, name);
    }
    text(out, value);
}

/// §5.2: a string, by its Huffman code if that is shorter.
#[inline]
fn text(out: &mut Vec<u8>, text: &[u8]) {
    let start = out.len();
    if text.len() < 0x7f {
        // One octet of length, whatever it will be.
        out.push(text.len() as u8);
        if huffman::encode(out, text) {
            let len = out.len() - start - 1;
            if let Some(prefix) = out.get_mut(start) {
                *prefix = 0x80 | len as u8;
            }
        } else {
            out.extend_from_slice(text);
        }
        return;
    }
    let len = huffman::encoded_len(text);
    if len < text.len() {
        integer::write(out, 0x80, 0x7f, len);
        huffman::encode(out, text);
    } else {
        integer::write(out, 0, 0x7f, text.len());
        out.extend_from_slice(text);
    }
}
