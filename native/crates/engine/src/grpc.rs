//! What gRPC says beyond HTTP/2: statuses in trailers, deadlines in `grpc-timeout`, and where a
//! message ends. Source: the protocol document "gRPC over HTTP2" of the gRPC project.
//!
//! **Invariant:** a status follows whole messages only; behind a part of one there is a reset.

use crate::clock::{MS, SECOND};
use crate::error::{Failure, FailureKind};
use crate::shared::Outcome;
use wire::Fields;

/// The media type, alone or with a suffix (`application/grpc+proto`).
const KIND: &[u8] = b"application/grpc";
/// Digits of a timeout, at most.
const TIMEOUT_DIGITS_MAX: usize = 8;
/// The units of a timeout, the most precise first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1000),
    (b'm', MS),
    (b'S', SECOND),
    (b'M', 60 * SECOND),
    (b'H', 3600 * SECOND),
];
/// Longer timeouts (146 years) are none: added to a clock of ours they could overflow it.
const TIMEOUT_NS_MAX: u64 = 1 << 62;

/// Whether a `content-type` says gRPC (and not gRPC-Web, which is another protocol).
pub(crate) fn is_grpc(content_type: &[u8]) -> bool {
    content_type.len() >= KIND.len()
        && content_type[..KIND.len()].eq_ignore_ascii_case(KIND)
        && content_type
            .get(KIND.len())
            .is_none_or(|b| matches!(b, b'+' | b';' | b' '))
}

/// Nanoseconds of a `grpc-timeout`: up to eight digits and a unit; at least 1, which is a deadline
/// that has passed. `None` if it is malformed, or beyond what a clock of ours counts.
pub(crate) fn timeout_ns(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX {
        return None;
    }
    let mut count = 0_u64;
    for digit in digits {
        count = count * 10 + u64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    let (_, unit_ns) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    let ns = count.checked_mul(*unit_ns)?.max(1);
    (ns <= TIMEOUT_NS_MAX).then_some(ns)
}

/// A `grpc-timeout` of what is left, in the most precise unit whose number has eight digits or
/// fewer; rounded down, for nobody is to work longer than it is waited for.
pub(crate) fn timeout_text(left_ns: u64) -> Vec<u8> {
    let left_ns = left_ns.max(1);
    let fits = |(_, unit_ns): &&(u8, u64)| left_ns / unit_ns < 100_000_000;
    // The largest is the last: 2^62 ns have seven digits of hours.
    let (letter, unit_ns) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
    let mut text = Vec::with_capacity(TIMEOUT_DIGITS_MAX + 1);
    wire::h1::encode::decimal(&mut text, left_ns / unit_ns);
    text.push(*letter);
    text
}

/// The canonical status codes that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The status of a failure of ours. Clients retry `UNAVAILABLE` and, by configuration,
/// `RESOURCE_EXHAUSTED`.
fn status(kind: FailureKind) -> Status {
    use FailureKind as Kind;
    match kind {
        Kind::ClientGone | Kind::ClientStall => Status::Cancelled,
        Kind::BadRequest | Kind::BadModel | Kind::UriTooLong | Kind::ExpectationFailed => {
            Status::InvalidArgument
        }
        Kind::HeadTimeout
        | Kind::BodyTimeout
        | Kind::UpstreamHeadTimeout
        | Kind::FirstTokenTimeout
        | Kind::InterTokenTimeout
        | Kind::TotalTimeout => Status::DeadlineExceeded,
        Kind::Forbidden => Status::PermissionDenied,
        Kind::FieldsTooLarge
        | Kind::BodyTooLarge
        | Kind::ChannelFull
        | Kind::Hopeless
        | Kind::WaitExpired
        | Kind::HeldBytes => Status::ResourceExhausted,
        Kind::MethodNotAllowed
        | Kind::NotImplemented
        | Kind::VersionNotSupported
        | Kind::NoRoute
        | Kind::ModelNotFound
        | Kind::UpgradeRefused => Status::Unimplemented,
        Kind::Unauthorized => Status::Unauthenticated,
        Kind::Internal | Kind::UpstreamBadResponse => Status::Internal,
        _ => Status::Unavailable,
    }
}

/// `grpc-status` and `grpc-message` of a failure of ours.
pub(crate) fn fields(failure: &Failure) -> [(&'static str, String); 2] {
    let number = status(failure.kind) as u8;
    [
        ("grpc-status", number.to_string()),
        ("grpc-message", escaped(&failure.to_string())),
    ]
}

/// Percent-encoding of everything but printable ASCII, and of the percent sign.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (0x20..=0x7e).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What the status in a head or in trailers says about the endpoint. `None`: there is none.
pub(crate) fn outcome(fields: &Fields) -> Option<Outcome> {
    Some(match fields.find_str("grpc-status")? {
        // UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS; DEADLINE_EXCEEDED is the caller's choice.
        b"2" | b"13" | b"14" | b"15" => Outcome::Failure,
        // RESOURCE_EXHAUSTED is load.
        b"8" => Outcome::Neutral,
        _ => Outcome::Success,
    })
}

/// `NOT_FOUND`, as text.
pub(crate) const NOT_FOUND: &[u8] = b"5";

/// What `grpc.health.v1` says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Health {
    Serving = 1,
    NotServing = 2,
    /// No such service; only watchers are told so.
    Unknown = 3,
}

impl Health {
    /// A whole `HealthCheckResponse`, which has it in field 1.
    pub(crate) fn message(self) -> [u8; 7] {
        [0, 0, 0, 0, 2, 0x08, self as u8]
    }
}

/// Whether a `HealthCheckRequest` asks for the server as a whole: its `service` is empty, or one
/// of the names that stand for it.
pub(crate) fn asks_for_all(message: &[u8]) -> bool {
    match message {
        [0, 0, 0, 0, 0] | [0, 0, 0, 0, 2, 0x0a, 0] => true,
        [0, _, _, _, _, 0x0a, length, name @ ..] => {
            usize::from(*length) == name.len() && (name == b"fastproxy" || name == b"readiness")
        }
        _ => false,
    }
}

/// Follows length-prefixed messages: a flag octet, four of length, and so many of message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Messages {
    prefix: [u8; 5],
    /// 0..=5: octets of the prefix that are known.
    known: u8,
    /// Octets of the message that are to come.
    left: u32,
}

