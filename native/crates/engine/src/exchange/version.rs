//! Calls that need HTTP/2, and endpoints that do not speak it: passed over where that is known, and
//! given up for another one where a handshake tells.
//!
//! **Invariant:** no byte of a gRPC call goes over HTTP/1.1.

use super::{Exchange, Step};
use crate::conn::Speaks;
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::limits;
use crate::shared::Outcome;
use crate::snapshot::{Dialect, Http2};

/// For whoever reads the status or the log.
const WHY: &str = "the endpoint speaks only HTTP/1.1, and gRPC needs HTTP/2: give the pool \
                   endpoints that speak it, and http2: auto or always";
/// The same of what was no gRPC call.
const WHY_ALWAYS: &str = "the endpoint speaks only HTTP/1.1; set http2: auto";

impl Engine {
    /// Leaves out endpoints that are known not to take this call. Nobody's fault: it is not counted
    /// as an attempt.
    pub(crate) fn pass_over(&self, exchange: &mut Exchange) {
        if !needs_h2(exchange) {
            return;
        }
        let local = self.locals.local(exchange.local);
        for slot in local.http1_only(self.now.mono_ns) {
            if !exchange.tried.contains(&slot) {
                exchange.tried.push(slot);
            }
        }
    }

    /// Why no endpoint takes this call, if all of the pool's were left out for their version.
    pub(crate) fn passed_over(&self, exchange: &Exchange) -> Option<Failure> {
        let pool = exchange.pool.as_ref().filter(|_| needs_h2(exchange))?;
        let local = self.locals.local(exchange.local);
        let all = local.http1_only(self.now.mono_ns).count() >= pool.endpoints.len();
        all.then_some(Failure::new(FailureKind::UpstreamVersion, WHY))
    }

    /// Gives the attempt up if it is known that its endpoint does not take this call.
    pub(crate) fn mismatch(&mut self, exchange: &mut Exchange, version: Speaks) -> Option<Step> {
        let slot = exchange.attempt.as_ref()?.endpoint.slot;
        let local = self.locals.local(exchange.local);
        let known = || {
            local
                .http1_only(self.now.mono_ns)
                .any(|other| other == slot)
        };
        if !needs_h2(exchange) || version != Speaks::Http1 && !known() {
            return None;
        }
        self.wrong_version(exchange);
        Some(Step::Wait)
    }

    /// Whether a connection that now stands speaks another version than the call can be made in.
    pub(crate) fn is_mismatch(&self, exchange: &Exchange) -> bool {
        let attempt = exchange.attempt.as_ref();
        attempt.is_some_and(|attempt| {
            let conn = attempt.conn.and_then(|id| self.conns.get(id));
            let http1 = conn.is_some_and(|conn| conn.h2_ref().is_none());
            let always = attempt.endpoint.http2 == Http2::Always && !exchange.head.websocket;
            http1 && (always || needs_h2(exchange))
        })
    }

    /// The attempt's endpoint does not speak what the call needs. Its connection, if there is one,
    /// serves others; the endpoint is as well as it was.
    pub(crate) fn wrong_version(&mut self, exchange: &mut Exchange) {
        let Some(attempt) = exchange.attempt.as_mut() else {
            return;
        };
        let (conn, slot) = (attempt.conn.take(), attempt.endpoint.slot);
        self.note_http1_only(exchange.local, slot);
        if let Some(id) = conn {
            self.keep_upstream(id);
        }
        let why = if needs_h2(exchange) { WHY } else { WHY_ALWAYS };
        let failure = Failure::new(FailureKind::UpstreamVersion, why);
        self.attempt_failed(exchange, failure, Outcome::Neutral);
    }

    /// An endpoint was found to speak no HTTP/2.
    pub(crate) fn note_http1_only(&mut self, local: usize, slot: u32) {
        let until_ns = self.now.mono_ns + limits::HTTP1_ONLY_NS;
        self.locals.note_http1_only(local, slot, Some(until_ns));
    }
}

/// Whether HTTP/1.1 cannot carry the call.
pub(crate) fn needs_h2(exchange: &Exchange) -> bool {
    exchange.dialect == Dialect::Grpc && !exchange.head.websocket
}
