//! What a flow proved about its other end, and the judging of certificate names (RFC 5922 sections 7.1 and 7.2).
//!
//! Only values and comparisons: chains are built and names are read from certificates by `pki`. Nothing here looks at
//! a chain, so a name counts for a peer only together with [`Identity::anchored`].

use core::fmt;
use core::net::IpAddr;
use std::sync::Arc;

use super::terminator::Terminated;
use crate::sip::net::{PeerId, Transport};

/// The names of one certificate, as `pki::names` reads them: lower case, no trailing dot, printable ASCII only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertNames {
    /// Host parts of `sip:` URI names without a user part.
    pub sip_uris: Vec<Box<str>>,
    /// dNSName entries, wildcards included (they never match).
    pub dns: Vec<Box<str>>,
    /// The last common name of the subject.
    pub common_name: Option<Box<str>>,
    /// iPAddress entries. They never name a SIP domain; kept for diagnosis.
    pub ips: Vec<IpAddr>,
    /// Whether there is a subjectAltName at all; then the common name never counts.
    pub has_san: bool,
    /// Names that were not taken over, and why.
    pub dropped: Vec<DroppedName>,
}

/// A name in a certificate that is no usable name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedName {
    /// Which field it was in.
    pub kind: NameKind,
    /// What it says, escaped so that it can be printed.
    pub shown: Box<str>,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The field of a certificate that a name came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A `sip:` URI in the subjectAltName.
    SipUri,
    /// A dNSName in the subjectAltName.
    Dns,
    /// A `sip:` URI with a user part: names a user, never a domain.
    User,
    /// The common name of the subject.
    CommonName,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SipUri => "sip: URI name",
            Self::Dns => "DNS name",
            Self::User => "user name",
            Self::CommonName => "common name",
        })
    }
}

impl CertNames {
    /// The SIP domain identities of RFC 5922 section 7.1: the `sip:` URI names, or the DNS names when there is no such
    /// URI. A `sip:` URI that had to be dropped as malformed still shuts the DNS names out.
    #[must_use]
    pub fn identities(&self) -> (NameKind, &[Box<str>]) {
        let hidden = self.dropped.iter().any(|d| d.kind == NameKind::SipUri);
        if self.sip_uris.is_empty() && !hidden {
            (NameKind::Dns, &self.dns)
        } else {
            (NameKind::SipUri, &self.sip_uris)
        }
    }

    /// Whether the name is a SIP domain identity of the certificate. Never true for wildcards or the common name.
    #[must_use]
    pub fn carries(&self, name: &str) -> bool {
        self.identities().1.iter().any(|n| same_name(n, name))
    }

    /// Whether the name stands anywhere in the certificate, common name included. For rules that deny.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.sip_uris
            .iter()
            .chain(&self.dns)
            .chain(&self.common_name)
            .any(|n| same_name(n, name))
    }
}

impl fmt::Display for CertNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut item = |f: &mut fmt::Formatter<'_>, kind: &str, name: &dyn fmt::Display| {
            let result = write!(f, "{separator}{kind}{name}");
            separator = ", ";
            result
        };
        for name in &self.sip_uris {
            item(f, "sip:", name)?;
        }
        for name in &self.dns {
            item(f, "DNS:", name)?;
        }
        for ip in &self.ips {
            item(f, "IP:", ip)?;
        }
        match &self.common_name {
            Some(name) => item(f, "CN=", name),
            None if separator.is_empty() => f.write_str("no names"),
            None => Ok(()),
        }
    }
}

/// Whether two host names are the same: any case, one trailing dot ignored (RFC 5922 section 7.2).
#[must_use]
pub fn same_name(a: &str, b: &str) -> bool {
    bare(a).eq_ignore_ascii_case(bare(b))
}

fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// What the configuration trusts of one peer's names.
pub trait Trust {
    /// Whether the peer may speak for this domain.
    fn has_domain(&self, domain: &str) -> bool;
    /// Whether this host name counts for the peer besides its domains (`tls.names`).
    fn has_host(&self, host: &str) -> bool;
    /// Whether the common name counts when there is no subjectAltName at all (`tls.allow_cn`).
    fn allow_cn(&self) -> bool;
    /// The same for what a trusted terminator reports (`tls.terminated.allow_cn`).
    fn allow_reported_cn(&self) -> bool {
        false
    }
}

/// A peer's trust as it applies to what a terminator reports.
struct Through<'a, T: ?Sized>(&'a T);

impl<T: Trust + ?Sized> Trust for Through<'_, T> {
    fn has_domain(&self, domain: &str) -> bool {
        self.0.has_domain(domain)
    }

    fn has_host(&self, host: &str) -> bool {
        self.0.has_host(host)
    }

    fn allow_cn(&self) -> bool {
        self.0.allow_reported_cn()
    }
}

/// Why a certificate counts for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The field the name was found in.
    pub kind: NameKind,
    /// What it was compared with.
    pub by: MatchedBy,
    /// The name.
    pub name: &'a str,
}

