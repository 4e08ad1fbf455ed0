//! Whether a certificate verifies for one peer: a chain to that peer's own anchors (RFC 5280 section 6, by webpki), or
//! one of its pins.
//!
//! Names are not looked at: `policy::identity::judge` does that. There is no union of anchors anywhere, so the
//! authority of one peer says nothing about another.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::crl::Crl;
use super::files::{self, FileProblem};
use super::names::names_of;
use super::pin::Pin;
use crate::policy::identity::{NameProblem, Trust, judge, same_name};
use crate::sip::net::PeerId;

/// Intermediates beyond this end the handshake: a stranger must not choose how many signatures are checked.
const MOST_INTERMEDIATES: usize = 8;

/// What one peer is verified by.
#[derive(Debug)]
pub struct PeerTrust {
    /// Its place in the running configuration.
    pub id: PeerId,
    /// The operator's name for it.
    pub name: Arc<str>,
    /// Domains it may speak for.
    pub domains: Vec<Arc<str>>,
    /// Host names that count besides (`tls.names`).
    pub names: Vec<Arc<str>>,
    /// Whether the common name counts when there is no subjectAltName (`tls.allow_cn`).
    pub allow_cn: bool,
    /// Its own anchors. Do not count when there are pins.
    pub anchors: Anchors,
    /// Exact certificates or keys. If there are any, nothing else verifies.
    pub pins: Vec<Pin>,
    /// Revocation lists.
    pub crls: Vec<Crl>,
}

/// Certificates that chains may end at.
#[derive(Debug, Default)]
pub struct Anchors {
    der: Vec<CertificateDer<'static>>,
    webpki: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    /// Adds one. X.509 v1 roots are accepted as anchors.
    ///
    /// # Errors
    /// When the bytes are no certificate.
    pub fn add(&mut self, der: CertificateDer<'static>) -> Result<(), CertProblem> {
        let anchor = anchor_from_trusted_cert(&der)
            .map_err(|_| CertProblem::Malformed)?
            .to_owned();
        self.webpki.push(anchor);
        self.der.push(der);
        Ok(())
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.der
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.der.is_empty()
    }
}

/// The files that a peer's verification material comes from.
#[derive(Clone, Debug, Default)]
pub struct TrustFiles {
    /// Anchors, PEM or DER.
    pub ca: Vec<PathBuf>,
    /// Certificates to pin (the first of each file).
    pub pin: Vec<PathBuf>,
    /// Revocation lists, PEM or DER.
    pub crl: Vec<PathBuf>,
}

impl PeerTrust {
    /// A peer that nothing verifies for yet.
    #[must_use]
    pub fn new(id: PeerId, name: &str) -> Self {
        Self {
            id,
            name: name.into(),
            domains: Vec::new(),
            names: Vec::new(),
            allow_cn: false,
            anchors: Anchors::default(),
            pins: Vec::new(),
            crls: Vec::new(),
        }
    }

    /// Reads the files of a peer into it.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(&mut self, files: &TrustFiles) -> Result<(), FileProblem> {
        for file in &files.ca {
            for der in files::certificates(file)? {
                let problem = |e| FileProblem::new(file, e, "name the certificate of the peer's authority");
                self.anchors.add(der).map_err(problem)?;
            }
        }
        for file in &files.pin {
            self.pins
                .extend(files::certificates(file)?.first().map(|der| Pin::certificate(der)));
        }
        for file in &files.crl {
            self.crls.extend(Crl::load(file)?);
        }
        Ok(())
    }

    /// Whether whatever could verify for the other peer can verify for this one, revocation and dates apart.
    #[must_use]
    pub fn believes_all_of(&self, other: &Self) -> bool {
        if other.pins.is_empty() {
            let anchors = other.anchors.certificates().iter();
            self.pins.is_empty() && anchors.clone().all(|a| self.anchors.certificates().contains(a))
        } else {
            other.pins.iter().all(|pin| self.pins.contains(pin))
        }
    }

    /// Whether anything can verify for this peer.
    #[must_use]
    pub fn can_verify(&self) -> bool {
        !self.anchors.is_empty() || !self.pins.is_empty()
    }

    /// Verifies a chain as sent, end entity first, at `now`.
    ///
    /// # Errors
    /// Why it does not verify for this peer.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<How, CertProblem> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err(CertProblem::Missing);
        };
        if intermediates.len() > MOST_INTERMEDIATES {
            return Err(CertProblem::Other(format!(
                "more than {MOST_INTERMEDIATES} intermediate certificates"
            )));
        }
        if self.pins.is_empty() {
            self.verify_chain(end_entity, intermediates, now, usage, algorithms)
                .map(|()| How::Chain)
        } else {
            self.verify_pin(end_entity, now).map(|()| How::Pin)
        }
    }

    /// Whether a chain that verified is also named for this peer (RFC 5922 section 7.1). A pin needs no name.
    ///
    /// # Errors
    /// What the names lack.
    pub fn named(&self, chain: &[CertificateDer<'_>], how: How) -> Result<(), CertProblem> {
        if how == How::Pin {
            return Ok(());
        }
        let end_entity = chain.first().ok_or(CertProblem::Missing)?;
        let names = names_of(end_entity).map_err(|_| CertProblem::Malformed)?;
        judge(&names, self).map(drop).map_err(CertProblem::Name)
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), CertProblem> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(|e| CertProblem::of(&e))?;
        let crls: Vec<_> = self.crls.iter().map(Crl::webpki).collect();
        let revocation = RevocationOptionsBuilder::new(&crls)
            .map(|b| b.with_status_policy(UnknownStatusPolicy::Allow).build())
            .ok();
        certificate
            .verify_for_usage(
                algorithms.all,
                &self.anchors.webpki,
                intermediates,
                now,
                usage.webpki(),
                revocation,
                None,
            )
            .map(drop)
            .map_err(|e| CertProblem::of(&e))
    }

    fn verify_pin(&self, end_entity: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertProblem> {
        if !self.pins.iter().any(|pin| pin.matches(end_entity)) {
            return Err(CertProblem::NotPinned);
        }
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(|_| CertProblem::Malformed)?;
        let (from, until) = validity(&certificate);
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds > until {
            return Err(CertProblem::Expired { not_after: until });
        }
        if seconds < from {
            return Err(CertProblem::NotYetValid { not_before: from });
        }
        if self.crls.iter().any(|crl| crl.lists(&certificate)) {
            return Err(CertProblem::Revoked);
        }
        Ok(())
    }
}

