//! What answers say: whole ones, and the parts of streams, in the dialect of the route.
//!
//! Every function appends to a `Reply` and sends nothing. A token event carries `"t"`, the
//! `CLOCK_MONOTONIC` nanosecond at which it was written, so that whoever reads it on the same
//! machine knows its one-way delay.

use std::io::Write;

use serde_json::json;

use super::{exchange::Exchange, reply::Reply};
use crate::http::push_decimal;

/// Which API an exchange speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Completion,
    Message,
    Embedding,
}

const WORDS: [&str; 16] = [
    " the", " of", " and", " to", " a", " in", " is", " it", " you", " that", " he", " was",
    " for", " on", " are", " with",
];

/// Texts of tokens, each of the same length.
pub(crate) fn vocabulary(token_bytes: u32) -> Vec<Vec<u8>> {
    let stretch = |word: &&str| {
        word.bytes()
            .chain(std::iter::repeat(b'e'))
            .take(token_bytes as usize)
            .collect()
    };
    WORDS.iter().map(stretch).collect()
}

fn push(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a vector does not fail");
}

/// An error in the form of OpenAI; 429 and 503 say when to come again.
pub(crate) fn error(reply: &mut Reply<'_>, status: u16, why: &str, retry_after_s: u32) {
    let kind = if status < 500 {
        "invalid_request_error"
    } else {
        "server_error"
    };
    let body = json!({"error": {"message": why, "type": kind, "param": null, "code": status}});
    let wait_s = matches!(status, 429 | 503).then_some(retry_after_s);
    let body = body.to_string();
    reply.whole(status, "application/json", wait_s, body.as_bytes());
}

/// What every token event of this exchange begins with.
pub(crate) fn event_prefix(exchange: &Exchange) -> Vec<u8> {
    let Exchange {
        id,
        created_s,
        model,
        ..
    } = exchange;
    let model = json!(model).to_string();
    match exchange.dialect {
        Dialect::Message => b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\
            \"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\""
            .to_vec(),
        Dialect::Completion => format!(
            "data: {{\"id\":\"cmpl-{id:016x}\",\"object\":\"text_completion\",\"created\":\
            {created_s},\"model\":{model},\"choices\":[{{\"index\":0,\"text\":\""
        )
        .into_bytes(),
        Dialect::Chat | Dialect::Embedding => format!(
            "data: {{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion.chunk\",\
            \"created\":{created_s},\"model\":{model},\"choices\":[{{\"index\":0,\"delta\":\
            {{\"content\":\""
        )
        .into_bytes(),
    }
}

fn event_suffix(dialect: Dialect, last: bool) -> &'static [u8] {
    match (dialect, last) {
        (Dialect::Message, _) => b"\"},\"t\":",
        (Dialect::Completion, false) => b"\",\"logprobs\":null,\"finish_reason\":null}],\"t\":",
        (Dialect::Completion, true) => {
            b"\",\"logprobs\":null,\"finish_reason\":\"length\"}],\"t\":"
        }
        (_, false) => b"\"},\"logprobs\":null,\"finish_reason\":null}],\"t\":",
        (_, true) => b"\"},\"logprobs\":null,\"finish_reason\":\"length\"}],\"t\":",
    }
}

/// Events that come before the first token.
pub(crate) fn preamble(reply: &mut Reply<'_>, exchange: &Exchange) {
    match exchange.dialect {
        Dialect::Chat => {
            let prefix = exchange.event_prefix.as_slice();
            let prefix = prefix.strip_suffix(b"\"content\":\"").unwrap_or(prefix);
            let role = b"\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\
                \"finish_reason\":null}]}\n\n";
            reply.part(&[prefix, role]);
        }
        Dialect::Message => {
            let start = json!({"type": "message_start", "message": {
                "id": format!("msg_{:016x}", exchange.id), "type": "message", "role": "assistant",
                "model": exchange.model, "content": [], "stop_reason": null,
                "stop_sequence": null,
                "usage": {"input_tokens": exchange.prompt_tokens, "output_tokens": 0}}});
            let block = json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}});
            let text = format!(
                "event: message_start\ndata: {start}\n\n\
                event: content_block_start\ndata: {block}\n\n"
            );
            reply.part(&[text.as_bytes()]);
        }
        Dialect::Completion | Dialect::Embedding => {}
    }
}

/// One token.
pub(crate) fn token(
    reply: &mut Reply<'_>,
    exchange: &Exchange,
    text: &[u8],
    last: bool,
    t_ns: u64,
) {
    let mut stamp = Vec::with_capacity(24);
    push_decimal(&mut stamp, t_ns);
    let suffix = event_suffix(exchange.dialect, last);
    reply.part(&[&exchange.event_prefix, text, suffix, &stamp, b"}\n\n"]);
}

