//! The recorder: one thread that formats finished exchanges and writes them in batches, so that no
//! worker ever waits for a disk or a pipe.
//!
//! The queue is bounded; what does not fit is dropped and counted. While records flow the thread
//! looks every 20 ms and needs no wake; only the first record after silence, and a queue that
//! fills up fast, wake it. What a write could not take (ENOSPC, EIO) stays and is tried again;
//! meanwhile records wait in the queue.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::exchange::log::Record;

use crate::limits::{LOG_BYTES_MAX, RECORDS_MAX};

/// Something that is one line of a log.
pub trait Line {
    /// Appends the line as JSON; the line break is the recorder's.
    fn write_json(&self, out: &mut Vec<u8>);
}

impl Line for Record {
    fn write_json(&self, out: &mut Vec<u8>) {
        Self::write_json(self, out);
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Appended to this file, which is made if it does not exist (mode 0640).
    File(PathBuf),
}

impl Target {
    /// From the configuration: `-` is standard output.
    pub fn parse(text: &str) -> Self {
        if text == "-" {
            Self::Stdout
        } else {
            Self::File(text.into())
        }
    }

    fn open(&self) -> io::Result<File> {
        match self {
            Self::Stdout => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
            Self::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path),
        }
    }
}

/// A target whose file is open: nothing can fail any more.
#[derive(Debug)]
pub struct Opened {
    target: Option<Target>,
    file: Option<File>,
}

impl Opened {
    /// Opens it; `None` is no log.
    pub fn new(target: Option<Target>) -> io::Result<Self> {
        let file = target.as_ref().map(Target::open).transpose()?;
        Ok(Self { target, file })
    }
}

/// What the recorder has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines written.
    pub written: u64,
    /// Records that found the queue full, or were still unwritten at the end.
    pub dropped: u64,
    /// Writes that failed; they are tried again.
    pub errors: u64,
}

/// How long the thread rests between batches.
const PACE: Duration = Duration::from_millis(20);
/// How long it rests after a failed write.
const RETRY: Duration = Duration::from_millis(200);
/// Records in the queue that end a rest early.
const URGENT: usize = 4096;

struct State<R> {
    queue: Vec<Box<R>>,
    /// Another file (`None` turns the log off) for the records behind this many in the queue.
    next: Option<(usize, Option<File>)>,
    target: Option<Target>,
    /// The thread sleeps until it is woken.
    idle: bool,
    stopping: bool,
    ended: bool,
}

struct Shared<R> {
    state: Mutex<State<R>>,
    wake: Condvar,
    end: Condvar,
    on: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    records_max: usize,
}

/// The handle of the thread.
pub struct Recorder<R> {
    shared: Arc<Shared<R>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<R: Line + Send + 'static> Recorder<R> {
    /// Starts the thread. `None` records nothing until `set_target`.
    pub fn start(target: Option<Target>) -> io::Result<Self> {
        Self::with_capacity(target, RECORDS_MAX)
    }

