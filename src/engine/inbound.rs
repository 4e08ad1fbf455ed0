//! From bytes to a handler: essentials, transaction matching, credentials, the decision, dispatch.

use super::facts::{self, Known};
use super::reply::{Answer, Request, phrase, reply_destination};
use super::route_token;
use super::{Engine, Event, Output};
use crate::policy::decision::Refusal;
use crate::policy::trace::{Trace, WhyRefused};
use crate::policy::{self, Allow, AuthState, Decision, InDialog, Over, Party, RuleRef, Target};
use crate::sip::header::Name;
use crate::sip::message::{self, Essentials, Framing, Malformed, View};
use crate::sip::net::Source;
use crate::sip::time::Now;
use crate::sip::transaction::{Arrived, ServerKey};
use crate::sip::uri::Uri;

/// Option tags that we understand in Require and Proxy-Require.
const UNDERSTOOD: [&[u8]; 2] = [b"path", b"ms-benotify"];
/// Methods that may reach a handler or be forwarded; anything else with a local target is 501.
pub(super) const ALLOW: &[u8] =
    b"INVITE, ACK, BYE, CANCEL, OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, INFO, UPDATE, PRACK, REFER";

/// Seconds after which a bridge that is being stopped may be asked again.
const DRAINING_RETRY: &[u8] = b"15";

/// What the dialog look-up found before the decision.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    pub(super) dialog: Option<InDialog>,
    pub(super) kind: InDialogKind,
    /// Route values on top that are ours.
    pub(super) own_routes: usize,
}

/// Which of our dialogs a request belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum InDialogKind {
    /// None of ours.
    #[default]
    None,
    /// A subscription we serve.
    Subscription(super::slots::SlotId),
    /// A subscription we hold at a peer.
    Upstream(super::slots::SlotId),
    /// A subscription to a user's own contact list, rights or the like.
    Roaming(super::slots::SlotId),
    /// A session of messages that the bridge holds.
    Session(super::slots::SlotId),
    /// A dialog that passes through.
    Through,
}

impl Engine {
    /// One message off the wire.
    pub(super) fn on_bytes(&mut self, now: Now, source: &Source, bytes: &[u8], framing: Framing) {
        let mut index = self.index.take().unwrap_or_default();
        index.limit_headers(self.snapshot.limits.max_headers);
        match message::parse(bytes, framing, &mut index) {
            Ok(view) if framing == Framing::Datagram && self.is_too_large(&view) => self.on_too_large(source, &view),
            Ok(view) if view.is_request() => self.on_request(now, source, &view),
            Ok(view) => self.on_response(now, source, &view),
            Err(problem) => self.on_unreadable(now, source, bytes, framing, &problem),
        }
        self.index = Some(index);
    }

    /// Streams are cut by these limits before a message is whole; a datagram comes whole.
    fn is_too_large(&self, view: &View<'_>) -> bool {
        let (limits, body) = (&self.snapshot.limits, view.body().len());
        body > limits.max_body_bytes || view.bytes().len() - body > limits.max_header_bytes
    }

    #[cold]
    fn on_too_large(&mut self, source: &Source, view: &View<'_>) {
        let problem = if view.body().len() > self.snapshot.limits.max_body_bytes {
            Malformed::new(413, None, "the body is too large")
        } else {
            Malformed::new(513, None, "the header section is too large")
        };
        self.answer_malformed(source, view, &problem);
    }

    /// What cannot be split is answered if the headers an answer copies can be found in it; with too many header lines it
    /// can be split, and the sender hears of it as of any other fault.
    #[cold]
    fn on_unreadable(&mut self, now: Now, source: &Source, bytes: &[u8], framing: Framing, problem: &Malformed) {
        let mut wide = message::Index::new();
        match message::parse(bytes, framing, &mut wide) {
            Ok(view) => self.answer_malformed(source, &view, problem),
            Err(_) => {
                self.counters.malformed += 1;
                self.note_malformed(now, source, problem);
                self.answer_unreadable(source, bytes, problem);
            }
        }
    }

    /// A stream that cannot be framed any more: answered if the headers allow it.
    pub(super) fn on_broken(&mut self, source: &Source, bytes: &[u8], problem: &Malformed) {
        let mut index = self.index.take().unwrap_or_default();
        match message::parse(bytes, Framing::Datagram, &mut index) {
            Ok(view) => self.answer_malformed(source, &view, problem),
            Err(_) => {
                self.counters.malformed += 1;
                self.answer_unreadable(source, bytes, problem);
            }
        }
        self.index = Some(index);
    }

