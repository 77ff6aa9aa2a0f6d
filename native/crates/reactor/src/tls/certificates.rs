//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066 §3).
//!
//! An exact name wins over a wildcard, which stands for one label (RFC 6125 §6.4.3). Of several
//! certificates for a name the first whose key the client can verify is taken; where none has the
//! name, the first of all. **Invariant:** immutable; a reload makes another one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Pair;

/// The certificates of a listener, by name.
pub(crate) struct Offered {
    /// By name in lower case; a wildcard is kept as `.example.org`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl std::fmt::Debug for Offered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names.keys()).finish()
    }
}

impl Offered {
    /// `pairs` has at least one.
    pub(crate) fn new(pairs: Vec<Pair>) -> Self {
        let mut names: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        let mut default = Vec::new();
        let mut first_names = Vec::new();
        for Pair { key, facts } in pairs {
            let key = Arc::new(key);
            if default.is_empty() {
                first_names.clone_from(&facts.dns);
            }
            // A second key for the same names (RSA beside ECDSA) serves as default, too.
            if default.is_empty() || facts.dns == first_names {
                default.push(Arc::clone(&key));
            }
            for name in facts.dns {
                let name = name.strip_prefix('*').map_or(name.clone(), str::to_owned);
                names.entry(name).or_default().push(Arc::clone(&key));
            }
        }
        Self { names, default }
    }

    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else {
            return &self.default;
        };
        let lower = name.to_ascii_lowercase();
        let behind = lower.find('.').map(|at| &lower[at..]);
        let found = self.names.get(&lower);
        found
            .or_else(|| self.names.get(behind?))
            .unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Offered {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = self.of(hello.server_name());
        let schemes = hello.signature_schemes();
        let verifiable = offered
            .iter()
            .find(|one| one.key.choose_scheme(schemes).is_some());
        verifiable.or_else(|| offered.first()).map(Arc::clone)
    }
}
