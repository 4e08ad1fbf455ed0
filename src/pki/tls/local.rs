//! Our own certificate and key, as one identity of the bridge.
//!
//! Says what is wrong with the files; whether other people would accept the certificate is `doctor`'s question.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::CertificateDer;

use super::super::files::{self, FileProblem};
use super::super::names::names_of;

/// The certificate that the bridge shows, with its key.
#[derive(Clone)]
pub struct LocalIdentity {
    pub(super) certified: Arc<CertifiedKey>,
    warnings: Vec<FileProblem>,
}

impl fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalIdentity({} certificates)", self.certified.cert.len())
    }
}

impl LocalIdentity {
    /// Reads a certificate chain (end entity first) and its key.
    ///
    /// # Errors
    /// When a file cannot be used, the key is of an unsupported kind, or it belongs to another certificate.
    pub fn load(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, FileProblem> {
        let chain = files::certificates(certificate)?;
        if let Some(end_entity) = chain.first() {
            let fix = "put the bridge's own certificate first";
            names_of(end_entity).map_err(|e| FileProblem::new(certificate, e, fix))?;
        }
        let certified = CertifiedKey::from_der(chain, files::private_key(key)?, provider).map_err(|e| match e {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let fix = "name the key it was issued for, or issue a new pair with `trestle cert issue --force`";
                let what = format_args!("is not the key of {}", certificate.display());
                FileProblem {
                    is_key_mismatch: true,
                    ..FileProblem::new(key, what, fix)
                }
            }
            Error::InvalidCertificate(e) => FileProblem::new(
                certificate,
                format_args!("unusable certificate: {e}"),
                "issue an X.509 v3 certificate",
            ),
            other => FileProblem::new(
                key,
                format_args!("unusable key: {other}"),
                "use ECDSA P-256 or P-384, Ed25519, or RSA with 2048 to 8192 bits",
            ),
        })?;
        let mut warnings = Vec::new();
        if files::is_readable_by_others(key) {
            let fix = format!("run `chmod 600 {}`", key.display());
            warnings.push(FileProblem::new(key, "the private key is readable by other users", fix));
        }
        Ok(Self {
            certified: Arc::new(certified),
            warnings,
        })
    }

    /// The chain as sent, end entity first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    pub(in crate::pki) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// What is unwise about the files, though it works. For the log at start and reload.
    #[must_use]
    pub fn warnings(&self) -> &[FileProblem] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Ca, Leaf};
    use crate::pki::tls::provider;

    #[test]
    fn a_foreign_key_and_an_open_mode_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::new("ca");
        let (mine, other) = (ca.issue(Leaf::new("a")), ca.issue(Leaf::new("b")));
        let path = |name: &str| dir.path().join(name);
        files::write(&path("a.pem"), mine.pem().as_bytes(), 0o644, false).unwrap();
        files::write(&path("a.key"), mine.key_pem().as_bytes(), 0o600, false).unwrap();
        files::write(&path("b.key"), other.key_pem().as_bytes(), 0o644, false).unwrap();
        let load = |cert: &str, key: &str| LocalIdentity::load(&path(cert), &path(key), &provider());
        assert!(load("a.pem", "a.key").unwrap().warnings().is_empty());
        assert!(load("a.pem", "b.key").unwrap_err().what.contains("is not the key of"));
        files::write(&path("a.key"), mine.key_pem().as_bytes(), 0o644, true).unwrap();
        assert!(load("a.pem", "a.key").unwrap().warnings()[0].fix.contains("chmod 600"));
        assert!(load("a.key", "a.key").unwrap_err().what.contains("no certificate"));
        assert!(load("none.pem", "a.key").is_err());
    }
}
