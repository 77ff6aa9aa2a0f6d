//! What a peer may make us do: one budget for each way of making work that costs it nothing.
//!
//! Budgets that refill are buckets: time passes, what was used drains away. The others are ratios
//! to useful work. A breach ends the connection with ENHANCE_YOUR_CALM and a [`Cause`] to count.
//!
//! Invariant: a non-empty DATA frame on an open stream costs nothing, however small it is.

use crate::h2::limits;

macro_rules! causes {
    ($($variant:ident $label:literal $text:literal,)*) => {
        /// What a connection was closed for; dense, so that closures can be counted by it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Cause {
            $(#[doc = $text] $variant,)*
        }

        impl Cause {
            /// All of them, by discriminant.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// A word for a metric's label.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

causes! {
    Protocol "protocol" "A breach of the protocol that has no other cause.",
    FrameSize "frame_size" "A frame of a wrong length.",
    FlowControl "flow_control" "More data than a window allowed, or a window beyond 2^31-1.",
    Compression "compression" "A header block that cannot be decoded.",
    StreamClosed "stream_closed" "A frame for a stream that had ended.",
    RapidReset "rapid_reset" "Too many streams reset before our head (CVE-2023-44487).",
    MadeYouReset "made_you_reset" "Too many streams that we had to reset (CVE-2025-8671).",
    PingFlood "ping_flood" "Too many PINGs (CVE-2019-9512).",
    SettingsFlood "settings_flood" "Too many SETTINGS, or too many entries (CVE-2019-9515).",
    EmptyFrames "empty_frames" "Too many empty DATA frames in a row (CVE-2019-9518).",
    WindowUpdates "window_updates" "More WINDOW_UPDATEs than data could need.",
    Priority "priority" "Too many PRIORITY or PRIORITY_UPDATE frames (CVE-2019-9513).",
    Continuation "continuation" "A header block in too many pieces, too long or too slow.",
    HeaderBomb "header_bomb" "A header list several times its limit (CVE-2016-6581).",
    Overhead "overhead" "Frames that carry next to nothing.",
    ControlQueue "control_queue" "Replies that the peer asks for and does not take.",
    Glitches "glitches" "Too many oddities of any kind.",
}

/// How much may be used at once, and how much of it drains away each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    burst: u32,
    per_second: u32,
}

impl Rate {
    pub(crate) const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }

    fn widened(self, times: u32) -> Self {
        Self {
            burst: self.burst.saturating_mul(times),
            per_second: self.per_second.saturating_mul(times),
        }
    }
}

const NS_PER_SECOND: u64 = 1_000_000_000;

/// What was used of a [`Rate`].
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    used: u32,
    /// Up to when it was drained.
    drained_ns: u64,
}

impl Bucket {
    fn add(&mut self, cost: u32, rate: Rate, now_ns: u64) -> u32 {
        let elapsed = now_ns.saturating_sub(self.drained_ns);
        let per_second = u64::from(rate.per_second.max(1));
        let drained = elapsed.saturating_mul(per_second) / NS_PER_SECOND;
        if drained >= u64::from(self.used) {
            self.used = 0;
            self.drained_ns = now_ns;
        } else {
            self.used -= drained as u32;
            // Only whole units were drained: the time of the rest is not lost.
            self.drained_ns += drained * NS_PER_SECOND / per_second;
        }
        self.used = self.used.saturating_add(cost);
        self.used
    }
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) cause: Cause,
    pub(crate) why: &'static str,
}

const fn breach(cause: Cause, why: &'static str) -> Result<(), Breach> {
    Err(Breach { cause, why })
}

/// The budgets of one connection.
#[derive(Debug)]
pub(crate) struct Abuse {
    resets_rate: Rate,
    controls_rate: Rate,
    glitches_rate: Rate,
    resets: Bucket,
    controls: Bucket,
    glitches: Bucket,
    /// The part of `controls` that was PINGs.
    pings: u32,
    /// Whether HEADERS or DATA were sent since the last PING came.
    spoke: bool,
    /// Whether the caller is short of CPU.
    pressed: bool,
    times: u32,
    /// Streams opened by either end.
    streams: u64,
    priorities: u64,
    window_updates: u64,
    data_sent: u64,
    empty_in_a_row: u32,
    replies: u32,
    /// How long `out` was behind the last reply.
    out_seen: usize,
    /// Bytes of all frames received.
    received_bytes: u64,
    /// Bytes of frames received that carried a part of a message, and of data sent.
    carried_bytes: u64,
}

impl Abuse {
    pub(crate) fn new(widened: u32) -> Self {
        let times = widened.max(1);
        Self {
            resets_rate: limits::RESETS.widened(times),
            controls_rate: limits::CONTROLS.widened(times),
            glitches_rate: limits::GLITCHES.widened(times),
            resets: Bucket::default(),
            controls: Bucket::default(),
            glitches: Bucket::default(),
            pings: 0,
            spoke: false,
            pressed: false,
            times,
            streams: 0,
            priorities: 0,
            window_updates: 0,
            data_sent: 0,
            empty_in_a_row: 0,
            replies: 0,
            out_seen: 0,
            received_bytes: 0,
            carried_bytes: 0,
        }
    }

