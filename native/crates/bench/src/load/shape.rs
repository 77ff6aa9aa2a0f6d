//! Builds the bytes of requests.
//!
//! One request is built once and copied; with a trace only the length of the prompt and
//! `max_tokens` differ, so each is put together around a long filler.

use std::fs;

use serde_json::json;
use wire::{
    Name,
    h2::{Connection, StreamId},
};

use super::{
    link::Leave,
    options::{AbortPhase, Body, Mode, Options},
};
use crate::{Error, http::push_decimal, trace};

/// Bytes of prompt for one token of a trace.
const BYTES_PER_TOKEN: usize = 4;
/// Bodies of a trace are cut here, so that the engine takes them.
const BODY_BYTES_MAX: usize = 31 * 1024 * 1024;

/// How long one request of a trace is.
pub(crate) type Lengths = Option<trace::Entry>;

/// Head and body of every request of a run.
pub(crate) struct Shape {
    /// From the request line up to the value of `content-length`.
    head: Vec<u8>,
    kept: Vec<u8>,
    closed: Vec<u8>,
    method: String,
    scheme: &'static str,
    path: String,
    host: String,
    /// The fields between these and `content-length`.
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    /// Of a trace: everything around the filler.
    model: String,
    prompt_key: PromptKey,
    stream: String,
}

/// Where requests of an API have their prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PromptKey {
    Messages,
    Prompt,
    Input,
}

impl Shape {
    pub(crate) fn new(options: &Options, host: &str) -> Result<Self, Error> {
        let mut fields = Vec::new();
        for (name, value) in &options.headers {
            if format!("{name}{value}").contains(['\r', '\n']) {
                let why = format!("`{name}` holds a line end");
                return Err(Error::Option {
                    name: "headers",
                    why,
                });
            }
            fields.push((name.to_ascii_lowercase(), value.clone()));
        }
        let typed = fields.iter().any(|(name, _)| name == "content-type");
        if !typed && options.body != Body::None {
            fields.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let Options { method, path, .. } = options;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in &fields {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let mut shape = Self {
            head: head.into_bytes(),
            kept: Vec::new(),
            closed: Vec::new(),
            method: method.clone(),
            scheme: if options.tls.is_some() {
                "https"
            } else {
                "http"
            },
            path: path.clone(),
            host: host.to_owned(),
            fields,
            body: None,
            model: String::new(),
            prompt_key: prompt_key(path),
            stream: String::new(),
        };
        let body = shape.body(options)?;
        let (mut kept, mut closed) = (Vec::new(), Vec::new());
        shape.frame(&mut kept, body.as_deref(), false);
        shape.frame(&mut closed, body.as_deref(), true);
        (shape.kept, shape.closed, shape.body) = (kept, closed, body);
        Ok(shape)
    }

    fn body(&mut self, options: &Options) -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(match &options.body {
            Body::None => return Ok(None),
            Body::Bytes { bytes } => vec![b'x'; *bytes],
            Body::Text { text } => text.clone().into_bytes(),
            Body::File { path } => fs::read(path).map_err(|source| Error::File {
                path: path.clone(),
                source,
            })?,
            Body::Model {
                model,
                stream,
                bytes,
                tokens,
                include_usage,
            } => {
                self.model = json!(model).to_string();
                if *stream {
                    self.stream.push_str(",\"stream\":true");
                    if *include_usage {
                        self.stream
                            .push_str(",\"stream_options\":{\"include_usage\":true}");
                    }
                }
                let tokens = match options.mode {
                    Mode::Streams { tokens, .. } if tokens > 0 => tokens,
                    _ => *tokens,
                };
                let bare = self.model_body(0, tokens).len();
                self.model_body(bytes.saturating_sub(bare).max(1), tokens)
            }
        }))
    }

