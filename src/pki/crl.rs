//! Certificate revocation lists (RFC 5280 section 5) as loaded for one peer.
//!
//! Local files only: nothing is fetched. A list past its nextUpdate still revokes what it lists, and is warned about.

use core::fmt;
use std::path::Path;

use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::files::{self, FileProblem};
use super::names::printable;

/// One revocation list.
pub struct Crl {
    list: CertRevocationList<'static>,
    issuer_der: Box<[u8]>,
    /// Its issuer, as text.
    pub issuer: String,
    /// When it was made, in seconds since 1970.
    pub this_update: i64,
    /// When a newer one is due, in seconds since 1970.
    pub next_update: Option<i64>,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// Their serial numbers, hexadecimal.
    pub serials: Vec<String>,
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({}, {} revoked)", self.issuer, self.revoked)
    }
}

impl Crl {
    /// Takes a list as DER.
    ///
    /// # Errors
    /// What keeps it from being used, as text.
    pub fn from_der(der: &[u8]) -> Result<Self, String> {
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|_| "not a revocation list".to_owned())?;
        let list = OwnedCertRevocationList::from_der(der).map_err(|e| format!("unusable revocation list: {e:?}"))?;
        Ok(Self {
            list: list.into(),
            issuer_der: parsed.issuer().as_raw().into(),
            issuer: printable(&parsed.issuer().to_string()),
            this_update: parsed.last_update().timestamp(),
            next_update: parsed.next_update().map(|t| t.timestamp()),
            revoked: parsed.iter_revoked_certificates().count(),
            serials: parsed
                .iter_revoked_certificates()
                .map(|r| r.raw_serial_as_string())
                .collect(),
        })
    }

    /// The lists in a file, PEM or DER.
    ///
    /// # Errors
    /// When the file or one of its lists cannot be used.
    pub fn load(file: &Path) -> Result<Vec<Self>, FileProblem> {
        let unusable = |what| FileProblem::new(file, what, "ask the issuer for a full (not delta) X.509 v2 list");
        files::revocation_lists(file)?
            .iter()
            .map(|der| Self::from_der(der).map_err(unusable))
            .collect()
    }

    pub(super) fn webpki(&self) -> &CertRevocationList<'static> {
        &self.list
    }

    /// Whether a newer list was due before `now` (seconds since 1970).
    #[must_use]
    pub fn is_stale(&self, now: u64) -> bool {
        self.next_update
            .is_some_and(|t| t < i64::try_from(now).unwrap_or(i64::MAX))
    }

    /// Whether it revokes this certificate: same issuer and the serial is listed. Does not check the list's signature.
    #[must_use]
    pub fn lists(&self, certificate: &X509Certificate<'_>) -> bool {
        certificate.issuer().as_raw() == &*self.issuer_der
            && matches!(self.list.find_serial(certificate.raw_serial()), Ok(Some(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Ca, Leaf, NOW};

    #[test]
    fn lists_only_the_serials_of_its_own_issuer() {
        let (ca, other) = (Ca::new("ca"), Ca::new("other"));
        let (bad, good) = (ca.issue(Leaf::new("bad")), ca.issue(Leaf::new("good")));
        let lists = |crl: &Crl, der: &[u8]| crl.lists(&X509Certificate::from_der(der).unwrap().1);
        let crl = Crl::from_der(&ca.revoke(&[&bad])).unwrap();
        assert!(lists(&crl, &bad.der) && !lists(&crl, &good.der));
        assert!(!lists(&Crl::from_der(&other.revoke(&[&bad])).unwrap(), &bad.der));
        assert_eq!(crl.revoked, 1);
        assert!(!crl.is_stale(NOW) && crl.is_stale(NOW + 100 * 86_400));
    }

    #[test]
    fn garbage_is_refused() {
        assert!(Crl::from_der(b"").is_err());
        assert!(Crl::from_der(&Ca::new("ca").der).is_err());
    }
}
