//! The load driver: plays both ends of a SIP server, checks every answer, and says what each operation cost the server.
//!
//! It knows nothing of the server but its addresses, so that any server set up for the same jobs can be driven alike.
//! Transactions repeat over UDP as RFC 3261 Timer E says; whatever is unanswered after [`GIVE_UP`] is lost.

pub mod desk;
pub mod meter;
pub mod presence;
pub mod registrar;
pub mod relay;
pub mod report;
pub mod servers;
pub mod text;
pub mod wires;

use std::time::Duration;

/// An operation without an end after this is lost.
pub const GIVE_UP: Duration = Duration::from_secs(12);

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS with certificates on both sides.
    Tls,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// As in a URI.
    #[must_use]
    pub fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// As in Via.
    #[must_use]
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// A job for a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// MESSAGE from one trunk to the other.
    Relay,
    /// SUBSCRIBE, PUBLISH and their NOTIFYs.
    Presence,
    /// One PUBLISH, many watchers.
    FanOut,
    /// REGISTER and its refresh.
    Registrar,
    /// Memory for each subscription held.
    Memory,
}

impl Job {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Relay, Self::Presence, Self::FanOut, Self::Registrar, Self::Memory];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Presence => "presence",
            Self::FanOut => "fan-out",
            Self::Registrar => "registrar",
            Self::Memory => "memory",
        }
    }
}

/// How much of each job is done.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How long messages are relayed.
    pub relay: Duration,
    /// Operations outstanding.
    pub window: usize,
    /// Presentities, each with `watchers`.
    pub presentities: usize,
    /// Watchers of each.
    pub watchers: usize,
    /// Changes of each presentity.
    pub rounds: usize,
    /// Watchers of the one presentity of the fan-out.
    pub crowd: usize,
    /// Addresses registered.
    pub addresses: usize,
    /// Subscriptions held while memory is read.
    pub held: usize,
}

impl Size {
    /// What figures are taken with.
    pub const FULL: Self = Self {
        relay: Duration::from_secs(4),
        window: 64,
        presentities: 1000,
        watchers: 20,
        rounds: 3,
        crowd: 10_000,
        addresses: 30_000,
        held: 100_000,
    };
    /// All jobs on all transports and two servers in less than two minutes.
    pub const QUICK: Self = Self {
        relay: Duration::from_millis(1500),
        presentities: 250,
        rounds: 2,
        addresses: 10_000,
        held: 10_000,
        ..Self::FULL
    };
    /// About a second for each job: to see that all of it works.
    pub const SMOKE: Self = Self {
        relay: Duration::from_millis(700),
        window: 16,
        presentities: 10,
        watchers: 8,
        rounds: 2,
        crowd: 100,
        addresses: 100,
        held: 200,
    };
}
