//! A message from its acceptance to its end: who is told what, and when.

use bytes::Bytes;
use smallvec::SmallVec;

use super::super::forward::{Owner, is_reliable};
use super::super::messages::is_refusal;
use super::super::reply::Request;
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::way::wrong_mode;
use super::{ANSWER_MS, End, Engine, Leg, MOST_WAITING, Parcel, Waiting};
use crate::dialect::{Im, ImMode};
use crate::im::content::{Ends, Said, Text};
use crate::im::{cpim, imdn};
use crate::sip::message::Framing;
use crate::sip::time::Now;
use crate::sip::transaction::ClientId;
use crate::sip::write;

/// What is kept and cannot be sent now is tried again after this, so many times.
const RETRY_MS: u64 = 20_000;
const ATTEMPTS: u8 = 6;

impl Parcel {
    pub(super) fn new(from: End, to: End, said: Said, media: &str, body: Bytes) -> Self {
        Self {
            from,
            to,
            said,
            media: media.into(),
            body,
            hops: 70,
            reply: None,
            deadline_ms: 0,
            kept: false,
            silent: false,
            id: [0; 16],
            fell_back: None,
            resent: false,
            attempts: 0,
            line: None,
            session: None,
            client: None,
            legs: SmallVec::new(),
            best: None,
            refused: 0,
            delivery: None,
        }
    }

    /// Media type and body as somebody can show it.
    pub(super) fn shown(&self, im: &Im, accept: &[String], wall_ms: u64) -> (String, Vec<u8>) {
        let (from, to) = (self.from.aor.to_uri(), self.to.aor.to_uri());
        let ends = Ends {
            from: &from,
            to: &to,
            wall_ms,
        };
        match &self.said {
            Said::Text(text) => text.shown(im, accept, ends),
            Said::Notice { media, body } => (media.clone(), body.clone()),
            Said::Typing(_) => (self.media.to_string(), self.body.to_vec()),
        }
    }
}

impl Engine {
    /// Takes a message that is to be answered.
    pub(super) fn accept(&mut self, now: Now, request: &Request<'_>, from: End, to: End, said: Said, media: &str) {
        if to
            .peer()
            .is_some_and(|peer| self.contract_turns_away(now, request, peer))
        {
            return;
        }
        let framing = if request.source.flow.is_some() {
            Framing::Stream
        } else {
            Framing::Datagram
        };
        let waiting = Waiting {
            server: request.server,
            request: self.buffers.keep(request.view.bytes()),
            framing,
            source: *request.source,
        };
        let body = Bytes::copy_from_slice(request.view.body());
        let parcel = Parcel {
            hops: request.view.max_forwards().unwrap_or(70).saturating_sub(1),
            reply: Some(waiting),
            deadline_ms: now.mono_ms + ANSWER_MS,
            id: self.parcel_id(now),
            ..Parcel::new(from, to, said, media, body)
        };
        let id = self.talks.parcels.insert(parcel);
        self.wheel.arm(now.mono_ms + ANSWER_MS, Kind::Parcel, id);
        self.dispatch_parcel(now, id);
    }

