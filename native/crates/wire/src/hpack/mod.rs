//! HPACK (RFC 7541): lists of fields to header blocks and back.
//!
//! Each end of a connection has one [`Encoder`] for what it sends and one [`Decoder`] for what it
//! reads; both keep state from block to block, so every block goes through, in order, also one
//! whose fields nobody wants. A header block comes whole: putting HEADERS and CONTINUATION
//! together, and bounding that, is the caller's work.
//!
//! Invariants: a peer's bytes never panic and never make us hold more than the dynamic table, which
//! our settings bound, and one literal's text, which the block bounds. The work is linear in the
//! bytes read and the bytes handed on.

mod code;
mod decode;
mod encode;
pub(crate) mod fuzzing;
mod huffman;
mod integer;
mod lookup;
mod policy;
mod statics;
mod table;

use std::fmt;

pub use decode::Decoder;
pub use encode::{Encoder, Pseudo};

/// A header block that cannot be decoded: COMPRESSION_ERROR, and the end of the connection, for the
/// tables of the two ends differ from here on (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The block ends in the middle of a field.
    Truncated,
    /// An integer of more than 32 bits or more than five further octets (§5.1).
    Integer,
    /// A string's Huffman code is broken, holds EOS or is padded wrongly (§5.2).
    Huffman,
    /// No entry has this index (§2.3.3).
    Index,
    /// A table size above our setting, or a change of it behind the first field (§4.2, §6.3).
    TableSize,
}

impl Error {
    /// What was wrong, for logs and counters; never a peer's bytes.
    pub const fn why(self) -> &'static str {
        match self {
            Self::Truncated => "header block ends inside a field",
            Self::Integer => "header block with an integer too large",
            Self::Huffman => "header block with a broken Huffman code",
            Self::Index => "header block with an index of no entry",
            Self::TableSize => "header block with a table size that is not allowed",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Error {}