/// Everything after the last token.
pub(crate) fn ending(reply: &mut Reply<'_>, exchange: &Exchange) {
    if exchange.dialect == Dialect::Message {
        let delta = json!({"type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": null},
            "usage": {"output_tokens": exchange.tokens_sent}});
        let text = format!(
            "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
            event: message_delta\ndata: {delta}\n\n\
            event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
        );
        reply.part(&[text.as_bytes()]);
    } else {
        if exchange.include_usage {
            let prefix = exchange.event_prefix.as_slice();
            let cut = memchr::memmem::find(prefix, b"\"choices\":").unwrap_or(prefix.len());
            let usage = format!("\"choices\":[],\"usage\":{}}}\n\n", usage(exchange));
            reply.part(&[&prefix[..cut], usage.as_bytes()]);
        }
        reply.part(&[b"data: [DONE]\n\n"]);
    }
    reply.end();
}

/// An error event, then a regular end of the stream.
pub(crate) fn error_ending(reply: &mut Reply<'_>, exchange: &Exchange) {
    let text: &[u8] = match exchange.dialect {
        Dialect::Message => {
            b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\
            \"message\":\"simulated\"}}\n\n"
        }
        _ => {
            b"data: {\"error\":{\"message\":\"simulated\",\"type\":\"server_error\",\
            \"code\":500}}\n\n"
        }
    };
    reply.part(&[text]);
    if exchange.dialect != Dialect::Message {
        reply.part(&[b"data: [DONE]\n\n"]);
    }
    reply.end();
}

fn usage(exchange: &Exchange) -> String {
    let (prompt, sent) = (exchange.prompt_tokens, u64::from(exchange.tokens_sent));
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{sent},\"total_tokens\":{}}}",
        prompt + sent
    )
}

/// The body of a whole answer of the model, padded to `bytes_min`.
pub(crate) fn model_body(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    vocabulary: &[Vec<u8>],
    bytes_min: usize,
) {
    let Exchange { id, created_s, .. } = exchange;
    let model = json!(exchange.model).to_string();
    let usage = usage(exchange);
    let suffix = match exchange.dialect {
        Dialect::Chat => {
            push(
                out,
                format_args!(
                    "{{\"id\":\"chatcmpl-{id:016x}\",\"object\":\"chat.completion\",\"created\":\
                {created_s},\"model\":{model},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\
                \"assistant\",\"content\":\""
                ),
            );
            format!("\"}},\"logprobs\":null,\"finish_reason\":\"length\"}}],\"usage\":{usage}}}")
        }
        Dialect::Completion => {
            push(
                out,
                format_args!(
                    "{{\"id\":\"cmpl-{id:016x}\",\"object\":\"text_completion\",\"created\":\
                {created_s},\"model\":{model},\"choices\":[{{\"index\":0,\"text\":\""
                ),
            );
            format!("\",\"logprobs\":null,\"finish_reason\":\"length\"}}],\"usage\":{usage}}}")
        }
        Dialect::Message => {
            push(
                out,
                format_args!(
                    "{{\"id\":\"msg_{id:016x}\",\"type\":\"message\",\"role\":\"assistant\",\
                    \"model\":\
                {model},\"stop_reason\":\"max_tokens\",\"stop_sequence\":null,\"usage\":\
                {{\"input_tokens\":{},\"output_tokens\":{}}},\"content\":[{{\"type\":\"text\",\
                \"text\":\"",
                    exchange.prompt_tokens, exchange.tokens_sent
                ),
            );
            "\"}]}".to_owned()
        }
        Dialect::Embedding => return embeddings(out, exchange, &model),
    };
    for index in 0..exchange.tokens_sent as usize {
        out.extend_from_slice(&vocabulary[index % vocabulary.len()]);
    }
    if out.len() + suffix.len() < bytes_min {
        out.resize(bytes_min - suffix.len(), b'.');
    }
    out.extend_from_slice(suffix.as_bytes());
}

fn embeddings(out: &mut Vec<u8>, exchange: &Exchange, model: &str) {
    push(out, format_args!("{{\"object\":\"list\",\"data\":["));
    for index in 0..exchange.inputs {
        let comma = if index == 0 { "" } else { "," };
        push(
            out,
            format_args!(
                "{comma}{{\"object\":\"embedding\",\"index\":{index},\
                \"embedding\":[0.25,-0.5,0.125,1.0]}}"
            ),
        );
    }
    let prompt = exchange.prompt_tokens;
    push(
        out,
        format_args!(
            "],\"model\":{model},\"usage\":{{\"prompt_tokens\":{prompt},\
            \"total_tokens\":{prompt}}}}}"
        ),
    );
}
