use proptest::prelude::*;

use super::super::BodyScan;
use super::*;

fn part(head: &str, value: &str) -> String {
    format!("--xx\r\n{head}\r\n\r\n{value}\r\n")
}

fn field(name: &str, value: &str) -> String {
    part(
        &format!("Content-Disposition: form-data; name=\"{name}\""),
        value,
    )
}

fn file(bytes: &str) -> String {
    let head = "content-disposition: form-data; name=\"file\"; filename=\"model.wav\"\r\n\
                Content-Type: audio/wav";
    part(head, bytes)
}

fn scan(body: &[u8], cuts: &[usize]) -> BodyScan {
    let mut scan = BodyScan::new();
    scan.expect_form(b"xx");
    let mut from = 0;
    for &cut in cuts {
        scan.feed(&body[from..cut]);
        from = cut;
    }
    scan.feed(&body[from..]);
    scan
}

fn violation(body: &str) -> Option<ScanViolation> {
    let whole = scan(body.as_bytes(), &[]);
    let bytes: Vec<_> = (1..body.len()).collect();
    let single = scan(body.as_bytes(), &bytes);
    assert_eq!(answers(&whole), answers(&single), "{body}");
    whole.violation()
}

fn answers(scan: &BodyScan) -> impl PartialEq + std::fmt::Debug + use<> {
    let model = scan.model().map(str::to_owned);
    (model, scan.stream(), scan.violation(), scan.finished())
}

#[test]
fn reads_a_transcription() {
    let sound = "RIFF\r\n--x\r\r\n-\r\n--xy--xx\r\n\0model";
    let body = [
        field("model", "whisper-1"),
        field("stream", "True"),
        file(&sound.replace("--xy", "--y")),
        field("language", "en"),
        "--xx--\r\nno part of it".to_owned(),
    ]
    .concat();
    let scan = scan(body.as_bytes(), &[]);
    assert_eq!(scan.violation(), None);
    assert!(scan.finished());
    assert_eq!(
        (scan.model(), scan.stream()),
        (Some("whisper-1"), Some(true))
    );
}

#[test]
fn the_model_is_known_as_soon_as_its_part_ends() {
    let text = field("model", "a\r\n-b");
    let mut scan = scan(text.as_bytes(), &[]);
    assert_eq!(scan.model(), None);
    scan.feed(b"--xx");
    assert_eq!(scan.model(), Some("a\r\n-b"));
    assert!(!scan.finished());
}

#[test]
fn values_are_read_however_the_part_is_headed() {
    for (head, model) in [
        ("Content-Disposition:form-data;name=model", Some("m")),
        (
            "CONTENT-DISPOSITION: Form-Data; Name=\"model\"; x=y;",
            Some("m"),
        ),
        (
            "X: y\r\nContent-Disposition: form-data; name=\"model\"",
            Some("m"),
        ),
        ("Content-Disposition: form-data; name=\"Model\"", None),
        ("Content-Disposition: form-data; name=\"models\"", None),
        (
            "Content-Disposition: form-data; name=\"x\"; filename=\"C:\\\\model\"",
            None,
        ),
        ("Content-Disposition: attachment; filename=\"model\"", None),
        ("Content-Type: text/plain", None),
        (
            "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: 8bit",
            Some("m"),
        ),
    ] {
        let body = format!("{}--xx--", part(head, "m"));
        assert_eq!(violation(&body), None, "{head}");
        assert_eq!(scan(body.as_bytes(), &[]).model(), model, "{head}");
    }
    assert_eq!(violation("--xx\r\n\r\nnameless\r\n--xx--"), None);
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for head in [
        "Content-Disposition: form-data; name=\"x\"; name=\"model\"",
        "Content-Disposition: form-data; name=\"x\"; name*=utf-8''model",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data; filename=\"a\\\"; name=\\\"model\"",
        "Content-Disposition: form-data; name=\"mo\\del\"",
        "Content-Disposition: form-data;\r\n name=\"model\"",
        "Content-Disposition: form-data; name=\"model\"\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: attachment; name=\"model\"",
        "Content-Disposition: form-data; name =\"model\"",
        "Content-Disposition: form-data; name=\"model\"x",
        "Content-Disposition: form-data; name=\"model",
        "Content-Disposition : form-data; name=\"model\"",
        "Content-Disposition: form-data; name=\"x\"\nContent-Disposition: form-data; name=model",
        "Content-Disposition: form-data; name=\"x\"\rContent-Disposition: form-data; name=model",
        "no colon",
    ] {
        let body = format!("{}--xx--", part(head, "m"));
        assert_eq!(
            violation(&body),
            Some(ScanViolation::AmbiguousForm),
            "{head}"
        );
    }
    let long = format!("X: {}", "x".repeat(PART_HEAD_BYTES_MAX));
    for body in [
        part(&long, "m"),
        format!("{}--xx \r\n", field("x", "")),
        format!("{}--xxx\r\n", field("x", "")),
        format!("{}--xx-\r\n", field("x", "")),
        format!("{}--xx\n", field("x", "")),
        // A part without the line that its value would end in.
        "--xx\r\nX: y\r\n\r\n--xx--".to_owned(),
        "--xx\r\n\r\n--xx--".to_owned(),
    ] {
        let found = violation(&body).expect("a violation");
        assert_eq!(found, ScanViolation::AmbiguousForm, "{body}");
        assert!(found.is_ambiguous());
    }
}

