//! What comes back: answers to our INVITEs and to what was sent in sessions.

use super::super::forward::{Owner, is_reliable};
use super::super::messages::is_refusal;
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::way::wrong_mode;
use super::{Engine, Phase, Refresh, Session};
use crate::dialect::ImMode;
use crate::im::sdp::{self, Offer};
use crate::im::session::ours_stands;
use crate::sip::dialog::{Dialog, Parts};
use crate::sip::field::{NameAddr, Params};
use crate::sip::header::Name;
use crate::sip::message::View;
use crate::sip::net::Destination;
use crate::sip::time::Now;
use crate::sip::transaction::ClientId;
use crate::sip::write;

/// An INVITE that collided is sent again after this, if the other side has not come meanwhile.
const AGAIN_MS: u64 = 2_500;

/// An address without its tag, with what else belongs to the dialog.
pub(super) fn without_tag(value: &[u8]) -> Option<Vec<u8>> {
    let address = NameAddr::parse(value).ok()?;
    let mut out = [b"<", address.uri, b">"].concat();
    for (name, parameter) in address.params.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(b"tag")) {
        out.extend_from_slice(b";");
        out.extend_from_slice(name);
        if let Some(parameter) = parameter {
            out.extend_from_slice(b"=");
            out.extend_from_slice(parameter);
        }
    }
    Some(out)
}

/// `Session-Expires`: seconds and who refreshes.
pub(super) fn session_expires(view: &View<'_>) -> Option<(u64, Option<bool>)> {
    let value = view
        .named("Session-Expires")
        .next()
        .or_else(|| view.named("x").next())?;
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let seconds = core::str::from_utf8(&value[..end]).ok()?.trim().parse().ok()?;
    let refresher = Params::new(&value[end..])
        .get(b"refresher")
        .map(|r| r.eq_ignore_ascii_case(b"uac"));
    Some((seconds, refresher))
}

impl Engine {
    /// A response to an INVITE of ours.
    pub(in crate::engine) fn on_session_response(
        &mut self,
        now: Now,
        id: SlotId,
        client: ClientId,
        view: &View<'_>,
        status: u16,
    ) {
        let Some(session) = self.talks.sessions.get(id).filter(|s| s.client == Some(client)) else {
            return;
        };
        let (line, phase, contact) = (session.line, session.phase, session.contact);
        match status {
            ..200 if phase == Phase::Closing => self.send_cancel(now, client),
            ..200 => {}
            200..300 => self.on_session_accepted(now, id, view),
            _ => {
                self.drop_session(id);
                if phase == Phase::Closing {
                    return self.pump(now, line);
                }
                if !is_refusal(status) && self.invite_next_client(now, line, contact) {
                    return;
                }
                self.on_session_refused(now, line, status);
            }
        }
    }

    fn dialog_of_answer(session: &Session, view: &View<'_>) -> Option<Dialog> {
        let (from, to) = (view.header(Name::From)?, view.header(Name::To)?);
        let (local, remote) = (without_tag(from)?, without_tag(to)?);
        let contact = view.items(Name::Contact).next().and_then(|c| NameAddr::parse(c).ok());
        let remote_address = NameAddr::parse(to).ok()?;
        let mut routes: Vec<&[u8]> = view.items(Name::RecordRoute).collect();
        routes.reverse();
        let parts = Parts {
            call_id: &session.call_id,
            local: &local,
            local_tag: &session.tag,
            remote: &remote,
            remote_tag: remote_address.tag().unwrap_or_default(),
            target: contact.map_or(remote_address.uri, |c| c.uri),
            routes,
        };
        Dialog::new(&parts, 1, None).ok()
    }

    fn on_session_accepted(&mut self, now: Now, id: SlotId, view: &View<'_>) {
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let Some(dialog) = Self::dialog_of_answer(session, view) else {
            return;
        };
        let Some(to) = self.way_in_session(session, dialog.next_uri()) else {
            return;
        };
        let cseq = session.invite_cseq;
        self.acknowledge(&dialog, to, cseq);
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        let (closing, line) = (session.phase == Phase::Closing, session.line);
        if let Some(held) = &session.dialog {
            // The same 2xx again: its ACK was lost. Of a fork only the first dialog is held.
            if held.identity_lines() != dialog.identity_lines() {
                self.counts_in(now, line);
                self.end_fork(now, dialog, to);
            }
            return;
        }
        session.endpoint = endpoint(view, Name::To);
        session.dialog = Some(dialog);
        session.phase = Phase::Open;
        session.used_ms = now.mono_ms;
        if let Some(Offer::Messages(answer)) = sdp::read(view.body()) {
            session.accept = answer.accept;
        }
        if let Some((seconds, uac)) = session_expires(view) {
            session.refresh = refresh(now, seconds, uac == Some(true));
        }
        if closing {
            self.end_session(now, id);
        } else {
            self.arm_idle(now, id);
            self.learn_session(now, line);
        }
        self.pump(now, line);
    }

