//! How the other side is reached, and what we call ourselves towards it.
//!
//! A Contact, Record-Route or Via is a claim. Bytes go only to the address a request came from, to another port of that
//! same address, or to an address the configuration lists for the peer. Any other claim is answered by using the
//! connection, the source address or the peer's next hop instead (no packet ever reaches a third party).

use core::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::{Engine, ListenerAddress};
use crate::policy::Party;
use crate::sip::net::{Destination, FlowId, ListenerId, PeerId, Source, Transport, at_port};
use crate::sip::uri::{Host, Uri};

/// Where something came from, as long as it is kept: a [`Source`] without what only the moment of arrival needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) transport: Transport,
    pub(super) remote: SocketAddr,
    pub(super) listener: Option<ListenerId>,
    /// The connection, while it lives.
    pub(super) flow: Option<FlowId>,
}

impl From<&Source> for Origin {
    fn from(source: &Source) -> Self {
        Self {
            transport: source.transport,
            remote: source.remote,
            listener: source.listener,
            flow: source.flow,
        }
    }
}

/// A side of a dialog, a binding or a subscription, as far as reaching it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Who it is.
    pub(super) party: Party,
    /// Where its last request came from.
    pub(super) origin: Origin,
}

impl Engine {
    /// Where a request inside a dialog goes whose next URI (first Route, else remote target) is `uri`.
    pub(super) fn destination(&self, reach: &Reach, uri: &[u8]) -> Destination {
        let claim = claimed_by(&reach.origin, uri);
        match reach.party {
            Party::Peer(peer) => self.peer_destination(peer, &reach.origin, claim),
            Party::User(_) => self.client_destination(&reach.origin, uri),
        }
    }

    fn peer_destination(&self, peer: PeerId, origin: &Origin, claim: Option<(Transport, SocketAddr)>) -> Destination {
        let transport = self.snapshot.peer(peer).map_or(origin.transport, |p| p.transport);
        // What it says of itself is said beyond its terminator: there only the way through ours leads back.
        let terminated = self.leaves_by_terminator(peer);
        let claim = claim.filter(|_| !terminated);
        let allowed = claim.filter(|(_, to)| to.ip() == origin.remote.ip() || self.peer_has_address(peer, to.ip()));
        let to = match allowed {
            Some((_, to)) => Some(to),
            None => self.peers.first_target(peer, transport),
        };
        match (transport, to) {
            (Transport::Udp, to) => {
                let to = to.unwrap_or(origin.remote);
                Destination::Datagram {
                    listener: self.datagram_listener(to.ip(), origin.listener),
                    to,
                }
            }
            (_, Some(to)) => Destination::Peer { peer, transport, to },
            (_, None) => match origin.flow {
                Some(flow) => Destination::Flow(flow),
                // Never in the clear to where TLS is spoken: this flow is gone, so sending fails.
                None if terminated => Destination::Flow(FlowId(0)),
                None => Destination::Peer {
                    peer,
                    transport,
                    to: origin.remote,
                },
            },
        }
    }

    /// Where a request for a client goes that was last heard from `source` and names `uri`.
    pub(super) fn client_destination(&self, origin: &Origin, uri: &[u8]) -> Destination {
        let same_host = claimed_by(origin, uri).filter(|(_, to)| to.ip() == origin.remote.ip());
        match (origin.flow, same_host) {
            // A client that listens beside its connection names that port; a dead connection must not cost the state.
            (Some(flow), Some((Transport::Tcp, to))) if to.port() != origin.remote.port() => {
                if self.flows.contains_key(&flow) {
                    Destination::Flow(flow)
                } else {
                    Destination::Contact { to }
                }
            }
            (Some(flow), _) => Destination::Flow(flow),
            (None, Some((Transport::Tcp, to))) => Destination::Contact { to },
            (None, claim) => {
                let to = claim.map_or(origin.remote, |(_, to)| to);
                Destination::Datagram {
                    listener: self.datagram_listener(to.ip(), origin.listener),
                    to,
                }
            }
        }
    }

    /// Whether what we send a peer leaves by a terminator of ours, which speaks TLS to it for us.
    pub(super) fn leaves_by_terminator(&self, peer: PeerId) -> bool {
        let peer = self.snapshot.peer(peer);
        peer.is_some_and(|p| p.tls.terminated.is_some() && p.transport != Transport::Tls)
    }

    pub(super) fn peer_has_address(&self, peer: PeerId, ip: IpAddr) -> bool {
        self.snapshot.peer(peer).is_some_and(|p| p.lists(ip)) || self.peers.has_target(peer, ip)
    }

    /// The UDP listener to send from: the one it came in by, else the first of the same address family.
    pub(super) fn datagram_listener(&self, to: IpAddr, came_by: Option<ListenerId>) -> ListenerId {
        let udp = |l: &&ListenerAddress| l.transport == Transport::Udp && l.bound.is_ipv4() == to.is_ipv4();
        came_by
            .filter(|id| self.listeners.iter().filter(udp).any(|l| l.id == *id))
            .or_else(|| self.listeners.iter().find(udp).map(|l| l.id))
            .unwrap_or(ListenerId(0))
    }

    /// Destinations of a new request to a peer over its configured next hops, the one to try first leading.
    pub(super) fn peer_route(&self, peer: PeerId, targets: &[(Transport, SocketAddr)]) -> SmallVec<[Destination; 2]> {
        targets
            .iter()
            .map(|&(transport, to)| match transport {
                Transport::Udp => Destination::Datagram {
                    listener: self.datagram_listener(to.ip(), None),
                    to,
                },
                _ => Destination::Peer { peer, transport, to },
            })
            .collect()
    }