#[test]
fn other_faults_are_told() {
    let twice = [field("model", "a"), file("x"), field("model", "a")].concat();
    let named_file = part(
        "Content-Disposition: form-data; name=\"model\"; filename=\"m\"",
        "",
    );
    let long = |n| [field("model", &"m".repeat(n)), "--xx--".to_owned()].concat();
    for (body, expected) in [
        (twice, Some(ScanViolation::DuplicateModel)),
        (
            [field("stream", "1"), field("stream", "")].concat(),
            Some(ScanViolation::DuplicateStream),
        ),
        (named_file, Some(ScanViolation::ModelNotString)),
        (long(MODEL_BYTES_MAX), None),
        (long(MODEL_BYTES_MAX + 1), Some(ScanViolation::ModelTooLong)),
        (long(9000), Some(ScanViolation::ModelTooLong)),
        (
            format!("\r\n{}", field("x", "")),
            Some(ScanViolation::NotForm),
        ),
        ("preamble".to_owned(), Some(ScanViolation::NotForm)),
        ("--yy\r\n".to_owned(), Some(ScanViolation::NotForm)),
    ] {
        assert_eq!(violation(&body), expected, "{body}");
    }
    let mut latin = field("model", "m").into_bytes();
    let at = latin.len() - 3;
    latin[at] = 0xff;
    latin.extend_from_slice(b"--xx--");
    let scan = scan(&latin, &[]);
    assert_eq!(scan.violation(), Some(ScanViolation::ModelNotString));
}

#[test]
fn flags_have_many_spellings() {
    for (text, said) in [
        ("true", Some(true)),
        ("True", Some(true)),
        ("1", Some(true)),
        ("false", Some(false)),
        ("off", Some(false)),
        ("", None),
        ("maybe", None),
    ] {
        let body = format!("{}--xx--", field("stream", text));
        assert_eq!(scan(body.as_bytes(), &[]).stream(), said, "{text}");
    }
}

#[test]
fn boundaries_come_from_the_content_type() {
    let longest = "b".repeat(70);
    for (value, found) in [
        ("multipart/form-data; boundary=xx", Some("xx")),
        (
            "Multipart/Form-Data;charset=UTF-8;Boundary=\"a b=?\"",
            Some("a b=?"),
        ),
        (
            "multipart/form-data; boundary=----WebKitAb3",
            Some("----WebKitAb3"),
        ),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"\"", None),
        ("multipart/form-data; boundary=\"a \"", None),
        ("multipart/form-data; boundary=\"a\\\"b\"", None),
        ("multipart/form-data; boundary=a; boundary=b", None),
        ("multipart/form-data; charset=utf-16; boundary=a", None),
        ("multipart/form-data; charset*=utf-16''x; boundary=a", None),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
    ] {
        let found = found.map(|text| text.as_bytes().to_vec());
        assert_eq!(boundary(value.as_bytes()), found, "{value}");
    }
    let of = |text: &str| boundary(format!("multipart/form-data; boundary={text}").as_bytes());
    assert!(of(&longest).is_some() && of(&format!("{longest}b")).is_none());
}

/// Pieces that a form is made of, and some that look like it.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(field("model", "m")),
        Just(field("stream", "true")),
        Just(file("\r\n--x\r\r\n")),
        Just("--xx\r\n".to_owned()),
        Just("--xx--".to_owned()),
        Just("\r\n--xx".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just("Content-Disposition: form-data; name=\"model\"\r\n".to_owned()),
        "[-x\r\n;=\"a]{0,6}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_answers(
        bytes in pieces(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = scan(&bytes, &[]);
        prop_assert_eq!(answers(&scan(&bytes, &cuts)), answers(&whole));
        let single: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(answers(&scan(&bytes, &single)), answers(&whole));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), started in any::<bool>()) {
        let mut scan = scan(if started { &b"--xx\r\n"[..] } else { b"" }, &[]);
        scan.feed(&bytes);
        let _ = boundary(&bytes);
    }
}
