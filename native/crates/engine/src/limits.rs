//! Every bound of the engine, with unit, default and reason.

use crate::clock::SECOND;

/// Bytes queued towards one peer above which its source is paused.
pub const QUEUE_BYTES_HIGH: usize = 64 * 1024;
/// Bytes queued towards one peer below which its source is resumed.
pub const QUEUE_BYTES_LOW: usize = 32 * 1024;
/// Bytes the driver reads at once. A paused source overshoots the high mark by at most this.
pub const READ_BYTES: usize = 32 * 1024;
/// An incomplete event is held up to this many bytes, then passed through and marked.
pub const EVENT_TAIL_BYTES_MAX: usize = 64 * 1024;
/// Body of a request on the admin listener: configuration pushed by hand fits.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Request bytes read and thrown away after an early answer (RFC 9112 §9.3).
pub const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// Silence of a peer that owes us something on an HTTP/2 connection, after which it is asked
/// whether it lives: half of what common load balancers allow a silent connection.
pub const PING_SILENCE_NS: u64 = 30 * SECOND;
/// Time for the answer to a PING: as long as TCP_USER_TIMEOUT allows bytes to be unacknowledged.
pub const PING_ANSWER_NS: u64 = 15 * SECOND;
/// Milliseconds after which a client's HTTP/2 connection is wound up, jittered by a tenth, so that
/// long-lived clients spread again over gateways that were added.
pub const H2_AGE_MS: u64 = 3_600_000;
/// Streams that a client's HTTP/2 connection serves before it is wound up, jittered as its age is:
/// clients that began together do not all come back together.
pub const H2_STREAMS_MAX: u64 = 100_000;
/// An HTTP/2 connection on which streams were served may be idle for so long: a new one costs a
/// handshake.
pub const H2_IDLE_NS: u64 = 300 * SECOND;
/// How often a watcher of our health looks whether it has changed: sooner than a balancer could
/// act, and a hundred watchers cost nothing that can be measured.
pub const HEALTH_LOOK_NS: u64 = SECOND / 5;
/// After we asked a peer to open no more streams on a connection, those it opens for so long are
/// still served: more than a round trip around the world.
pub const H2_WINDING_NS: u64 = SECOND;
/// Per cent of a second that a worker's turns may take before it counts as short of CPU; 80, as
/// leaves a fifth for those who wait. Oddities of HTTP/2 peers are borne half as long then.
pub const PRESSED_PERCENT: u64 = 80;
/// A header block begun on an HTTP/2 connection must be complete by then.
pub const H2_HEAD_NS: u64 = 5 * SECOND;
/// How much wider the budgets of abuse are for a trusted peer: a gateway above us carries many
/// clients on one connection.
pub const H2_TRUSTED_WIDER: u32 = 10;
/// Bytes of answers that wait for a client of HTTP/2; beyond it nothing more of it is read until it
/// takes some: heads and resets are in no window, and who asks without reading would pile them up.
/// Data stops far below, at `wire::h2::OUT_BYTES_HIGH`.
pub const H2_UNSENT_BYTES_MAX: usize = 256 * 1024;
/// Tokens that a gather on HTTP/2 must have caught for the next one to be worth its wait: a write
/// costs about as much as the wait's own system call and wake-up.
pub const GATHER_CAUGHT_MIN: u32 = 4;
/// Gathers in a row that may catch less: the end of every step is one.
pub const GATHER_MISSES_MAX: u32 = 2;
/// Bytes of a connection above which nothing more is waited for: the write is well used.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of heads that all HTTP/2 connections of a worker's clients may hold together beyond eight
/// times what each of them sent: a table of compression makes a head of a few bytes, and thousands
/// of connections must not have that for nothing (CVE-2026-49975). 2 MiB are a thousand heads of
/// clients that have just connected.
pub const H2_HEADS_LENT_MAX: u64 = 2 * 1024 * 1024;
/// Streams on one upstream connection before another is dialled: enough that engine steps share
/// their writes, few enough that one lost connection does not take a fleet's streams along.
pub const H2_UPSTREAM_STREAMS: usize = 64;
/// For so long an endpoint that was found to speak no HTTP/2 is passed over by calls that need it:
/// an engine that was replaced is found out about, and a handshake in vain is rare.
pub const HTTP1_ONLY_NS: u64 = 30 * SECOND;
/// HTTP/2 connections of one worker to one endpoint; beyond it streams share them evenly.
pub const H2_UPSTREAM_CONNECTIONS: usize = 64;
/// An upstream HTTP/2 connection without a stream is kept for so long.
pub const H2_UPSTREAM_IDLE_NS: u64 = 60 * SECOND;
/// Answers that wait for a client to take them. A client that pipelines is served strictly in
/// order; with so many answers unsent, or `QUEUE_BYTES_HIGH` bytes of them, nothing more of it is
/// read or parsed until they are out (RFC 9112 §9.3.2 leaves the depth to us). What it sent
/// meanwhile stays in its stash, at most two reads' worth.
pub const PIPELINED_ANSWERS_MAX: usize = 16;
/// Endpoints that a waiter's permit is matched against when one becomes free.
pub const GRANT_SCAN_MAX: usize = 16;
/// Endpoints scanned in full; beyond it two random choices.
pub const FULL_SCAN_MAX: usize = 16;
/// `Retry-After` never says more: SDKs do not retry after longer delays.
pub const RETRY_AFTER_MS_MAX: u64 = 120_000;
/// Addresses of one name that are kept: a name with more is a fleet, not an endpoint, and a dial
/// cannot try more of them within its time.
pub const ADDRESSES_MAX: usize = 16;
/// Inputs of one turn.
pub const TURN_INPUTS_MAX: usize = 64;
/// Length of one turn in nanoseconds after which the driver ends it.
pub const TURN_NS_MAX: u64 = 300_000;

const _: () = assert!(QUEUE_BYTES_LOW < QUEUE_BYTES_HIGH);
const _: () = assert!(READ_BYTES <= QUEUE_BYTES_HIGH);
