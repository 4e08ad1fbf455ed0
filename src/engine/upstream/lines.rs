//! Subscriptions to lines: opened by the configuration, tried elsewhere when one host of the peer fails.

use super::*;

impl Engine {
    /// The resource of a line at a peer; subscribes under the bridge's own address if nothing does yet. `None` when no
    /// route leads there.
    pub(in crate::engine) fn line_resource(&mut self, now: Now, peer: PeerId, line: &Aor) -> Option<SlotId> {
        let key = Key {
            peer,
            watcher: None,
            presentity: line.clone(),
        };
        let held = self.upstreams.by_key.get(&key).copied();
        if let Some(upstream) = held.and_then(|id| self.upstreams.slots.get(id)) {
            return Some(upstream.resource);
        }
        let route = self.snapshot.routes.domain(line.domain().as_bytes())?;
        let id = self.add_upstream(now, key, route);
        self.persist_upstream(id);
        self.send_subscribe(now, id);
        self.upstreams.slots.get(id).map(|u| u.resource)
    }

    /// Whether there is a subscription to a line.
    pub(in crate::engine) fn is_subscribed(&self, peer: PeerId, line: &Aor) -> bool {
        let key = Key {
            peer,
            watcher: None,
            presentity: line.clone(),
        };
        self.upstreams.by_key.contains_key(&key)
    }

    /// Whether a resource is still fed by a subscription that goes on.
    pub(in crate::engine) fn is_held(&self, resource: SlotId) -> bool {
        let upstream = self.presence.resources.get(resource).and_then(|r| r.upstream);
        upstream
            .and_then(|id| self.upstreams.slots.get(id))
            .is_some_and(|u| !u.ending)
    }

    /// Subscriptions under the bridge's own address that nobody watches and no line needs are left: those of an earlier
    /// configuration, found in the store.
    pub(in crate::engine) fn leave_unwanted(&mut self) {
        let shared = |u: &Upstream| u.key.watcher.is_none() && !u.ending;
        let unneeded = |u: &Upstream| shared(u) && !self.is_line(&u.key.presentity);
        let all = self.upstreams.slots.iter().filter(|(_, u)| unneeded(u));
        let all: Vec<SlotId> = all.map(|(_, u)| u.resource).collect();
        for resource in all {
            self.upstream_unwatched(resource);
        }
    }

    /// The upstream subscription that a NOTIFY without a To tag is for: our Call-IDs begin with the tag.
    pub(in crate::engine) fn upstream_by_call_id(&self, call_id: &[u8]) -> Option<(SlotId, PeerId)> {
        self.upstream_by_tag(call_id.get(..16)?, call_id)
    }

    /// A Call-ID that begins with the tag of its dialog.
    pub(super) fn call_id_with(&mut self, tag: &[u8; 16]) -> Box<str> {
        format!("{}-{}@{}", text(tag), text(&self.random.token::<12>()), self.host()).into()
    }

    /// Where a SUBSCRIBE outside a dialog goes: the first place that has not failed since the last success.
    pub(super) fn next_place(&mut self, id: SlotId) -> Option<Destination> {
        let upstream = self.upstreams.slots.get(id)?;
        let (route, presentity) = (upstream.route, upstream.key.presentity.clone());
        let places = self.route_destinations(route, &presentity);
        let failed = &self.upstreams.slots.get(id)?.failed;
        let fresh = places.iter().find(|(_, to)| !failed.contains(to));
        fresh.or(places.first()).map(|(_, to)| *to)
    }

    /// A place did not answer, or cannot serve now. If the peer has another that has not failed yet, the subscription is
    /// opened there at once, anew: a dialog at a host that is gone is worth nothing.
    pub(super) fn go_elsewhere(&mut self, now: Now, id: SlotId) -> bool {
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return false;
        };
        let Some(was) = upstream.to else { return false };
        if !upstream.failed.contains(&was) {
            upstream.failed.push(was);
        }
        let (route, presentity) = (upstream.route, upstream.key.presentity.clone());
        let places = self.route_destinations(route, &presentity);
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return false;
        };
        if places.iter().all(|(_, to)| upstream.failed.contains(to)) {
            upstream.failed.clear();
            return false;
        }
        let expires_s = upstream.machine.expires_s();
        upstream.machine = Subscriber::new(now.mono_ms, expires_s);
        upstream.unsure_at = Some(now.mono_ms + GRACE_MS);
        self.new_dialog(id);
        self.wheel.arm(now.mono_ms + GRACE_MS, Kind::Upstream, id);
        self.send_subscribe(now, id);
        true
    }
}
