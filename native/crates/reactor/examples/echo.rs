//! What the reactor itself costs: an echo server, and a client that keeps one message under way on
//! each connection.
//!
//! `echo serve [ADDRESS|PATH]` and `echo load ADDRESS|PATH CONNECTIONS SECONDS`. Count calls with
//! `strace -c -f -p PID`, CPU in `/proc/PID/stat`.
#![allow(clippy::unwrap_used, reason = "a tool for measuring")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use engine::snapshot::Address;
use harness::{Echo, launch, tcp, unix, workers};

const MESSAGE: usize = 128;

fn say(text: &str) {
    let _ = std::io::stdout().write_all(format!("{text}\n").as_bytes());
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("serve") => serve(args.get(2).map_or("127.0.0.1:7777", String::as_str)),
        Some("load") => load(&args[2], args[3].parse().unwrap(), args[4].parse().unwrap()),
        _ => say("echo serve [ADDRESS|PATH] | echo load ADDRESS|PATH CONNECTIONS SECONDS"),
    }
}

fn serve(at: &str) {
    let listen = match at.parse() {
        Ok(address) => reactor::Listen {
            address: Address::Tcp(address),
            ..tcp()
        },
        Err(_) => unix(at.as_ref()),
    };
    let host = launch(workers(1), &[listen], |_| Echo::default());
    say(&format!(
        "{:?} pid {}",
        host.addresses(),
        std::process::id()
    ));
    loop {
        std::thread::park();
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn load(at: &str, connections: usize, seconds: u64) {
    let mut streams: Vec<Box<dyn Stream>> = (0..connections)
        .map(|_| -> Box<dyn Stream> {
            if at.contains(':') {
                let stream = TcpStream::connect(at).unwrap();
                stream.set_nodelay(true).unwrap();
                Box::new(stream)
            } else {
                Box::new(UnixStream::connect(at).unwrap())
            }
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut message = [7; MESSAGE];
    let mut count = 0_u64;
    while Instant::now() < until {
        for stream in &mut streams {
            stream.write_all(&message).unwrap();
        }
        for stream in &mut streams {
            stream.read_exact(&mut message).unwrap();
        }
        count += connections as u64;
    }
    say(&format!("{count} messages"));
}
