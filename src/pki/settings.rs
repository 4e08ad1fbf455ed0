//! TLS of the running bridge: what the configuration names, read and put together.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ServerConfig};

use super::doctor::DoctorTarget;
use super::verify::TrustFiles;
use super::{ClientAuth, FileProblem, LocalIdentity, PeerStore, PeerTrust, Pin, Rejections};
use super::{client_config, provider, server_config};
use crate::policy::snapshot::ClientCertificate;
use crate::policy::{self, Peer, Snapshot};
use crate::sip::net::{PeerId, Transport};

/// Our certificate and the trust in peers, from which TLS settings are made.
pub struct Settings {
    identity: LocalIdentity,
    store: Arc<PeerStore>,
    rejections: Arc<Rejections>,
    provider: Arc<CryptoProvider>,
}

impl core::fmt::Debug for Settings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Settings({} peers)", self.store.peers.len())
    }
}

/// What verifies one peer, as the configuration says it.
///
/// # Errors
/// Names the file that does not serve.
pub fn trust(id: PeerId, peer: &Peer) -> Result<PeerTrust, FileProblem> {
    let mut trust = PeerTrust::new(id, &peer.name);
    trust.domains = peer.domains.iter().map(|(name, _)| Arc::clone(name)).collect();
    trust.names.clone_from(&peer.tls.names);
    trust.allow_cn = peer.tls.allow_cn;
    let mut files = TrustFiles {
        ca: peer.tls.ca.clone(),
        pin: Vec::new(),
        crl: peer.tls.crl.clone(),
    };
    for pin in &peer.tls.pin {
        match pin {
            policy::Pin::Sha256(digest) => trust.pins.push(Pin(*digest)),
            policy::Pin::File(path) => files.pin.push(path.clone()),
        }
    }
    trust.load(&files)?;
    Ok(trust)
}

/// What the doctor needs to know of a peer.
///
/// # Errors
/// Names the file that does not serve.
pub fn doctor_target(snapshot: &Snapshot, id: PeerId, peer: &Peer) -> Result<DoctorTarget, FileProblem> {
    let default_port = peer.transport.default_port();
    // Behind a terminator of ours is a plain port, whose other side is not what is to be looked at.
    let behind = peer.tls.terminated.is_some() && peer.transport != Transport::Tls;
    let next_hop = peer.next_hop.as_ref().filter(|_| !behind).map(|at| match at.port {
        Some(_) => at.to_string(),
        None => format!("{at}:{default_port}"),
    });
    Ok(DoctorTarget {
        peer: Arc::new(trust(id, peer)?),
        certificate: snapshot.identity.certificate.clone(),
        key: snapshot.identity.key.clone(),
        domains: snapshot.domains.iter().map(|(name, _)| Arc::clone(name)).collect(),
        next_hop,
    })
}

/// What verifies all peers that speak TLS.
///
/// # Errors
/// Names the first file that does not serve.
pub fn peer_store(snapshot: &Snapshot) -> Result<PeerStore, FileProblem> {
    let speaks_tls =
        |p: &Peer| p.transport == Transport::Tls || p.accept.contains(&Transport::Tls) || p.tls.terminated.is_some();
    let peers = snapshot
        .peers()
        .filter(|(_, p)| speaks_tls(p))
        .map(|(id, p)| trust(id, p).map(Arc::new));
    Ok(PeerStore::new(peers.collect::<Result<_, _>>()?, &provider()))
}

impl Settings {
    /// Reads our certificate and all peers' files.
    ///
    /// # Errors
    /// Names the file that does not serve; also when key and certificate do not belong together.
    pub fn load(snapshot: &Snapshot) -> Result<Self, FileProblem> {
        let provider = provider();
        let local = &snapshot.identity;
        Ok(Self {
            identity: LocalIdentity::load(&local.certificate, &local.key, &provider)?,
            store: Arc::new(peer_store(snapshot)?),
            rejections: Arc::new(Rejections::default()),
            provider,
        })
    }

    /// Peers that proved themselves by an anchor or pin that the other settings do not have, although they have the peer:
    /// a file that is still called the same may hold something else.
    #[must_use]
    pub fn withdrawn(&self, next: &Self) -> Vec<Arc<str>> {
        let find = |name: &str| next.store.peers.iter().find(|p| &*p.name == name);
        let all = self.store.peers.iter();
        all.filter(|p| find(&p.name).is_some_and(|n| !n.believes_all_of(p)))
            .map(|p| Arc::clone(&p.name))
            .collect()
    }

    /// The same, going on with what was counted and noted under the settings before.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        self.rejections = Arc::clone(&before.rejections);
        self
    }

    /// The certificates that were refused.
    #[must_use]
    pub fn rejections(&self) -> &Rejections {
        &self.rejections
    }

    /// What verifies the peers.
    #[must_use]
    pub fn store(&self) -> &Arc<PeerStore> {
        &self.store
    }

    /// Settings of a listener.
    ///
    /// # Errors
    /// When rustls does not take our certificate.
    pub fn server_config(&self, ask: ClientCertificate) -> Result<Arc<ServerConfig>, rustls::Error> {
        let ask = match ask {
            ClientCertificate::None => ClientAuth::None,
            ClientCertificate::Request => ClientAuth::Request,
            ClientCertificate::Require => ClientAuth::Require,
        };
        server_config(
            &self.identity,
            &self.store,
            ask,
            &self.rejections,
            Arc::clone(&self.provider),
        )
    }

    /// Settings for connecting to one peer; `None` when it does not speak TLS.
    ///
    /// # Errors
    /// When rustls does not take our certificate.
    pub fn client_config(&self, id: PeerId) -> Result<Option<Arc<ClientConfig>>, rustls::Error> {
        let Some(peer) = self.store.peers.iter().find(|p| p.id == id) else {
            return Ok(None);
        };
        client_config(&self.identity, peer, &self.rejections, Arc::clone(&self.provider)).map(Some)
    }
}
