//! Traces in, reports out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::{fs, path::PathBuf};

use harness::{engine, load};

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("bench-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn both_forms_of_traces_are_read() {
    let csv = file(
        "a.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n\
        2023-11-16 18:17:04.0319600,3180,8",
    );
    let entries = bench::trace::read(&csv, 10).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[1].at_us, entries[1].prompt_tokens), (52_000, 3180));
    let jsonl = file(
        "m.jsonl",
        "{\"timestamp\": 5, \"input_length\": 7, \"output_length\": 3, \"hash_ids\": [1]}\n\
        {\"timestamp\": 3005, \"input_length\": 8, \"output_length\": 4, \"hash_ids\": []}\n",
    );
    let entries = bench::trace::read(&jsonl, 10).unwrap();
    assert_eq!((entries[1].at_us, entries[1].answer_tokens), (3_000_000, 4));
    assert_eq!(bench::trace::read(&jsonl, 1).unwrap().len(), 1);
    let wrong = file(
        "w.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,2\n",
    );
    let text = bench::trace::read(&wrong, 10).unwrap_err().to_string();
    assert!(text.contains(":2: expected"), "{text}");
    assert!(bench::trace::read(&PathBuf::from("/nowhere.csv"), 1).is_err());
    for path in [csv, jsonl, wrong] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_trace_is_replayed_with_its_lengths() {
    let trace = file(
        "r.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.0,100,3\n\
        2023-11-16 18:17:04.0,2000,5\n2023-11-16 18:17:05.0,10,0\n",
    );
    let engine = engine("{}");
    let json = format!(
        r#"{{"mode":{{"kind":"trace","path":"{}","speedup":20}},
        "body":{{"kind":"model","stream":true}}}}"#,
        trace.display()
    );
    let total = load(&engine.addresses()[0], &json).total;
    assert_eq!((total.good, total.tokens), (3, 9));
    assert!(
        (2100..2600).contains(&engine.stats().prompt_tokens),
        "{:?}",
        engine.stats()
    );
    fs::remove_file(trace).unwrap();
}

#[test]
fn every_form_of_a_report_holds_the_figures() {
    let engine = engine("{}");
    let json = r#"{"mode":{"kind":"rate","per_second":100},"duration_s":0.5,"path":"/v1/messages",
        "body":{"kind":"model","stream":true,"tokens":4,"bytes":400},"warmup_s":0.1}"#;
    let report = load(&engine.addresses()[0], json);
    let text = bench::report::text_table(&report);
    let good = format!("good {}", report.total.good);
    assert!(text.contains(&good), "{text}");
    assert!(text.contains("token delay"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    let html = bench::report::html(&report);
    assert!(html.contains(&format!("<td>{}</td>", report.total.good)));
    assert!(html.contains("<svg") && html.contains("<polyline"));
    assert!(!html.contains("NaN") && !html.contains("http://") && !html.contains("<script"));
    let json = serde_json::to_string(&report).unwrap();
    let back: bench::report::Report = serde_json::from_str(&json).unwrap();
    assert_eq!(back.total.tokens, report.total.tokens);
}
