//! Opening and closing connections for the engine.

use std::sync::Arc;

use engine::ids::ConnId;
use engine::input::Accepted;
use engine::output::How;
use engine::snapshot::Address;
use socket2::Socket;

use crate::connections::{Conn, Origin};
use crate::machine::Machine;
use crate::poller::{Key, Want};
use crate::socket::{self, Dialled, Kind};
use crate::turn::{Driver, Due};

impl<M: Machine> Driver<M> {
    /// Takes a socket that a listener accepted, or closes it when the machine refuses.
    pub(crate) fn adopt(&mut self, socket: Socket, accepted: Accepted) {
        let kind = if accepted.peer.is_some() {
            Kind::Tcp
        } else {
            Kind::Unix
        };
        let Some(id) = self.machine.accepted(accepted) else {
            return;
        };
        self.watch(
            id,
            Conn::new(id.generation, socket, kind, Origin::Accepted),
            Want::Read,
        );
    }

    /// Starts a connect. What is known at once is told in the same turn.
    pub(crate) fn dial(&mut self, id: ConnId, address: &Arc<Address>) {
        match socket::dial(address, &self.fleet.options.sockets) {
            Dialled::Connected(socket, kind) => {
                self.watch(
                    id,
                    Conn::new(id.generation, socket, kind, Origin::Dialled),
                    Want::Read,
                );
                self.dues.push_back(Due::Connected(id, Ok(())));
            }
            Dialled::UnderWay(socket, kind) => {
                let mut conn = Conn::new(id.generation, socket, kind, Origin::Dialled);
                conn.connecting = true;
                conn.blocked = true;
                conn.watches_write = true;
                self.watch(id, conn, Want::ReadWrite);
            }
            Dialled::Failed(error) => self.dues.push_back(Due::Connected(id, Err(error))),
        }
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
        let Some(conn) = self.connections.remove(id) else {
            return;
        };
        match how {
            How::Now => drop(conn),
            How::Reset => socket::reset(conn.socket),
            How::Flush(_) if conn.dead || conn.connecting || conn.send_failed => drop(conn),
            How::Flush(rest) => {
                self.closing
                    .start(conn, rest, &self.poller, &mut self.scratch);
            }
        }
    }
}
