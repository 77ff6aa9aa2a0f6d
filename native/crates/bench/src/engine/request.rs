//! Reads requests: head bytes to `Head`, JSON bodies to `Ask`.
//!
//! Never looks into the prompt: its length in bytes gives the estimate of its tokens.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::fault::Fault;
use crate::http::{Chunked, Framing, Lines, Malformed, decimal, has_token};

/// A request whose body is not there yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) head: Head,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
}

/// Bytes of JSON for one token, roughly, in English.
const BYTES_PER_TOKEN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Chat,
    Completions,
    Messages,
    Embeddings,
    Models,
    Health,
    Metrics,
    Echo,
    Stats,
    Inflight,
    Unknown,
}

/// What the headers `x-sim-*` of a request ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) tokens: Option<u32>,
    pub(crate) gap_us: Option<u64>,
    pub(crate) first_token_us: Option<u64>,
    pub(crate) fault: Option<Fault>,
}

#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) route: Route,
    pub(crate) post: bool,
    /// None: no body.
    pub(crate) framing: Option<Framing>,
    pub(crate) expect: bool,
    pub(crate) close: bool,
    pub(crate) overrides: Overrides,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut lines = Lines::new(bytes);
        let first = lines.line().ok_or(Malformed("an empty request line"))?;
        let mut words = first.split(|byte| *byte == b' ');
        let (method, target, version) = (words.next(), words.next(), words.next());
        let (Some(method), Some(target), Some(version)) = (method, target, version) else {
            return Err(Malformed("a request line of less than three words"));
        };
        let mut head = Self {
            route: route(target),
            post: method == b"POST",
            framing: None,
            expect: false,
            close: version == b"HTTP/1.0",
            overrides: Overrides::default(),
        };
        while let Some((name, value)) = lines.field()? {
            head.field(name, value)?;
        }
        Ok(head)
    }

    /// The head of a request on a stream of HTTP/2, whose framing is not its own business.
    pub(crate) fn of_http2(request: &wire::RequestHead) -> Result<Self, Malformed> {
        let mut head = Self {
            route: route(request.target()),
            post: request.method == wire::Method::Post,
            framing: None,
            expect: false,
            close: false,
            overrides: Overrides::default(),
        };
        for field in request.fields.iter() {
            head.field(field.name, field.value)?;
        }
        Ok(head)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            14 if is(b"content-length") => {
                let length =
                    decimal(value).ok_or(Malformed("a content-length that is no number"))?;
                self.framing = (length > 0).then_some(Framing::Length(length));
            }
            17 if is(b"transfer-encoding") => {
                self.framing = Some(Framing::Chunked(Chunked::default()));
            }
            10 if is(b"connection") => {
                if has_token(value, b"close") {
                    self.close = true;
                } else if has_token(value, b"keep-alive") {
                    self.close = false;
                }
            }
            6 if is(b"expect") => self.expect = true,
            11 if is(b"x-sim-fault") => {
                let fault = Fault::parse(value);
                self.overrides.fault = Some(fault.ok_or(Malformed("an unknown x-sim-fault"))?);
            }
            12 if is(b"x-sim-tokens") => {
                self.overrides.tokens = decimal(value).and_then(|n| u32::try_from(n).ok());
            }
            12 if is(b"x-sim-gap-us") => self.overrides.gap_us = decimal(value),
            20 if is(b"x-sim-first-token-us") => self.overrides.first_token_us = decimal(value),
            _ => {}
        }
        Ok(())
    }
}

fn route(target: &[u8]) -> Route {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or(target);
    match path {
        b"/v1/chat/completions" => Route::Chat,
        b"/v1/completions" => Route::Completions,
        b"/v1/messages" => Route::Messages,
        b"/v1/embeddings" => Route::Embeddings,
        b"/v1/models" => Route::Models,
        b"/health" | b"/healthz" | b"/ping" => Route::Health,
        b"/metrics" => Route::Metrics,
        b"/echo" => Route::Echo,
        b"/sim/stats" => Route::Stats,
        b"/sim/inflight" => Route::Inflight,
        _ => Route::Unknown,
    }
}

/// What a body of JSON asks of the model.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) tokens: Option<u32>,
    pub(crate) prompt_tokens: u64,
    /// Inputs of an embeddings request.
    pub(crate) inputs: u32,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    max_completion_tokens: Option<u32>,
    #[serde(default)]
    input: Option<Inputs>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Ask {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let ask: Body<'_> = serde_json::from_slice(body)?;
        Ok(Self {
            model: ask.model.map(Cow::into_owned).unwrap_or_default(),
            stream: ask.stream.unwrap_or(false),
            include_usage: ask
                .stream_options
                .is_some_and(|options| options.include_usage),
            tokens: ask.max_completion_tokens.or(ask.max_tokens),
            prompt_tokens: body.len().div_ceil(BYTES_PER_TOKEN) as u64,
            inputs: ask.input.map_or(1, |inputs| inputs.0),
        })
    }
}

/// How many inputs an embeddings request has: a text, a list of token numbers (one input), a list
/// of texts or of lists. Nothing of it is kept.
struct Inputs(u32);

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;

        impl<'de> Visitor<'de> for Count {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list")
            }

            fn visit_str<E>(self, _: &str) -> Result<u32, E> {
                Ok(1)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u32, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(count)
            }
        }

        deserializer.deserialize_any(Count).map(Inputs)
    }
}
