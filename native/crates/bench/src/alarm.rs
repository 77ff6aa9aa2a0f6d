//! Wakes a poller at an absolute time, to some tens of microseconds.
//!
//! `epoll_wait` counts in milliseconds, which is the size of what we measure; a timerfd in the same
//! poller does not. It is armed only when the next due time changes and is never read: it is
//! registered edge-triggered, and arming it again clears it. Elsewhere the poll timeout serves.

use std::time::Duration;

use mio::{Registry, Token};

use crate::Error;

/// The one timer of a loop.
#[derive(Debug)]
pub(crate) struct Alarm {
    #[cfg(target_os = "linux")]
    fd: rustix::fd::OwnedFd,
    /// The time it is set for; `u64::MAX` when unset.
    #[cfg(target_os = "linux")]
    armed_ns: u64,
}

#[cfg(target_os = "linux")]
impl Alarm {
    pub(crate) fn new(registry: &Registry, token: Token) -> Result<Self, Error> {
        use std::os::fd::AsRawFd;

        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|error| crate::error::system("creating a timer")(error.into()))?;
        registry
            .register(
                &mut mio::unix::SourceFd(&fd.as_raw_fd()),
                token,
                mio::Interest::READABLE,
            )
            .map_err(crate::error::system("watching a timer"))?;
        Ok(Self {
            fd,
            armed_ns: u64::MAX,
        })
    }

    /// The timeout to poll with, so that the poll returns no later than `due_ns`.
    pub(crate) fn timeout(&mut self, now_ns: u64, due_ns: Option<u64>) -> Option<Duration> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let due_ns = due_ns?;
        if due_ns <= now_ns {
            return Some(Duration::ZERO);
        }
        // A timer that fired already was set for a time before now, so it never equals `due_ns`.
        if due_ns != self.armed_ns {
            let value = Timespec {
                tv_sec: (due_ns / 1_000_000_000) as i64,
                tv_nsec: (due_ns % 1_000_000_000) as i64,
            };
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let time = Itimerspec {
                it_interval: zero,
                it_value: value,
            };
            match timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &time) {
                Ok(_) => self.armed_ns = due_ns,
                Err(_) => return Some(Duration::from_nanos(due_ns - now_ns)),
            }
        }
        None
    }
}

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn new(_: &Registry, _: Token) -> Result<Self, Error> {
        Ok(Self {})
    }

    pub(crate) fn timeout(&mut self, now_ns: u64, due_ns: Option<u64>) -> Option<Duration> {
        due_ns.map(|due_ns| Duration::from_nanos(due_ns.saturating_sub(now_ns)))
    }
}