/// The list of the configuration that a name was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// The peer's domains.
    Domain,
    /// The peer's `tls.names`: the host stands for all its domains.
    Host,
}

/// Why no name of a certificate counts for a peer. Peer fault, or a gap in the configuration; 403 on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// It carries names, but other ones.
    #[error("the certificate names {found}, which is neither a domain of the peer nor in its tls.names")]
    Other {
        /// The names that were looked at.
        found: String,
    },
    /// The only name that would fit is a wildcard.
    #[error("the wildcard {name} does not name a SIP domain (RFC 5922 section 7.2)")]
    Wildcard {
        /// The wildcard.
        name: Box<str>,
    },
    /// There is only a common name and the peer has no `allow_cn`.
    #[error("only the common name {name} would fit, and tls.allow_cn is off for the peer")]
    CommonNameOnly {
        /// The common name.
        name: Box<str>,
    },
    /// The common name fits but a subjectAltName takes its place.
    #[error("the common name {name} fits but does not count beside a subjectAltName with other names ({found})")]
    CommonNameBesideSan {
        /// The common name.
        name: Box<str>,
        /// The names in the subjectAltName.
        found: String,
    },
    /// There is a `sip:` URI name, so the fitting DNS name does not count.
    #[error("the DNS name {name} fits but does not count beside a sip: URI name (RFC 5922 section 7.1)")]
    DnsBesideSipUri {
        /// The DNS name.
        name: Box<str>,
    },
    /// It carries no name at all.
    #[error("the certificate carries no usable name")]
    None,
}

/// Judges the names of a certificate for one peer: its domains first, then its `tls.names`. Does not allocate when a
/// name fits.
///
/// # Errors
/// What keeps the certificate from counting for this peer.
pub fn judge<'a>(names: &'a CertNames, trust: &(impl Trust + ?Sized)) -> Result<Match<'a>, NameProblem> {
    let (kind, list) = names.identities();
    if let Some((by, name)) = fits(list, trust) {
        return Ok(Match { kind, by, name });
    }
    if let Some(cn) = &names.common_name
        && trust.allow_cn()
        && !names.has_san
        && let Some((by, name)) = fits(core::slice::from_ref(cn), trust)
    {
        return Ok(Match {
            kind: NameKind::CommonName,
            by,
            name,
        });
    }
    Err(problem(names, trust))
}

/// Whether the certificate lets this peer speak for the domain: it names the domain, or a host that stands for all the
/// peer's domains. The domain must be one of the peer's in any case.
#[must_use]
pub fn grants(names: &CertNames, trust: &(impl Trust + ?Sized), domain: &str) -> bool {
    if !trust.has_domain(bare(domain)) {
        return false;
    }
    let cn = names.common_name.iter().filter(|_| trust.allow_cn() && !names.has_san);
    names
        .identities()
        .1
        .iter()
        .chain(cn)
        .any(|n| !unusable(bare(n)) && (same_name(n, domain) || trust.has_host(bare(n))))
}

fn fits<'a>(list: &'a [Box<str>], trust: &(impl Trust + ?Sized)) -> Option<(MatchedBy, &'a str)> {
    let plain = || list.iter().map(|n| bare(n)).filter(|n| !unusable(n));
    let domain = plain().find(|n| trust.has_domain(n)).map(|n| (MatchedBy::Domain, n));
    domain.or_else(|| plain().find(|n| trust.has_host(n)).map(|n| (MatchedBy::Host, n)))
}

/// Wildcards (RFC 5922 section 7.2) and what is no host name; `name` has lost its trailing dot already.
fn unusable(name: &str) -> bool {
    name.is_empty() || name.contains('*') || name.ends_with('.')
}

/// The most helpful reason why nothing fitted.
fn problem(names: &CertNames, trust: &(impl Trust + ?Sized)) -> NameProblem {
    let (kind, list) = names.identities();
    let found = || list.iter().map(|n| &**n).collect::<Vec<_>>().join(", ");
    if kind == NameKind::SipUri
        && let Some((_, name)) = fits(&names.dns, trust)
    {
        return NameProblem::DnsBesideSipUri { name: name.into() };
    }
    if let Some(cn) = &names.common_name
        && fits(core::slice::from_ref(cn), trust).is_some()
    {
        return if names.has_san {
            NameProblem::CommonNameBesideSan {
                name: cn.clone(),
                found: found(),
            }
        } else {
            NameProblem::CommonNameOnly { name: cn.clone() }
        };
    }
    let cn = names.common_name.iter().filter(|_| !names.has_san);
    if let Some(name) = list.iter().chain(cn.clone()).find(|n| n.contains('*')) {
        return NameProblem::Wildcard { name: name.clone() };
    }
    if !list.is_empty() {
        return NameProblem::Other { found: found() };
    }
    match cn.into_iter().next() {
        Some(cn) => NameProblem::Other { found: cn.to_string() },
        None => NameProblem::None,
    }
}

