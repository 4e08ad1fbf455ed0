//! Looks at a certificate chain as the bridge, or a peer with the same rules, would, and names each fault once.

use core::net::IpAddr;

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::public_key::PublicKey;

use super::finding::{Finding, Side};
use crate::pki::names::names_of;
use crate::pki::pin::Pin;
use crate::pki::tls::provider;
use crate::pki::verify::{CertProblem, PeerTrust, Usage, day, validity};
use crate::policy::identity::{CertNames, NameProblem, judge};

const DAY: i64 = 86_400;

/// Whose chain is looked at, and by whose rules.
pub struct View<'a> {
    side: Side,
    trust: &'a PeerTrust,
    now: UnixTime,
    /// The address we are told to connect to, if it matters.
    pub next_hop: Option<&'a str>,
}

impl<'a> View<'a> {
    /// A peer's chain, by our trust in it.
    #[must_use]
    pub fn theirs(trust: &'a PeerTrust, now: UnixTime) -> Self {
        Self {
            side: Side::Theirs,
            trust,
            now,
            next_hop: None,
        }
    }

    /// Our own chain, by a peer that would trust our domains.
    #[must_use]
    pub fn ours(trust: &'a PeerTrust, now: UnixTime) -> Self {
        Self {
            side: Side::Ours,
            trust,
            now,
            next_hop: None,
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX)
    }

    fn is_ours(&self) -> bool {
        self.side == Side::Ours
    }

    pub(super) fn anchors(&self) -> &[CertificateDer<'static>] {
        self.trust.anchors.certificates()
    }

    pub(super) fn error(&self, id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding::error(id, self.side, what, fix)
    }
}

/// Whether the certificate (DER) says of itself that it is an authority's.
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| c.is_ca())
}

pub(super) fn is_version_1(der: &[u8]) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| c.version() != X509Version::V3)
}

