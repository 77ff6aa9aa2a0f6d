//! The work for n bytes is in the order of n, however small the pieces.
//!
//! No clock: the inputs are so large that a reader which looked at its bytes again for every piece
//! would not end within any patience (some 10^12 looks instead of 10^7).

use wire::fuzzing::event_ends;
use wire::h1::{Event, RequestReader};
use wire::{Limits, RequestHead};

fn count_ends(bytes: &[u8], step: usize) -> usize {
    let mut reader = RequestReader::new(Limits::DEFAULT);
    let mut head = RequestHead::new();
    let mut ends = 0;
    for mut piece in bytes.chunks(step) {
        while let Some(event) = reader.next(&mut piece, &mut head).expect("good requests") {
            ends += usize::from(event == Event::End);
        }
    }
    ends
}

#[test]
fn large_heads_byte_by_byte() {
    let field = format!("x: {}\r\n", "y".repeat(16_000));
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", field.repeat(4));
    assert_eq!(count_ends(head.repeat(50).as_bytes(), 1), 50);
}

#[test]
fn many_fields_byte_by_byte() {
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "a:\r\n".repeat(99));
    assert_eq!(count_ends(head.repeat(2_000).as_bytes(), 1), 2_000);
}

#[test]
fn tiny_chunks_byte_by_byte() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = "1\r\nx\r\n".repeat(500_000);
    assert_eq!(
        count_ends(format!("{head}{body}0\r\n\r\n").as_bytes(), 1),
        1
    );
}

#[test]
fn large_trailers_byte_by_byte() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
    let trailers = format!("x: {}\r\n\r\n", "y".repeat(16_000));
    assert_eq!(
        count_ends(format!("{head}{trailers}").repeat(100).as_bytes(), 1),
        100
    );
}

#[test]
fn one_long_line_of_an_event_byte_by_byte() {
    let event = format!("data: {}\n\n", "x".repeat(3_000_000));
    assert_eq!(
        event_ends(event.as_bytes(), event.as_bytes().chunks(1)),
        [event.len()]
    );
}
