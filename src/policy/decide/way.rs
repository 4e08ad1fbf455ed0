//! Steps that judge the way out: route, dialect, limits.

use super::aim::Aim;
use super::{Checked, Judge, Shown};
use crate::policy::decision::{Party, Target, Who};
use crate::policy::facts::{Scheme, UriFacts};
use crate::policy::peer::Peer;
use crate::policy::routes::RouteSetId;
use crate::policy::rule::RuleRef;
use crate::policy::snapshot::{DialectId, Snapshot};
use crate::policy::trace::{Step, Trace, Verdict};
use crate::sip::net::{PeerId, Transport};

const ROUTE: Step = Step::Route;

impl<T: Trace> Judge<'_, T> {
    /// Step 11.
    pub(super) fn route(&mut self, who: Who, aim: &Aim<'_>) -> Checked<Target> {
        let snapshot = self.snapshot;
        match aim {
            Aim::Local(domain, user, _) => {
                self.assigned_here(who, *user)?;
                self.pass(ROUTE, Verdict::Allow, None, format_args!("stays here"));
                Ok(Target::Local {
                    domain: *domain,
                    user: *user,
                })
            }
            Aim::Bridge => {
                self.pass(ROUTE, Verdict::Allow, None, format_args!("stays here"));
                Ok(Target::Bridge)
            }
            Aim::Dialog(party) => {
                self.assigned_between(who, *party)?;
                self.along_dialog(*party)
            }
            Aim::Foreign(host) => {
                self.transit(who, format_args!("domain {}", Shown(host)), |p| p.transit.domain(host))?;
                match snapshot.routes.domain(host) {
                    Some(set) => self.routed(who, set),
                    None => {
                        let because = format_args!("no route leads to {}", Shown(host));
                        self.refuse(ROUTE, 403, "No Route", &snapshot.rules.no_route, because)
                    }
                }
            }
            Aim::Number(digits, _) => {
                self.transit(who, format_args!("number {}", Shown(digits)), |p| {
                    p.transit.number(digits)
                })?;
                match snapshot.routes.number(digits) {
                    Some(set) => self.routed(who, set),
                    None => {
                        let because = format_args!("no route takes the number {}", Shown(digits));
                        self.refuse(ROUTE, 404, "No Route", &snapshot.rules.no_route, because)
                    }
                }
            }
        }
    }

    /// A peer's requests go on to foreign targets only where its `transit` says so.
    fn transit(&mut self, who: Who, what: core::fmt::Arguments<'_>, listed: impl FnOnce(&Peer) -> bool) -> Checked<()> {
        match who {
            Party::Peer(id) => match self.snapshot.peer(id) {
                Some(peer) if !listed(peer) => {
                    let because = format_args!("peer {} has no transit to {what}", peer.name);
                    self.refuse(ROUTE, 403, "No Transit", &peer.transit_rule, because)
                }
                _ => Ok(()),
            },
            Party::User(_) => Ok(()),
        }
    }

    fn routed(&mut self, who: Who, id: RouteSetId) -> Checked<Target> {
        let snapshot = self.snapshot;
        let Some((set, first)) = snapshot
            .routes
            .set(id)
            .and_then(|set| Some((set, set.routes().first()?)))
        else {
            return self.refuse(
                ROUTE,
                403,
                "No Route",
                &snapshot.rules.no_route,
                format_args!("the route is gone"),
            );
        };
        let insecure = set.routes().iter().find(|r| r.transport != Transport::Tls);
        if self.facts.uri.scheme == Scheme::Sips
            && let Some(route) = insecure
        {
            let because = format_args!("sips: must not leave over {}", route.transport.param());
            return self.refuse(ROUTE, 403, "TLS Required", &route.rule, because);
        }
        for route in set.routes() {
            self.assigned_to(who, route.peer)?;
        }
        let peer = snapshot.peer(first.peer).map_or("", |p| &p.name);
        let count = set.routes().len();
        let named = Named {
            snapshot,
            uri: &self.facts.uri,
            who,
            peer: first.peer,
        };
        self.allow(
            ROUTE,
            Some(&first.rule),
            format_args!("peer {peer}, {count} way(s){named}"),
        );
        Ok(Target::Route {
            set: id,
            peer: first.peer,
        })
    }

    fn along_dialog(&mut self, party: Party) -> Checked<Target> {
        let snapshot = self.snapshot;
        let rule: Option<&RuleRef> = match party {
            Party::Peer(id) => snapshot.peer(id).map(|p| &p.rule),
            Party::User(id) => snapshot.user(id).map(|u| &u.rule),
        };
        if rule.is_none() {
            let because = format_args!("the other side of the dialog is no longer configured");
            let gone = &snapshot.rules.dialog_gone;
            return self.refuse(ROUTE, 481, "Call/Transaction Does Not Exist", gone, because);
        }
        self.allow(ROUTE, rule, format_args!("along the dialog"));
        Ok(Target::Dialog(party))
    }

    /// Step 12.
    pub(super) fn dialect(&mut self, who: Who, target: Target) -> DialectId {
        let snapshot = self.snapshot;
        let far = match (target, who) {
            (Target::Route { peer, .. } | Target::Dialog(Party::Peer(peer)), _) => Some(peer),
            (_, Party::Peer(peer)) => Some(peer),
            _ => None,
        };
        let Some(peer) = far.and_then(|id| snapshot.peer(id)) else {
            if let Some(listener) = self.facts.listener.and_then(|id| snapshot.listener(id))
                && listener.dialect != DialectId::default()
            {
                let name = snapshot.dialect(listener.dialect).map_or("rfc", |d| &d.name);
                let because = format_args!("{name}, as clients of listener {}", listener.name);
                self.allow(Step::Dialect, Some(&listener.rule), because);
                return listener.dialect;
            }
            self.pass(Step::Dialect, Verdict::NotConfigured, None, format_args!("plain rfc"));
            return DialectId::default();
        };
        let name = snapshot.dialect(peer.dialect).map_or("rfc", |d| &d.name);
        self.allow(
            Step::Dialect,
            Some(&peer.rule),
            format_args!("{name}, as peer {}", peer.name),
        );
        peer.dialect
    }

    /// Step 13. Only an overloaded bridge says 503: a peer may take it as a reason to shun the whole bridge.
    pub(super) fn limits(&mut self, who: Who, target: Target) -> Checked<()> {
        const STEP: Step = Step::Limits;
        let (snapshot, over) = (self.snapshot, self.facts.over);
        if over.overloaded {
            let because = format_args!("too many transactions at once");
            return self.refuse(STEP, 503, "Overloaded", &snapshot.rules.overloaded, because);
        }
        if over.peer_requests
            && let Party::Peer(id) = who
            && let Some(peer) = snapshot.peer(id)
        {
            let because = format_args!("peer {} sends too many requests a second", peer.name);
            return self.refuse(STEP, 480, "Too Many Requests", &peer.limits_rule, because);
        }
        // Whoever watches somebody abroad does so through a subscription that is held here.
        let opens_here = self.facts.method == b"SUBSCRIBE"
            && self.facts.dialog.is_none()
            && matches!(target, Target::Local { .. } | Target::Route { .. });
        if opens_here && over.subscriptions {
            let because = format_args!("the watcher holds as many subscriptions as it may");
            let rule = &snapshot.rules.subscriptions;
            return self.refuse(STEP, 403, "Too Many Subscriptions", rule, because);
        }
        if opens_here
            && let Party::Peer(id) = who
            && let Some(peer) = snapshot.peer(id)
            && let Some(most) = peer.limits.subscriptions
        {
            let held = self.facts.held.get(usize::from(id.0)).copied().unwrap_or(0);
            if held >= most {
                let because = format_args!("peer {} holds {held} subscriptions of {most}", peer.name);
                return self.refuse(STEP, 403, "Too Many Subscriptions", &peer.limits_rule, because);
            }
            if matches!(target, Target::Local { .. }) {
                let because = format_args!("within limits: peer {} holds {held} subscriptions of {most}", peer.name);
                self.allow(STEP, Some(&peer.limits_rule), because);
                return Ok(());
            }
        }
        self.watches(target)
    }

    /// What we may watch at a peer by its contract. Whoever is watched already may be watched by one more.
    fn watches(&mut self, target: Target) -> Checked<()> {
        const STEP: Step = Step::Limits;
        let (snapshot, facts) = (self.snapshot, self.facts);
        let opens = facts.method == b"SUBSCRIBE" && facts.dialog.is_none();
        let Target::Route { peer: id, .. } = target else {
            self.allow(STEP, None, format_args!("within limits"));
            return Ok(());
        };
        let promised = snapshot.peer(id).and_then(|peer| Some((peer, peer.contract?.watched?)));
        let Some((peer, most)) = promised.filter(|_| opens) else {
            self.allow(STEP, None, format_args!("within limits"));
            return Ok(());
        };
        let count = facts.watched.map_or(0, |watched| watched.count(id));
        if count >= most && !facts.watched.is_some_and(|watched| watched.has(id, &facts.uri)) {
            let because = format_args!("{count} addresses of {most} are watched at peer {}", peer.name);
            return self.refuse(STEP, 403, "Too Many Watched", &peer.contract_rule, because);
        }
        let because = format_args!(
            "within limits: {count} addresses of {most} are watched at peer {}",
            peer.name
        );
        self.allow(STEP, Some(&peer.contract_rule), because);
        Ok(())
    }
}

/// What the address is called where it goes, for the trace; nothing when it keeps its name.
struct Named<'a> {
    snapshot: &'a Snapshot,
    uri: &'a UriFacts<'a>,
    who: Who,
    peer: PeerId,
}

impl core::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let from = match self.who {
            Party::Peer(peer) => Some(peer),
            Party::User(_) => None,
        };
        if let Some(there) = self.snapshot.abroad(self.uri, from, self.peer) {
            write!(f, ", there {there} by {}", there.rule)?;
        }
        if let Party::User(user) = self.who
            && let Some(caller) = self.snapshot.caller_abroad(user, self.peer)
        {
            write!(f, ", from {caller}")?;
        }
        Ok(())
    }
}
