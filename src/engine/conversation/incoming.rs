//! Sessions that others open with the bridge, and what they send in any.

use bytes::Bytes;
use smallvec::SmallVec;

use super::super::commit::Promise;
use super::super::forward::Owner;
use super::super::reach::Origin;
use super::super::reply::{Answer, Reply, Request, phrase, reply_destination};
use super::super::slots::SlotId;
use super::answered::{endpoint, refresh, session_expires, without_tag};
use super::way::{TAKEN, media_of};
use super::{End, Engine, MOST_ENDPOINTS, Parcel, Phase, Refresh};
use crate::dialect::Dialect;
use crate::im::content::{self, Said};
use crate::im::{first, sdp, typing};
use crate::policy::{InDialog, Party};
use crate::sip::dialog::{Dialog as SipDialog, Parts};
use crate::sip::field::{MediaType, NameAddr};
use crate::sip::header::Name;
use crate::sip::message::View;
use crate::sip::time::Now;
use crate::sip::uri::{Aor, Uri};

/// A session that is taken, before its 200 has gone.
#[derive(Debug)]
pub(in crate::engine) struct Accepted {
    session: SlotId,
    pub(in crate::engine) reply: Reply,
    /// What came inside the INVITE.
    first: Option<SlotId>,
    /// Sessions that this one replaces.
    before: Vec<SlotId>,
}

/// What may be sent in a session.
pub(super) const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, MESSAGE, INFO, UPDATE, OPTIONS";
/// The shortest session (RFC 4028 section 5).
const MIN_SE_S: u64 = 90;
/// Option tags in Require that are understood.
const UNDERSTOOD: [&[u8]; 1] = [b"timer"];

impl Engine {
    /// The session of our tag, if Call-ID fits, as its other side sees it.
    pub(in crate::engine) fn session_by_tag(&self, tag: &[u8], call_id: &[u8]) -> Option<(SlotId, InDialog)> {
        if self.talks.by_tag.is_empty() {
            return None;
        }
        let tag: [u8; 16] = tag.try_into().ok()?;
        let id = *self.talks.by_tag.get(&tag)?;
        let session = self.talks.sessions.get(id).filter(|s| *s.call_id == *call_id)?;
        let line = self.talks.lines.get(session.line)?;
        let dialog = InDialog {
            sender: line.remote.party,
            towards: Some(line.local.party),
        };
        Some((id, dialog))
    }

    /// Our tag in a session.
    pub(in crate::engine) fn session_tag(&self, id: SlotId) -> Option<[u8; 16]> {
        self.talks.sessions.get(id).map(|s| s.tag)
    }

    /// An INVITE with an offer of messages, for somebody who does not take such sessions.
    pub(super) fn on_session_invite(
        &mut self,
        now: Now,
        request: &Request<'_>,
        from: End,
        to: End,
        theirs: &Dialect,
        offer: &sdp::Session,
    ) {
        let view = request.view;
        let unknown: Vec<&[u8]> = view
            .items(Name::Require)
            .filter(|tag| !UNDERSTOOD.iter().any(|u| u.eq_ignore_ascii_case(tag)) && !theirs.sip.understands(tag))
            .collect();
        if !unknown.is_empty() {
            let unknown = unknown.join(&b", "[..]);
            let headers: [(&[u8], &[u8]); 1] = [(b"Unsupported", &unknown)];
            return self.answer(now, request, Answer::new(420, "Bad Extension").with(&headers));
        }
        let endpoints = view.named("EndPoints").flat_map(crate::sip::field::Items::new).count();
        let triggered = view.named("TriggeredInvite").any(|v| v.eq_ignore_ascii_case(b"true"));
        if endpoints > 2 || triggered {
            return self.decline(now, request, "only two take part in a session here");
        }
        if self.is_too_brief(now, request) {
            return;
        }
        if let Some(rule) = self.has_too_many_sessions(&from, &to) {
            return self.refuse(now, request, 486, "Too Many Sessions", &rule);
        }
        let line = self.line(&from, &to);
        self.settle_collision(now, line);
        let before = self.same_endpoint(line, &endpoint(view, Name::From));
        let origin = Origin::from(request.source);
        let id = self.new_session(now, line, Phase::Accepted, Some(origin), SmallVec::new());
        if !self.fill_session(now, id, request, offer) {
            self.drop_session(id);
            return self.answer(now, request, Answer::new(400, "Contact Cannot Be Read"));
        }
        let first = self.first_message(now, request, &from, &to, theirs);
        let Some(reply) = self.session_answer(request, id, offer, first.is_some()) else {
            return;
        };
        let accepted = Accepted {
            session: id,
            reply,
            first,
            before,
        };
        match first {
            // The 200 says that it was taken.
            Some(_) => self.promise(now, Promise::Accept(Box::new(accepted))),
            None => self.accepted(now, accepted),
        }
    }

