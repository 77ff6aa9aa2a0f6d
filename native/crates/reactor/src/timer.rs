//! The deadline of the inline driver, as a descriptor in its poller: the outer event loop only
//! watches the poller's descriptor, so the deadline must make that one readable.
//!
//! Threads need none of this: they pass the deadline to the poller.

use std::io;

use crate::poller::{Key, Poller, Want};

/// Makes the poller ready at a moment. Armed lazily: a deadline that moves later costs nothing but
/// one early, empty turn.
pub(crate) struct Timer {
    #[cfg(target_os = "linux")]
    fd: std::os::fd::OwnedFd,
    armed_ns: Option<u64>,
}

#[cfg(target_os = "linux")]
impl Timer {
    pub(crate) fn new(poller: &Poller) -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poller.add(&fd, Key::Timer, Want::Read)?;
        Ok(Self { fd, armed_ns: None })
    }

    /// Sees to it that the poller is ready no later than `deadline_ns` (`CLOCK_MONOTONIC`).
    pub(crate) fn arm(&mut self, deadline_ns: Option<u64>, now_ns: u64) -> io::Result<()> {
        use engine::clock::SECOND;
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // What has fired is not armed. Edge-triggered: its count need not be read.
        self.armed_ns = self.armed_ns.filter(|&at_ns| at_ns > now_ns);
        let Some(deadline_ns) = deadline_ns else {
            return Ok(());
        };
        if self.armed_ns.is_some_and(|at_ns| at_ns <= deadline_ns) {
            return Ok(());
        }
        // Zero would disarm it; a moment in the past fires at once.
        let at_ns = deadline_ns.max(1);
        let at = Timespec {
            tv_sec: (at_ns / SECOND).min(i64::MAX as u64) as i64,
            tv_nsec: (at_ns % SECOND) as _,
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: at,
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once)?;
        self.armed_ns = Some(at_ns);
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    pub(crate) fn new(_poller: &Poller) -> io::Result<Self> {
        Ok(Self { armed_ns: None })
    }

    /// The outer loop must call `turn` at `Inline::deadline_ns` by itself here.
    pub(crate) fn arm(&mut self, deadline_ns: Option<u64>, _now_ns: u64) -> io::Result<()> {
        self.armed_ns = deadline_ns;
        Ok(())
    }
}
