//! Reads request traces: when requests came and how long they were. Nothing of a prompt is in them.
//!
//! Two forms are known by the name of the file: `.csv` with the columns TIMESTAMP, ContextTokens,
//! GeneratedTokens (Azure LLM inference traces), and `.jsonl` with `timestamp` in ms,
//! `input_length` and `output_length` (Mooncake).

use std::{fs, path::Path};

use serde::Deserialize;

use crate::Error;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the first request of the trace, microseconds.
    pub at_us: u64,
    /// Length of the prompt.
    pub prompt_tokens: u32,
    /// Length of the answer.
    pub answer_tokens: u32,
}

/// Reads the first `limit` requests of a trace, in order of time.
pub fn read(path: &Path, limit: usize) -> Result<Vec<Entry>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |line: usize, why: &str| Error::Trace {
        path: path.to_owned(),
        line,
        why: why.to_owned(),
    };
    let csv = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let parse = if csv { csv_line } else { json_line };
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate().skip(usize::from(csv)) {
        if line.trim().is_empty() {
            continue;
        }
        if entries.len() >= limit {
            break;
        }
        entries.push(parse(line).map_err(|why| wrong(index + 1, why))?);
    }
    if entries.is_empty() {
        return Err(wrong(1, "the trace holds no request"));
    }
    entries.sort_by_key(|entry| entry.at_us);
    let first_us = entries[0].at_us;
    for entry in &mut entries {
        entry.at_us -= first_us;
    }
    Ok(entries)
}

#[derive(Deserialize)]
struct Line {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
}

fn json_line(line: &str) -> Result<Entry, &'static str> {
    let line: Line = serde_json::from_str(line)
        .map_err(|_| "expected a JSON object with timestamp, input_length and output_length")?;
    Ok(Entry {
        at_us: (line.timestamp * 1000.0) as u64,
        prompt_tokens: line.input_length,
        answer_tokens: line.output_length,
    })
}

fn csv_line(line: &str) -> Result<Entry, &'static str> {
    const WANTED: &str = "expected `YYYY-MM-DD HH:MM:SS.FRACTION,ContextTokens,GeneratedTokens`";
    let mut columns = line.split(',');
    let at_us = columns.next().and_then(time_us).ok_or(WANTED)?;
    let mut number = || columns.next()?.trim().parse().ok();
    let prompt_tokens = number().ok_or(WANTED)?;
    let answer_tokens = number().ok_or(WANTED)?;
    Ok(Entry {
        at_us,
        prompt_tokens,
        answer_tokens,
    })
}

/// Microseconds since 1970 of `2023-11-16 18:17:03.9799600`.
fn time_us(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.trim_end_matches('Z');
    let time = time.split('+').next()?;
    let mut parts = time.splitn(3, ':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    if !(1..=12).contains(&month) || !(1970..10_000).contains(&year) {
        return None;
    }
    // Days from the civil calendar; March is the first month, so that leap days come last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let days = 365 * shifted + shifted / 4 - shifted / 100
        + shifted / 400
        + (153 * month_from_march + 2) / 5
        + day
        - 1;
    let days = days.checked_sub(719_468)?;
    let whole_s = days * 86_400 + hours * 3600 + minutes * 60;
    Some(whole_s * 1_000_000 + (seconds * 1_000_000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_count_from_1970() {
        assert_eq!(time_us("1970-01-01 00:00:01.5"), Some(1_500_000));
        assert_eq!(
            time_us("2023-11-16 18:17:03.9799600"),
            Some(1_700_158_623_979_960)
        );
        assert_eq!(time_us("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000));
        assert_eq!(time_us("yesterday"), None);
    }
}
