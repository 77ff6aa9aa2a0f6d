//! A metric that nothing writes reads as zero for ever, which looks like good news. So each row of
//! the table, and each value of the labels that we choose ourselves, must be written by the engine.

#![expect(
    clippy::disallowed_methods,
    reason = "the test reads the sources that it judges"
)]

use std::path::{Path, PathBuf};

use engine::metrics::Metric;

/// Calls that write a cell, or a value that only the shared state knows.
const WRITES: [&str; 8] = [
    "inc(",
    "inc_at(",
    "add(",
    "sub(",
    "set(",
    "observe(",
    "observe_n(",
    "put(",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// All code of the crate without tests, comments and spaces.
fn code() -> String {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    let mut code = String::new();
    for path in found {
        if path.ends_with("tests.rs") || path.ends_with("metrics/table.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or(""));
        code.extend(lines.flat_map(str::split_whitespace));
        code.push(' ');
    }
    code
}

fn is_written(code: &str, metric: Metric) -> bool {
    let writes = |write: &str| {
        let call = format!("{write}Metric::{metric:?}");
        code.match_indices(&call)
            .any(|(at, _)| code[at + call.len()..].starts_with([',', ')']))
    };
    WRITES.iter().any(|write| writes(write))
}

#[test]
fn every_row_is_written() {
    let code = code();
    let dead: Vec<_> = Metric::ALL
        .iter()
        .filter(|metric| !is_written(&code, **metric))
        .collect();
    assert!(dead.is_empty(), "nothing writes {dead:?}");
}

#[test]
fn every_reason_is_given() {
    let code = code();
    let reasons = [
        "Shed::Full",
        "Shed::Hopeless",
        "Shed::MaxWait",
        "Shed::NoEndpoint",
        "Timeout::Connect",
        "Timeout::Head",
        "Timeout::FirstToken",
        "Timeout::InterToken",
        "Timeout::Total",
    ];
    let given = |reason: &&&str| {
        code.match_indices(**reason)
            .any(|(at, _)| code[at + reason.len()..].starts_with([',', ')', 'a']))
    };
    let labels = |metric: Metric| metric.row().label.map_or(0, |(_, values)| values.len());
    assert_eq!(
        reasons.len(),
        labels(Metric::Sheds) + labels(Metric::Timeouts)
    );
    let dead: Vec<_> = reasons.iter().filter(|reason| !given(reason)).collect();
    assert!(dead.is_empty(), "nothing gives {dead:?}");
}
