//! What went wrong, whose fault it is, and what the client is told: the one place in the project
//! that chooses a status.
//!
//! It never writes a body (see `dialect`). **Invariant:** flags and codes are unique, and every
//! local reply has both.

mod connection;
mod kind;
mod table;

pub(crate) use kind::FLAGS;
pub use kind::{FAILURE_KINDS, FailureKind};

/// Who caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// The client sent or did something.
    Client,
    /// The engine behind us did.
    Upstream,
    /// We did, or chose to.
    Proxy,
}

/// Whether our own retry may help, before commit and within the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Never.
    Never,
    /// Only if no byte of the request was sent.
    IfUnsent,
    /// Only if the connection was a reused one (it may have been closed under us).
    IfReused,
    /// On another endpoint.
    Elsewhere,
}

/// One failure: what, by whom, and a detail for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub origin: Origin,
    /// What failed.
    pub kind: FailureKind,
    /// Detail for the log, and for the message unless it is the operator's affair: a clause without
    /// a full stop; empty = none.
    pub why: &'static str,
}

impl Failure {
    /// A failure with the origin that its kind has by nature.
    pub fn new(kind: FailureKind, why: &'static str) -> Self {
        Self {
            origin: kind.origin(),
            kind,
            why,
        }
    }

    /// The detail as far as clients are told: how the gateway is to be set is said to its log.
    pub fn told(&self) -> &'static str {
        match self.kind {
            FailureKind::UpstreamTls => "",
            _ => self.why,
        }
    }
}

impl From<FailureKind> for Failure {
    fn from(kind: FailureKind) -> Self {
        Self::new(kind, "")
    }
}

impl From<wire::Violation> for Failure {
    fn from(violation: wire::Violation) -> Self {
        let kind = match violation.code {
            wire::Code::BadRequest => FailureKind::BadRequest,
            wire::Code::UriTooLong => FailureKind::UriTooLong,
            wire::Code::FieldsTooLarge => FailureKind::FieldsTooLarge,
            wire::Code::ExpectationFailed => FailureKind::ExpectationFailed,
            wire::Code::MethodNotAllowed => FailureKind::MethodNotAllowed,
            wire::Code::NotImplemented => FailureKind::NotImplemented,
            wire::Code::VersionNotSupported => FailureKind::VersionNotSupported,
            wire::Code::BadResponse => FailureKind::UpstreamBadResponse,
        };
        Self::new(kind, violation.why)
    }
}

impl From<crate::scan::ScanViolation> for Failure {
    fn from(violation: crate::scan::ScanViolation) -> Self {
        Self::new(FailureKind::BadModel, violation.why())
    }
}

impl From<crate::shared::RefusalReason> for Failure {
    fn from(reason: crate::shared::RefusalReason) -> Self {
        use crate::shared::RefusalReason;
        Self::from(match reason {
            RefusalReason::Full => FailureKind::ChannelFull,
            RefusalReason::Hopeless => FailureKind::Hopeless,
            RefusalReason::NoEndpoint => FailureKind::NoEndpoint,
        })
    }
}

/// What clients are told.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind.message())?;
        match self.told() {
            "" => Ok(()),
            told => write!(f, " ({told})"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (at, kind) in FAILURE_KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            assert_eq!(FLAGS[at], kind.flag());
        }
    }

    #[test]
    fn flags_and_codes_are_unique() {
        let flags: BTreeSet<_> = FAILURE_KINDS.iter().map(|k| k.flag()).collect();
        let codes: BTreeSet<_> = FAILURE_KINDS.iter().map(|k| k.code()).collect();
        assert_eq!(
            (flags.len(), codes.len()),
            (FAILURE_KINDS.len(), FAILURE_KINDS.len())
        );
        assert!(flags.iter().all(|f| (2..=4).contains(&f.len())));
        assert!(
            codes
                .iter()
                .all(|c| c.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }

    #[test]
    fn messages_are_sentences_that_say_what_to_do() {
        for kind in FAILURE_KINDS {
            let message = kind.message();
            assert!(message.ends_with('.'), "{kind:?}");
            assert!(message.len() < 120, "{kind:?}");
        }
    }

    #[test]
    fn shed_answers_invite_a_retry_and_spent_ones_do_not() {
        use FailureKind as K;
        for kind in [K::ChannelFull, K::Hopeless, K::WaitExpired, K::HeldBytes] {
            assert_eq!(
                (kind.status(), kind.should_retry_header()),
                (429, Some(true))
            );
            assert_eq!(kind.origin(), Origin::Proxy);
        }
        // The SDKs retry every 5xx by themselves; ours were tried elsewhere already.
        for kind in FAILURE_KINDS
            .iter()
            .filter(|k| k.origin() == Origin::Upstream)
        {
            assert_eq!(kind.should_retry_header(), Some(false), "{kind:?}");
            assert!([502, 504].contains(&kind.status()), "{kind:?}");
        }
    }

    /// A change of any status, flag or code is a change of the interface: seen here in review.
    #[test]
    fn kinds_map_to_these_statuses() {
        let lines: Vec<String> = FAILURE_KINDS
            .iter()
            .map(|k| {
                format!(
                    "{k:?} {} {} {} {:?}",
                    k.status(),
                    k.flag(),
                    k.code(),
                    k.retry()
                )
            })
            .collect();
        assert_eq!(lines.join("\n"), include_str!("statuses.txt").trim_end());
    }

    #[test]
    fn the_reason_is_shown_behind_the_message() {
        let failure = Failure::new(FailureKind::BadRequest, "two Host fields");
        assert!(
            failure
                .to_string()
                .ends_with("unchanged. (two Host fields)")
        );
        assert_eq!(Failure::from(FailureKind::Draining).why, "");
        let private = Failure::new(FailureKind::UpstreamTls, "set tls.ca");
        assert!(private.to_string().ends_with("Tell the operator."));
    }
}
