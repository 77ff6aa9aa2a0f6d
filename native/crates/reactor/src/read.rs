//! From readiness to inputs: the read loop, the end of a connect, bad news on paused connections.
//!
//! One connection delivers at most `READ_BYTES` a turn, whatever the number of calls: the engine
//! may copy that much and then ask for a pause, which can only take effect between turns.

use engine::ids::ConnId;
use engine::input::{Closed, Input};
use engine::limits::READ_BYTES;

use crate::connections::Origin;
use crate::limits::READS_MAX;
use crate::machine::Machine;
use crate::socket::{self, Received};
use crate::turn::{Budget, Driver};

impl<M: Machine> Driver<M> {
    /// Works through the ready list, each connection at most once.
    pub(crate) fn take_ready(&mut self, budget: &mut Budget) {
        for _ in 0..self.connections.ready.len() {
            if budget.spent() {
                return;
            }
            let Some(id) = self.connections.unlist() else {
                return;
            };
            let Some(conn) = self.connections.conn(id) else {
                continue;
            };
            if conn.connecting {
                self.end_connect(id, budget);
            } else if conn.over() {
                // Told already.
            } else if conn.paused {
                self.tell_while_paused(id, budget);
            } else {
                self.read(id, budget);
            }
            // Whatever was not used up comes again in the next turn, which starts at once.
            self.relist(id);
        }
    }

    fn relist(&mut self, id: ConnId) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        if !conn.paused {
            self.connections.list(id);
        }
    }

    fn read(&mut self, id: ConnId, budget: &mut Budget) {
        let mut room = READ_BYTES;
        for _ in 0..READS_MAX {
            let Some(conn) = self.connections.conn(id) else {
                return;
            };
            match socket::receive(&conn.socket, &mut self.scratch[..room]) {
                Received::Bytes(bytes) => {
                    let emptied = bytes < room;
                    room -= bytes;
                    // After a short read the socket is empty, and the next byte is a new edge;
                    // but a FIN that was already reported has no edge of its own.
                    let ended = conn.fin || conn.failed;
                    conn.readable = !emptied || ended;
                    self.tell(id, budget, |scratch| Input::Read(id, &scratch[..bytes]));
                    if !emptied || !ended {
                        return;
                    }
                }
                Received::Eof if conn.send_failed => {
                    conn.dead = true;
                    return self.tell(id, budget, |_| Input::Closed(id, Closed::Reset));
                }
                Received::Eof => {
                    conn.eof_told = true;
                    return self.tell(id, budget, |_| Input::Closed(id, Closed::Eof));
                }
                Received::Blocked => {
                    conn.readable = false;
                    conn.fin = false;
                    if std::mem::take(&mut conn.failed) && conn.send_failed {
                        conn.dead = true;
                        self.tell(id, budget, |_| Input::Closed(id, Closed::Reset));
                    }
                    return;
                }
                Received::Lost(closed) => {
                    conn.dead = true;
                    return self.tell(id, budget, |_| Input::Closed(id, closed));
                }
            }
        }
    }

    /// A connect has come to an end, one way or the other.
    fn end_connect(&mut self, id: ConnId, budget: &mut Budget) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        conn.connecting = false;
        conn.blocked = false;
        match conn.socket.take_error() {
            Ok(None) => {
                // The machine may have written ahead.
                self.connections.mark(id);
                self.tell(id, budget, |_| Input::Connected(id, Ok(())));
            }
            Ok(Some(error)) | Err(error) => {
                self.connections.remove(id);
                let error = socket::dial_error(&error);
                self.tell(id, budget, |_| Input::Connected(id, Err(error)));
            }
        }
    }

    /// A FIN or an error behind bytes that we must not read now. Of an upstream it waits its turn:
    /// its last bytes count, and a slow client must not cost it them.
    fn tell_while_paused(&mut self, id: ConnId, budget: &mut Budget) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        if conn.origin == Origin::Dialled {
            return;
        }
        if conn.failed
            && let Ok(Some(error)) = conn.socket.take_error()
        {
            conn.dead = true;
            let closed = socket::closed_by(&error);
            return self.tell(id, budget, |_| Input::Closed(id, closed));
        }
        if !conn.fin || conn.fin_ahead_told {
            return;
        }
        if matches!(rustix::io::ioctl_fionread(&conn.socket), Ok(0)) {
            conn.eof_told = true;
            self.tell(id, budget, |_| Input::Closed(id, Closed::Eof));
        } else {
            conn.fin_ahead_told = true;
            self.machine.fin_ahead(id);
            budget.count();
        }
    }

    /// One input, with the connection noted in case the machine panics on it.
    fn tell(
        &mut self,
        id: ConnId,
        budget: &mut Budget,
        input: impl for<'b> FnOnce(&'b [u8]) -> Input<'b>,
    ) {
        self.current = Some(id);
        self.machine.handle(input(&self.scratch));
        self.current = None;
        budget.count();
    }
}
