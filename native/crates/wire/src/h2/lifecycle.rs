//! How streams and the connection begin and end by our will.

use crate::h2::config::Role;
use crate::h2::connection::Connection;
use crate::h2::event::Closing;
use crate::h2::frame::write;
use crate::h2::limits::FORGOTTEN_NS_MAX;
use crate::h2::state::{Over, Recv, Send, Tail};
use crate::h2::{ErrorCode, StreamId};

/// RFC 9113 §6.8: a GOAWAY that excludes no stream.
const LAST_OF_ALL: StreamId = (1 << 31) - 1;

impl Connection {
    /// A new stream of a client; `None` at the limit on streams, after GOAWAY, or when the ids are
    /// used up. Its [`head`](Self::head) must follow at once.
    pub fn open(&mut self) -> Option<StreamId> {
        if !self.can_open() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        self.abuse.opened();
        let stream = self.new_stream(id, Recv::Head);
        self.streams.insert(stream);
        Some(id)
    }

    /// What the events of a stream carry from now on.
    pub fn set_tag(&mut self, id: StreamId, tag: u64) {
        if let Some(stream) = self.streams.get(id) {
            stream.tag = tag;
        }
    }

    /// Cuts a stream off in both directions, now; what is queued is dropped. Frames of it that are
    /// under way are ignored, and their credit goes back.
    pub fn reset(&mut self, id: StreamId, code: ErrorCode, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.slot(id) else {
            return;
        };
        let Some(stream) = self.streams.at(slot).filter(|stream| !stream.closed()) else {
            return;
        };
        // A stream whose HEADERS were not sent is idle to the peer (RFC 9113 §6.4).
        if self.role == Role::Server || stream.send != Send::Head {
            write::reset(out, id, code);
        }
        self.cut(slot, Over::ByUs);
    }

    /// Cuts a stream off as [`reset`](Self::reset) does, once what is queued has gone out.
    pub fn abort(&mut self, id: StreamId, code: ErrorCode, out: &mut Vec<u8>) {
        match self.streams.get(id) {
            Some(stream) if !stream.queue.is_empty() => {
                stream.tail = Tail::Reset(code);
                if stream.recv != Recv::Done {
                    stream.recv = Recv::Discard;
                }
            }
            _ => self.reset(id, code, out),
        }
    }

    /// The caller's work for a stream is over, and nothing more is said of it. Its slot is free,
    /// once what is queued has gone out.
    ///
    /// If we have ended and the peer has not, it is told to stop (RST_STREAM with NO_ERROR from a
    /// server, RFC 9113 §8.1, and CANCEL from a client). If we have not ended, the stream is reset:
    /// a message is never cut silently.
    pub fn forget(&mut self, id: StreamId, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.slot(id) else {
            return;
        };
        let Some(stream) = self.streams.at(slot).filter(|stream| !stream.forgotten) else {
            return;
        };
        stream.forgotten = true;
        if stream.over != Over::No {
            return self.release(id);
        }
        let unread = stream.recv != Recv::Done;
        if unread {
            stream.recv = Recv::Discard;
        }
        if stream.send == Send::Done {
            return self.ended(slot, out);
        }
        let resetting = matches!(stream.tail, Tail::Reset(_));
        match self.role {
            Role::Server if matches!(stream.tail, Tail::Open) => {
                self.reset(id, ErrorCode::InternalError, out);
            }
            // An answer that nobody waits for is not to be asked for any longer.
            Role::Client if matches!(stream.tail, Tail::Open) || (unread && !resetting) => {
                self.reset(id, ErrorCode::Cancel, out);
            }
            Role::Server | Role::Client => {}
        }
    }

    /// Ends what took too long: resets streams (CANCEL) that the caller is done with and whose
    /// queue has not moved for 30 s, and ends the connection if a header block is not complete
    /// after 5 s. To be called by the caller's timer.
    pub fn sweep(&mut self, out: &mut Vec<u8>) -> Result<(), Closing> {
        if let Some(closing) = self.closing {
            return Err(closing);
        }
        if let Err(closing) = self.check_block_time() {
            return Err(self.close(closing, out));
        }
        for slot in 0..self.streams.slots() {
            let Some(stream) = self.streams.at(slot).filter(|stream| stream.forgotten) else {
                continue;
            };
            if self.now_ns.saturating_sub(stream.moved_ns) >= FORGOTTEN_NS_MAX {
                let id = stream.id;
                self.reset(id, ErrorCode::Cancel, out);
            }
        }
        Ok(())
    }

    /// When the first stream is to be swept that the caller is done with, if its queue stands still
    /// until then; nanoseconds of the caller's clock, `None` without such a stream.
    pub fn sweep_due_ns(&self) -> Option<u64> {
        let left = self.streams.iter().filter(|stream| stream.forgotten);
        left.map(|stream| stream.moved_ns.saturating_add(FORGOTTEN_NS_MAX))
            .min()
    }

    /// Asks the peer to leave: it is to open no more streams, and those under way are still taken.
    /// Said once.
    pub fn goaway(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        if self.going.graceful || self.going.last {
            return;
        }
        self.going.graceful = true;
        write::goaway(out, LAST_OF_ALL, code, "");
    }

    /// Takes no new streams from now on: those that come are refused. Said once; a round trip after
    /// [`goaway`](Self::goaway), so that nothing under way is lost.
    pub fn goaway_final(&mut self, code: ErrorCode, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.going.last, true) {
            write::goaway(out, self.last_peer, code, "");
        }
    }

    /// Sends a PING, unless one is under way.
    pub fn ping(&mut self, out: &mut Vec<u8>) {
        if !self.ping.outstanding {
            self.ping.outstanding = true;
            self.ping.count += 1;
            write::ping(out, self.ping.count.to_be_bytes(), false);
        }
    }

    /// Whether a PING was not acknowledged yet.
    pub fn ping_outstanding(&self) -> bool {
        self.ping.outstanding
    }
}
