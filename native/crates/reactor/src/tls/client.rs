//! TLS towards an endpoint, made of its plan and its files; and why a handshake with one fails, in
//! words that say what to do.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{self, Digest};
use engine::snapshot::plan::ClientTlsPlan;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};

use super::{TlsError, files, provider, versions};

/// Sessions kept for resumption, of one endpoint's settings.
const SESSIONS_MAX: usize = 256;

/// What dials of one plan are secured with. Immutable but for its memory of sessions, which all
/// workers share.
pub(crate) struct Client {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
    /// Of the certificates it was made of, to see whether a reload changes anything.
    made_of: Digest,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// All of a configuration, by plan. What is offered by ALPN is the dial's to say: the keys have
/// none.
pub(crate) type Clients = HashMap<ClientTlsPlan, Arc<Client>>;

impl Client {
    /// Reads the files of a plan; an `earlier` one goes on, with its sessions, if nothing changed.
    pub(crate) fn load(
        plan: &ClientTlsPlan,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, TlsError> {
        let name = ServerName::try_from(plan.server_name.clone()).map_err(|_| {
            let named = std::path::Path::new(&plan.server_name);
            TlsError::new(named, "is no name that a certificate can have")
        })?;
        let mut made_of = Vec::new();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(plan.min_version))
            .expect("the provider has suites of both versions");
        let builder = if plan.verify {
            let (roots, bytes) = match &plan.ca {
                Some(ca) => files::bundle(ca)?,
                None => files::system_bundle()?,
            };
            made_of = bytes;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = verifier.build().map_err(|error| {
                let bundle = plan.ca.clone().unwrap_or_default();
                TlsError::new(&bundle, error.to_string())
            })?;
            builder.with_webpki_verifier(verifier)
        } else {
            let anyone = Arc::new(Anyone(provider()));
            builder.dangerous().with_custom_certificate_verifier(anyone)
        };
        let mut config = match &plan.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let pair = files::pair(&own.cert, &own.key).map_err(|(_, error)| error)?;
                pair.key
                    .cert
                    .iter()
                    .for_each(|c| made_of.extend_from_slice(c));
                let resolver = rustls::sign::SingleCertAndKey::from(pair.key);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        // The system's bundle alone has 250 KB.
        let made_of = digest::digest(&digest::SHA256, &made_of);
        if let Some(earlier) = earlier
            && earlier.made_of.as_ref() == made_of.as_ref()
        {
            return Ok(Arc::clone(earlier));
        }
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Arc::new(Self {
            config: Arc::new(config),
            name,
            made_of,
        }))
    }
}

/// Takes any certificate; that the peer has its key is still seen to. Only for `verify: off`,
/// of which `check` and the start of the process warn.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The endpoint closed before its handshake was complete.
pub(crate) const CLOSED: &str =
    "the endpoint closed the connection in the TLS handshake; is the port one for https?";
/// The configuration that the dial belongs to is two reloads old.
pub(crate) const FORGOTTEN: &str = "its TLS settings are of a configuration that is gone";

/// Why a handshake with an endpoint failed, and what to do.
pub(crate) fn reason(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(certificate) => certificate_reason(certificate),
        Error::InvalidMessage(_) => {
            "the endpoint does not speak TLS on this port; use its https port, or http://"
        }
        Error::PeerIncompatible(_) => {
            "the endpoint has no TLS version or cipher suite of ours; it needs TLS 1.2 with \
             ECDHE and AES-GCM or ChaCha20, or TLS 1.3"
        }
        Error::AlertReceived(alert) => alert_reason(*alert),
        Error::PeerMisbehaved(_) => "the endpoint broke the TLS protocol",
        _ => "the TLS handshake with the endpoint failed",
    }
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the endpoint's certificate has expired; renew it, or check our clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the endpoint's certificate is not valid yet; check both clocks"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the endpoint's certificate is for another name; set tls.server_name to one it has, \
             or renew it with this one"
        }
        CertificateError::UnknownIssuer => {
            "the endpoint's certificate is of an issuer we do not trust; set tls.ca to the \
             issuer's bundle"
        }
        CertificateError::Revoked => "the endpoint's certificate is revoked",
        CertificateError::BadSignature => {
            "the endpoint's certificate is not signed by its issuer; does tls.ca belong to it?"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the endpoint's certificate is not one for servers; renew it with that purpose"
        }
        _ => {
            "the endpoint's certificate is not good: it has no name in subjectAltName, is an \
             issuer's own, or is malformed"
        }
    }
}

fn alert_reason(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::BadCertificate => {
            "the endpoint wants a client certificate; set tls.cert and tls.key"
        }
        AlertDescription::UnknownCA
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            "the endpoint does not accept our client certificate; see tls.cert"
        }
        AlertDescription::UnrecognisedName => {
            "the endpoint knows no certificate for the name; set tls.server_name"
        }
        AlertDescription::NoApplicationProtocol => {
            "the endpoint speaks no protocol that we offer by ALPN: with http2: always that is \
             HTTP/2 alone, with never HTTP/1.1; set http2: auto"
        }
        _ => "the endpoint refused the TLS handshake; its log says why",
    }
}
