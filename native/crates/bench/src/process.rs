//! CPU and memory of other processes, from `/proc`: what the load costs whom.
//!
//! A process that has gone, or a system without `/proc`, gives `None`, never an error: the load
//! goes on and the report has one figure less.

use std::fs;

/// `USER_HZ`: the unit of `/proc/PID/stat`, 100 on every Linux that Rust runs on.
const TICK_US: u64 = 10_000;

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    /// CPU time of its living threads as the scheduler counts it, in ns; finer than the ticks.
    pub(crate) scheduled_ns: u64,
    pub(crate) rss_bytes: u64,
}

/// Reads one process.
pub(crate) fn sample(pid: u32) -> Option<Sample> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut sample = parse_stat(&stat)?;
    sample.scheduled_ns = scheduled_ns(pid);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    sample.rss_bytes = parse_rss(&status).unwrap_or(0);
    Some(sample)
}

/// The name of a process, for the tables.
pub(crate) fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

fn parse_stat(stat: &str) -> Option<Sample> {
    // The name may hold blanks and brackets: count the fields after its last bracket.
    let fields = &stat[stat.rfind(')')? + 1..];
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let (user_us, system_us) = (user * TICK_US, system * TICK_US);
    Some(Sample {
        user_us,
        system_us,
        ..Sample::default()
    })
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn scheduled_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(read).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 1 0 0 0 12 34 0 0 20 0 1 0 5 6 7";
        let sample = parse_stat(stat).unwrap();
        assert_eq!((sample.user_us, sample.system_us), (120_000, 340_000));
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_cannot() {
        assert!(sample(std::process::id()).unwrap().rss_bytes > 0);
        assert_eq!(sample(u32::MAX), None);
    }
}
