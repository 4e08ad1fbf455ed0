//! What a reload changes, and which trust it withdraws (design rule 7).
//!
//! Ids are positions, so they may mean something else after a reload: [`Plan::peer`] and [`Plan::user`] translate, and
//! answer `None` for whom nothing of the old may go on.

use std::fmt;
use std::sync::Arc;

use crate::policy::aliases::AliasName;
use crate::policy::dialplan::{DialRule, Prefix};
use crate::policy::names::same;
use crate::policy::routes::{Pattern, RouteSet};
use crate::policy::rule::RuleRef;
use crate::policy::{Listener, Peer, Snapshot, User, UserId};
use crate::sip::net::PeerId;

/// What happened to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// A kind of thing with a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A local domain.
    Domain,
    /// A listener.
    Listener,
    /// A peer.
    Peer,
    /// The routes of one pattern.
    Route,
    /// A user.
    User,
    /// The access list.
    Acl,
    /// A dialect.
    Dialect,
    /// A group of settings.
    Settings,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What kind of thing.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// What happened to it.
    pub change: Change,
}

/// Trust that ends: connections and dialogs that rely on it must end too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// A peer is gone, or proves itself by other anchors, names, pins, addresses or transports now.
    Peer(PeerId, Arc<str>),
    /// A peer may no longer speak for a domain.
    PeerDomain(PeerId, Arc<str>),
    /// A user is gone, disabled as a client, or has another password.
    User(UserId, String),
    /// Local users are no longer assigned to a peer.
    Assigned(PeerId, Arc<str>, Vec<Arc<str>>),
    /// Names mean other people now: what was asked for by them ends.
    Names,
    /// A user may no longer be watched.
    Presence(UserId, String),
    /// A domain is local no more.
    Domain(Arc<str>),
    /// The access list lets fewer in: every open connection is to be judged again.
    Acl,
}

/// What a reload does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is different.
    pub items: Vec<Item>,
    /// Trust that ends. Ids are those of the old configuration.
    pub withdrawn: Vec<Withdrawn>,
    /// What takes effect only after a restart.
    pub restart: Vec<String>,
    /// Documents look different to some watcher: all are rendered again.
    pub rendered: bool,
    peers: Vec<Option<PeerId>>,
    users: Vec<Option<UserId>>,
}

impl Plan {
    /// Ends the trust in a peer whose settings are the same but whose files say something else, by its old id.
    pub fn distrust(&mut self, old: PeerId, name: &Arc<str>) {
        if let Some(place) = self.peers.get_mut(usize::from(old.0))
            && place.take().is_some()
        {
            self.note(Kind::Peer, &**name, Change::Changed);
            self.withdrawn.push(Withdrawn::Peer(old, name.clone()));
        }
    }

