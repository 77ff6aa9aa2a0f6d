//! Opening and closing connections for the engine.

use engine::ids::ConnId;
use engine::input::{Accepted, Connected, DialError};
use engine::output::{Dial, How};
use engine::snapshot::plan::ClientTlsPlan;
use socket2::Socket;

use crate::connections::{Conn, Origin};
use crate::machine::Machine;
use crate::poller::{Key, Want};
use crate::socket::{self, Dialled, Kind};
use crate::tls::client;
use crate::tls::session::Session;
use crate::turn::{Driver, Due};

impl<M: Machine> Driver<M> {
    /// Takes a socket that a listener accepted, or closes it when the machine refuses.
    pub(crate) fn adopt(&mut self, socket: Socket, accepted: Accepted) {
        let kind = if accepted.peer.is_some() {
            Kind::Tcp
        } else {
            Kind::Unix
        };
        let session = match self.keyring.server(accepted.listener.0 as usize) {
            None => None,
            Some(server) => {
                let session = Session::accepted(&server);
                if session.is_none() {
                    // Never cleartext where TLS was asked for.
                    return self.fleet.count_bug();
                }
                session
            }
        };
        let Some(id) = self.machine.accepted(accepted) else {
            return;
        };
        let mut conn = Conn::new(id.generation, socket, kind, Origin::Accepted);
        conn.session = session;
        self.watch(id, conn, Want::Read);
    }

    /// Starts a connect. What is known at once is told in the same turn.
    pub(crate) fn dial(&mut self, id: ConnId, dial: &Dial) {
        let session = match dial.tls.as_deref().map(|plan| self.session_for(plan)) {
            None => None,
            Some(Some(session)) => Some(session),
            Some(None) => {
                let error = DialError::Tls(client::FORGOTTEN);
                return self.dues.push_back(Due::Connected(id, Err(error)));
            }
        };
        let (socket, kind, under_way) =
            match socket::dial(&dial.address, &self.fleet.options.sockets) {
                Dialled::Connected(socket, kind) => (socket, kind, false),
                Dialled::UnderWay(socket, kind) => (socket, kind, true),
                Dialled::Failed(error) => {
                    return self.dues.push_back(Due::Connected(id, Err(error)));
                }
            };
        let mut conn = Conn::new(id.generation, socket, kind, Origin::Dialled);
        let shakes_hands = session.is_some();
        conn.session = session;
        if under_way {
            conn.connecting = true;
            conn.blocked = true;
            conn.watches_write = true;
            return self.watch(id, conn, Want::ReadWrite);
        }
        self.watch(id, conn, Want::Read);
        if shakes_hands {
            self.connections.mark(id);
        } else {
            self.dues
                .push_back(Due::Connected(id, Ok(Connected::default())));
        }
    }

    fn session_for(&self, plan: &ClientTlsPlan) -> Option<Box<Session>> {
        let found = self.keyring.client(plan);
        let client = found.or_else(|| self.keyring_before.client(plan))?;
        Session::dialled(client, plan)
    }

    /// Puts a connection into the table and under the poller's eyes.
    fn watch(&mut self, id: ConnId, conn: Conn, want: Want) {
        // Fails only without memory or beyond `fs.epoll.max_user_watches`. The engine hears of it
        // as of any connection that breaks; a dial is told so before it is told that it stands.
        let watched = self
            .poller
            .add(&conn.socket, Key::Conn(id.index, id.generation), want);
        self.connections.insert(id, conn);
        if let (Err(error), Some(conn)) = (watched, self.connections.conn(id)) {
            conn.dead = true;
            conn.connecting = false;
            self.dues
                .push_back(Due::Closed(id, socket::closed_by(&error)));
        }
    }

    /// Ends a connection. Its id is the engine's again.
    pub(crate) fn close(&mut self, id: ConnId, how: How) {
        if !self.dues.is_empty() {
            self.dues.retain(|due| due.conn() != Some(id));
        }
        let Some(mut conn) = self.connections.remove(id) else {
            return;
        };
        let session = conn.session.take();
        match how {
            How::Reset => socket::reset(conn.socket),
            How::Now => self.part(conn, session),
            How::Flush(_) if conn.dead || conn.connecting || conn.send_failed => {
                self.part(conn, session);
            }
            How::Flush(rest) => {
                let rest = match session {
                    Some(session) => session.finish(&rest),
                    None => rest,
                };
                self.closing
                    .start(conn, rest, &self.poller, &mut self.scratch);
            }
        }
    }

    /// Closes at once; but the alert of a failed handshake goes out, and an upstream is told that
    /// we end. A client is not: what it was sent may be a part only.
    fn part(&mut self, conn: Conn, session: Option<Box<Session>>) {
        let Some(session) = session else { return };
        if session.has_alert() && !conn.send_failed {
            let alert = session.finish(&[]);
            self.closing
                .start(conn, alert, &self.poller, &mut self.scratch);
        } else if conn.origin == Origin::Dialled && !conn.dead && !conn.connecting {
            let farewell = session.finish(&[]);
            // What the socket does not take at once is not worth waiting for.
            let _ = socket::send(&conn.socket, &farewell);
        }
    }
}
