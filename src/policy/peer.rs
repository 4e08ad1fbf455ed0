//! A peer as resolved: what it may speak for, how it proves itself, how it is reached.

use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::acl::canonical;
use super::contract::{Assigned, Contract};
use super::identity::Trust;
use super::names::{NameMap, same, trim};
use super::rule::RuleRef;
use super::snapshot::{DialectId, HostPort};
use crate::sip::net::{PeerId, Transport};
use crate::sip::uri::Aor;

/// A server we federate with.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// Domains it may speak for, each with the place that grants it.
    pub domains: NameMap<RuleRef>,
    /// Foreign targets its requests may be routed on to.
    pub transit: Transit,
    /// The transport we reach it by.
    pub transport: Transport,
    /// The transports it may come in by.
    pub accept: Vec<Transport>,
    /// Where it is; `None`: RFC 3263 on the domain.
    pub next_hop: Option<HostPort>,
    /// The addresses it comes from: its whole proof on a plain transport, a further restriction under TLS (empty: any).
    pub addresses: Vec<IpNet>,
    /// How it proves itself under TLS.
    pub tls: PeerTls,
    /// What is spoken with it.
    pub dialect: DialectId,
    /// Whether one upstream subscription under the bridge's identity serves all local watchers.
    pub view_sharing: bool,
    /// Local users whose state it may publish.
    pub publishes: Publishes,
    /// OPTIONS probes; `None` when switched off.
    pub probe: Option<Probe>,
    /// Differentiated services code point (0 to 63) of its traffic.
    pub dscp: Option<u8>,
    /// Whether what we send it goes over connections that it opened.
    pub reuse: Reuse,
    /// Its own limits.
    pub limits: PeerLimits,
    /// What we promise it.
    pub contract: Option<Contract>,
    /// The local users who may use the way to it; `None`: all of them.
    pub assigned: Option<Assigned>,
    /// The expiry that we ask for in subscriptions at it; `None`: the usual one.
    pub subscription_timeout: Option<Duration>,
    /// After this without a final answer the bridge answers 504 itself.
    pub request_timeout: Duration,
    /// Where it is written.
    pub rule: RuleRef,
    /// Where `domains` is written, else where the peer is.
    pub domains_rule: RuleRef,
    /// Where `addresses` is written, else where the peer is.
    pub addresses_rule: RuleRef,
    /// Where `tls` is written, else where the peer is.
    pub tls_rule: RuleRef,
    /// Where `transit` is written, else where the peer is.
    pub transit_rule: RuleRef,
    /// Where `transport` or `accept` is written, else where the peer is.
    pub transport_rule: RuleRef,
    /// Where `limits` is written, else where the peer is.
    pub limits_rule: RuleRef,
    /// Where `contract` is written, else where the peer is.
    pub contract_rule: RuleRef,
    /// Where `assigned` is written, else where the peer is.
    pub assigned_rule: RuleRef,
    /// Where `publishes` is written, else where the peer is.
    pub publishes_rule: RuleRef,
}

impl Peer {
    /// Whether the address is one of those listed (IPv4-mapped IPv6 counts as IPv4).
    #[must_use]
    pub fn lists(&self, ip: IpAddr) -> bool {
        let ip = canonical(ip);
        self.addresses.iter().any(|net| net.contains(&ip))
    }
}

impl Trust for Peer {
    fn has_domain(&self, domain: &str) -> bool {
        self.domains.get(domain.as_bytes()).is_some()
    }

    fn has_host(&self, host: &str) -> bool {
        self.tls.names.iter().any(|name| same(name.as_bytes(), host.as_bytes()))
    }

    fn allow_cn(&self) -> bool {
        self.tls.allow_cn
    }

    fn allow_reported_cn(&self) -> bool {
        self.tls.terminated.as_ref().is_some_and(|t| t.allow_cn)
    }
}

/// Whether names decide if a flow is this peer, as under TLS; else its listed addresses do. `counted` is what
/// [`Identity::counts_as`](super::Identity::counts_as) says. A peer that proves itself through terminators is not
/// taken for itself by its address alone when it comes through one.
#[must_use]
pub fn names_decide(peer: &Peer, counted: Transport, identity: &super::Identity) -> bool {
    counted == Transport::Tls || (identity.terminated().is_some() && peer.tls.terminated.is_some())
}