    /// Every peer whose trust goes on: its old id and the present one.
    pub fn kept_peers(&self) -> impl Iterator<Item = (PeerId, PeerId)> {
        let id = |at| PeerId(u16::try_from(at).unwrap_or(u16::MAX));
        let all = self.peers.iter().enumerate();
        all.filter_map(move |(at, new)| Some((id(at), (*new)?)))
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The present id of a peer whose trust goes on.
    #[must_use]
    pub fn peer(&self, old: PeerId) -> Option<PeerId> {
        self.peers.get(usize::from(old.0)).copied().flatten()
    }

    /// The present id of a user whose trust goes on.
    #[must_use]
    pub fn user(&self, old: UserId) -> Option<UserId> {
        self.users.get(old.0 as usize).copied().flatten()
    }

    fn note(&mut self, kind: Kind, name: impl Into<String>, change: Change) {
        self.items.push(Item {
            kind,
            name: name.into(),
            change,
        });
    }
}

/// Compares the running configuration with the one that shall replace it.
#[must_use]
pub fn plan(old: &Snapshot, new: &Snapshot) -> Plan {
    let mut plan = Plan::default();
    domains(&mut plan, old, new);
    listeners(&mut plan, old, new);
    peers(&mut plan, old, new);
    routes(&mut plan, old, new);
    users(&mut plan, old, new);
    dialplan(&mut plan, old, new);
    acl(&mut plan, old, new);
    dialects(&mut plan, old, new);
    settings(&mut plan, old, new);
    plan
}

fn domains(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    for (name, _) in old
        .domains
        .iter()
        .filter(|(name, _)| new.domains.get(name.as_bytes()).is_none())
    {
        plan.note(Kind::Domain, &**name, Change::Removed);
        plan.withdrawn.push(Withdrawn::Domain(name.clone()));
    }
    for (name, _) in new
        .domains
        .iter()
        .filter(|(name, _)| old.domains.get(name.as_bytes()).is_none())
    {
        plan.note(Kind::Domain, &**name, Change::Added);
    }
}

fn listeners(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let believed = |l: &Listener| {
        let terminator = l.terminator.as_ref();
        terminator.map(|t| (t.addresses.clone(), t.counts_as_tls, t.certificate_tlv))
    };
    let alike = |a: &Listener, b: &Listener| {
        let name = |s: &Snapshot, l: &Listener| s.dialect(l.dialect).map(|d| d.name.clone());
        (a.transport, &a.bind, a.client_certificate, &a.advertise, name(old, a))
            == (b.transport, &b.bind, b.client_certificate, &b.advertise, name(new, b))
            && believed(a) == believed(b)
    };
    for listener in &old.listeners {
        match new.listeners.iter().find(|l| l.name == listener.name) {
            None => plan.note(Kind::Listener, &*listener.name, Change::Removed),
            Some(next) if !alike(listener, next) => plan.note(Kind::Listener, &*listener.name, Change::Changed),
            Some(_) => {}
        }
    }
    for listener in new
        .listeners
        .iter()
        .filter(|l| old.listeners.iter().all(|o| o.name != l.name))
    {
        plan.note(Kind::Listener, &*listener.name, Change::Added);
    }
}

fn peers(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    for (id, peer) in old.peers() {
        let next = new.peers().find(|(_, p)| p.name == peer.name);
        plan.peers
            .push(next.filter(|(_, next)| trusts(peer, next)).map(|(id, _)| id));
        let Some((_, next)) = next else {
            plan.note(Kind::Peer, &*peer.name, Change::Removed);
            plan.withdrawn.push(Withdrawn::Peer(id, peer.name.clone()));
            continue;
        };
        let spoken = |s: &Snapshot, p: &Peer| s.dialect(p.dialect).map(|d| d.name.clone());
        let alike = spoken(old, peer) == spoken(new, next);
        plan.rendered |= !alike;
        if !alike || !peer_alike(peer, next) {
            plan.note(Kind::Peer, &*peer.name, Change::Changed);
        }
        if !trusts(peer, next) {
            plan.withdrawn.push(Withdrawn::Peer(id, peer.name.clone()));
        }
        let lost = unassigned(old, new, peer, next);
        if !lost.is_empty() {
            plan.withdrawn.push(Withdrawn::Assigned(id, peer.name.clone(), lost));
        }
        for (domain, _) in peer
            .domains
            .iter()
            .filter(|(d, _)| next.domains.get(d.as_bytes()).is_none())
        {
            plan.withdrawn.push(Withdrawn::PeerDomain(id, domain.clone()));
        }
    }
    for peer in new.peers.iter().filter(|p| old.peers.iter().all(|o| o.name != p.name)) {
        plan.note(Kind::Peer, &*peer.name, Change::Added);
    }
}

/// The users who were assigned to a peer and are not any more.
fn unassigned(old: &Snapshot, new: &Snapshot, before: &Peer, after: &Peer) -> Vec<Arc<str>> {
    let Some(now) = &after.assigned else { return Vec::new() };
    let had = |id| before.assigned.as_ref().is_none_or(|a| a.has(id));
    let has = |user: &User| {
        new.users
            .find_plain(&user.user, &user.domain)
            .is_some_and(|id| now.has(id))
    };
    let lost = old.users.iter().filter(|(id, user)| had(*id) && !has(user));
    lost.map(|(_, user)| user.address().into()).collect()
}

/// The patterns that are assigned, without their places.
fn assigned(peer: &Peer) -> Option<Vec<&str>> {
    let list = peer.assigned.as_ref()?;
    Some(list.patterns.iter().map(|(pattern, _)| &**pattern).collect())
}

/// Whether whatever proved to be `old` still proves to be `new`: nothing that counted then is missing now.
fn trusts(old: &Peer, new: &Peer) -> bool {
    let kept = |a: &[std::path::PathBuf], b: &[std::path::PathBuf]| a.iter().all(|x| b.contains(x));
    let same_addresses = old.addresses.iter().all(|a| new.addresses.contains(a));
    // Under TLS an empty list means any address, so a first entry is a restriction.
    let not_narrower = same_addresses && (!old.addresses.is_empty() || new.addresses.is_empty());
    not_narrower
        && old.accept.iter().all(|t| new.accept.contains(t))
        && kept(&old.tls.ca, &new.tls.ca)
        && kept(&new.tls.crl, &old.tls.crl)
        && old
            .tls
            .names
            .iter()
            .all(|n| new.tls.names.iter().any(|m| same(n.as_bytes(), m.as_bytes())))
        && (new.tls.allow_cn || !old.tls.allow_cn)
        && terminated_trusts(old, new)
        && old.tls.pin.iter().all(|p| new.tls.pin.contains(p))
        && (!old.tls.pin.is_empty() || new.tls.pin.is_empty())
}

/// Whether every terminator that could prove the peer still can.
fn terminated_trusts(old: &Peer, new: &Peer) -> bool {
    match (&old.tls.terminated, &new.tls.terminated) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(old), Some(new)) => old.by.iter().all(|b| new.by.contains(b)) && (new.allow_cn || !old.allow_cn),
    }
}

