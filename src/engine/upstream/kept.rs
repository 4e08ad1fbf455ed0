//! Upstream subscriptions beyond one configuration and one process: their records, a restart, a reload.

use super::*;

impl Engine {
    /// Puts an upstream subscription back after a restart; its state is asked for at once.
    #[expect(clippy::too_many_arguments, reason = "the fields of one record")]
    pub(in crate::engine) fn restored_upstream(
        &mut self,
        now: Now,
        key: Key,
        route: RouteSetId,
        tag: [u8; 16],
        call_id: &str,
        cseq: u32,
        dialog: Option<Dialog>,
    ) {
        let shared = key.watcher.is_none();
        let id = self.add_upstream(now, key, route);
        let Some(upstream) = self.upstreams.slots.get_mut(id) else {
            return;
        };
        self.upstreams.by_tag.remove(&upstream.tag);
        self.upstreams.by_tag.insert(tag, id);
        (upstream.tag, upstream.call_id, upstream.cseq, upstream.dialog) = (tag, call_id.into(), cseq, dialog);
        upstream.restored = true;
        if upstream.dialog.is_some() {
            upstream.machine = Subscriber::restored(now.mono_ms, upstream.machine.expires_s());
        } else {
            // The far side may know the old identifiers, with a sequence number that nobody remembers.
            self.new_dialog(id);
        }
        // Views that are shared may be as many as there are lines: they take turns.
        let turn = if shared { self.upstreams.slots.len() as u64 } else { 0 };
        self.wheel.arm(now.mono_ms + 1 + turn, Kind::Upstream, id);
    }

    /// Follows a new configuration. A subscription stays where it is while its peer is trusted and a route still leads
    /// there; else it is opened anew where the route leads now. Without a route its watchers have been told already.
    pub(in crate::engine) fn follow_upstreams(&mut self, now: Now, plan: &crate::config::plan::Plan) {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        self.upstreams.by_key.clear();
        let ids: Vec<SlotId> = self.upstreams.slots.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(upstream) = self.upstreams.slots.get_mut(id) else {
                continue;
            };
            let domain = upstream.key.presentity.domain().as_bytes();
            let peer = plan.peer(upstream.key.peer);
            let found = snapshot.routes.domain(domain);
            let routes = found.and_then(|set| snapshot.routes.set(set)).map(|set| set.routes());
            let (Some(set), Some(first)) = (found, routes.and_then(|r| r.first())) else {
                // Its watchers have been dismissed; an answer to our last word would find nothing to change.
                self.drop_upstream(id);
                continue;
            };
            upstream.route = set;
            let same = peer.filter(|peer| routes.is_some_and(|all| all.iter().any(|r| r.peer == *peer)));
            upstream.key.peer = same.unwrap_or(first.peer);
            let key = upstream.key.clone();
            if upstream.ending && same.is_none() {
                self.drop_upstream(id);
                continue;
            }
            if !upstream.ending {
                self.upstreams.by_key.insert(key, id);
            }
            if same.is_none() {
                self.move_upstream(now, id);
            }
        }
    }

    /// Opens a subscription anew, at another peer.
    fn move_upstream(&mut self, now: Now, id: SlotId) {
        self.show_unknown(id);
        self.new_dialog(id);
        let peer = self.upstreams.slots.get(id).map_or(PeerId(u16::MAX), |u| u.key.peer);
        let expires_s = self.upstream_expires_s(peer);
        if let Some(upstream) = self.upstreams.slots.get_mut(id) {
            upstream.machine = Subscriber::new(now.mono_ms, expires_s);
            upstream.restored = true;
        }
        self.persist_upstream(id);
        self.wheel.arm(now.mono_ms + 1, Kind::Upstream, id);
    }

    pub(super) fn persist_upstream(&mut self, id: SlotId) {
        if let Some((key, value)) = self.upstream_record(id) {
            self.persist(key, Some(value));
        }
    }

    pub(super) fn upstream_record(&self, id: SlotId) -> Option<record::Pair> {
        let upstream = self.upstreams.slots.get(id)?;
        let peer = self.peer_name(upstream.key.peer);
        Some((record::upstream_key(&upstream.key), record::upstream(upstream, &peer)))
    }

    /// The record of an upstream subscription that is still wanted.
    pub(in crate::engine) fn upstream_value(&self, key: &[u8]) -> Option<Box<[u8]>> {
        let mut alive = self.upstreams.slots.iter().map(|(_, u)| u).filter(|u| !u.ending);
        let upstream = alive.find(|u| *record::upstream_key(&u.key) == *key)?;
        Some(record::upstream(upstream, &self.peer_name(upstream.key.peer)))
    }
}
