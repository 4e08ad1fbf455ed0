//! Whose a connection is, from its first moment on: a peer's, by certificate or by listed address, or nobody's.
//!
//! What a request may do is decided for each request alone. This is for what concerns connections as such: the code
//! point they are marked with and how many of them one peer may hold.

use ipnet::IpNet;

use super::{Engine, Event, Flow, Output};
use crate::policy::{self, Identity, Snapshot};
use crate::sip::net::{FlowId, PeerId, Source, Transport};
use crate::sip::time::Now;

impl Engine {
    /// The peer that the other end of an accepted connection has proved to be; of several the first that is configured.
    pub(super) fn owner_of(snapshot: &Snapshot, source: &Source, identity: &Identity) -> Option<PeerId> {
        let (ip, transport) = (source.remote.ip(), source.transport);
        let proves = |id: &PeerId| policy::is_peer(snapshot, *id, transport, ip, identity);
        let by_name = identity.anchored().iter().copied().find(proves);
        by_name.or_else(|| snapshot.addresses.peers(ip).find(proves))
    }

    /// Whether a peer holds as many connections as it may; if so, one more is counted as refused and noted.
    pub(super) fn holds_enough(&mut self, now: Now, owner: PeerId, source: &Source) -> bool {
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let Some((peer, most)) = snapshot.peer(owner).and_then(|p| Some((p, p.limits.connections?))) else {
            return false;
        };
        let theirs = |f: &&Flow| f.owner == Some(owner) && f.source.listener.is_some();
        if self.flows.values().filter(theirs).count() < most as usize {
            return false;
        }
        self.counters.connections_refused += 1;
        let rule = &peer.limits_rule;
        if self
            .rates
            .worth_logging(now.mono_ms, source.remote.ip(), "peer.limits.connections")
        {
            let (name, from) = (&peer.name, source.remote);
            let note = format!("closed a connection from {from}: peer {name} holds {most} already, by {rule}");
            self.outputs.push_back(Output::Log(Event::Note(note)));
        }
        true
    }

    /// Whether a connection was taken and has not ended.
    #[must_use]
    pub fn has_flow(&self, flow: FlowId) -> bool {
        self.flows.contains_key(&flow)
    }

    /// Has a connection marked as its peer's traffic shall be; one that was marked and is so no more gets the usual mark.
    pub(super) fn mark(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let peer = flow.owner.and_then(|owner| self.snapshot.peer(owner));
        let dscp = peer.and_then(|p| p.dscp);
        if core::mem::replace(&mut flow.marked, dscp.is_some()) || dscp.is_some() {
            let dscp = dscp.unwrap_or(0);
            self.outputs.push_back(Output::Mark { flow: id, dscp });
        }
    }

    /// Networks and addresses whose datagrams carry a code point: what a peer lists, and where it is resolved to be.
    #[must_use]
    pub fn datagram_marks(&self) -> Vec<(IpNet, u8)> {
        let mut out = Vec::new();
        for (id, peer) in self.snapshot.peers() {
            let Some(dscp) = peer.dscp else { continue };
            if peer.accept.contains(&Transport::Udp) {
                out.extend(peer.addresses.iter().map(|net| (*net, dscp)));
            }
            let resolved = self.peers.targets_of(id).filter(|(t, _)| *t == Transport::Udp);
            out.extend(resolved.map(|(_, to)| (IpNet::from(to.ip()), dscp)));
        }
        out
    }
}
