//! The incoming access list and the first step of every decision, which is also taken before a handshake.
//!
//! Only the socket's address counts. Deny wins over allow, whatever the order. Names of hosts are resolved forward by
//! the edge and handed in with [`Acl::resolved`]; nothing is ever looked up in reverse.

use core::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::identity::Identity;
use super::names::same;
use super::rule::RuleRef;
use super::snapshot::{ClientCertificate, Snapshot};
use crate::sip::net::ListenerId;

/// The address with IPv4-mapped IPv6 (`::ffff:192.0.2.1`) as plain IPv4.
#[must_use]
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// The source an address counts for: itself; of IPv6 its /64, since whoever has one address there has them all.
#[must_use]
pub fn source_of(ip: IpAddr) -> IpAddr {
    match canonical(ip) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every address.
    All,
    /// A network or a single address.
    Net(IpNet),
    /// The addresses a host name has now.
    Host(Arc<str>, Vec<IpAddr>),
    /// A name in the verified certificate; judged after the handshake.
    Name(Arc<str>),
}

impl Subject {
    /// The subject as written: a host name without the addresses it has now.
    #[must_use]
    pub fn named(&self) -> Self {
        match self {
            Self::Host(name, _) => Self::Host(name.clone(), Vec::new()),
            other => other.clone(),
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub subject: Subject,
    /// Where it is written.
    pub rule: RuleRef,
}

impl Entry {
    fn covers(&self, ip: IpAddr) -> bool {
        match &self.subject {
            Subject::All => true,
            Subject::Net(net) => net.contains(&ip),
            Subject::Host(_, addresses) => addresses.iter().any(|a| canonical(*a) == ip),
            Subject::Name(_) => false,
        }
    }

    /// The name, if the entry is about one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.subject {
            Subject::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// The incoming access list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// What is kept out.
    pub deny: Vec<Entry>,
    /// What may come in. Empty: nothing is said, identity and authentication alone decide.
    pub allow: Vec<Entry>,
}

/// What the list says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressVerdict<'a> {
    /// The list says nothing about who may come in.
    NotConfigured,
    /// This entry lets it in.
    Allowed(&'a RuleRef),
    /// No entry by address lets it in, but one by certificate name still may.
    NameMayAllow(&'a RuleRef),
    /// This entry keeps it out.
    Denied(&'a RuleRef),
    /// There are entries that let in, and none lets this in.
    NotListed(&'a RuleRef),
}

impl Acl {
    /// Judges an address.
    #[must_use]
    pub fn address(&self, ip: IpAddr) -> AddressVerdict<'_> {
        let ip = canonical(ip);
        if let Some(entry) = self.deny.iter().find(|e| e.covers(ip)) {
            return AddressVerdict::Denied(&entry.rule);
        }
        if let Some(entry) = self.allow.iter().find(|e| e.covers(ip)) {
            return AddressVerdict::Allowed(&entry.rule);
        }
        match (self.allow.first(), self.allow.iter().find(|e| e.name().is_some())) {
            (None, _) => AddressVerdict::NotConfigured,
            (Some(_), Some(by_name)) => AddressVerdict::NameMayAllow(&by_name.rule),
            (Some(first), None) => AddressVerdict::NotListed(&first.rule),
        }
    }

    /// The host names the edge must keep resolved.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<str>> {
        self.deny.iter().chain(&self.allow).filter_map(|e| match &e.subject {
            Subject::Host(name, _) => Some(name),
            _ => None,
        })
    }

    /// Whether this is what is known of a host name already.
    #[must_use]
    pub fn knows(&self, host: &str, addresses: &[IpAddr]) -> bool {
        self.deny.iter().chain(&self.allow).all(|e| match &e.subject {
            Subject::Host(name, known) if same(name.as_bytes(), host.as_bytes()) => known == addresses,
            _ => true,
        })
    }

    /// Takes over what another list knows of the host names that both name.
    pub fn resolved_as(&mut self, other: &Self) {
        for entry in other.deny.iter().chain(&other.allow) {
            if let Subject::Host(name, known) = &entry.subject {
                self.resolved(name, known);
            }
        }
    }

    /// The list with the present addresses of one host name.
    pub fn resolved(&mut self, host: &str, addresses: &[IpAddr]) {
        for entry in self.deny.iter_mut().chain(&mut self.allow) {
            if let Subject::Host(name, known) = &mut entry.subject
                && same(name.as_bytes(), host.as_bytes())
            {
                addresses.clone_into(known);
            }
        }
    }
}

/// How much one source does at this moment; counted by the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLoad {
    /// Connections it holds, without the one in question.
    pub connections: u32,
    /// Handshakes it began within the last second, without the one in question.
    pub handshakes: u32,
    /// Connections all sources hold.
    pub all_connections: u32,
}

/// Whether a connection may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may go on to the handshake.
    Admit,
    /// It is closed without a word.
    Drop {
        /// Why, for one log line.
        reason: &'static str,
        /// The rule it rests on.
        rule: RuleRef,
    },
}

/// What the first step says of a source, before and after the handshake alike.
pub(super) enum SourceVerdict<'a> {
    /// Nothing is said about who may come in.
    NotConfigured,
    /// This rule lets it in.
    Allowed(&'a RuleRef),
    /// Only a certificate name can let it in; this rule wants one.
    NameMayAllow(&'a RuleRef),
    /// It stays out.
    Refused(&'static str, &'a RuleRef),
}

/// The address part of the first step. What a peer lists as its own address may come in unless it is denied.
pub(super) fn judge_source(snapshot: &Snapshot, ip: IpAddr) -> SourceVerdict<'_> {
    let verdict = snapshot.acl.address(ip);
    let own = || {
        let peer = snapshot.addresses.peers(ip).next().and_then(|id| snapshot.peer(id))?;
        Some(SourceVerdict::Allowed(&peer.addresses_rule))
    };
    match verdict {
        AddressVerdict::Denied(rule) => SourceVerdict::Refused("the address is denied", rule),
        AddressVerdict::Allowed(rule) => SourceVerdict::Allowed(rule),
        AddressVerdict::NotConfigured => own().unwrap_or(SourceVerdict::NotConfigured),
        AddressVerdict::NameMayAllow(rule) => own().unwrap_or(SourceVerdict::NameMayAllow(rule)),
        AddressVerdict::NotListed(rule) => own().unwrap_or(SourceVerdict::Refused("the address is not listed", rule)),
    }
}

/// Whether a connection that was let in may stay, now that the list may be another: by its address, or by a name in its
/// certificate. While a host name has no address yet nobody is put out for not being listed.
#[must_use]
pub fn may_stay(snapshot: &Snapshot, ip: IpAddr, identity: &Identity) -> bool {
    let acl = &snapshot.acl;
    let denied = acl.deny.iter().any(|e| e.name().is_some_and(|n| identity.mentions(n)));
    let unresolved = || {
        let waits = |e: &Entry| matches!(&e.subject, Subject::Host(_, known) if known.is_empty());
        acl.allow.iter().any(waits)
    };
    let kept_out = |ip| matches!(acl.address(ip), AddressVerdict::Denied(_));
    !denied
        && match judge_source(snapshot, ip) {
            SourceVerdict::NotConfigured | SourceVerdict::Allowed(_) => true,
            SourceVerdict::NameMayAllow(_) => {
                let carries = |e: &Entry| e.name().is_some_and(|n| identity.carries(n));
                acl.allow.iter().any(carries) || unresolved()
            }
            SourceVerdict::Refused(..) => !kept_out(ip) && unresolved(),
        }
}

/// The first step of a decision, before the handshake: may this source connect at all?
#[must_use]
pub fn admit(snapshot: &Snapshot, listener: ListenerId, ip: IpAddr, load: SourceLoad) -> Admission {
    let drop = |reason, rule: &RuleRef| Admission::Drop {
        reason,
        rule: rule.clone(),
    };
    let (rules, limits) = (&snapshot.rules, &snapshot.limits);
    let Some(listener) = snapshot.listener(listener) else {
        return drop("the listener is gone", &rules.listener_gone);
    };
    if let Some(terminator) = &listener.terminator {
        // Who stands behind it is judged once it has said so: see `admit_behind`.
        return if !terminator.is_at(ip) {
            drop(
                "no trusted terminator of this listener is at that address",
                &terminator.rule,
            )
        } else if let AddressVerdict::Denied(rule) = snapshot.acl.address(ip) {
            drop("the address is denied", rule)
        } else if load.all_connections >= limits.max_connections {
            drop("too many connections", &rules.all_connections)
        } else {
            Admission::Admit
        };
    }
    match judge_source(snapshot, ip) {
        SourceVerdict::Refused(reason, rule) => return drop(reason, rule),
        SourceVerdict::NameMayAllow(rule) if listener.client_certificate == ClientCertificate::None => {
            return drop(
                "the address is not listed and this listener asks for no certificate",
                rule,
            );
        }
        _ => {}
    }
    if load.all_connections >= limits.max_connections {
        return drop("too many connections", &rules.all_connections);
    }
    if load.connections >= limits.per_source.connections {
        return drop("too many connections of this source", &rules.source_connections);
    }
    if load.handshakes >= limits.per_source.handshakes {
        return drop("too many handshakes of this source", &rules.source_handshakes);
    }
    Admission::Admit
}

/// The same for whom a trusted terminator reports: may this source come in by it?
#[must_use]
pub fn admit_behind(snapshot: &Snapshot, ip: IpAddr, load: SourceLoad) -> Admission {
    let drop = |reason, rule: &RuleRef| Admission::Drop {
        reason,
        rule: rule.clone(),
    };
    let (rules, limits) = (&snapshot.rules, &snapshot.limits);
    if let SourceVerdict::Refused(reason, rule) = judge_source(snapshot, ip) {
        return drop(reason, rule);
    }
    if load.connections >= limits.per_source.connections {
        return drop("too many connections of this source", &rules.source_connections);
    }
    if load.handshakes >= limits.per_source.handshakes {
        return drop("too many handshakes of this source", &rules.source_handshakes);
    }
    Admission::Admit
}
