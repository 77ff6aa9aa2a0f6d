//! Handshakes for the operations: with clients of the listener that wants them, with the endpoints
//! of a pool that does.

use super::Driver;
use super::h2::Peer;
use crate::ids::ConnId;
use crate::input::{Alpn, Closed, Connected, DialError, Input, Secured, TlsFault, TlsVersion};
use crate::output::Dial;
use wire::h2::Role;

/// Where clients come with TLS.
pub(super) const LISTENER: u32 = 3;

impl Driver {
    /// A client's handshake comes to its end.
    pub(super) fn shake(&mut self, argument: u8) {
        let Some(conn) = Self::pick(&self.handshaking, argument & 7) else {
            return;
        };
        let kind = argument >> 3 & 15;
        let alpn = match kind {
            0..4 => Alpn::H2,
            4..7 => Alpn::Http11,
            7..10 => Alpn::None,
            _ => {
                let fault = TlsFault::ALL[usize::from(kind - 10)];
                self.turn(Input::Closed(conn, Closed::Tls(fault)));
                assert!(!self.clients.contains(&conn), "a dead client was kept");
                return;
            }
        };
        self.handshaking.retain(|c| *c != conn);
        self.secured.insert(conn);
        let secured = Secured {
            alpn,
            server_name: None,
            principal: (kind & 1 == 0).then(|| "spiffe://fuzz".into()),
            version: if kind & 2 == 0 {
                TlsVersion::V12
            } else {
                TlsVersion::V13
            },
            resumed: kind == 3,
        };
        // By prior knowledge where nothing was agreed on.
        if alpn == Alpn::H2 || kind == 9 {
            self.peers.insert(conn, Peer::new(Role::Client, kind == 2));
        }
        self.turn(Input::Secured(conn, Box::new(secured)));
        self.speak();
    }

    /// What comes of a dial that reached its endpoint: the handshake's outcome, where one is due.
    pub(super) fn reached(dial: &Dial, argument: u8) -> Result<Connected, DialError> {
        let Some(tls) = &dial.tls else {
            return Ok(Connected::default());
        };
        let offered = |protocol: &str| tls.alpn.iter().any(|one| one == protocol);
        let alpn = match argument >> 4 {
            0..6 if offered("h2") => Alpn::H2,
            0..10 if offered("http/1.1") => Alpn::Http11,
            15 => return Err(DialError::Tls("a fuzzed fault")),
            _ => Alpn::None,
        };
        Ok(Connected {
            peer: None,
            alpn,
            tls: Some((TlsVersion::V13, argument & 8 != 0)),
        })
    }

    /// An end that nobody announced, or a record that was not good, where there is TLS.
    pub(super) fn unannounced(&self, conn: ConnId, closed: Closed) -> Closed {
        let shaking = self.handshaking.contains(&conn);
        match closed {
            Closed::Eof if shaking || self.secured.contains(&conn) => Closed::Truncated,
            Closed::Reset if self.secured.contains(&conn) => Closed::Tls(TlsFault::Broken),
            _ => closed,
        }
    }
}
