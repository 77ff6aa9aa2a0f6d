//! A report as one HTML page: tables and plots, nothing loaded from anywhere.

use std::fmt::Write;

use super::{
    Part, Report, Summary,
    plot::{Curve, quantiles, seconds},
    text::{micros, rows, text_table},
};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:62rem;\
    padding:0 1rem;color:#1d2433;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;\
    margin-top:2rem}table{border-collapse:collapse}td,th{padding:.25rem .8rem;text-align:right;\
    border-bottom:1px solid #dde1e8;font-variant-numeric:tabular-nums}td:first-child,\
    th:first-child{text-align:left}pre{background:#f4f6f9;padding:1rem;overflow:auto;\
    font-size:12px}svg{width:100%;height:auto}.warning{background:#fff3cd;padding:.5rem 1rem}";

/// The page.
pub fn html(report: &Report) -> String {
    let mut page = String::with_capacity(64 * 1024);
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<title>fastproxy bench</title><style>");
    page.push_str(STYLE);
    page.push_str("</style></head><body><h1>fastproxy bench</h1>");
    put(
        &mut page,
        format_args!(
            "<p>{} {} on {}, started at {} (seconds since 1970).</p>",
            escape(&report.options.method),
            escape(&report.options.path),
            escape(&report.options.targets.join(", ")),
            report.started_unix_s,
        ),
    );
    for warning in &report.warnings {
        put(
            &mut page,
            format_args!("<p class=\"warning\">{}</p>", escape(warning)),
        );
    }
    counts(&mut page, report);
    times(&mut page, &report.total);
    processes(&mut page, &report.total);
    plots(&mut page, report);
    page.push_str("<h2>Text</h2><pre>");
    page.push_str(&escape(&text_table(report)));
    page.push_str("</pre><h2>Options</h2><pre>");
    let options = serde_json::to_string_pretty(&report.options).unwrap_or_default();
    page.push_str(&escape(&options));
    page.push_str("</pre></body></html>\n");
    page
}

fn put(page: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = page.write_fmt(arguments);
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn counts(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Requests</h2><table><tr><th>part</th><th>seconds</th><th>offered</th><th>offered/s\
        </th><th>admitted</th><th>good</th><th>good/s</th><th>shed</th><th>failed</th><th>tokens\
        </th></tr>",
    );
    for part in report.parts.iter().chain([&report.total]) {
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{:.1}</td><td>{}</td><td>{:.1}</td><td>{}</td><td>{}</td>\
            <td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&part.name),
                part.duration_s,
                part.offered,
                part.offered_per_s,
                part.admitted,
                part.good,
                part.good_per_s,
                part.shed,
                part.failed,
                part.tokens,
            ),
        );
    }
    page.push_str("</table><h2>Outcomes</h2><table><tr><th>outcome</th><th>requests</th></tr>");
    for (name, count) in report
        .total
        .outcomes
        .iter()
        .filter(|(_, count)| **count > 0)
    {
        put(
            page,
            format_args!("<tr><td>{}</td><td>{count}</td></tr>", escape(name)),
        );
    }
    page.push_str("</table>");
}

fn times(page: &mut String, part: &Part) {
    page.push_str(
        "<h2>Times</h2><table><tr><th></th><th>count</th><th>mean</th><th>P50</th><th>P90</th>\
        <th>P99</th><th>P99.9</th><th>max</th></tr>",
    );
    for (name, summary) in rows(part) {
        if summary.count == 0 {
            continue;
        }
        put(
            page,
            format_args!("<tr><td>{name}</td><td>{}</td>", summary.count),
        );
        for time_us in [
            summary.mean_us,
            summary.p50_us,
            summary.p90_us,
            summary.p99_us,
            summary.p999_us,
            summary.max_us,
        ] {
            put(page, format_args!("<td>{}</td>", micros(time_us)));
        }
        page.push_str("</tr>");
    }
    page.push_str("</table>");
}

fn processes(page: &mut String, part: &Part) {
    page.push_str(
        "<h2>CPU</h2><table><tr><th>process</th><th>us/answer</th><th>us/token</th><th>user ms\
        </th><th>system ms</th><th>RSS MiB</th></tr>",
    );
    for process in &part.processes {
        put(
            page,
            format_args!(
                "<tr><td>{} ({})</td><td>{:.2}</td><td>{:.2}</td><td>{}</td><td>{}</td>\
                <td>{:.1}</td></tr>",
                escape(&process.name),
                process.pid,
                process.cpu_us_per_answer,
                process.cpu_us_per_token,
                process.user_us / 1000,
                process.system_us / 1000,
                process.rss_end_bytes as f64 / 1_048_576.0,
            ),
        );
    }
    put(
        page,
        format_args!(
            "<tr><td>generator, busy {:.0} %</td><td>{:.2}</td><td>{:.2}</td><td></td><td></td>\
        <td></td></tr></table>",
            part.generator_busy * 100.0,
            part.generator_cpu_us_per_answer,
            part.generator_cpu_us_per_token,
        ),
    );
}

fn plots(page: &mut String, report: &Report) {
    let total = &report.total;
    page.push_str("<h2>Time by quantile</h2>");
    let curve = |name: &'static str, summary: &Summary| Curve {
        name,
        points: summary.curve.clone(),
    };
    let answers = [
        curve("latency", &total.latency),
        curve("first token", &total.first_token),
        curve("shed latency", &total.shed_latency),
    ];
    page.push_str(&quantiles("From the intended start", &answers));
    if total.tokens > 0 {
        let tokens = [
            curve("token delay", &total.token_delay),
            curve("token gap", &total.token_gap),
        ];
        page.push_str(&quantiles("Tokens", &tokens));
    }
    page.push_str("<h2>Over time</h2>");
    let row = |name: &'static str, value: fn(&super::Second) -> f64| Curve {
        name,
        points: report
            .series
            .iter()
            .map(|row| (row.second as f64, value(row)))
            .collect(),
    };
    let rates = [
        row("offered/s", |row| row.offered as f64),
        row("good/s", |row| row.good as f64),
        row("shed/s", |row| row.shed as f64),
        row("failed/s", |row| row.failed as f64),
    ];
    page.push_str(&seconds("Requests a second", &rates));
    let medians = [
        row("first token P50, ms", |row| row.first_token_p50_us / 1e3),
        row("latency P50, ms", |row| row.latency_p50_us / 1e3),
    ];
    page.push_str(&seconds("Medians by second", &medians));
}
