//! TLS in the driver: what is decrypted goes to the machine, what the machine says is sealed.
//!
//! **Invariants:** the machine hears `Secured` (or `Connected`) before the first plaintext, and
//! plaintext before the end that came with it. One call of `send` carries all records of a flush.

use engine::ids::ConnId;
use engine::input::{Closed, DialError, Input, TlsFault};
use engine::limits::READ_BYTES;
use rustls::Error;

use crate::clock;
use crate::connections::Origin;
use crate::limits::SENDS_MAX;
use crate::machine::Machine;
use crate::socket::Sent;
use crate::tls::session::Session;
use crate::turn::{Budget, Driver};

impl<M: Machine> Driver<M> {
    /// The first `bytes` of the scratch buffer are ciphertext of that connection.
    pub(crate) fn unseal(&mut self, id: ConnId, bytes: usize, budget: &mut Budget) {
        self.plain.resize(READ_BYTES, 0);
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        let Some(session) = conn.session.as_mut() else {
            return;
        };
        let handshaking = session.handshaking;
        let opened = session.open(&self.scratch[..bytes], &mut self.plain);
        let answers = session.has_ciphertext();
        if handshaking {
            budget.look();
        }
        if let Some(prelude) = opened.prelude {
            self.tell_bytes(id, &prelude, budget);
        }
        if opened.completed && !self.tell_secured(id, budget) {
            return;
        }
        if opened.plain > 0 {
            self.connections.hear(id);
            let plain = std::mem::take(&mut self.plain);
            self.tell_bytes(id, &plain[..opened.plain], budget);
            self.plain = plain;
        }
        if let Some(error) = opened.failed {
            return self.tell_failed(id, &error, budget);
        }
        if answers || opened.completed {
            self.connections.mark(id);
        }
        if opened.closed
            && let Some(conn) = self.connections.conn(id)
        {
            if conn.shakes_hands_upstream() {
                return self.tell_failed(id, &Error::HandshakeNotComplete, budget);
            }
            conn.eof_told = true;
            self.tell(id, budget, |_| Input::Closed(id, Closed::Eof));
        }
    }

    /// The handshake is complete. `false`: it does not count, and the connection is over.
    fn tell_secured(&mut self, id: ConnId, budget: &mut Budget) -> bool {
        let Some(conn) = self.connections.conn(id) else {
            return false;
        };
        let (origin, peer) = (conn.origin, conn.peer);
        let Some(session) = conn.session.as_mut() else {
            return false;
        };
        if origin == Origin::Dialled {
            let connected = session.connected(peer);
            self.tell(id, budget, |_| Input::Connected(id, Ok(connected)));
            return true;
        }
        match session.secured() {
            Ok(secured) => self.tell(id, budget, |_| Input::Secured(id, secured)),
            Err(fault) => {
                conn.dead = true;
                self.tell(id, budget, |_| Input::Closed(id, Closed::Tls(fault)));
                return false;
            }
        }
        true
    }

    fn tell_bytes(&mut self, id: ConnId, bytes: &[u8], budget: &mut Budget) {
        self.current = Some(id);
        self.machine.handle(Input::Read(id, bytes));
        self.current = None;
        budget.count();
    }

    fn tell_failed(&mut self, id: ConnId, error: &Error, budget: &mut Budget) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        let fault = match &conn.session {
            Some(session) => session.fault(error),
            None => TlsFault::Broken,
        };
        if conn.shakes_hands_upstream() {
            let reason = match error {
                Error::HandshakeNotComplete => crate::tls::client::CLOSED,
                error => Session::reason(error),
            };
            // The endpoint is told, too: its log is where people look.
            self.close(id, engine::output::How::Now);
            let error = DialError::Tls(reason);
            return self.tell(id, budget, |_| Input::Connected(id, Err(error)));
        }
        conn.dead = true;
        self.tell(id, budget, |_| Input::Closed(id, Closed::Tls(fault)));
    }

    /// Sends what waits on a secured connection: records of before, then new ones.
    pub(crate) fn flush_secured(&mut self, id: ConnId) {
        for _ in 0..SENDS_MAX {
            let Some(conn) = self.connections.conn(id) else {
                return;
            };
            let Some(session) = conn.session.as_mut() else {
                return;
            };
            let mut sealed = 0;
            if !session.handshaking && !session.has_ciphertext() {
                sealed = session.seal(self.machine.pending(id));
            }
            if !session.has_ciphertext() {
                return self.all_sent(id);
            }
            let sent = session.send(&conn.socket);
            if sealed > 0 {
                self.current = Some(id);
                self.machine.wrote(id, sealed, clock::mono_ns());
                self.current = None;
            }
            match sent {
                Sent::Bytes(_) => {}
                Sent::Blocked => return self.wait_for_room(id),
                Sent::Lost(closed) => return self.lose(id, closed),
            }
        }
        self.connections.mark(id);
    }
}
