//! Header blocks to fields.

use super::table::Table;
use super::{Error, huffman, integer, statics};

/// What the scratch of literals may keep between blocks; a chat request's longest value fits.
const SCRATCH_KEPT_BYTES_MAX: usize = 2048;

/// The reading end of one direction of a connection.
///
/// No entry of a table is copied for the caller: a block that refers to one large entry a thousand
/// times costs a thousand calls. How much of that is too much is the caller's to say (RFC 9113
/// §10.5.1): it counts what it is handed and keeps nothing beyond its bound.
#[derive(Clone, Debug)]
pub struct Decoder {
    table: Table,
    /// What our settings allow the peer's table.
    max: usize,
    /// Octets of a literal name; its length is that of the longest so far.
    names: Vec<u8>,
    /// The same for a value.
    values: Vec<u8>,
}

impl Decoder {
    /// `table_bytes_max` is our SETTINGS_HEADER_TABLE_SIZE: the peer's table has this size from the
    /// first block on and never more. It is 4096 unless the peer is known to have read another
    /// setting before its first block.
    pub const fn new(table_bytes_max: usize) -> Self {
        Self {
            table: Table::new(table_bytes_max),
            max: table_bytes_max,
            names: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Decodes one whole header block and calls `each` with name, value and whether the peer sent
    /// the field as never indexed, which whoever sends it on must do too (§6.2.3:
    /// [`Encoder::secret`](super::Encoder::secret)). The slices live for the call. Names and values
    /// are as they came; whether they are legal is the caller's to check.
    ///
    /// A caller that has had enough lets `each` do nothing: the table must be kept right. An error
    /// is fatal to the connection; `each` may have had some of the fields by then.
    pub fn decode(
        &mut self,
        block: &[u8],
        each: impl FnMut(&[u8], &[u8], bool),
    ) -> Result<(), Error> {
        let mut rest = block;
        self.resize(&mut rest)?;
        self.fields(rest, each)?;
        for scratch in [&mut self.names, &mut self.values] {
            if scratch.len() > SCRATCH_KEPT_BYTES_MAX {
                *scratch = Vec::new();
            }
        }
        Ok(())
    }

    /// §6.3: changes of the table's size, which stand at the start of a block alone (§4.2).
    #[inline]
    fn resize(&mut self, rest: &mut &[u8]) -> Result<(), Error> {
        while let Some((&first, tail)) = rest.split_first() {
            if first & 0xe0 != 0x20 {
                break;
            }
            *rest = tail;
            let size = integer::read(first, 0x1f, rest)? as usize;
            if size > self.max {
                return Err(Error::TableSize);
            }
            self.table.set_max(size);
        }
        Ok(())
    }

    fn fields(
        &mut self,
        mut rest: &[u8],
        mut each: impl FnMut(&[u8], &[u8], bool),
    ) -> Result<(), Error> {
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            match first {
                // §6.1: indexed.
                0x80.. => {
                    let index = integer::read(first, 0x7f, &mut rest)?;
                    let (name, value) = entry(&self.table, index)?;
                    each(name, value, false);
                }
                // §6.2.1: literal with incremental indexing. The name's entry may be evicted by it.
                0x40.. => {
                    let index = integer::read(first, 0x3f, &mut rest)?;
                    let name = match index {
                        0 => text(&mut rest, &mut self.names)?,
                        _ => match in_static(index) {
                            Some((name, _)) => name,
                            None => copied(entry(&self.table, index)?.0, &mut self.names),
                        },
                    };
                    let value = text(&mut rest, &mut self.values)?;
                    each(name, value, false);
                    self.table.insert(name, value);
                }
                0x20.. => return Err(Error::TableSize),
                // §6.2.2, §6.2.3: literal without indexing, literal never indexed.
                _ => {
                    let index = integer::read(first, 0x0f, &mut rest)?;
                    let name = match index {
                        0 => text(&mut rest, &mut self.names)?,
                        _ => entry(&self.table, index)?.0,
                    };
                    let value = text(&mut rest, &mut self.values)?;
                    each(name, value, first & 0x10 != 0);
                }
            }
        }
        Ok(())
    }
}

#[inline]
fn in_static(index: u32) -> Option<(&'static [u8], &'static [u8])> {
    let at = (index as usize).checked_sub(1)?;
    statics::TABLE.get(at).copied()
}

/// §2.3.3: one address space, the static table first. There is no entry 0.
#[inline]
fn entry(table: &Table, index: u32) -> Result<(&[u8], &[u8]), Error> {
    match (index as usize).checked_sub(statics::LEN + 1) {
        Some(age) => table.get(age),
        None => in_static(index),
    }
    .ok_or(Error::Index)
}

/// §5.2: a string from the front of `rest`, as it is or decoded into `scratch`.
#[inline]
fn text<'a, 'block: 'a>(
    rest: &mut &'block [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], Error> {
    let (&first, tail) = rest.split_first().ok_or(Error::Truncated)?;
    *rest = tail;
    let len = integer::read(first, 0x7f, rest)? as usize;
    let (text, tail) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
    *rest = tail;
    if first & 0x80 == 0 {
        return Ok(text);
    }
    huffman::decode(text, scratch)
}

#[inline]
fn copied<'a>(name: &[u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if scratch.len() < name.len() {
        scratch.resize(name.len(), 0);
    }
    let copy = scratch.get_mut(..name.len()).unwrap_or_default();
    copy.copy_from_slice(name);
    copy
}
