//! What is left: counts that must return to zero, for the simulator, the fuzzer and the tests.
//!
//! **Invariant:** a census changes nothing.

use crate::conn::{Side, UpstreamState};
use crate::engine::Engine;
use crate::ids::ConnId;

/// What an engine holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Exchanges under way.
    pub exchanges: usize,
    /// Client connections.
    pub clients: usize,
    /// Upstream connections that are dialled or serve.
    pub upstreams_busy: usize,
    /// Upstream connections in the pool.
    pub upstreams_idle: usize,
    /// Bytes that clients sent ahead of their turn.
    pub stashed_bytes: usize,
    /// Bytes of the longest stash.
    pub stash_bytes_max: usize,
    /// Buffers kept for later.
    pub spares: usize,
    /// Exchange objects kept for later.
    pub spare_exchanges: usize,
    /// Sources of clients that are counted for the cap per source.
    pub sources: usize,
    /// Bytes of heads that clients hold beyond what they sent.
    pub heads_lent: u64,
    /// Permits that arrived and were not handed on: none between turns.
    pub grants: usize,
    /// Connections to be parsed again: none between turns.
    pub resumed: usize,
}

impl Engine {
    /// The codec of a connection that speaks HTTP/2.
    pub fn codec(&self, id: ConnId) -> Option<&wire::h2::Connection> {
        self.conns.get(id)?.h2_ref().map(|h2| &h2.wire)
    }

    /// Counts what this engine holds.
    pub fn census(&self) -> Census {
        let mut census = Census {
            exchanges: self.exchanges.len(),
            spares: self.spares.len(),
            spare_exchanges: self.spare_exchanges.len(),
            sources: self.sources.len(),
            heads_lent: self.heads_lent,
            grants: self.grants.len(),
            resumed: self.resumed.len(),
            ..Census::default()
        };
        for id in self.conns.keys() {
            match self.conns.get(id).map(|c| &c.side) {
                Some(Side::Client(client)) => {
                    census.clients += 1;
                    census.stashed_bytes += client.stash.len();
                    census.stash_bytes_max = census.stash_bytes_max.max(client.stash.len());
                }
                Some(Side::Upstream(upstream)) if upstream.state == UpstreamState::Idle => {
                    census.upstreams_idle += 1;
                }
                Some(Side::Upstream(_)) => census.upstreams_busy += 1,
                None => {}
            }
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use crate::conn::{Client, Conn, Upstream};
    use crate::exchange::Exchange;
    use wire::h1::{RequestReader, ResponseReader};

    /// A live stream is an exchange and two connections with their readers; an idle connection is
    /// the second line alone. Buffers come on top, and are given back when they are empty.
    #[test]
    fn what_each_live_stream_holds_is_small() {
        let exchange = size_of::<Exchange>();
        let client = size_of::<Conn>() + size_of::<Client>() + size_of::<RequestReader>();
        let upstream = size_of::<Conn>() + size_of::<Upstream>() + size_of::<ResponseReader>();
        assert!(exchange <= 1536);
        assert!(client <= 640);
        assert!(upstream <= 512);
    }
}
