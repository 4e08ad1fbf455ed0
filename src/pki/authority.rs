//! A small certificate authority (RFC 5280 profiles): makes one, issues certificates for bridges, revokes them.
//!
//! ECDSA P-256 throughout: the cryptography library cannot generate RSA keys. A peer that needs RSA gets a certificate
//! from another tool, which the bridge can then use. Reads no clock: `now` is seconds since 1970.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::files::{self, FileProblem, pem};
use super::tls::provider;

const DAY: i64 = 86_400;

/// How long an authority lasts unless asked otherwise, in days.
pub const AUTHORITY_DAYS: u32 = 3650;
/// How long a certificate lasts unless asked otherwise, in days; more is refused by some peers.
pub const LEAF_DAYS: u32 = 825;
/// How long a revocation list lasts unless asked otherwise, in days.
pub const CRL_DAYS: u32 = 30;

/// A new certificate and its key, both PEM.
pub struct Made {
    /// The certificate.
    pub certificate: String,
    /// The key (PKCS#8).
    pub key: String,
}

/// What a certificate for a bridge or peer shall say.
#[derive(Clone, Debug)]
pub struct Request {
    /// Fully qualified host name; the common name and the first DNS name.
    pub host: String,
    /// SIP domains it may speak for.
    pub domains: Vec<String>,
    /// Days from now.
    pub days: u32,
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When, in seconds since 1970.
    pub at: i64,
    /// Whether its key fell into other hands; otherwise it was merely replaced.
    pub compromised: bool,
}

/// Makes an authority of this name.
///
/// # Errors
/// When the name or the dates cannot be used.
pub fn make_authority(name: &str, days: u32, now: u64) -> Result<Made, String> {
    let mut params = params(name, days, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(text)?;
    let certificate = params.self_signed(&key).map_err(text)?;
    Ok(Made {
        certificate: pem("CERTIFICATE", certificate.der()),
        key: key.serialize_pem(),
    })
}

/// An authority that can sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
}

