//! PEM files, and what is wrong with them in words that help.
//!
//! The judge is rustls: what is found good here is what a listener or a dial can use.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::x509::Facts;
use super::{TlsError, provider};

/// Bytes of a PEM file: the system's bundle of all public issuers has 250 KB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Days before its end from which a certificate is spoken of.
const SOON_DAYS: i64 = 14;
/// Where systems keep the issuers that everybody trusts.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Something to say of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Which of the files: `cert`, `key` or `ca`.
    pub part: &'static str,
    /// The file and what is wrong with it.
    pub why: String,
    /// It cannot be used. Otherwise it can, and somebody should look at it.
    pub fatal: bool,
}

/// A certificate chain with its key, and what was read of it.
pub(crate) struct Pair {
    pub(crate) key: CertifiedKey,
    pub(crate) facts: Facts,
}

/// Reads a chain and its key, and sees that they belong together.
pub(crate) fn pair(cert: &Path, key: &Path) -> Result<Pair, (&'static str, TlsError)> {
    let chain = chain(cert).map_err(|error| ("cert", error))?;
    let Some(facts) = chain.first().and_then(|leaf| Facts::of(leaf)) else {
        let why = "its first certificate is malformed";
        return Err(("cert", TlsError::new(cert, why)));
    };
    let private = private_key(key).map_err(|error| ("key", error))?;
    let made =
        CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let why = format!("is not the key of the certificate in {}", cert.display());
                ("key", TlsError::new(key, why))
            }
            error @ Error::InvalidCertificate(_) => {
                let why = format!("its first certificate {}", malformed(&error));
                ("cert", TlsError::new(cert, why))
            }
            _ => {
                let why = "the key cannot be used; ECDSA (P-256, P-384, P-521), Ed25519 and RSA of \
                           2048 bits or more can";
                ("key", TlsError::new(key, why))
            }
        })?;
    Ok(Pair { key: made, facts })
}

/// Reads the certificates of a bundle; the second is the bytes of all of them.
pub(crate) fn bundle(ca: &Path) -> Result<(RootCertStore, Vec<u8>), TlsError> {
    let mut roots = RootCertStore::empty();
    let mut all = Vec::new();
    for certificate in chain(ca)? {
        all.extend_from_slice(&certificate);
        roots.add(certificate).map_err(|error| {
            let (at, why) = (roots.len() + 1, malformed(&error));
            TlsError::new(ca, format!("certificate {at} of the bundle {why}"))
        })?;
    }
    Ok((roots, all))
}

/// The issuers that the system trusts, and the bytes of all of them. Certificates of kinds that
/// rustls does not know are skipped: the bundle is not the operator's to mend.
pub(crate) fn system_bundle() -> Result<(RootCertStore, Vec<u8>), TlsError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    let found = named.into_iter().chain(usual).find(|path| path.exists());
    let Some(path) = found else {
        let why = "the system has no bundle of trusted issuers here; set tls.ca";
        return Err(TlsError::new(Path::new(SYSTEM_BUNDLES[0]), why));
    };
    let mut roots = RootCertStore::empty();
    let found = chain(&path)?;
    let all = found.iter().flat_map(|c| c.iter().copied()).collect();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(TlsError::new(&path, "holds no usable certificate"));
    }
    Ok((roots, all))
}

/// Says what is wrong with a certificate and its key, and whether the certificate's time is up.
pub fn check_pair(cert: &Path, key: &Path) -> Vec<Remark> {
    match pair(cert, key) {
        Err((part, error)) => vec![Remark {
            part,
            why: error.to_string(),
            fatal: true,
        }],
        Ok(pair) => dates(cert, &pair.facts).into_iter().collect(),
    }
}

/// Says what is wrong with a bundle of issuers.
pub fn check_bundle(ca: &Path) -> Vec<Remark> {
    let error = bundle(ca).err();
    let remark = error.map(|error| Remark {
        part: "ca",
        why: error.to_string(),
        fatal: true,
    });
    remark.into_iter().collect()
}

fn dates(cert: &Path, facts: &Facts) -> Option<Remark> {
    let now_s = now_s();
    let days = |seconds: i64| seconds.abs() / 86_400;
    let left_s = facts.not_after_s - now_s;
    let text = if left_s <= 0 {
        format!("expired {} days ago; clients refuse it", days(left_s))
    } else if facts.not_before_s > now_s {
        "is not valid yet; clients refuse it".to_owned()
    } else if left_s < SOON_DAYS * 86_400 {
        format!("expires in {} days", days(left_s))
    } else {
        return None;
    };
    Some(Remark {
        part: "cert",
        why: format!("{}: {text}", cert.display()),
        fatal: false,
    })
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| TlsError::new(path, broken(&error)))?;
    if found.is_empty() {
        let why = if PrivateKeyDer::from_pem_slice(&text).is_ok() {
            "holds a private key and no certificate; were cert and key swapped?"
        } else {
            "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
        };
        return Err(TlsError::new(path, why));
    }
    Ok(found)
}

/// What is wrong with the text of a PEM file. Nothing of it is repeated: it may be a key's.
fn broken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is broken PEM: it ends within a section",
        pem::Error::Base64Decode(_) => "is broken PEM: a section is not base64",
        _ => "is broken PEM",
    }
}

/// What is wrong with a certificate that rustls cannot read, behind its name.
fn malformed(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => "is malformed".to_owned(),
        Error::InvalidCertificate(reason) => format!("cannot be used: {reason}"),
        error => format!("cannot be used: {error}"),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
        let why = if encrypted {
            "the key is encrypted; store it decrypted (openssl pkey) and guard the file"
        } else if !matches!(error, pem::Error::NoItemsFound) {
            broken(&error)
        } else {
            "holds no private key in PEM (-----BEGIN PRIVATE KEY-----)"
        };
        TlsError::new(path, why)
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |error: std::io::Error| TlsError::new(path, format!("cannot be read: {error}"));
    let mut text = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(TlsError::new(path, "is larger than 4 MiB"));
    }
    Ok(text)
}