    /// What is promised by it is durable: our 200 goes out, and what came in the INVITE goes on.
    pub(in crate::engine) fn accepted(&mut self, now: Now, accepted: Accepted) {
        self.accept_session(now, accepted.session, accepted.reply);
        for old in accepted.before {
            self.end_session(now, old);
        }
        if let Some(parcel) = accepted.first {
            self.dispatch_parcel(now, parcel);
        }
    }

    /// The store did not take it: there is no session, and its INVITE has been answered 500.
    pub(in crate::engine) fn not_accepted(&mut self, accepted: &Accepted) {
        self.drop_session(accepted.session);
    }

    /// Sessions with the same endpoint, which the new one replaces; and the oldest when there are too many.
    fn same_endpoint(&self, line: SlotId, endpoint: &[u8]) -> Vec<SlotId> {
        let Some(line) = self.talks.lines.get(line) else {
            return Vec::new();
        };
        let all = line
            .sessions
            .iter()
            .filter_map(|id| Some((*id, self.talks.sessions.get(*id)?)));
        let standing = all.filter(|(_, s)| matches!(s.phase, Phase::Open | Phase::Accepted));
        let mut replaced: Vec<SlotId> = Vec::new();
        let mut others: Vec<(u64, SlotId)> = Vec::new();
        for (id, session) in standing {
            if *session.endpoint == *endpoint {
                replaced.push(id);
            } else {
                others.push((session.spoke_ms, id));
            }
        }
        others.sort_unstable();
        let surplus = (others.len() + 1).saturating_sub(MOST_ENDPOINTS);
        replaced.extend(others.into_iter().take(surplus).map(|(_, id)| id));
        replaced
    }

