//! The running configuration as resolved: immutable, shared as `Arc<Snapshot>`, replaced as a whole.

use core::net::{IpAddr, SocketAddr};
use std::fmt;
use std::sync::Arc;

use super::acl::Acl;
use super::addresses::PeerAddresses;
use super::names::NameMap;
use super::peer::Peer;
use super::routes::Routes;
use super::rule::{RuleRef, Rules};
use super::settings::{Admin, Dns, Limits, LocalIdentity, Log, Messages, Presence, Registrar, Store};
use super::users::{User, UserId, Users};
use crate::dialect::Dialect;
use crate::sip::net::{ListenerId, PeerId, Transport};

/// Index of a local domain in the running configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainId(pub u16);

/// Index of a dialect in the running configuration; 0 is plain `rfc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct DialectId(pub u16);

/// A host and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name in lower case, or an address without brackets (a zone id is allowed).
    pub host: Arc<str>,
    /// The port if one is written.
    pub port: Option<u16>,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brackets = self.host.contains(':');
        match (brackets, self.port) {
            (true, Some(port)) => write!(f, "[{}]:{port}", self.host),
            (true, None) => write!(f, "[{}]", self.host),
            (false, Some(port)) => write!(f, "{}:{port}", self.host),
            (false, None) => f.write_str(&self.host),
        }
    }
}

/// Whether a listener asks for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// It does not ask.
    None,
    /// It asks; none is fine, a bad one is not.
    Request,
    /// It asks and goes on only with a good one that names a peer.
    Require,
}

/// Where requests come in.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What its sockets are called; it keeps this over a reload, whatever comes before it in the file.
    pub id: ListenerId,
    /// The operator's name for it.
    pub name: Arc<str>,
    /// What it speaks.
    pub transport: Transport,
    /// The sockets it opens.
    pub bind: Vec<SocketAddr>,
    /// Whether it asks for a certificate; `None` unless it speaks TLS.
    pub client_certificate: ClientCertificate,
    /// Who may stand in front of it and end TLS for it; then nobody else may connect.
    pub terminator: Option<super::terminator::Terminator>,
    /// What Via, Contact and Record-Route say instead of the socket's address.
    pub advertise: Option<HostPort>,
    /// Where it is written.
    pub rule: RuleRef,
}

/// The running configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Local domains, each with the place it is written at; the index is the [`DomainId`].
    pub domains: NameMap<RuleRef>,
    /// Who the bridge is.
    pub identity: LocalIdentity,
    /// Where requests come in.
    pub listeners: Vec<Listener>,
    /// Servers we federate with; the index is the [`PeerId`].
    pub peers: Vec<Peer>,
    /// Which peers list which addresses.
    pub addresses: PeerAddresses,
    /// Local users.
    pub users: Users,
    /// Static routes and the implicit ones to the domains of peers.
    pub routes: Routes,
    /// The incoming access list.
    pub acl: Acl,
    /// Dialects; the index is the [`DialectId`].
    pub dialects: Vec<Arc<Dialect>>,
    /// Presence.
    pub presence: Presence,
    /// The registrar.
    pub registrar: Registrar,
    /// Instant messages.
    pub messages: Messages,
    /// Durable state.
    pub store: Store,
    /// Finding peers by name.
    pub dns: Dns,
    /// What is too much.
    pub limits: Limits,
    /// Administration.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
    /// The rules that hold without being written, and the places of those that are settings.
    pub rules: Rules,
}

impl Snapshot {
    /// A peer by its id.
    #[must_use]
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(id.0))
    }

    /// Peers with their ids.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = (PeerId, &Peer)> {
        self.peers
            .iter()
            .enumerate()
            .map(|(i, p)| (PeerId(u16::try_from(i).unwrap_or(u16::MAX)), p))
    }

    /// A peer by the operator's name for it.
    #[must_use]
    pub fn peer_named(&self, name: &str) -> Option<PeerId> {
        self.peers().find(|(_, p)| &*p.name == name).map(|(id, _)| id)
    }

    /// A dialect's id by its name.
    #[must_use]
    pub fn dialect_named(&self, name: &str) -> Option<DialectId> {
        let at = self.dialects.iter().position(|d| &*d.name == name)?;
        u16::try_from(at).ok().map(DialectId)
    }

    /// A dialect by its id; plain `rfc` for an id that is not there.
    #[must_use]
    pub fn dialect(&self, id: DialectId) -> Option<&Arc<Dialect>> {
        self.dialects.get(usize::from(id.0)).or_else(|| self.dialects.first())
    }

    /// A listener by its id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        let usual = self.listeners.get(usize::from(id.0)).filter(|l| l.id == id);
        usual.or_else(|| self.listeners.iter().find(|l| l.id == id))
    }

    /// A user by its id.
    #[must_use]
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(id)
    }

    /// A local domain by its name in any case.
    #[must_use]
    pub fn local_domain(&self, name: &[u8]) -> Option<DomainId> {
        self.domains
            .index(name)
            .and_then(|i| u16::try_from(i).ok())
            .map(DomainId)
    }

    /// The same configuration with the present addresses of a host name in the access list.
    #[must_use]
    pub fn with_resolved(&self, host: &str, addresses: &[IpAddr]) -> Self {
        let mut next = self.clone();
        next.acl.resolved(host, addresses);
        next
    }
}
