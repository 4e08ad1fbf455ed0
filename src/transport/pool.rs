//! Outgoing connections: one for each peer, transport and address (design rule 3: never shared between peers), and those a
//! peer opened, once its name is authenticated (RFC 5923).

use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stream::Stream;
use super::{CloseReason, SendError, Transports, connection, next_flow, options};
use crate::sip::net::{Destination, FlowId, PeerId, Source, Transport};

/// Messages that may wait for a connection being made.
const MAX_WAITING: usize = 10_000;

/// How a peer is connected to.
#[derive(Debug, Clone, Default)]
pub struct PeerSpec {
    /// Its TLS settings: its own anchors, our certificate.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name sent in the handshake (SNI): its domain, or the name it is known by.
    pub server_name: String,
    /// The local address to connect from, where it is of the peer's address family.
    pub bind: Option<IpAddr>,
    /// Differentiated services code point (0 to 63).
    pub dscp: Option<u8>,
}

/// A peer or, without one, a client's own address.
pub(super) type PoolKey = (Option<PeerId>, Transport, SocketAddr);

/// What a connection that a peer opened serves for: one address of that peer, or all.
pub(super) type AliasKey = (PeerId, Option<SocketAddr>);

#[derive(Debug)]
enum Pooled {
    Connecting {
        /// Tells this attempt from a later one for the same.
        attempt: u64,
        waiting: Vec<(Bytes, u64)>,
        bytes: usize,
    },
    Open(FlowId),
}

/// The outgoing connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Pool {
    peers: HashMap<PeerId, Rc<PeerSpec>>,
    entries: HashMap<PoolKey, Pooled>,
    aliases: HashMap<AliasKey, FlowId>,
    connecting: usize,
    attempts: u64,
}

impl Pool {
    /// The connection that the peer itself opened for what goes to `key`.
    fn alias(&self, key: PoolKey) -> Option<FlowId> {
        let (Some(peer), Transport::Tls, to) = key else {
            return None;
        };
        let flow = self.aliases.get(&(peer, Some(to)));
        flow.or_else(|| self.aliases.get(&(peer, None))).copied()
    }
}

impl Transports {
    /// Sets how a peer is connected to. Connections that are open stay; one that is being made is made anew.
    pub fn set_peer(&self, peer: PeerId, spec: PeerSpec) {
        self.0.pool.borrow_mut().peers.insert(peer, Rc::new(spec));
    }

    /// Sets how all peers are connected to, under their new ids. `moved` names those whose connections stay in use, by old
    /// and new id; other peers' are forgotten, and closed only by [`Transports::close`].
    pub fn set_peers(&self, specs: Vec<(PeerId, PeerSpec)>, moved: &[(PeerId, PeerId)]) {
        let mut pool = self.0.pool.borrow_mut();
        pool.peers = specs.into_iter().map(|(id, spec)| (id, Rc::new(spec))).collect();
        let follow = |old: PeerId| moved.iter().find(|(from, _)| *from == old).map(|(_, to)| *to);
        let mut again = Vec::new();
        for ((peer, transport, to), entry) in core::mem::take(&mut pool.entries) {
            let next = peer.and_then(follow);
            match entry {
                // An attempt that began with old settings comes to nothing: what waits for it is sent anew.
                Pooled::Connecting { waiting, .. } if peer.is_some() => {
                    again.extend(waiting.into_iter().map(|sent| ((peer, transport, to), next, sent)));
                }
                entry if peer.is_none() || next.is_some() => {
                    pool.entries.insert((next, transport, to), entry);
                }
                _ => {}
            }
        }
        let aliases = core::mem::take(&mut pool.aliases);
        let kept = aliases
            .into_iter()
            .filter_map(|((peer, at), flow)| Some(((follow(peer)?, at), flow)));
        pool.aliases = kept.collect();
        for stream in self.0.streams.borrow().values() {
            stream.pooled.borrow_mut().retain_mut(|(peer, ..)| {
                let next = peer.and_then(follow);
                let keep = peer.is_none() || next.is_some();
                *peer = next;
                keep
            });
            let mut adopted = stream.adopted.borrow_mut();
            *adopted = adopted
                .drain(..)
                .filter_map(|(peer, at)| Some((follow(peer)?, at)))
                .collect();
        }
        drop(pool);
        for ((peer, transport, to), next, (wire, token)) in again {
            match next {
                Some(_) => self.send_pooled((next, transport, to), wire, token),
                None => self.fail_later(token, destination((peer, transport, to)), SendError::Reconfigured),
            }
        }
    }