/// The first and the last second a certificate is valid, since 1970.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    (
        certificate.validity().not_before.timestamp(),
        certificate.validity().not_after.timestamp(),
    )
}

impl Trust for PeerTrust {
    fn has_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|d| same_name(d, domain))
    }
    fn has_host(&self, host: &str) -> bool {
        self.names.iter().any(|n| same_name(n, host))
    }
    fn allow_cn(&self) -> bool {
        self.allow_cn
    }
}

/// What a certificate is used for in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The other end is the TLS client.
    Client,
    /// The other end is the TLS server.
    Server,
}

impl Usage {
    fn webpki(self) -> KeyUsage {
        match self {
            Self::Client => KeyUsage::client_auth(),
            Self::Server => KeyUsage::server_auth(),
        }
    }
}

/// What a certificate verified by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A chain to one of the peer's anchors: its names still have to be judged.
    Chain,
    /// A pin: no name is needed.
    Pin,
}

/// Why a certificate does not verify for a peer. Peer fault unless the anchors are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertProblem {
    /// None was sent.
    #[error("no certificate was sent")]
    Missing,
    /// It cannot be parsed.
    #[error("the certificate cannot be parsed")]
    Malformed,
    /// X.509 v1 or v2.
    #[error("it is an X.509 v1 certificate, which carries no names or usages")]
    Version,
    /// Past its last day.
    #[error("it expired {}", day(*not_after))]
    Expired {
        /// Its last second, since 1970.
        not_after: i64,
    },
    /// Before its first day.
    #[error("it is not valid before {}", day(*not_before))]
    NotYetValid {
        /// Its first second, since 1970.
        not_before: i64,
    },
    /// No path to an anchor of the peer.
    #[error("no authority configured for the peer has issued it")]
    UnknownIssuer,
    /// Other than the pinned ones.
    #[error("it is none of the certificates or keys pinned for the peer")]
    NotPinned,
    /// On one of the peer's revocation lists.
    #[error("it is revoked")]
    Revoked,
    /// The extended key usage does not allow it.
    #[error("its extended key usage does not allow this side of a connection")]
    WrongUsage,
    /// An authority's certificate in the place of a server's.
    #[error("it is an authority's certificate, which cannot stand for a server")]
    Authority,
    /// SHA-1, a short RSA key or something exotic in the chain.
    #[error("a signature in its chain uses an algorithm that is not accepted (SHA-1, RSA under 2048 bits)")]
    Algorithm,
    /// A signature does not fit.
    #[error("a signature in its chain does not fit: an authority of the configured name, but with another key")]
    Signature,
    /// Anything else that webpki reports.
    #[error("it cannot be verified: {0}")]
    Other(String),
    /// Verified, but not named for the peer.
    #[error("{0}")]
    Name(NameProblem),
}

/// The day of a time in seconds since 1970, as `2026-01-31` (UTC).
#[must_use]
pub fn day(seconds: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(t) => format!("{:04}-{:02}-{:02}", t.year(), u8::from(t.month()), t.day()),
        Err(_) => "at an impossible date".to_owned(),
    }
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

