//! Opening and closing connections for the engine.

use std::io;
use std::net::SocketAddr;

use engine::ids::ConnId;
use engine::input::{Accepted, Connected, DialError};
use engine::metrics::DialFamily;
use engine::output::{Dial, How};
use engine::shared::Candidates;
use engine::snapshot::plan::ClientTlsPlan;
use socket2::Socket;

use crate::clock;
use crate::connections::{Conn, Origin};
use crate::machine::Machine;
use crate::poller::{Key, Want};
use crate::race::Race;
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
            Some(None) => return self.end_dial(id, Err(DialError::Tls(client::FORGOTTEN))),
        };
        match dial.target.candidates() {
            Candidates::Tcp(address) => self.dial_address(id, address, None, session),
            Candidates::Unix(path) => {
                self.machine.attempting(id, DialFamily::Unix);
                let dialled = socket::dial_unix(path);
                self.await_connect(id, dialled, None, session);
            }
            Candidates::Name { addresses, first } => match *addresses {
                [] => self.end_dial(id, Err(DialError::Unresolved)),
                [address] => self.dial_address(id, address, Some(address), session),
                _ => {
                    self.races.begin(id, Race::new(addresses, first), session);
                    self.step_race(id, clock::mono_ns());
                }
            },
        }
    }

    fn dial_address(
        &mut self,
        id: ConnId,
        address: SocketAddr,
        peer: Option<SocketAddr>,
        session: Option<Box<Session>>,
    ) {
        self.machine.attempting(id, family(address));
        let dialled = socket::dial_tcp(address, &self.fleet.options.sockets);
        self.await_connect(id, dialled, peer, session);
    }

    fn await_connect(
        &mut self,
        id: ConnId,
        dialled: Dialled,
        peer: Option<SocketAddr>,
        session: Option<Box<Session>>,
    ) {
        let (socket, kind, under_way) = match dialled {
            Dialled::Connected(socket, kind) => (socket, kind, false),
            Dialled::UnderWay(socket, kind) => (socket, kind, true),
            Dialled::Failed(error) => return self.end_dial(id, Err(error)),
        };
        let mut conn = Conn::new(id.generation, socket, kind, Origin::Dialled);
        conn.session = session;
        conn.peer = peer;
        if under_way {
            conn.connecting = true;
            conn.blocked = true;
            conn.watches_write = true;
            return self.watch(id, conn, Want::ReadWrite);
        }
        self.watch(id, conn, Want::Read);
        self.stands(id);
    }

    /// The connection of a dial stands: a handshake begins, or the machine is told.
    fn stands(&mut self, id: ConnId) {
        let Some(conn) = self.connections.conn(id) else {
            return;
        };
        let (secured, peer) = (conn.session.is_some(), conn.peer);
        // The machine may have written ahead.
        self.connections.mark(id);
        if !secured {
            let connected = Connected {
                peer,
                ..Connected::default()
            };
            self.end_dial(id, Ok(connected));
        }
    }

    fn session_for(&self, plan: &ClientTlsPlan) -> Option<Box<Session>> {
        let found = self.keyring.client(plan);
        let client = found.or_else(|| self.keyring_before.client(plan))?;
        Session::dialled(client, plan)
    }

    fn end_dial(&mut self, id: ConnId, outcome: Result<Connected, DialError>) {
        self.dues.push_back(Due::Connected(id, outcome));
    }

    /// Goes on with dials by name: attempts that ended, addresses whose time has come.
    pub(crate) fn run_races(&mut self) {
        if self.races.is_empty() {
            return;
        }
        let now_ns = clock::mono_ns();
        while let Some((id, socket, address)) = self.races.ended() {
            match socket.take_error() {
                Ok(None) => self.win_race(id, socket, address, true),
                Ok(Some(error)) | Err(error) => {
                    let error = socket::dial_error(&error);
                    if self.keep_racing(id, error, now_ns) {
                        self.step_race(id, now_ns);
                    }
                }
            }
        }
        while let Some(id) = self.races.expired(now_ns) {
            self.step_race(id, now_ns);
        }
    }

    /// Tries the addresses whose turn it is.
    fn step_race(&mut self, id: ConnId, now_ns: u64) {
        while let Some(address) = self.races.next(id, now_ns) {
            self.machine.attempting(id, family(address));
            let error = match socket::dial_tcp(address, &self.fleet.options.sockets) {
                Dialled::Connected(socket, _) => {
                    return self.win_race(id, socket, address, false);
                }
                Dialled::UnderWay(socket, _) => {
                    match self.races.watch(id, socket, address, &self.poller) {
                        Ok(()) => continue,
                        Err(error) => socket::dial_error(&error),
                    }
                }
                Dialled::Failed(error) => error,
            };
            if !self.keep_racing(id, error, now_ns) {
                return;
            }
        }
    }

    /// An attempt failed. False: it was the last hope, and the machine is told.
    fn keep_racing(&mut self, id: ConnId, error: DialError, now_ns: u64) -> bool {
        match self.races.failed(id, error, now_ns) {
            Some(error) => {
                self.end_dial(id, Err(error));
                false
            }
            None => true,
        }
    }

    /// The first attempt that connects is the connection; the others are closed.
    fn win_race(&mut self, id: ConnId, socket: Socket, peer: SocketAddr, watched: bool) {
        let Some(dial) = self.races.end(id) else {
            return;
        };
        let mut conn = Conn::new(id.generation, socket, Kind::Tcp, Origin::Dialled);
        conn.session = dial.session;
        conn.peer = Some(peer);
        if watched {
            conn.watches_write = true;
            self.watch_again(id, conn, Want::ReadWrite);
        } else {
            self.watch(id, conn, Want::Read);
        }
        self.stands(id);
    }

    /// Puts a connection into the table and under the poller's eyes.
    fn watch(&mut self, id: ConnId, conn: Conn, want: Want) {
        let key = Key::Conn(id.index, id.generation);
        let watched = self.poller.add(&conn.socket, key, want);
        self.insert(id, conn, watched);
    }

    /// As `watch`, for a socket that the poller knows under another key.
    fn watch_again(&mut self, id: ConnId, conn: Conn, want: Want) {
        let key = Key::Conn(id.index, id.generation);
        let watched = self.poller.change(&conn.socket, key, want);
        self.insert(id, conn, watched);
    }

    fn insert(&mut self, id: ConnId, conn: Conn, watched: io::Result<()>) {
        // Fails only without memory or beyond `fs.epoll.max_user_watches`. The engine hears of it
        // as of any connection that breaks; a dial is told so before it is told that it stands.
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
        if !self.races.is_empty() && self.races.end(id).is_some() {
            return;
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

fn family(address: SocketAddr) -> DialFamily {
    if address.is_ipv6() {
        DialFamily::Ipv6
    } else {
        DialFamily::Ipv4
    }
}