    /// Uses a TLS connection that a peer opened for what we send it at an address, or anywhere (RFC 5923). Only for a flow
    /// whose authenticated name is the peer's. A connection of ours that is open stays in use until it ends; one that is
    /// being made is not waited for.
    pub fn adopt(&self, flow: FlowId, peer: PeerId, at: Option<SocketAddr>) {
        let Some(stream) = self
            .living(flow)
            .filter(|s| s.source.transport == Transport::Tls && s.source.listener.is_some())
        else {
            return;
        };
        let mut pool = self.0.pool.borrow_mut();
        pool.aliases.insert((peer, at), flow);
        stream.adopted.borrow_mut().push((peer, at));
        let mut all = Vec::new();
        for ((of, transport, to), entry) in &mut pool.entries {
            if *of == Some(peer)
                && *transport == Transport::Tls
                && at.is_none_or(|at| at == *to)
                && let Pooled::Connecting { waiting, bytes, .. } = entry
            {
                *bytes = 0;
                all.append(waiting);
            }
        }
        drop(pool);
        for (wire, token) in all {
            self.enqueue(&stream, wire, token);
        }
    }

    /// Uses a connection that a peer opened no more for what we send it.
    pub fn disown(&self, flow: FlowId) {
        let stream = self.0.streams.borrow().get(&flow).cloned();
        if let Some(stream) = stream {
            self.forget_adopted(&stream);
        }
    }

    fn forget_adopted(&self, stream: &Stream) {
        let mut pool = self.0.pool.borrow_mut();
        for key in stream.adopted.take() {
            if pool.aliases.get(&key) == Some(&stream.flow) {
                pool.aliases.remove(&key);
            }
        }
    }

    fn living(&self, flow: FlowId) -> Option<Rc<Stream>> {
        self.0.streams.borrow().get(&flow).filter(|s| !s.is_stopped()).cloned()
    }

    pub(super) fn send_pooled(&self, key: PoolKey, wire: Bytes, token: u64) {
        let mut pool = self.0.pool.borrow_mut();
        let ours = match pool.entries.get(&key) {
            Some(Pooled::Open(flow)) => Some(*flow),
            _ => None,
        };
        let open = ours.and_then(|flow| self.living(flow));
        if ours.is_some() && open.is_none() {
            // It is on its way out: another takes its place.
            pool.entries.remove(&key);
        }
        let theirs = || pool.alias(key).and_then(|flow| self.living(flow));
        if let Some(stream) = open.or_else(theirs) {
            drop(pool);
            return self.enqueue(&stream, wire, token);
        }
        match pool.entries.get_mut(&key) {
            Some(Pooled::Connecting { waiting, bytes, .. }) => {
                let total = bytes.saturating_add(wire.len());
                if waiting.len() < MAX_WAITING && total <= self.0.limits.get().max_queued {
                    *bytes = total;
                    return waiting.push((wire, token));
                }
                drop(pool);
                return self.fail_later(token, destination(key), SendError::Full);
            }
            Some(Pooled::Open(_)) | None => {}
        }
        if pool.connecting >= self.0.limits.get().connecting {
            drop(pool);
            return self.fail_later(token, destination(key), SendError::Full);
        }
        let bytes = wire.len();
        pool.connecting += 1;
        pool.attempts += 1;
        let attempt = pool.attempts;
        pool.entries.insert(
            key,
            Pooled::Connecting {
                attempt,
                waiting: vec![(wire, token)],
                bytes,
            },
        );
        drop(pool);
        tokio::task::spawn_local(run(self.clone(), key, attempt));
    }

    /// Takes a connection that has ended out of the pool.
    pub(super) fn forget_pooled(&self, stream: &Stream) {
        let mut pool = self.0.pool.borrow_mut();
        for key in stream.pooled.take() {
            if matches!(pool.entries.get(&key), Some(Pooled::Open(flow)) if *flow == stream.flow) {
                pool.entries.remove(&key);
            }
        }
        drop(pool);
        self.forget_adopted(stream);
    }

