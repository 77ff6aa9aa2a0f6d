//! The kinds of failure and what each of them answers.
//!
//! **Invariant:** a kind's number is its position in [`FAILURE_KINDS`] and in the table.

use super::table::{ROWS, Row};
use super::{Origin, Retry};

/// What failed. `as usize` is its position in [`FAILURE_KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureKind {
    /// The request breaks HTTP.
    BadRequest,
    /// The request line is beyond its limit.
    UriTooLong,
    /// The head is beyond its limit.
    FieldsTooLarge,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// A method that is not in the allow-list.
    MethodNotAllowed,
    /// A method or coding that we do not know.
    NotImplemented,
    /// A version of HTTP that we do not speak.
    VersionNotSupported,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is beyond the route's limit.
    BodyTooLarge,
    /// No route takes the request.
    NoRoute,
    /// No route serves the model.
    ModelNotFound,
    /// The body's `model` cannot be read without doubt.
    BadModel,
    /// No credential, or one that is not known.
    Unauthorized,
    /// The credential does not allow this.
    Forbidden,
    /// The pool's channel is full.
    ChannelFull,
    /// The predicted wait is above `max_wait`.
    Hopeless,
    /// `max_wait` passed in the channel.
    WaitExpired,
    /// The process holds as many body bytes as it may.
    HeldBytes,
    /// No endpoint can take the request.
    NoEndpoint,
    /// This gateway is shutting down.
    Draining,
    /// The engine does not take connections.
    ConnectRefused,
    /// The engine did not answer the dial in time.
    ConnectTimeout,
    /// The TLS handshake with the engine failed.
    UpstreamTls,
    /// The engine reset the connection.
    UpstreamReset,
    /// The engine closed before its answer was complete.
    UpstreamClosed,
    /// The engine said that it did not process the request.
    UpstreamRefused,
    /// The engine does not speak the version of HTTP that the call needs.
    UpstreamVersion,
    /// The engine's answer breaks HTTP.
    UpstreamBadResponse,
    /// No response head in time.
    UpstreamHeadTimeout,
    /// No first token in time.
    FirstTokenTimeout,
    /// The stream fell silent.
    InterTokenTimeout,
    /// The whole exchange took too long.
    TotalTimeout,
    /// The client took no byte of what waits for it (log only).
    ClientStall,
    /// The client left (log only).
    ClientGone,
    /// The engine did not switch protocols as asked.
    UpgradeRefused,
    /// The control plane did not answer in time.
    ControlTimeout,
    /// A fault of ours.
    Internal,
}

/// Every kind, in the order of its number.
pub const FAILURE_KINDS: [FailureKind; 38] = [
    FailureKind::BadRequest,
    FailureKind::UriTooLong,
    FailureKind::FieldsTooLarge,
    FailureKind::ExpectationFailed,
    FailureKind::MethodNotAllowed,
    FailureKind::NotImplemented,
    FailureKind::VersionNotSupported,
    FailureKind::HeadTimeout,
    FailureKind::BodyTimeout,
    FailureKind::BodyTooLarge,
    FailureKind::NoRoute,
    FailureKind::ModelNotFound,
    FailureKind::BadModel,
    FailureKind::Unauthorized,
    FailureKind::Forbidden,
    FailureKind::ChannelFull,
    FailureKind::Hopeless,
    FailureKind::WaitExpired,
    FailureKind::HeldBytes,
    FailureKind::NoEndpoint,
    FailureKind::Draining,
    FailureKind::ConnectRefused,
    FailureKind::ConnectTimeout,
    FailureKind::UpstreamTls,
    FailureKind::UpstreamReset,
    FailureKind::UpstreamClosed,
    FailureKind::UpstreamRefused,
    FailureKind::UpstreamVersion,
    FailureKind::UpstreamBadResponse,
    FailureKind::UpstreamHeadTimeout,
    FailureKind::FirstTokenTimeout,
    FailureKind::InterTokenTimeout,
    FailureKind::TotalTimeout,
    FailureKind::ClientStall,
    FailureKind::ClientGone,
    FailureKind::UpgradeRefused,
    FailureKind::ControlTimeout,
    FailureKind::Internal,
];

/// Flags in the order of [`FAILURE_KINDS`]: the label values of `local_replies_total`.
pub(crate) const FLAGS: [&str; FAILURE_KINDS.len()] = {
    let mut flags = [""; FAILURE_KINDS.len()];
    let mut at = 0;
    while at < flags.len() {
        flags[at] = ROWS[at].flag;
        at += 1;
    }
    flags
};

impl FailureKind {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The status that says it. 499 is for the log only: nobody is there to read it.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// `error.code` in bodies.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The response flag of the access log: two letters, unique.
    pub fn flag(self) -> &'static str {
        self.row().flag
    }

    /// Whose fault it is when nothing more is known.
    pub fn origin(self) -> Origin {
        self.row().origin
    }

    /// Whether we may try again ourselves.
    pub fn retry(self) -> Retry {
        self.row().retry
    }

    /// `error.type` of the OpenAI dialect.
    pub fn openai_type(self) -> &'static str {
        self.row().openai
    }

    /// `error.type` of the Anthropic dialect.
    pub fn anthropic_type(self) -> &'static str {
        self.row().anthropic
    }

    /// What happened and what to do next, for people.
    pub fn message(self) -> &'static str {
        self.row().message
    }

    /// The value of `x-should-retry`; `None` leaves it to the client's own rules.
    pub fn should_retry_header(self) -> Option<bool> {
        self.row().should_retry
    }
}
