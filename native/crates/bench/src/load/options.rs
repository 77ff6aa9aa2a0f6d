//! What a load can be told, as JSON; every field has a default and a unit.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;

/// What each request carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    /// No body.
    None,
    /// This many bytes of `x`.
    Bytes {
        /// Length.
        bytes: usize,
    },
    /// A text as it is.
    Text {
        /// The text.
        text: String,
    },
    /// The content of a file.
    File {
        /// Its path.
        path: PathBuf,
    },
    /// A request to a model, in the form that `path` of the options asks for (chat completions,
    /// completions, messages, embeddings).
    Model {
        /// Name of the model.
        #[serde(default = "default_model")]
        model: String,
        /// Ask for a stream.
        #[serde(default)]
        stream: bool,
        /// Length of the whole body; the prompt is stretched to reach it. A trace says it itself.
        #[serde(default)]
        bytes: usize,
        /// `max_tokens`; 0 leaves it out. A trace says it itself.
        #[serde(default)]
        tokens: u32,
        /// Ask for a usage event at the end of a stream.
        #[serde(default)]
        include_usage: bool,
    },
}

fn default_model() -> String {
    "sim".to_owned()
}

/// What connections speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1: one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2 by prior knowledge: `streams_per_connection` at a time.
    Http2,
}

/// TLS 1.3 with one suite and one group (AES-128-GCM, X25519), for TCP targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsOptions {
    /// PEM file with the certificates that the server's must come from.
    pub ca: PathBuf,
    /// The name that the server's certificate must have.
    #[serde(default = "default_server_name")]
    pub server_name: String,
    /// Resume sessions on new connections.
    #[serde(default)]
    pub resume: bool,
}

fn default_server_name() -> String {
    "localhost".to_owned()
}

/// How arrivals of an open loop are spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// The same gap always.
    Constant,
    /// Independent of each other, as many users are.
    #[default]
    Poisson,
}

/// When requests are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Mode {
    /// Closed loop: so many at a time, the next when one has ended.
    Concurrency {
        /// How many at a time.
        connections: u32,
    },
    /// Closed loop of streams: so many in parallel, `tokens` each.
    Streams {
        /// How many in parallel.
        streams: u32,
        /// `max_tokens` of each; 0 takes that of the body.
        #[serde(default)]
        tokens: u32,
        /// The first ones start spread over this time, milliseconds.
        #[serde(default)]
        spread_ms: u64,
    },
    /// Open loop: sent when they are due, whether earlier ones have ended or not.
    Rate {
        /// Requests a second; a phase may have its own.
        per_second: f64,
        /// Constant or Poisson.
        #[serde(default)]
        arrivals: Arrivals,
    },
    /// Open loop with the arrivals and lengths of a trace.
    Trace {
        /// A `.csv` (Azure) or `.jsonl` (Mooncake) file.
        path: PathBuf,
        /// 2 replays it in half the time.
        #[serde(default = "default_speedup")]
        speedup: f64,
        /// Take so many requests of it at most; 0 takes all.
        #[serde(default)]
        limit: usize,
    },
}

fn default_speedup() -> f64 {
    1.0
}

/// A part of the run that is reported by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Phase {
    /// Its name in the report.
    pub name: String,
    /// How long it is, seconds.
    pub duration_s: f64,
    /// Arrivals a second, for the mode `rate`; none takes that of the mode.
    pub per_second: Option<f64>,
}

/// Where in the life of its request a client leaves. Over HTTP/2 nothing can be half a head: that
/// client leaves behind its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortPhase {
    /// Half of the head is sent.
    Head,
    /// Half of the body is sent.
    Body,
    /// Everything is sent; after `delay_ms`, whatever has come by then.
    Queue,
    /// The answer's head is there or `delay_ms` is over, and no token has come.
    BeforeToken,
    /// After three tokens, in the middle of the fourth.
    MidEvent,
}

/// How a client leaves: with its connection, and whatever else is on that, unless it says that only
/// a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortKind {
    /// RST.
    Rst,
    /// Closed, as a process that ends does it: under TLS without a word.
    Fin,
    /// FIN, under TLS behind its close_notify, and what still comes is read: over HTTP/1.1 for a
    /// second, over HTTP/2 until the server closes.
    HalfClose,
    /// RST_STREAM; over HTTP/1.1 as `Rst`.
    Stream,
    /// Closed in good order: behind a GOAWAY over HTTP/2, and a close_notify under TLS.
    Goodbye,
}

/// Clients that leave before their answer is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAbort {
    /// Share of the requests, 0 to 1.
    pub ratio: f64,
    /// Where they leave, taken in turn.
    pub phases: Vec<AbortPhase>,
    /// How they leave, taken in turn, each with all phases.
    pub kinds: Vec<AbortKind>,
    /// See `AbortPhase`, milliseconds.
    pub delay_ms: u64,
}

impl Default for ClientAbort {
    fn default() -> Self {
        Self {
            ratio: 0.0,
            phases: vec![AbortPhase::MidEvent],
            kinds: vec![AbortKind::Rst],
            delay_ms: 5,
        }
    }
}

