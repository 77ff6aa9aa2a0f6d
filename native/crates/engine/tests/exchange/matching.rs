//! Which route: by path, header and the body's `model`.

use serde_json::json;

use crate::bench::{Bench, body, chat, field, get, ok, post, status};

#[test]
fn a_model_is_found_wherever_the_body_is_cut() {
    let request = chat(
        "llama-3",
        r#","messages":[{"role":"user","content":"model: \"x\""}]"#,
    );
    for cut in 1..request.len() {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, &request[..cut]);
        t.send(client, &request[cut..]);
        let upstream = t.upstream();
        let sent = t.got(upstream);
        assert_eq!(body(&sent), body(&request), "cut at {cut}");
        t.send(upstream, ok("done"));
        assert_eq!(body(&t.got(client)), "done");
        assert!(t.is_quiet());
    }
}

#[test]
fn ambiguous_and_unknown_models_are_refused_before_any_engine_is_touched() {
    for (request, expected, code) in [
        (chat("llama-3", r#","model":"org/name""#), 400, "model"),
        (
            post("/v1/chat/completions", "", r#"{"mod\u0065l":"llama-3"}"#),
            400,
            "model",
        ),
        (chat("llama-3", r#","stream":true,"stream":false"#), 400, ""),
        (chat("gpt", ""), 404, "model_not_found"),
        (
            post("/v1/chat/completions", "", r#"{"prompt":"x"}"#),
            400,
            "model",
        ),
        (post("/v1/chat/completions", "", "[1]"), 400, ""),
        (post("/v1/chat/completions", "", r#"{"model":7}"#), 400, ""),
    ] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        t.send(client, &request);
        let answer = t.got(client);
        assert_eq!(status(&answer), expected, "{request}: {answer}");
        assert!(body(&answer).contains(code), "{answer}");
        assert!(body(&answer).starts_with(r#"{"error":"#), "{answer}");
        assert_eq!(t.dial(), None);
        assert!(!t.record().flag.is_empty());
        assert!(t.is_quiet());
    }
}

/// A form as OpenAI's SDK sends it, cut where its file begins.
fn form(model: &str, more: &str) -> (String, String) {
    let begin = format!(
        "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n{more}--b0\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    let file = format!("{}\r\n--b0--\r\n", "\r\n--sound\0".repeat(2000));
    let head = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: front\r\n\
         content-type: multipart/form-data; boundary=b0\r\ncontent-length: {}\r\n\r\n",
        begin.len() + file.len()
    );
    (head + &begin, file)
}

#[test]
fn a_model_is_found_in_a_form_before_its_file_has_come() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let (begin, file) = form("org/name", "");
    for byte in begin.as_bytes() {
        t.send(client, [*byte]);
    }
    assert_eq!(t.dial().expect("a dial").1, 9003, "routed by its model");

    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, &begin);
    let upstream = t.upstream();
    t.send(client, &file);
    let sent = t.got(upstream);
    assert_eq!(body(&sent), format!("{}{file}", body(&begin)));
    t.send(upstream, ok("said"));
    assert_eq!(body(&t.got(client)), "said");
    assert_eq!(t.record().model.as_deref(), Some("org/name"));
    assert!(t.is_quiet());
}

#[test]
fn ambiguous_and_unknown_models_of_forms_are_refused() {
    let again = "--b0\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\norg/name\r\n";
    for (model, more, expected, code) in [
        ("llama-3", again, 400, "given twice"),
        ("llama-3", "--b0 \r\n", 400, "more than one way"),
        ("gpt", "", 404, "model_not_found"),
    ] {
        let mut t = Bench::new(|_| {});
        let client = t.client();
        let (begin, file) = form(model, more);
        t.send(client, begin + &file);
        let answer = t.got(client);
        assert_eq!((status(&answer), t.dial()), (expected, None), "{answer}");
        assert!(body(&answer).contains(code), "{answer}");
        assert!(t.is_quiet());
    }
}

#[test]
fn a_second_model_behind_a_dispatched_part_ends_the_exchange() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    let request = chat("llama-3", r#","pad":"........","model":"org/name""#);
    let cut = request.find("....").expect("padding");
    t.send(client, &request[..cut]);
    let upstream = t.upstream();
    assert!(t.got(upstream).contains("llama-3"));
    t.send(client, &request[cut..]);
    assert_eq!(status(&t.got(client)), 400);
    assert!(
        t.ended(upstream).is_some(),
        "the engine never saw a whole request"
    );
    assert!(t.is_quiet());
}

#[test]
fn what_no_route_takes_meets_the_default_pool_or_404() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/v1/anything", ""));
    assert_eq!(status(&t.got(client)), 404);

    let mut t = Bench::new(|p| p["default_pool"] = json!(1));
    let client = t.client();
    t.send(client, chat("gpt", ""));
    assert_eq!(t.dial().expect("a dial").1, 9003);
}

#[test]
fn a_model_in_the_path_is_decoded_once_and_forwarded_as_it_came() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/v1/models/org%2Fname", ""));
    let (_, port) = t.dial().expect("a dial");
    assert_eq!(port, 9003);

    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/v1/models/org%2Fname", ""));
    let upstream = t.upstream();
    assert!(
        t.got(upstream)
            .starts_with("GET /v1/models/org%2Fname HTTP/1.1\r\n")
    );
}

#[test]
fn lists_of_models_over_several_pools_are_asked_for() {
    let mut t = Bench::new(|_| {});
    let client = t.client();
    t.send(client, get("/v1/models", "authorization: Bearer x\r\n"));
    assert_eq!(t.asks.len(), 1);
    t.answer(200, b"{\"data\":[]}");
    let answer = t.got(client);
    assert_eq!((status(&answer), body(&answer)), (200, "{\"data\":[]}"));
    assert!(field(&answer, "x-request-id").is_some());
}

#[test]
fn the_class_is_the_route_s_and_may_only_be_lowered() {
    let class = |fields: &str, more: &str, route: u8| {
        let mut t = Bench::new(|p| {
            p["routes"][0]["class"] = json!(route);
            p["routes"][0]["class_header"] = json!("x-class");
        });
        let client = t.client();
        let text = format!(r#"{{"model":"llama-3"{more}}}"#);
        t.send(client, post("/v1/chat/completions", fields, &text));
        let upstream = t.upstream();
        t.send(upstream, ok(""));
        t.record().class
    };
    assert_eq!(class("", "", 1), 1);
    assert_eq!(class("x-class: low\r\n", "", 1), 2);
    assert_eq!(class("x-class: high\r\n", "", 1), 1);
    assert_eq!(class("x-class: normal\r\n", "", 0), 1);
    assert_eq!(class("x-class: nonsense\r\n", "", 0), 0);
    assert_eq!(class("", r#","service_tier":"flex""#, 0), 2);
    assert_eq!(class("", r#","service_tier":"priority""#, 1), 1);
    assert_eq!(
        class("x-class: high\r\n", r#","service_tier":"batch""#, 0),
        2
    );
}

#[test]
fn bodies_beyond_the_route_s_bound_are_refused_however_they_are_framed() {
    let bound = |p: &mut serde_json::Value| p["routes"][0]["body_bytes_max"] = json!(100);
    let mut t = Bench::new(bound);
    let client = t.client();
    let long = format!(r#"{{"model":"llama-3","pad":"{}"}}"#, "x".repeat(200));
    t.send(client, post("/v1/chat/completions", "", &long));
    assert_eq!(status(&t.got(client)), 413);

    let mut t = Bench::new(bound);
    let client = t.client();
    let head =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    t.send(client, head);
    t.send(client, "1a\r\n{\"model\":\"llama-3\",\"pad\":\"\r\n");
    assert!(t.dial().is_some());
    t.send(client, format!("64\r\n{}\r\n", "x".repeat(100)));
    assert_eq!(status(&t.got(client)), 413);
    assert!(t.is_quiet());
}

#[test]
fn routes_match_on_paths_methods_and_headers() {
    let mut t = Bench::new(|p| {
        let matches = json!({"path": "/special/*", "methods": ["GET"], "headers": [["x-a", "1"]]});
        p["routes"][1]["match"] = matches;
    });
    for (request, found) in [
        (get("/special/x", "x-a: 1\r\n"), true),
        (get("/special/x", "x-a: 2\r\n"), false),
        (get("/special", "x-a: 1\r\n"), false),
        (post("/special/x", "x-a: 1\r\n", "{}"), false),
    ] {
        let client = t.client();
        t.send(client, &request);
        assert_eq!(t.dial().is_some(), found, "{request}");
    }
}
