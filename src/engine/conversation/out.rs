//! Sessions that the bridge opens, and what it sends in any: INVITE, ACK, MESSAGE, INFO, BYE.

use bytes::Bytes;
use smallvec::SmallVec;

use super::super::forward::{Owner, is_reliable};
use super::super::reach::Origin;
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::{End, Engine, Line, MOST_OF_ONE_USER, Phase, Session};
use crate::im::sdp;
use crate::im::session::Outbox;
use crate::policy::{Party, RuleRef};
use crate::sip::dialog::Dialog;
use crate::sip::net::Destination;
use crate::sip::time::Now;
use crate::sip::transaction::ClientId;
use crate::sip::uri::Aor;
use crate::sip::write;

/// Max-Forwards of what begins here.
pub(super) const HOPS: u32 = 70;

impl Engine {
    /// The line from `local` to `remote`.
    pub(super) fn line(&mut self, remote: &End, local: &End) -> SlotId {
        let key = (remote.aor.clone(), local.aor.clone());
        if let Some(id) = self.talks.by_pair.get(&key) {
            return *id;
        }
        let id = self.talks.lines.insert(Line {
            remote: remote.clone(),
            local: local.clone(),
            sessions: SmallVec::new(),
            outbox: Outbox::default(),
            again_ms: None,
            collided: false,
            waiting: false,
        });
        self.talks.by_pair.insert(key, id);
        id
    }

    /// Destinations of a request for somebody at a peer that is up, in the order to try.
    pub(super) fn ways_to(&mut self, aor: &Aor) -> SmallVec<[Destination; 2]> {
        let Some(set) = self.snapshot.routes.domain(aor.domain().as_bytes()) else {
            return SmallVec::new();
        };
        let all = self.route_hops(set, Some(aor.domain()));
        all.into_iter()
            .filter(|(p, _)| !self.peers.is_down(*p))
            .map(|(_, to)| to)
            .collect()
    }

    /// Sends the next message of a line: in the session that spoke last, in a new one if there is none.
    pub(super) fn pump(&mut self, now: Now, line: SlotId) {
        let Some(entry) = self.talks.lines.get(line) else {
            return;
        };
        if entry.outbox.is_empty() {
            return self.forget_if_unused(line);
        }
        if entry.waiting || entry.outbox.is_sending() || entry.again_ms.is_some_and(|at| at > now.mono_ms) {
            return;
        }
        let peer = entry.remote.peer();
        let sessions = entry
            .sessions
            .iter()
            .filter_map(|id| Some((*id, self.talks.sessions.get(*id)?)));
        let open = sessions
            .clone()
            .filter(|(_, s)| s.phase == Phase::Open)
            .max_by_key(|(_, s)| s.spoke_ms);
        let open = open.map(|(id, _)| id);
        let soon = sessions
            .clone()
            .any(|(_, s)| matches!(s.phase, Phase::Inviting | Phase::Accepted));
        if open.is_none() && soon {
            return;
        }
        if peer.is_some_and(|peer| self.contract_holds_talk(now, peer, line)) {
            if let Some(entry) = self.talks.lines.get_mut(line) {
                entry.waiting = true;
            }
            return;
        }
        match open {
            Some(session) => self.send_next(now, line, session),
            None => self.open_session(now, line, 0),
        }
    }

    /// The turn of a line that a contract has let wait.
    pub(in crate::engine) fn line_goes(&mut self, now: Now, line: SlotId) {
        if let Some(entry) = self.talks.lines.get_mut(line) {
            entry.waiting = false;
            self.pump(now, line);
        }
    }

    /// What goes in a line without asking its contract counts all the same.
    pub(super) fn counts_in(&mut self, now: Now, line: SlotId) {
        let peer = self.talks.lines.get(line).and_then(|l| l.remote.peer());
        if let Some(peer) = peer {
            self.contract_counts(now, peer);
        }
    }

    fn send_next(&mut self, now: Now, line: SlotId, session: SlotId) {
        let Some(id) = self.talks.lines.get_mut(line).and_then(|l| l.outbox.send()) else {
            return;
        };
        let (Some(parcel), Some(entry)) = (self.talks.parcels.get(id), self.talks.sessions.get(session)) else {
            return;
        };
        let (im, hops) = (self.dialect_of(&parcel.to).im.clone(), parcel.hops);
        let (media, body) = parcel.shown(&im, &entry.accept, now.wall_ms);
        let user = id.pack(Owner::Parcel as u8);
        let client = self.in_session(now, session, b"MESSAGE", user, hops, Some((media.as_bytes(), &body)));
        if let Some(parcel) = self.talks.parcels.get_mut(id) {
            (parcel.client, parcel.session) = (client, Some(session));
        }
        if let Some(entry) = self.talks.sessions.get_mut(session) {
            entry.used_ms = now.mono_ms;
        }
        if client.is_none() {
            self.on_session_answer(now, id, 481);
        }
    }

