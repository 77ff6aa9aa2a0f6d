//! The work for n frames is in the order of n, whatever they are.
//!
//! No clock: the scripts are so long that work which grew with what came before would not end
//! within any patience. Steps that a connection takes are counted where they can be.

mod h2_script;

use h2_script::*;
use wire::fuzzing::h2::{assert_at_rest, held_bytes};
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role};

/// Budgets out of the way, so that the work behind them is seen.
const WIDE: Config = Config {
    widened: 100_000,
    ..Config::DEFAULT
};

/// A server that runs over pieces and forgets every stream with its last event.
fn serve(bytes: &[u8], step: usize, answer: bool) -> (Connection, usize) {
    let mut out = Vec::new();
    let mut connection = Connection::new(Role::Server, &WIDE, &mut out);
    let mut heads = Heads::default();
    let mut events = 0;
    for mut piece in bytes.chunks(step) {
        while let Some(event) = connection
            .next(&mut piece, &mut heads, &mut out)
            .expect("a wide budget")
        {
            events += 1;
            match event {
                Event::Head { id, .. } if answer => {
                    let mut head = connection.head(id, &mut out);
                    head.status(200);
                    head.finish(true);
                    connection.forget(id, &mut out);
                }
                Event::Reset { id, .. } => connection.forget(id, &mut out),
                _ => {}
            }
        }
        out.clear();
    }
    (connection, events)
}

#[test]
fn a_hundred_thousand_resets() {
    let mut script = client_start();
    for at in 0..100_000 {
        let id = at * 2 + 1;
        script.extend(headers(id, 0, POST));
        script.extend(reset(id, 8));
    }
    let (connection, events) = serve(&script, 16_384, false);
    assert_eq!(events, 1 + 2 * 100_000);
    assert_eq!(connection.accepted(), 100_000);
    assert_at_rest(&connection);
    assert!(held_bytes(&connection) < 4 * 1024);
}

#[test]
fn a_hundred_thousand_answers_and_late_frames() {
    let mut script = client_start();
    for at in 0..100_000 {
        let id = at * 2 + 1;
        script.extend(headers(id, END, GET));
        // For a stream of long ago.
        script.extend(window_update(1, 1));
    }
    let (connection, events) = serve(&script, 16_384, true);
    assert_eq!(events, 1 + 100_000);
    assert_at_rest(&connection);
}

#[test]
fn frames_byte_by_byte() {
    let mut script = [client_start(), headers(1, 0, POST)].concat();
    for _ in 0..100_000 {
        script.extend(data(1, 0, b"token"));
    }
    // As much as the stream's window allows without a caller that consumes.
    script.truncate(client_start().len() + 5_000 * 14);
    let (connection, events) = serve(&script, 1, false);
    assert!(events > 20_000);
    assert_eq!(connection.streams(), 1);
    let value = "v".repeat(15_000);
    let mut script = client_start();
    for at in 0..100 {
        script.extend(headers_with(at * 2 + 1, END, GET, &[("x", &value)]));
    }
    let (connection, events) = serve(&script, 1, true);
    assert_eq!(events, 101);
    assert_at_rest(&connection);
}

#[test]
fn a_queue_that_leaves_in_small_steps() {
    let mut out = Vec::new();
    let mut connection = Connection::new(Role::Server, &WIDE, &mut out);
    let mut heads = Heads::default();
    let script = [client_start(), settings(&[(4, 0)]), headers(1, END, GET)].concat();
    let mut input = script.as_slice();
    while let Some(_event) = connection
        .next(&mut input, &mut heads, &mut out)
        .expect("good")
    {}
    let mut head = connection.head(1, &mut out);
    head.status(200);
    head.finish(false);
    // A megabyte, given leave 10 bytes at a time: moved as a whole each time, that were 10^11.
    connection.data(1, &vec![0; 1 << 20], true, &mut out);
    connection.data(1, b"", true, &mut out);
    let update = [window_update(0, 10), window_update(1, 10)].concat();
    for _ in 0..=(1 << 20) / 10 {
        let mut input = update.as_slice();
        assert_eq!(connection.next(&mut input, &mut heads, &mut out), Ok(None));
        out.clear();
        connection.flush(&mut out);
    }
    assert_eq!(connection.queued(1), 0);
    connection.forget(1, &mut out);
    assert_at_rest(&connection);
}

#[test]
fn many_streams_in_turn() {
    let config = Config {
        streams_max: 10_000,
        ..WIDE
    };
    let mut out = Vec::new();
    let mut connection = Connection::new(Role::Server, &config, &mut out);
    let mut script = [client_start(), settings(&[(4, 1 << 20)])].concat();
    script.extend(window_update(0, 1 << 30));
    for at in 0..10_000 {
        script.extend(headers(at * 2 + 1, END, GET));
    }
    let mut input = script.as_slice();
    let mut heads = Heads::default();
    while let Some(event) = connection
        .next(&mut input, &mut heads, &mut out)
        .expect("good")
    {
        if let Event::Head { id, .. } = event {
            let mut head = connection.head(id, &mut out);
            head.status(200);
            head.finish(false);
        }
    }
    for at in 0..10_000 {
        connection.data(at * 2 + 1, &[0; 1_000], false, &mut out);
    }
    let mut turns = 0;
    while connection.queued_bytes() > 0 {
        out.clear();
        connection.flush(&mut out);
        turns += 1;
        while connection.relieved().is_some() {}
    }
    assert!(turns < 400, "{turns} flushes for 10 MB");
    for at in 0..10_000 {
        connection.reset(at * 2 + 1, ErrorCode::Cancel, &mut out);
        connection.forget(at * 2 + 1, &mut out);
    }
    assert_at_rest(&connection);
    assert!(held_bytes(&connection) < 4 * 1024);
}
