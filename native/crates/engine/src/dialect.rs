//! Error bodies and error events in the form that the client's SDK expects.
//!
//! It never chooses a status (see `error`) and never writes a header. **Invariant:** what it writes
//! is valid JSON for any text, and a valid SSE event where an event is asked for.

use crate::error::Failure;
use crate::snapshot::plan::Dialect;

/// The media type of [`body`].
pub fn content_type(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Openai | Dialect::Anthropic => "application/json",
        Dialect::Problem => "application/problem+json",
        Dialect::Grpc => "application/grpc",
    }
}

/// Appends the body of an error answer. `retry_after_ms` is named in it where the dialect has a
/// place for it (problem documents).
pub fn body(
    out: &mut Vec<u8>,
    dialect: Dialect,
    failure: &Failure,
    request_id: &str,
    retry_after_ms: Option<u64>,
) {
    match dialect {
        Dialect::Openai => {
            openai(out, failure, request_id);
        }
        Dialect::Anthropic => anthropic(out, failure, request_id),
        Dialect::Problem => problem(out, failure, request_id, retry_after_ms),
        // The status is in the trailers, which are all there is.
        Dialect::Grpc => {}
    }
}

/// Appends the event that ends a stream in which something failed after its head was sent. The
/// caller writes it after whole events only.
pub fn stream_error(out: &mut Vec<u8>, dialect: Dialect, failure: &Failure, request_id: &str) {
    match dialect {
        Dialect::Openai => {
            out.extend_from_slice(b"data: ");
            openai(out, failure, request_id);
        }
        Dialect::Anthropic => {
            out.extend_from_slice(b"event: error\ndata: ");
            anthropic(out, failure, request_id);
        }
        Dialect::Problem => {
            out.extend_from_slice(b"event: error\ndata: ");
            problem(out, failure, request_id, None);
        }
        // No gRPC response is an event stream.
        Dialect::Grpc => return,
    }
    out.extend_from_slice(b"\n\n");
}

fn openai(out: &mut Vec<u8>, failure: &Failure, request_id: &str) {
    out.extend_from_slice(b"{\"error\":{\"message\":\"");
    message(out, failure);
    out.extend_from_slice(b"\",\"type\":\"");
    escape(out, failure.kind.openai_type());
    out.extend_from_slice(b"\",\"param\":null,\"code\":\"");
    escape(out, failure.kind.code());
    out.extend_from_slice(b"\",\"request_id\":\"");
    escape(out, request_id);
    out.extend_from_slice(b"\"}}");
}

fn anthropic(out: &mut Vec<u8>, failure: &Failure, request_id: &str) {
    out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":\"");
    escape(out, failure.kind.anthropic_type());
    out.extend_from_slice(b"\",\"message\":\"");
    message(out, failure);
    out.extend_from_slice(b"\"},\"request_id\":\"");
    escape(out, request_id);
    out.extend_from_slice(b"\"}");
}

/// RFC 9457 §3.1: `type` is left out (`about:blank`), so `title` is the status phrase's place and
/// `detail` is for people; `code` and `request_id` are extension members.
fn problem(out: &mut Vec<u8>, failure: &Failure, request_id: &str, retry_after_ms: Option<u64>) {
    out.extend_from_slice(b"{\"status\":");
    out.extend_from_slice(failure.kind.status().to_string().as_bytes());
    out.extend_from_slice(b",\"title\":\"");
    escape(out, failure.kind.code());
    out.extend_from_slice(b"\",\"detail\":\"");
    message(out, failure);
    out.extend_from_slice(b"\",\"code\":\"");
    escape(out, failure.kind.code());
    out.extend_from_slice(b"\",\"request_id\":\"");
    escape(out, request_id);
    out.push(b'"');
    if let Some(ms) = retry_after_ms {
        out.extend_from_slice(b",\"retry_after_ms\":");
        out.extend_from_slice(ms.to_string().as_bytes());
    }
    out.push(b'}');
}

fn message(out: &mut Vec<u8>, failure: &Failure) {
    escape(out, failure.kind.message());
    if !failure.told().is_empty() {
        out.extend_from_slice(b" (");
        escape(out, failure.told());
        out.push(b')');
    }
}

/// Appends `text` as the inside of a JSON string.
pub fn escape(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // RFC 8259 §7: all other control characters by number.
            0..0x20 | 0x7f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::error::{FAILURE_KINDS, FailureKind};

    fn parsed(dialect: Dialect, failure: &Failure, id: &str) -> Value {
        let mut out = Vec::new();
        body(&mut out, dialect, failure, id, Some(1_500));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_kind_is_json_in_every_dialect() {
        let nasty = "a\"b\\c\n\u{1}\u{7f}é\u{2028}";
        for kind in FAILURE_KINDS {
            for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Problem] {
                let value = parsed(dialect, &Failure::new(kind, "line\nbreak"), nasty);
                let id = &value["request_id"];
                let id = if id.is_null() {
                    &value["error"]["request_id"]
                } else {
                    id
                };
                assert_eq!(id, nasty);
            }
        }
    }

    #[test]
    fn openai_has_the_four_members_that_sdks_read() {
        let value = parsed(Dialect::Openai, &FailureKind::ChannelFull.into(), "r-1");
        let error = &value["error"];
        assert_eq!(error["type"], "rate_limit_error");
        assert_eq!(error["code"], "channel_full");
        assert!(error["param"].is_null());
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .starts_with("Too many requests")
        );
    }

    #[test]
    fn anthropic_and_problem_have_their_shape() {
        let failure = Failure::new(FailureKind::ModelNotFound, "no route");
        let value = parsed(Dialect::Anthropic, &failure, "r-2");
        assert_eq!(
            (&value["type"], &value["error"]["type"]),
            (&"error".into(), &"not_found_error".into())
        );
        let value = parsed(Dialect::Problem, &failure, "r-2");
        assert_eq!(value["status"], 404);
        assert_eq!(value["retry_after_ms"], 1_500);
        assert_eq!(content_type(Dialect::Problem), "application/problem+json");
    }

    #[test]
    fn stream_errors_are_one_event() {
        for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Problem] {
            let mut out = Vec::new();
            stream_error(
                &mut out,
                dialect,
                &FailureKind::InterTokenTimeout.into(),
                "r\n\nx",
            );
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with("}\n\n"));
            assert_eq!(text.matches("\n\n").count(), 1);
            let data = text.split("data: ").nth(1).unwrap();
            assert!(serde_json::from_str::<Value>(data.trim_end()).is_ok());
            assert_eq!(
                text.starts_with("event: error\n"),
                dialect != Dialect::Openai
            );
        }
    }
}
