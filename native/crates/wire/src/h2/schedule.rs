//! Whose turn it is: streams that have data and a window, by urgency and then in turn.
//!
//! A stream stands in its lane at most once, and only while it has queued data and its own window
//! allows some of it; the connection's window is asked when the turn comes.

use crate::h2::state::{NO_SLOT, Stream};
use crate::h2::streams::Streams;

/// RFC 9218 §4.1.
const LANES: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Lane {
    head: u32,
    tail: u32,
}

/// The streams that wait for their turn, linked through their slots.
#[derive(Debug)]
pub(crate) struct Schedule {
    lanes: [Lane; LANES],
    /// Bit n: lane n has streams.
    mask: u8,
}

impl Schedule {
    pub(crate) const fn new() -> Self {
        const EMPTY: Lane = Lane {
            head: NO_SLOT,
            tail: NO_SLOT,
        };
        Self {
            lanes: [EMPTY; LANES],
            mask: 0,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.mask == 0
    }

    /// Adds a stream behind those of its urgency, if it is not there and could send.
    pub(crate) fn add(&mut self, streams: &mut Streams, slot: u32) {
        let Some(stream) = streams.at(slot).filter(|stream| may_send(stream)) else {
            return;
        };
        let urgency = stream.urgency;
        let Some(lane) = self.lanes.get_mut(usize::from(urgency)) else {
            return;
        };
        stream.ready = true;
        stream.next = NO_SLOT;
        stream.prev = lane.tail;
        let before = std::mem::replace(&mut lane.tail, slot);
        match streams.at(before) {
            Some(before) => before.next = slot,
            None => lane.head = slot,
        }
        self.mask |= 1 << urgency;
    }

    /// The slot of the stream whose turn it is; it leaves its lane.
    pub(crate) fn pop(&mut self, streams: &mut Streams) -> Option<u32> {
        let lane = self.lanes.get(self.mask.trailing_zeros() as usize)?;
        let slot = lane.head;
        self.remove(streams, slot);
        Some(slot)
    }

    /// Takes a stream out of its lane, if it is in one.
    pub(crate) fn remove(&mut self, streams: &mut Streams, slot: u32) {
        let Some(stream) = streams.at(slot).filter(|stream| stream.ready) else {
            return;
        };
        let (prev, next, urgency) = (stream.prev, stream.next, stream.urgency);
        stream.ready = false;
        stream.next = NO_SLOT;
        stream.prev = NO_SLOT;
        let Some(lane) = self.lanes.get_mut(usize::from(urgency)) else {
            return;
        };
        match streams.at(prev) {
            Some(prev) => prev.next = next,
            None => lane.head = next,
        }
        match streams.at(next) {
            Some(next) => next.prev = prev,
            None => lane.tail = prev,
        }
        if lane.head == NO_SLOT {
            self.mask &= !(1 << urgency);
        }
    }

    /// Changes a stream's urgency; in its new lane it stands last.
    pub(crate) fn move_to(&mut self, streams: &mut Streams, slot: u32, urgency: u8) {
        self.remove(streams, slot);
        if let Some(stream) = streams.at(slot) {
            stream.urgency = urgency.min(LANES as u8 - 1);
        }
        self.add(streams, slot);
    }
}

fn may_send(stream: &Stream) -> bool {
    !stream.ready && !stream.queue.is_empty() && stream.outbound.allows() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2::flow::{Inbound, Outbound};
    use crate::h2::state::Recv;

    fn streams(count: u32) -> Streams {
        let mut streams = Streams::new();
        for at in 0..count {
            let mut one = Stream::new(at * 2 + 1, Recv::Body, Inbound::new(0), Outbound::new(100));
            one.queue.push(b"x");
            streams.insert(one);
        }
        streams
    }

    #[test]
    fn by_urgency_then_in_turn() {
        let mut streams = streams(4);
        let mut schedule = Schedule::new();
        for slot in 0..4 {
            schedule.add(&mut streams, slot);
            schedule.add(&mut streams, slot);
        }
        schedule.move_to(&mut streams, 2, 0);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let slot = schedule.pop(&mut streams).unwrap();
            seen.push(slot);
            schedule.add(&mut streams, slot);
        }
        assert_eq!(seen, [2; 6]);
        schedule.move_to(&mut streams, 2, 9);
        let seen: Vec<_> = std::iter::from_fn(|| schedule.pop(&mut streams)).collect();
        assert_eq!(seen, [0, 1, 3, 2]);
        assert!(schedule.is_empty());
    }

    #[test]
    fn leaves_from_anywhere_and_waits_only_with_data_and_window() {
        let mut streams = streams(3);
        let mut schedule = Schedule::new();
        for slot in 0..3 {
            schedule.add(&mut streams, slot);
        }
        schedule.remove(&mut streams, 1);
        schedule.remove(&mut streams, 1);
        schedule.remove(&mut streams, 2);
        assert_eq!(schedule.pop(&mut streams), Some(0));
        assert_eq!(schedule.pop(&mut streams), None);
        streams.at(0).unwrap().queue.clear();
        assert!(streams.at(1).unwrap().outbound.shift(-100));
        schedule.add(&mut streams, 0);
        schedule.add(&mut streams, 1);
        schedule.add(&mut streams, 77);
        assert!(schedule.is_empty());
    }
}
