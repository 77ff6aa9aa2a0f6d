//! The table of metrics. Add a row here; nothing else needs to know.
//!
//! **Invariant:** names are unique and end as Prometheus wants: `_total` for counters, `_seconds`
//! or `_bytes` for units.

use super::Kind::{Counter, Gauge, Histogram};
use super::Scope::{Certificate, Endpoint, Listener, Pool, Process, Room, Route, Slot, Worker};
use super::Unit::{Bytes, Items, Seconds};
use super::{Row, buckets};

const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];
const SHEDS: &[&str] = &["full", "hopeless", "max_wait", "no_endpoint"];
pub(crate) const RESOLUTIONS: &[&str] = &["same", "changed", "failed"];
const FAMILIES: &[&str] = &["ipv4", "ipv6", "unix"];
const TIMEOUTS: &[&str] = &["connect", "head", "first_token", "inter_token", "total"];
const VIOLATIONS: &[&str] = &[
    "bad_request",
    "uri_too_long",
    "fields_too_large",
    "expectation_failed",
    "method_not_allowed",
    "not_implemented",
    "version_not_supported",
    "bad_response",
];
const H2_CAUSES: &[&str] = &{
    let mut labels = [""; wire::h2::Cause::COUNT];
    let mut at = 0;
    while at < labels.len() {
        labels[at] = wire::h2::Cause::ALL[at].label();
        at += 1;
    }
    labels
};
const FLAGS: &[&str] = &crate::error::FLAGS;

macro_rules! table {
    ($(
        $metric:ident: $scope:ident $kind:expr, $unit:ident, $name:literal $label:expr,
        $help:literal;
    )*) => {
        /// A metric: a position in [`TABLE`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = $help] $metric,)*
        }

        /// Every metric there is.
        pub const TABLE: &[Row] = &[
            $(Row {
                name: concat!("fastproxy_", $name),
                kind: $kind,
                scope: $scope,
                unit: $unit,
                help: $help,
                label: $label,
            },)*
        ];

        impl Metric {
            /// All metrics, in the table's order.
            pub const ALL: &[Self] = &[$(Self::$metric,)*];
        }
    };
}