    /// Names a message for the store, in the order in which they came.
    pub(super) fn parcel_id(&mut self, now: Now) -> [u8; 16] {
        self.talks.count = self.talks.count.wrapping_add(1);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&now.wall_ms.to_be_bytes());
        id[8..12].copy_from_slice(&self.talks.count.to_be_bytes());
        id[12..].copy_from_slice(&self.random.token::<4>());
        id
    }

    /// Sends a message by the mode that its addressee takes.
    pub(super) fn dispatch_parcel(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        parcel.attempts += 1;
        let to = parcel.to.clone();
        let mode = parcel.fell_back.unwrap_or_else(|| self.mode_of(now, &to));
        match mode {
            ImMode::Pager => self.by_itself(now, id),
            ImMode::Session => self.by_session(now, id),
        }
    }

    fn by_session(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get(id) else {
            return;
        };
        let line = self.line(&parcel.to.clone(), &parcel.from.clone());
        let pushed = self
            .talks
            .lines
            .get_mut(line)
            .is_some_and(|l| l.outbox.push(id, MOST_WAITING));
        if !pushed {
            return self.conclude_parcel(now, id, 480, "too many messages wait for this session");
        }
        if let Some(parcel) = self.talks.parcels.get_mut(id) {
            parcel.line = Some(line);
        }
        self.pump(now, line);
    }

    /// A message outside of any session: to all contacts of a user here, to the next hop of anybody else.
    fn by_itself(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get(id) else {
            return;
        };
        let to = parcel.to.clone();
        let legs: SmallVec<[Leg; 1]> = if self.is_local(&to.aor) {
            let leg = |hop: super::super::forward::Hop| Leg {
                uri: hop.uri.unwrap_or_else(|| to.aor.to_uri().into()),
                path: hop.path,
                destinations: hop.destinations,
                next: 0,
                client: None,
                waiting: false,
            };
            self.contact_hops(&to.aor).into_iter().map(leg).collect()
        } else {
            let destinations = self.ways_to(&to.aor);
            let uri = to.aor.to_uri().into();
            let leg = Leg {
                uri,
                path: None,
                destinations,
                next: 0,
                client: None,
                waiting: false,
            };
            Some(leg).filter(|l| !l.destinations.is_empty()).into_iter().collect()
        };
        let count = legs.len();
        if let Some(parcel) = self.talks.parcels.get_mut(id) {
            parcel.legs = legs;
            (parcel.best, parcel.refused) = (None, 0);
        }
        for leg in 0..count {
            self.try_parcel_leg(now, id, leg);
        }
        self.judge_legs(now, id);
    }

    fn try_parcel_leg(&mut self, now: Now, id: SlotId, leg: usize) {
        let Some(parcel) = self.talks.parcels.get(id) else {
            return;
        };
        let peer = parcel.to.peer();
        let left = parcel.legs.get(leg).is_some_and(|l| l.next < l.destinations.len());
        let waiting = left && peer.is_some_and(|peer| self.contract_holds_parcel(now, peer, id, leg));
        let Some(entry) = self.talks.parcels.get_mut(id).and_then(|p| p.legs.get_mut(leg)) else {
            return;
        };
        (entry.client, entry.waiting) = (None, waiting);
        if waiting {
            return;
        }
        let Some(to) = entry.destinations.get(entry.next).copied() else {
            return;
        };
        entry.next += 1;
        if self.is_self(to) {
            return;
        }
        let (client, branch) = self.layer.reserve(false, id.pack(Owner::Parcel as u8));
        let via = self.via_value(to, branch.as_bytes());
        match self.write_parcel(id, leg, &via) {
            Some(wire) => self.layer.send(now, client, to, wire, is_reliable(to)),
            None => return self.layer.abandon(client),
        }
        if let Some(entry) = self.talks.parcels.get_mut(id).and_then(|p| p.legs.get_mut(leg)) {
            entry.client = Some(client);
        }
    }

    /// The turn of a message that a contract has let wait.
    pub(in crate::engine) fn parcel_goes(&mut self, now: Now, id: SlotId, leg: usize) {
        let entry = self.talks.parcels.get(id).and_then(|p| p.legs.get(leg));
        if entry.is_some_and(|l| l.waiting) {
            self.try_parcel_leg(now, id, leg);
            self.judge_legs(now, id);
        }
    }

    /// The message as a request of our own.
    fn write_parcel(&mut self, id: SlotId, leg: usize, via: &[u8]) -> Option<Bytes> {
        let parcel = self.talks.parcels.get(id)?;
        let im = self.dialect_of(&parcel.to).im.clone();
        let (media, body) = parcel.shown(&im, &[], self.clock.wall_ms);
        let (from, to, hops) = (parcel.from.aor.to_uri(), parcel.to.aor.to_uri(), parcel.hops);
        let call_id = self.talk_call_id(&parcel.id.clone());
        let tag = self.random.token::<16>();
        let mut buffer = self.buffers.take();
        let entry = self.talks.parcels.get(id)?.legs.get(leg);
        let uri = entry.map_or(to.as_bytes(), |l| &l.uri[..]);
        let mut request = write::Request::start(&mut buffer, b"MESSAGE", uri);
        if !via.is_empty() {
            request = request.header(b"Via", via);
        }
        if let Some(path) = entry.and_then(|l| l.path.as_deref()) {
            request = request.header(b"Route", path);
        }
        request
            .parts(b"From", &[b"<", from.as_bytes(), b">;tag=", &tag])
            .parts(b"To", &[b"<", to.as_bytes(), b">"])
            .header(b"Call-ID", call_id.as_bytes())
            .header(b"CSeq", b"1 MESSAGE")
            .number(b"Max-Forwards", u64::from(hops), b"")
            .body(Some((media.as_bytes(), &body)));
        Some(self.buffers.finish(buffer))
    }

    /// The same message has the same Call-ID whenever and by whatever way it goes: a repeat can be told.
    fn talk_call_id(&self, id: &[u8; 16]) -> String {
        let hex: String = id.iter().map(|b| format!("{b:02x}")).collect();
        format!("{hex}@{}", self.host())
    }

    /// What an addressee, or the session, has answered.
    pub(in crate::engine) fn on_parcel_response(&mut self, now: Now, id: SlotId, client: ClientId, status: u16) {
        if status < 200 {
            return;
        }
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        if parcel.client == Some(client) {
            return self.on_session_answer(now, id, status);
        }
        let Some(leg) = parcel.legs.iter_mut().find(|l| l.client == Some(client)) else {
            return;
        };
        leg.client = None;
        leg.next = usize::MAX;
        if status < 300 {
            return self.conclude_parcel(now, id, 200, "");
        }
        parcel.refused += usize::from(is_refusal(status));
        parcel.best = Some(parcel.best.map_or(status, |best| best.min(status)));
        self.judge_legs(now, id);
    }

    /// Nobody answered, or it could not be sent.
    pub(in crate::engine) fn on_parcel_failure(&mut self, now: Now, id: SlotId, client: ClientId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        let to = parcel.to.aor.clone();
        if parcel.client == Some(client) {
            // One message that nobody answers does not end the session.
            if self.is_absent(&to) {
                return self.give_up(now, id, 504, "the other side did not answer");
            }
            return self.conclude_parcel(now, id, 504, "the other side did not answer");
        }
        let Some(leg) = parcel.legs.iter().position(|l| l.client == Some(client)) else {
            return;
        };
        self.try_parcel_leg(now, id, leg);
        self.judge_legs(now, id);
    }

    fn judge_legs(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get(id) else {
            return;
        };
        if parcel.legs.iter().any(Leg::is_open) {
            return;
        }
        let (best, to) = (parcel.best, parcel.to.clone());
        let (fell_back, absent) = (parcel.fell_back, parcel.refused < parcel.legs.len().max(1));
        match best {
            Some(status) if wrong_mode(status) && fell_back.is_none() && self.dialect_of(&to).im.fallback => {
                if let Some(parcel) = self.talks.parcels.get_mut(id) {
                    parcel.fell_back = Some(ImMode::Session);
                }
                self.by_session(now, id);
            }
            _ if self.is_local(&to.aor) && absent => self.give_up(now, id, 480, "not registered"),
            Some(status) => self.conclude_parcel(now, id, status, "refused by the other side"),
            None => self.unreachable(now, id, "the other side cannot be reached"),
        }
    }

    /// What has been promised is tried for a while; who waits for an answer hears of it at once.
    pub(super) fn unreachable(&mut self, now: Now, id: SlotId, why: &str) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        if parcel.kept && parcel.attempts < ATTEMPTS {
            let line = parcel.line.take();
            if let Some(line) = line.and_then(|l| self.talks.lines.get_mut(l)) {
                line.outbox.done(id);
            }
            return self.wheel.arm(now.mono_ms + RETRY_MS, Kind::Parcel, id);
        }
        self.conclude_parcel(now, id, 504, why);
    }

    /// Nobody of a user's clients took it: it is kept as any message for somebody absent.
    pub(super) fn keep_for_local(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get(id) else {
            return;
        };
        let aor = parcel.to.aor.clone();
        let full = self.messages.waiting(&aor) >= self.snapshot.messages.max_stored as usize;
        if !self.snapshot.messages.store_offline || full || self.journal.is_broken() {
            return self.conclude_parcel(now, id, 480, "not registered");
        }
        if let Some(parcel) = self.talks.parcels.get_mut(id) {
            parcel.legs.clear();
        }
        let Some(wire) = self.write_parcel(id, 0, b"") else {
            return;
        };
        self.keep_written(now, &aor, &wire);
        self.conclude_parcel(now, id, 202, "");
    }

    /// The end: who waits is answered, who was promised something is told if it was not kept.
    pub(super) fn conclude_parcel(&mut self, now: Now, id: SlotId, status: u16, why: &str) {
        let Some(parcel) = self.talks.parcels.remove(id) else {
            return;
        };
        for client in parcel.legs.iter().filter_map(|l| l.client) {
            self.layer.abandon(client);
        }
        if status < 300
            && let Some(mode) = parcel.fell_back
        {
            self.learn(now, &parcel.to, mode);
        }
        match &parcel.reply {
            _ if parcel.delivery.is_some() => {}
            Some(waiting) => self.answer_waiting(now, waiting, status, why),
            None if status >= 300 && !parcel.silent => self.tell_failure(now, &parcel, status, why),
            None => {}
        }
        if parcel.kept {
            self.forget_kept(&parcel);
        }
        if let Some(line) = parcel.line {
            if let Some(entry) = self.talks.lines.get_mut(line) {
                entry.outbox.done(id);
            }
            self.pump(now, line);
        }
        if let Some(mailbox) = parcel.delivery {
            self.on_delivery_response(now, mailbox, status);
        }
    }

    fn answer_waiting(&mut self, now: Now, waiting: &Waiting, status: u16, why: &str) {
        // RFC 4320: 408 is no answer to such a request, and 503 would be about this bridge.
        let status = match status {
            408 => 504,
            503 => 500,
            other => other,
        };
        let reason = match status {
            0..300 => String::new(),
            _ => format!("SIP;cause={status};text=\"{why}\""),
        };
        let wire = self.answer_to_kept(&waiting.request, waiting.framing, &waiting.source, status, &reason);
        let Some(wire) = wire else { return };
        if status == 202 {
            return self.promise_answer(now, waiting.server, wire);
        }
        self.layer.respond(now, waiting.server, status, wire);
    }

    /// The sender was told that it is kept, and it failed: a notice if one was asked for, else a message that says so.
    fn tell_failure(&mut self, now: Now, parcel: &Parcel, status: u16, why: &str) {
        // Each piece of news goes one step less far than what it is about: two who tell each other of it come to an end.
        let Some(hops) = parcel.hops.checked_sub(1) else {
            return;
        };
        let (sender, addressee) = (parcel.from.clone(), parcel.to.clone());
        let im = self.dialect_of(&sender).im.clone();
        let ask = match &parcel.said {
            // Who wants no such notice hears of it all the same.
            Said::Text(Text { ask: Some(ask), .. }) if im.imdn && ask.negative => Some(ask.clone()),
            Said::Text(_) => None,
            _ => return,
        };
        let said = match ask {
            Some(ask) => {
                let id = String::from_utf8_lossy(&self.random.token::<20>()).into_owned();
                let (from, to) = (sender.aor.to_uri(), addressee.aor.to_uri());
                let body = imdn::failed(&ask, &from, &to, &cpim::date(now.wall_ms), &id);
                Said::Notice {
                    media: "message/cpim".into(),
                    body,
                }
            }
            None => {
                let words = match &parcel.said {
                    Said::Text(text) => text.plain.chars().take(60).collect::<String>(),
                    _ => String::new(),
                };
                let words = format!(
                    "This message could not be delivered to {} ({status}, {why}): {words}",
                    addressee.aor
                );
                Said::Text(Text::plain(&words))
            }
        };
        let news = Parcel {
            silent: true,
            hops,
            id: self.parcel_id(now),
            ..Parcel::new(addressee, sender, said, "text/plain", Bytes::new())
        };
        let id = self.talks.parcels.insert(news);
        self.dispatch_parcel(now, id);
    }

    /// The time is up: the sender gets 202 and the message waits; or a kept one is tried again.
    pub(in crate::engine) fn on_parcel_timer(&mut self, now: Now, id: SlotId) {
        let Some(parcel) = self.talks.parcels.get_mut(id) else {
            return;
        };
        if parcel.reply.is_none() {
            let idle = parcel.line.is_none() && !parcel.legs.iter().any(Leg::is_open);
            if idle {
                self.dispatch_parcel(now, id);
            }
            return;
        }
        if parcel.deadline_ms > now.mono_ms {
            return;
        }
        if self.journal.is_broken() {
            // It may yet arrive; nothing is promised.
            return self.conclude_parcel(now, id, 500, "the store does not take records now");
        }
        let ends = (parcel.from.clone(), parcel.to.clone());
        if !self.may_keep(&ends.0, &ends.1) {
            return self.conclude_parcel(now, id, 480, "too many messages are kept already");
        }
        self.keep_parcel(now, id);
    }
}
