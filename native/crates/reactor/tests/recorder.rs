//! The recorder by itself: lines, rotation, drops, errors.
#![allow(
    clippy::unwrap_used,
    reason = "test code outside of the test functions"
)]

mod harness;

use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use harness::{PATIENCE, eventually, path};
use reactor::recorder::{Counts, Line, Recorder, Target};

struct Number(usize);

impl Line for Number {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{{\"n\":{}}}", self.0).as_bytes());
    }
}

fn submit(recorder: &Recorder<Number>, numbers: std::ops::Range<usize>) {
    let mut records: Vec<_> = numbers.map(|n| Box::new(Number(n))).collect();
    recorder.submit(&mut records);
    assert!(records.is_empty());
}

fn lines(path: &std::path::Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_record_is_a_line_in_order_and_stop_flushes() {
    let path = path("log");
    let recorder = Recorder::start(Some(Target::File(path.clone()))).unwrap();
    for turn in 0..1000 {
        submit(&recorder, turn * 10..turn * 10 + 10);
    }
    assert!(recorder.stop(PATIENCE));
    let expected: Vec<_> = (0..10_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(lines(&path), expected);
    assert_eq!(
        recorder.counts(),
        Counts {
            written: 10_000,
            dropped: 0,
            errors: 0
        }
    );
}

#[test]
fn lines_appear_without_a_stop() {
    let path = path("live");
    let recorder = Recorder::start(Some(Target::File(path.clone()))).unwrap();
    for round in 1..4 {
        submit(&recorder, 0..1);
        eventually("the line is written", || lines(&path).len() == round);
    }
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let (path, old) = (path("rotated"), path("rotated-old"));
    let recorder = Recorder::start(Some(Target::File(path.clone()))).unwrap();
    submit(&recorder, 0..3);
    eventually("written", || lines(&path).len() == 3);
    fs::rename(&path, &old).unwrap();
    submit(&recorder, 3..4);
    recorder.reopen().unwrap();
    eventually("reopened", || path.exists());
    eventually("the one in between is in one of them", || {
        recorder.counts().written == 4
    });
    submit(&recorder, 4..6);
    assert!(recorder.stop(PATIENCE));
    assert_eq!(lines(&old).len() + lines(&path).len(), 6);
    assert_eq!(lines(&path).last().unwrap(), "{\"n\":5}");
}

#[test]
fn a_target_can_change_and_be_turned_off() {
    let (one, two) = (path("one"), path("two"));
    let recorder = Recorder::start(None).unwrap();
    submit(&recorder, 0..1);
    recorder
        .set_target(Some(Target::File(one.clone())))
        .unwrap();
    submit(&recorder, 1..2);
    eventually("the first target", || lines(&one) == ["{\"n\":1}"]);
    recorder
        .set_target(Some(Target::File(two.clone())))
        .unwrap();
    submit(&recorder, 2..3);
    eventually("the second target", || lines(&two) == ["{\"n\":2}"]);
    assert!(
        recorder
            .set_target(Some(Target::File("/nonexistent/log".into())))
            .is_err()
    );
    recorder.set_target(None).unwrap();
    submit(&recorder, 3..4);
    assert!(recorder.stop(PATIENCE));
    assert_eq!(
        recorder.counts(),
        Counts {
            written: 2,
            dropped: 0,
            errors: 0
        }
    );
}

#[test]
fn a_full_disk_is_counted_tried_again_and_bounded() {
    let recorder = Recorder::with_capacity(Some(Target::File("/dev/full".into())), 1000).unwrap();
    submit(&recorder, 0..100);
    eventually("an error", || recorder.counts().errors > 0);
    let path = path("recovered");
    submit(&recorder, 100..200);
    recorder
        .set_target(Some(Target::File(path.clone())))
        .unwrap();
    eventually("what waited is written", || lines(&path).len() == 200);
    assert!(recorder.stop(PATIENCE));
}

/// Holds the thread in the middle of a line.
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Line for Gate {
    fn write_json(&self, out: &mut Vec<u8>) {
        let (open, opened) = &*self.0;
        let mut open = open.lock().unwrap();
        while !*open {
            open = opened.wait(open).unwrap();
        }
        out.extend_from_slice(b"{}");
    }
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let target = Target::File(path("full"));
    let recorder = Recorder::with_capacity(Some(target), 100).unwrap();
    let records = |count: usize| {
        let mut records: Vec<_> = (0..count)
            .map(|_| Box::new(Gate(Arc::clone(&gate))))
            .collect();
        recorder.submit(&mut records);
    };
    records(1);
    // The thread takes the first one and is held; the queue is empty again.
    std::thread::sleep(Duration::from_millis(50));
    records(250);
    assert_eq!(recorder.counts().dropped, 150);
    assert!(!recorder.stop(Duration::from_millis(10)), "it is held");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    assert!(recorder.stop(PATIENCE));
    assert_eq!(
        recorder.counts(),
        Counts {
            written: 101,
            dropped: 150,
            errors: 0
        }
    );
}
