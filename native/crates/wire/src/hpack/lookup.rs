//! The way back, for an encoder: which entry of the dynamic table holds this field, or this name.
//!
//! Two hash tables of chains, by field and by name, newest entry first. An entry's number counts
//! insertions, so that eviction touches nothing here: a chain ends where its next number is that of
//! no live entry. A chain is followed for [`PROBES_MAX`] entries, so that nobody gains by finding
//! values whose hashes collide; what lies behind is not found and sent as new.
//!
//! Every answer was compared octet by octet, so a wrong hash costs bytes and nothing else.

use super::table::{ENTRY_OVERHEAD_BYTES, Table};
use crate::name::Name;

/// An encoder's table: the initial setting (RFC 9113 §6.5.2), and the most that we use.
pub(super) const TABLE_BYTES_MAX: usize = 4096;

/// No more entries fit the table, so the slots of live ones are their own.
const SLOTS: usize = TABLE_BYTES_MAX / ENTRY_OVERHEAD_BYTES;
const PROBES_MAX: usize = 8;

/// A name whose values came and were not found this often in a row is a name of ever new values.
const MISSES_MAX: u8 = 8;
/// Of such a name's values one in this many is added to the table still: it may have changed.
const TRIED_ONE_IN: u8 = 16;

#[derive(Clone, Debug, Default)]
pub(super) struct Lookup {
    /// The number of the newest entry.
    newest: u32,
    /// By hash of a field, of a name: the number of the newest entry. Empty until the first.
    fields: Vec<u32>,
    names: Vec<u32>,
    /// By number.
    links: Vec<Link>,
    /// By hash of a name: how many values were not found since one was.
    misses: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    field: u32,
    name: u32,
    field_before: u32,
    name_before: u32,
}

/// The hashes of a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    field: u32,
    name: u32,
}

impl Key {
    #[inline]
    pub(super) fn new(known: Name, name: &[u8], value: &[u8]) -> Self {
        let name = match known {
            Name::Other => hash(0, name),
            known => (known as u32 + 1).wrapping_mul(0x9E37_79B1),
        };
        Self {
            field: hash(name, value),
            name,
        }
    }
}

/// From the length, the first, the middle and the last octets: much for little time.
#[inline]
fn hash(seed: u32, bytes: &[u8]) -> u32 {
    let (first, middle, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let middle = bytes
                .get(bytes.len() / 2 - 4..)
                .and_then(<[u8]>::first_chunk);
            (
                u64::from_le_bytes(*first),
                u64::from_le_bytes(*middle.unwrap_or(first)),
                u64::from_le_bytes(*last),
            )
        }
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => (
                u32::from_le_bytes(*first).into(),
                0,
                u32::from_le_bytes(*last).into(),
            ),
            _ => (
                bytes
                    .iter()
                    .fold(0, |word, &octet| word << 8 | u64::from(octet)),
                0,
                0,
            ),
        },
    };
    let len = (bytes.len() as u64) << 32 | u64::from(seed);
    let mixed = (first ^ len).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ middle.rotate_left(23).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
        ^ last.rotate_left(41).wrapping_mul(0x1656_67B1_9E37_79F9);
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

#[inline]
const fn slot(hash: u32) -> usize {
    hash as usize % SLOTS
}

impl Lookup {
    pub(super) const fn new() -> Self {
        Self {
            newest: 0,
            fields: Vec::new(),
            names: Vec::new(),
            links: Vec::new(),
            misses: Vec::new(),
        }
    }

    /// How many entries are newer than the one with this field.
    #[inline]
    pub(super) fn field(
        &mut self,
        table: &Table,
        key: Key,
        name: &[u8],
        value: &[u8],
    ) -> Option<usize> {
        let mut number = *self.fields.get(slot(key.field))?;
        for _ in 0..PROBES_MAX {
            let (age, link) = self.live(table, number)?;
            if link.field == key.field && table.get(age)? == (name, value) {
                if let Some(misses) = self.misses.get_mut(slot(key.name)) {
                    *misses = 0;
                }
                return Some(age);
            }
            number = link.field_before;
        }
        None
    }

    /// How many entries are newer than one with this name.
    #[inline]
    pub(super) fn name(&self, table: &Table, key: Key, name: &[u8]) -> Option<usize> {
        let mut number = *self.names.get(slot(key.name))?;
        for _ in 0..PROBES_MAX {
            let (age, link) = self.live(table, number)?;
            if link.name == key.name && table.get(age)?.0 == name {
                return Some(age);
            }
            number = link.name_before;
        }
        None
    }

    #[inline]
    fn live(&self, table: &Table, number: u32) -> Option<(usize, Link)> {
        let age = self.newest.wrapping_sub(number) as usize;
        if age >= table.len() {
            return None;
        }
        Some((age, *self.links.get(number as usize % SLOTS)?))
    }

    /// Whether a field that was not found is worth an entry.
    pub(super) fn is_worth_an_entry(&mut self, key: Key) -> bool {
        self.reserve();
        let Some(misses) = self.misses.get_mut(slot(key.name)) else {
            return false;
        };
        *misses += 1;
        if *misses == MISSES_MAX + TRIED_ONE_IN {
            *misses = MISSES_MAX;
        }
        *misses <= MISSES_MAX
    }

    /// Notes the entry just added to the table, which was found to be worth it.
    pub(super) fn insert(&mut self, key: Key) {
        self.newest = self.newest.wrapping_add(1);
        let number = self.newest;
        let chains = (
            self.fields.get_mut(slot(key.field)),
            self.names.get_mut(slot(key.name)),
            self.links.get_mut(number as usize % SLOTS),
        );
        if let (Some(field), Some(name), Some(link)) = chains {
            *link = Link {
                field: key.field,
                name: key.name,
                field_before: std::mem::replace(field, number),
                name_before: std::mem::replace(name, number),
            };
        }
    }

    /// A connection that never indexes has no memory here.
    fn reserve(&mut self) {
        if self.links.is_empty() {
            self.fields = vec![0; SLOTS];
            self.names = vec![0; SLOTS];
            self.misses = vec![0; SLOTS];
            self.links = vec![Link::default(); SLOTS];
        }
    }
}
