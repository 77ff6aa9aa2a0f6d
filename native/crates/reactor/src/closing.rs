//! Sockets whose connection is over for the engine, but not yet for the peer: the rest of the last
//! answer is sent, then our FIN, then the peer's bytes are thrown away for a while. Without that
//! last step, unread bytes would turn our close into an RST, which may overtake the answer
//! (RFC 9112 §9.6).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use socket2::Socket;

use crate::clock;
use crate::connections::Conn;
use crate::limits::{CLOSING_MAX, FLUSH_STALL_NS, LINGER_BYTES_MAX, LINGER_NS};
use crate::poller::{GENERATION_MASK, Key, Poller, Want};
use crate::socket::{self, Received, Sent};

struct Lingering {
    generation: u32,
    socket: Socket,
    rest: Vec<u8>,
    /// 0 <= sent <= rest.len()
    sent: usize,
    fin_sent: bool,
    /// Bytes read and thrown away.
    discarded: usize,
    deadline_ns: u64,
}

#[derive(PartialEq, Eq)]
enum Progress {
    Done,
    Waits,
}

/// The table of them. Deadlines in the heap may be older than those in the table: an entry that
/// comes up early is put back.
#[derive(Default)]
pub(crate) struct Closing {
    slots: Vec<Option<Lingering>>,
    free: Vec<u32>,
    generation: u32,
    deadlines: BinaryHeap<Reverse<(u64, u32, u32)>>,
    count: usize,
}

impl Closing {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes over a socket. Most are finished before this returns.
    pub(crate) fn start(&mut self, conn: Conn, rest: Vec<u8>, poller: &Poller, scratch: &mut [u8]) {
        let now_ns = clock::mono_ns();
        let mut entry = Lingering {
            generation: self.generation & GENERATION_MASK,
            socket: conn.socket,
            rest,
            sent: 0,
            fin_sent: false,
            discarded: 0,
            deadline_ns: now_ns + FLUSH_STALL_NS,
        };
        if entry.advance(now_ns, scratch) == Progress::Done || self.count == CLOSING_MAX {
            return;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let key = Key::Closing(index, entry.generation);
        if poller.change(&entry.socket, key, Want::ReadWrite).is_err() {
            self.free.push(index);
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        self.deadlines
            .push(Reverse((entry.deadline_ns, index, entry.generation)));
        self.slots[index as usize] = Some(entry);
        self.count += 1;
    }

    /// The poller has something to say about one of them.
    pub(crate) fn event(&mut self, index: u32, generation: u32, scratch: &mut [u8]) {
        let Some(Some(entry)) = self.slots.get_mut(index as usize) else {
            return;
        };
        if entry.generation != generation {
            return;
        }
        let before_ns = entry.deadline_ns;
        if entry.advance(clock::mono_ns(), scratch) == Progress::Done {
            self.forget(index);
        } else if entry.deadline_ns < before_ns {
            let deadline_ns = entry.deadline_ns;
            self.deadlines
                .push(Reverse((deadline_ns, index, generation)));
        }
    }

    /// Closes those whose time is up.
    pub(crate) fn expire(&mut self, now_ns: u64) {
        while let Some(&Reverse((at_ns, index, generation))) = self.deadlines.peek() {
            if at_ns > now_ns {
                return;
            }
            self.deadlines.pop();
            let Some(Some(entry)) = self.slots.get(index as usize) else {
                continue;
            };
            if entry.generation != generation {
                continue;
            }
            if entry.deadline_ns > now_ns {
                self.deadlines
                    .push(Reverse((entry.deadline_ns, index, generation)));
            } else {
                self.forget(index);
            }
        }
    }

    /// When `expire` is next worth calling.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.deadlines.peek().map(|Reverse((at_ns, ..))| *at_ns)
    }

    fn forget(&mut self, index: u32) {
        if let Some(entry) = self.slots[index as usize].take() {
            self.free.push(index);
            self.count -= 1;
            if !entry.fin_sent {
                socket::reset(entry.socket);
            }
        }
        if self.count == 0 {
            self.deadlines.clear();
        }
    }
}

impl Lingering {
    fn advance(&mut self, now_ns: u64, scratch: &mut [u8]) -> Progress {
        while self.sent < self.rest.len() {
            match socket::send(&self.socket, &self.rest[self.sent..]) {
                Sent::Bytes(sent) => {
                    self.sent += sent;
                    self.deadline_ns = now_ns + FLUSH_STALL_NS;
                }
                Sent::Blocked => return Progress::Waits,
                Sent::Lost(_) => return Progress::Done,
            }
        }
        if !self.fin_sent {
            self.rest = Vec::new();
            self.sent = 0;
            self.fin_sent = true;
            self.deadline_ns = now_ns + LINGER_NS;
            socket::finish(&self.socket);
        }
        self.discard(scratch)
    }

    fn discard(&mut self, scratch: &mut [u8]) -> Progress {
        while self.discarded < LINGER_BYTES_MAX {
            match socket::receive(&self.socket, scratch) {
                Received::Bytes(bytes) => self.discarded += bytes,
                Received::Blocked => return Progress::Waits,
                Received::Eof | Received::Lost(_) => return Progress::Done,
            }
        }
        Progress::Done
    }
}
