//! What a simulated engine can be told, as JSON; every field has a default and a unit.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::{Address, Error};

/// How running streams share time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steps {
    /// All running streams emit one token in the same step, every `gap_us`, as real engines do.
    #[default]
    Aligned,
    /// Each stream has a clock of its own, started by its request.
    Staggered,
}

/// When the head of a stream is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadAt {
    /// As soon as the request is accepted, even if it waits for a slot (vLLM does).
    #[default]
    Once,
    /// Together with the first token.
    FirstToken,
}

/// A fault that strikes a share of all requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultShare {
    /// What happens: `refuse`, `reset:N`, `eof:N`, `cut:N`, `stall:N`, `error:N`,
    /// `malformed:N` (after N tokens), `status:CODE`, `slow`, `split`, `freeze:MS`.
    pub fault: String,
    /// Share of the requests, 0 to 1.
    pub ratio: f64,
}

/// What TCP clients are shown: TLS 1.3 with AES-128-GCM and X25519.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// PEM file with the certificate and those that lead to its issuer.
    pub cert: PathBuf,
    /// PEM file with its key.
    pub key: PathBuf,
}

/// Options of a simulated engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Addresses to listen on: `HOST:PORT` (port 0 picks one) or `unix:/PATH`.
    pub listen: Vec<String>,
    /// TLS on all TCP addresses; none is cleartext. Unix sockets stay in cleartext.
    pub tls: Option<TlsFiles>,
    /// Names of the models it says it serves.
    pub models: Vec<String>,
    /// Answer 404 to a model that is not in `models`.
    pub models_strict: bool,
    /// Requests that run at the same time; 0 is no limit.
    pub slots: u32,
    /// Requests that may wait for a slot before 429 is answered; none is no limit.
    pub queue_max: Option<u32>,
    /// From the slot to the first token, microseconds.
    pub first_token_us: u64,
    /// Added to the first token's delay for each prompt token, nanoseconds.
    pub prefill_ns_per_token: u64,
    /// Between two tokens of a stream, microseconds.
    pub gap_us: u64,
    /// Tokens of an answer whose request has no `max_tokens`.
    pub tokens: u32,
    /// Upper bound of `max_tokens`.
    pub tokens_max: u32,
    /// Bytes of text of each token.
    pub token_bytes: u32,
    /// Whether streams emit together.
    pub steps: Steps,
    /// Service time of a unary answer, microseconds; none is the time the same stream would take.
    pub unary_us: Option<u64>,
    /// Unary bodies are padded to this many bytes.
    pub response_bytes: u32,
    /// When the head of a stream is sent.
    pub head: HeadAt,
    /// Go on answering a client that has sent FIN; otherwise FIN cancels, as in uvicorn.
    pub half_close_allowed: bool,
    /// Faults by share; the header `x-sim-fault` of a request comes first.
    pub faults: Vec<FaultShare>,
    /// `Retry-After` of 429 and 503, seconds.
    pub retry_after_s: u32,
    /// Close a connection that was idle this long, milliseconds; 0 is never.
    pub keepalive_idle_ms: u64,
    /// Reset everything and stop when this many requests were accepted; 0 is never.
    pub die_after_requests: u64,
    /// Connections beyond this many are closed at once.
    pub connections_max: u32,
    /// Streams that an HTTP/2 client may have open on one connection.
    pub http2_streams_max: u32,
    /// Longer request bodies are answered with 413, bytes.
    pub body_bytes_max: u64,
    /// Seed of the fault draws.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:0".to_owned()],
            tls: None,
            models: vec!["sim".to_owned()],
            models_strict: false,
            slots: 256,
            queue_max: None,
            first_token_us: 20_000,
            prefill_ns_per_token: 0,
            gap_us: 20_000,
            tokens: 60,
            tokens_max: 65_536,
            token_bytes: 5,
            steps: Steps::Aligned,
            unary_us: None,
            response_bytes: 0,
            head: HeadAt::Once,
            half_close_allowed: false,
            faults: Vec::new(),
            retry_after_s: 1,
            keepalive_idle_ms: 0,
            die_after_requests: 0,
            connections_max: 65_536,
            http2_streams_max: 1024,
            body_bytes_max: 32 * 1024 * 1024,
            seed: 1,
        }
    }
}

impl Options {
    /// Reads options from JSON; fields left out have their defaults.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text)?)
    }

    pub(crate) fn addresses(&self) -> Result<Vec<Address>, Error> {
        if self.listen.is_empty() {
            let why = "is empty; give at least one address".to_owned();
            return Err(Error::Option {
                name: "listen",
                why,
            });
        }
        self.listen.iter().map(|text| text.parse()).collect()
    }

    pub(crate) fn fault_draws(&self) -> Result<Vec<(Fault, f64)>, Error> {
        let parse = |share: &FaultShare| {
            let fault = Fault::parse(share.fault.as_bytes());
            fault
                .map(|fault| (fault, share.ratio))
                .ok_or_else(|| Error::Option {
                    name: "faults",
                    why: format!(
                        "`{}` is no fault; write one of {}",
                        share.fault,
                        Fault::FORMS
                    ),
                })
        };
        self.faults.iter().map(parse).collect()
    }
}
