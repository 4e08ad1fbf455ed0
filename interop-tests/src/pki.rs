//! A throw-away authority for one test, and the certificates that a bridge must refuse.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
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
    /// The right common name and no subjectAltName at all.
    CommonNameOnly,
    /// A NUL byte in a `sip:` name, and the right DNS name beside it.
    NulUri,
    /// A user's: `sip:alice@DOMAIN`.
    User,
    /// The right DNS name, but a `sip:` name of somebody else (RFC 5922 7.1: the URI decides).
    OtherUri,
    /// Only for servers.
    ServerOnly,
    /// Only for clients.
    ClientOnly,
    /// An authority's own certificate, with the right names.
    AuthorityLeaf,
    /// Right in everything, by an intermediate authority that is not sent along.
    MissingIntermediate,
    /// Valid in two hours: somebody's clock is wrong.
    Soon,
    /// `*.example` and nothing else, the common name included.
    WildcardOnly,
    /// Nothing but the address 127.0.0.1.
    AddressOnly,
}

impl Flaw {
    /// Those that are worth a restart of a real peer each.
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

/// A subjectAltName out of raw (tag, content) names; contents under 60 bytes. For what no library would write.
fn raw_names(names: &[(u8, &[u8])]) -> CustomExtension {
    let sized = |tag: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        [&[tag, length][..], content].concat()
    };
    let list: Vec<u8> = names
        .iter()
        .flat_map(|(tag, content)| sized(0x80 | tag, content))
        .collect();
    CustomExtension::from_oid_content(&[2, 5, 29, 17], sized(0x30, &list))
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn authority(name: &str) -> Outcome<Authority> {
    let key = KeyPair::generate()?;
    let params = authority_params(name);
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

    /// Makes one of this name.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub fn named(name: &str) -> Outcome<Self> {
        authority(name)
    }

    /// A proper certificate of a domain.
    ///
    /// # Errors
    /// When the domain is no host name.
    pub fn issue(&self, domain: &str) -> Outcome<Certificate> {
        self.sign(&leaf(domain)?)
    }

    /// A certificate whose only name is a common name, whatever stands in it.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub fn called(&self, name: &str) -> Outcome<Certificate> {
        let mut params = leaf("unused.example")?;
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(&params)
    }

    /// An authority below this one.
    ///
    /// # Errors
    /// When there is no key to be had.
    pub fn intermediate(&self) -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let params = authority_params("Interop Issuing CA");
        let pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A proper certificate of a domain, or one whose only name is its common name, for a key made elsewhere.
    ///
    /// # Errors
    /// When the domain is no host name or the key cannot be read.
    pub fn issue_for(&self, domain: &str, key: &str, only_common_name: bool) -> Outcome<Certificate> {
        let mut params = leaf(domain)?;
        if only_common_name {
            params.subject_alt_names.clear();
        }
        // Old cipher suites encipher with the key of the certificate.
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        let pair = KeyPair::from_pem(key)?;
        Ok(Certificate {
            pem: params.signed_by(&pair, &self.issuer)?.pem(),
            key: key.to_owned(),
        })
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
            Flaw::CommonNameOnly => params.subject_alt_names.clear(),
            Flaw::NulUri => {
                params.subject_alt_names.clear();
                let uri = format!("sip:{domain}\0.evil.example");
                params.custom_extensions = vec![raw_names(&[(6, uri.as_bytes()), (2, domain.as_bytes())])];
            }
            Flaw::User => {
                params.subject_alt_names = vec![SanType::URI(format!("sip:alice@{domain}").as_str().try_into()?)];
            }
            Flaw::OtherUri => {
                params.subject_alt_names = vec![
                    SanType::URI("sip:evil.example".try_into()?),
                    SanType::DnsName(domain.try_into()?),
                ];
            }
            Flaw::ServerOnly => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            Flaw::ClientOnly => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            Flaw::AuthorityLeaf => {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages.push(KeyUsagePurpose::KeyCertSign);
            }
            Flaw::Soon => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
                params.not_before = date_time_ymd(1970, 1, 1) + now + std::time::Duration::from_secs(7200);
            }
            Flaw::WildcardOnly => {
                let parent = domain.split_once('.').map_or(domain, |(_, rest)| rest);
                let name = format!("*.{parent}");
                params.distinguished_name.push(DnType::CommonName, name.as_str());
                params.subject_alt_names = vec![SanType::DnsName(name.as_str().try_into()?)];
            }
            Flaw::AddressOnly => {
                params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
                params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse()?)];
            }
            Flaw::MissingIntermediate => return self.intermediate()?.sign(&params),
        }
        self.sign(&params)
    }
}
