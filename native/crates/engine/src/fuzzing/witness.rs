//! What the proxy writes to upstreams, read as they would read it.

use super::Driver;
use super::h2::Peer;
use crate::ids::ConnId;
use wire::h1::{Event, RequestReader};
use wire::h2::Role;
use wire::{Limits, RequestHead};

/// What the proxy sends to an upstream must always read as requests.
pub(super) struct Witness {
    reader: RequestReader,
    head: RequestHead,
    tunnel: bool,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self {
            reader: RequestReader::new(Limits::default()),
            head: RequestHead::new(),
            tunnel: false,
        }
    }
}

impl Driver {
    /// The proxy wrote these bytes.
    pub(super) fn witness(&mut self, conn: ConnId, mut bytes: &[u8]) {
        let h2 = self.engine.codec(conn).is_some() || bytes.starts_with(b"PRI ");
        if h2 && self.witnesses.contains_key(&conn) {
            self.witnesses.remove(&conn);
            let peer = Peer::new(Role::Server, conn.index % 2 == 1);
            self.peers.insert(conn, peer);
        }
        if let Some(peer) = self.peers.get_mut(&conn) {
            return peer.hear(bytes);
        }
        let Some(witness) = self.witnesses.get_mut(&conn) else {
            return;
        };
        while !witness.tunnel {
            match witness.reader.next(&mut bytes, &mut witness.head) {
                Ok(None) => return,
                Ok(Some(Event::Head)) => witness.tunnel = witness.head.websocket,
                Ok(Some(_)) => {}
                Err(violation) => panic!("an upstream would refuse it: {violation:?}"),
            }
        }
    }
}
