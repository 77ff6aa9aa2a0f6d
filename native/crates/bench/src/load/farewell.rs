//! How clients of HTTP/2 leave: their stream, or their connection with all that is on it.
//!
//! What a client has begun to say is sent before it leaves, and has time to arrive before its
//! connection is cut: a request that no server has seen would prove nothing.

use wire::h2::ErrorCode;

use super::{generator::Generator, options::AbortKind, outcome::Outcome};
use crate::slab::Key;

/// How long a leave is put off while its connection is still being made.
const UNCONNECTED_NS: u64 = 1_000_000;

impl Generator<'_> {
    /// The client of this request leaves as it was told to, as soon as it can.
    pub(super) fn leave_flow(&mut self, key: Key, now_ns: u64) {
        let Some(flow) = self.flows.find(key) else {
            return;
        };
        let trunk = flow.trunk;
        let kind = flow.request.leave.map(|leave| leave.kind);
        let cut = kind.is_some_and(|kind| kind != AbortKind::Stream);
        let at_ns = self.may_leave_ns(trunk, cut, now_ns);
        let Some(flow) = self.flows.find(key) else {
            return;
        };
        if at_ns > now_ns {
            flow.request.leave_ns = at_ns;
            return self.plan_leave(key, at_ns);
        }
        if let Some(kind) = kind.filter(|_| cut) {
            return self.leave_trunk(trunk, kind, now_ns);
        }
        let id = flow.id;
        if let Some(trunk) = self.trunks.find(trunk) {
            trunk.wire.abort(id, ErrorCode::Cancel, &mut trunk.output);
        }
        self.end_flow(key, Outcome::Aborted, now_ns);
    }

    /// When this connection's requests have been said, and with `cut` have arrived.
    fn may_leave_ns(&mut self, key: Key, cut: bool, now_ns: u64) -> u64 {
        let Some(trunk) = self.trunks.find(key) else {
            return now_ns;
        };
        if !trunk.connected {
            return now_ns + UNCONNECTED_NS;
        }
        let mut said_ns = trunk.connected_ns;
        if !cut {
            return said_ns;
        }
        for flow in self.flows_on(key) {
            let sent_ns = self.flows.find(flow).map(|flow| flow.request.sent_ns);
            said_ns = said_ns.max(sent_ns.unwrap_or(0));
        }
        let abort = self.options.client_abort.as_ref();
        said_ns + abort.map_or(0, |abort| abort.delay_ms) * 1_000_000
    }

    /// The client of a connection leaves, and with it all its requests.
    fn leave_trunk(&mut self, key: Key, kind: AbortKind, now_ns: u64) {
        let Some(trunk) = self.trunks.find(key) else {
            return;
        };
        if kind == AbortKind::Goodbye {
            let output = &mut trunk.output;
            trunk.wire.goaway_final(ErrorCode::NoError, output);
        }
        // A connection that has failed is left as well.
        let _ = trunk.flush();
        if matches!(kind, AbortKind::Goodbye | AbortKind::HalfClose) {
            trunk.stream.goodbye();
        }
        if kind == AbortKind::HalfClose {
            trunk.stream.shutdown_write();
            trunk.left = true;
        } else if let Some(trunk) = self.trunks.remove(key.index)
            && kind == AbortKind::Rst
        {
            trunk.stream.reset();
        }
        for flow in self.flows_on(key) {
            self.end_flow(flow, Outcome::Aborted, now_ns);
        }
    }
}
