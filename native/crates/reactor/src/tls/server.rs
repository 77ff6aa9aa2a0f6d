//! TLS of a listener, made of its plan and its files.

use std::fmt;
use std::sync::Arc;

use engine::input::TlsFault;
use engine::shared::CertificateView;
use engine::snapshot::plan::{ListenerPlan, ServerTlsPlan};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{Error, RootCertStore, ServerConfig};

use super::certificates::Offered;
use super::tickets::{Ticketer, Tickets};
use super::{TlsError, files, provider, versions};

/// What the connections of a listener are secured with. Immutable; shared by all workers.
pub struct Server {
    pub(crate) config: Arc<ServerConfig>,
    /// Every connection begins with a PROXY protocol header, in front of TLS.
    pub(crate) prelude: bool,
    /// What it offers, for the metrics.
    pub(crate) certificates: Vec<CertificateView>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.certificates).finish()
    }
}

impl Server {
    /// Reads the files of a listener's plan.
    pub(crate) fn load(
        listener: &ListenerPlan,
        plan: &ServerTlsPlan,
        tickets: &Arc<Tickets>,
    ) -> Result<Self, TlsError> {
        let mut pairs = Vec::new();
        let mut certificates: Vec<CertificateView> = Vec::new();
        for named in &plan.certificates {
            let pair = files::pair(&named.cert, &named.key).map_err(|(_, error)| error)?;
            let facts = &pair.facts;
            let file = named.cert.display().to_string();
            let name = facts.dns.first().or(facts.common_name.as_ref());
            let taken = |name: &str| certificates.iter().any(|c| c.name == name);
            let name = name.filter(|name| !taken(name)).unwrap_or(&file);
            certificates.push(CertificateView {
                listener: listener.name.clone(),
                name: name.clone(),
                expires_s: facts.not_after_s,
            });
            pairs.push(pair);
        }
        let clients = match &plan.client_ca {
            Some(ca) => Some((ca, files::bundle(ca)?)),
            None => None,
        };
        let mut demands = vec![u8::from(clients.is_some()), u8::from(plan.client_optional)];
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(plan.min_version))
            .expect("the provider has suites of both versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((ca, (roots, certificates))) => {
                demands.extend_from_slice(&certificates);
                let verifier = verifier(roots, plan.client_optional)
                    .map_err(|error| TlsError::new(ca, error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Offered::new(pairs)));
        config.alpn_protocols = plan.alpn.iter().map(|p| p.clone().into_bytes()).collect();
        // A session lives in its ticket only: any worker, and a successor process, can resume it.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        // One for each connection is what a client uses up, for each connection brings the next.
        config.send_tls13_tickets = 1;
        config.ticketer = Arc::new(Ticketer::new(Arc::clone(tickets), &demands));
        Ok(Self {
            config: Arc::new(config),
            prelude: listener.proxy_protocol,
            certificates,
        })
    }
}

fn verifier(
    roots: RootCertStore,
    optional: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, impl fmt::Display> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    if optional {
        builder.allow_unauthenticated().build()
    } else {
        builder.build()
    }
}

/// What a client hears that speaks HTTP to a port of TLS. A browser shows an alert as a broken
/// connection, and curl as an answer of HTTP/0.9.
pub(crate) const SAID_IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 36\r\n\r\n\
    This port speaks TLS: use https://.\n";
/// Bytes of a method that is looked for; those that we know have 7 at most.
const METHOD_BYTES_MAX: usize = 16;

/// Whether a connection's first bytes are those of a request of HTTP/1.1: a method and a space. No
/// record of TLS begins with a letter.
pub(crate) fn is_request(first: &[u8]) -> bool {
    let word = first.split(|byte| *byte == b' ').next().unwrap_or_default();
    (1..=METHOD_BYTES_MAX).contains(&word.len())
        && word.len() < first.len()
        && word.iter().all(u8::is_ascii_uppercase)
}

/// What a failed handshake with a client is counted as.
pub(crate) fn fault(error: &Error) -> TlsFault {
    match error {
        Error::InvalidMessage(_) => TlsFault::NotTls,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFault::Incompatible,
        Error::NoCertificatesPresented => TlsFault::NoCertificate,
        Error::InvalidCertificate(_) => TlsFault::BadCertificate,
        Error::AlertReceived(_) => TlsFault::Refused,
        _ => TlsFault::Broken,
    }
}
