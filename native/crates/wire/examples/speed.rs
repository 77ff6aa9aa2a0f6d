//! Nanoseconds per head, per chunk and per event: `cargo run --release -p wire --example speed`.
//!
//! Wall time on whatever machine this is: it informs and gates nothing. Each figure is the best of
//! 15 rounds, the one least disturbed.

#![expect(clippy::print_stdout, reason = "a report is what this program is for")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it measures time"
)]

use std::hint::black_box;
use std::time::Instant;

use wire::h1::{Event, RequestReader, ResponseReader, encode};
use wire::{Limits, Method, Name, RequestHead, ResponseHead, sse};

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\n\
    Host: gateway.example.com:8080\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\n\
    Content-Type: application/json\r\n\
    Authorization: Bearer sk-0123456789abcdef0123456789abcdef0123456789abcdef\r\n\
    User-Agent: OpenAI/Python 1.99.0\r\n\
    X-Stainless-Lang: python\r\n\
    X-Stainless-Runtime-Version: 3.12.3\r\n\
    Content-Length: 1024\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    server: uvicorn\r\n\
    content-type: text/event-stream; charset=utf-8\r\n\
    x-request-id: 0123456789abcdef\r\n\
    transfer-encoding: chunked\r\n\r\n";

const EVENT: &str = "data: {\"id\":\"chatcmpl-0123456789\",\"object\":\"chat.completion.chunk\",\
    \"created\":1767225600,\"model\":\"llama\",\"choices\":[{\"index\":0,\
    \"delta\":{\"content\":\" token\"},\"finish_reason\":null}]}\n\n";

fn best(name: &str, per_round: u32, mut work: impl FnMut()) {
    let mut best_ns = f64::MAX;
    for _ in 0..15 {
        let start = Instant::now();
        for _ in 0..per_round {
            work();
        }
        best_ns = best_ns.min(start.elapsed().as_nanos() as f64 / f64::from(per_round));
    }
    println!("{name:<58} {best_ns:>10.1} ns");
}

fn read(reader: &mut RequestReader, head: &mut RequestHead, mut input: &[u8]) {
    while let Some(event) = reader.next(&mut input, head).expect("a good request") {
        black_box(&event);
        if event == Event::End {
            break;
        }
    }
}

fn requests() {
    let whole = [HEAD.as_bytes(), &[b'x'; 1024]].concat();
    let mut reader = RequestReader::new(Limits::default());
    let mut head = RequestHead::new();
    best(
        &format!("request, {} B head + 1 KiB body, whole", HEAD.len()),
        20_000,
        || {
            read(&mut reader, &mut head, black_box(&whole));
        },
    );
    best("the same in two pieces, cut in the head", 20_000, || {
        let (first, second) = black_box(&whole).split_at(200);
        read(&mut reader, &mut head, first);
        read(&mut reader, &mut head, second);
    });
    best("the same, one byte at a time", 2_000, || {
        for byte in black_box(&whole) {
            read(&mut reader, &mut head, std::slice::from_ref(byte));
        }
    });
    let short = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    best("request, 34 B, one field", 50_000, || {
        read(&mut reader, &mut head, black_box(short));
    });
    let names: Vec<&[u8]> = vec![
        b"Host",
        b"content-type",
        b"X-Stainless-Lang",
        b"Authorization",
    ];
    best("Name::from_bytes, four names", 100_000, || {
        for name in &names {
            black_box(Name::from_bytes(black_box(name)));
        }
    });
    let mut out = Vec::with_capacity(4096);
    read(&mut reader, &mut head, &whole);
    best("encode that request head", 50_000, || {
        out.clear();
        encode::request_line(&mut out, head.method, head.target());
        for field in head.fields.iter() {
            encode::field_unchecked(&mut out, field);
        }
        encode::end_of_head(&mut out);
        black_box(&out);
    });
    best(
        "encode that request head, every field checked",
        50_000,
        || {
            out.clear();
            encode::request_line(&mut out, head.method, head.target());
            for field in head.fields.iter() {
                encode::field(&mut out, field.name, field.value).expect("a good field");
            }
            encode::end_of_head(&mut out);
            black_box(&out);
        },
    );
}

fn responses() {
    let mut reader = ResponseReader::new(Limits::default());
    let mut head = ResponseHead::new();
    let mut chunk = Vec::new();
    encode::chunk(&mut chunk, EVENT.as_bytes());
    let stream = [RESPONSE.as_bytes(), &chunk.repeat(1000), b"0\r\n\r\n"].concat();
    best(
        "response head + 1000 chunks, whole; per chunk / 1000",
        20,
        || {
            let mut input = black_box(stream.as_slice());
            reader.expect(Method::Post, false);
            while let Some(event) = reader.next(&mut input, &mut head).expect("a good response") {
                black_box(event);
            }
        },
    );
    let empty = [RESPONSE.as_bytes(), b"0\r\n\r\n"].concat();
    best("response head and an empty chunked body", 20_000, || {
        let mut input = black_box(empty.as_slice());
        reader.expect(Method::Post, false);
        while let Some(event) = reader.next(&mut input, &mut head).expect("a good response") {
            black_box(event);
        }
    });
    let mut out = Vec::with_capacity(4096);
    best(
        &format!("encode::chunk, {} B", EVENT.len()),
        100_000,
        || {
            out.clear();
            encode::chunk(&mut out, black_box(EVENT.as_bytes()));
            black_box(&out);
        },
    );
    let mut scanner = sse::Scanner::new();
    best(
        &format!("sse::Scanner::scan, one event of {} B", EVENT.len()),
        100_000,
        || {
            scanner.scan(black_box(EVENT.as_bytes()), |end| {
                black_box(end);
            });
        },
    );
    best("sse::fields, the same event", 100_000, || {
        black_box(sse::fields(black_box(EVENT.as_bytes())).count());
    });
}

fn main() {
    requests();
    responses();
}