table! {
    Requests: Route Counter, Items, "requests_total" None, "Requests that met a route.";
    Responses: Route Counter, Items, "responses_total" Some(("code_class", CLASSES)),
        "Final responses sent to clients, by class of status.";
    RequestDuration: Route Histogram(buckets::REQUEST), Seconds, "request_duration_seconds" None,
        "First byte of a request to the last byte of its response.";
    RequestBytes: Route Counter, Bytes, "request_body_bytes_total" None,
        "Bytes of request bodies.";
    ResponseBytes: Route Counter, Bytes, "response_body_bytes_total" None,
        "Bytes of response bodies.";

    FirstToken: Pool Histogram(buckets::FIRST_TOKEN), Seconds, "first_token_seconds" None,
        "First byte of a request to the first event of its stream.";
    InterToken: Pool Histogram(buckets::INTER_TOKEN), Seconds, "inter_token_seconds" None,
        "Between events of a stream.";
    Tokens: Pool Counter, Items, "stream_events_total" None,
        "Events of streams, about one a token.";
    PromptTokens: Pool Counter, Items, "prompt_tokens_total" None,
        "Prompt tokens that engines reported.";
    CompletionTokens: Pool Counter, Items, "completion_tokens_total" None,
        "Completion tokens that engines reported.";
    ChannelDepth: Pool Histogram(buckets::DEPTH), Items, "channel_depth" None,
        "Waiters that a request met at the door of the channel.";
    ChannelWait: Pool Histogram(buckets::WAIT), Seconds, "channel_wait_seconds" None,
        "Time that admitted requests stood in the channel.";
    Sheds: Pool Counter, Items, "sheds_total" Some(("reason", SHEDS)),
        "Requests that were refused for load.";
    Retries: Pool Counter, Items, "retries_total" None, "Attempts beyond the first.";
    RetryBudgetExhausted: Pool Counter, Items, "retry_budget_exhausted_total" None,
        "Retries not made for lack of budget.";
    Timeouts: Pool Counter, Items, "timeouts_total" Some(("kind", TIMEOUTS)),
        "Deadlines that passed, by kind.";
    Cancelled: Pool Counter, Items, "cancelled_total" None,
        "Requests whose client left before the end.";
    Truncated: Pool Counter, Items, "truncated_total" None,
        "Responses that ended early after their first body byte was sent.";
    Heartbeats: Pool Counter, Items, "heartbeats_total" None,
        "Comments sent while an engine was silent.";
    EventsOversize: Pool Counter, Items, "stream_events_oversize_total" None,
        "Events passed on in pieces because they were too large to hold.";

    EndpointRequests: Endpoint Counter, Items, "endpoint_requests_total" None,
        "Attempts sent to the endpoint.";
    EndpointFailures: Endpoint Counter, Items, "endpoint_failures_total" None,
        "Attempts that failed there.";
    EndpointFirstToken: Endpoint Histogram(buckets::FIRST_TOKEN), Seconds,
        "endpoint_first_token_seconds" None, "Dispatch to the first event.";
    Ejections: Endpoint Counter, Items, "ejections_total" None,
        "Times the endpoint was left alone after failures.";
    Connects: Endpoint Counter, Items, "connects_total" None, "Connections dialled.";
    DialAttempts: Endpoint Counter, Items, "dial_attempts_total" Some(("family", FAMILIES)),
        "Addresses tried by dials; a name may have several.";
    ConnectErrors: Endpoint Counter, Items, "connect_errors_total" None, "Dials that failed.";
    ConnectDuration: Endpoint Histogram(buckets::WAIT), Seconds, "connect_seconds" None,
        "Length of dials that succeeded.";
    ConnectionsTrimmed: Endpoint Counter, Items, "connections_trimmed_total" None,
        "Idle connections closed to stay within connections_max.";
    ConnectionReuse: Endpoint Counter, Items, "connection_reuse_total" None,
        "Attempts on a kept connection.";
    UpstreamTlsHandshakes: Endpoint Counter, Items, "upstream_tls_handshakes_total"
        Some(("outcome", crate::secure::DIALS)), "TLS handshakes with the endpoint, by outcome.";
    UpstreamOpen: Endpoint Gauge, Items, "upstream_connections_open" None,
        "Connections to the endpoint.";
    UpstreamHttp2: Endpoint Counter, Items, "upstream_http2_connections_total" None,
        "Connections to the endpoint that spoke HTTP/2.";
    UpstreamHttp2Closures: Endpoint Counter, Items, "upstream_http2_closures_total"
        Some(("cause", H2_CAUSES)),
        "HTTP/2 connections closed because the endpoint broke a rule or spent a budget.";
    UpstreamBytesIn: Endpoint Counter, Bytes, "upstream_received_bytes_total" None,
        "Bytes read from the endpoint.";
    UpstreamBytesOut: Endpoint Counter, Bytes, "upstream_sent_bytes_total" None,
        "Bytes written to the endpoint.";

    Connections: Listener Counter, Items, "connections_total" None, "Connections accepted.";
    ConnectionsRefused: Listener Counter, Items, "connections_refused_total" None,
        "Connections closed at once because of a cap.";
    ClientOpen: Listener Gauge, Items, "client_connections_open" None,
        "Connections of clients.";
    ClientBytesIn: Listener Counter, Bytes, "client_received_bytes_total" None,
        "Bytes read from clients.";
    ClientBytesOut: Listener Counter, Bytes, "client_sent_bytes_total" None,
        "Bytes written to clients.";
    Violations: Listener Counter, Items, "violations_total" Some(("code", VIOLATIONS)),
        "Breaches of HTTP by peers.";
    Http2Connections: Listener Counter, Items, "http2_connections_total" None,
        "Connections of clients that spoke HTTP/2.";
    Http2Closures: Listener Counter, Items, "http2_closures_total" Some(("cause", H2_CAUSES)),
        "HTTP/2 connections closed because the peer broke a rule or spent a budget.";
    LocalReplies: Listener Counter, Items, "local_replies_total" Some(("flag", FLAGS)),
        "Ends that we chose, by response flag.";

    TlsHandshakes: Listener Counter, Items, "tls_handshakes_total"
        Some(("outcome", crate::secure::HANDSHAKES)), "TLS handshakes with clients, by outcome.";
    TlsHandshakeDuration: Listener Histogram(buckets::WAIT), Seconds,
        "tls_handshake_seconds" None, "Accept to the end of a handshake that succeeded.";

    Gathers: Worker Counter, Items, "gathers_total" None,
        "Times that tokens over HTTP/2 waited for others of the same step of an engine.";
    GatheredPieces: Worker Counter, Items, "gathered_pieces_total" None,
        "Pieces of streams that came while others waited, and shared their writes.";
    TokenDelay: Worker Histogram(buckets::ADDED), Seconds, "token_delay_seconds" None,
        "What we add to a token: clock after the write less clock when the poll returned.";
    Turn: Worker Histogram(buckets::TURN), Seconds, "turn_seconds" None, "Length of turns.";
    TurnInputs: Worker Histogram(buckets::INPUTS), Items, "turn_inputs" None,
        "Inputs of a turn.";
    Streams: Worker Gauge, Items, "streams" None, "Streams now.";
    Exchanges: Worker Gauge, Items, "exchanges" None, "Exchanges now.";

    Bugs: Process Counter, Items, "bugs_total" None, "Panics caught. Each is a bug.";
    LogRecordsDropped: Process Counter, Items, "log_records_dropped_total" None,
        "Access log records dropped because the recorder was behind.";
    Resolutions: Process Counter, Items, "resolutions_total" Some(("outcome", RESOLUTIONS)),
        "Lookups of endpoints' names.";
    HeldBytes: Process Gauge, Bytes, "held_bytes" None, "Body bytes held now.";
    HeldBytesMax: Process Gauge, Bytes, "held_max_bytes" None, "Body bytes held at most.";
    Generation: Process Gauge, Items, "config_generation" None,
        "Configurations applied since the start.";
    ChannelWaiters: Room Gauge, Items, "channel_waiters" None, "Waiters in the channel now.";
    ChannelCapacity: Room Gauge, Items, "channel_capacity" None, "Waiters at most.";
    PermitsLost: Room Counter, Items, "permits_lost_total" None,
        "Permits returned by the net. Each is a bug or a dead worker.";
    EndpointInFlight: Slot Gauge, Items, "endpoint_in_flight" None,
        "Requests at the endpoint now.";
    EndpointUp: Slot Gauge, Items, "endpoint_up" None, "0 while the endpoint is left alone.";
    TlsCertificateExpiry: Certificate Gauge, Seconds,
        "tls_certificate_expiry_timestamp_seconds" None,
        "When a certificate that is offered to clients expires, in Unix time.";
    EndpointAddresses: Slot Gauge, Items, "endpoint_addresses" None,
        "Addresses that a dial can try; 0 while the endpoint's name was never resolved.";
    EndpointWeight: Slot Gauge, Items, "endpoint_weight" None, "Relative share.";
}
