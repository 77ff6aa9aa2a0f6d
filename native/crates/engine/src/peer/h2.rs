//! What the engine keeps of one HTTP/2 connection, either side, and how it is found.
//!
//! **Invariants:** a live stream's tag is the id of its exchange; a stream is forgotten by the
//! codec only when its exchange has ended, so that a slot is free only when its work is.

use crate::buffer::{Queue, Spares};
use crate::conn::{Conn, Side};
use crate::engine::Engine;
use crate::ids::{ConnId, ExchangeId};
use crate::metrics::Metric;
use wire::h2::{Cause, Closing, Config, Connection, Role};

/// One end of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct H2 {
    pub(crate) wire: Connection,
    /// When the peer was last heard.
    pub(crate) heard_ns: u64,
    /// A PING was sent and is not answered, since then.
    pub(crate) probed_ns: Option<u64>,
    /// When a stream is to be given up that nobody takes, as far as the last look saw one.
    pub(crate) sweep_ns: Option<u64>,
    /// When the connection is to be wound up, whatever it does.
    pub(crate) retire_ns: u64,
    /// The connection is to be wound up with its so manieth stream.
    pub(crate) retire_streams: u64,
    /// Bytes of heads that it has of what the worker lends.
    pub(crate) lent: u64,
    /// When it began.
    began_ns: u64,
    /// We asked the peer to open no more streams, then; what was under way is still taken.
    pub(crate) winding_ns: Option<u64>,
}

impl H2 {
    pub(crate) fn new(role: Role, config: &Config, out: &mut Vec<u8>, now_ns: u64) -> Self {
        let mut wire = Connection::new(role, config, out);
        wire.begin(now_ns);
        Self {
            wire,
            heard_ns: now_ns,
            probed_ns: None,
            sweep_ns: None,
            retire_ns: u64::MAX,
            retire_streams: u64::MAX,
            lent: 0,
            began_ns: now_ns,
            winding_ns: None,
        }
    }

    /// Since when there is nothing to do, if there is nothing: its last stream ended, or it began.
    /// What else the peer says, PINGs for one, is no use of it.
    pub(crate) fn idle_since_ns(&self) -> u64 {
        self.began_ns.max(self.wire.ended_ns())
    }
}

/// The id of an exchange as a stream's tag.
pub(crate) fn tag(id: ExchangeId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.index)
}

/// The exchange of a tag; a tag of 0 finds none, since generations begin at 1.
pub(crate) fn of_tag(tag: u64) -> ExchangeId {
    ExchangeId {
        index: tag as u32,
        generation: (tag >> 32) as u32,
    }
}

impl Conn {
    /// The codec and the queue of bytes, if the connection speaks HTTP/2.
    pub(crate) fn h2(&mut self) -> Option<(&mut H2, &mut Queue)> {
        let h2 = match &mut self.side {
            Side::Client(client) => client.h2.as_deref_mut(),
            Side::Upstream(upstream) => upstream.h2.as_deref_mut(),
        }?;
        Some((h2, &mut self.out))
    }

    /// The codec, if the connection speaks HTTP/2.
    pub(crate) fn h2_ref(&self) -> Option<&H2> {
        match &self.side {
            Side::Client(client) => client.h2.as_deref(),
            Side::Upstream(upstream) => upstream.h2.as_deref(),
        }
    }

    /// The codec and the buffer to append to. From the first byte on it has to make progress.
    pub(crate) fn h2_writer(
        &mut self,
        spares: &mut Spares,
        now_ns: u64,
    ) -> Option<(&mut H2, &mut Vec<u8>)> {
        if self.out.is_empty() {
            self.progress_ns = now_ns;
        }
        let (h2, out) = self.h2()?;
        h2.wire.begin(now_ns);
        Some((h2, out.writer(spares)))
    }
}

impl Engine {
    /// The codec of a connection and the buffer to append to.
    pub(crate) fn h2_writer(&mut self, id: ConnId) -> Option<(&mut H2, &mut Vec<u8>)> {
        let now_ns = self.now.mono_ns;
        self.conns.get_mut(id)?.h2_writer(&mut self.spares, now_ns)
    }

    /// Sends what the windows allow, and lets those go on that waited for room.
    pub(crate) fn h2_settle(&mut self, id: ConnId) {
        loop {
            let Some((h2, out)) = self.h2_writer(id) else {
                return;
            };
            h2.wire.flush(out);
            let Some((_, tag)) = h2.wire.relieved() else {
                break;
            };
            self.h2_relieved(id, of_tag(tag));
        }
        self.mark(id);
        let mut over = false;
        let mut stands = false;
        if let Some(conn) = self.conns.get_mut(id) {
            stands = conn.paused || conn.out.len() > crate::limits::H2_UNSENT_BYTES_MAX;
            let Some((h2, out)) = conn.h2() else { return };
            over = h2.wire.streams() == 0 && h2.wire.going() && h2.winding_ns.is_none();
            let lent = h2.wire.heads_lent();
            self.heads_lent = self.heads_lent + lent - std::mem::replace(&mut h2.lent, lent);
            out.settle(&mut self.spares);
        }
        if stands {
            self.h2_throttle(id);
        }
        if over {
            self.h2_count_leave(id);
            self.close(id, crate::output::How::Flush(Vec::new()));
        }
    }

