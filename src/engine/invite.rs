//! What only INVITE dialogs need of a proxy: CANCEL towards the legs and ACK for a 2xx.

use super::Engine;
use super::forward::Owner;
use super::reply::{Answer, Request};
use super::slots::SlotId;
use crate::sip::message::{Essentials, View};
use crate::sip::net::Destination;
use crate::sip::time::Now;
use crate::sip::transaction::{ClientId, ServerId};
use crate::sip::write;

impl Engine {
    /// A CANCEL: 200 if there is something to cancel, else 481 (RFC 3261 section 9.2).
    pub(super) fn on_cancel(&mut self, now: Now, request: &Request<'_>, invite: Option<ServerId>) {
        let forward = invite
            .and_then(|id| self.layer.server(id))
            .map(|info| SlotId::unpack(info.user))
            .filter(|(kind, _)| *kind == Owner::Forward as u8)
            .map(|(_, id)| id);
        let session = invite
            .and_then(|id| self.layer.server(id))
            .map(|info| SlotId::unpack(info.user))
            .filter(|(kind, _)| *kind == Owner::Session as u8)
            .map(|(_, id)| self.session_tag(id));
        if let Some(tag) = session {
            // It has its 2xx: nothing is cancelled any more. Both answers have the same tag (section 9.2).
            let answer = Answer::new(200, "OK");
            return match tag {
                Some(tag) => self.answer(now, request, answer.tag(&tag)),
                None => self.answer(now, request, answer),
            };
        }
        let Some(id) = forward else {
            return self.turn_away(now, request, Answer::new(481, "Call/Transaction Does Not Exist"));
        };
        self.answer(now, request, Answer::new(200, "OK"));
        if self.mark_cancelled(id) {
            self.cancel_legs(now, id);
            // What was still waiting for its turn has nobody to cancel.
            self.conclude(now, id);
        }
    }

    /// Cancels every leg that has answered provisionally; the others are cancelled when they do.
    pub(super) fn cancel_legs(&mut self, now: Now, id: SlotId) {
        self.cancel_others(now, id, None);
    }

    /// Cancels every leg but the one that won.
    pub(super) fn cancel_others(&mut self, now: Now, id: SlotId, winner: Option<ClientId>) {
        for client in self.legs_to_cancel(id, winner) {
            self.send_cancel(now, client);
        }
    }

    /// A CANCEL takes Request-URI, top Via, From, To, Call-ID, CSeq number and Route of its INVITE (section 9.1).
    pub(super) fn send_cancel(&mut self, now: Now, client: ClientId) {
        let mut buffer = self.buffers.take();
        let mut index = self.index.take().unwrap_or_default();
        self.layer.cancel(now, client, |invite| {
            if let Ok(view) = crate::sip::message::parse(invite, crate::sip::message::Framing::Datagram, &mut index) {
                write::cancel(&mut buffer, &view);
            }
            buffer.split().freeze()
        });
        self.index = Some(index);
        self.buffers.put_back(buffer);
    }

    /// The branch of a request that has no transaction, since nobody answers it.
    pub(super) fn lone_branch(&mut self) -> [u8; 26] {
        let mut branch = *b"z9hG4bKack0000000000000000";
        branch[10..].copy_from_slice(&self.random.token::<16>());
        branch
    }

    /// The ACK for a 2xx has no transaction: it follows the route set with a branch of its own.
    pub(super) fn forward_ack(
        &mut self,
        view: &View<'_>,
        essentials: &Essentials<'_>,
        to: Destination,
        drop_routes: usize,
    ) {
        let cookie = self.lone_branch();
        let via = self.via_value(to, &cookie);
        let mut buffer = self.buffers.take();
        let plan = write::Forward {
            via: &via,
            max_breadth: Some(super::loops::breadth(essentials)),
            max_forwards: view.max_forwards().unwrap_or(70).saturating_sub(1),
            drop_first_routes: drop_routes,
            ..write::Forward::default()
        };
        write::forward_request(&mut buffer, view, &plan);
        let wire = self.buffers.finish(buffer);
        self.send_raw(to, wire);
    }
}
