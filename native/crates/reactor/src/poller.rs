//! The poller: which token means what, and registration of descriptors.
//!
//! Edge-triggered throughout (mio's only mode): whoever is told must read until a short read or
//! `EAGAIN`, or remember that it did not. A closed descriptor leaves the poller by itself, because
//! none is ever duplicated; an event for it that was already fetched is refused by generation.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::limits;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A connection: slot and the low 30 bits of its generation.
    Conn(u32, u32),
    /// A socket that only finishes its last answer: slot and generation.
    Closing(u32, u32),
    /// A listener by serial number.
    Listener(u32),
    /// The mailbox.
    Waker,
    /// The timer descriptor of the inline driver.
    Timer,
    /// One of several sockets of a dial: slot and generation, which is never 0.
    Attempt(u32, u32),
}

/// Bits of a generation that fit a token. Two tenants of a slot 2^30 apart in one batch of events
/// do not exist.
pub(crate) const GENERATION_MASK: u32 = (1 << 30) - 1;

impl Key {
    fn token(self) -> Token {
        let pack = |kind: usize, generation: u32, index: u32| {
            Token(kind << 62 | ((generation & GENERATION_MASK) as usize) << 32 | index as usize)
        };
        match self {
            Self::Conn(index, generation) => pack(0, generation, index),
            Self::Closing(index, generation) => pack(1, generation, index),
            Self::Listener(serial) => pack(2, 0, serial),
            Self::Waker => pack(3, 0, 0),
            Self::Timer => pack(3, 0, 1),
            Self::Attempt(index, generation) => pack(3, generation, index),
        }
    }

    pub(crate) fn of(token: Token) -> Self {
        let index = token.0 as u32;
        let generation = (token.0 >> 32) as u32 & GENERATION_MASK;
        match token.0 >> 62 {
            0 => Self::Conn(index, generation),
            1 => Self::Closing(index, generation),
            2 => Self::Listener(index),
            _ if generation != 0 => Self::Attempt(index, generation),
            _ if index == 0 => Self::Waker,
            _ => Self::Timer,
        }
    }
}

/// What a descriptor is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Bytes and the peer's FIN.
    Read,
    /// Room to write, too.
    ReadWrite,
}

impl Want {
    fn interest(self) -> Interest {
        match self {
            Self::Read => Interest::READABLE,
            Self::ReadWrite => Interest::READABLE | Interest::WRITABLE,
        }
    }
}

/// One poller of one worker (or of the acceptor's thread).
pub(crate) struct Poller {
    poll: Poll,
    pub(crate) events: Events,
    waker: Arc<Waker>,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), Key::Waker.token())?);
        Ok(Self {
            poll,
            events: Events::with_capacity(limits::EVENTS_MAX),
            waker,
        })
    }

    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    pub(crate) fn fileno(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Waits at most `timeout_ns` (`None` = for ever); rounded up to milliseconds, so that a
    /// deadline is never answered by spinning towards it. A moment that is very near is slept
    /// for instead, and what came meanwhile is taken together.
    pub(crate) fn wait(&mut self, timeout_ns: Option<u64>) -> io::Result<()> {
        let timeout_ns = match timeout_ns {
            Some(near_ns @ 1..=limits::NAP_NS_MAX) => {
                std::thread::sleep(Duration::from_nanos(near_ns));
                Some(0)
            }
            other => other,
        };
        match self
            .poll
            .poll(&mut self.events, timeout_ns.map(Duration::from_nanos))
        {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            other => other,
        }
    }

    pub(crate) fn add(&self, fd: &impl AsFd, key: Key, want: Want) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), key.token(), want.interest())
    }

    /// Also reports at once what is already ready.
    pub(crate) fn change(&self, fd: &impl AsFd, key: Key, want: Want) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.poll
            .registry()
            .reregister(&mut SourceFd(&fd), key.token(), want.interest())
    }

    pub(crate) fn remove(&self, fd: &impl AsFd) -> io::Result<()> {
        let fd = fd.as_fd().as_raw_fd();
        self.poll.registry().deregister(&mut SourceFd(&fd))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_what_they_were() {
        let keys = [
            Key::Conn(0, 0),
            Key::Conn(u32::MAX, GENERATION_MASK),
            Key::Closing(7, 9),
            Key::Listener(u32::MAX),
            Key::Waker,
            Key::Timer,
            Key::Attempt(0, 1),
            Key::Attempt(u32::MAX, GENERATION_MASK),
        ];
        for key in keys {
            assert_eq!(Key::of(key.token()), key);
        }
    }
}