    fn model_body(&self, prompt_bytes: usize, tokens: u32) -> Vec<u8> {
        let (open, close) = match self.prompt_key {
            PromptKey::Messages => ("\"messages\":[{\"role\":\"user\",\"content\":\"", "\"}]"),
            PromptKey::Prompt => ("\"prompt\":\"", "\""),
            PromptKey::Input => ("\"input\":\"", "\""),
        };
        let mut body = Vec::with_capacity(prompt_bytes + 256);
        body.extend_from_slice(b"{\"model\":");
        body.extend_from_slice(self.model.as_bytes());
        body.extend_from_slice(self.stream.as_bytes());
        if tokens > 0 && self.prompt_key != PromptKey::Input {
            body.extend_from_slice(b",\"max_tokens\":");
            push_decimal(&mut body, u64::from(tokens));
        }
        body.push(b',');
        body.extend_from_slice(open.as_bytes());
        let end = body.len() + prompt_bytes;
        while body.len() < end {
            let part = b"say it in other words, ";
            body.extend_from_slice(&part[..part.len().min(end - body.len())]);
        }
        body.extend_from_slice(close.as_bytes());
        body.push(b'}');
        body
    }

    fn frame(&self, out: &mut Vec<u8>, body: Option<&[u8]>, close: bool) {
        out.extend_from_slice(&self.head);
        if close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        if let Some(body) = body {
            out.extend_from_slice(b"content-length: ");
            push_decimal(out, body.len() as u64);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body.unwrap_or_default());
    }

    /// The body of a request of a trace.
    fn body_of(&self, lengths: Lengths) -> Option<Vec<u8>> {
        let entry = lengths.filter(|_| !self.model.is_empty())?;
        let prompt_bytes = (entry.prompt_tokens as usize * BYTES_PER_TOKEN).min(BODY_BYTES_MAX);
        Some(self.model_body(prompt_bytes, entry.answer_tokens.max(1)))
    }

    /// Appends a whole request.
    pub(crate) fn write(&self, out: &mut Vec<u8>, lengths: Lengths, close: bool) {
        match self.body_of(lengths) {
            Some(body) => self.frame(out, Some(&body), close),
            None => out.extend_from_slice(if close { &self.closed } else { &self.kept }),
        }
    }

    /// Sends a request on a stream; a client that leaves early keeps the rest of it back.
    pub(crate) fn send(
        &self,
        wire: &mut Connection,
        id: StreamId,
        out: &mut Vec<u8>,
        lengths: Lengths,
        leave: Option<Leave>,
    ) {
        let drawn = self.body_of(lengths);
        let body = drawn.as_deref().or(self.body.as_deref());
        let mut head = wire.head(id, out);
        head.request(
            self.method.as_bytes(),
            self.scheme.as_bytes(),
            self.host.as_bytes(),
            self.path.as_bytes(),
            None,
        );
        for (name, value) in &self.fields {
            let known = Name::from_bytes(name.as_bytes());
            head.field(known, name.as_bytes(), value.as_bytes());
        }
        if let Some(body) = body {
            let mut length = Vec::with_capacity(20);
            push_decimal(&mut length, body.len() as u64);
            head.field(Name::ContentLength, b"content-length", &length);
        }
        let at = leave.map(|leave| leave.at);
        let whole = at != Some(AbortPhase::Head);
        let body = body.filter(|body| !body.is_empty());
        head.finish(whole && body.is_none());
        match (at, body) {
            (Some(AbortPhase::Head), _) | (_, None) => {}
            (Some(AbortPhase::Body), Some(body)) => {
                wire.data(id, &body[..body.len() / 2], false, out);
            }
            (_, Some(body)) => wire.data(id, body, true, out),
        }
    }
}

fn prompt_key(path: &str) -> PromptKey {
    if path.contains("/embeddings") {
        PromptKey::Input
    } else if path.contains("/completions") && !path.contains("/chat/") {
        PromptKey::Prompt
    } else {
        PromptKey::Messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_length_that_was_asked_for_and_is_json() {
        for path in [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/messages",
            "/v1/embeddings",
        ] {
            let body = Body::Model {
                model: "a/\"b\"".to_owned(),
                stream: true,
                bytes: 1024,
                tokens: 7,
                include_usage: true,
            };
            let options = Options {
                path: path.to_owned(),
                body,
                ..Options::default()
            };
            let shape = Shape::new(&options, "x").unwrap();
            let at = memchr::memmem::find(&shape.kept, b"\r\n\r\n").unwrap() + 4;
            let body = &shape.kept[at..];
            assert_eq!(body.len(), 1024, "{path}");
            let value: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(value["model"], "a/\"b\"");
        }
    }
}
