//! What the caller sends: data at once or queued, trailers behind it, credit back.
//!
//! Invariants: what is queued leaves in order; nothing of a stream passes its queued data; a stream
//! with a queue and an open window stands in the schedule.

use crate::fields::Fields;
use crate::h2::connection::Connection;
use crate::h2::frame::write;
use crate::h2::limits::{
    CONNECTION_QUEUE_BYTES_HIGH, FRAME_BYTES_MAX, OUT_BYTES_HIGH, STREAM_QUEUE_BYTES_HIGH,
};
use crate::h2::state::{Over, Recv, Send, Tail};
use crate::h2::{ErrorCode, StreamId};

impl Connection {
    /// Sends body bytes, all of them sooner or later; `end` ends the message. What the windows or
    /// a long `out` do not allow now is queued: [`full`](Self::full) says when to stop, and
    /// [`flush`](Self::flush) sends it. Nothing is done for a stream whose head was not sent, or
    /// that has ended.
    #[inline]
    pub fn data(&mut self, id: StreamId, bytes: &[u8], end: bool, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.get(id).filter(|stream| stream.takes_data()) else {
            return;
        };
        let len = bytes.len();
        let allowed = self.outbound.allows().min(stream.outbound.allows());
        // Whoever waits for a turn must not be passed by who does not.
        if stream.queue.is_empty()
            && self.schedule.is_empty()
            && (1..=FRAME_BYTES_MAX.min(allowed)).contains(&len)
            && out.len() < OUT_BYTES_HIGH
        {
            stream.outbound.take(len);
            self.outbound.take(len);
            self.abuse.sent_data(len);
            if end {
                stream.send = Send::Done;
            }
            write::data(out, id, bytes, end);
            return;
        }
        self.data_in_parts(id, bytes, end, out);
    }

    /// Sends what may go and queues the rest.
    fn data_in_parts(&mut self, id: StreamId, bytes: &[u8], end: bool, out: &mut Vec<u8>) {
        let Some(slot) = self.streams.slot(id) else {
            return;
        };
        let Some(stream) = self.streams.at(slot) else {
            return;
        };
        if bytes.is_empty() {
            if end && stream.queue.is_empty() {
                write::data(out, id, bytes, true);
                self.ended(slot, out);
            } else if end {
                stream.tail = Tail::End;
            }
            return;
        }
        let mut rest = bytes;
        let passes = stream.queue.is_empty() && self.schedule.is_empty();
        while passes && out.len() < OUT_BYTES_HIGH && !rest.is_empty() {
            let allowed = self.outbound.allows().min(stream.outbound.allows());
            let len = allowed.min(FRAME_BYTES_MAX).min(rest.len());
            let Some((piece, behind)) = rest.split_at_checked(len).filter(|_| len > 0) else {
                break;
            };
            rest = behind;
            stream.outbound.take(len);
            self.outbound.take(len);
            self.abuse.sent_data(len);
            write::data(out, id, piece, end && rest.is_empty());
        }
        if rest.is_empty() {
            if end {
                self.ended(slot, out);
            }
            return;
        }
        if stream.queue.is_empty() {
            stream.moved_ns = self.now_ns;
        }
        stream.queue.push(rest);
        self.queued += rest.len();
        if end {
            stream.tail = Tail::End;
        }
        // From here on the caller may see it as full, and is told when it is not.
        stream.full |= stream.queue.len() > STREAM_QUEUE_BYTES_HIGH
            || self.queued > CONNECTION_QUEUE_BYTES_HIGH;
        self.schedule.add(&mut self.streams, slot);
    }

    /// Sends a trailer section, behind what is queued; it ends the message. The names are
    /// lower-case and none is a pseudo-header field.
    pub fn trailers(&mut self, id: StreamId, fields: &Fields, out: &mut Vec<u8>) {
        if fields.is_empty() {
            return self.data(id, &[], true, out);
        }
        let Some(slot) = self.streams.slot(id) else {
            return;
        };
        let Some(stream) = self.streams.at(slot).filter(|stream| stream.takes_data()) else {
            return;
        };
        if stream.queue.is_empty() {
            self.write_trailers(id, fields, out);
            self.ended(slot, out);
        } else {
            stream.tail = Tail::Trailers(Box::new(fields.clone()));
        }
    }