    fn end_fork(&mut self, now: Now, dialog: Dialog, to: Destination) {
        let (client, branch) = self.layer.reserve(false, SlotId::default().pack(Owner::Aside as u8));
        let via = self.via_value(to, branch.as_bytes());
        let mut buffer = self.buffers.take();
        write::Request::start(&mut buffer, b"BYE", dialog.request_uri())
            .header(b"Via", &via)
            .lines(dialog.lines())
            .header(b"CSeq", b"2 BYE")
            .header(b"Max-Forwards", b"70")
            .body(None);
        let wire = self.buffers.finish(buffer);
        self.layer.send(now, client, to, wire, is_reliable(to));
    }

    /// A domain that refused messages by themselves takes sessions.
    fn learn_session(&mut self, now: Now, line: SlotId) {
        let Some(line) = self.talks.lines.get(line) else { return };
        let fell_back = self.talks.parcels.iter().any(|(_, p)| {
            p.to.aor == line.remote.aor && p.from.aor == line.local.aor && p.fell_back == Some(ImMode::Session)
        });
        let remote = line.remote.clone();
        if fell_back {
            self.learn(now, &remote, ImMode::Session);
        }
    }

    /// An INVITE was refused: by a collision, for its mode, or for good.
    fn on_session_refused(&mut self, now: Now, line: SlotId, status: u16) {
        let Some(entry) = self.talks.lines.get_mut(line) else {
            return;
        };
        let remote = entry.remote.clone();
        if status == 491 && !entry.collided {
            entry.collided = true;
            entry.again_ms = Some(now.mono_ms + AGAIN_MS);
            return self.wheel.arm(now.mono_ms + AGAIN_MS, Kind::Collision, line);
        }
        if !(wrong_mode(status) && self.dialect_of(&remote).im.fallback) {
            return self.fail_waiting(now, line, status, "the session was refused");
        }
        for id in self.take_waiting(line) {
            let Some(parcel) = self.talks.parcels.get_mut(id) else {
                continue;
            };
            if parcel.fell_back.is_some() {
                self.conclude_parcel(now, id, status, "the session was refused");
                continue;
            }
            parcel.fell_back = Some(ImMode::Pager);
            self.dispatch_parcel(now, id);
        }
        self.forget_if_unused(line);
    }

    /// Messages that have not left go from a line.
    fn take_waiting(&mut self, line: SlotId) -> Vec<SlotId> {
        let waiting = self
            .talks
            .lines
            .get_mut(line)
            .map(|l| l.outbox.take_waiting())
            .unwrap_or_default();
        for id in &waiting {
            if let Some(parcel) = self.talks.parcels.get_mut(*id) {
                parcel.line = None;
            }
        }
        waiting
    }

    /// No session can be had: everybody who waits for one hears of it.
    pub(super) fn fail_waiting(&mut self, now: Now, line: SlotId, status: u16, why: &str) {
        for id in self.take_waiting(line) {
            self.give_up(now, id, status, why);
        }
        self.forget_if_unused(line);
    }

    /// Nothing leads to the other side now.
    pub(super) fn wait_for_way(&mut self, now: Now, line: SlotId) {
        for id in self.take_waiting(line) {
            self.unreachable(now, id, "the other side cannot be reached");
        }
        self.forget_if_unused(line);
    }

    /// Nobody answered our INVITE, or it could not be sent.
    pub(in crate::engine) fn on_session_failure(&mut self, now: Now, id: SlotId, client: ClientId) {
        let Some(session) = self.talks.sessions.get(id).filter(|s| s.client == Some(client)) else {
            return;
        };
        let (line, phase, contact) = (session.line, session.phase, session.contact);
        if self.invite_elsewhere(now, id) {
            return;
        }
        if phase == Phase::Open {
            return;
        }
        self.drop_session(id);
        match phase {
            Phase::Closing => self.pump(now, line),
            _ if self.invite_next_client(now, line, contact) => {}
            _ => self.fail_waiting(now, line, 504, "the session was not answered"),
        }
    }

