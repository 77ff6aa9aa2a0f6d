//! Every bound of the engine, with unit, default and reason.

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
/// Answers that wait for a client to take them. A client that pipelines is served strictly in order;
/// with so many answers unsent, or `QUEUE_BYTES_HIGH` bytes of them, nothing more of it is read or
/// parsed until they are out (RFC 9112 §9.3.2 leaves the depth to us). What it sent meanwhile stays
/// in its stash, at most two reads' worth.
pub const PIPELINED_ANSWERS_MAX: usize = 16;
/// Endpoints that a waiter's permit is matched against when one becomes free.
pub const GRANT_SCAN_MAX: usize = 16;
/// Endpoints scanned in full; beyond it two random choices.
pub const FULL_SCAN_MAX: usize = 16;
/// `Retry-After` never says more: SDKs do not retry after longer delays.
pub const RETRY_AFTER_MS_MAX: u64 = 120_000;
/// Inputs of one turn.
pub const TURN_INPUTS_MAX: usize = 64;
/// Length of one turn in nanoseconds after which the driver ends it.
pub const TURN_NS_MAX: u64 = 300_000;

const _: () = assert!(QUEUE_BYTES_LOW < QUEUE_BYTES_HIGH);
const _: () = assert!(READ_BYTES <= QUEUE_BYTES_HIGH);
