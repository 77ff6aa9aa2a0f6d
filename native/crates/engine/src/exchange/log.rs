//! What happened? One record per exchange, built once, at the single end of every path.
//!
//! **Invariant:** `finish` runs exactly once per exchange; a permit taken is a record written.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Exchange, Phase, Reservation, Unit};
use crate::engine::Engine;
use crate::metrics::{Metric, code_class};
use crate::output::Output;
use crate::secure::TlsVersion;
use crate::shared::Outcome;

/// One line of the access log, as values. Formatting happens on the recorder's thread.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Milliseconds since the Unix epoch at the request's head.
    pub wall_ms: u64,
    /// Our request id.
    pub request_id: String,
    /// The id that an untrusted client sent.
    pub client_request_id: Option<Vec<u8>>,
    /// The client's address; `None` for unix sockets.
    pub client: Option<IpAddr>,
    /// The client's version of TLS; `None` = cleartext.
    pub tls: Option<TlsVersion>,
    /// Whom the client's certificate names.
    pub principal: Option<Arc<str>>,
    /// The worker.
    pub worker: u16,
    /// Configured name of the listener.
    pub listener: String,
    /// Request method.
    pub method: String,
    /// Request path without its query.
    pub path: Vec<u8>,
    /// Status sent to the client; 0 = none.
    pub status: u16,
    /// Response flag: why the answer is ours, or was cut; empty for the upstream's own.
    pub flag: &'static str,
    /// What went wrong, in words.
    pub detail: &'static str,
    /// Route label.
    pub route: String,
    /// Pool name.
    pub pool: String,
    /// Endpoint of the last attempt.
    pub endpoint: String,
    /// Attempts made.
    pub attempts: u32,
    /// Priority class.
    pub class: u8,
    /// The body's `model`.
    pub model: Option<String>,
    /// Whether the response was an event stream.
    pub stream: bool,
    /// Request body bytes received.
    pub bytes_in: u64,
    /// Response body bytes queued to the client.
    pub bytes_out: u64,
    /// Nanoseconds from the head to dispatch.
    pub queue_ns: u64,
    /// Nanoseconds from the head to the first token or body byte; 0 = none.
    pub first_token_ns: u64,
    /// Nanoseconds from the head to the end.
    pub duration_ns: u64,
    /// Text events seen.
    pub tokens: u64,
    /// From the upstream's `usage`.
    pub prompt_tokens: Option<u64>,
    /// From the upstream's `usage`.
    pub completion_tokens: Option<u64>,
    /// What it was expected to take, and what it took.
    pub reservation: Reservation,
    /// Request headers that the configuration lets the log show.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Record {
    /// Appends the record as one JSON line, with its newline.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        let ms = |ns: u64| ns as f64 / 1e6;
        out.extend_from_slice(b"{\"time\":\"");
        rfc3339(out, self.wall_ms);
        out.extend_from_slice(b"\",\"request_id\":");
        json_string(out, self.request_id.as_bytes());
        if let Some(id) = &self.client_request_id {
            out.extend_from_slice(b",\"client_request_id\":");
            json_string(out, id);
        }
        // Writing to a Vec cannot fail.
        match self.client {
            Some(client) => drop(write!(out, ",\"client\":\"{client}\"")),
            None => out.extend_from_slice(b",\"client\":\"unix\""),
        }
        for (name, value) in [
            ("listener", self.listener.as_bytes()),
            ("method", self.method.as_bytes()),
            ("path", &self.path),
            ("flag", self.flag.as_bytes()),
            ("detail", self.detail.as_bytes()),
            ("route", self.route.as_bytes()),
            ("pool", self.pool.as_bytes()),
            ("endpoint", self.endpoint.as_bytes()),
        ] {
            let _ = write!(out, ",\"{name}\":");
            json_string(out, value);
        }
        self.write_security(out);
        if let Some(model) = &self.model {
            out.extend_from_slice(b",\"model\":");
            json_string(out, model.as_bytes());
        }
        let _ = write!(
            out,
            ",\"status\":{},\"attempts\":{},\"class\":{},\"worker\":{},\"stream\":{},\
             \"bytes_in\":{},\"bytes_out\":{},\"queue_ms\":{:.3},\"duration_ms\":{:.3},\
             \"tokens\":{}",
            self.status,
            self.attempts,
            self.class,
            self.worker,
            self.stream,
            self.bytes_in,
            self.bytes_out,
            ms(self.queue_ns),
            ms(self.duration_ns),
            self.tokens,
        );
        if self.first_token_ns > 0 {
            let _ = write!(out, ",\"first_token_ms\":{:.3}", ms(self.first_token_ns));
        }
        for (name, value) in [
            ("prompt_tokens", self.prompt_tokens),
            ("completion_tokens", self.completion_tokens),
        ] {
            if let Some(value) = value {
                let _ = write!(out, ",\"{name}\":{value}");
            }
        }
        self.write_amounts(out);
        self.write_fields(out);
        out.extend_from_slice(b"}\n");
    }

    fn write_security(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        if let Some(version) = self.tls {
            // Writing to a Vec cannot fail.
            let _ = write!(out, ",\"tls\":\"{}\"", version.as_str());
        }
        if let Some(principal) = &self.principal {
            out.extend_from_slice(b",\"principal\":");
            json_string(out, principal.as_bytes());
        }
    }

    fn write_amounts(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        let reserved = tokens_of(|unit| self.reservation.reserved(unit));
        let used = tokens_of(|unit| self.reservation.used(unit));
        if reserved.max(used) > 0 {
            let _ = write!(
                out,
                ",\"reserved_tokens\":{reserved},\"used_tokens\":{used}"
            );
        }
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        if self.fields.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"headers\":{");
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            json_string(out, name);
            out.push(b':');
            json_string(out, value);
        }
        out.push(b'}');
    }
}

