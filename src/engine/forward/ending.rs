//! How a forwarded request ends: the best answer, a deadline, or a caller who has given up.

use super::*;

impl Engine {
    /// Answers when no leg is left that could.
    pub(in crate::engine) fn conclude(&mut self, now: Now, id: SlotId) {
        let Some(forward) = self.forwards.get_mut(id) else {
            return;
        };
        if forward.won || forward.legs.iter().any(|l| l.client.is_some() || l.waiting) {
            return;
        }
        let absent = forward.refused < forward.legs.len();
        let store_for = forward.store_for.take().filter(|_| absent);
        if let Some(aor) = store_for {
            let (kept, framing, source, server) =
                (forward.request.clone(), forward.framing, forward.source, forward.server);
            self.forwards.remove(id);
            return self.store_kept(now, &kept, framing, &source, server, &aor);
        }
        let server = forward.server;
        let why = forward.why;
        let (status, wire) = match forward.best.take() {
            Some((status, wire)) => (status, Some(wire)),
            None if forward.cancelled => (487, self.own_answer(id, 487, "SIP;cause=487;text=\"cancelled\"")),
            None => (504, self.own_answer(id, 504, &format!("SIP;cause=504;text=\"{why}\""))),
        };
        if let Some(wire) = wire {
            self.layer.respond(now, server, status, wire);
        }
        self.forwards.remove(id);
    }

    /// A response of our own to the request that was forwarded.
    pub(in crate::engine) fn own_answer(&mut self, id: SlotId, status: u16, reason_header: &str) -> Option<Bytes> {
        let forward = self.forwards.get(id)?;
        let (kept, framing, source) = (forward.request.clone(), forward.framing, forward.source);
        self.answer_to_kept(&kept, framing, &source, status, reason_header)
    }

    /// A response of our own to a request that was kept.
    pub(in crate::engine) fn answer_to_kept(
        &mut self,
        kept: &Bytes,
        framing: Framing,
        source: &Source,
        status: u16,
        reason_header: &str,
    ) -> Option<Bytes> {
        let mut index = self.index.take().unwrap_or_default();
        let headers: [(&[u8], &[u8]); 1] = [(b"Reason", reason_header.as_bytes())];
        let headers = if reason_header.is_empty() {
            &headers[..0]
        } else {
            &headers[..]
        };
        let wire = crate::sip::message::parse(kept, framing, &mut index)
            .ok()
            .map(|view| self.write_answer(source, &view, Answer::new(status, phrase(status)).with(headers)));
        self.index = Some(index);
        wire
    }

    /// RFC 4320: a 100 keeps the sender of a slow non-INVITE request from repeating it.
    pub(in crate::engine) fn on_late_trying(&mut self, now: Now, id: SlotId) {
        let Some(forward) = self.forwards.get(id) else { return };
        let server = forward.server;
        self.wheel.arm(forward.deadline_ms, Kind::ForwardDeadline, id);
        if let Some(wire) = self.own_answer(id, 100, "") {
            self.layer.respond(now, server, 100, wire);
        }
    }

    /// The bound on a forwarded request: the client transactions are given up and the sender hears of it.
    pub(in crate::engine) fn on_forward_deadline(&mut self, now: Now, id: SlotId) {
        let Some(forward) = self.forwards.get_mut(id) else {
            return;
        };
        if forward.won {
            return;
        }
        forward.why = "the next server did not answer in time";
        forward.wait_no_more();
        let clients: SmallVec<[ClientId; 2]> = forward.legs.iter_mut().filter_map(|l| l.client.take()).collect();
        for client in clients {
            self.layer.abandon(client);
        }
        self.conclude(now, id);
    }

    /// The server transaction of an INVITE has ended, after the last 2xx that may pass.
    pub(in crate::engine) fn on_server_gone(&mut self, user: u64) {
        let (kind, id) = SlotId::unpack(user);
        if kind == Owner::Forward as u8
            && let Some(forward) = self.forwards.remove(id)
        {
            for client in forward.legs.iter().filter_map(|l| l.client) {
                self.layer.abandon(client);
            }
        }
    }

    /// The CANCELs that a forwarded INVITE needs now, except towards `winner`.
    pub(in crate::engine) fn legs_to_cancel(
        &mut self,
        id: SlotId,
        winner: Option<ClientId>,
    ) -> SmallVec<[ClientId; 2]> {
        let Some(forward) = self.forwards.get_mut(id) else {
            return SmallVec::new();
        };
        forward
            .legs
            .iter()
            .filter(|leg| leg.provisional && leg.client != winner)
            .filter_map(|leg| leg.client)
            .collect()
    }

    /// Marks a forwarded INVITE as cancelled; true when it was one and had no final answer yet.
    pub(in crate::engine) fn mark_cancelled(&mut self, id: SlotId) -> bool {
        match self.forwards.get_mut(id) {
            Some(forward) if forward.invite && !forward.won => {
                forward.cancelled = true;
                forward.wait_no_more();
                true
            }
            _ => false,
        }
    }
}
