use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn scan(body: &str) -> BodyScan {
    let mut scan = BodyScan::new();
    scan.feed(body.as_bytes());
    scan
}

fn violation(body: &str) -> Option<ScanViolation> {
    scan(body).violation()
}

/// Everything that can be asked, in one comparable value.
fn answers(scan: &BodyScan) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        scan.model().map(str::to_owned),
        scan.service_tier().map(str::to_owned),
        (scan.stream(), scan.max_tokens(), scan.include_usage()),
        scan.store(),
        scan.prompt_bytes(),
        scan.violation(),
        scan.finished(),
    )
}

#[test]
fn whether_to_store_is_said_once_or_not_at_all() {
    for (body, said) in [
        (r#"{"store":false}"#, Some(false)),
        (r#"{"st\u006fre":true}"#, Some(true)),
        (r#"{"x":{"store":false},"store":[false]}"#, None),
        (r#"{"store":null}"#, None),
        (r#"{"store":false,"store":true}"#, None),
        (r#"{"store":false,"store":false,"store":false}"#, None),
        ("{}", None),
    ] {
        assert_eq!(scan(body).store(), said, "{body}");
    }
}

#[test]
fn reads_a_chat_request() {
    let scan = scan(
        r#"{"messages":[{"role":"user","content":"Hello \"you\""}],"model":"llama-3/8b",
           "stream":true,"stream_options":{"x":{"include_usage":false},"include_usage":true},
           "max_tokens":100,"max_completion_tokens":7,"service_tier":"flex","temperature":0.7e-1}"#,
    );
    assert_eq!(scan.violation(), None);
    assert!(scan.finished());
    assert_eq!(scan.model(), Some("llama-3/8b"));
    assert_eq!(scan.stream(), Some(true));
    assert_eq!(scan.max_tokens(), Some(7));
    assert_eq!(scan.include_usage(), Some(true));
    assert_eq!(scan.service_tier(), Some("flex"));
    assert_eq!(
        scan.prompt_bytes(),
        "user".len() as u64 + r#"Hello \"you\""#.len() as u64
    );
}

#[test]
fn knows_the_model_as_soon_as_its_quote_closes() {
    let mut scan = BodyScan::new();
    scan.feed(br#"{"model":"abc"#);
    assert_eq!(scan.model(), None);
    scan.feed(b"\"");
    assert_eq!(scan.model(), Some("abc"));
    assert!(!scan.finished());
}

#[test]
fn looks_at_the_top_level_only() {
    let scan = scan(r#"{"a":{"model":"inner","stream":true},"b":[{"model":1}],"model":"outer"}"#);
    assert_eq!(
        (scan.model(), scan.stream(), scan.violation()),
        (Some("outer"), None, None)
    );
}

#[test]
fn decodes_escapes_in_values() {
    let scan = scan(r#"{"model":"a\/\u0062\n\ud83d\ude00\\"}"#);
    assert_eq!(scan.model(), Some("a/b\n😀\\"));
    for bad in [
        r"\ud83d",
        r"\ud83dx",
        r"\ud83d\ud83d",
        r"\ude00",
        r"\ud83d\n",
    ] {
        let body = format!(r#"{{"model":"{bad}"}}"#);
        assert_eq!(
            violation(&body),
            Some(ScanViolation::ModelNotString),
            "{bad}"
        );
    }
    let mut scan = BodyScan::new();
    scan.feed(b"{\"model\":\"\xff\"}");
    assert_eq!(scan.violation(), Some(ScanViolation::ModelNotString));
}

#[test]
fn refuses_what_two_parsers_may_read_differently() {
    use ScanViolation as V;
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(MODEL_BYTES_MAX + 1));
    let longest = format!(r#"{{"model":"{}"}}"#, "m".repeat(MODEL_BYTES_MAX));
    let cases = [
        (r#"{"model":"a","model":"b"}"#, Some(V::DuplicateModel)),
        (
            r#"{"model":"a","mod\u0065l":"b"}"#,
            Some(V::EscapedModelKey),
        ),
        (r#"{"\u006dodel":"b"}"#, Some(V::EscapedModelKey)),
        (
            r#"{"stream":false,"str\u0065am":true}"#,
            Some(V::DuplicateStream),
        ),
        (r#"{"model":7}"#, Some(V::ModelNotString)),
        (r#"{"model":null}"#, Some(V::ModelNotString)),
        (r#"{"model":{"model":"a"}}"#, Some(V::ModelNotString)),
        (long.as_str(), Some(V::ModelTooLong)),
        (longest.as_str(), None),
        (r#"[{"model":"a"}]"#, Some(V::NotJson)),
        ("--boundary", Some(V::NotJson)),
        ("\u{feff}{}", Some(V::NotJson)),
        (r#"{"model":"a"}{"model":"b"}"#, Some(V::Malformed)),
        (r#"{"x":NaN,"model":"a"}"#, Some(V::Malformed)),
        (r#"{'model':"a"}"#, Some(V::Malformed)),
        (r#"{"Model":"a","MODEL":"b"}"#, None),
        (" \t\r\n{} \t\r\n", None),
        ("", None),
    ];
    for (body, want) in cases {
        assert_eq!(violation(body), want, "{body}");
    }
    assert!(V::DuplicateModel.is_ambiguous() && !V::Malformed.is_ambiguous());
}

#[test]
fn grammar_faults_are_malformed() {
    for body in [
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":{]",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":+1}",
        "{\"a\":tru}",
        "{\"a\":truE}",
        "{\"a\":nulll}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1 2}",
        "{\"a\":1}}",
        "{} x",
        "{\"a\":--1}",
        "{\"a\":1e+}",
    ] {
        assert_eq!(violation(body), Some(ScanViolation::Malformed), "{body}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(levels - 1),
            "]".repeat(levels - 1)
        )
    };
    let scan_of = scan(&nested(128));
    assert_eq!((scan_of.violation(), scan_of.finished()), (None, true));
    assert_eq!(violation(&nested(129)), Some(ScanViolation::TooDeep));
}

#[test]
fn counts_only_what_fits() {
    for (value, want) in [
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("-1", None),
        ("1.0", None),
        ("1e3", None),
        ("\"7\"", None),
        ("[7]", None),
        ("null", None),
    ] {
        assert_eq!(
            scan(&format!(r#"{{"max_tokens":{value}}}"#)).max_tokens(),
            want,
            "{value}"
        );
    }
    assert_eq!(
        scan(r#"{"max_tokens":5,"max_tokens":null}"#).max_tokens(),
        None
    );
    assert_eq!(
        scan(r#"{"max_output_tokens":3,"max_tokens":9}"#).max_tokens(),
        Some(3)
    );
}

#[test]
fn is_reusable() {
    let mut scan = scan(r#"{"model":"a","stream":true,"messages":["xyz"]"#);
    scan.clear();
    assert_eq!(answers(&scan), answers(&BodyScan::new()));
    scan.feed(br#"{"model":"b"}"#);
    assert_eq!(
        (scan.model(), scan.finished(), scan.violation()),
        (Some("b"), true, None)
    );
}

/// Any JSON value, small.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[\"\\\\/\n\u{1}a😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(vec![
            "model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens",
            "service_tier", "stream_options", "include_usage", "messages", "input", "prompt",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ]
}

/// An object of which most have a string `model`.
fn body() -> impl Strategy<Value = Value> {
    let options = prop_oneof![
        value(),
        any::<bool>().prop_map(|b| json!({"include_usage": b}))
    ];
    (
        prop::collection::btree_map(key(), value(), 0..8),
        prop::option::of("\\PC{0,20}"),
        options,
    )
        .prop_map(|(map, model, options)| {
            let mut map: serde_json::Map<_, _> = map.into_iter().collect();
            map.remove("model");
            if let Some(model) = model {
                map.insert("model".to_owned(), model.into());
            }
            map.insert("stream_options".to_owned(), options);
            Value::Object(map)
        })
}

/// Bytes that mean something to the grammar.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"\\n\"",
    "1",
    "0",
    "-",
    ".",
    "e",
    "true",
    "null",
    " ",
    "{\"b\":1}",
    "[1,2]",
    "\"c\":2",
    "\"d\":",
];

/// Bytes of strings in a value, as serde_json writes them.
fn string_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => serde_json::to_string(text).unwrap().len() as u64 - 2,
        Value::Array(items) => items.iter().map(string_bytes).sum(),
        Value::Object(map) => map.values().map(string_bytes).sum(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_serde_json(body in body(), pretty in any::<bool>()) {
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let scan = scan(&write(&body).unwrap());
        prop_assert_eq!(scan.violation(), None);
        prop_assert!(scan.finished());
        prop_assert_eq!(scan.model(), body["model"].as_str());
        prop_assert_eq!(scan.stream(), body["stream"].as_bool());
        prop_assert_eq!(scan.include_usage(), body["stream_options"]["include_usage"].as_bool());
        let limits = ["max_completion_tokens", "max_output_tokens", "max_tokens"];
        prop_assert_eq!(scan.max_tokens(), limits.iter().find_map(|key| body[key].as_u64()));
        let content = ["messages", "prompt", "input"];
        let bytes: u64 = content.iter().map(|key| string_bytes(&body[key])).sum();
        prop_assert_eq!(scan.prompt_bytes(), bytes);
    }

    /// Bytes that mean something to the grammar, in any order: we and serde_json agree on what is
    /// an object. (Within strings we are laxer: no bytes here that only strings forbid.)
    #[test]
    fn accepts_exactly_what_serde_json_accepts(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..14),
    ) {
        let text = format!("{{{}", tokens.concat());
        let valid = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let scan = scan(&text);
        prop_assert_eq!(scan.finished() && scan.violation().is_none(), valid, "{}", text);
    }

    #[test]
    fn any_chunking_gives_the_same_answer(
        body in body(),
        garble in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = serde_json::to_vec(&body).unwrap();
        if let Some((at, byte)) = garble {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut whole = BodyScan::new();
        whole.feed(&bytes);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut parts = BodyScan::new();
        for pair in cuts.windows(2) {
            parts.feed(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(answers(&parts), answers(&whole));
        let mut single = BodyScan::new();
        bytes.chunks(1).for_each(|byte| single.feed(byte));
        prop_assert_eq!(answers(&single), answers(&whole));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), object in any::<bool>()) {
        let mut scan = BodyScan::new();
        scan.feed(if object { b"{\"model\":" } else { b"" });
        scan.feed(&bytes);
    }
}