fn peer_alike(a: &Peer, b: &Peer) -> bool {
    let domains = |p: &Peer| p.domains.iter().map(|(d, _)| d.clone()).collect::<Vec<_>>();
    domains(a) == domains(b)
        && assigned(a) == assigned(b)
        && (a.contract, a.subscription_timeout) == (b.contract, b.subscription_timeout)
        && (&a.transit, a.transport, &a.accept, &a.next_hop, &a.addresses, &a.tls)
            == (&b.transit, b.transport, &b.accept, &b.next_hop, &b.addresses, &b.tls)
        && (
            a.view_sharing,
            &a.publishes,
            a.probe,
            a.dscp,
            a.reuse,
            a.limits,
            a.request_timeout,
        ) == (
            b.view_sharing,
            &b.publishes,
            b.probe,
            b.dscp,
            b.reuse,
            b.limits,
            b.request_timeout,
        )
}

fn routes(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let ways = |snapshot: &Snapshot, set: &RouteSet| -> Vec<String> {
        let peer = |id| snapshot.peer(id).map_or("", |p| &p.name).to_owned();
        let hop = |h: &Option<crate::policy::HostPort>| h.as_ref().map(ToString::to_string).unwrap_or_default();
        let way = |r: &crate::policy::Route| {
            format!(
                "{} {} {} {} {}",
                peer(r.peer),
                r.priority,
                r.weight,
                r.transport.param(),
                hop(&r.next_hop)
            )
        };
        set.routes().iter().map(way).collect()
    };
    let find = |snapshot: &Snapshot, pattern: &Pattern| snapshot.routes.find(pattern).map(|set| ways(snapshot, set));
    for set in old.routes.iter() {
        match find(new, &set.pattern) {
            None => plan.note(Kind::Route, set.pattern.to_string(), Change::Removed),
            Some(next) if next != ways(old, set) => plan.note(Kind::Route, set.pattern.to_string(), Change::Changed),
            Some(_) => {}
        }
    }
    for set in new.routes.iter().filter(|set| old.routes.find(&set.pattern).is_none()) {
        plan.note(Kind::Route, set.pattern.to_string(), Change::Added);
    }
}

