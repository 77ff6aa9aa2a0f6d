//! The compiled configuration as it crosses the border: one JSON document, written by
//! `fastproxy.config.compile` and read once per reload.
//!
//! Everything is already validated by the Python side, with file and line; what is checked again
//! here is what memory safety of indices needs. **Invariant:** a `Plan` is never mutated.

use std::path::PathBuf;

use serde::Deserialize;

/// The whole plan. Pools are referred to by their position.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name in `Via` (RFC 9110 §7.6.3), a token.
    pub via: String,
    /// Where bytes come in.
    pub listeners: Vec<ListenerPlan>,
    /// Where they go.
    pub pools: Vec<PoolPlan>,
    /// Which goes where, first match wins.
    pub routes: Vec<RoutePlan>,
    /// Position of the pool for requests that no route takes; `None` answers 404.
    pub default_pool: Option<u32>,
    /// Bytes of held request bodies in the whole process.
    pub held_bytes_max: u64,
    /// Bytes of one held request body; beyond it a body streams and is not replayable.
    pub held_body_bytes_max: u64,
    /// Access log: `None` = off. `-` is standard output.
    pub access_log: Option<String>,
    /// Header names (lower case) whose values the access log shows.
    #[serde(default)]
    pub log_fields: Vec<String>,
}

/// An address to listen on or to dial. Whether two of a name are the same place is not a question
/// of what is known of them: see `shared::Target`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// `HOST:PORT` with a literal IP address (`[::1]:80` for IPv6).
    Tcp(std::net::SocketAddr),
    /// Path of a unix stream socket.
    Unix(PathBuf),
    /// A host name to dial, never to listen on. The control plane looks it up.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// What it means as far as is known, best first; newer answers come by `Shared::resolve`.
        #[serde(default)]
        addresses: Vec<std::net::IpAddr>,
    },
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Client traffic.
    Data,
    /// `/healthz` and `/readyz` natively, everything else by the control plane.
    Admin,
}

/// One listening socket.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPlan {
    /// Identity over reloads: the configured address text.
    pub name: String,
    /// Where to listen; port 0 lets the system choose.
    pub address: Address,
    /// What it serves.
    pub kind: ListenerKind,
    /// CIDR blocks whose forwarding headers are kept and appended to.
    #[serde(default)]
    pub trusted_peers: Vec<String>,
    /// Unix peers are trusted, too.
    #[serde(default)]
    pub trust_unix: bool,
    /// Expect a PROXY protocol v1 or v2 header on every connection.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// HTTP/2 is served beside HTTP/1.1: by ALPN on TLS, by prior knowledge in cleartext.
    #[serde(default = "yes")]
    pub http2: bool,
    /// Microseconds that tokens on a connection of HTTP/2 may wait for others of the same step of
    /// an engine, while steps are seen; 0 = never, at most 100.
    #[serde(default = "gather_max_us")]
    pub gather_max_us: u32,
    /// A client's FIN after a complete request does not mean that it left.
    #[serde(default)]
    pub half_close: bool,
    /// Cross-origin rules; `None` passes CORS headers on untouched.
    #[serde(default)]
    pub cors: Option<CorsPlan>,
    /// Connections at a time on this listener, in each worker's share.
    pub connections_max: u32,
    /// Connections at a time from one source address; 0 = no cap.
    #[serde(default)]
    pub connections_per_source_max: u32,
    /// Milliseconds a kept connection may be idle.
    pub idle_ms: u64,
    /// Milliseconds for a header block to be complete.
    pub head_ms: u64,
    /// Requests on one connection before it is closed in order; 0 = no cap.
    #[serde(default)]
    pub requests_max: u32,
    /// TLS towards clients; `None` = cleartext.
    #[serde(default)]
    pub tls: Option<ServerTlsPlan>,
}

/// TLS of a listener. Files are named, never carried: keys do not cross the border.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ServerTlsPlan {
    /// At least one; the first is used where no other has the name that a client asks for.
    pub certificates: Vec<CertificatePlan>,
    /// PEM bundle that client certificates must come from; `None` asks for none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// A client without a certificate is served, too.
    #[serde(default)]
    pub client_optional: bool,
    /// The lowest version.
    #[serde(default)]
    pub min_version: MinVersion,
    /// Protocols offered by ALPN, most wanted first: `h2`, `http/1.1`.
    pub alpn: Vec<String>,
}

