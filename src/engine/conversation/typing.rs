//! That somebody types, shown to the other side as it knows it. Nothing depends on it, and it opens no session.

use super::super::forward::{Owner, is_reliable};
use super::super::slots::SlotId;
use super::super::timers::Kind;
use super::out::HOPS;
use super::{End, Engine, Phase, Typist};
use crate::dialect::{ImMode, Typing};
use crate::im::typing::{IS_COMPOSING, KEYBOARD, Relay, Signal, is_composing, keyboard};
use crate::sip::time::Now;
use crate::sip::write;

/// Pairs of whom one types.
const MOST_TYPISTS: usize = 20_000;

impl Engine {
    /// Takes what somebody says of themselves, and tells the other side if that is news to it.
    pub(super) fn show_typing(&mut self, now: Now, from: End, to: End, signal: Signal) {
        let key = (from.aor.clone(), to.aor.clone());
        let known = self.talks.by_typist.get(&key).copied();
        let id = match known {
            Some(id) => id,
            None if signal == Signal::Idle || self.talks.typists.len() >= MOST_TYPISTS => return,
            None => {
                let id = self.talks.typists.insert(Typist {
                    from,
                    to,
                    relay: Relay::default(),
                });
                self.talks.by_typist.insert(key, id);
                id
            }
        };
        let Some(typist) = self.talks.typists.get_mut(id) else {
            return;
        };
        let news = typist.relay.heard(now.mono_ms, signal);
        if let Some(due) = typist.relay.due() {
            self.wheel.arm(due, Kind::Typist, id);
        }
        if let Some(active) = news {
            self.tell_typing(now, id, active);
        }
        self.forget_typist(id);
    }

    /// A message came: its sender does not type any more.
    pub(super) fn hush(&mut self, from: &End, to: &End) {
        let Some(id) = self.talks.by_typist.get(&(from.aor.clone(), to.aor.clone())).copied() else {
            return;
        };
        if let Some(typist) = self.talks.typists.get_mut(id) {
            typist.relay.spoke();
        }
        self.forget_typist(id);
    }

    fn forget_typist(&mut self, id: SlotId) {
        if self.talks.typists.get(id).is_some_and(|t| t.relay.due().is_none())
            && let Some(typist) = self.talks.typists.remove(id)
        {
            self.talks.by_typist.remove(&(typist.from.aor, typist.to.aor));
        }
    }

    pub(in crate::engine) fn on_typist_timer(&mut self, now: Now, id: SlotId) {
        let Some(typist) = self.talks.typists.get_mut(id) else {
            return;
        };
        if typist.relay.expired(now.mono_ms) {
            self.tell_typing(now, id, false);
        }
        self.forget_typist(id);
    }

    fn tell_typing(&mut self, now: Now, id: SlotId, active: bool) {
        let Some(typist) = self.talks.typists.get(id) else {
            return;
        };
        let (from, to) = (typist.from.clone(), typist.to.clone());
        let how = self.dialect_of(&to).im.typing;
        match (self.mode_of(now, &to), how) {
            (_, Typing::None) => {}
            (ImMode::Session, _) => self.type_in_session(now, &from, &to, how, active),
            (ImMode::Pager, _) => self.type_by_itself(now, &from, &to, active),
        }
    }

    fn type_in_session(&mut self, now: Now, from: &End, to: &End, how: Typing, active: bool) {
        let line = self.talks.by_pair.get(&(to.aor.clone(), from.aor.clone()));
        let Some(line) = line.and_then(|id| self.talks.lines.get(*id)) else {
            return;
        };
        let sessions = line
            .sessions
            .iter()
            .filter_map(|id| Some((*id, self.talks.sessions.get(*id)?)));
        let open = sessions
            .filter(|(_, s)| s.phase == Phase::Open)
            .max_by_key(|(_, s)| s.spoke_ms);
        let Some((session, _)) = open else { return };
        if to.peer().is_some_and(|peer| !self.contract_spares(now, peer)) {
            return;
        }
        let user = session.pack(Owner::Aside as u8);
        if how == Typing::KeyboardActivity {
            let body = keyboard(active);
            self.in_session(
                now,
                session,
                b"INFO",
                user,
                HOPS,
                Some((KEYBOARD.as_bytes(), body.as_bytes())),
            );
        } else {
            let body = is_composing(active);
            self.in_session(
                now,
                session,
                b"MESSAGE",
                user,
                HOPS,
                Some((IS_COMPOSING.as_bytes(), body.as_bytes())),
            );
        }
    }

    fn type_by_itself(&mut self, now: Now, from: &End, to: &End, active: bool) {
        let (uri, destination) = if self.is_local(&to.aor) {
            let hop = self.contact_hops(&to.aor).into_iter().find(|h| h.path.is_none());
            let Some(hop) = hop else { return };
            (hop.uri, hop.destinations.first().copied())
        } else {
            (None, self.ways_to(&to.aor).first().copied())
        };
        let Some(destination) = destination.filter(|d| !self.is_self(*d)) else {
            return;
        };
        if to.peer().is_some_and(|peer| !self.contract_spares(now, peer)) {
            return;
        }
        let (client, branch) = self.layer.reserve(false, SlotId::default().pack(Owner::Aside as u8));
        let via = self.via_value(destination, branch.as_bytes());
        let (tag, call_id) = (self.random.token::<16>(), self.random.token::<20>());
        let (from, to, body) = (from.aor.to_uri(), to.aor.to_uri(), is_composing(active));
        let mut buffer = self.buffers.take();
        let host = self.host().to_owned();
        write::Request::start(&mut buffer, b"MESSAGE", uri.as_deref().unwrap_or(to.as_bytes()))
            .header(b"Via", &via)
            .parts(b"From", &[b"<", from.as_bytes(), b">;tag=", &tag])
            .parts(b"To", &[b"<", to.as_bytes(), b">"])
            .parts(b"Call-ID", &[&call_id, b"@", host.as_bytes()])
            .header(b"CSeq", b"1 MESSAGE")
            .header(b"Max-Forwards", b"70")
            .body(Some((IS_COMPOSING.as_bytes(), body.as_bytes())));
        let wire = self.buffers.finish(buffer);
        self.layer
            .send(now, client, destination, wire, is_reliable(destination));
    }
}
