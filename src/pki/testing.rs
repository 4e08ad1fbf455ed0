//! Good and hostile certificates for tests, made on the spot.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;

use super::tls::LocalIdentity;
use super::verify::PeerTrust;
use crate::pki::files;
use crate::sip::net::PeerId;

/// The time of the tests: 2026-02-01, in seconds since 1970.
pub(crate) const NOW: u64 = 1_769_904_000;

pub(crate) fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW))
}

pub(crate) const DAY: i64 = 86_400;

fn at(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW as i64 + days * DAY).unwrap()
}

pub(crate) struct Leaf {
    pub(crate) params: CertificateParams,
}

impl Leaf {
    /// A certificate with this common name, no other name, valid from 30 days ago for a year, for both sides.
    pub(crate) fn new(cn: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, cn);
        params.not_before = at(-30);
        params.not_after = at(335);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Self { params }
    }
    pub(crate) fn domain(domain: &str) -> Self {
        Self::new(domain).dns(domain).uri(&format!("sip:{domain}"))
    }
    fn organisation(mut self, name: &str) -> Self {
        self.params.distinguished_name.push(DnType::OrganizationName, name);
        self
    }
    pub(crate) fn dns(mut self, name: &str) -> Self {
        self.params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
        self
    }
    pub(crate) fn uri(mut self, uri: &str) -> Self {
        self.params
            .subject_alt_names
            .push(SanType::URI(uri.try_into().unwrap()));
        self
    }
    pub(crate) fn ip(mut self, ip: &str) -> Self {
        self.params
            .subject_alt_names
            .push(SanType::IpAddress(ip.parse().unwrap()));
        self
    }
    pub(crate) fn raw(mut self, extension: CustomExtension) -> Self {
        self.params.custom_extensions.push(extension);
        self
    }
    pub(crate) fn days(mut self, from: i64, until: i64) -> Self {
        (self.params.not_before, self.params.not_after) = (at(from), at(until));
        self
    }
    pub(crate) fn usage(mut self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.params.extended_key_usages = usages.to_vec();
        self
    }
    pub(crate) fn authority(mut self) -> Self {
        self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        self.params.extended_key_usages.clear();
        self
    }
    pub(crate) fn self_signed(self) -> Issued {
        let key = KeyPair::generate().unwrap();
        let der = self.params.self_signed(&key).unwrap().der().clone();
        Issued {
            chain: vec![der.clone()],
            der,
            key,
            serial: SerialNumber::from_slice(&[1]),
        }
    }
}

/// A subjectAltName out of raw (tag, content) names; contents under 100 bytes.
pub(crate) fn raw_san(names: &[(u8, &[u8])]) -> CustomExtension {
    let mut list = Vec::new();
    for (tag, content) in names {
        list.extend([0x80 | tag, u8::try_from(content.len()).unwrap()]);
        list.extend(*content);
    }
    let mut content = vec![0x30, u8::try_from(list.len()).unwrap()];
    content.extend(list);
    CustomExtension::from_oid_content(&[2, 5, 29, 17], content)
}

pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
    pub(crate) serial: SerialNumber,
}

impl Issued {
    pub(crate) fn pem(&self) -> String {
        self.chain.iter().map(|der| files::pem("CERTIFICATE", der)).collect()
    }
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
    /// Goes through files, as the bridge does.
    pub(crate) fn identity(&self) -> LocalIdentity {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("c.pem"), dir.path().join("c.key"));
        files::write(&cert, self.pem().as_bytes(), 0o644, false).unwrap();
        files::write(&key, self.key_pem().as_bytes(), 0o600, false).unwrap();
        LocalIdentity::load(&cert, &key, &super::tls::provider()).unwrap()
    }
}

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    chain: Vec<CertificateDer<'static>>,
    pub(crate) der: CertificateDer<'static>,
    serials: std::cell::Cell<u64>,
}

impl Ca {
    pub(crate) fn new(cn: &str) -> Self {
        Self::root(Leaf::new(cn))
    }

    pub(crate) fn of_organisation(cn: &str, organisation: &str) -> Self {
        Self::root(Leaf::new(cn).organisation(organisation))
    }

    fn root(leaf: Leaf) -> Self {
        let params = leaf.authority().days(-300, 3000).params;
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            chain: vec![],
            der,
            serials: 1.into(),
        }
    }

    /// An intermediate authority under this one.
    pub(crate) fn intermediate(&self, cn: &str) -> Self {
        self.below(Leaf::new(cn))
    }

    pub(crate) fn intermediate_of(&self, cn: &str, organisation: &str) -> Self {
        self.below(Leaf::new(cn).organisation(organisation))
    }

    fn below(&self, leaf: Leaf) -> Self {
        let params = leaf.authority().days(-200, 2000).params;
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            chain: vec![der.clone()],
            der,
            serials: 1000.into(),
        }
    }

    pub(crate) fn issue(&self, leaf: Leaf) -> Issued {
        let mut params = leaf.params;
        self.serials.set(self.serials.get() + 1);
        let serial = SerialNumber::from(self.serials.get());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let chain = core::iter::once(&der).chain(&self.chain).cloned().collect();
        Issued {
            der,
            chain,
            key,
            serial,
        }
    }

    pub(crate) fn revoke(&self, issued: &[&Issued]) -> Vec<u8> {
        let revoked = issued.iter().map(|i| RevokedCertParams {
            serial_number: i.serial.clone(),
            revocation_time: at(-1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at(-1),
            next_update: at(30),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// A peer with one domain, anchored at these authorities.
pub(crate) fn peer(id: u16, domain: &str, anchors: &[&Ca]) -> PeerTrust {
    let mut peer = PeerTrust::new(PeerId(id), domain);
    peer.domains.push(Arc::from(domain));
    for ca in anchors {
        peer.anchors.add(ca.der.clone()).unwrap();
    }
    peer
}