/// A certificate chain and its private key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(deny_unknown_fields)]
pub struct CertificatePlan {
    /// PEM file: the certificate, then its intermediates.
    pub cert: PathBuf,
    /// PEM file of the key (PKCS #8, SEC 1 or PKCS #1).
    pub key: PathBuf,
}

/// The lowest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Hash)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3 only.
    #[serde(rename = "1.3")]
    V13,
}

/// TLS towards an endpoint. Files are named, never carried.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(deny_unknown_fields)]
pub struct ClientTlsPlan {
    /// The name or IP address that the endpoint's certificate must have.
    pub server_name: String,
    /// PEM bundle of trusted issuers; `None` = the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Our certificate, for endpoints that ask for one.
    #[serde(default)]
    pub certificate: Option<CertificatePlan>,
    /// `false` takes any certificate of anybody.
    #[serde(default = "yes")]
    pub verify: bool,
    /// The lowest version.
    #[serde(default)]
    pub min_version: MinVersion,
    /// Protocols offered by ALPN, most wanted first: `h2`, `http/1.1`.
    pub alpn: Vec<String>,
}

/// Cross-origin resource sharing (Fetch standard).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsPlan {
    /// Allowed origins, exact, or `*`.
    pub origins: Vec<String>,
    /// Allowed methods.
    pub methods: Vec<String>,
    /// Allowed request headers (lower case), or `*`.
    pub headers: Vec<String>,
    /// Response headers that scripts may read.
    pub expose: Vec<String>,
    /// Seconds a preflight may be cached.
    pub max_age_s: u32,
    /// Cookies and authorization allowed.
    pub credentials: bool,
}

/// How an endpoint is chosen among those that can take a request.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Least in-flight over weight.
    LeastLoaded,
    /// Smooth weighted round-robin.
    Weighted,
    /// Least (peak EWMA of first-token time) x (in-flight + 1) over weight.
    PeakEwma,
}

/// A set of endpoints that serve the same models.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPlan {
    /// Identity over reloads.
    pub name: String,
    /// Label of metrics: `chat`, `embeddings`, ...
    pub modality: String,
    /// The choosing policy.
    pub balance: Balance,
    /// At least one.
    pub endpoints: Vec<EndpointPlan>,
    /// The bounded channel.
    pub channel: ChannelPlan,
    /// Timeouts in the units of the work.
    pub timeouts: TimeoutPlan,
    /// Attempts elsewhere.
    pub retry: RetryPlan,
    /// Passive ejection.
    pub eject: EjectPlan,
    /// Changes to request and response headers.
    #[serde(default)]
    pub headers: HeaderPlan,
    /// What `Host` the upstream sees.
    pub host: HostPolicy,
    /// Path prefix removed before forwarding, without trailing slash; empty = none.
    #[serde(default)]
    pub strip_prefix: String,
    /// Upstream connections per endpoint in the whole process, at least 1.
    pub connections_max: u32,
    /// Milliseconds an idle upstream connection is kept.
    pub idle_ms: u64,
    /// Milliseconds of silence after which a comment is sent to an SSE client; 0 = never.
    #[serde(default)]
    pub heartbeat_ms: u64,
    /// When an SSE response's head goes to the client.
    pub commit: Commit,
    /// Concrete model names (for merged lists when the engines cannot be asked).
    #[serde(default)]
    pub models: Vec<String>,
}

/// When the head of an event stream is sent to the client.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// With its first event: an engine that dies before it is replaced unseen.
    FirstEvent,
    /// As soon as it is there.
    Head,
}

/// What the upstream sees as `Host`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HostPolicy {
    /// The endpoint's own authority.
    Endpoint,
    /// The client's.
    Client,
    /// This one.
    Literal(String),
}

/// Whether HTTP/2 is spoken to an endpoint.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Http2 {
    /// On TLS what the handshake agrees on; in cleartext only for gRPC, since today's engines
    /// speak HTTP/1.1 there.
    #[default]
    Auto,
    /// Always, in cleartext by prior knowledge (`h2c://`).
    Always,
    /// Never.
    Never,
}

