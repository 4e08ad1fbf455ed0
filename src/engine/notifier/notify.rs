//! Notifications: when one goes, how it is written, and what its answer means.
//!
//! One NOTIFY of a subscription is out at a time, so states cannot overtake each other; what changes meanwhile is sent
//! when the answer is in, latest state only.

use super::*;

impl Engine {
    /// The resource has a new state for this subscription: now, or when pacing and the NOTIFY in flight allow.
    pub(in crate::engine) fn state_changed(&mut self, now: Now, id: SlotId) {
        let min_interval = u64::try_from(self.snapshot.presence.notify_min_interval.as_millis()).unwrap_or(u64::MAX);
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if subscription.role == Role::Member {
            return self.member_changed(now, id);
        }
        subscription.dirty = true;
        if subscription.is_waiting_fetch() {
            if !self.list_is_unheard(id) {
                self.notify_now(now, id);
            }
            return;
        }
        if subscription.in_flight || subscription.unconfirmed > 0 || subscription.ending.is_some() {
            return;
        }
        if self.makes_no_difference(id) {
            return;
        }
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        match subscription.pacing.try_send(now.mono_ms, min_interval) {
            Ok(()) => self.notify_now(now, id),
            Err(at) => self.wheel.arm(at, Kind::Subscription, id),
        }
    }

    /// Sends a NOTIFY with the present state, unless one is in flight.
    pub(in crate::engine) fn notify_now(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let held = subscription.in_flight || subscription.unconfirmed > 0 || subscription.role == Role::Member;
        if held || self.contract_holds_notify(now, id) {
            return;
        }
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let to = match (subscription.tried_flow, subscription.reach.origin.flow) {
            (true, Some(flow)) => Destination::Flow(flow),
            _ => self.destination(&subscription.reach, subscription.dialog.next_uri()),
        };
        self.extend(now, id);
        let unanswered = self
            .presence
            .subscriptions
            .get(id)
            .is_some_and(|s| s.showing.unanswered);
        if unanswered && is_reliable(to) {
            return self.notify_unanswered(now, id, to);
        }
        let (client, branch) = self.layer.reserve(false, id.pack(Owner::Notify as u8));
        let Some((wire, past_ceiling)) = self.write_notify(now, id, to, branch.as_bytes()) else {
            self.layer.abandon(client);
            return;
        };
        if past_ceiling {
            self.persist_subscription(id);
        }
        self.counters.notifies += 1;
        self.told(now, id);
        let reliable = is_reliable(to);
        if let Some(subscription) = self.presence.subscriptions.get_mut(id).filter(|_| !reliable) {
            subscription.by_datagram = true;
            self.presence.unanswered += 1;
        }
        self.layer.send(now, client, to, wire, reliable);
    }