    /// What a refresh of ours was answered: the session goes on, or it ends, and the next text opens another.
    pub(in crate::engine) fn on_refresh_response(&mut self, now: Now, id: SlotId, client: ClientId, view: &View<'_>) {
        let status = view.status().unwrap_or(0);
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        let Some(held) = session.refresh.as_mut().filter(|r| r.client == Some(client)) else {
            return;
        };
        match status {
            ..200 => return,
            200..300 => {
                // Without the header the other side does not want a timer (RFC 4028 section 7.2).
                session.refresh =
                    session_expires(view).and_then(|(seconds, uac)| refresh(now, seconds, uac.unwrap_or(true)));
                return self.arm_idle(now, id);
            }
            491 | 500 | 503 => {
                held.client = None;
                held.due_ms = now.mono_ms + held.interval_ms / 8;
                return self.arm_idle(now, id);
            }
            _ => {}
        }
        let line = session.line;
        match status {
            408 | 481 => self.drop_session(id),
            _ => self.end_session(now, id),
        }
        self.pump(now, line);
    }

    /// Nobody answered a refresh of ours.
    pub(in crate::engine) fn on_refresh_failure(&mut self, now: Now, id: SlotId, client: ClientId) {
        let held = self.talks.sessions.get(id).and_then(|s| Some((s.line, s.refresh?)));
        if let Some((line, refresh)) = held
            && refresh.client == Some(client)
        {
            self.end_session(now, id);
            self.pump(now, line);
        }
    }

    /// The answer to a message in a session.
    pub(super) fn on_session_answer(&mut self, now: Now, id: SlotId, status: u16) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        parcel.client = None;
        let (line, session) = (parcel.line, parcel.session.take());
        if !matches!(status, 408 | 480 | 481) {
            return self.conclude_parcel(now, id, status, "refused by the other side");
        }
        let again = !core::mem::replace(&mut parcel.resent, true);
        if let Some(session) = session {
            self.drop_session(session);
        }
        match line.filter(|_| again) {
            Some(line) => {
                if let Some(entry) = self.talks.lines.get_mut(line) {
                    entry.outbox.again();
                }
                self.pump(now, line);
            }
            None => self.give_up(now, id, status, "the session has ended"),
        }
    }

    /// The time to send a collided INVITE again has come.
    pub(in crate::engine) fn on_collision_timer(&mut self, now: Now, line: SlotId) {
        if let Some(entry) = self.talks.lines.get_mut(line) {
            entry.again_ms = None;
        }
        self.pump(now, line);
    }

    /// An INVITE of theirs has met one of ours: one of the two stands, the messages of the other go over it.
    pub(super) fn settle_collision(&mut self, now: Now, line: SlotId) {
        let Some(entry) = self.talks.lines.get(line) else {
            return;
        };
        let inviting = |id: &&SlotId| {
            self.talks
                .sessions
                .get(**id)
                .is_some_and(|s| s.phase == Phase::Inviting)
        };
        let ours = entry.sessions.iter().find(inviting).copied();
        let (local, remote) = (entry.local.aor.to_string(), entry.remote.aor.to_string());
        if let Some(ours) = ours
            && !ours_stands(&local, &remote)
        {
            self.end_session(now, ours);
        }
    }
}

/// What tells an endpoint from others of the same address: `epid`, else its Contact.
pub(super) fn endpoint(view: &View<'_>, theirs: Name) -> Box<[u8]> {
    let address = view.header(theirs).and_then(|v| NameAddr::parse(v).ok());
    let epid = address.and_then(|a| a.params.get(b"epid")).filter(|e| !e.is_empty());
    let contact = || {
        view.items(Name::Contact)
            .next()
            .and_then(|c| NameAddr::parse(c).ok())
            .map(|a| a.uri)
    };
    epid.or_else(contact).unwrap_or_default().into()
}

/// When a session of so many seconds is to be refreshed, or ends. An hour at most is waited for.
pub(super) fn refresh(now: Now, seconds: u64, ours: bool) -> Option<Refresh> {
    let interval_ms = seconds.clamp(90, 86_400) * 1000;
    let left = if ours {
        interval_ms / 2
    } else {
        interval_ms - (interval_ms / 3).min(32_000)
    };
    (seconds > 0).then_some(Refresh {
        interval_ms,
        due_ms: now.mono_ms + left,
        ours,
        client: None,
    })
}
