//! What belongs to the process as a whole: the limit of descriptors, and forks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one. Returns the soft limit before and after;
/// `u64::MAX` stands for no limit.
pub fn raise_nofile_limit() -> (u64, u64) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    // Refused on systems that cap it below the hard limit: the old one stays.
    let _ = setrlimit(Resource::Nofile, raised);
    (before.current.unwrap_or(u64::MAX), nofile_limit())
}

/// The soft limit of open files.
pub fn nofile_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Process that started the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pid(u32);

impl Pid {
    /// This process.
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// Fails in a child made by `fork`: it has the memory of our threads, but not the threads.
    pub fn check(self) -> Result<(), Forked> {
        let now = std::process::id();
        if now == self.0 {
            Ok(())
        } else {
            Err(Forked {
                started: self.0,
                now,
            })
        }
    }
}

/// The process was forked after the data plane was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The process that started the data plane.
    pub started: u32,
    /// The process that used it.
    pub now: u32,
}

impl std::fmt::Display for Forked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "process {} uses a proxy that process {} started; threads and sockets do not survive a \
             fork: start the proxy in the child",
            self.now, self.started
        )
    }
}

impl std::error::Error for Forked {}