/// The faults of a chain, end entity first.
#[must_use]
pub fn inspect(chain: &[CertificateDer<'_>], view: &View<'_>) -> Vec<Finding> {
    let parsed: Vec<_> = chain
        .iter()
        .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
        .collect();
    let (Some(leaf), Some(leaf_der), true) = (parsed.first(), chain.first(), parsed.len() == chain.len()) else {
        return vec![view.error(
            "unreadable",
            "the certificate cannot be parsed",
            "send the chain as X.509 v3 certificates",
        )];
    };
    if leaf.version() != X509Version::V3 {
        let fix = "issue it again as version 3 with a subjectAltName; no pin helps, TLS libraries refuse version 1";
        return vec![view.error(
            "x509-v1",
            "an X.509 v1 certificate, which carries no names or usages",
            fix,
        )];
    }
    let pinned = !view.trust.pins.is_empty();
    let mut found = Vec::new();
    keys_and_signatures(&parsed, pinned, view, &mut found);
    dates(&parsed, view, &mut found);
    if view.trust.crls.iter().any(|crl| crl.lists(leaf)) {
        found.push(view.error(
            "revoked",
            "the certificate is on a revocation list",
            "a new certificate with a new key",
        ));
    }
    if pinned {
        if !view.trust.pins.iter().any(|pin| pin.matches(leaf_der)) {
            found.push(Finding::error(
                "not-pinned",
                Side::Configuration,
                "the certificate is none of those pinned for the peer",
                format!(
                    "if the peer has really renewed it, set `tls: {{pin: [\"{}\"]}}`",
                    Pin::certificate(leaf_der)
                ),
            ));
        }
        return found;
    }
    usages(leaf, view, &mut found);
    let stands_alone = self_made(leaf, leaf_der, view, &mut found);
    if !stands_alone && !view.is_ours() {
        path(chain, &parsed, view, &mut found);
    }
    if let Ok(names) = names_of(leaf_der) {
        judged(&names, view, &mut found);
    }
    stale_material(view, &mut found);
    found
}

fn keys_and_signatures(chain: &[X509Certificate<'_>], pinned: bool, view: &View<'_>, found: &mut Vec<Finding>) {
    const WEAK: [&str; 4] = [
        "1.2.840.113549.1.1.5",
        "1.2.840.10045.4.1",
        "1.2.840.113549.1.1.4",
        "1.2.840.10040.4.3",
    ];
    for certificate in chain {
        let is_root = certificate.issuer() == certificate.subject() && certificate.is_ca();
        let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
        if !pinned && !is_root && WEAK.contains(&algorithm.as_str()) {
            let what = format!("{} is signed with SHA-1 or MD5", certificate.subject());
            found.push(view.error("sha1", what, "issue it again with SHA-256, or pin it"));
        }
        if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() {
            let bits = modulus_bits(key.modulus);
            if bits < 2048 {
                let what = format!("{} has an RSA key of {bits} bits", certificate.subject());
                found.push(view.error("rsa-short", what, "a key of 2048 bits or more, or ECDSA P-256"));
            }
        }
    }
}

fn modulus_bits(modulus: &[u8]) -> usize {
    let digits = modulus
        .iter()
        .position(|b| *b != 0)
        .map_or(&[][..], |at| modulus.get(at..).unwrap_or_default());
    digits
        .first()
        .map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

fn dates(chain: &[X509Certificate<'_>], view: &View<'_>, found: &mut Vec<Finding>) {
    for certificate in chain {
        let (from, until) = validity(certificate);
        let subject = certificate.subject();
        if view.now() > until {
            let fix = if view.is_ours() {
                "`trestle cert issue --force`"
            } else {
                "the peer renews it"
            };
            found.push(view.error("expired", format!("{subject} expired {}", day(until)), fix));
        } else if view.now() < from - DAY {
            let what = format!("{subject} is not valid before {}", day(from));
            found.push(view.error(
                "not-yet-valid",
                what,
                "wait, or issue it again with an earlier first day",
            ));
        } else if view.now() < from {
            let what = format!(
                "{subject} becomes valid in {} s: one of the two clocks is wrong",
                from - view.now()
            );
            found.push(view.error(
                "clock-skew",
                what,
                "set both clocks by NTP; the issuer's seems to be ahead",
            ));
        } else if until - view.now() < 30 * DAY {
            let what = format!("{subject} expires in {} days", (until - view.now()) / DAY);
            found.push(Finding::warning("expires-soon", view.side, what, "renew it now"));
        }
    }
}

fn usages(leaf: &X509Certificate<'_>, view: &View<'_>, found: &mut Vec<Finding>) {
    let Ok(Some(usage)) = leaf.extended_key_usage() else {
        return;
    };
    let usage = usage.value;
    if !usage.client_auth && !usage.any {
        let fix = "issue it with clientAuth and serverAuth; public authorities no longer give clientAuth, a private one \
                   (`trestle cert ca`) does";
        found.push(view.error(
            "no-client-auth",
            "its extended key usage does not allow connecting out (clientAuth)",
            fix,
        ));
    }
    if !usage.server_auth && !usage.any {
        let what = "its extended key usage does not allow being a server (serverAuth)";
        found.push(view.error("no-server-auth", what, "issue it with clientAuth and serverAuth"));
    }
}

/// Whether no authority stands behind it.
fn self_made(leaf: &X509Certificate<'_>, der: &[u8], view: &View<'_>, found: &mut Vec<Finding>) -> bool {
    let own = leaf.issuer() == leaf.subject();
    let (id, what) = match (own, leaf.is_ca()) {
        (true, _) => (
            "self-signed-leaf",
            "it is signed by itself, so no authority can vouch for it",
        ),
        (false, true) => (
            "authority-leaf",
            "it is an authority's certificate, which cannot stand for a server",
        ),
        (false, false) => return false,
    };
    let fix = if view.is_ours() {
        format!(
            "`trestle cert issue`, or let the peer pin it: {}",
            Pin::certificate(der)
        )
    } else {
        format!(
            "pin it: `tls: {{pin: [\"{}\"]}}`, after checking the digest with the peer",
            Pin::certificate(der)
        )
    };
    let severity = if view.is_ours() {
        Finding::warning
    } else {
        Finding::error
    };
    found.push(severity(id, view.side, what.to_owned(), fix));
    true
}

/// Whether a path to the peer's anchors exists, at a time when the certificate is valid.
fn path(chain: &[CertificateDer<'_>], parsed: &[X509Certificate<'_>], view: &View<'_>, found: &mut Vec<Finding>) {
    if view.trust.anchors.is_empty() {
        let what = format!(
            "peer {} has no authority and no pin, so nothing it sends verifies",
            view.trust.name
        );
        found.push(Finding::error(
            "no-anchor",
            Side::Configuration,
            what,
            "`trestle cert import PEER FILE`",
        ));
        return;
    }
    let Some(leaf) = parsed.first() else { return };
    let (from, until) = validity(leaf);
    let at = u64::try_from(view.now().clamp(from, until.max(from))).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(core::time::Duration::from_secs(at));
    let usage = if found.iter().any(|f| f.id == "no-server-auth") {
        Usage::Client
    } else {
        Usage::Server
    };
    let verified = view
        .trust
        .verify(chain, at, usage, &provider().signature_verification_algorithms);
    let said = |ids: &[&str], found: &[Finding]| found.iter().any(|f| ids.contains(&f.id));
    match verified {
        Ok(_) => {}
        Err(CertProblem::UnknownIssuer | CertProblem::Signature) => found.push(super::gap::no_path(parsed, view)),
        Err(CertProblem::Revoked) if said(&["revoked"], found) => {}
        Err(CertProblem::Expired { .. } | CertProblem::NotYetValid { .. })
            if said(&["expired", "not-yet-valid", "clock-skew"], found) => {}
        Err(CertProblem::Algorithm) if said(&["sha1", "rsa-short"], found) => {}
        Err(CertProblem::WrongUsage) if said(&["no-client-auth"], found) => {}
        Err(problem) => {
            found.push(view.error(
                "chain",
                format!("the chain does not verify: {problem}"),
                "issue it again",
            ));
        }
    }
}

fn judged(names: &CertNames, view: &View<'_>, found: &mut Vec<Finding>) {
    if view.is_ours() && view.trust.domains.is_empty() {
        return;
    }
    let Err(problem) = judge(names, view.trust) else { return };
    let peer = &view.trust.name;
    let domain = view.trust.domains.first().map_or("the domain", |d| &**d);
    let reissue = format!("issue it with the names DNS:{domain} and URI:sip:{domain}");
    let hop = view
        .next_hop
        .and_then(|h| super::look::host_of(h).parse::<IpAddr>().ok());
    let what = problem.to_string();
    found.push(match &problem {
        _ if hop.is_some_and(|ip| names.ips.contains(&ip) || names.mentions(&ip.to_string())) => view.error(
            "ip-route",
            format!("the certificate names only the address we connect to; a SIP identity is a name: {what}"),
            format!("{reissue}; `next_hop` may stay an address"),
        ),
        NameProblem::Wildcard { .. } => view.error("wildcard", what, reissue),
        NameProblem::CommonNameOnly { .. } if view.is_ours() => view.error("cn-only", what, reissue),
        NameProblem::CommonNameOnly { .. } => view.error(
            "cn-only",
            what,
            format!("{reissue}, or set `tls: {{allow_cn: true}}` for peer {peer}"),
        ),
        NameProblem::Other { .. } if !view.is_ours() => {
            let host = names
                .identities()
                .1
                .iter()
                .chain(&names.common_name)
                .next()
                .map_or("host", |n| &**n);
            let fix =
                format!("{reissue}; if {host} is the peer's server, set `tls: {{names: [{host}]}}` for peer {peer}");
            view.error("wrong-name", what, fix)
        }
        _ => view.error("wrong-name", what, reissue),
    });
}

/// Anchors and revocation lists past their dates: rules of ours, not of the chain.
fn stale_material(view: &View<'_>, found: &mut Vec<Finding>) {
    for der in view.trust.anchors.certificates() {
        let Ok((_, anchor)) = X509Certificate::from_der(der) else {
            continue;
        };
        let until = validity(&anchor).1;
        if view.now() > until {
            let what = format!("our copy of the authority {} expired {}", anchor.subject(), day(until));
            found.push(Finding::warning(
                "anchor-expired",
                Side::Configuration,
                what,
                "get the new one from the peer",
            ));
        }
    }
    for crl in view.trust.crls.iter().filter(|c| c.is_stale(view.now.as_secs())) {
        let what = format!("a newer revocation list of {} was due", crl.issuer);
        found.push(Finding::warning(
            "crl-stale",
            Side::Configuration,
            what,
            "get the new one; the old one still counts",
        ));
    }
}
