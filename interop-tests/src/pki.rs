//! A throw-away authority for one test, and the certificates that a bridge must refuse.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};

use crate::Outcome;

/// A CA.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub pem: String,
}

/// A certificate with its key, as files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate, PEM.
    pub pem: String,
    /// Its key, PEM (PKCS #8).
    pub key: String,
}

impl Certificate {
    /// Writes `NAME.pem` and `NAME.key` into a directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> std::io::Result<(PathBuf, PathBuf)> {
        let (pem, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&pem, &self.pem)?;
        std::fs::write(&key, &self.key)?;
        Ok((pem, key))
    }
}

/// What is wrong with a certificate that claims to be a domain's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The right common name, but a name of somebody else as subjectAltName (RFC 5922 7.1: the common name is ignored).
    OtherName,
    /// No longer valid.
    Expired,
    /// Not yet valid.
    Future,
    /// Right in everything, by another CA.
    OtherAuthority,
    /// Right in everything, by itself.
    SelfSigned,
    /// `*.example` (RFC 5922 7.2: no wildcards).
    Wildcard,
    /// For signing code.
    WrongUsage,
    /// A NUL byte behind the right name, then more.
    Nul,
    /// A valid certificate of a third domain.
    ThirdDomain,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OtherName,
        Self::Expired,
        Self::Future,
        Self::OtherAuthority,
        Self::SelfSigned,
        Self::Wildcard,
        Self::WrongUsage,
        Self::Nul,
        Self::ThirdDomain,
    ];
}

fn authority(name: &str) -> Outcome<Authority> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key)?.pem();
    Ok(Authority {
        issuer: Issuer::new(params, key),
        pem,
    })
}

/// A leaf for `domain`: DNS and `sip:` names, both usages.
fn leaf(domain: &str) -> Outcome<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, domain);
    params.subject_alt_names = vec![
        SanType::DnsName(domain.try_into()?),
        SanType::URI(format!("sip:{domain}").as_str().try_into()?),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub fn new() -> Outcome<Self> {
        authority("Interop Test CA")
    }

    /// A proper certificate of a domain.
    ///
    /// # Errors
    /// When the domain is no host name.
    pub fn issue(&self, domain: &str) -> Outcome<Certificate> {
        self.sign(&leaf(domain)?)
    }

    fn sign(&self, params: &CertificateParams) -> Outcome<Certificate> {
        let key = KeyPair::generate()?;
        Ok(Certificate {
            pem: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// A certificate that claims to be `domain`'s and must not pass.
    ///
    /// # Errors
    /// When the domain is no host name.
    pub fn flawed(&self, domain: &str, flaw: Flaw) -> Outcome<Certificate> {
        let mut params = leaf(domain)?;
        match flaw {
            Flaw::OtherName => params.subject_alt_names = vec![SanType::DnsName("evil.example".try_into()?)],
            Flaw::Expired => {
                params.not_before = date_time_ymd(2020, 1, 1);
                params.not_after = date_time_ymd(2021, 1, 1);
            }
            Flaw::Future => {
                params.not_before = date_time_ymd(2090, 1, 1);
                params.not_after = date_time_ymd(2091, 1, 1);
            }
            Flaw::OtherAuthority => return authority("Other CA")?.sign(&params),
            Flaw::SelfSigned => {
                let key = KeyPair::generate()?;
                return Ok(Certificate {
                    pem: params.self_signed(&key)?.pem(),
                    key: key.serialize_pem(),
                });
            }
            Flaw::Wildcard => {
                let parent = domain.split_once('.').map_or(domain, |(_, rest)| rest);
                params.subject_alt_names = vec![SanType::DnsName(format!("*.{parent}").as_str().try_into()?)];
            }
            Flaw::WrongUsage => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
            Flaw::Nul => {
                params.subject_alt_names = vec![SanType::DnsName(
                    format!("{domain}\0.evil.example").as_str().try_into()?,
                )];
            }
            Flaw::ThirdDomain => return self.issue("third.example"),
        }
        self.sign(&params)
    }
}
