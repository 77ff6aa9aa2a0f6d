//! Every bound of an HTTP/2 connection that is not a setting: its unit, its value and the reason.
//!
//! Budgets that refill are a number and a number a second; `Config::widened` multiplies both.

use crate::h2::abuse::Rate;

/// Bytes in the caller's send queue up to which data is appended to it; 32 KiB. Two full frames
/// keep a socket busy; what lies in it can no longer be overtaken by a more urgent stream.
pub const OUT_BYTES_HIGH: usize = 32 * 1024;
/// Bytes queued on one stream beyond which it is full; 64 KiB, as a stopped HTTP/1 reader has.
pub(crate) const STREAM_QUEUE_BYTES_HIGH: usize = 64 * 1024;
/// Bytes queued on all streams beyond which every stream with a queue is full; 1 MiB: a client
/// that stopped reading a hundred streams costs no more.
pub(crate) const CONNECTION_QUEUE_BYTES_HIGH: usize = 1024 * 1024;
/// Bytes of a frame's payload, both ways: the protocol's least maximum (RFC 9113 §4.2), which we
/// never raise. A larger frame would only make other streams wait longer.
pub(crate) const FRAME_BYTES_MAX: usize = 16_384;
/// Bytes of our compression table and of the peer's; 4 KiB, the protocol's initial value.
pub(crate) const TABLE_BYTES_MAX: usize = 4_096;
/// Entries of one SETTINGS frame; 32, as nghttp2 has. Nine are defined.
pub(crate) const SETTINGS_ENTRIES_MAX: u32 = 32;
/// Bytes of a PRIORITY_UPDATE that are read; `u=7, i` has six. A longer one is skipped.
pub(crate) const PRIORITY_UPDATE_BYTES_MAX: u32 = 256;
/// CONTINUATION frames of one header block; 8, as nghttp2 has (CVE-2024-27316 and its siblings).
pub(crate) const CONTINUATIONS_MAX: u32 = 8;
/// Nanoseconds from a header block's first byte to its last; 5 s. Nothing else may come between.
pub(crate) const BLOCK_NS_MAX: u64 = 5_000_000_000;
/// Cookie crumbs of one head beside its other fields; 100. Browsers send one for each cookie.
pub(crate) const CRUMBS_MAX: usize = 100;
/// A header list so many times its limit is no mistake but a bomb (CVE-2016-6581); 4, as h2 has.
pub(crate) const BOMB_TIMES: usize = 4;
/// Heads of live streams may be this many times what the connection sent; 8. A table of 4 KiB
/// could make each byte into 4,096 (CVE-2026-49975).
pub(crate) const HELD_HEAD_TIMES: u64 = 8;
/// Bytes of heads that are free beyond that; 256 KiB, which are four of the largest size: what a
/// client asks for at once on a new connection says little that is new. The caller lends less when
/// many connections want it.
pub const HELD_HEAD_BYTES_FREE: u64 = 256 * 1024;
/// Nanoseconds for which the queue of a stream that the caller is done with may stand still; 30 s:
/// a peer that gives it no window wants nothing of it.
pub(crate) const FORGOTTEN_NS_MAX: u64 = 30_000_000_000;
/// Streams reset by the peer before our head, and streams that it made us reset (CVE-2023-44487,
/// CVE-2025-8671): 100 and 20 a second. A browser that closes a tab resets its few streams.
pub(crate) const RESETS: Rate = Rate::new(100, 20);
/// PING and SETTINGS: 200 and 20 a second (CVE-2019-9512, -9515). PINGs are forgiven while we
/// send, for gRPC measures bandwidth with them.
pub(crate) const CONTROLS: Rate = Rate::new(200, 20);
/// Oddities of every kind: 1,000 and 33 a second, a tenth of what nghttp2 allows.
pub(crate) const GLITCHES: Rate = Rate::new(1_000, 33);
/// Bytes of a head for which there was no room that are one oddity more; 16 KiB: it had to be
/// decoded all the same.
pub(crate) const GLITCH_HEAD_BYTES: u64 = 16 * 1024;
/// Streams refused to a peer that has not acknowledged our SETTINGS and may not know how many it
/// may open; 1,000. More of them are oddities: that was longer than a round trip.
pub(crate) const UNAWARE_MAX: u32 = 1_000;
/// Per cent of the glitches at which the peer is asked to leave.
pub(crate) const GLITCHES_LEAVE_PERCENT: u32 = 75;
/// Per cent of the glitches at which the connection ends while the caller is short of CPU.
pub(crate) const GLITCHES_PRESSED_PERCENT: u32 = 50;
/// PRIORITY and PRIORITY_UPDATE frames for each stream and one more; 100, as Envoy has
/// (CVE-2019-9513).
pub(crate) const PRIORITIES_PER_STREAM: u64 = 100;
/// WINDOW_UPDATE frames: 5 and, twice, one for each stream and ten for each DATA frame that we
/// sent, as Envoy has. A stream counts as soon as it is opened, whatever we sent on it: browsers
/// widen each stream's window right behind its HEADERS, a hundred at once before any answer. One
/// that only opens streams to earn updates pays for them with the budgets of streams.
pub(crate) const WINDOW_UPDATES_FREE: u64 = 5;
/// See [`WINDOW_UPDATES_FREE`].
pub(crate) const WINDOW_UPDATES_TIMES: u64 = 2;
/// See [`WINDOW_UPDATES_FREE`].
pub(crate) const WINDOW_UPDATES_PER_DATA: u64 = 10;
/// Empty DATA frames in a row that do not end a stream; 10 (CVE-2019-9518). Some clients send one.
pub(crate) const EMPTY_DATA_MAX: u32 = 10;
/// Bytes received may be this many times those of messages, both ways, and
/// [`OVERHEAD_BYTES_FREE`]; 8, as nginx has. Non-empty DATA counts whole: tokens are small.
pub(crate) const OVERHEAD_TIMES: u64 = 8;
/// See [`OVERHEAD_TIMES`]; 1 MiB, as nginx has.
pub(crate) const OVERHEAD_BYTES_FREE: u64 = 1024 * 1024;
/// Replies (acknowledgements, resets) that the peer made us queue and took no byte of; 1,000, as
/// Envoy and nghttp2 have (CVE-2019-9512, -9515, -9514).
pub(crate) const REPLIES_QUEUED_MAX: u32 = 1_000;
/// Streams that were closed lately, with how: late frames for them are no breach. 128, which is
/// more than may be open, at 4 bytes each.
pub(crate) const CLOSED_REMEMBERED: usize = 128;
/// Slots of streams that an idle connection keeps; 4, of some 160 bytes each.
pub(crate) const IDLE_SLOTS_KEPT: usize = 4;

const _: () = assert!(OUT_BYTES_HIGH >= 2 * FRAME_BYTES_MAX);
const _: () = assert!(STREAM_QUEUE_BYTES_HIGH < CONNECTION_QUEUE_BYTES_HIGH);
const _: () = assert!(GLITCHES_PRESSED_PERCENT < GLITCHES_LEAVE_PERCENT);
const _: () = assert!(SETTINGS_ENTRIES_MAX as usize * 6 <= FRAME_BYTES_MAX);