impl Authority {
    /// Reads an authority's certificate and key.
    ///
    /// # Errors
    /// When a file cannot be used or they do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, FileProblem> {
        let der = files::certificates(certificate)?.swap_remove(0);
        let key_der = files::private_key(key)?;
        let unusable = |e| FileProblem::new(key, e, "use the key that `trestle cert ca` made");
        let pair = KeyPair::try_from(&key_der).map_err(unusable)?;
        rustls::sign::CertifiedKey::from_der(vec![der.clone()], key_der, &provider()).map_err(|e| {
            FileProblem::new(
                key,
                format_args!("is not the key of {}: {e}", certificate.display()),
                "name the right key",
            )
        })?;
        let fix = "name the certificate of an authority (`trestle cert ca` makes one)";
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|e| FileProblem::new(certificate, e, fix))?;
        if !super::doctor::inspect::is_authority(&der) {
            return Err(FileProblem::new(
                certificate,
                "not the certificate of an authority",
                fix,
            ));
        }
        Ok(Self {
            issuer,
            certificate: der,
        })
    }

    /// Issues a certificate for server and client use: common name and DNS name of the host, DNS and `sip:` URI names
    /// of host and domains.
    ///
    /// # Errors
    /// When a name or the dates cannot be used.
    pub fn issue(&self, request: &Request, now: u64) -> Result<Made, String> {
        let mut params = params(&request.host, request.days, now)?;
        let mut names: Vec<&String> = Vec::new();
        for name in core::iter::once(&request.host).chain(&request.domains) {
            check_name(name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in &names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().map_err(text)?));
        }
        for name in &names {
            params
                .subject_alt_names
                .push(SanType::URI(format!("sip:{name}").try_into().map_err(text)?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(text)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(text)?;
        Ok(Made {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: key.serialize_pem(),
        })
    }

    /// Makes a revocation list (PEM). Its number is `now`, so that it rises.
    ///
    /// # Errors
    /// When the dates cannot be used or the authority must not sign lists.
    pub fn revocation_list(&self, revoked: &[Revoked], days: u32, now: u64) -> Result<String, String> {
        let (this_update, next_update) = (time_at(now, 0)?, time_at(now, i64::from(days) * DAY)?);
        let entry = |r: &Revoked| -> Result<_, String> {
            let reason = if r.compromised {
                RevocationReason::KeyCompromise
            } else {
                RevocationReason::Superseded
            };
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(&r.serial),
                revocation_time: OffsetDateTime::from_unix_timestamp(r.at).map_err(text)?,
                reason_code: Some(reason),
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(now),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(pem("X509 CRL", params.signed_by(&self.issuer).map_err(text)?.der()))
    }
}

fn params(common_name: &str, days: u32, now: u64) -> Result<CertificateParams, String> {
    if common_name.is_empty() || common_name.chars().any(char::is_control) {
        return Err("the name is empty or contains control characters".to_owned());
    }
    if days == 0 {
        return Err("a certificate must last a day at least".to_owned());
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // An hour back, for peers whose clock is behind.
    params.not_before = time_at(now, -3600)?;
    params.not_after = time_at(now, i64::from(days) * DAY)?;
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

/// A host or domain name as it may stand in a certificate: no wildcard, no address, no scheme.
fn check_name(name: &str) -> Result<(), String> {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if name.parse::<core::net::IpAddr>().is_ok() {
        return Err(format!(
            "{name} is an address; SIP identities are names (RFC 5922 section 7.1)"
        ));
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(format!(
            "{name:?} is not a host or domain name (wildcards do not name a SIP domain)"
        ));
    }
    Ok(())
}

fn time_at(now: u64, offset: i64) -> Result<OffsetDateTime, String> {
    let seconds = i64::try_from(now)
        .ok()
        .and_then(|n| n.checked_add(offset))
        .ok_or("the date is out of range")?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(text)
}

fn random_serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| "the system gave no randomness")?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn text(error: impl core::fmt::Display) -> String {
    error.to_string()
}

/// What [`ensure_development`] has made. Empty when everything was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// New files.
    pub made: Vec<PathBuf>,
}

/// Makes `bridge.pem` and `bridge.key` in a directory for a first start, with a development authority (`ca.pem`,
/// `ca.key`) unless there is one. Replaces nothing.
///
/// # Errors
/// When one of a pair is missing, or a file cannot be read or written.
pub fn ensure_development(directory: &Path, host: &str, domains: &[String], now: u64) -> Result<Report, FileProblem> {
    let file = |name: &str| directory.join(name);
    let mut report = Report::default();
    if is_whole(&file("bridge.pem"), &file("bridge.key"))? {
        return Ok(report);
    }
    files::make_directory(directory)?;
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    if !is_whole(&ca, &ca_key)? {
        let made = make_authority(&format!("Trestle development CA of {host}"), AUTHORITY_DAYS, now);
        write_pair(
            &made.map_err(|e| FileProblem::new(&ca, e, "check the host name"))?,
            &ca,
            &ca_key,
            false,
        )?;
        report.made.extend([ca.clone(), ca_key.clone()]);
    }
    let authority = Authority::load(&ca, &ca_key)?;
    let request = Request {
        host: host.to_owned(),
        domains: domains.to_vec(),
        days: LEAF_DAYS,
    };
    let (certificate, key) = (file("bridge.pem"), file("bridge.key"));
    let made = authority.issue(&request, now);
    let fix = "check `identity.host` and `domains` in the configuration";
    write_pair(
        &made.map_err(|e| FileProblem::new(&certificate, e, fix))?,
        &certificate,
        &key,
        false,
    )?;
    report.made.extend([certificate, key]);
    Ok(report)
}

fn is_whole(certificate: &Path, key: &Path) -> Result<bool, FileProblem> {
    match (certificate.exists(), key.exists()) {
        (false, false) => Ok(false),
        (true, true) => Ok(true),
        (true, false) => Err(FileProblem::new(
            key,
            "missing, though its certificate is there",
            "restore it",
        )),
        (false, true) => Err(FileProblem::new(
            certificate,
            "missing, though its key is there",
            "restore it",
        )),
    }
}

/// Writes a certificate (0644) and its key (0600), the key first.
///
/// # Errors
/// When one exists already and `force` is not set, or cannot be written.
pub fn write_pair(made: &Made, certificate: &Path, key: &Path, force: bool) -> Result<(), FileProblem> {
    if !force && certificate.exists() {
        return Err(FileProblem::new(
            certificate,
            "exists already",
            "use --force to replace it",
        ));
    }
    files::write(key, made.key.as_bytes(), 0o600, force)?;
    files::write(certificate, made.certificate.as_bytes(), 0o644, force)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::crl::Crl;
    use crate::pki::names::names_of;
    use crate::pki::testing::{NOW, now, peer};
    use crate::pki::tls::LocalIdentity;
    use crate::pki::verify::{CertProblem, How, Usage};
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn request() -> Request {
        Request {
            host: "bridge.a.example".into(),
            domains: vec!["a.example".into()],
            days: LEAF_DAYS,
        }
    }

    #[test]
    fn a_development_set_verifies_and_carries_host_and_domain() {
        let dir = tempfile::tempdir().unwrap();
        let domains = ["a.example".to_owned()];
        let report = ensure_development(dir.path(), "bridge.a.example", &domains, NOW).unwrap();
        assert_eq!(report.made.len(), 4);
        assert_eq!(
            ensure_development(dir.path(), "bridge.a.example", &domains, NOW).unwrap(),
            Report::default()
        );
        for key in ["ca.key", "bridge.key"] {
            assert!(!files::is_readable_by_others(&dir.path().join(key)));
        }
        let ours = LocalIdentity::load(
            &dir.path().join("bridge.pem"),
            &dir.path().join("bridge.key"),
            &provider(),
        )
        .unwrap();
        let names = names_of(&ours.chain()[0]).unwrap();
        let both = ["bridge.a.example", "a.example"].map(Box::from);
        assert_eq!((&*names.sip_uris, &*names.dns), (&both[..], &both[..]));
        assert_eq!(names.common_name.as_deref(), Some("bridge.a.example"));
        let mut trust = peer(0, "a.example", &[]);
        trust
            .anchors
            .add(files::certificates(&dir.path().join("ca.pem")).unwrap().swap_remove(0))
            .unwrap();
        for usage in [Usage::Client, Usage::Server] {
            let algorithms = provider().signature_verification_algorithms;
            assert_eq!(trust.verify(ours.chain(), now(), usage, &algorithms), Ok(How::Chain));
        }
    }

    #[test]
    fn half_a_pair_is_an_error_and_nothing_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bridge.pem"), "mine").unwrap();
        assert!(
            ensure_development(dir.path(), "h.a.example", &[], NOW)
                .unwrap_err()
                .what
                .contains("missing")
        );
        assert_eq!(std::fs::read(dir.path().join("bridge.pem")).unwrap(), b"mine");
    }

    #[test]
    fn a_revoked_certificate_no_longer_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        write_pair(&make_authority("CA", 10, NOW).unwrap(), &ca, &key, false).unwrap();
        let authority = Authority::load(&ca, &key).unwrap();
        let made = authority.issue(&request(), NOW).unwrap();
        let chain = files::certificates_in(&ca, made.certificate.as_bytes()).unwrap();
        let serial = X509Certificate::from_der(&chain[0]).unwrap().1.raw_serial().to_vec();
        let list = authority
            .revocation_list(
                &[Revoked {
                    serial,
                    at: NOW as i64,
                    compromised: true,
                }],
                CRL_DAYS,
                NOW,
            )
            .unwrap();
        let file = dir.path().join("crl.pem");
        std::fs::write(&file, list).unwrap();
        let mut trust = peer(0, "a.example", &[]);
        trust.anchors.add(authority.certificate.clone()).unwrap();
        let algorithms = provider().signature_verification_algorithms;
        assert!(trust.verify(&chain, now(), Usage::Client, &algorithms).is_ok());
        trust.crls = Crl::load(&file).unwrap();
        assert_eq!(
            trust.verify(&chain, now(), Usage::Client, &algorithms),
            Err(CertProblem::Revoked)
        );
    }

    #[test]
    fn unfit_names_are_not_issued() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("ca.key"));
        write_pair(&make_authority("CA", 10, NOW).unwrap(), &ca, &key, false).unwrap();
        let authority = Authority::load(&ca, &key).unwrap();
        for host in [
            "",
            "*.a.example",
            "192.0.2.1",
            "a..example",
            "a example",
            "sip:a.example",
            "a\0b",
            "-a.example",
        ] {
            assert!(
                authority
                    .issue(
                        &Request {
                            host: host.into(),
                            ..request()
                        },
                        NOW
                    )
                    .is_err(),
                "{host}"
            );
        }
        let leaf = authority.issue(&request(), NOW).unwrap();
        write_pair(&leaf, &dir.path().join("l.pem"), &dir.path().join("l.key"), false).unwrap();
        assert!(
            Authority::load(&dir.path().join("l.pem"), &dir.path().join("l.key")).is_err(),
            "a leaf cannot issue"
        );
        assert!(
            Authority::load(&ca, &dir.path().join("l.key")).is_err(),
            "a foreign key"
        );
    }
}
