//! The table behind `FailureKind`: one row a kind, nothing else.
//!
//! **Invariant:** a row is written once; statuses, codes and flags are read from nowhere else.

use super::kind::FAILURE_KINDS;
use super::{Origin, Retry};

/// What one kind of failure answers.
pub(super) struct Row {
    pub(super) status: u16,
    pub(super) flag: &'static str,
    pub(super) code: &'static str,
    pub(super) origin: Origin,
    pub(super) retry: Retry,
    pub(super) openai: &'static str,
    pub(super) anthropic: &'static str,
    pub(super) should_retry: Option<bool>,
    pub(super) message: &'static str,
}

/// In the order of `FAILURE_KINDS`.
pub(super) const ROWS: [Row; FAILURE_KINDS.len()] = [
    // BadRequest
    Row {
        status: 400,
        flag: "BR",
        code: "bad_request",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The request is not valid HTTP. Correct it; do not repeat it unchanged.",
    },
    // UriTooLong
    Row {
        status: 414,
        flag: "UL",
        code: "uri_too_long",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The request target is too long. Shorten it.",
    },
    // FieldsTooLarge
    Row {
        status: 431,
        flag: "FL",
        code: "fields_too_large",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The request header fields are too large. Send fewer or shorter ones.",
    },
    // ExpectationFailed
    Row {
        status: 417,
        flag: "XF",
        code: "expectation_failed",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "Only `Expect: 100-continue` is supported. Remove the field.",
    },
    // MethodNotAllowed
    Row {
        status: 405,
        flag: "MA",
        code: "method_not_allowed",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "This method is not allowed here. Use the method that the API documents.",
    },
    // NotImplemented
    Row {
        status: 501,
        flag: "NI",
        code: "not_implemented",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: Some(false),
        message: "The method or transfer coding is not supported. Use another one.",
    },
    // VersionNotSupported
    Row {
        status: 505,
        flag: "VN",
        code: "version_not_supported",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: Some(false),
        message: "This version of HTTP is not supported. Use HTTP/1.1.",
    },
    // HeadTimeout
    Row {
        status: 408,
        flag: "HT",
        code: "head_timeout",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "timeout_error",
        anthropic: "timeout_error",
        should_retry: None,
        message: "The request head did not arrive in time. Send the request again.",
    },
    // BodyTimeout
    Row {
        status: 408,
        flag: "BT",
        code: "body_timeout",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "timeout_error",
        anthropic: "timeout_error",
        should_retry: None,
        message: "The request body did not arrive in time. Send the request again.",
    },
    // BodyTooLarge
    Row {
        status: 413,
        flag: "BL",
        code: "body_too_large",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "request_too_large",
        should_retry: None,
        message: "The request body is too large for this route. Send a smaller one.",
    },
    // NoRoute
    Row {
        status: 404,
        flag: "NR",
        code: "no_route",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "not_found_error",
        should_retry: None,
        message: "No route serves this request. Check the path and the method.",
    },
    // ModelNotFound
    Row {
        status: 404,
        flag: "MN",
        code: "model_not_found",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "not_found_error",
        should_retry: None,
        message: "This model is not served here. `GET /v1/models` lists the models that are.",
    },
    // BadModel
    Row {
        status: 400,
        flag: "BM",
        code: "bad_model",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The body must be a JSON object with one plain string `model`. Correct it.",
    },
    // Unauthorized
    Row {
        status: 401,
        flag: "UA",
        code: "unauthorized",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "authentication_error",
        anthropic: "authentication_error",
        should_retry: None,
        message: "The credential is missing or not valid. Send a valid one.",
    },
    // Forbidden
    Row {
        status: 403,
        flag: "FB",
        code: "forbidden",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "permission_error",
        anthropic: "permission_error",
        should_retry: None,
        message: "This credential does not allow the request. Ask the operator for access.",
    },
    // ChannelFull
    Row {
        status: 429,
        flag: "CF",
        code: "channel_full",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "rate_limit_error",
        anthropic: "rate_limit_error",
        should_retry: Some(true),
        message: "Too many requests are waiting for this model. Try again after the time in \
                  `retry-after`.",
    },
    // Hopeless
    Row {
        status: 429,
        flag: "HL",
        code: "wait_too_long",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "rate_limit_error",
        anthropic: "rate_limit_error",
        should_retry: Some(true),
        message: "The wait for this model would be too long. Try again after the time in \
                  `retry-after`.",
    },
    // WaitExpired
    Row {
        status: 429,
        flag: "WX",
        code: "wait_expired",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "rate_limit_error",
        anthropic: "rate_limit_error",
        should_retry: Some(true),
        message: "The request waited for its turn in vain. Try again after the time in \
                  `retry-after`.",
    },
    // HeldBytes
    Row {
        status: 429,
        flag: "HB",
        code: "held_bytes",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "rate_limit_error",
        anthropic: "rate_limit_error",
        should_retry: Some(true),
        message: "The gateway holds too many request bodies. Try again after the time in \
                  `retry-after`.",
    },
    // NoEndpoint
    Row {
        status: 503,
        flag: "NE",
        code: "no_endpoint",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "overloaded_error",
        should_retry: Some(true),
        message: "No engine is available for this model. Try again after the time in \
                  `retry-after`.",
    },
    // Draining
    Row {
        status: 503,
        flag: "DR",
        code: "draining",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "overloaded_error",
        should_retry: Some(true),
        message: "This gateway is shutting down. Try again on a new connection.",
    },
    // ConnectRefused
    Row {
        status: 502,
        flag: "CR",
        code: "connect_refused",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine could not be reached. Try again later, or tell the operator.",
    },
    // ConnectTimeout
    Row {
        status: 504,
        flag: "CT",
        code: "connect_timeout",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine could not be reached in time. Try again later, or tell the operator.",
    },
    // UpstreamTls
    Row {
        status: 502,
        flag: "UT",
        code: "upstream_tls",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "No secure connection to the engine could be made. Tell the operator.",
    },
    // UpstreamReset
    Row {
        status: 502,
        flag: "UR",
        code: "upstream_reset",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine ended the connection. Try again later.",
    },
    // UpstreamClosed
    Row {
        status: 502,
        flag: "UC",
        code: "upstream_closed",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine closed before its answer was complete. Try again later.",
    },
    // UpstreamRefused
    Row {
        status: 502,
        flag: "UX",
        code: "upstream_refused",
        origin: Origin::Upstream,
        retry: Retry::Elsewhere,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine did not process the request. Try again later.",
    },
    // UpstreamBadResponse
    Row {
        status: 502,
        flag: "UB",
        code: "upstream_bad_response",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine's answer was not valid HTTP. Tell the operator.",
    },
    // UpstreamHeadTimeout
    Row {
        status: 504,
        flag: "UH",
        code: "upstream_head_timeout",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine did not answer in time. Try again later, or with a shorter prompt.",
    },
    // FirstTokenTimeout
    Row {
        status: 504,
        flag: "FT",
        code: "first_token_timeout",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine gave no first token in time. Try again later, or with a shorter \
                  prompt.",
    },
    // InterTokenTimeout
    Row {
        status: 504,
        flag: "IT",
        code: "inter_token_timeout",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine fell silent in mid-stream. The answer is incomplete; try again.",
    },
    // TotalTimeout
    Row {
        status: 504,
        flag: "TT",
        code: "total_timeout",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The request took too long in all. Ask for fewer tokens, or use a stream.",
    },
    // ClientStall
    Row {
        status: 499,
        flag: "CS",
        code: "client_stall",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The client did not read its answer.",
    },
    // ClientGone
    Row {
        status: 499,
        flag: "CG",
        code: "client_gone",
        origin: Origin::Client,
        retry: Retry::Never,
        openai: "invalid_request_error",
        anthropic: "invalid_request_error",
        should_retry: None,
        message: "The client closed the connection before its answer was complete.",
    },
    // UpgradeRefused
    Row {
        status: 502,
        flag: "UG",
        code: "upgrade_refused",
        origin: Origin::Upstream,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The engine refused the upgrade. Check that this path speaks WebSocket.",
    },
    // ControlTimeout
    Row {
        status: 504,
        flag: "KT",
        code: "control_timeout",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(true),
        message: "The gateway's control plane did not answer in time. Try again.",
    },
    // Internal
    Row {
        status: 500,
        flag: "IE",
        code: "internal_error",
        origin: Origin::Proxy,
        retry: Retry::Never,
        openai: "server_error",
        anthropic: "api_error",
        should_retry: Some(false),
        message: "The gateway failed. Tell the operator, with the request id.",
    },
];