/// What a flow proved of its other end; made once a handshake, carried by the flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A certificate whose chain or pin verified for at least one peer, possession of its key proved.
    TlsPeer {
        /// Its names.
        names: CertNames,
        /// Peers whose own anchors or pins it verifies against.
        anchored: Vec<PeerId>,
        /// Those of them that pinned exactly this certificate or key: their names are not judged.
        pinned: Vec<PeerId>,
        /// The certificates as sent, end entity first (DER).
        chain: Arc<[Box<[u8]>]>,
    },
    /// What a trusted terminator in front of us reports, which may be nothing.
    Terminated(Box<Terminated>),
    /// Nothing was proved.
    NoTls {
        /// Why not.
        why: &'static str,
    },
}

impl Identity {
    /// Nothing was proved.
    #[must_use]
    pub fn no_tls(why: &'static str) -> Self {
        Self::NoTls { why }
    }

    /// A peer that has proved itself by these names, for questions about what would then happen. As if pinned, so that
    /// it may speak for all its domains.
    #[must_use]
    pub fn assumed(peer: PeerId, names: impl IntoIterator<Item = Box<str>>) -> Self {
        let dns: Vec<_> = names.into_iter().collect();
        Self::TlsPeer {
            names: CertNames {
                has_san: !dns.is_empty(),
                dns,
                ..CertNames::default()
            },
            anchored: vec![peer],
            pinned: vec![peer],
            chain: Arc::from([]),
        }
    }

    /// Whether there is a verified certificate.
    #[must_use]
    pub fn is_named(&self) -> bool {
        !self.anchored().is_empty()
    }

    /// What a trusted terminator reports, on a flow through one.
    #[must_use]
    pub fn terminated(&self) -> Option<&Terminated> {
        match self {
            Self::Terminated(terminated) => Some(terminated),
            _ => None,
        }
    }

    /// What a flow over `transport` counts as: TLS that a trusted terminator ended counts as TLS where its listener says so.
    #[must_use]
    pub fn counts_as(&self, transport: Transport) -> Transport {
        match self {
            Self::Terminated(terminated) if terminated.counts_as_tls => Transport::Tls,
            _ => transport,
        }
    }

    /// The names of the certificate.
    #[must_use]
    pub fn names(&self) -> Option<&CertNames> {
        match self {
            Self::TlsPeer { names, .. } => Some(names),
            Self::Terminated(terminated) => Some(&terminated.names),
            Self::NoTls { .. } => None,
        }
    }

    /// Peers whose own anchors or pins the certificate verifies against.
    #[must_use]
    pub fn anchored(&self) -> &[PeerId] {
        match self {
            Self::TlsPeer { anchored, .. } => anchored,
            Self::Terminated(terminated) => &terminated.anchored,
            Self::NoTls { .. } => &[],
        }
    }

    /// Whether this peer pinned exactly this certificate or key.
    #[must_use]
    pub fn is_pinned(&self, peer: PeerId) -> bool {
        match self {
            Self::TlsPeer { pinned, .. } => pinned.contains(&peer),
            Self::Terminated(terminated) => terminated.pinned.contains(&peer),
            Self::NoTls { .. } => false,
        }
    }

    /// Whether the flow proved to be this peer: verified against the peer's own anchors and named for it, or pinned.
    #[must_use]
    pub fn proves(&self, peer: PeerId, trust: &(impl Trust + ?Sized)) -> bool {
        self.anchored().contains(&peer)
            && (self.is_pinned(peer)
                || match self {
                    Self::TlsPeer { names, .. } => judge(names, trust).is_ok(),
                    Self::Terminated(terminated) => judge(&terminated.names, &Through(trust)).is_ok(),
                    Self::NoTls { .. } => false,
                })
    }

    /// Whether the flow may speak for this domain as this peer. Implies [`Identity::proves`].
    #[must_use]
    pub fn speaks_for(&self, peer: PeerId, trust: &(impl Trust + ?Sized), domain: &str) -> bool {
        self.anchored().contains(&peer)
            && if self.is_pinned(peer) {
                trust.has_domain(bare(domain))
            } else {
                match self {
                    Self::TlsPeer { names, .. } => grants(names, trust, domain),
                    Self::Terminated(terminated) => grants(&terminated.names, &Through(trust), domain),
                    Self::NoTls { .. } => false,
                }
            }
    }

    /// Whether the certificate carries the name as a SIP domain identity. For rules that allow.
    #[must_use]
    pub fn carries(&self, name: &str) -> bool {
        self.names()
            .filter(|_| self.is_named())
            .is_some_and(|n| n.carries(name))
    }

    /// Whether the name stands anywhere in the certificate. For rules that deny.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.names().is_some_and(|n| n.mentions(name))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TlsPeer { names, .. } => write!(f, "a certificate with {names}"),
            Self::Terminated(terminated) => terminated.fmt(f),
            Self::NoTls { why } => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
