//! Whose a connection is, from its first moment on: a peer's, by certificate or by listed address, or nobody's.
//!
//! What a request may do is decided for each request alone. This is for what concerns connections as such: the code
//! point they are marked with and how many of them one peer may hold.

use ipnet::IpNet;

use super::{Engine, Output};
use crate::policy::{self, Identity, Snapshot};
use crate::sip::net::{FlowId, PeerId, Source, Transport};

impl Engine {
    /// The peer that the other end of an accepted connection has proved to be; of several the first that is configured.
    pub(super) fn owner_of(snapshot: &Snapshot, source: &Source, identity: &Identity) -> Option<PeerId> {
        let (ip, transport) = (source.remote.ip(), source.transport);
        let proves = |id: &PeerId| policy::is_peer(snapshot, *id, transport, ip, identity);
        match transport {
            Transport::Tls => identity.anchored().iter().copied().find(proves),
            _ => snapshot.addresses.peers(ip).find(proves),
        }
    }

    /// Has a connection marked as its peer's traffic shall be.
    pub(super) fn mark(&mut self, flow: FlowId, owner: Option<PeerId>) {
        let dscp = owner.and_then(|id| self.snapshot.peer(id)).and_then(|p| p.dscp);
        if let Some(dscp) = dscp {
            self.outputs.push_back(Output::Mark { flow, dscp });
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
