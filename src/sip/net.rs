//! Addresses and flows as the cores name them. Only values: sockets live in `transport`.

use core::net::SocketAddr;

/// A SIP transport (RFC 3261 section 18). TLS means TLS over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// The name in a Via header (`UDP`, `TCP`, `TLS`).
    #[must_use]
    pub fn via_name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The value of a `transport` URI parameter and of configuration keys (`udp`, `tcp`, `tls`).
    #[must_use]
    pub fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Reads either spelling, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|t| name.eq_ignore_ascii_case(t.param().as_bytes()))
    }

    /// Whether the transport itself repeats lost data (RFC 3261 section 17: no timers A, E, G, short D, I, K).
    #[must_use]
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// The port that is meant when none is written (RFC 3261 section 19.1.2).
    #[must_use]
    pub fn default_port(self) -> u16 {
        if self == Self::Tls { 5061 } else { 5060 }
    }
}

/// Names one stream connection for as long as the process lives; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Index of a listener in the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// Index of a peer in the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u16);

/// Where a message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The transport it arrived on.
    pub transport: Transport,
    /// The socket address it was sent from.
    pub remote: SocketAddr,
    /// Our own socket address it arrived at.
    pub local: SocketAddr,
    /// The listener it came in by; `None` on a connection that we opened.
    pub listener: Option<ListenerId>,
    /// The stream connection; `None` for a datagram.
    pub flow: Option<FlowId>,
}

/// Where bytes shall go. Cheap to copy, so that a retransmission needs nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A datagram from the socket of `listener`.
    Datagram {
        /// The listener whose socket sends.
        listener: ListenerId,
        /// The receiver.
        to: SocketAddr,
    },
    /// An open connection; gone means the send fails.
    Flow(FlowId),
    /// A connection to a configured peer, opened with that peer's own TLS settings if there is none.
    Peer {
        /// The peer whose trust settings and pool apply.
        peer: PeerId,
        /// The transport to use.
        transport: Transport,
        /// The resolved address.
        to: SocketAddr,
    },
    /// A plain TCP connection to a local user's registered contact or a subscriber's Contact, opened if there is none.
    Contact {
        /// The receiver.
        to: SocketAddr,
    },
}

/// Another port of the same machine: the address with its zone, which a link-local one cannot do without.
#[must_use]
pub fn at_port(address: SocketAddr, port: u16) -> SocketAddr {
    let mut other = address;
    other.set_port(port);
    other
}