/// One engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointPlan {
    /// Identity over reloads and label of metrics: the configured URL.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Its authority for `Host`.
    pub authority: String,
    /// Path prefix of the URL, without trailing slash; empty = none.
    #[serde(default)]
    pub path_prefix: String,
    /// Relative share, 1 to 1,000,000.
    pub weight: u32,
    /// Requests at a time.
    pub concurrency: u32,
    /// Whether HTTP/2 is spoken to it.
    #[serde(default)]
    pub http2: Http2,
    /// TLS towards it; `None` = cleartext.
    #[serde(default)]
    pub tls: Option<ClientTlsPlan>,
}

/// The bounded channel in front of a pool.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelPlan {
    /// Waiters at most.
    pub capacity: u32,
    /// Held body bytes of waiters at most.
    pub bytes_max: u64,
    /// Longest wait in milliseconds.
    pub max_wait_ms: u64,
}

/// Milliseconds; 0 = off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutPlan {
    /// TCP connect.
    pub connect_ms: u64,
    /// Request sent to response head.
    pub head_ms: u64,
    /// Dispatch to the first event of a stream.
    pub first_token_ms: u64,
    /// Between bytes of a stream.
    pub inter_token_ms: u64,
    /// Whole unary exchange.
    pub unary_total_ms: u64,
    /// Whole stream.
    pub stream_total_ms: u64,
    /// A client that takes no byte of what waits for it.
    pub client_stall_ms: u64,
}

/// Attempts elsewhere until commit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPlan {
    /// Attempts in all, the first included; 1 = no retries.
    pub attempts_max: u32,
    /// Share of requests that may be retried, 0 to 1.
    pub budget_ratio: f64,
    /// Retries per second that are always allowed.
    pub budget_min_per_s: u32,
    /// Upstream statuses that are tried elsewhere.
    pub statuses: Vec<u16>,
}

/// Passive ejection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EjectPlan {
    /// Failures in a row; 0 = never.
    pub consecutive: u32,
    /// First ejection in milliseconds; doubles each time.
    pub base_ms: u64,
    /// Longest ejection in milliseconds.
    pub max_ms: u64,
    /// Share of the pool's endpoints ejected at most, 0 to 100.
    pub max_percent: u32,
}

/// Changes to headers. Names are lower case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderPlan {
    /// Set on requests (replaces; upstream credentials are set here).
    pub request_set: Vec<(String, String)>,
    /// Removed from requests.
    pub request_remove: Vec<String>,
    /// Set on responses.
    pub response_set: Vec<(String, String)>,
    /// Removed from responses.
    pub response_remove: Vec<String>,
}

/// In which form errors of ours are written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `{"error": {"message", "type", "param", "code"}}`.
    Openai,
    /// `{"type": "error", "error": {"type", "message"}}`.
    Anthropic,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// A gRPC status in the trailers.
    Grpc,
}

/// One rule of routing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutePlan {
    /// Label of metrics.
    pub name: String,
    /// All of it must hold.
    #[serde(rename = "match")]
    pub matches: MatchPlan,
    /// Position of the pool.
    pub pool: u32,
    /// 0 = high, 1 = normal, 2 = low.
    pub class: u8,
    /// Header that may lower the class (`high`, `normal`, `low`).
    #[serde(default)]
    pub class_header: Option<String>,
    /// Form of error bodies; `None` = by path (`/v1/messages` Anthropic, else OpenAI).
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// Largest request body in bytes.
    pub body_bytes_max: u64,
    /// Tell the client the endpoint and timing (`x-fastproxy-endpoint`, `server-timing`).
    #[serde(default)]
    pub expose: bool,
    /// WebSocket upgrades allowed.
    #[serde(default = "yes")]
    pub websocket: bool,
}

fn yes() -> bool {
    true
}

fn gather_max_us() -> u32 {
    50
}

/// Conditions of a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchPlan {
    /// Exact path, or a prefix when it ends in `*` (matched on the bytes before the star).
    pub path: Option<String>,
    /// Methods; empty = any of the allow-list.
    pub methods: Vec<String>,
    /// Header name (lower case) and value; a value of `*` asks for presence only.
    pub headers: Vec<(String, String)>,
    /// Globs of the body's `model` (`*` any run of characters); empty = do not look.
    pub models: Vec<String>,
}