/// Tokens of the prompt and of the answer together.
fn tokens_of(amount: impl Fn(Unit) -> u64) -> u64 {
    amount(Unit::PromptTokens).saturating_add(amount(Unit::CompletionTokens))
}

fn json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    crate::dialect::escape(out, &String::from_utf8_lossy(text));
    out.push(b'"');
}

/// `2026-01-31T23:59:59.123Z` (RFC 3339), by Howard Hinnant's civil-from-days algorithm.
fn rfc3339(out: &mut Vec<u8>, wall_ms: u64) {
    use std::io::Write;
    let (days, ms_of_day) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (s, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    // Writing to a Vec cannot fail.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        s / 3600,
        s / 60 % 60,
        s % 60
    );
}

impl Engine {
    /// The single end of an exchange. The client's side was ended by the caller.
    pub(crate) fn finish(&mut self, exchange: &mut Exchange) {
        debug_assert!(!exchange.done, "an exchange ends once");
        self.drop_attempt(exchange, Outcome::Neutral);
        exchange.phase = Phase::Done;
        exchange.done = true;
        if exchange.body.charged > 0 {
            self.held.give(exchange.body.charged);
            exchange.body.charged = 0;
        }
        self.account(exchange);
        if exchange.response.sse {
            self.cells.sub(Metric::Streams, 1);
        }
        let duration_ns = self.now.mono_ns.saturating_sub(exchange.marks.started_ns);
        if !exchange.admin {
            if let Some(cells) = &exchange.route_cells {
                cells.inc(Metric::Requests);
                if exchange.response.status > 0 {
                    cells.inc_at(Metric::Responses, code_class(exchange.response.status));
                }
                cells.observe(Metric::RequestDuration, duration_ns);
                cells.add(Metric::RequestBytes, exchange.body.received);
                cells.add(Metric::ResponseBytes, exchange.response.bytes);
            }
            if self.snapshot.log {
                if exchange.request_id.is_empty() {
                    // Its client left in the turn in which it came.
                    self.name_request(exchange);
                }
                let record = self.record(exchange, duration_ns);
                self.outputs.push_back(Output::Record(Box::new(record)));
            }
        }
    }

    fn record(&self, exchange: &Exchange, duration_ns: u64) -> Record {
        let marks = &exchange.marks;
        let since = |at: u64| at.saturating_sub(marks.started_ns);
        let fields = &exchange.head.fields;
        let failure = exchange.failure.as_ref();
        Record {
            wall_ms: marks.started_wall_ms,
            request_id: exchange.request_id.clone(),
            client_request_id: fields
                .find(wire::Name::XRequestId)
                .filter(|id| *id != exchange.request_id.as_bytes())
                .map(|id| id.iter().take(128).copied().collect()),
            client: exchange.peer,
            worker: self.worker.0,
            listener: exchange
                .listener
                .as_ref()
                .map_or_else(String::new, |l| l.plan.name.clone()),
            method: exchange.head.method.as_str().to_owned(),
            path: exchange.head.path().to_vec(),
            status: exchange.response.status,
            flag: failure.map_or("", |f| f.kind.flag()),
            detail: failure.map_or("", |f| f.why),
            route: exchange
                .route
                .as_ref()
                .map_or_else(String::new, |r| r.name.clone()),
            pool: exchange
                .pool
                .as_ref()
                .map_or_else(String::new, |p| p.name.clone()),
            endpoint: exchange
                .endpoint
                .as_ref()
                .map_or_else(String::new, |e| e.name.clone()),
            tls: exchange.tls,
            principal: exchange.principal.name.clone(),
            attempts: exchange.attempts,
            class: exchange.class,
            model: exchange.scan.model().map(str::to_owned),
            stream: exchange.response.sse,
            bytes_in: exchange.body.received,
            bytes_out: exchange.response.bytes,
            queue_ns: since(marks.dispatched_ns),
            first_token_ns: since(marks.first_token_ns),
            duration_ns,
            tokens: exchange.tally.tokens,
            prompt_tokens: exchange.tally.prompt_tokens,
            completion_tokens: exchange.tally.completion_tokens,
            reservation: exchange.reservation,
            fields: self
                .snapshot
                .log_fields
                .iter()
                .filter_map(|name| {
                    let text = std::str::from_utf8(name).ok()?;
                    fields
                        .find_str(text)
                        .map(|value| (name.clone(), value.to_vec()))
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
        ] {
            let mut out = Vec::new();
            rfc3339(&mut out, ms);
            assert_eq!(String::from_utf8(out).expect("ascii"), text);
        }
    }

    #[test]
    fn a_record_is_one_json_line() {
        let record = Record {
            path: b"/v1/\"x\"\n".to_vec(),
            status: 200,
            ..Record::default()
        };
        let mut out = Vec::new();
        record.write_json(&mut out);
        assert_eq!(out.iter().position(|b| *b == b'\n'), Some(out.len() - 1));
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["status"], 200);
    }
}
