//! Both ends of what is received and sent, by address and by the peer's name. Only live traces ask.

use core::net::SocketAddr;

use super::Engine;
use crate::sip::net::{Destination, Source, Transport};

/// One message's way.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The transport.
    pub transport: Transport,
    /// Our own address, if it is known: a connection that is still being made has none.
    pub local: Option<SocketAddr>,
    /// The other end; unknown when the connection is gone.
    pub remote: Option<SocketAddr>,
    /// The peer at the other end, if it is one.
    pub peer: Option<String>,
}

impl Engine {
    /// The ends of something received.
    #[must_use]
    pub fn ends_of_source(&self, source: &Source) -> Ends {
        let own = source.flow.and_then(|id| self.flows.get(&id)).and_then(|f| f.peer);
        let peer = own.or_else(|| {
            let mut peers = self.snapshot.peers().map(|(id, _)| id);
            peers.find(|id| self.is_from_peer(source, *id))
        });
        Ends {
            transport: source.transport,
            local: Some(source.local),
            remote: Some(source.remote),
            peer: peer.and_then(|id| self.snapshot.peer(id)).map(|p| p.name.to_string()),
        }
    }

    /// The ends of something that is sent.
    #[must_use]
    pub fn ends_of(&self, to: Destination) -> Ends {
        let (transport, remote, peer) = match to {
            Destination::Datagram { listener, to } => {
                let bound = |l: &&super::ListenerAddress| l.id == listener && l.bound.is_ipv4() == to.is_ipv4();
                let local = self.listeners.iter().find(bound).map(|l| l.bound);
                // Without an address of its own the source is as good as the socket.
                let source = Source {
                    transport: Transport::Udp,
                    remote: to,
                    local: local.unwrap_or(to),
                    listener: Some(listener),
                    flow: None,
                };
                let ends = self.ends_of_source(&source);
                return Ends { local, ..ends };
            }
            Destination::Flow(flow) => {
                return match self.flows.get(&flow) {
                    Some(flow) => self.ends_of_source(&flow.source),
                    None => Ends {
                        transport: Transport::Tcp,
                        local: None,
                        remote: None,
                        peer: None,
                    },
                };
            }
            Destination::Peer { peer, transport, to } => (transport, to, Some(peer)),
            Destination::Contact { to } => (Transport::Tcp, to, None),
        };
        let open = self
            .flows
            .values()
            .map(|f| &f.source)
            .filter(|s| s.remote == remote && s.transport == transport)
            .min_by_key(|s| s.flow);
        Ends {
            transport,
            local: open.map(|s| s.local),
            remote: Some(remote),
            peer: peer.and_then(|id| self.snapshot.peer(id)).map(|p| p.name.to_string()),
        }
    }
}