    fn fill_session(&mut self, now: Now, id: SlotId, request: &Request<'_>, offer: &sdp::Session) -> bool {
        let (view, essentials) = (request.view, request.essentials);
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return false;
        };
        let (from, to) = (view.header(Name::From), view.header(Name::To));
        let ends = (to.and_then(without_tag), from.and_then(without_tag));
        let contact = view.items(Name::Contact).next().and_then(|c| NameAddr::parse(c).ok());
        let ((Some(local), Some(remote)), Some(contact)) = (ends, contact) else {
            return false;
        };
        let parts = Parts {
            call_id: essentials.call_id,
            local: &local,
            local_tag: &session.tag,
            remote: &remote,
            remote_tag: essentials.from.tag().unwrap_or_default(),
            target: contact.uri,
            routes: view.items(Name::RecordRoute).collect(),
        };
        session.call_id = essentials.call_id.into();
        session.dialog = SipDialog::new(&parts, 0, Some(essentials.cseq.number)).ok();
        session.endpoint = endpoint(view, Name::From);
        session.server = Some(request.server);
        session.accept.clone_from(&offer.accept);
        session.refresh = asked_refresh(now, view);
        session.dialog.is_some()
    }

    /// The 200, repeated until its ACK comes.
    fn accept_session(&mut self, now: Now, id: SlotId, reply: Reply) {
        self.layer.set_server_user(reply.server, id.pack(Owner::Session as u8));
        self.arm_idle(now, id);
        self.layer.respond_repeating(now, reply.server, 200, reply.wire);
    }

    fn session_answer(
        &mut self,
        request: &Request<'_>,
        id: SlotId,
        offer: &sdp::Session,
        first: bool,
    ) -> Option<Reply> {
        let session = self.talks.sessions.get(id)?;
        let line = self.talks.lines.get(session.line)?;
        let (tag, local, timer) = (session.tag, line.local.aor.to_uri(), session.refresh);
        let to = reply_destination(request.source, Some(request.essentials));
        let contact = self.own_uri(to, b"", false);
        let (host, types) = self.own_description(to);
        let body = sdp::answer(offer, &host, &local, types);
        let expires = timer.map(granted).unwrap_or_default();
        let supported: &[u8] = if first { b"timer, ms-text-format" } else { b"timer" };
        let mut headers: SmallVec<[(&[u8], &[u8]); 5]> = smallvec::smallvec![
            (&b"Contact"[..], &contact[..]),
            (&b"Allow"[..], ALLOW),
            (&b"Supported"[..], supported)
        ];
        if timer.is_some() {
            headers.push((b"Session-Expires", expires.as_bytes()));
        }
        if timer.is_some() && knows_timers(request.view) {
            headers.push((b"Require", b"timer"));
        }
        let answer = Answer {
            body: Some((b"application/sdp", body.as_bytes())),
            ..Answer::new(200, "OK").with(&headers).tag(&tag)
        };
        Some(self.reply_to(request, answer))
    }

    /// The message inside an INVITE, if the dialect takes it there and it can be read: then the 200 says so.
    fn first_message(
        &mut self,
        now: Now,
        request: &Request<'_>,
        from: &End,
        to: &End,
        theirs: &Dialect,
    ) -> Option<SlotId> {
        if !theirs.im.first_message || self.journal.is_broken() || !self.may_keep(from, to) {
            return None;
        }
        let found = request.view.named("ms-text-format").next().and_then(first::read)?;
        let said = match content::read(&found.media, &found.body) {
            Ok(Said::Text(text)) => Said::Text(text),
            _ => return None,
        };
        let parcel = Parcel {
            hops: request.view.max_forwards().unwrap_or(70).saturating_sub(1),
            id: self.parcel_id(now),
            ..Parcel::new(from.clone(), to.clone(), said, &found.media, Bytes::from(found.body))
        };
        let id = self.talks.parcels.insert(parcel);
        self.keep_first(id);
        Some(id)
    }

    /// An ACK for a 2xx of ours. It is matched by its dialog alone.
    pub(in crate::engine) fn on_session_ack(&mut self, now: Now, id: SlotId) {
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        let (server, line) = (session.server.take(), session.line);
        if session.phase == Phase::Accepted {
            session.phase = Phase::Open;
        }
        if let Some(server) = server {
            self.layer.acknowledged(server);
        }
        self.pump(now, line);
    }

    /// No ACK came for 64*T1: the dialog is ended (RFC 3261 section 13.3.1.4).
    pub(in crate::engine) fn on_session_unacknowledged(&mut self, now: Now, id: SlotId) {
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let line = session.line;
        self.end_session(now, id);
        self.pump(now, line);
    }

    /// A request in a session, which the decision has found to come from the other side.
    pub(in crate::engine) fn on_session_request(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let Some(line) = self.talks.lines.get(session.line) else {
            return;
        };
        let (remote, local) = (line.remote.clone(), line.local.clone());
        let from = Uri::parse(request.essentials.from.uri)
            .ok()
            .and_then(|uri| Aor::from_uri(&uri));
        let their_tag = session.dialog.as_ref().and_then(their_tag);
        // Whoever it is that shares the way: in this session only its own two speak.
        if from.as_ref() != Some(&remote.aor)
            || their_tag.as_deref() != Some(request.essentials.from.tag().unwrap_or_default())
        {
            return self.answer(now, request, Answer::new(481, phrase(481)));
        }
        let falls = self.dialect_of(&remote).sip.cseq_may_fall;
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        let in_order = session
            .dialog
            .as_mut()
            .is_some_and(|d| d.take_remote_cseq(request.essentials.cseq.number));
        if !in_order && !falls {
            return self.answer(now, request, Answer::new(500, "CSeq Out of Order"));
        }
        session.used_ms = now.mono_ms;
        if matches!(remote.party, Party::User(_)) {
            session.origin = Some(Origin::from(request.source));
        }
        match request.essentials.method.as_bytes() {
            b"MESSAGE" => self.on_session_message(now, request, id, remote, local),
            b"INFO" => self.on_session_info(now, request, remote, local),
            b"BYE" => self.on_session_bye(now, request, id),
            b"INVITE" | b"UPDATE" => self.on_session_refresh(now, request, id),
            b"OPTIONS" => self.answer(now, request, Answer::new(200, "OK").with(&[(b"Allow", ALLOW)])),
            _ => self.answer(now, request, Answer::new(405, phrase(405)).with(&[(b"Allow", ALLOW)])),
        }
    }

    fn on_session_message(&mut self, now: Now, request: &Request<'_>, id: SlotId, remote: End, local: End) {
        let is_typing = MediaType::parse(media_of(request).as_bytes()).is(typing::IS_COMPOSING);
        if let Some(session) = self.talks.sessions.get_mut(id) {
            if !is_typing {
                session.spoke_ms = now.mono_ms;
            }
            // Whoever speaks has had our 2xx, though its ACK be lost.
            if session.phase == Phase::Accepted {
                self.on_session_ack(now, id);
            }
        }
        self.take_message(now, request, remote, local);
    }

    /// Typing never fails a session; anything else in an INFO is not known here.
    fn on_session_info(&mut self, now: Now, request: &Request<'_>, remote: End, local: End) {
        let media = media_of(request);
        let kind = MediaType::parse(media.as_bytes());
        if !kind.is(typing::KEYBOARD) && !kind.is(typing::IS_COMPOSING) && !request.view.body().is_empty() {
            let headers: [(&[u8], &[u8]); 1] = [(b"Accept", TAKEN.as_bytes())];
            return self.answer(now, request, Answer::new(415, phrase(415)).with(&headers));
        }
        self.answer(now, request, Answer::new(200, "OK"));
        if let Some(signal) = typing::read(request.view.body()) {
            self.show_typing(now, remote, local, signal);
        }
    }

    fn on_session_bye(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        self.answer(now, request, Answer::new(200, "OK"));
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let (line, server) = (session.line, session.server);
        if let Some(server) = server {
            self.layer.acknowledged(server);
        }
        self.drop_session(id);
        self.pump(now, line);
    }

    /// Whether a session is asked for that would need a refresh all the time (RFC 4028 section 9): then it is answered.
    fn is_too_brief(&mut self, now: Now, request: &Request<'_>) -> bool {
        let brief = session_expires(request.view).is_some_and(|(seconds, _)| seconds < MIN_SE_S);
        if brief {
            let headers: [(&[u8], &[u8]); 1] = [(b"Min-SE", b"90")];
            let answer = Answer::new(422, "Session Interval Too Small").with(&headers);
            self.answer(now, request, answer);
        }
        brief
    }

    /// A re-INVITE or UPDATE: nothing changes but the remote target and the time the session may last.
    fn on_session_refresh(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let view = request.view;
        let offer = sdp::read(view.body());
        let invite = request.essentials.method.as_bytes() == b"INVITE";
        if !view.body().is_empty() && !matches!(offer, Some(sdp::Offer::Messages(_))) {
            return self.decline(now, request, "this session is for messages");
        }
        if self.is_too_brief(now, request) {
            return;
        }
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        if let Some(contact) = view.items(Name::Contact).next().and_then(|c| NameAddr::parse(c).ok())
            && let Some(dialog) = &mut session.dialog
        {
            dialog.retarget(contact.uri);
        }
        session.refresh = asked_refresh(now, view);
        if invite {
            session.server = Some(request.server);
        }
        self.arm_idle(now, id);
        let offer = match offer {
            Some(sdp::Offer::Messages(offer)) => offer,
            _ if invite => self.own_offer(id),
            _ => return self.confirm_refresh(now, request, id),
        };
        if invite {
            if let Some(reply) = self.session_answer(request, id, &offer, false) {
                self.accept_session(now, id, reply);
            }
        } else {
            self.confirm_refresh(now, request, id);
        }
    }

    /// What is offered in the 200 of an INVITE that offers nothing.
    fn own_offer(&self, id: SlotId) -> sdp::Session {
        let line = self.talks.sessions.get(id).and_then(|s| self.talks.lines.get(s.line));
        let media = line.map(|l| self.dialect_of(&l.remote).im.media).unwrap_or_default();
        sdp::Session {
            media,
            accept: Vec::new(),
            lines: vec!["message 5060 sip null".into()],
            at: 0,
        }
    }

    fn confirm_refresh(&mut self, now: Now, request: &Request<'_>, id: SlotId) {
        let timer = self.talks.sessions.get(id).and_then(|s| s.refresh);
        let to = reply_destination(request.source, Some(request.essentials));
        let contact = self.own_uri(to, b"", false);
        let expires = timer.map(granted).unwrap_or_default();
        let headers: [(&[u8], &[u8]); 3] = [
            (b"Contact", &contact),
            (b"Session-Expires", expires.as_bytes()),
            (b"Require", b"timer"),
        ];
        let used = 1 + usize::from(timer.is_some()) + usize::from(timer.is_some() && knows_timers(request.view));
        self.answer(now, request, Answer::new(200, "OK").with(&headers[..used]));
    }
}

/// Whether the sender of a request knows session timers (RFC 4028).
fn knows_timers(view: &View<'_>) -> bool {
    let supported = || view.items(Name::Supported);
    supported().any(|tag| tag.eq_ignore_ascii_case(b"timer"))
}

/// The timer that a request asks for. Who refreshes says the request; who does not know timers does not.
fn asked_refresh(now: Now, view: &View<'_>) -> Option<Refresh> {
    let (seconds, theirs) = session_expires(view)?;
    let ours = theirs.map_or(!knows_timers(view), |theirs| !theirs);
    refresh(now, seconds, ours)
}

/// The value of `Session-Expires` in an answer of ours.
fn granted(timer: Refresh) -> String {
    let who = if timer.ours { "uas" } else { "uac" };
    format!("{};refresher={who}", timer.interval_ms / 1000)
}

/// The other side's tag; empty for one that gives none.
fn their_tag(dialog: &SipDialog) -> Option<Vec<u8>> {
    let mut lines = dialog.identity_lines().split(|b| *b == b'\n');
    let to = lines.find_map(|line| line.strip_prefix(b"To: "))?;
    let to = NameAddr::parse(to.trim_ascii_end()).ok()?;
    Some(to.tag().unwrap_or_default().to_vec())
}