    fn write_trailers(&mut self, id: StreamId, fields: &Fields, out: &mut Vec<u8>) {
        let start = write::open_block(out);
        self.encoder.begin(out);
        for field in fields.iter() {
            if field.secret {
                self.encoder
                    .secret(out, field.known, field.name, field.value);
            } else {
                self.encoder
                    .field(out, field.known, field.name, field.value);
            }
        }
        write::close_block(out, start, id, true);
        self.abuse.sent_head();
    }

    /// Moves queued data to `out` while the windows allow it and `out` is below
    /// [`OUT_BYTES_HIGH`]: the most urgent streams first, and among equals a frame each in turn.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        while out.len() < OUT_BYTES_HIGH && self.outbound.allows() > 0 {
            let Some(slot) = self.schedule.pop(&mut self.streams) else {
                break;
            };
            self.serve(slot, out);
        }
    }

    /// One turn of a stream that has data and a window.
    fn serve(&mut self, slot: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.at(slot) else {
            return;
        };
        let allowed = self.outbound.allows().min(stream.outbound.allows());
        let len = allowed.min(FRAME_BYTES_MAX).min(stream.queue.len());
        let last = len == stream.queue.len();
        let end = last && matches!(stream.tail, Tail::End);
        write::data(out, stream.id, stream.queue.front(len), end);
        stream.queue.advance(len);
        stream.outbound.take(len);
        stream.moved_ns = self.now_ns;
        self.outbound.take(len);
        self.queued -= len;
        self.abuse.sent_data(len);
        let low = stream.queue.len() <= STREAM_QUEUE_BYTES_HIGH / 2
            && self.queued <= CONNECTION_QUEUE_BYTES_HIGH / 2;
        if stream.full && (last || low) {
            stream.full = false;
            self.relieved.push(stream.id);
        }
        if last {
            self.drained(slot, out);
        } else {
            self.schedule.add(&mut self.streams, slot);
        }
    }

    /// The queue of a stream is empty: what waited behind it goes now.
    fn drained(&mut self, slot: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.at(slot) else {
            return;
        };
        let id = stream.id;
        match std::mem::replace(&mut stream.tail, Tail::Open) {
            Tail::Open => {}
            Tail::End => self.ended(slot, out),
            Tail::Trailers(fields) => {
                self.write_trailers(id, &fields, out);
                self.ended(slot, out);
            }
            Tail::Reset(code) => {
                write::reset(out, id, code);
                self.cut(slot, Over::ByUs);
            }
        }
    }

    /// Our END_STREAM is in `out`. A stream that the caller is done with ends altogether: the peer
    /// may stop sending (RFC 9113 §8.1).
    pub(super) fn ended(&mut self, slot: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.at(slot) else {
            return;
        };
        stream.send = Send::Done;
        if !stream.forgotten {
            return;
        }
        let id = stream.id;
        if stream.recv != Recv::Done {
            stream.over = Over::ByUs;
            write::reset(out, id, self.farewell());
        }
        self.release(id);
    }

    /// What is said of a stream whose other half is not wanted.
    fn farewell(&self) -> ErrorCode {
        match self.role {
            crate::h2::Role::Server => ErrorCode::NoError,
            crate::h2::Role::Client => ErrorCode::Cancel,
        }
    }

    /// Gives a stream's credit back: what an [`Event::Data`](crate::h2::Event::Data) cost, when its
    /// bytes have gone on or were dropped. WINDOW_UPDATE is sent once half of the window has
    /// gathered.
    #[inline]
    pub fn consumed(&mut self, id: StreamId, credit: u32, out: &mut Vec<u8>) {
        let size = self.config.stream_window;
        let Some(stream) = self.streams.get(id) else {
            return;
        };
        // RFC 9113 §5.1: a peer that has ended needs no window.
        if stream.recv != Recv::Body || stream.over != Over::No {
            return;
        }
        if let Some(increment) = stream.inbound.give(credit, size) {
            write::window_update(out, id, increment);
        }
    }

    /// A stream that was [`full`](Self::full) and has drained below half, with its tag; each once.
    pub fn relieved(&mut self) -> Option<(StreamId, u64)> {
        while let Some(id) = self.relieved.pop() {
            if let Some(stream) = self.streams.peek(id)
                && !stream.full
                && !stream.forgotten
                && stream.over == Over::No
            {
                return Some((id, stream.tag));
            }
        }
        self.relieved = Vec::new();
        None
    }
}
