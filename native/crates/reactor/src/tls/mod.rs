//! TLS of both sides (RFC 8446, RFC 5246), by rustls. The machine above sees plaintext only.
//!
//! Files are read when a configuration is prepared, never while a connection waits: a [`Keyring`]
//! holds what was made of them. Versions 1.2 and 1.3, suites with forward secrecy and
//! authenticated encryption only, no renegotiation, no early data (RFC 8470 says why).
//! **Invariant:** a key is in no message, no log, no `Debug` and in no document that crosses a
//! border; only [`Tickets::export`] gives secrets out, and says so.

mod certificates;
pub(crate) mod client;
mod files;
mod keyring;
pub(crate) mod server;
pub(crate) mod session;
mod tickets;
mod x509;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use files::{Remark, check_bundle, check_pair};
pub use keyring::Keyring;
pub use server::Server;
pub use tickets::{ImportError, Tickets};

/// A file that TLS cannot work with. The text says why, and what to do where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// Why.
    pub why: String,
}

impl TlsError {
    pub(crate) fn new(file: &Path, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            why: why.into(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// The one source of cryptography, shared by all configurations.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(made)
}

/// The versions from `lowest` on.
pub(crate) fn versions(
    lowest: engine::snapshot::plan::MinVersion,
) -> &'static [&'static rustls::SupportedProtocolVersion] {
    use engine::snapshot::plan::MinVersion;
    static ONLY_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match lowest {
        MinVersion::V12 => rustls::ALL_VERSIONS,
        MinVersion::V13 => &ONLY_13,
    }
}
