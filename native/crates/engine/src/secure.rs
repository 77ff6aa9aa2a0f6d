//! What the engine knows of TLS: the outcome of a handshake and its faults, as plain values. It
//! sees plaintext only; records and certificates are the driver's.
//!
//! **Invariant:** nothing here holds a key, and every text a peer chose is bounded.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::input::DialError;
use crate::metrics::{Cells, Metric};

/// The protocol that a handshake agreed on (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// None was spoken of: HTTP/1.1.
    #[default]
    None,
    /// `http/1.1`.
    Http11,
    /// `h2`.
    H2,
}

/// The version of TLS that a handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    V12,
    /// RFC 8446.
    V13,
}

impl TlsVersion {
    /// `1.2` or `1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// A client's handshake that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secured {
    /// What is spoken from now on.
    pub alpn: Alpn,
    /// The name that the client asked for (SNI, RFC 6066 §3), in lower case.
    pub server_name: Option<String>,
    /// Whom the client's certificate names: its first SPIFFE URI, else the subject's common name,
    /// else its first DNS name. Only of a certificate that was verified.
    pub principal: Option<Arc<str>>,
    /// The version.
    pub version: TlsVersion,
    /// An earlier session was resumed.
    pub resumed: bool,
}

/// A dial that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connected {
    /// Which address of a name answered; `None` when the target is no name.
    pub peer: Option<SocketAddr>,
    /// What is spoken. `Alpn::None` on cleartext.
    pub alpn: Alpn,
    /// The version of TLS and whether a session was resumed; `None` on cleartext.
    pub tls: Option<(TlsVersion, bool)>,
}

/// Why TLS with a client came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFault {
    /// Its first bytes were no TLS: most often an `http://` URL for this port.
    NotTls,
    /// No version, cipher suite or protocol in common.
    Incompatible,
    /// The listener wants a certificate and the client has none.
    NoCertificate,
    /// The client's certificate is expired, of an unknown issuer or otherwise not good.
    BadCertificate,
    /// The client refused: most often because it does not trust our certificate.
    Refused,
    /// It broke the protocol, or bytes were changed on the way.
    Broken,
}

impl TlsFault {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [
        Self::NotTls,
        Self::Incompatible,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Refused,
        Self::Broken,
    ];
}

/// Label values of `tls_handshakes_total`: the outcomes in the order of [`Handshake::position`].
pub(crate) const HANDSHAKES: &[&str] = &[
    "tls1.2",
    "tls1.2_resumed",
    "tls1.3",
    "tls1.3_resumed",
    "not_tls",
    "incompatible",
    "no_certificate",
    "bad_certificate",
    "refused",
    "broken",
    "left",
    "timeout",
];

/// Label values of `upstream_tls_handshakes_total`: as of clients, and all failures as one. The log
/// of the exchange says why.
pub(crate) const DIALS: &[&str] = &[
    "tls1.2",
    "tls1.2_resumed",
    "tls1.3",
    "tls1.3_resumed",
    "failed",
];

/// The place of `failed` in [`DIALS`].
pub(crate) const DIALS_FAILED: usize = DIALS.len() - 1;

/// What became of a handshake, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Done(TlsVersion, bool),
    Fault(TlsFault),
    /// The peer closed before its end.
    Left,
    /// It took too long.
    TimedOut,
}

impl Handshake {
    /// Its place in [`HANDSHAKES`].
    pub(crate) fn position(self) -> usize {
        match self {
            Self::Done(TlsVersion::V12, resumed) => usize::from(resumed),
            Self::Done(TlsVersion::V13, resumed) => 2 + usize::from(resumed),
            Self::Fault(fault) => 4 + fault as usize,
            Self::Left => 10,
            Self::TimedOut => 11,
        }
    }
}

/// How many bytes at the front of a connection are its PROXY protocol header, for drivers that must
/// know where TLS begins. `None`: more bytes are needed. Of bytes that are no such header it is all
/// of them: the engine, which is handed them, refuses.
pub fn proxy_header(bytes: &[u8]) -> Option<usize> {
    match wire::proxy_protocol::parse(bytes) {
        Ok(parsed) => parsed.map(|(taken, _)| taken),
        Err(_) => Some(bytes.len()),
    }
}

/// Counts the handshake of a dial, if there was one.
pub(crate) fn count_dial(cells: &Cells, result: Result<Connected, DialError>) {
    let position = match result {
        Ok(connected) => connected
            .tls
            .map(|(version, resumed)| Handshake::Done(version, resumed).position()),
        Err(DialError::Tls(_)) => Some(DIALS_FAILED),
        Err(_) => None,
    };
    if let Some(position) = position {
        cells.inc_at(Metric::UpstreamTlsHandshakes, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_their_labels() {
        let label = |outcome: Handshake| HANDSHAKES[outcome.position()];
        assert_eq!(label(Handshake::Done(TlsVersion::V12, false)), "tls1.2");
        assert_eq!(
            label(Handshake::Done(TlsVersion::V13, true)),
            "tls1.3_resumed"
        );
        assert_eq!(label(Handshake::Fault(TlsFault::NotTls)), "not_tls");
        assert_eq!(label(Handshake::Fault(TlsFault::Broken)), "broken");
        assert_eq!(label(Handshake::Left), "left");
        assert_eq!(label(Handshake::TimedOut), HANDSHAKES[HANDSHAKES.len() - 1]);
    }
}
