//! Replays the committed fuzz seeds, crashes of the past among them, and drawn operations.

#![expect(clippy::disallowed_methods, reason = "the seeds are files")]

use std::fs;
use std::path::Path;

use engine::fuzzing::engine_ops;
use engine::random::Random;

#[test]
fn engine_ops_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/engine_ops");
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the target has seeds") {
        let mut bytes = fs::read(entry.expect("a readable folder").path()).expect("a seed");
        // Under every configuration there is.
        for variant in 0..=255 {
            if let Some(first) = bytes.first_mut() {
                *first = variant;
            }
            engine_ops(&bytes);
        }
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn engine_ops_drawn() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let length = 50 + random.below(600);
        let bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        let outcome = std::panic::catch_unwind(|| engine_ops(&bytes));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