impl CertProblem {
    fn of(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            E::CertExpired { not_after, .. } => Self::Expired {
                not_after: seconds(*not_after),
            },
            E::CertNotValidYet { not_before, .. } => Self::NotYetValid {
                not_before: seconds(*not_before),
            },
            E::UnknownIssuer => Self::UnknownIssuer,
            E::CertRevoked => Self::Revoked,
            E::RequiredEkuNotFoundContext(_) | E::EmptyEkuExtension => Self::WrongUsage,
            E::CaUsedAsEndEntity => Self::Authority,
            E::UnsupportedCertVersion => Self::Version,
            E::UnsupportedSignatureAlgorithmContext(_) | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Self::Algorithm
            }
            E::InvalidSignatureForPublicKey => Self::Signature,
            E::BadDer | E::BadDerTime | E::TrailingData(_) | E::MalformedExtensions => Self::Malformed,
            other => Self::Other(format!("{other:?}")),
        }
    }

    /// A stable word for scripts and metrics; where the doctor has a finding for it, the same.
    #[must_use]
    pub fn id(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "unreadable",
            Self::Version => "x509-v1",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::UnknownIssuer => "unknown-ca",
            Self::NotPinned => "not-pinned",
            Self::Revoked => "revoked",
            Self::WrongUsage => "wrong-usage",
            Self::Authority => "authority-leaf",
            Self::Algorithm => "weak-signature",
            Self::Signature => "wrong-signature",
            Self::Name(NameProblem::Wildcard { .. }) => "wildcard",
            Self::Name(NameProblem::CommonNameOnly { .. }) => "cn-only",
            Self::Name(_) => "wrong-name",
            Self::Other(_) => "other",
        }
    }

    /// How much it says about the certificate: an unknown issuer says least, because any stranger has one.
    fn weight(&self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::UnknownIssuer => 1,
            Self::NotPinned => 2,
            _ => 3,
        }
    }

    /// The error for rustls, which sends the alert that belongs to it (RFC 8446 section 6.2).
    #[must_use]
    pub fn tls_error(&self) -> rustls::Error {
        use rustls::CertificateError as C;
        match self {
            Self::Missing => return rustls::Error::NoCertificatesPresented,
            Self::Malformed | Self::Version => C::BadEncoding,
            Self::Expired { .. } => C::Expired,
            Self::NotYetValid { .. } => C::NotValidYet,
            Self::UnknownIssuer | Self::NotPinned | Self::Signature => C::UnknownIssuer,
            Self::Revoked => C::Revoked,
            Self::WrongUsage | Self::Authority => C::InvalidPurpose,
            Self::Algorithm => C::BadSignature,
            Self::Name(_) => C::NotValidForName,
            Self::Other(_) => C::ApplicationVerificationFailure,
        }
        .into()
    }
}

/// All peers of the running configuration that can be verified.
#[derive(Debug)]
pub struct PeerStore {
    /// The peers.
    pub peers: Vec<Arc<PeerTrust>>,
    /// Signature algorithms accepted in chains; the provider's.
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl PeerStore {
    /// A store over the signature algorithms of a provider.
    #[must_use]
    pub fn new(peers: Vec<Arc<PeerTrust>>, provider: &rustls::crypto::CryptoProvider) -> Self {
        Self {
            peers,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// The peers for which the chain verifies, with what it verified by; in configuration order.
    pub fn verifying<'a>(
        &'a self,
        chain: &'a [CertificateDer<'a>],
        now: UnixTime,
        usage: Usage,
    ) -> impl Iterator<Item = (&'a PeerTrust, How)> {
        self.peers
            .iter()
            .filter_map(move |p| Some((&**p, p.verify(chain, now, usage, &self.algorithms).ok()?)))
    }

    /// The peers whose own anchors or pins the chain verifies against.
    #[must_use]
    pub fn anchored(&self, chain: &[CertificateDer<'_>], now: UnixTime, usage: Usage) -> Vec<PeerId> {
        self.verifying(chain, now, usage).map(|(peer, _)| peer.id).collect()
    }

    /// Whether the chain verifies for any peer, and whether it also names one of those.
    ///
    /// # Errors
    /// What says most about the certificate among the reasons of all peers.
    pub fn verify_any(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        usage: Usage,
    ) -> Result<Named<'_>, CertProblem> {
        let mut worst = if chain.is_empty() {
            CertProblem::Missing
        } else {
            CertProblem::UnknownIssuer
        };
        let mut unnamed = None;
        for peer in self.peers.iter().filter(|p| p.can_verify()) {
            match peer
                .verify(chain, now, usage, &self.algorithms)
                .map(|how| peer.named(chain, how))
            {
                Ok(Ok(())) => return Ok(Named::Yes),
                Ok(Err(problem)) => unnamed = unnamed.or(Some(Named::No(peer, problem))),
                Err(problem) if problem.weight() > worst.weight() => worst = problem,
                Err(_) => {}
            }
        }
        unnamed.ok_or(worst)
    }
}

/// What a chain that verifies for a peer says by its names.
#[derive(Debug)]
pub enum Named<'a> {
    /// It is this peer's, or it is pinned.
    Yes,
    /// It verifies for this peer, but is not named for it.
    No(&'a PeerTrust, CertProblem),
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