    /// Our `host:port` for the other end of `to`.
    pub(super) fn advertised(&self, to: Destination) -> (Transport, &str) {
        let (transport, family, listener) = match to {
            Destination::Datagram { listener, to } => (Transport::Udp, to.is_ipv4(), Some(listener)),
            Destination::Peer { transport, to, .. } => (transport, to.is_ipv4(), None),
            Destination::Contact { to } => (Transport::Tcp, to.is_ipv4(), None),
            Destination::Flow(flow) => match self.flows.get(&flow) {
                Some(f) => (f.source.transport, f.source.remote.is_ipv4(), f.source.listener),
                None => (Transport::Tcp, true, None),
            },
        };
        let fits = |l: &&ListenerAddress| l.transport == transport && l.bound.is_ipv4() == family;
        let found = listener
            .and_then(|id| self.listeners.iter().filter(fits).find(|l| l.id == id))
            .or_else(|| self.listeners.iter().find(fits))
            .or_else(|| self.listeners.iter().find(|l| l.transport == transport));
        (transport, found.map_or_else(|| self.host(), |l| &l.advertised))
    }

    /// The Via value for a request to `to`.
    pub(super) fn via_value(&self, to: Destination, branch: &[u8]) -> SmallVec<[u8; 160]> {
        let (transport, host) = self.advertised(to);
        let mut via = SmallVec::new();
        for part in [
            b"SIP/2.0/",
            transport.via_name().as_bytes(),
            b" ",
            host.as_bytes(),
            b";branch=",
            branch,
            b";rport",
        ] {
            via.extend_from_slice(part);
        }
        if self.offers_alias(to) {
            via.extend_from_slice(b";alias");
        }
        via
    }

    /// Our URI as Contact or Record-Route carry it: `<sip:user@host:port;transport=tls;lr>`.
    pub(super) fn own_uri(&self, to: Destination, user: &[u8], lr: bool) -> SmallVec<[u8; 96]> {
        let (transport, host) = self.advertised(to);
        let mut value = SmallVec::new();
        value.extend_from_slice(b"<sip:");
        if !user.is_empty() {
            value.extend_from_slice(user);
            value.push(b'@');
        }
        value.extend_from_slice(host.as_bytes());
        if transport != Transport::Udp {
            value.extend_from_slice(b";transport=");
            value.extend_from_slice(transport.param().as_bytes());
        }
        value.extend_from_slice(if lr { b";lr>" } else { b">" });
        value
    }

    /// Record-Route that ties the dialog to `token`: one address towards the callee, and where the caller speaks
    /// another transport or family, one towards the caller beneath it (RFC 5658).
    pub(super) fn record_route_values(&self, callee: Destination, caller: Destination, token: &[u8]) -> Vec<u8> {
        let (near, far) = (self.own_uri(callee, token, true), self.own_uri(caller, token, true));
        if near == far {
            near.to_vec()
        } else {
            [&near[..], b", ", &far[..]].concat()
        }
    }

    /// The bridge's host name.
    pub(super) fn host(&self) -> &str {
        &self.snapshot.identity.host
    }

    /// Whether a URI names one of our own sockets or our host name: `lr` routes and Request-URIs that end here.
    pub(super) fn is_own_uri(&self, uri: &Uri<'_>) -> bool {
        let host = uri.host_bytes();
        if host.eq_ignore_ascii_case(self.host().as_bytes()) {
            return true;
        }
        let port = uri.port.unwrap_or(if uri.transport() == Some(Transport::Tls) {
            5061
        } else {
            5060
        });
        let written = [host, b":", port.to_string().as_bytes()].concat();
        self.listeners
            .iter()
            .any(|l| l.advertised.as_bytes().eq_ignore_ascii_case(&written))
    }
}

/// The socket address a URI claims; one of the machine it came from is in the same zone.
fn claimed_by(origin: &Origin, uri: &[u8]) -> Option<(Transport, SocketAddr)> {
    let (transport, to) = claimed_address(uri)?;
    let same = to.ip() == origin.remote.ip();
    Some((transport, if same { at_port(origin.remote, to.port()) } else { to }))
}

/// The socket address a URI claims, when it is written as a literal.
pub(super) fn claimed_address(uri: &[u8]) -> Option<(Transport, SocketAddr)> {
    let uri = Uri::parse(uri).ok()?;
    let ip = match uri.host {
        Host::V4(ip) => IpAddr::V4(ip),
        Host::V6(ip) => IpAddr::V6(ip),
        Host::Name(_) => return None,
    };
    let transport = uri.transport().unwrap_or(Transport::Udp);
    Some((
        transport,
        SocketAddr::new(ip, uri.port.unwrap_or_else(|| transport.default_port())),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_for_the_machine_it_came_from_keeps_the_zone() {
        let origin = Origin {
            transport: Transport::Udp,
            remote: core::net::SocketAddrV6::new(
                "fe80::1".parse().unwrap_or(core::net::Ipv6Addr::LOCALHOST),
                5060,
                0,
                3,
            )
            .into(),
            listener: None,
            flow: None,
        };
        let claimed = |uri: &str| claimed_by(&origin, uri.as_bytes()).map(|(_, to)| to.to_string());
        assert_eq!(claimed("sip:a@[fe80::1]:5080").as_deref(), Some("[fe80::1%3]:5080"));
        assert_eq!(claimed("sip:a@[fe80::2]:5080").as_deref(), Some("[fe80::2]:5080"));
        assert_eq!(claimed("sip:a@b.example"), None);
    }
}