    pub(crate) fn press(&mut self, pressed: bool) {
        self.pressed = pressed;
    }

    pub(crate) fn streams(&self) -> u64 {
        self.streams
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    pub(crate) fn opened(&mut self) {
        self.streams += 1;
    }

    /// HEADERS were sent.
    pub(crate) fn sent_head(&mut self) {
        self.spoke = true;
    }

    /// A DATA frame was sent.
    #[inline]
    pub(crate) fn sent_data(&mut self, len: usize) {
        self.spoke = true;
        self.data_sent += 1;
        self.carried_bytes += len as u64;
    }

    /// Every frame, by its whole length.
    #[inline]
    pub(crate) fn received(&mut self, len: u64) {
        self.received_bytes += len;
    }

    /// A frame with a part of a message, by its whole length: non-empty DATA, header blocks.
    #[inline]
    pub(crate) fn carried(&mut self, len: u64) {
        self.carried_bytes += len;
        self.empty_in_a_row = 0;
    }

    /// Whether the frames so far carried enough; asked at those that carry nothing.
    pub(crate) fn overhead(&self) -> Result<(), Breach> {
        let free = limits::OVERHEAD_BYTES_FREE.saturating_mul(u64::from(self.times));
        if self.received_bytes / limits::OVERHEAD_TIMES > self.carried_bytes.saturating_add(free) {
            return breach(Cause::Overhead, "frames carry next to nothing");
        }
        Ok(())
    }

    /// An empty DATA frame that ends nothing.
    pub(crate) fn empty_data(&mut self) -> Result<(), Breach> {
        self.empty_in_a_row += 1;
        if self.empty_in_a_row > limits::EMPTY_DATA_MAX.saturating_mul(self.times) {
            return breach(Cause::EmptyFrames, "empty DATA frames in a row");
        }
        Ok(())
    }

    /// The peer reset a stream before our head.
    pub(crate) fn reset_early(&mut self, now_ns: u64) -> Result<(), Breach> {
        if self.resets.add(1, self.resets_rate, now_ns) > self.resets_rate.burst {
            return breach(Cause::RapidReset, "streams reset before they were answered");
        }
        Ok(())
    }

    /// The peer made us reset a stream.
    pub(crate) fn reset_made(&mut self, now_ns: u64) -> Result<(), Breach> {
        if self.resets.add(1, self.resets_rate, now_ns) > self.resets_rate.burst {
            return breach(Cause::MadeYouReset, "streams that had to be reset");
        }
        Ok(())
    }

    pub(crate) fn ping(&mut self, now_ns: u64) -> Result<(), Breach> {
        if std::mem::take(&mut self.spoke) {
            self.controls.used = self.controls.used.saturating_sub(self.pings);
            self.pings = 0;
        }
        self.pings += 1;
        let used = self.controls.add(1, self.controls_rate, now_ns);
        // What drained away may have been PINGs.
        self.pings = self.pings.min(used);
        if used > self.controls_rate.burst {
            return breach(Cause::PingFlood, "PINGs while nothing is sent");
        }
        Ok(())
    }

    pub(crate) fn settings(&mut self, now_ns: u64) -> Result<(), Breach> {
        if self.controls.add(1, self.controls_rate, now_ns) > self.controls_rate.burst {
            return breach(Cause::SettingsFlood, "SETTINGS again and again");
        }
        Ok(())
    }

    pub(crate) fn priority(&mut self) -> Result<(), Breach> {
        self.priorities += 1;
        let allowed = limits::PRIORITIES_PER_STREAM
            .saturating_mul(self.streams + 1)
            .saturating_mul(u64::from(self.times));
        if self.priorities > allowed {
            return breach(
                Cause::Priority,
                "priorities for more streams than there are",
            );
        }
        Ok(())
    }

    pub(crate) fn window_update(&mut self) -> Result<(), Breach> {
        self.window_updates += 1;
        let sent = limits::WINDOW_UPDATES_PER_DATA.saturating_mul(self.data_sent);
        let allowed = limits::WINDOW_UPDATES_FREE.saturating_add(
            limits::WINDOW_UPDATES_TIMES.saturating_mul(self.streams.saturating_add(sent)),
        );
        if self.window_updates > allowed.saturating_mul(u64::from(self.times)) {
            return breach(
                Cause::WindowUpdates,
                "more window updates than data could need",
            );
        }
        Ok(())
    }

    /// A reply is about to be appended to `out`, which has `out_len` bytes.
    pub(crate) fn reply(&mut self, out_len: usize) -> Result<(), Breach> {
        // A shorter queue than last time: the peer took some of it.
        if out_len < self.out_seen || out_len == 0 {
            self.replies = 0;
        }
        self.replies += 1;
        self.out_seen = out_len;
        if self.replies > limits::REPLIES_QUEUED_MAX.saturating_mul(self.times) {
            return breach(Cause::ControlQueue, "replies that are not taken");
        }
        Ok(())
    }

    /// Something as odd as `cost` oddities; gives whether the peer should be asked to leave.
    pub(crate) fn glitch(&mut self, cost: u32, now_ns: u64) -> Result<bool, Breach> {
        let used = u64::from(self.glitches.add(cost, self.glitches_rate, now_ns)) * 100;
        let burst = u64::from(self.glitches_rate.burst);
        let most = if self.pressed {
            u64::from(limits::GLITCHES_PRESSED_PERCENT)
        } else {
            100
        };
        if used > burst * most {
            return Err(Breach {
                cause: Cause::Glitches,
                why: "too many oddities",
            });
        }
        Ok(used > burst * u64::from(limits::GLITCHES_LEAVE_PERCENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = NS_PER_SECOND;

    /// How often `act` passes before it is a breach.
    fn passes(mut act: impl FnMut() -> Result<(), Breach>) -> (u32, Cause) {
        for count in 0..1_000_000 {
            if let Err(breach) = act() {
                return (count, breach.cause);
            }
        }
        panic!("no bound");
    }

    #[test]
    fn every_budget_has_its_bound() {
        let now = 7 * SECOND;
        let fresh = || Abuse::new(1);
        let mut abuse = fresh();
        assert_eq!(passes(|| abuse.reset_early(now)), (100, Cause::RapidReset));
        assert_eq!(passes(|| abuse.reset_made(now)), (0, Cause::MadeYouReset));
        let mut abuse = fresh();
        assert_eq!(passes(|| abuse.ping(now)), (200, Cause::PingFlood));
        assert_eq!(passes(|| abuse.settings(now)), (0, Cause::SettingsFlood));
        let mut abuse = fresh();
        assert_eq!(passes(|| abuse.empty_data()), (10, Cause::EmptyFrames));
        assert_eq!(passes(|| abuse.priority()), (100, Cause::Priority));
        assert_eq!(passes(|| abuse.window_update()), (5, Cause::WindowUpdates));
        assert_eq!(passes(|| abuse.reply(9)), (1_000, Cause::ControlQueue));
        assert_eq!(
            passes(|| abuse.glitch(1, now).map(|_| ())),
            (1_000, Cause::Glitches)
        );
        let mut abuse = fresh();
        let dribble = || {
            abuse.received(17);
            abuse.overhead()
        };
        assert_eq!(passes(dribble), (8 * 1_048_576 / 17, Cause::Overhead));
    }

    #[test]
    fn budgets_refill_with_time_and_widen() {
        let mut abuse = Abuse::new(3);
        let mut now = SECOND;
        assert_eq!(passes(|| abuse.reset_early(now)), (300, Cause::RapidReset));
        // One too many was counted: 60 a second drain away, one of them for it.
        now += SECOND;
        assert_eq!(passes(|| abuse.reset_early(now)).0, 59);
        now += 3600 * SECOND;
        assert_eq!(passes(|| abuse.reset_early(now)).0, 300);
    }

    #[test]
    fn no_time_is_lost_between_units() {
        let mut bucket = Bucket::default();
        let rate = Rate::new(100, 20);
        bucket.add(100, rate, SECOND);
        // 1,000 steps of a millisecond drain 20 units, as one step of a second does.
        for step in 1..=1_000 {
            bucket.add(0, rate, SECOND + step * 1_000_000);
        }
        assert_eq!(bucket.used, 80);
    }

    #[test]
    fn pings_are_forgiven_while_we_send() {
        let mut abuse = Abuse::new(1);
        for _ in 0..10_000 {
            abuse.sent_data(10);
            assert_eq!(abuse.ping(0), Ok(()));
        }
        assert_eq!(passes(|| abuse.ping(0)), (199, Cause::PingFlood));
    }

    #[test]
    fn useful_work_allows_more() {
        let mut abuse = Abuse::new(1);
        abuse.opened();
        abuse.sent_data(64);
        assert_eq!(passes(|| abuse.window_update()).0, 5 + 2 * (1 + 10));
        assert_eq!(passes(|| abuse.priority()).0, 200);
        // A peer that takes what we queue gets any number of replies.
        for _ in 0..10_000 {
            assert_eq!(abuse.reply(100), Ok(()));
            assert_eq!(abuse.reply(50), Ok(()));
        }
    }

    #[test]
    fn glitches_ask_to_leave_and_count_double_under_pressure() {
        let mut abuse = Abuse::new(1);
        let leave = (1..=1_000)
            .find(|_| abuse.glitch(1, 0) == Ok(true))
            .expect("asked to leave");
        assert_eq!(leave, 751);
        abuse.press(true);
        assert!(abuse.glitch(1, 0).is_err());
    }

    #[test]
    fn labels_are_distinct() {
        let labels: Vec<_> = Cause::ALL.iter().map(|cause| cause.label()).collect();
        let mut unique = labels.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), Cause::COUNT);
        for (at, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, at);
        }
    }
}