/// Whether the address is the sender's at all: a terminator's own is nobody's who sends through it.
#[must_use]
pub fn address_tells(identity: &super::Identity) -> bool {
    identity
        .terminated()
        .is_none_or(|t| matches!(t.reported.origin, super::terminator::Origin::From(_)))
}

/// Whether a flow proves to be a peer: under TLS by certificate, else by a listed address. `transport` is the socket's.
#[must_use]
pub fn is_peer(
    snapshot: &super::Snapshot,
    id: PeerId,
    transport: Transport,
    source: IpAddr,
    identity: &super::Identity,
) -> bool {
    let counted = identity.counts_as(transport);
    let Some(peer) = snapshot.peer(id).filter(|p| p.accept.contains(&counted)) else {
        return false;
    };
    if names_decide(peer, counted, identity) {
        identity.anchored().contains(&id)
            && identity.proves(id, peer)
            && (peer.addresses.is_empty() || peer.lists(source))
    } else {
        address_tells(identity) && peer.lists(source)
    }
}

/// How a peer proves itself under TLS. Files are read by `pki`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTls {
    /// Its own anchors (PEM).
    pub ca: Vec<PathBuf>,
    /// Names that count besides its domains: host names of servers that cannot carry the domain.
    pub names: Vec<Arc<str>>,
    /// Whether the common name counts when there is no subject alternative name.
    pub allow_cn: bool,
    /// Exact certificates or keys.
    pub pin: Vec<Pin>,
    /// Revocation lists (PEM or DER).
    pub crl: Vec<PathBuf>,
    /// Whether, and how, it proves itself through a trusted terminator.
    pub terminated: Option<super::terminator::PeerTerminated>,
}

/// A pinned certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// SHA-256 over the certificate or over its public key info (DER).
    Sha256([u8; 32]),
    /// The certificate in a file (PEM).
    File(PathBuf),
}

/// Whether connections that a peer opened are used for what we send it (RFC 5923). Only under TLS, and only once the
/// certificate has proved the peer's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// When the Via of its requests carries `alias`, for what goes to the address that Via names.
    #[default]
    Alias,
    /// For everything that we send it, whatever its Via says.
    Always,
    /// Never.
    Never,
}

/// Local users for whom a peer may publish (RFC 3903): nobody, unless it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publishes {
    /// All of them.
    pub all: bool,
    /// These.
    pub users: Vec<Aor>,
}

impl Publishes {
    /// Whether state of this user is taken; the user part is unescaped, the domain in any case.
    #[must_use]
    pub fn covers(&self, user: &str, domain: &str) -> bool {
        let is_it = |aor: &Aor| aor.user() == user && same(aor.domain().as_bytes(), domain.as_bytes());
        self.all || self.users.iter().any(is_it)
    }
}

/// OPTIONS probing of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Time between probes.
    pub interval: Duration,
    /// An answer later than this is none.
    pub timeout: Duration,
    /// So many probes without an answer in a row mean down.
    pub down_after: u32,
}

/// Limits of one peer; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerLimits {
    /// Requests a second we take from it.
    pub requests: Option<u32>,
    /// Subscriptions it may hold here.
    pub subscriptions: Option<u32>,
    /// Connections it may hold here.
    pub connections: Option<u32>,
    /// Sessions of messages the bridge holds with it.
    pub sessions: Option<u32>,
}

/// What a peer's requests may be routed on to besides local domains. Empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transit {
    /// Exact domains, lower case.
    pub domains: Vec<Arc<str>>,
    /// Suffixes, lower case, with their leading dot.
    pub suffixes: Vec<Arc<str>>,
    /// Digit prefixes.
    pub digits: Vec<Arc<str>>,
}

impl Transit {
    /// Whether a domain is listed.
    #[must_use]
    pub fn domain(&self, name: &[u8]) -> bool {
        let name = trim(name);
        self.domains.iter().any(|d| d.as_bytes().eq_ignore_ascii_case(name))
            || self.suffixes.iter().any(|s| {
                name.len()
                    .checked_sub(s.len())
                    .filter(|at| *at > 0)
                    .and_then(|at| name.get(at..))
                    .is_some_and(|tail| tail.eq_ignore_ascii_case(s.as_bytes()))
            })
    }

    /// Whether a number is listed.
    #[must_use]
    pub fn number(&self, digits: &[u8]) -> bool {
        self.digits
            .iter()
            .any(|prefix| super::routes::starts_with_digits(digits, prefix.as_bytes()))
    }
}