/// Options of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where to connect: `HOST:PORT`, `http://HOST:PORT` or `unix:/PATH`; taken in turn.
    pub targets: Vec<String>,
    /// Path of the requests.
    pub path: String,
    /// Method of the requests.
    pub method: String,
    /// Headers added to each request, as pairs.
    pub headers: Vec<(String, String)>,
    /// What each request carries.
    pub body: Body,
    /// When requests are sent.
    pub mode: Mode,
    /// Parts of the run; empty is one part of `duration_s`.
    pub phases: Vec<Phase>,
    /// How long requests are sent, seconds, when there are no `phases`.
    pub duration_s: f64,
    /// Sent before, with the rate of the first part, and not reported, seconds.
    pub warmup_s: f64,
    /// How long answers are awaited at the end, seconds.
    pub drain_s: f64,
    /// Send no more than this many requests after the warm-up; 0 is no limit.
    pub requests_max: u64,
    /// What connections speak.
    pub protocol: Protocol,
    /// TLS; none is cleartext.
    pub tls: Option<TlsOptions>,
    /// Connections open at the same time; beyond it requests wait.
    pub connections_max: u32,
    /// HTTP/2: requests at the same time on one connection; one more opens another connection.
    pub streams_per_connection: u32,
    /// Share of the requests sent on a connection of their own, closed after, 0 to 1.
    pub new_connection_ratio: f64,
    /// An answer that takes longer, from its send, is given up, milliseconds.
    pub timeout_ms: u64,
    /// Clients that leave.
    pub client_abort: Option<ClientAbort>,
    /// A stream without `[DONE]` or `message_stop` is truncated.
    pub done_expected: bool,
    /// Send a request again, once, if its kept connection closed before any byte of an answer.
    pub retry_stale: bool,
    /// Processes whose CPU and memory are reported.
    pub pids: Vec<u32>,
    /// Seed of all that is drawn.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            path: "/v1/chat/completions".to_owned(),
            method: "POST".to_owned(),
            headers: Vec::new(),
            body: Body::Model {
                model: default_model(),
                stream: true,
                bytes: 0,
                tokens: 0,
                include_usage: false,
            },
            mode: Mode::Concurrency { connections: 64 },
            phases: Vec::new(),
            duration_s: 10.0,
            warmup_s: 0.0,
            drain_s: 30.0,
            requests_max: 0,
            protocol: Protocol::Http1,
            tls: None,
            connections_max: 8192,
            streams_per_connection: 100,
            new_connection_ratio: 0.0,
            timeout_ms: 60_000,
            client_abort: None,
            done_expected: true,
            retry_stale: false,
            pids: Vec::new(),
            seed: 1,
        }
    }
}

impl Options {
    /// Reads options from JSON; fields left out have their defaults.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Ok(serde_json::from_str(text)?)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |name, why: &str| {
            Err(Error::Option {
                name,
                why: why.to_owned(),
            })
        };
        let ratio = |ratio: f64| (0.0..=1.0).contains(&ratio);
        if self.targets.is_empty() {
            return wrong("targets", "is empty; give at least one address");
        }
        if !ratio(self.new_connection_ratio) {
            return wrong("new_connection_ratio", "must lie between 0 and 1");
        }
        if self.connections_max == 0 {
            return wrong("connections_max", "must be at least 1");
        }
        if self.streams_per_connection == 0 {
            return wrong("streams_per_connection", "must be at least 1");
        }
        if self.timeout_ms == 0 {
            return wrong("timeout_ms", "must be at least 1");
        }
        let times = [self.duration_s, self.warmup_s, self.drain_s];
        if !times.iter().all(|time_s| (0.0..=1e6).contains(time_s)) {
            return wrong(
                "duration_s",
                "times must lie between 0 and a million seconds",
            );
        }
        if !self
            .phases
            .iter()
            .all(|phase| (0.0..=1e6).contains(&phase.duration_s))
        {
            return wrong(
                "phases",
                "duration_s must lie between 0 and a million seconds",
            );
        }
        if let Some(abort) = &self.client_abort
            && (!ratio(abort.ratio) || abort.phases.is_empty() || abort.kinds.is_empty())
        {
            return wrong(
                "client_abort",
                "needs a ratio from 0 to 1, one phase, one kind",
            );
        }
        self.check_mode()
    }

    fn check_mode(&self) -> Result<(), Error> {
        let wrong = |why: &str| {
            Err(Error::Option {
                name: "mode",
                why: why.to_owned(),
            })
        };
        match &self.mode {
            Mode::Concurrency { connections: 0 } | Mode::Streams { streams: 0, .. } => {
                wrong("a closed loop needs at least one connection or stream")
            }
            Mode::Rate { per_second, .. } => {
                let rates = self.phases.iter().filter_map(|phase| phase.per_second);
                if rates
                    .chain([*per_second])
                    .all(|rate| (0.0..=1e7).contains(&rate))
                {
                    return Ok(());
                }
                wrong("per_second must lie between 0 and ten million")
            }
            Mode::Trace { speedup, .. } if !(1e-6..=1e6).contains(speedup) => {
                wrong("speedup must lie between a millionth and a million")
            }
            _ => Ok(()),
        }
    }
}