    fn on_request(&mut self, now: Now, source: &Source, view: &View<'_>) {
        let essentials = match view.essentials() {
            Ok(essentials) => essentials,
            Err(problem) => return self.answer_malformed(source, view, &problem),
        };
        if essentials.method.as_bytes() == b"BENOTIFY" {
            return self.on_benotify(now, source, view, &essentials);
        }
        let key = ServerKey {
            branch: essentials.via.branch().unwrap_or_default(),
            sent_by: essentials.via.sent_by(),
            method: essentials.method.as_bytes(),
            uri: view.request_uri(),
            from_tag: essentials.from.tag().unwrap_or_default(),
            to_tag: essentials.to.tag().unwrap_or_default(),
            call_id: essentials.call_id,
            cseq: essentials.cseq.number,
            top_via: view.header(Name::Via).unwrap_or_default(),
            source: source.remote,
        };
        let to = reply_destination(source, Some(&essentials));
        let reliable = source.transport.is_reliable();
        match self.layer.request(now, &key, to, reliable, 0) {
            Arrived::New(server) => {
                let request = Request {
                    source,
                    view,
                    essentials: &essentials,
                    server,
                };
                self.judge(now, &request);
            }
            Arrived::Cancel { invite, id, .. } => {
                let request = Request {
                    source,
                    view,
                    essentials: &essentials,
                    server: id,
                };
                self.on_cancel(now, &request, invite);
            }
            Arrived::AckFor2xx => self.on_ack(now, source, view, &essentials),
            Arrived::Repeated(server) => self.answer_again(source, view, server),
            Arrived::Retransmission | Arrived::Ack(_) => {}
        }
    }