    /// A line that holds neither sessions nor messages goes.
    pub(super) fn forget_if_unused(&mut self, line: SlotId) {
        let unused = self
            .talks
            .lines
            .get(line)
            .is_some_and(|l| l.outbox.is_empty() && l.sessions.is_empty());
        if unused && let Some(line) = self.talks.lines.remove(line) {
            self.talks.by_pair.remove(&(line.remote.aor, line.local.aor));
        }
    }

    /// The rule by which one more session with this end would be too many.
    pub(super) fn has_too_many_sessions(&self, remote: &End, local: &End) -> Option<RuleRef> {
        let snapshot = &self.snapshot;
        let user = matches!(remote.party, Party::User(_)) || matches!(local.party, Party::User(_));
        if self.talks.sessions.len() >= snapshot.messages.max_sessions as usize
            || (user && self.sessions_by_user(remote.party, local.party) >= MOST_OF_ONE_USER)
        {
            return Some(snapshot.rules.sessions.clone());
        }
        let Party::Peer(peer) = remote.party else { return None };
        let peer = snapshot.peer(peer)?;
        let full = self.sessions_with(remote.party) >= peer.limits.sessions? as usize;
        full.then(|| peer.limits_rule.clone())
    }

    /// How many sessions there are with a party.
    pub(in crate::engine) fn sessions_with(&self, party: Party) -> usize {
        let lines = self.talks.lines.iter().filter(|(_, l)| l.remote.party == party);
        lines.map(|(_, l)| l.sessions.len()).sum()
    }

    /// Sessions that a user has opened, or the bridge for a user: what others open with somebody does not count.
    fn sessions_by_user(&self, remote: Party, local: Party) -> usize {
        let sessions = self.talks.sessions.iter();
        let by_user = sessions.filter(|(_, session)| {
            let line = self.talks.lines.get(session.line);
            line.is_some_and(|line| match session.client {
                Some(_) => line.local.party == local && matches!(local, Party::User(_)),
                None => line.remote.party == remote && matches!(remote, Party::User(_)),
            })
        });
        by_user.count()
    }

    /// Opens a session: with a peer, or with the client of a user here that stands at `contact` in their order.
    pub(super) fn open_session(&mut self, now: Now, line: SlotId, contact: usize) {
        let Some(entry) = self.talks.lines.get(line) else {
            return;
        };
        let (remote, local) = (entry.remote.clone(), entry.local.clone());
        if let Some(rule) = self.has_too_many_sessions(&remote, &local) {
            return self.fail_waiting(now, line, 480, &format!("too many sessions, by {}", rule.id));
        }
        let (uri, path, origin, mut ways) = if self.is_local(&remote.aor) {
            let Some(hop) = self.contact_hops(&remote.aor).into_iter().nth(contact) else {
                return self.fail_waiting(now, line, 480, "not registered");
            };
            // In the order of the hops.
            let mut bindings: Vec<_> = self.registrar.bindings(&remote.aor).iter().collect();
            bindings.sort_by_key(|b| core::cmp::Reverse(b.q));
            let origin = bindings.get(contact).map(|b| b.origin);
            (hop.uri, hop.path, origin, hop.destinations)
        } else {
            (None, None, None, self.ways_to(&remote.aor))
        };
        if ways.is_empty() {
            return self.wait_for_way(now, line);
        }
        let to = ways.remove(0);
        let session = self.new_session(now, line, Phase::Inviting, origin, ways);
        if let Some(session) = self.talks.sessions.get_mut(session) {
            session.contact = contact;
        }
        let sent = self.send_invite(now, session, to, uri.as_deref(), path.as_deref());
        if !sent {
            self.drop_session(session);
            self.fail_waiting(now, line, 500, "the session cannot be opened");
        }
    }