/// The lines of a user, by the names of their peers.
fn lines<'a>(snapshot: &'a Snapshot, user: &'a User) -> Vec<(&'a crate::sip::uri::Aor, &'a str, bool)> {
    let peer = |id| snapshot.peer(id).map_or("", |p| &p.name);
    user.lines
        .iter()
        .map(|l| (&l.address, peer(l.peer), l.primary))
        .collect()
}

fn users(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let find =
        |snapshot: &Snapshot, user: &User| snapshot.users.find(user.escaped().as_bytes(), user.domain.as_bytes());
    for (id, user) in old.users.iter() {
        let next = find(new, user).and_then(|next| Some((next, new.user(next)?)));
        let goes_on = next.filter(|(_, n)| n.password.same(&user.password) && (n.client || !user.client));
        plan.users.push(goes_on.map(|(next, _)| next));
        let changed = match next {
            None => Some(Change::Removed),
            Some((_, n))
                if goes_on.is_none()
                    || (n.presence, n.client) != (user.presence, user.client)
                    || names(n) != names(user)
                    || lines(new, n) != lines(old, user) =>
            {
                Some(Change::Changed)
            }
            Some(_) => None,
        };
        if let Some(change) = changed {
            plan.note(Kind::User, user.address(), change);
        }
        if goes_on.is_none() {
            plan.withdrawn.push(Withdrawn::User(id, user.address()));
        }
        if user.presence && next.is_none_or(|(_, n)| !n.presence) {
            plan.withdrawn.push(Withdrawn::Presence(id, user.address()));
        }
    }
    for (_, user) in new.users.iter().filter(|(_, user)| find(old, user).is_none()) {
        plan.note(Kind::User, user.address(), Change::Added);
    }
}

/// Further names of a user, without their places.
fn names(user: &User) -> Vec<&AliasName> {
    user.aliases.iter().map(|alias| &alias.name).collect()
}

/// Whether numbers and names are read as before; the places of the rules do not count.
fn dialplan(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let alike = same_plan(old, new);
    if !alike {
        plan.note(Kind::Settings, "dialplan", Change::Changed);
    }
    let lost = old.users.iter().any(|(_, user)| {
        let now = new
            .users
            .find_plain(&user.user, &user.domain)
            .and_then(|id| new.user(id));
        let kept = |name: &AliasName| now.is_some_and(|now| now.aliases.iter().any(|a| a.name == *name));
        !user.aliases.iter().all(|alias| kept(&alias.name))
    });
    if lost || !alike {
        plan.withdrawn.push(Withdrawn::Names);
    }
}

fn same_plan(old: &Snapshot, new: &Snapshot) -> bool {
    let (a, b) = (&old.dialplan.numbers, &new.dialplan.numbers);
    let code = |code: &Option<(Arc<str>, RuleRef)>| code.as_ref().map(|(digits, _)| digits.clone());
    let prefix = |r: &Prefix| (r.digits, r.begins.clone(), r.remove, r.add.clone());
    let dial = |r: &DialRule| (r.digits, r.begins.clone(), r.remove, r.add.clone());
    let peers = |s: &Snapshot| -> Vec<_> {
        let all = s.peers().filter_map(|(id, peer)| Some((peer, s.dialplan.peer(id)?)));
        all.map(|(peer, n)| {
            let texts = (peer.name.clone(), n.strip.clone(), n.prefix.clone());
            (texts, n.host.clone(), n.phone, n.from)
        })
        .collect()
    };
    (&a.separators, &a.extensions, &a.national, &a.local) == (&b.separators, &b.extensions, &b.national, &b.local)
        && (code(&a.country), code(&a.area)) == (code(&b.country), code(&b.area))
        && a.rules.iter().map(prefix).eq(b.rules.iter().map(prefix))
        && old
            .dialplan
            .dial
            .iter()
            .map(dial)
            .eq(new.dialplan.dial.iter().map(dial))
        && peers(old) == peers(new)
}

