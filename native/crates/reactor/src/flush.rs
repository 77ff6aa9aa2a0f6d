//! From dirty connections to the kernel: one send per connection and round.

use engine::ids::ConnId;

use crate::clock;
use crate::connections::Origin;
use crate::limits::SENDS_MAX;
use crate::machine::Machine;
use crate::poller::{Key, Want};
use crate::socket::{self, Kind, Sent};
use crate::turn::{Driver, Due};

impl<M: Machine> Driver<M> {
    /// Sends what waits on every dirty connection.
    pub(crate) fn flush(&mut self) {
        std::mem::swap(&mut self.connections.dirty, &mut self.flushing);
        for at in 0..self.flushing.len() {
            self.flush_one(self.flushing[at]);
        }
        self.flushing.clear();
    }

    fn flush_one(&mut self, id: ConnId) {
        let Some(conn) = self.connections.unmark(id) else {
            return;
        };
        if conn.dead || conn.send_failed || conn.blocked {
            return;
        }
        if conn.session.is_some() {
            return self.flush_secured(id);
        }
        for _ in 0..SENDS_MAX {
            let bytes = self.machine.pending(id);
            if bytes.is_empty() {
                return self.all_sent(id);
            }
            match socket::send(&conn.socket, bytes) {
                Sent::Bytes(sent) => {
                    let short = sent < bytes.len();
                    self.current = Some(id);
                    self.machine.wrote(id, sent, clock::mono_ns());
                    self.current = None;
                    if short {
                        return self.wait_for_room(id);
                    }
                }
                Sent::Blocked => return self.wait_for_room(id),
                Sent::Lost(closed) => return self.lose(id, closed),
            }
        }
        self.connections.mark(id);
    }

    /// TCP reports room only to a socket that was full. A unix socket reports every message its
    /// peer takes: a wake of the poller each, so it is not asked for.
    pub(crate) fn all_sent(&mut self, id: ConnId) {
        if let Some(conn) = self.connections.conn(id)
            && conn.watches_write
            && conn.kind == Kind::Unix
        {
            conn.watches_write = false;
            let key = Key::Conn(id.index, id.generation);
            let _ = self.poller.change(&conn.socket, key, Want::Read);
        }
    }

    pub(crate) fn wait_for_room(&mut self, id: ConnId) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        conn.blocked = true;
        if !conn.watches_write {
            conn.watches_write = true;
            let key = Key::Conn(id.index, id.generation);
            if let Err(error) = self.poller.change(&conn.socket, key, Want::ReadWrite) {
                self.lose(id, socket::closed_by(&error));
            }
        }
    }

    /// The peer takes no more. An upstream may have answered before it closed: that is read first,
    /// and the loss is told behind it.
    pub(crate) fn lose(&mut self, id: ConnId, closed: engine::input::Closed) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        conn.send_failed = true;
        if conn.origin == Origin::Dialled && !conn.eof_told {
            conn.failed = true;
            conn.readable = true;
            if !conn.paused {
                self.connections.list(id);
            }
        } else {
            conn.dead = true;
            self.dues.push_back(Due::Closed(id, closed));
        }
    }
}