    /// BENOTIFY: sent, and that is all that will ever be known of it.
    fn notify_unanswered(&mut self, now: Now, id: SlotId, to: Destination) {
        let branch = self.lone_branch();
        let Some((wire, past_ceiling)) = self.write_notify(now, id, to, &branch) else {
            return;
        };
        if past_ceiling {
            self.persist_subscription(id);
        }
        self.counters.notifies += 1;
        self.send_raw(to, wire);
        self.list_delivered(now, id);
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.in_flight = false;
            if subscription.ending.is_some() {
                self.remove_subscription(id);
            }
        }
    }

    /// Where it was agreed, notifying lengthens the subscription once half of it is over.
    fn extend(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        if !subscription.showing.extends || subscription.ending.is_some() {
            return;
        }
        let dialect = self.snapshot.dialect(subscription.showing.dialect);
        let settings = &self.snapshot.presence;
        let usual = dialect
            .map_or(0, |d| d.sip.subscription_s)
            .max(seconds(settings.default_expires));
        let full_ms = u64::from(usual.min(seconds(settings.max_expires))) * 1000;
        if subscription.expires_wall_ms.saturating_sub(now.wall_ms) > full_ms / 2 {
            return;
        }
        if let Some(subscription) = self.presence.subscriptions.get_mut(id) {
            subscription.expires_wall_ms = now.wall_ms + full_ms;
        }
        self.wheel.arm(now.mono_ms + full_ms, Kind::Subscription, id);
        self.persist_subscription(id);
    }

    /// Renders a NOTIFY; also says whether the reserved block of sequence numbers was used up.
    fn write_notify(&mut self, now: Now, id: SlotId, to: Destination, branch: &[u8]) -> Option<(Bytes, bool)> {
        let mut buffer = self.buffers.take();
        let via = self.via_value(to, branch);
        let contact = self.own_uri(to, b"", false);
        let unanswered = self.presence.subscriptions.get(id)?.showing.unanswered && is_reliable(to);
        let shown = self.next_document(id, now, !unanswered)?;
        let requires = self.requires_eventlist(id);
        let subscription = self.presence.subscriptions.get_mut(id)?;
        let left = subscription.expires_wall_ms.saturating_sub(now.wall_ms).div_ceil(1000);
        let state = match subscription.ending {
            Some(reason) => SubscriptionState::Terminated {
                reason: Some(reason),
                retry_after: None,
            },
            None => SubscriptionState::Active(Some(u32::try_from(left).unwrap_or(u32::MAX))),
        };
        let cseq = subscription.dialog.next_cseq();
        let past_ceiling = cseq + CSEQ_MARGIN >= subscription.cseq_ceiling;
        if past_ceiling {
            subscription.cseq_ceiling = cseq + CSEQ_BLOCK;
        }
        subscription.in_flight = true;
        subscription.dirty = false;
        subscription.owed = false;
        subscription.sent = shown.version;
        let (method, cseq_method): (&[u8], &[u8]) = match unanswered {
            true => (b"BENOTIFY", b" BENOTIFY"),
            false => (b"NOTIFY", b" NOTIFY"),
        };
        let mut request = write::Request::start(&mut buffer, method, subscription.dialog.request_uri())
            .header(b"Via", &via)
            .lines(subscription.dialog.lines())
            .number(b"CSeq", u64::from(cseq), cseq_method)
            .header(b"Max-Forwards", b"70")
            .header(b"Contact", &contact);
        request = match &subscription.event_id {
            Some(event_id) => request.parts(b"Event", &[b"presence;id=", event_id]),
            None => request.header(b"Event", b"presence"),
        };
        if requires {
            request = request.header(b"Require", b"eventlist");
        }
        request
            .display(b"Subscription-State", &state)
            .body(Some((shown.media.as_bytes(), &shown.body)));
        Some((self.buffers.finish(buffer), past_ceiling))
    }

    /// An answer to a NOTIFY.
    pub(in crate::engine) fn on_notify_response(
        &mut self,
        now: Now,
        id: SlotId,
        status: u16,
        retry_after_s: Option<u32>,
    ) {
        if status < 200 {
            return;
        }
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.in_flight = false;
        if std::mem::take(&mut subscription.by_datagram) {
            self.presence.unanswered -= 1;
        }
        self.list_answered(id, status < 300);
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        let ended = subscription.ending.is_some() && !subscription.owed;
        match (status, retry_after_s) {
            (200..300, _) if ended => self.remove_subscription(id),
            (200..300, _) => self.after_notify(now, id),
            // RFC 6665 section 4.2.2: an error without Retry-After ends the subscription.
            (_, Some(seconds)) if !ended => {
                (subscription.dirty, subscription.sent) = (true, 0);
                self.wheel.arm(
                    now.mono_ms + u64::from(seconds.clamp(1, 600)) * 1000,
                    Kind::Subscription,
                    id,
                );
            }
            _ => self.remove_subscription(id),
        }
    }

    pub(super) fn after_notify(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get(id) else {
            return;
        };
        let (resource, owed, dirty) = (subscription.resource, subscription.owed, subscription.dirty);
        self.list_delivered(now, id);
        if owed {
            self.notify_now(now, id);
        } else if dirty {
            self.state_changed(now, id);
        } else {
            self.note_delivery(now, resource);
        }
    }

    /// A NOTIFY that could not be sent or was not answered. A peer that is down keeps its subscriptions until they
    /// expire; a client over a dead connection is tried once more over the connection it came by.
    pub(in crate::engine) fn on_notify_failure(&mut self, now: Now, id: SlotId, why: Why) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        subscription.in_flight = false;
        if std::mem::take(&mut subscription.by_datagram) {
            self.presence.unanswered -= 1;
        }
        self.list_answered(id, false);
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        (subscription.dirty, subscription.sent) = (true, 0);
        if subscription.ending.is_some() {
            return self.remove_subscription(id);
        }
        let peer_down = match subscription.reach.party {
            Party::Peer(peer) => self.peers.is_down(peer),
            Party::User(_) => false,
        };
        match why {
            Why::Timeout if !peer_down => self.remove_subscription(id),
            Why::Transport if !subscription.tried_flow && subscription.reach.origin.flow.is_some() => {
                subscription.tried_flow = true;
                self.notify_now(now, id);
            }
            _ => {
                subscription.tried_flow = false;
                self.wheel.arm(now.mono_ms + RETRY_MS, Kind::Subscription, id);
            }
        }
    }

    /// Expiry, pacing or a retry.
    pub(in crate::engine) fn on_subscription_timer(&mut self, now: Now, id: SlotId) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if subscription.expires_wall_ms <= now.wall_ms {
            if subscription.ending.is_none() {
                subscription.ending = Some(Reason::Timeout);
                let tag = subscription.tag;
                self.persist(record::subscription_key(&tag), None);
                self.notify_now(now, id);
            } else if subscription.is_waiting_fetch() {
                self.notify_now(now, id);
            }
        } else if subscription.dirty && !subscription.in_flight {
            self.state_changed(now, id);
        }
    }

    /// Ends a subscription that has lost its ground: the watcher is told, by a NOTIFY whose answer nobody waits for, since
    /// its connection may be about to close.
    pub(in crate::engine) fn dismiss(&mut self, now: Now, id: SlotId, reason: Reason) {
        let Some(subscription) = self.presence.subscriptions.get_mut(id) else {
            return;
        };
        if subscription.role == Role::Member {
            return self.end_member(now, id, reason);
        }
        subscription.ending = Some(reason);
        subscription.in_flight = false;
        self.notify_now(now, id);
        self.remove_subscription(id);
    }

    /// Whether the answer to a NOTIFY is still to come.
    #[must_use]
    pub fn awaits_watchers(&self) -> bool {
        self.presence.subscriptions.iter().any(|(_, s)| s.in_flight)
    }
}
