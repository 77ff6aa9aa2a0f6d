//! A report as a table for a terminal.

use std::fmt::Write;

use super::{Part, Report, Summary};

/// The figures of a report in at most a hundred columns.
pub fn text_table(report: &Report) -> String {
    let mut text = String::new();
    counts(&mut text, &report.total);
    times(&mut text, &report.total);
    cpu(&mut text, &report.total);
    if report.parts.len() > 1 {
        text.push_str("\npart            seconds  offered/s    good/s      shed    failed  P50\n");
        for each in &report.parts {
            line(
                &mut text,
                format_args!(
                    "{:<14} {:>8.1} {:>10.1} {:>9.1} {:>9} {:>9}  {:>15}",
                    each.name,
                    each.duration_s,
                    each.offered_per_s,
                    each.good_per_s,
                    each.shed,
                    each.failed,
                    micros(main_p50_us(each)),
                ),
            );
        }
    }
    for warning in &report.warnings {
        line(&mut text, format_args!("\nwarning: {warning}"));
    }
    if report.stopped {
        text.push_str("\nthe run was cut short\n");
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{arguments}");
}

fn counts(text: &mut String, part: &Part) {
    line(
        text,
        format_args!(
            "{:.1} s: offered {} ({:.1}/s), admitted {}, good {} ({:.1}/s), shed {}, failed {}",
            part.duration_s,
            part.offered,
            part.offered_per_s,
            part.admitted,
            part.good,
            part.good_per_s,
            part.shed,
            part.failed,
        ),
    );
    let seen = |counts: &mut dyn Iterator<Item = (String, u64)>| {
        let shown = counts.filter(|(_, count)| *count > 0);
        shown
            .map(|(name, count)| format!("{name} {count}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let outcomes = &mut part
        .outcomes
        .iter()
        .map(|(name, count)| (name.clone(), *count));
    let statuses = &mut part
        .statuses
        .iter()
        .map(|(code, count)| (code.to_string(), *count));
    line(
        text,
        format_args!("outcomes: {}; statuses: {}", seen(outcomes), seen(statuses)),
    );
    if part.tokens > 0 {
        line(
            text,
            format_args!(
                "tokens: {} ({:.0}/s), {} with a send time",
                part.tokens, part.tokens_per_s, part.stamped_tokens
            ),
        );
    }
    let truncated = part.outcomes.get("truncated").copied().unwrap_or(0);
    if truncated > 0 {
        line(
            text,
            format_args!(
                "truncated: {truncated}, inside an event {}, looking complete {}",
                part.truncated_mid_event, part.truncated_looks_complete
            ),
        );
    }
    if part.shed > 0 {
        line(
            text,
            format_args!("sheds with Retry-After: {}", part.shed_with_retry_after),
        );
    }
}

fn times(text: &mut String, part: &Part) {
    let heads = ["mean", "P50", "P90", "P99", "P99.9", "max"].map(|head| format!("{head:>10}"));
    line(
        text,
        format_args!("\n{:<14} {:>10} {}", "", "count", heads.join(" ")),
    );
    for (name, summary) in rows(part) {
        row(text, name, summary);
    }
}

fn cpu(text: &mut String, part: &Part) {
    text.push('\n');
    for process in &part.processes {
        line(
            text,
            format_args!(
                "pid {:<7} {:<14} {:>9.2} us/answer {:>8.2} us/token  user {} ms  \
                system {} ms  rss {:.1} MiB",
                process.pid,
                process.name,
                process.cpu_us_per_answer,
                process.cpu_us_per_token,
                process.user_us / 1000,
                process.system_us / 1000,
                process.rss_end_bytes as f64 / 1_048_576.0,
            ),
        );
    }
    line(
        text,
        format_args!(
            "generator              {:>9.2} us/answer {:>8.2} us/token  busy {:.0} %, \
            {} connections opened",
            part.generator_cpu_us_per_answer,
            part.generator_cpu_us_per_token,
            part.generator_busy * 100.0,
            part.connections_opened,
        ),
    );
}

/// The distributions of a part, with their names.
pub(super) fn rows(part: &Part) -> [(&'static str, &Summary); 8] {
    [
        ("latency", &part.latency),
        ("first byte", &part.first_byte),
        ("first token", &part.first_token),
        ("token delay", &part.token_delay),
        ("token gap", &part.token_gap),
        ("shed latency", &part.shed_latency),
        ("connect", &part.connect),
        ("send lag", &part.lag),
    ]
}

fn row(text: &mut String, name: &str, summary: &Summary) {
    if summary.count == 0 {
        return;
    }
    let times = [
        summary.mean_us,
        summary.p50_us,
        summary.p90_us,
        summary.p99_us,
        summary.p999_us,
        summary.max_us,
    ];
    let times = times.map(|time_us| format!("{:>10}", micros(time_us)));
    line(
        text,
        format_args!("{name:<14} {:>10} {}", summary.count, times.join(" ")),
    );
}

/// A time with a unit that suits it.
pub(super) fn micros(time_us: f64) -> String {
    match time_us {
        time_us if time_us <= 0.0 => "-".to_owned(),
        time_us if time_us < 1e3 => format!("{time_us:.1}us"),
        time_us if time_us < 1e6 => format!("{:.2}ms", time_us / 1e3),
        _ => format!("{:.2}s", time_us / 1e6),
    }
}

/// The median people look at first: of first tokens, or of whole answers where there are none.
fn main_p50_us(part: &Part) -> f64 {
    if part.first_token.count > 0 {
        part.first_token.p50_us
    } else {
        part.latency.p50_us
    }
}