    /// As `start`, with another bound of the queue.
    pub fn with_capacity(target: Option<Target>, records_max: usize) -> io::Result<Self> {
        let file = target.as_ref().map(Target::open).transpose()?;
        let shared = Arc::new(Shared {
            on: AtomicBool::new(file.is_some()),
            state: Mutex::new(State {
                queue: Vec::new(),
                next: None,
                target,
                idle: false,
                stopping: false,
                ended: false,
            }),
            wake: Condvar::new(),
            end: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            records_max,
        });
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fastproxy-log".into())
            .spawn(move || {
                Writer {
                    shared: &ours,
                    file,
                    lines: Vec::new(),
                    sent: 0,
                    count: 0,
                }
                .run();
                ours.lock().ended = true;
                ours.end.notify_all();
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Takes the records of a turn. Never waits; `records` is empty afterwards.
    pub fn submit(&self, records: &mut Vec<Box<R>>) {
        if !self.shared.on.load(Ordering::Relaxed) {
            return records.clear();
        }
        let mut state = self.shared.lock();
        let before = state.queue.len();
        let room = self.shared.records_max - before;
        let taken = records.len().min(room);
        state.queue.extend(records.drain(..taken));
        let urgent = before < URGENT && state.queue.len() >= URGENT;
        let wake = std::mem::take(&mut state.idle) || urgent;
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
        self.shared
            .dropped
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        records.clear();
    }

    /// Opens the same path anew: the old file was renamed by a log rotation. On an error the old
    /// file stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let target = self.shared.lock().target.clone();
        self.set_target(target)
    }

    /// Writes somewhere else from now on; what was taken before still goes to the old place.
    pub fn set_target(&self, target: Option<Target>) -> io::Result<()> {
        self.switch(Opened::new(target)?);
        Ok(())
    }

    /// As `set_target`, which may fail before.
    pub fn switch(&self, opened: Opened) {
        let Opened { target, file } = opened;
        self.shared.on.store(file.is_some(), Ordering::Relaxed);
        let mut state = self.shared.lock();
        let before = state
            .next
            .take()
            .map_or(state.queue.len(), |(before, _)| before);
        state.next = Some((before, file));
        state.target = target;
        state.idle = false;
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Lines written and lost.
    pub fn counts(&self) -> Counts {
        Counts {
            written: self.shared.written.load(Ordering::Relaxed),
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            errors: self.shared.errors.load(Ordering::Relaxed),
        }
    }

    /// Writes what is there and ends the thread. `false` when it hangs in a write at the end of
    /// the time (a pipe that nobody reads): it is left behind.
    pub fn stop(&self, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.shared.lock();
        state.stopping = true;
        self.shared.wake.notify_one();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.end.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        true
    }
}

impl<R> Drop for Recorder<R> {
    fn drop(&mut self) {
        // After a fork the lock may be held by a thread that does not exist here.
        if let Ok(mut state) = self.shared.state.try_lock() {
            state.stopping = true;
        }
        self.shared.wake.notify_one();
    }
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's own side.
struct Writer<'a, R> {
    shared: &'a Shared<R>,
    file: Option<File>,
    lines: Vec<u8>,
    /// 0 <= sent <= lines.len(): the rest is not written yet.
    sent: usize,
    /// Lines in `lines`.
    count: u64,
}

impl<R: Line> Writer<'_, R> {
    fn run(&mut self) {
        let mut batch = Vec::new();
        let mut rest = None;
        loop {
            let (next, stopping) = self.wait(&mut batch, rest);
            let mut clean = true;
            if let Some((before, file)) = next {
                self.format(batch.drain(..before));
                clean = self.write();
                self.file = file;
            }
            self.format(batch.drain(..));
            clean &= self.write();
            let done = self.lines.is_empty() && self.shared.lock().queue.is_empty();
            if stopping && (done || !clean) {
                let left = self.count + self.shared.lock().queue.len() as u64;
                self.shared.dropped.fetch_add(left, Ordering::Relaxed);
                return;
            }
            rest = Some(if clean { PACE } else { RETRY });
        }
    }

    fn format(&mut self, records: impl Iterator<Item = Box<R>>) {
        for record in records {
            record.write_json(&mut self.lines);
            if self.lines.last() != Some(&b'\n') {
                self.lines.push(b'\n');
            }
            self.count += 1;
        }
    }

    /// Rests, then takes what there is.
    fn wait(
        &mut self,
        batch: &mut Vec<Box<R>>,
        rest: Option<Duration>,
    ) -> (Option<(usize, Option<File>)>, bool) {
        let mut state = self.shared.lock();
        let called = |state: &State<R>| state.next.is_some() || state.stopping;
        if let Some(rest) = rest
            && !called(&state)
            && state.queue.len() < URGENT
        {
            let waited = self.shared.wake.wait_timeout(state, rest);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while state.queue.is_empty() && self.lines.is_empty() && !called(&state) {
            state.idle = true;
            state = self
                .shared
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        if state.next.is_some() || self.lines.len() - self.sent < LOG_BYTES_MAX {
            std::mem::swap(batch, &mut state.queue);
        }
        (state.next.take(), state.stopping)
    }

    /// `false` when something is left that could not be written.
    fn write(&mut self) -> bool {
        if let Some(file) = &mut self.file {
            while self.sent < self.lines.len() {
                match file.write(&self.lines[self.sent..]) {
                    Ok(bytes) if bytes > 0 => self.sent += bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Ok(_) | Err(_) => {
                        self.shared.errors.fetch_add(1, Ordering::Relaxed);
                        return false;
                    }
                }
            }
            self.shared.written.fetch_add(self.count, Ordering::Relaxed);
        }
        self.count = 0;
        self.sent = 0;
        self.lines.clear();
        self.lines.shrink_to(LOG_BYTES_MAX);
        true
    }
}
