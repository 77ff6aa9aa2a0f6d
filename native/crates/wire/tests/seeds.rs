//! Replays the committed fuzz seeds, crashes of the past among them, as plain tests.

#![expect(clippy::disallowed_methods, reason = "the seeds are files")]

use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let entries = fs::read_dir(&folder).expect("a target has seeds");
    let mut count = 0;
    for entry in entries {
        let bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable seed");
        // Every steering byte, so that a seed meets every chunking and every set of limits.
        for steering in 0..=255 {
            let mut steered = bytes.clone();
            if let Some(first) = steered.first_mut().filter(|_| target != "proxy_protocol") {
                *first = steering;
            }
            body(&steered);
        }
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

#[test]
fn h1_request() {
    replay("h1_request", wire::fuzzing::h1_request);
}

#[test]
fn h1_response() {
    replay("h1_response", wire::fuzzing::h1_response);
}

#[test]
fn chunked() {
    replay("chunked", wire::fuzzing::chunked);
}

#[test]
fn sse() {
    replay("sse", wire::fuzzing::sse);
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol", wire::fuzzing::proxy_protocol);
}

#[test]
fn hpack() {
    replay("hpack", wire::fuzzing::hpack);
}

#[test]
fn h2_server() {
    replay("h2_server", wire::fuzzing::h2_server);
}

#[test]
fn h2_client() {
    replay("h2_client", wire::fuzzing::h2_client);
}

#[test]
fn reparse() {
    replay("reparse", wire::fuzzing::reparse);
}
