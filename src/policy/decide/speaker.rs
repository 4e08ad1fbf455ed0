//! Step 5: who speaks. A local From needs the digest of that very user, a foreign one a peer that may speak for it.

use super::{Checked, Judge, Shown};
use crate::policy::decision::{Party, Who};
use crate::policy::facts::{AuthState, Scheme, UriFacts};
use crate::policy::identity::Identity;
use crate::policy::names::same;
use crate::policy::peer::{Peer, names_decide};
use crate::policy::rule::RuleRef;
use crate::policy::snapshot::Snapshot;
use crate::policy::trace::{Step, Trace};
use crate::policy::users::{UserId, unescaped};
use crate::sip::net::PeerId;

const STEP: Step = Step::Authentication;

impl<'a, T: Trace> Judge<'a, T> {
    /// Step 5.
    pub(super) fn authentication(&mut self, peer: Option<PeerId>) -> Checked<Who> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        if matches!(facts.from.scheme, Scheme::Tel | Scheme::Other) {
            let because = format_args!("the From address has no domain that anybody could speak for");
            return self.refuse(STEP, 403, "From Not Accepted", &snapshot.rules.from, because);
        }
        // To ask for credentials, or to deny the domain, would hide that it is a ring. Nothing is opened by this: a ring is
        // refused in step 8 in any case.
        if let Some(id) = peer.filter(|_| facts.ring) {
            self.allow(STEP, None, format_args!("a peer brings back what went out from here"));
            return Ok(Party::Peer(id));
        }
        if let Some(id) = self.publish_trunk(peer)? {
            return Ok(Party::Peer(id));
        }
        // A front end has authenticated our users itself and is granted a local domain; nobody else can be.
        let front_end = peer
            .and_then(|id| snapshot.peer(id))
            .is_some_and(|p| p.domains.get(facts.from.host).is_some());
        match snapshot.domains.get(facts.from.host).filter(|_| !front_end) {
            Some(rule) => self.user_speaks(rule).map(Party::User),
            None => self.peer_speaks(peer).map(Party::Peer),
        }
    }

    /// A peer that publishes for a local user (RFC 3903), in the name of its own domain or of that user: only where its
    /// `publishes` says so.
    fn publish_trunk(&mut self, peer: Option<PeerId>) -> Checked<Option<PeerId>> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let known = peer.and_then(|id| Some((id, snapshot.peer(id)?)));
        let Some((id, peer)) = known.filter(|_| facts.method == b"PUBLISH" && facts.dialog.is_none()) else {
            return Ok(None);
        };
        let whose = self.user_of(&facts.uri).and_then(|id| snapshot.user(id));
        let own = peer.domains.get(facts.from.host).is_some();
        let front_end = own && snapshot.domains.get(facts.from.host).is_some();
        let Some(whose) = whose.filter(|_| !front_end && (own || same_address(&facts.from, &facts.uri))) else {
            return Ok(None);
        };
        let from = Shown(facts.from.host);
        if own && names_decide(peer, facts.transport, facts.identity) && !self.certificate_names_from(id, peer) {
            let because = format_args!("the certificate of peer {} does not name {from}", peer.name);
            return self.refuse(STEP, 403, "Domain Not Granted", &peer.tls_rule, because);
        }
        let granted = peer.publishes.covers(&whose.user, &whose.domain);
        // The user himself may sit behind the peer's address: he proves it by his digest.
        if !granted && !own {
            return Ok(None);
        }
        if !granted {
            let because = format_args!(
                "`publishes` of peer {} does not list {}",
                peer.name,
                whose.user.escape_debug()
            );
            return self.refuse(STEP, 403, "Publishing Not Granted", &peer.publishes_rule, because);
        }
        let because = format_args!("peer {} may publish for {}", peer.name, whose.user.escape_debug());
        self.allow(STEP, Some(&peer.publishes_rule), because);
        Ok(Some(id))
    }

    fn user_speaks(&mut self, domain: &'a RuleRef) -> Checked<UserId> {
        let facts = self.facts;
        let claimed = self.user_of(&facts.from);
        let user = match facts.credentials {
            AuthState::Valid(user) => user,
            AuthState::Stale => return self.challenge(true, domain, format_args!("the nonce is used up")),
            // RFC 3261 22.1: ACK and CANCEL cannot be asked. They carry what the request they belong to carried.
            AuthState::None | AuthState::Wrong if matches!(facts.method, b"ACK" | b"CANCEL") => {
                return self.unasked(claimed, domain);
            }
            AuthState::None => return self.challenge(false, domain, format_args!("a local address needs its digest")),
            // Asked again, these clients say the same again, thirty times.
            AuthState::Wrong if self.asks_as_proxy() => {
                let because = format_args!("the credentials are wrong, and this client has no others");
                return self.refuse(STEP, 403, "Wrong Credentials", domain, because);
            }
            AuthState::Wrong => return self.challenge(false, domain, format_args!("the credentials are wrong")),
        };
        self.own(user, claimed)?;
        if facts.dialog.is_some_and(|d| d.sender != Party::User(user)) {
            return self.not_in_dialog();
        }
        let rule = self.snapshot.user(user).map(|u| &u.rule);
        self.allow(
            STEP,
            rule,
            format_args!("user {} by digest", Shown(facts.from.user.unwrap_or_default())),
        );
        Ok(user)
    }

    /// ACK and CANCEL without credentials: only as part of a transaction of that user from the same source.
    fn unasked(&mut self, claimed: Option<UserId>, domain: &'a RuleRef) -> Checked<UserId> {
        match (claimed, self.facts.dialog) {
            (Some(user), Some(dialog)) if dialog.sender == Party::User(user) => {
                self.allow(
                    STEP,
                    Some(domain),
                    format_args!("belongs to a request that was authenticated"),
                );
                Ok(user)
            }
            _ => {
                let because = format_args!("belongs to no request of this user from this source");
                self.refuse(STEP, 403, "Forbidden", domain, because)
            }
        }
    }

    /// Credentials open the address they belong to and no other.
    fn own(&mut self, user: UserId, claimed: Option<UserId>) -> Checked<()> {
        let (rules, facts) = (&self.snapshot.rules, self.facts);
        let (whose, rule, what) = match facts.method {
            _ if claimed != Some(user) => (claimed, &rules.own_identity, "From"),
            // Nor is anybody registered elsewhere through us.
            b"REGISTER" if !self.is_ours(&facts.uri) => (None, &rules.register_own, "Request-URI of a REGISTER"),
            b"REGISTER" => (self.user_of(&facts.to), &rules.register_own, "To of a REGISTER"),
            b"PUBLISH" => (self.meant(&facts.uri), &rules.publish_own, "Request-URI of a PUBLISH"),
            _ => return Ok(()),
        };
        if whose == Some(user) {
            return Ok(());
        }
        let because = format_args!("the credentials are not for the {what}");
        self.refuse(STEP, 403, "Not Your Address", rule, because)
    }

    fn is_ours(&self, uri: &UriFacts<'_>) -> bool {
        self.snapshot.local_domain(uri.host).is_some() || self.is_bridge(uri.host, uri.port)
    }

    /// Whom an address means, by whatever name.
    fn meant(&self, uri: &UriFacts<'_>) -> Option<UserId> {
        self.snapshot.meant(uri, None, false).map(|meant| meant.user)
    }

    fn user_of(&self, uri: &UriFacts<'_>) -> Option<UserId> {
        match uri.scheme {
            Scheme::Tel | Scheme::Other => None,
            Scheme::Sip | Scheme::Sips | Scheme::Pres | Scheme::Im => self.snapshot.users.find(uri.user?, uri.host),
        }
    }

    fn peer_speaks(&mut self, peer: Option<PeerId>) -> Checked<PeerId> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let from = Shown(facts.from.host);
        let known = peer.and_then(|id| Some((id, snapshot.peer(id)?)));
        let granted = known.and_then(|(id, peer)| Some((id, peer, peer.domains.get(facts.from.host)?)));
        if facts
            .dialog
            .is_some_and(|d| granted.is_none_or(|(id, ..)| d.sender != Party::Peer(id)))
        {
            return self.not_in_dialog();
        }
        let Some((id, peer, rule)) = granted else {
            return match known {
                Some((_, peer)) => {
                    let because = format_args!("peer {} may not speak for {from}", peer.name);
                    self.refuse(STEP, 403, "Domain Not Granted", &peer.domains_rule, because)
                }
                None => self.stranger(),
            };
        };
        if names_decide(peer, facts.transport, facts.identity) && !self.certificate_names_from(id, peer) {
            let because = format_args!("the certificate of peer {} does not name {from}", peer.name);
            return self.refuse(STEP, 403, "Domain Not Granted", &peer.tls_rule, because);
        }
        let own = match facts.method {
            b"REGISTER" => Some((&snapshot.rules.register_own, &facts.to)),
            b"PUBLISH" => Some((&snapshot.rules.publish_own, &facts.uri)),
            _ => None,
        };
        // Only a front end speaks for somebody who has an address here, and only for that address.
        let local = snapshot.domains.get(facts.from.host).is_some();
        if let Some((rule, _)) = own
            .filter(|(_, whose)| !local || !(same_address(&facts.from, whose) || self.is_same_user(&facts.from, whose)))
        {
            let because = format_args!("peer {} has no such address here", peer.name);
            return self.refuse(STEP, 403, "Not Your Address", rule, because);
        }
        let called = Called {
            snapshot,
            from: &facts.from,
            id,
        };
        self.allow(
            STEP,
            Some(rule),
            format_args!("peer {} may speak for {from}{called}", peer.name),
        );
        Ok(id)
    }

    /// Whether the second address is another name of the user whose own address the first is.
    fn is_same_user(&self, own: &UriFacts<'_>, other: &UriFacts<'_>) -> bool {
        let publishes = self.facts.method == b"PUBLISH";
        publishes && self.user_of(own).is_some_and(|user| self.meant(other) == Some(user))
    }

    /// Both must grant a domain: the configuration and the certificate (or a host name or pin that stands for all).
    fn certificate_names_from(&self, id: PeerId, peer: &Peer) -> bool {
        let host = core::str::from_utf8(self.facts.from.host);
        host.is_ok_and(|host| self.facts.identity.speaks_for(id, peer, host))
    }

    /// Refuses somebody who is no peer, with the place of the peer it would have to be if there is one.
    fn stranger(&mut self) -> Checked<PeerId> {
        let (snapshot, facts) = (self.snapshot, self.facts);
        let from = Shown(facts.from.host);
        let Some(peer) = self.owner() else {
            let because = format_args!("{from} is no local domain and no peer may speak for it");
            return self.refuse(STEP, 403, "Forbidden", &snapshot.rules.stranger, because);
        };
        let tls = names_decide(peer, facts.transport, facts.identity);
        let rule = match (peer.accept.contains(&facts.transport), tls) {
            (false, _) => &peer.transport_rule,
            (true, true) => &peer.tls_rule,
            (true, false) => &peer.addresses_rule,
        };
        let because = format_args!(
            "only peer {} may speak for {from}, and this is not proved to be it{}",
            peer.name,
            Reported(facts.identity)
        );
        self.refuse(STEP, 403, "Forbidden", rule, because)
    }

    /// The peer that may speak for the From domain, found by the way to it.
    fn owner(&self) -> Option<&'a Peer> {
        let host = self.facts.from.host;
        let routes = &self.snapshot.routes;
        let set = routes.set(routes.domain(host)?)?;
        set.routes()
            .iter()
            .filter_map(|r| self.snapshot.peer(r.peer))
            .find(|p| p.domains.get(host).is_some())
    }

    fn not_in_dialog<V>(&mut self) -> Checked<V> {
        let rule = &self.snapshot.rules.dialog_owner;
        let because = format_args!("the dialog belongs to somebody else");
        self.refuse(STEP, 481, "Call/Transaction Does Not Exist", rule, because)
    }
}

/// What a trusted terminator reports, behind a colon; nothing of a flow without one.
struct Reported<'a>(&'a Identity);

impl core::fmt::Display for Reported<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0
            .terminated()
            .map_or(Ok(()), |terminated| write!(f, ": {terminated}"))
    }
}

/// What a number of the peer is called here, for the trace; nothing when it keeps its name.
struct Called<'a> {
    snapshot: &'a Snapshot,
    from: &'a UriFacts<'a>,
    id: PeerId,
}

impl core::fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.snapshot.caller_here(self.from, self.id) {
            Some(caller) => {
                let there = Shown(self.from.user.unwrap_or_default());
                write!(f, ", {there} is {caller} by {}", caller.rule)
            }
            None => Ok(()),
        }
    }
}

/// Whether two addresses name the same user of the same host.
fn same_address(a: &UriFacts<'_>, b: &UriFacts<'_>) -> bool {
    match (a.user, b.user) {
        (Some(x), Some(y)) => unescaped(x).eq(unescaped(y)) && same(a.host, b.host),
        _ => false,
    }
}
