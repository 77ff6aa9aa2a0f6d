//! Streams that are no more: which of them may still be heard of.
//!
//! Frames for a stream that we reset may be on their way (RFC 9113 §5.1); frames for one that the
//! peer ended or reset are its error. Only the last streams are remembered one by one: of older
//! ones we cannot tell, and are lenient.

use crate::h2::StreamId;
use crate::h2::limits::CLOSED_REMEMBERED;

/// How a stream came to be no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both ends sent END_STREAM.
    Ended,
    /// We sent RST_STREAM, or never gave it a place.
    ByUs,
    /// The peer sent RST_STREAM.
    ByPeer,
    /// It is too long ago.
    Forgotten,
    /// It was passed over: a later id was opened first.
    Never,
}

/// The streams that closed last.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    /// Ids without their lowest bit, which is 1 for all, and two bits for the ending. A ring once
    /// it is full.
    ring: Vec<u32>,
    next: usize,
    /// Ids up to this one may have fallen out.
    evicted: StreamId,
}

impl Closed {
    /// Remembers how a stream ended that may be remembered already: the last word counts.
    pub(crate) fn set(&mut self, id: StreamId, ending: Ending) {
        match self.ring.iter_mut().find(|entry| id_of(**entry) == id) {
            Some(known) => *known = entry_of(id, ending),
            None => self.push(id, ending),
        }
    }

    /// Remembers how a stream ended that was live until now.
    pub(crate) fn push(&mut self, id: StreamId, ending: Ending) {
        let entry = entry_of(id, ending);
        if self.ring.len() < CLOSED_REMEMBERED {
            self.ring.push(entry);
            return;
        }
        if let Some(room) = self.ring.get_mut(self.next) {
            self.evicted = self.evicted.max(id_of(*room));
            *room = entry;
        }
        self.next = (self.next + 1) % CLOSED_REMEMBERED;
    }

    pub(crate) fn held_bytes(&self) -> usize {
        self.ring.capacity() * size_of::<u32>()
    }

    /// What became of a stream that was opened or passed over, and is not live.
    pub(crate) fn ending(&self, id: StreamId) -> Ending {
        let found = self.ring.iter().find(|&&entry| id_of(entry) == id);
        match found.map(|entry| entry & 3) {
            Some(1) => Ending::ByUs,
            Some(2) => Ending::ByPeer,
            Some(_) => Ending::Ended,
            None if id <= self.evicted => Ending::Forgotten,
            None => Ending::Never,
        }
    }
}

fn entry_of(id: StreamId, ending: Ending) -> u32 {
    let code = match ending {
        Ending::ByUs => 1,
        Ending::ByPeer => 2,
        Ending::Ended | Ending::Forgotten | Ending::Never => 0,
    };
    (id >> 1) << 2 | code
}

fn id_of(entry: u32) -> StreamId {
    (entry >> 2) << 1 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_and_is_lenient_about_the_rest() {
        let mut closed = Closed::default();
        let endings = [Ending::Ended, Ending::ByUs, Ending::ByPeer];
        for (id, ending) in (1..100_000).step_by(4).zip(endings.into_iter().cycle()) {
            closed.push(id, ending);
            assert_eq!(closed.ending(id), ending);
            assert_eq!(closed.ending(id + 2), Ending::Never);
            closed.set(id, Ending::ByUs);
            assert_eq!(closed.ending(id), Ending::ByUs);
        }
        assert_eq!(closed.ring.len(), CLOSED_REMEMBERED);
        assert_eq!(closed.ending(1), Ending::Forgotten);
        assert_eq!(closed.ending(3), Ending::Forgotten);
        closed.set(0x7fff_ffff, Ending::ByPeer);
        assert_eq!(closed.ending(0x7fff_ffff), Ending::ByPeer);
    }
}
