//! Runs the engine, a load or the relay from the command line, for profiling: the tool for people
//! is `fastproxy bench`. Usage: `bench engine|load|relay 'JSON'`; a load writes its report as JSON
//! to the file named by a third argument, and as HTML beside it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to a terminal"
)]

use std::{env, error::Error, fs, thread, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let json = arguments.next().unwrap_or_else(|| "{}".to_owned());
    match command.as_str() {
        "engine" => {
            let handle = bench::engine::start(bench::engine::Options::from_json(&json)?)?;
            handle
                .addresses()
                .iter()
                .for_each(|address| println!("engine on {address}"));
            while handle.running() {
                thread::sleep(Duration::from_millis(200));
            }
        }
        "relay" => {
            let handle = bench::relay::start(&bench::relay::Options::from_json(&json)?)?;
            handle
                .addresses()
                .iter()
                .for_each(|address| println!("relay on {address}"));
            while handle.running() {
                thread::sleep(Duration::from_millis(200));
            }
        }
        "load" => {
            let options = bench::load::Options::from_json(&json)?;
            let report = bench::load::run(&options, &mut |progress| {
                eprintln!("{}", serde_json::json!(progress));
                true
            })?;
            print!("{}", bench::report::text_table(&report));
            if let Some(path) = arguments.next() {
                fs::write(&path, serde_json::to_string_pretty(&report)?)?;
                fs::write(format!("{path}.html"), bench::report::html(&report))?;
            }
        }
        _ => return Err("usage: bench engine|load|relay 'JSON' [REPORT]".into()),
    }
    Ok(())
}