    /// Reads no more of a client that asks and does not take the answers, until it does.
    fn h2_throttle(&mut self, id: ConnId) {
        let Some(conn) = self
            .conns
            .get_mut(id)
            .filter(|conn| conn.client().is_some())
        else {
            return;
        };
        let full = conn.out.len() > crate::limits::H2_UNSENT_BYTES_MAX;
        let progress_ns = conn.progress_ns;
        if conn.paused
            && let Some((h2, _)) = conn.h2()
        {
            // All that is seen of it now is what it takes.
            h2.heard_ns = h2.heard_ns.max(progress_ns);
        }
        self.pause(id, full);
    }

    /// A client that ends because we asked it to: counted if that was for its oddities.
    fn h2_count_leave(&self, id: ConnId) {
        if let Some(conn) = self.conns.get(id)
            && let Some(client) = conn.client()
            && conn.h2_ref().is_some_and(|h2| h2.wire.unwelcome())
        {
            let cells = &self.locals.door(client.door).cells;
            cells.inc_at(Metric::Http2Closures, Cause::Glitches as usize);
        }
    }

    fn h2_relieved(&mut self, id: ConnId, exchange: ExchangeId) {
        let client = self.conns.get(id).is_some_and(|c| c.client().is_some());
        if client {
            self.client_relieved(exchange);
        } else if let Some(mut exchange) = self.exchanges.take(exchange) {
            self.pump_request(&mut exchange);
            self.put_exchange(exchange);
        }
    }

    /// All exchanges that have a stream on that connection.
    pub(crate) fn h2_exchanges(&self, id: ConnId) -> Vec<ExchangeId> {
        self.conns
            .get(id)
            .and_then(Conn::h2_ref)
            .map(|h2| h2.wire.tags().map(|(_, tag)| of_tag(tag)).collect())
            .unwrap_or_default()
    }

    /// Asks a silent peer whether it lives, while it owes us something. `false`: it did not answer.
    pub(crate) fn h2_probe(&mut self, id: ConnId) -> bool {
        let now_ns = self.now.mono_ns;
        let Some((h2, out)) = self.h2_writer(id) else {
            return true;
        };
        if !h2.wire.ping_outstanding() {
            h2.probed_ns = None;
        }
        match h2.probed_ns {
            Some(at_ns) => return now_ns.saturating_sub(at_ns) < crate::limits::PING_ANSWER_NS,
            None if now_ns.saturating_sub(h2.heard_ns) >= crate::limits::PING_SILENCE_NS => {
                h2.probed_ns = Some(now_ns);
                h2.wire.ping(out);
            }
            None => {}
        }
        self.mark(id);
        true
    }

    /// Gives up what takes too long, whatever else its peer says meanwhile: called whenever the
    /// connection's timer fires, which is every `PING_SILENCE_NS` at least while there are streams,
    /// and from then on when the next of them is due.
    pub(crate) fn h2_sweep(&mut self, id: ConnId) -> Result<(), Closing> {
        let h2 = self.conns.get(id).and_then(Conn::h2_ref);
        let busy = |h2: &H2| h2.wire.streams() > 0 || h2.wire.head_since_ns().is_some();
        if !h2.is_some_and(busy) {
            return Ok(());
        }
        let Some((h2, out)) = self.h2_writer(id) else {
            return Ok(());
        };
        let swept = h2.wire.sweep(out);
        h2.sweep_ns = h2.wire.sweep_due_ns();
        self.h2_later(id);
        swept
    }

    /// When a connection with live streams must be looked at again.
    pub(crate) fn h2_probe_due_ns(h2: &H2) -> u64 {
        let probe_ns = match h2.probed_ns {
            Some(at_ns) => at_ns + crate::limits::PING_ANSWER_NS,
            None => h2.heard_ns + crate::limits::PING_SILENCE_NS,
        };
        probe_ns.min(h2.sweep_ns.unwrap_or(u64::MAX))
    }

    /// Asks the peer to open no more streams and lets the running ones finish. What the peer sent
    /// before it heard of it is served (RFC 9113 §6.8), so the last word is said a while later.
    pub(crate) fn h2_wind_up(&mut self, id: ConnId) {
        let now_ns = self.now.mono_ns;
        if let Some((h2, out)) = self.h2_writer(id)
            && !h2.wire.going()
        {
            h2.wire.goaway(wire::h2::ErrorCode::NoError, out);
            h2.winding_ns = Some(now_ns);
        }
        self.h2_settle(id);
        self.arm_client(id);
    }

    /// From here on no stream is taken, and the connection ends with its last one.
    pub(crate) fn h2_wound_up(&mut self, id: ConnId) {
        if let Some((h2, out)) = self.h2_writer(id) {
            h2.winding_ns = None;
            h2.wire.goaway_final(wire::h2::ErrorCode::NoError, out);
        }
        self.h2_settle(id);
    }
}