fn acl(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let subjects = |list: &[crate::policy::acl::Entry]| list.iter().map(|e| e.subject.named()).collect::<Vec<_>>();
    let (old_allow, new_allow) = (subjects(&old.acl.allow), subjects(&new.acl.allow));
    let (old_deny, new_deny) = (subjects(&old.acl.deny), subjects(&new.acl.deny));
    if (&old_allow, &old_deny) == (&new_allow, &new_deny) {
        return;
    }
    plan.note(Kind::Acl, "acl.incoming", Change::Changed);
    // No allow entry at all leaves the door open; the first one closes it.
    let fewer = old_allow.iter().any(|e| !new_allow.contains(e)) && !new_allow.is_empty();
    let closed = old_allow.is_empty() && !new_allow.is_empty();
    if fewer || closed || new_deny.iter().any(|e| !old_deny.contains(e)) {
        plan.withdrawn.push(Withdrawn::Acl);
    }
}

/// What a mapping file says of another line is the same as before.
fn dialects(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let find = |s: &Snapshot, name: &str| s.dialects.iter().find(|d| *d.name == *name).cloned();
    for dialect in &old.dialects {
        match find(new, &dialect.name) {
            None => plan.note(Kind::Dialect, &*dialect.name, Change::Removed),
            Some(next) => {
                let parts = dialect.differences(&next);
                if !parts.is_empty() {
                    let name = format!("{}: {}", dialect.name, parts.join(", "));
                    plan.note(Kind::Dialect, name, Change::Changed);
                    plan.rendered |= parts.iter().any(|part| part.starts_with("presence"));
                }
            }
        }
    }
    for dialect in new.dialects.iter().filter(|d| find(old, &d.name).is_none()) {
        plan.note(Kind::Dialect, &*dialect.name, Change::Added);
    }
}

fn settings(plan: &mut Plan, old: &Snapshot, new: &Snapshot) {
    let groups = [
        ("identity", old.identity != new.identity, false),
        ("presence", old.presence != new.presence, false),
        ("registrar", old.registrar != new.registrar, false),
        ("messages", old.messages != new.messages, false),
        ("store", old.store != new.store, true),
        ("dns", old.dns != new.dns, true),
        ("limits", old.limits != new.limits, false),
        ("admin", old.admin != new.admin, true),
        (
            "log",
            old.log != new.log,
            (&old.log.level, old.log.json) != (&new.log.level, new.log.json),
        ),
    ];
    for (name, _, restart) in groups.into_iter().filter(|(_, changed, _)| *changed) {
        plan.note(Kind::Settings, name, Change::Changed);
        if restart {
            plan.restart.push(name.to_owned());
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        for item in &self.items {
            writeln!(f, "{item}")?;
        }
        for withdrawn in &self.withdrawn {
            writeln!(f, "! {withdrawn}")?;
        }
        for name in &self.restart {
            writeln!(f, "! {name} takes effect after a restart")?;
        }
        Ok(())
    }
}

impl fmt::Display for Withdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(_, name) => write!(f, "trust in peer {name} ends: its connections and dialogs end"),
            Self::PeerDomain(_, name) => write!(f, "a peer may no longer speak for {name}: those dialogs end"),
            Self::User(_, name) => write!(f, "user {name} must prove itself anew: its dialogs end"),
            Self::Assigned(_, name, users) => {
                let who = users.join(", ");
                write!(f, "{who}: no longer assigned to peer {name}, what they have there ends")
            }
            Self::Names => f.write_str("numbers or aliases mean something else: what was asked for by them ends"),
            Self::Presence(_, name) => write!(f, "{name} may no longer be watched: its watchers' dialogs end"),
            Self::Domain(name) => write!(f, "{name} is local no more: its dialogs end"),
            Self::Acl => f.write_str("fewer may connect: open connections are judged again"),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
        };
        write!(f, "{sign} {} {}", self.kind.name(), self.name)
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Listener => "listener",
            Self::Peer => "peer",
            Self::Route => "route",
            Self::User => "user",
            Self::Acl => "access list",
            Self::Dialect => "dialect",
            Self::Settings => "settings",
        }
    }
}
