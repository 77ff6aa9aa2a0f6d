//! What the reactor drives. `engine::Engine` in production, small scripted machines in tests:
//! that the trait is all the reactor sees keeps policy out of it.

use engine::clock::Now;
use engine::ids::{ConnId, WorkerId};
use engine::input::{Accepted, Input, Mail};
use engine::metrics::DialFamily;
use engine::output::Output;

/// The sans-I/O object of one worker.
///
/// One turn is `begin`, any number of `accepted` and `handle`, `end`, then `poll` until it says
/// `Output::Wait`; `pending` and `wrote` follow, and `poll` is drained again. After a caught panic
/// the next call may be `begin`, without the `end` of the turn that broke.
pub trait Machine {
    /// Starts a turn.
    fn begin(&mut self, now: Now);
    /// A socket was accepted. `None` refuses it.
    fn accepted(&mut self, accepted: Accepted) -> Option<ConnId>;
    /// One thing that happened.
    fn handle(&mut self, input: Input<'_>);
    /// Ends the inputs of a turn.
    fn end(&mut self);
    /// The next thing to do; `Output::Wait` when there is no more.
    fn poll(&mut self) -> Output;
    /// Bytes to send now, contiguous; empty if none.
    fn pending(&self, conn: ConnId) -> &[u8];
    /// That many of the pending bytes are the kernel's now; `after_ns` was read after the send.
    fn wrote(&mut self, conn: ConnId, bytes: usize, after_ns: u64);
    /// Live exchanges: the acceptor gives the next socket to the worker with the fewest.
    fn live(&self) -> usize;
    /// After `Mail::Drain`: no exchange and no client connection is left.
    fn drained(&self) -> bool;
    /// A turn is over: its length, and how many inputs it had.
    fn turned(&mut self, elapsed_ns: u64, inputs: usize);
    /// A dial begins an attempt to connect; a dial by name may take several.
    fn attempting(&mut self, conn: ConnId, family: DialFamily) {
        let _ = (conn, family);
    }
    /// The peer of an accepted connection has sent its FIN, but bytes before it are unread because
    /// reading is paused. `Closed::Eof` still follows behind those bytes. Said once.
    fn fin_ahead(&mut self, conn: ConnId) {
        let _ = conn;
    }
    /// Mail for a worker that has ended comes back, so that a permit in it can be passed on.
    fn undelivered(&mut self, worker: WorkerId, mail: Mail) {
        drop((worker, mail));
    }
    /// Another worker has ended: what it still waited for must not keep others waiting. Mail that
    /// it had not read follows as `undelivered`.
    fn outlived(&mut self, worker: WorkerId) {
        let _ = worker;
    }
}