    /// What waits for an attempt that is over now; nothing when another has taken its place.
    fn take_waiting(&self, key: PoolKey, attempt: u64) -> Vec<(Bytes, u64)> {
        let mut pool = self.0.pool.borrow_mut();
        pool.connecting = pool.connecting.saturating_sub(1);
        if !matches!(pool.entries.get(&key), Some(Pooled::Connecting { attempt: of, .. }) if *of == attempt) {
            return Vec::new();
        }
        match pool.entries.remove(&key) {
            Some(Pooled::Connecting { waiting, .. }) => waiting,
            Some(Pooled::Open(_)) | None => Vec::new(),
        }
    }

    fn peer_spec(&self, peer: Option<PeerId>) -> Option<Rc<PeerSpec>> {
        self.0.pool.borrow().peers.get(&peer?).cloned()
    }
}

fn destination((peer, transport, to): PoolKey) -> Destination {
    match peer {
        Some(peer) => Destination::Peer { peer, transport, to },
        None => Destination::Contact { to },
    }
}

/// Makes a connection and serves it.
async fn run(transports: Transports, key: PoolKey, attempt: u64) {
    match connect(&transports, key).await {
        Ok((stream, rest)) => {
            for (wire, token) in transports.take_waiting(key, attempt) {
                transports.enqueue(&stream, wire, token);
            }
            stream.pooled.borrow_mut().push(key);
            transports
                .0
                .pool
                .borrow_mut()
                .entries
                .insert(key, Pooled::Open(stream.flow));
            connection::serve(&transports, &stream, rest).await;
        }
        Err(why) => {
            transports.note(key.2.ip(), &why.to_string(), "no connection");
            for (_, token) in transports.take_waiting(key, attempt) {
                if token != 0 {
                    transports.0.handler.send_failed(token, destination(key), &why);
                }
            }
            transports.0.handler.batch_done();
        }
    }
}

async fn connect(transports: &Transports, key: PoolKey) -> Result<(Rc<Stream>, Vec<u8>), SendError> {
    let (peer, transport, remote) = key;
    let limits = transports.0.limits.get();
    let spec = transports.peer_spec(peer);
    let tls = match transport {
        Transport::Tls => Some(client_side(spec.as_deref(), remote)?),
        Transport::Tcp | Transport::Udp => None,
    };
    let connected = timeout(limits.connect, dial(remote, spec.as_deref())).await;
    let socket = match connected {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return Err(SendError::Connect(error.to_string())),
        Err(_) => return Err(SendError::ConnectTimeout),
    };
    let local = socket.local_addr().unwrap_or(remote);
    let flow = next_flow();
    let source = Source {
        transport,
        remote,
        local,
        listener: None,
        flow: Some(flow),
    };
    let stream = Rc::new(Stream::new(source, flow, socket, tls, transports.clock_ms()));
    let rest = match timeout(limits.handshake, connection::handshake(transports, &stream)).await {
        Ok(Ok(rest)) => rest,
        Ok(Err(CloseReason::Lost(why))) => return Err(SendError::Handshake(why)),
        Ok(Err(why)) => return Err(SendError::Handshake(why.to_string())),
        Err(_) => return Err(SendError::HandshakeTimeout),
    };
    let unchanged = match (&spec, transports.peer_spec(peer)) {
        (Some(before), Some(now)) => Rc::ptr_eq(before, &now),
        (before, now) => before.is_none() && now.is_none(),
    };
    if !unchanged {
        return Err(SendError::Reconfigured);
    }
    if !connection::open(transports, &stream, peer) {
        return Err(SendError::Unwanted);
    }
    Ok((stream, rest))
}

async fn dial(remote: SocketAddr, spec: Option<&PeerSpec>) -> std::io::Result<TcpStream> {
    let socket = options::outgoing(remote, spec.and_then(|s| s.bind))?;
    if let Some(dscp) = spec.and_then(|s| s.dscp) {
        options::set_dscp(&socket, remote.is_ipv4(), dscp)?;
    }
    let socket = socket.connect(remote).await?;
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

fn client_side(spec: Option<&PeerSpec>, remote: SocketAddr) -> Result<rustls::Connection, SendError> {
    let spec = spec.ok_or(SendError::NoTlsSettings)?;
    let config = spec.tls.clone().ok_or(SendError::NoTlsSettings)?;
    let name = ServerName::try_from(spec.server_name.clone()).unwrap_or(ServerName::IpAddress(remote.ip().into()));
    let tls = rustls::ClientConnection::new(config, name).map_err(|e| SendError::Handshake(e.to_string()))?;
    Ok(tls.into())
}