    /// The decision, and what follows from it.
    fn judge(&mut self, now: Now, request: &Request<'_>) {
        self.counters.requests += 1;
        if self.draining && request.essentials.to.tag().is_none() {
            // Only the bridge itself is meant, so 503 is right: others may be asked (RFC 3261 section 21.5.4).
            let headers: [(&[u8], &[u8]); 1] = [(b"Retry-After", DRAINING_RETRY)];
            return self.turn_away(now, request, Answer::new(503, "Service Unavailable").with(&headers));
        }
        let context = self.context(request.source, request.view, request.essentials);
        let credentials = match self.check_credentials(now, request.source, request.view, request.essentials) {
            Ok(credentials) => credentials,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        let seen = Seen {
            credentials,
            over: self.over(now, request),
        };
        let (source, view, essentials) = (request.source, request.view, request.essentials);
        let decision = match self.decide(source, view, essentials, &context, seen, &mut ()) {
            Ok(decision) => decision,
            Err(problem) => return self.answer_problem(now, request, &problem),
        };
        match decision {
            Decision::Allow(allow) => {
                self.offer_reuse(request, allow.who);
                if let Some(options) = self.not_understood(request, &allow) {
                    let headers: [(&[u8], &[u8]); 1] = [(b"Unsupported", &options)];
                    return self.answer(now, request, Answer::new(420, "Bad Extension").with(&headers));
                }
                self.dispatch(now, request, &context, allow);
            }
            Decision::Refuse(refusal) => {
                if self
                    .rates
                    .worth_logging(now.mono_ms, source.remote.ip(), &refusal.rule.id)
                {
                    // The sentence is made only for a line that is written.
                    let mut why = WhyRefused::default();
                    let _same = self.decide(source, view, essentials, &context, seen, &mut why);
                    self.log_refusal(request, &refusal, why.0);
                }
                if refusal.rule == self.snapshot.rules.ring {
                    self.name_ring(request);
                }
                self.refuse(now, request, refusal.status, refusal.reason, &refusal.rule);
            }
            Decision::Challenge { stale, proxy, rule } => self.challenge(now, request, stale, proxy, &rule),
        }
    }

    /// Runs the pure decision over the facts of a request.
    fn decide(
        &self,
        source: &Source,
        view: &View<'_>,
        essentials: &Essentials<'_>,
        context: &Context,
        seen: Seen,
        trace: &mut impl Trace,
    ) -> Result<Decision, Malformed> {
        let identity = source
            .flow
            .and_then(|f| self.flows.get(&f))
            .map_or(&*self.no_tls, |f| &*f.identity);
        let looped = self.is_loop(view, essentials);
        let watching = super::naming::Watching(self);
        let known = Known {
            identity,
            dialog: context.dialog,
            credentials: self.vouched(essentials, seen.credentials, looped),
            looped,
            ring: self.is_ring(source, view, essentials),
            over: seen.over,
            held: &self.presence.held_by_peer,
            watched: Some(&watching),
        };
        let facts = facts::gather(source, view, essentials, known)?;
        Ok(policy::decide(&self.snapshot, &facts, trace))
    }

    /// Looks up the dialog of a request with a To tag, by our own tag or by our own Route.
    fn context(&self, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) -> Context {
        let Some(tag) = essentials.to.tag() else {
            return self.tagless_context(view, essentials);
        };
        if let Some((id, owner)) = self.subscription_by_tag(tag, essentials.call_id) {
            let dialog = Some(InDialog {
                sender: owner,
                towards: None,
            });
            return Context {
                dialog,
                kind: InDialogKind::Subscription(id),
                own_routes: 0,
            };
        }
        if let Some((id, user)) = self.roaming_by_tag(tag, essentials.call_id) {
            let dialog = Some(InDialog {
                sender: Party::User(user),
                towards: None,
            });
            return Context {
                dialog,
                kind: InDialogKind::Roaming(id),
                own_routes: 0,
            };
        }
        if let Some((id, peer)) = self.upstream_by_tag(tag, essentials.call_id) {
            let dialog = Some(InDialog {
                sender: Party::Peer(peer),
                towards: None,
            });
            return Context {
                dialog,
                kind: InDialogKind::Upstream(id),
                own_routes: 0,
            };
        }
        if let Some((id, dialog)) = self.session_by_tag(tag, essentials.call_id) {
            return Context {
                dialog: Some(dialog),
                kind: InDialogKind::Session(id),
                own_routes: 0,
            };
        }
        self.through_context(source, view, essentials).unwrap_or_default()
    }

    /// Some peers leave our tag out of a NOTIFY; the Call-ID is ours as well.
    fn tagless_context(&self, view: &View<'_>, essentials: &Essentials<'_>) -> Context {
        let notifies = essentials.method.as_bytes() == b"NOTIFY" && view.header(Name::SubscriptionState).is_some();
        let found = notifies.then(|| self.upstream_by_call_id(essentials.call_id)).flatten();
        found.map_or_else(Context::default, |(id, peer)| Context {
            dialog: Some(InDialog {
                sender: Party::Peer(peer),
                towards: None,
            }),
            kind: InDialogKind::Upstream(id),
            own_routes: 0,
        })
    }

    /// A dialog that passes through proves itself by the token in our Record-Route.
    fn through_context(&self, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) -> Option<Context> {
        let mut own_routes = 0;
        let mut sides = None;
        for route in view.items(Name::Route) {
            let address = crate::sip::field::NameAddr::parse(route).ok()?;
            let uri = Uri::parse(address.uri).ok()?;
            if !self.is_own_uri(&uri) {
                break;
            }
            own_routes += 1;
            let token = uri.user.unwrap_or_default();
            sides = sides.or_else(|| route_token::read(&self.route_key, &self.snapshot, token, essentials.call_id));
        }
        let sides = sides?;
        Some(Context {
            dialog: Some(self.oriented(source, essentials, sides)),
            kind: InDialogKind::Through,
            own_routes,
        })
    }

    fn on_ack(&mut self, now: Now, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) {
        let context = self.context(source, view, essentials);
        if !matches!(context.kind, InDialogKind::Through | InDialogKind::Session(_)) {
            return;
        }
        let allowed = self.decide(source, view, essentials, &context, Seen::default(), &mut ());
        if let (Ok(Decision::Allow(_)), InDialogKind::Session(id)) = (&allowed, context.kind) {
            return self.on_session_ack(now, id);
        }
        if let Ok(Decision::Allow(Allow {
            target: Target::Dialog(party),
            ..
        })) = allowed
            && let Some(to) = self.next_in_dialog(party, view, context.own_routes)
        {
            self.forward_ack(view, essentials, to, context.own_routes);
        }
    }

    /// A notification that nobody answers, from a peer that was told it may.
    fn on_benotify(&mut self, now: Now, source: &Source, view: &View<'_>, essentials: &Essentials<'_>) {
        self.counters.requests += 1;
        let context = self.context(source, view, essentials);
        let seen = Seen {
            over: self.over_from(now, source),
            ..Seen::default()
        };
        let allowed = self.decide(source, view, essentials, &context, seen, &mut ());
        let Ok(Decision::Allow(allow)) = allowed else {
            self.counters.refused += 1;
            return;
        };
        match (context.kind, allow.target) {
            (InDialogKind::Upstream(id), _) if self.snapshot.dialect(allow.dialect).is_some_and(|d| d.sip.benotify) => {
                self.on_unanswered_notify(now, view, essentials, id);
            }
            (InDialogKind::Through, Target::Dialog(party)) => {
                if let Some(to) = self.next_in_dialog(party, view, context.own_routes) {
                    self.forward_ack(view, essentials, to, context.own_routes);
                }
            }
            _ => {}
        }
    }

    fn not_understood(&self, request: &Request<'_>, allow: &Allow) -> Option<Vec<u8>> {
        let here = matches!(allow.target, Target::Local { .. } | Target::Bridge) || is_served_here(request, allow);
        let names: &[Name] = if here {
            &[Name::Require, Name::ProxyRequire]
        } else {
            &[Name::ProxyRequire]
        };
        if here && matches!(request.essentials.method.as_bytes(), b"ACK" | b"CANCEL") {
            return None;
        }
        let forwarded_here = here
            && !matches!(
                request.essentials.method.as_bytes(),
                b"SUBSCRIBE" | b"PUBLISH" | b"REGISTER" | b"OPTIONS"
            );
        let mut unknown: Vec<u8> = Vec::new();
        for name in names {
            if forwarded_here && *name == Name::Require {
                continue;
            }
            for option in request.view.items(*name) {
                let known = UNDERSTOOD.iter().any(|known| known.eq_ignore_ascii_case(option));
                if !known
                    && !self
                        .snapshot
                        .dialect(allow.dialect)
                        .is_some_and(|d| d.sip.understands(option))
                {
                    if !unknown.is_empty() {
                        unknown.extend_from_slice(b", ");
                    }
                    unknown.extend_from_slice(option);
                }
            }
        }
        (!unknown.is_empty()).then_some(unknown)
    }

    /// Hands an allowed request to its room.
    fn dispatch(&mut self, now: Now, request: &Request<'_>, context: &Context, allow: Allow) {
        match (request.essentials.method.as_bytes(), context.kind) {
            (b"SUBSCRIBE", InDialogKind::Subscription(id)) => return self.on_resubscribe(now, request, id),
            (b"NOTIFY", InDialogKind::Upstream(id)) => return self.on_notify(now, request, id),
            (b"SUBSCRIBE", InDialogKind::Roaming(id)) => return self.on_roaming_refresh(now, request, id),
            (_, InDialogKind::Session(id)) => return self.on_session_request(now, request, id),
            (_, InDialogKind::Subscription(_) | InDialogKind::Upstream(_) | InDialogKind::Roaming(_)) => {
                return self.answer(
                    now,
                    request,
                    Answer::new(405, "Method Not Allowed").with(&[(b"Allow", ALLOW)]),
                );
            }
            _ => {}
        }
        match allow.target {
            Target::Dialog(party) => self.pass_in_dialog(now, request, context, party),
            _ if request.essentials.to.tag().is_some() => {
                self.answer(now, request, Answer::new(481, phrase(481)));
            }
            Target::Bridge => self.on_bridge_request(now, request),
            _ if is_served_here(request, &allow)
                && self.is_merged(now, request.source, request.view, request.essentials) =>
            {
                self.answer(now, request, Answer::new(482, "Request Merged"));
            }
            _ if self.converse(now, request, &allow) => {}
            Target::Local { user, .. } => self.on_local_request(now, request, allow, user),
            Target::Route { set, peer } => self.on_routed_request(now, request, allow, set, peer),
        }
    }

    fn on_bridge_request(&mut self, now: Now, request: &Request<'_>) {
        match request.essentials.method.as_bytes() {
            b"OPTIONS" => self.answer_options(now, request),
            b"ACK" => {}
            _ => self.answer(
                now,
                request,
                Answer::new(405, phrase(405)).with(&[(b"Allow", b"OPTIONS")]),
            ),
        }
    }

    pub(super) fn answer_options(&mut self, now: Now, request: &Request<'_>) {
        let headers: [(&[u8], &[u8]); 4] = [
            (b"Allow", ALLOW),
            (b"Allow-Events", crate::event::ALLOW_EVENTS.as_bytes()),
            (b"Accept", b"application/pidf+xml, text/plain"),
            (b"Supported", b"path"),
        ];
        self.answer(now, request, Answer::new(200, "OK").with(&headers));
    }

    /// A request inside a dialog that passes through: on to the other side.
    fn pass_in_dialog(&mut self, now: Now, request: &Request<'_>, context: &Context, party: Party) {
        let Some(to) = self.next_in_dialog(party, request.view, context.own_routes) else {
            return self.answer(now, request, Answer::new(480, phrase(480)));
        };
        let hop = super::forward::Hop::to(smallvec::smallvec![to]);
        let manner = super::forward::Manner {
            drop_routes: context.own_routes,
            strip_credentials: true,
            contract: match party {
                Party::Peer(peer) => Some(peer),
                Party::User(_) => None,
            },
            ..super::forward::Manner::default()
        };
        if manner
            .contract
            .is_some_and(|peer| self.contract_turns_away(now, request, peer))
        {
            return;
        }
        self.forward(now, request, smallvec::smallvec![hop], manner);
    }

    /// Answers a refusal; the rule's id goes along so that both sides' engineers can find it.
    pub(super) fn refuse(&mut self, now: Now, request: &Request<'_>, status: u16, reason: &str, rule: &RuleRef) {
        let warning = format!("399 {} \"{}\"", self.host(), rule.id);
        let retry: &[u8] = b"5";
        let headers: [(&[u8], &[u8]); 2] = [(b"Warning", warning.as_bytes()), (b"Retry-After", retry)];
        let used = if status == 503 { 2 } else { 1 };
        self.counters.refused += 1;
        self.turn_away(now, request, Answer::new(status, reason).with(&headers[..used]));
    }

    /// Answers something that is malformed beyond the essentials.
    pub(super) fn answer_problem(&mut self, now: Now, request: &Request<'_>, problem: &Malformed) {
        self.counters.malformed += 1;
        let warning = format!("399 {} \"{problem}\"", self.host());
        let headers: [(&[u8], &[u8]); 1] = [(b"Warning", warning.as_bytes())];
        let answer = Answer::new(problem.status, problem.reason()).with(&headers);
        self.turn_away(now, request, answer);
    }

    fn note_malformed(&mut self, now: Now, source: &Source, problem: &Malformed) {
        if self
            .rates
            .worth_logging(now.mono_ms, source.remote.ip(), "cannot be read")
        {
            let over = source.transport.param();
            let note = format!("what {} sent over {over} cannot be read: {problem}", source.remote);
            self.outputs.push_back(Output::Log(Event::Note(note)));
        }
    }

    fn log_refusal(&mut self, request: &Request<'_>, refusal: &Refusal, why: String) {
        let event = Event::Refused {
            source: *request.source,
            method: printable(request.essentials.method.as_bytes()),
            from: printable(request.essentials.from.uri),
            to: printable(request.view.request_uri()),
            status: refusal.status,
            rule: refusal.rule.to_string(),
            why,
        };
        self.outputs.push_back(Output::Log(event));
    }
}

/// What was found out about the sender of a request.
#[derive(Debug, Clone, Copy)]
struct Seen {
    credentials: AuthState,
    over: Over,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            credentials: AuthState::None,
            over: Over::default(),
        }
    }
}

/// Whether the bridge itself serves the request, as a user agent server: what has state here and no next server.
fn is_served_here(request: &Request<'_>, allow: &Allow) -> bool {
    matches!(
        (request.essentials.method.as_bytes(), allow.target),
        (b"REGISTER" | b"PUBLISH" | b"SUBSCRIBE", Target::Local { .. }) | (b"SUBSCRIBE", Target::Route { .. })
    )
}

/// Text from outside, as it may stand in a log: bounded, and nothing in it ends a line or turns the writing round.
pub(super) fn printable(bytes: &[u8]) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = String::from_utf8_lossy(bytes);
    let bounded = text.chars().take(200);
    bounded.map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}
