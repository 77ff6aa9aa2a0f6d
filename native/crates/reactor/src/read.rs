//! From readiness to inputs: the read loop, the end of a connect, bad news on paused connections.
//!
//! One connection delivers at most `READ_BYTES` a turn, whatever the number of calls: the engine
//! may copy that much and then ask for a pause, which can only take effect between turns.

use engine::ids::ConnId;
use engine::input::{Closed, Connected, DialError, Input};
use engine::limits::READ_BYTES;

use crate::connections::Origin;
use crate::limits::{CIPHER_READ_BYTES, READS_MAX};
use crate::machine::Machine;
use crate::socket::{self, Received};
use crate::tls::client;
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
        if let Some(conn) = self.connections.conn(id)
            && conn.session.is_some()
        {
            room = CIPHER_READ_BYTES;
        }
        for _ in 0..READS_MAX {
            let Some(conn) = self.connections.conn(id) else {
                return;
            };
            if conn.over() {
                return;
            }
            match socket::receive(&conn.socket, &mut self.scratch[..room]) {
                Received::Bytes(bytes) => {
                    let emptied = bytes < room;
                    room -= bytes;
                    // After a short read the socket is empty, and the next byte is a new edge;
                    // but a FIN that was already reported has no edge of its own.
                    let ended = conn.fin || conn.failed;
                    conn.readable = !emptied || ended;
                    if conn.session.is_some() {
                        self.unseal(id, bytes, budget);
                    } else {
                        self.connections.hear(id);
                        self.tell(id, budget, |scratch| Input::Read(id, &scratch[..bytes]));
                    }
                    if !emptied || !ended {
                        return;
                    }
                }
                Received::Eof if conn.send_failed => {
                    return self.tell_lost(id, budget, Closed::Reset);
                }
                Received::Eof => {
                    if conn.shakes_hands_upstream() {
                        return self.tell_lost(id, budget, Closed::Truncated);
                    }
                    conn.eof_told = true;
                    let closed = conn.fin_means();
                    return self.tell(id, budget, |_| Input::Closed(id, closed));
                }
                Received::Blocked => {
                    conn.readable = false;
                    conn.fin = false;
                    if std::mem::take(&mut conn.failed) && conn.send_failed {
                        self.tell_lost(id, budget, Closed::Reset);
                    }
                    return;
                }
                Received::Lost(closed) => return self.tell_lost(id, budget, closed),
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
                // The machine may have written ahead; or a handshake begins.
                let (secured, peer) = (conn.session.is_some(), conn.peer);
                self.connections.mark(id);
                if !secured {
                    let connected = Connected {
                        peer,
                        ..Connected::default()
                    };
                    self.tell(id, budget, |_| Input::Connected(id, Ok(connected)));
                }
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
            let closed = conn.fin_means();
            self.tell(id, budget, |_| Input::Closed(id, closed));
        } else {
            conn.fin_ahead_told = true;
            self.machine.fin_ahead(id);
            budget.count();
        }
    }

    /// Both sides are gone. Of a dial that is not complete that is its outcome.
    fn tell_lost(&mut self, id: ConnId, budget: &mut Budget, closed: Closed) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        if conn.shakes_hands_upstream() {
            self.connections.remove(id);
            let error = DialError::Tls(client::CLOSED);
            return self.tell(id, budget, |_| Input::Connected(id, Err(error)));
        }
        conn.dead = true;
        self.tell(id, budget, |_| Input::Closed(id, closed));
    }

    /// One input, with the connection noted in case the machine panics on it.
    pub(crate) fn tell(
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