impl Messages {
    /// Takes body bytes, in any pieces.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = bytes.len().min(self.left as usize);
                self.left -= taken as u32;
                bytes = &bytes[taken..];
                continue;
            }
            self.prefix[usize::from(self.known)] = bytes[0];
            bytes = &bytes[1..];
            self.known += 1;
            if self.known == 5 {
                let [_, a, b, c, d] = self.prefix;
                self.left = u32::from_be_bytes([a, b, c, d]);
                self.known = 0;
            }
        }
    }

    /// Whether the last byte ended a message.
    pub(crate) fn at_boundary(&self) -> bool {
        self.known == 0 && self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FAILURE_KINDS;

    #[test]
    fn timeouts_have_a_number_and_a_unit() {
        for (text, ns) in [
            (&b"1S"[..], Some(SECOND)),
            (b"100m", Some(100 * MS)),
            (b"99999999n", Some(99_999_999)),
            (b"2H", Some(7200 * SECOND)),
            (b"0u", Some(1)),
            (b"99999999H", None),
            (b"1281023H", Some(1_281_023 * 3600 * SECOND)),
            (b"1281024H", None),
            (b"999999999S", None),
            (b"S", None),
            (b"1", None),
            (b"-1S", None),
            (b"1s", None),
            (b"", None),
        ] {
            assert_eq!(timeout_ns(text), ns, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_is_left_is_told_as_precisely_as_eight_digits_can() {
        for (ns, text) in [
            (0, "1n"),
            (99_999_999, "99999999n"),
            (100_000_000, "100000u"),
            (99_999_999_999, "99999999u"),
            (100_000_000_999, "100000m"),
            (100_000 * SECOND, "100000S"),
            (100_000_000 * SECOND, "1666666M"),
            (TIMEOUT_NS_MAX, "76861433M"),
            (u64::MAX, "5124095H"),
        ] {
            let told = timeout_text(ns);
            assert_eq!(told.escape_ascii().to_string(), text);
            let back = timeout_ns(&told).unwrap_or(ns);
            assert!(back <= ns.max(1) && back >= ns - ns / 50_000, "{text}");
        }
    }

    #[test]
    fn media_types_of_grpc_and_of_its_neighbours() {
        for yes in [
            &b"application/grpc"[..],
            b"application/grpc+proto",
            b"Application/gRPC; a=b",
        ] {
            assert!(is_grpc(yes));
        }
        for no in [&b"application/grpc-web"[..], b"application/json", b""] {
            assert!(!is_grpc(no));
        }
    }

    #[test]
    fn messages_end_where_their_length_says_in_any_chunking() {
        let mut bytes = vec![0, 0, 0, 0, 3];
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&[1, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, 0, 1, 0]);
        bytes.extend_from_slice(&[7; 256]);
        let whole = [0, 8, 13, bytes.len()];
        for step in [1, 2, 3, 7, bytes.len()] {
            let mut messages = Messages::default();
            let mut at = 0;
            for piece in bytes.chunks(step) {
                messages.take(piece);
                at += piece.len();
                assert_eq!(messages.at_boundary(), whole.contains(&at), "{step} {at}");
            }
        }
    }

    #[test]
    fn health_is_asked_for_the_whole_server() {
        assert!(asks_for_all(&[0, 0, 0, 0, 0]));
        assert!(asks_for_all(b"\0\0\0\0\x0b\x0a\x09fastproxy"));
        assert!(!asks_for_all(b"\0\0\0\0\x05\x0a\x03foo"));
        assert!(!asks_for_all(b""));
        let mut messages = Messages::default();
        messages.take(&Health::Unknown.message());
        assert!(messages.at_boundary());
    }

    #[test]
    fn every_failure_has_a_status_and_a_printable_message() {
        for kind in FAILURE_KINDS {
            let failure = Failure::new(kind, "100 % of it");
            let [(_, status), (_, message)] = fields(&failure);
            assert!((1..=16).contains(&status.parse::<u8>().expect("a number")));
            assert!(message.is_ascii(), "{message}");
            let told = !failure.told().is_empty();
            assert_eq!(message.contains("100 %25 of it"), told, "{message}");
        }
    }
}