    pub(super) fn new_session(
        &mut self,
        now: Now,
        line: SlotId,
        phase: Phase,
        origin: Option<Origin>,
        spare: SmallVec<[Destination; 2]>,
    ) -> SlotId {
        let tag = self.random.token::<16>();
        let random = self.random.token::<20>();
        let call_id = [&random[..], b"@", self.host().as_bytes()].concat().into();
        let id = self.talks.sessions.insert(Session {
            line,
            phase,
            tag,
            call_id,
            dialog: None,
            origin,
            endpoint: Box::default(),
            contact: 0,
            client: None,
            server: None,
            invite_cseq: 1,
            spare,
            accept: Vec::new(),
            spoke_ms: now.mono_ms,
            used_ms: now.mono_ms,
            refresh: None,
        });
        self.talks.by_tag.insert(tag, id);
        if let Some(line) = self.talks.lines.get_mut(line) {
            line.sessions.push(id);
        }
        self.arm_idle(now, id);
        id
    }

    /// Media types for `accept-types` and the address for a description.
    pub(super) fn own_description(&self, to: Destination) -> (String, &'static str) {
        let (_, host) = self.advertised(to);
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => host,
        };
        (
            host.to_owned(),
            "text/plain text/html text/rtf message/cpim application/im-iscomposing+xml",
        )
    }

    fn send_invite(&mut self, now: Now, id: SlotId, to: Destination, uri: Option<&[u8]>, path: Option<&[u8]>) -> bool {
        let Some(session) = self.talks.sessions.get(id) else {
            return false;
        };
        let (tag, call_id, line) = (session.tag, session.call_id.clone(), session.line);
        let Some(line) = self.talks.lines.get(line) else {
            return false;
        };
        let (local, remote) = (line.local.aor.to_uri(), line.remote.aor.to_uri());
        let media = self.dialect_of(&line.remote).im.media;
        let (host, types) = self.own_description(to);
        let body = sdp::offer(media, &host, types);
        let (client, branch) = self.layer.reserve(true, id.pack(Owner::Session as u8));
        let (via, contact) = (self.via_value(to, branch.as_bytes()), self.own_uri(to, b"", false));
        let mut buffer = self.buffers.take();
        let mut request =
            write::Request::start(&mut buffer, b"INVITE", uri.unwrap_or(remote.as_bytes())).header(b"Via", &via);
        if let Some(path) = path {
            request = request.header(b"Route", path);
        }
        request
            .parts(b"From", &[b"<", local.as_bytes(), b">;tag=", &tag])
            .parts(b"To", &[b"<", remote.as_bytes(), b">"])
            .header(b"Call-ID", &call_id)
            .header(b"CSeq", b"1 INVITE")
            .header(b"Max-Forwards", b"70")
            .header(b"Contact", &contact)
            .header(b"Allow", super::incoming::ALLOW)
            .header(b"Supported", b"timer")
            .body(Some((b"application/sdp", body.as_bytes())));
        let wire = self.buffers.finish(buffer);
        if let Some(session) = self.talks.sessions.get_mut(id) {
            session.client = Some(client);
        }
        self.layer.send(now, client, to, wire, is_reliable(to));
        true
    }

    /// The next address of the other side, when one could not be reached.
    pub(super) fn invite_elsewhere(&mut self, now: Now, id: SlotId) -> bool {
        let Some(session) = self.talks.sessions.get_mut(id).filter(|s| s.phase == Phase::Inviting) else {
            return false;
        };
        if session.spare.is_empty() {
            return false;
        }
        let (to, line) = (session.spare.remove(0), session.line);
        self.counts_in(now, line);
        self.send_invite(now, id, to, None, None)
    }

    /// Where a request in a session goes.
    pub(super) fn way_in_session(&self, session: &Session, uri: &[u8]) -> Option<Destination> {
        let line = self.talks.lines.get(session.line)?;
        match (line.remote.party, &session.origin) {
            (Party::Peer(peer), _) if !self.is_local(&line.remote.aor) => self.peer_in_dialog(peer, uri),
            (_, Some(origin)) => Some(self.client_destination(origin, uri)),
            (Party::Peer(peer), None) => self.peer_in_dialog(peer, uri),
            (Party::User(_), None) => None,
        }
    }

    /// Sends a request in a session; `None` when it has no way.
    pub(super) fn in_session(
        &mut self,
        now: Now,
        id: SlotId,
        method: &[u8],
        user: u64,
        hops: u32,
        body: Option<(&[u8], &[u8])>,
    ) -> Option<ClientId> {
        let session = self.talks.sessions.get(id)?;
        let to = self.way_in_session(session, session.dialog.as_ref()?.next_uri())?;
        let refresh = session
            .refresh
            .filter(|_| method == b"UPDATE")
            .map(|r| r.interval_ms / 1000);
        let (client, branch) = self.layer.reserve(false, user);
        let (via, contact) = (self.via_value(to, branch.as_bytes()), self.own_uri(to, b"", false));
        let mut buffer = self.buffers.take();
        let dialog = self.talks.sessions.get_mut(id)?.dialog.as_mut()?;
        let cseq = dialog.next_cseq();
        let mut request = write::Request::start(&mut buffer, method, dialog.request_uri())
            .header(b"Via", &via)
            .lines(dialog.lines())
            .number(b"CSeq", u64::from(cseq), &[b" ", method].concat())
            .number(b"Max-Forwards", u64::from(hops), b"");
        if let Some(seconds) = refresh {
            request = request
                .header(b"Contact", &contact)
                .header(b"Supported", b"timer")
                .number(b"Session-Expires", seconds, b";refresher=uac");
        }
        request.body(body);
        let wire = self.buffers.finish(buffer);
        self.layer.send(now, client, to, wire, is_reliable(to));
        Some(client)
    }

    /// The ACK for a 2xx to our INVITE.
    pub(super) fn acknowledge(&mut self, dialog: &Dialog, to: Destination, cseq: u32) {
        let random = self.random.token::<16>();
        let via = self.via_value(to, &[&b"z9hG4bKack"[..], &random].concat());
        let mut buffer = self.buffers.take();
        write::Request::start(&mut buffer, b"ACK", dialog.request_uri())
            .header(b"Via", &via)
            .lines(dialog.lines())
            .number(b"CSeq", u64::from(cseq), b" ACK")
            .header(b"Max-Forwards", b"70")
            .body(None);
        let wire: Bytes = self.buffers.finish(buffer);
        self.send_raw(to, wire);
    }

    /// Ends a session: BYE if it stands, CANCEL if it does not yet.
    pub(super) fn end_session(&mut self, now: Now, id: SlotId) {
        let Some(session) = self.talks.sessions.get_mut(id) else {
            return;
        };
        match (session.phase, session.client) {
            (Phase::Inviting, Some(client)) => {
                session.phase = Phase::Closing;
                self.send_cancel(now, client);
            }
            (Phase::Closing, _) => {}
            _ => {
                let line = session.line;
                self.counts_in(now, line);
                self.in_session(now, id, b"BYE", id.pack(Owner::Aside as u8), HOPS, None);
                self.drop_session(id);
            }
        }
    }

    /// Forgets a session. What is on its way in it goes on being waited for.
    pub(super) fn drop_session(&mut self, id: SlotId) {
        let Some(session) = self.talks.sessions.remove(id) else {
            return;
        };
        self.talks.by_tag.remove(&session.tag);
        if let Some(line) = self.talks.lines.get_mut(session.line) {
            line.sessions.retain(|s| *s != id);
        }
        self.forget_if_unused(session.line);
    }

    pub(super) fn arm_idle(&mut self, now: Now, id: SlotId) {
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let idle_ms = self.idle_ms(session);
        let due = session
            .refresh
            .map_or(u64::MAX, |r| r.due_ms)
            .min(session.used_ms + idle_ms);
        self.wheel.arm(due.max(now.mono_ms + 1), Kind::Session, id);
    }

    fn idle_ms(&self, session: &Session) -> u64 {
        let line = self.talks.lines.get(session.line);
        let idle_s = line.map_or(600, |l| self.dialect_of(&l.remote).im.idle_s);
        u64::from(idle_s.max(1)) * 1000
    }

    /// Nothing was said for too long, or it is time for a refresh.
    pub(in crate::engine) fn on_session_timer(&mut self, now: Now, id: SlotId) {
        let Some(session) = self.talks.sessions.get(id) else {
            return;
        };
        let idle = session.used_ms + self.idle_ms(session) <= now.mono_ms;
        let refresh = session.refresh.filter(|r| r.due_ms <= now.mono_ms);
        let (open, line) = (session.phase == Phase::Open, session.line);
        match refresh {
            _ if idle && open => return self.end_session(now, id),
            Some(refresh) if refresh.ours && open => {
                let user = id.pack(Owner::Aside as u8);
                if let Some(entry) = self.talks.sessions.get_mut(id).and_then(|s| s.refresh.as_mut()) {
                    entry.due_ms = now.mono_ms + refresh.interval_ms / 2;
                }
                self.counts_in(now, line);
                let client = self.in_session(now, id, b"UPDATE", user, HOPS, None);
                if let Some(entry) = self.talks.sessions.get_mut(id).and_then(|s| s.refresh.as_mut()) {
                    entry.client = client;
                }
            }
            Some(_) if open => return self.end_session(now, id),
            _ if idle => return self.wheel.arm(now.mono_ms + 60_000, Kind::Session, id),
            _ => {}
        }
        self.arm_idle(now, id);
    }
}
