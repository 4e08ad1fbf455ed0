//! Whether one resource of a list may be watched: judged as a SUBSCRIBE of its own would be.

use super::has;
use crate::engine::facts::{self, Known, uri_facts};
use crate::engine::inbound::printable;
use crate::engine::naming::Watching;
use crate::engine::reply::Request;
use crate::engine::slots::SlotId;
use crate::engine::{Engine, Event, Output};
use crate::event::Reason;
use crate::policy::trace::{Trace, WhyRefused};
use crate::policy::{self, Allow, AuthState, Decision, Over, Party, RuleRef, Target, UriFacts};
use crate::sip::field::parse_expires;
use crate::sip::header::Name;
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

impl Engine {
    /// The presentity that a resource means to this watcher, or why there is none to see.
    pub(super) fn admit(&mut self, now: Now, request: &Request<'_>, who: Party, uri: &str) -> Result<SlotId, Reason> {
        let is_plain = uri
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"'));
        let parsed = Uri::parse(uri.as_bytes()).ok();
        let parsed = parsed
            .filter(|u| is_plain && u.headers.is_empty())
            .ok_or(Reason::NoResource)?;
        if let Some(rule) = self.watches_enough_by_list(request, who) {
            self.log_unwatched(
                now,
                request,
                uri,
                (403, &rule),
                "the watcher holds as many subscriptions as it may".into(),
            );
            return Err(Reason::Rejected);
        }
        let allow = self.judge_member(now, request, who, &parsed, uri)?;
        match allow.target {
            Target::Local { user, .. } => {
                let user = user.and_then(|id| self.snapshot.user(id));
                let aor = user.map(|user| Aor::new(&user.user, &user.domain));
                let aor = aor.or_else(|| Aor::from_uri(&parsed)).ok_or(Reason::NoResource)?;
                if self.is_denied(request, &aor) {
                    return Err(Reason::Rejected);
                }
                Ok(self.local_resource(&aor))
            }
            Target::Route { set, peer } => {
                let named = UriFacts::of(uri.as_bytes());
                let there = named.and_then(|uri| Some(self.snapshot.abroad(&uri, None, peer)?.aor()));
                let presentity = there.or_else(|| Aor::from_uri(&parsed)).ok_or(Reason::NoResource)?;
                let watcher = Uri::parse(request.essentials.from.uri).ok();
                let watcher = watcher.and_then(|w| Aor::from_uri(&w)).ok_or(Reason::Rejected)?;
                Ok(self.remote_resource(now, peer, set, &watcher, &presentity))
            }
            Target::Bridge | Target::Dialog(_) => Err(Reason::NoResource),
        }
    }

    fn judge_member(
        &mut self,
        now: Now,
        request: &Request<'_>,
        who: Party,
        parsed: &Uri<'_>,
        uri: &str,
    ) -> Result<Allow, Reason> {
        let decision = self.decide_member(request, who, parsed, &mut ())?;
        let (status, rule) = match decision {
            Decision::Allow(allow) => return Ok(allow),
            Decision::Refuse(refusal) => (refusal.status, refusal.rule),
            Decision::Challenge { rule, .. } => (403, rule),
        };
        self.counters.refused += 1;
        let mut why = WhyRefused::default();
        let _same = self.decide_member(request, who, parsed, &mut why);
        self.log_unwatched(now, request, uri, (status, &rule), why.0);
        Err(match status {
            404 | 410 | 416 | 604 => Reason::NoResource,
            _ => Reason::Rejected,
        })
    }

    fn decide_member(
        &self,
        request: &Request<'_>,
        who: Party,
        uri: &Uri<'_>,
        trace: &mut impl Trace,
    ) -> Result<Decision, Reason> {
        let source = request.source;
        let flow = source.flow.and_then(|f| self.flows.get(&f));
        let watching = Watching(self);
        let known = Known {
            identity: flow.map_or(&*self.no_tls, |f| &*f.identity),
            dialog: None,
            // The request as a whole has proved who sent it.
            credentials: match who {
                Party::User(id) => AuthState::Valid(id),
                Party::Peer(_) => AuthState::None,
            },
            looped: false,
            ring: false,
            over: Over::default(),
            held: &self.presence.held_by_peer,
            watched: Some(&watching),
        };
        let gathered = facts::gather(source, request.view, request.essentials, known);
        let mut facts = gathered.map_err(|_| Reason::NoResource)?;
        (facts.uri, facts.to) = (uri_facts(uri), uri_facts(uri));
        Ok(policy::decide(&self.snapshot, &facts, trace))
    }

    /// The limit that one more subscription would exceed: of the watcher, or of the peer it comes through. Wherever the
    /// resource is: what is watched through a list is held here.
    fn watches_enough_by_list(&self, request: &Request<'_>, who: Party) -> Option<RuleRef> {
        let fetch = matches!(request.view.header(Name::Expires).map(parse_expires), Some(Ok(0)));
        let held = self
            .presence
            .held_by_watcher(self.watcher_key(request.essentials.from.uri));
        if !fetch && held >= self.snapshot.presence.max_subscriptions as usize {
            return Some(self.snapshot.rules.subscriptions.clone());
        }
        let Party::Peer(id) = who else { return None };
        let peer = self.snapshot.peer(id)?;
        let held = self.presence.held_by_peer.get(usize::from(id.0)).copied().unwrap_or(0);
        (held >= peer.limits.subscriptions?).then(|| peer.limits_rule.clone())
    }

    fn log_unwatched(
        &mut self,
        now: Now,
        request: &Request<'_>,
        uri: &str,
        (status, rule): (u16, &RuleRef),
        why: String,
    ) {
        let source = request.source;
        if !self.rates.worth_logging(now.mono_ms, source.remote.ip(), &rule.id) {
            return;
        }
        self.outputs.push_back(Output::Log(Event::Refused {
            source: *source,
            method: match has(request, Name::Require, b"adhoclist") {
                true => "SUBSCRIBE (adhoclist)".into(),
                false => printable(request.essentials.method.as_bytes()),
            },
            from: printable(request.essentials.from.uri),
            to: printable(uri.as_bytes()),
            status,
            rule: rule.to_string(),
            why,
        }));
    }
}
