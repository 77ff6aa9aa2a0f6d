//! What happens on one link of HTTP/1.1: connected, sent, read, ended.

use std::io;

use mio::event::Event;

use super::{
    generator::{Due, Generator, LINGER_NS},
    link::{LinkState, Request},
    options::{AbortKind, AbortPhase},
    outcome::Outcome,
    receive::{leaves, receive, worth},
};
use crate::clock;

/// What came of a read.
enum Read {
    /// Nothing more is there now.
    Drained,
    /// The request has ended; the link is idle or gone.
    Ended,
}

impl Generator<'_> {
    pub(super) fn link_event(&mut self, event: &Event) {
        let index = event.token().0;
        let now_ns = clock::now_ns();
        let Some(link) = self.links.at(index) else {
            return;
        };
        if link.state == LinkState::Connecting && !self.connected(index, now_ns) {
            return;
        }
        let Some(link) = self.links.at(index) else {
            return;
        };
        link.stream.push();
        let ended = event.is_read_closed();
        let readable = event.is_readable() || ended || event.is_error();
        match link.state {
            LinkState::Connecting => {}
            LinkState::Idle => {
                // A server may close what it does not use; anything else is no answer of ours.
                if readable {
                    self.links.remove(index);
                }
            }
            LinkState::Lingering => self.discard(index),
            LinkState::Busy => {
                if event.is_writable() && link.output_at < link.output.len() {
                    self.send(index, now_ns);
                }
                let busy = |link: &mut super::link::Link| link.state == LinkState::Busy;
                if readable && self.links.at(index).is_some_and(busy) {
                    let mut scratch = std::mem::take(&mut self.scratch);
                    let read = self.read(index, ended, &mut scratch);
                    self.scratch = scratch;
                    if ended && matches!(read, Read::Ended) && !self.busy(index) {
                        self.links.remove(index);
                    }
                }
            }
        }
    }

    fn busy(&mut self, index: usize) -> bool {
        self.links
            .at(index)
            .is_some_and(|link| link.state != LinkState::Idle)
    }

    /// True when the link may go on.
    fn connected(&mut self, index: usize, now_ns: u64) -> bool {
        let Some(link) = self.links.at(index) else {
            return false;
        };
        match link.stream.finish_connect() {
            Ok(true) => {
                link.state = LinkState::Busy;
                let took_ns = now_ns - link.opened_ns;
                let resumed = link.stream.resumed();
                if let Some(request) = &link.request {
                    self.ledger.connected(request.part, took_ns, resumed);
                }
                self.send(index, now_ns);
                true
            }
            Ok(false) => false,
            Err(_) => {
                self.connect_failed(index, now_ns);
                false
            }
        }
    }

    /// Writes what is left of the request.
    pub(super) fn send(&mut self, index: usize, now_ns: u64) {
        let Some(link) = self.links.at(index) else {
            return;
        };
        match link.flush() {
            Ok(false) => {}
            Ok(true) => self.sent(index, now_ns),
            // The server may have answered before it closed: what it said is still to be read.
            Err(_) => {
                let mut scratch = std::mem::take(&mut self.scratch);
                if matches!(self.read(index, true, &mut scratch), Read::Drained) {
                    self.broken(index, now_ns);
                }
                self.scratch = scratch;
            }
        }
    }

    fn sent(&mut self, index: usize, now_ns: u64) {
        let delay_ms = self
            .options
            .client_abort
            .as_ref()
            .map_or(0, |abort| abort.delay_ms);
        let Some(key) = self.links.key(index) else {
            return;
        };
        let Some(request) = self.links.at(index).and_then(|link| link.request.as_mut()) else {
            return;
        };
        match request.leave.map(|leave| leave.at) {
            Some(AbortPhase::Head | AbortPhase::Body) if self.options.tls.is_none() => {
                self.leave(index, now_ns);
            }
            // Under TLS the server may be about to say something, and a send that fails because
            // the client has left keeps it from reading what came before.
            Some(
                AbortPhase::Head | AbortPhase::Body | AbortPhase::Queue | AbortPhase::BeforeToken,
            ) => {
                request.leave_ns = now_ns + delay_ms * 1_000_000;
                let at_ns = request.leave_ns;
                self.plan_leave(key, at_ns);
            }
            Some(AbortPhase::MidEvent) | None => {}
        }
    }

    fn read(&mut self, index: usize, ended: bool, scratch: &mut [u8]) -> Read {
        loop {
            let Some(link) = self.links.at(index) else {
                return Read::Ended;
            };
            let result = link.stream.read(scratch);
            let now_ns = clock::now_ns();
            match result {
                Ok(0) => {
                    self.closed(index, now_ns);
                    return Read::Ended;
                }
                Ok(length) => {
                    if self.take(index, &scratch[..length], now_ns) {
                        return Read::Ended;
                    }
                    if length < scratch.len() && !ended {
                        return Read::Drained;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken(index, now_ns);
                    return Read::Ended;
                }
            }
        }
    }

    /// Takes bytes of an answer; true when its request has ended.
    fn take(&mut self, index: usize, bytes: &[u8], now_ns: u64) -> bool {
        let Some(link) = self.links.at(index) else {
            return true;
        };
        let Some(request) = link.request.as_mut() else {
            return true;
        };
        self.ledger.bytes(bytes.len());
        let fed = receive(&mut self.ledger, request, now_ns, |answer, token| {
            answer.feed(bytes, token)
        });
        match fed {
            Err(_) => self.finish(index, Outcome::Malformed, false, now_ns),
            Ok((used, true)) => {
                let outcome = self.complete(index);
                self.finish(index, outcome, used == bytes.len(), now_ns);
            }
            Ok((_, false)) => return self.leave_now(index, now_ns),
        }
        true
    }

    /// Leaves if this is the point where the client wanted to.
    fn leave_now(&mut self, index: usize, now_ns: u64) -> bool {
        let Some(request) = self.links.at(index).and_then(|link| link.request.as_ref()) else {
            return true;
        };
        let leaves = leaves(request);
        if leaves {
            self.leave(index, now_ns);
        }
        leaves
    }

    /// What a complete answer is worth.
    fn complete(&mut self, index: usize) -> Outcome {
        match self.links.at(index).and_then(|link| link.request.as_ref()) {
            Some(request) => worth(&mut self.ledger, request, self.options),
            None => Outcome::Malformed,
        }
    }

    /// The server has sent FIN.
    fn closed(&mut self, index: usize, now_ns: u64) {
        let Some(request) = self.links.at(index).and_then(|link| link.request.as_ref()) else {
            self.links.remove(index);
            return;
        };
        if request.answer.until_close() {
            let outcome = self.complete(index);
            self.finish(index, outcome, false, now_ns);
        } else if request.answer.any_input() {
            self.finish(index, Outcome::Truncated, false, now_ns);
        } else if !self.retry(index, now_ns) {
            let part = self
                .links
                .at(index)
                .and_then(|link| link.request.as_ref())
                .map(|r| r.part);
            if let Some(part) = part {
                self.ledger.tallies[part].closed_before_head += 1;
            }
            self.finish(index, Outcome::Reset, false, now_ns);
        }
    }

    /// The connection was reset.
    fn broken(&mut self, index: usize, now_ns: u64) {
        let Some(link) = self.links.at(index) else {
            return;
        };
        let untouched = link
            .request
            .as_ref()
            .is_some_and(|request| !request.answer.any_input());
        if !untouched || !self.retry(index, now_ns) {
            self.finish(index, Outcome::Reset, false, now_ns);
        }
    }

    /// Sends the request once more if its kept connection had gone stale.
    fn retry(&mut self, index: usize, now_ns: u64) -> bool {
        let Some(link) = self.links.at(index) else {
            return false;
        };
        let stale = self.options.retry_stale && link.answers > 0;
        let Some(request) = link.request.take_if(|request| stale && !request.retried) else {
            return false;
        };
        self.links.remove(index);
        self.in_flight -= 1;
        self.ledger.tallies[request.part].stale_retries += 1;
        let Request {
            part,
            intended_ns,
            lengths,
            ..
        } = request;
        self.issue(
            Due {
                part,
                intended_ns,
                lengths,
                retried: true,
            },
            now_ns,
        );
        true
    }

    /// Ends the request on a link; the link is kept for the next one if it can be.
    pub(super) fn finish(&mut self, index: usize, outcome: Outcome, keep: bool, now_ns: u64) {
        let Some(key) = self.links.key(index) else {
            return;
        };
        let Some(link) = self.links.at(index) else {
            return;
        };
        let Some(request) = link.request.take() else {
            return;
        };
        self.in_flight -= 1;
        link.answers += 1;
        let whole = link.output_at == link.output.len();
        if keep && whole && !link.once && !request.answer.close {
            link.state = LinkState::Idle;
            self.idle.push(key);
        } else {
            self.links.remove(index);
        }
        self.ledger.ended(&request, outcome, now_ns);
        self.free_worker(now_ns);
    }

    /// The client of this link leaves as it was told to.
    pub(super) fn leave(&mut self, index: usize, now_ns: u64) {
        let Some(key) = self.links.key(index) else {
            return;
        };
        let Some(link) = self.links.at(index) else {
            return;
        };
        let Some(request) = link.request.take() else {
            return;
        };
        self.in_flight -= 1;
        match request.leave.map(|leave| leave.kind) {
            Some(AbortKind::HalfClose) => {
                link.stream.goodbye();
                link.stream.shutdown_write();
                link.state = LinkState::Lingering;
                self.plan_leave(key, now_ns + LINGER_NS);
            }
            Some(AbortKind::Rst | AbortKind::Stream) => {
                if let Some(link) = self.links.remove(index) {
                    link.stream.reset();
                }
            }
            Some(AbortKind::Goodbye) => {
                link.stream.goodbye();
                self.links.remove(index);
            }
            Some(AbortKind::Fin) | None => drop(self.links.remove(index)),
        }
        self.ledger.ended(&request, Outcome::Aborted, now_ns);
        self.free_worker(now_ns);
    }

    /// Reads a half-closed link to its end.
    fn discard(&mut self, index: usize) {
        let Some(link) = self.links.at(index) else {
            return;
        };
        loop {
            match link.stream.read(&mut self.scratch) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        self.links.remove(index);
    }
}
