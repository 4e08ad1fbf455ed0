//! Opening listeners and accepting connections. Sources are judged before they cost a handshake.

use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use socket2::Type;
use tokio::net::{TcpListener, TcpStream};

use super::behind::{Introduced, introduce};
use super::stream::Stream;
use super::{CloseReason, Expect, Transports, connection, next_flow, options, udp};
use crate::sip::net::{FlowId, ListenerId, Source, Transport};

/// One listener to open.
#[derive(Debug, Clone)]
pub struct ListenerSpec {
    /// Its id.
    pub id: ListenerId,
    /// What it speaks.
    pub transport: Transport,
    /// The sockets to open.
    pub bind: Vec<SocketAddr>,
    /// The TLS settings of a TLS listener.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Differentiated services code point (0 to 63) of what it sends; `None` leaves the system's.
    pub dscp: Option<u8>,
    /// Whether other shards bind the same addresses (`SO_REUSEPORT`).
    pub shared: bool,
}

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}): {error}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The transport.
    pub transport: &'static str,
    /// What the operating system says.
    pub error: std::io::Error,
}

impl Transports {
    /// Opens the sockets of a listener, or more of them; returns their bound addresses. All of them open, or none.
    ///
    /// # Errors
    /// Names the first address that could not be bound.
    pub fn listen(&self, spec: &ListenerSpec) -> Result<Vec<SocketAddr>, ListenError> {
        if let Some(tls) = &spec.tls {
            self.set_server_tls(spec.id, Arc::clone(tls));
        }
        let (mut bound, known) = (Vec::new(), self.known_of(spec.id));
        for &address in &spec.bind {
            let opened = match spec.transport {
                Transport::Udp => self.open_udp(spec, address, &known),
                Transport::Tcp | Transport::Tls => self.open_stream(spec, address),
            };
            match opened {
                Ok(local) => bound.push(local),
                Err(error) => {
                    for local in bound {
                        self.close_address(spec.id, local);
                    }
                    return Err(ListenError {
                        address,
                        transport: spec.transport.param(),
                        error,
                    });
                }
            }
        }
        Ok(bound)
    }

    fn open_udp(
        &self,
        spec: &ListenerSpec,
        address: SocketAddr,
        known: &Rc<RefCell<udp::Known>>,
    ) -> std::io::Result<SocketAddr> {
        let socket = options::bind(address, Type::DGRAM, spec.shared)?;
        if let Some(dscp) = spec.dscp {
            options::set_dscp(&socket, address.is_ipv4(), dscp)?;
        }
        let others = || {
            let here = self.0.udp.borrow();
            here.iter()
                .filter(|s| s.listener == spec.id && s.local.is_ipv4() == address.is_ipv4())
                .map(|s| s.choose_among(known))
                .count()
        };
        let alone = spec.bind.iter().filter(|b| b.is_ipv4() == address.is_ipv4()).count() == 1 && others() == 0;
        let socket = Rc::new(udp::Socket::new(
            socket,
            spec.id,
            spec.dscp.unwrap_or(0),
            alone,
            Rc::clone(known),
        )?);
        let local = socket.local;
        self.0.udp.borrow_mut().push(Rc::clone(&socket));
        let task = tokio::task::spawn_local(udp::serve(self.clone(), socket));
        self.serving(spec.id, local, &task);
        Ok(local)
    }

    /// Remembers what serves an address, to end it when the address goes.
    fn serving<T>(&self, listener: ListenerId, local: SocketAddr, task: &tokio::task::JoinHandle<T>) {
        let mut accepting = self.0.accepting.borrow_mut();
        accepting
            .entry(listener)
            .or_default()
            .push((local, task.abort_handle()));
    }

    fn open_stream(&self, spec: &ListenerSpec, address: SocketAddr) -> std::io::Result<SocketAddr> {
        let socket = options::bind(address, Type::STREAM, spec.shared)?;
        if let Some(dscp) = spec.dscp {
            // Accepted sockets inherit it.
            options::set_dscp(&socket, address.is_ipv4(), dscp)?;
        }
        let listener = TcpListener::from_std(socket.into())?;
        let local = listener.local_addr()?;
        let task = tokio::task::spawn_local(accept(self.clone(), listener, spec.id, spec.transport));
        self.serving(spec.id, local, &task);
        Ok(local)
    }

    /// Closes the sockets of a listener. Connections that came in by it go on.
    pub fn remove_listener(&self, id: ListenerId) {
        for (_, task) in self.0.accepting.borrow_mut().remove(&id).unwrap_or_default() {
            task.abort();
        }
        self.0.udp.borrow_mut().retain(|s| s.listener != id);
        self.0.tls.borrow_mut().remove(&id);
    }

    /// Closes one socket of a listener. Connections that came in by it go on.
    pub fn close_address(&self, id: ListenerId, address: SocketAddr) {
        if let Some(tasks) = self.0.accepting.borrow_mut().get_mut(&id) {
            tasks.retain(|(at, task)| {
                if *at == address {
                    task.abort();
                }
                *at != address
            });
        }
        self.0
            .udp
            .borrow_mut()
            .retain(|s| s.listener != id || s.local != address);
    }

    /// What the sockets of a listener know of where senders reached them.
    fn known_of(&self, id: ListenerId) -> Rc<RefCell<udp::Known>> {
        let all = self.0.udp.borrow();
        let known = all.iter().filter(|s| s.listener == id).find_map(|s| s.known.get());
        known.cloned().unwrap_or_default()
    }

    /// Stops accepting connections; what is open, and UDP, goes on.
    pub fn stop_listening(&self) {
        let udp: Vec<ListenerId> = self.0.udp.borrow().iter().map(|s| s.listener).collect();
        self.0.accepting.borrow_mut().retain(|id, tasks| {
            let keep = udp.contains(id);
            if !keep {
                tasks.iter().for_each(|(_, task)| task.abort());
            }
            keep
        });
    }

    /// Whether a source may hold one more connection; if so, it is counted.
    fn admit(&self, id: ListenerId, remote: IpAddr) -> bool {
        let ip = remote.to_canonical();
        let now_ms = self.clock_ms();
        let load = self.0.sources.borrow_mut().load(now_ms, ip);
        match self.0.handler.admit(id, ip, load) {
            Ok(()) => {
                self.0.sources.borrow_mut().occupy(ip);
                self.0.counters.accepted.set(self.0.counters.accepted.get() + 1);
                true
            }
            Err(why) => {
                self.0.counters.refused.set(self.0.counters.refused.get() + 1);
                self.note(ip, &why, "connection refused");
                false
            }
        }
    }

    /// One line a minute about a source, not one for each packet.
    pub(super) fn note(&self, ip: IpAddr, why: &str, what: &str) {
        self.note_of(ip, false, why, what);
    }

    fn note_of(&self, ip: IpAddr, terminator: bool, why: &str, what: &str) {
        let now_ms = self.clock_ms();
        if let Some(unsaid) = self.0.sources.borrow_mut().note(now_ms, ip, terminator) {
            let before = if unsaid == 0 {
                String::new()
            } else {
                format!("; {unsaid} more since the last such line")
            };
            tracing::warn!(%ip, why, "{what}; more of this source is not logged for a minute{before}");
        }
    }
}

async fn accept(transports: Transports, listener: TcpListener, id: ListenerId, transport: Transport) {
    loop {
        match listener.accept().await {
            Ok((socket, remote)) => {
                if transports.admit(id, remote.ip()) {
                    tokio::task::spawn_local(accepted(transports.clone(), socket, remote, id, transport));
                }
            }
            Err(error) => {
                // Out of descriptors, mostly: waiting a little lets others end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(core::time::Duration::from_millis(100)).await;
            }
        }
        tokio::task::consume_budget().await;
    }
}

async fn accepted(transports: Transports, socket: TcpStream, remote: SocketAddr, id: ListenerId, transport: Transport) {
    let _ = socket.set_nodelay(true);
    let flow = next_flow();
    if let Some(expect) = transports.0.handler.expects(id) {
        return behind(&transports, socket, remote, (id, flow), expect).await;
    }
    let local = socket.local_addr().unwrap_or(remote);
    let source = Source {
        transport,
        remote,
        local,
        listener: Some(id),
        flow: Some(flow),
    };
    if let Some(tls) = server_side(&transports, id, transport) {
        let stream = Rc::new(Stream::new(source, flow, socket, tls, transports.clock_ms()));
        match shake(&transports, &stream).await {
            Ok(rest) => {
                if connection::open(&transports, &stream, None) {
                    connection::serve(&transports, &stream, rest).await;
                }
            }
            Err(why) => {
                transports
                    .0
                    .counters
                    .handshakes_failed
                    .set(transports.0.counters.handshakes_failed.get() + 1);
                transports.note(remote.ip(), &why, "TLS handshake failed");
            }
        }
    }
    transports.0.sources.borrow_mut().release(remote.ip());
}

/// The same for one that must be a terminator's.
async fn behind(
    transports: &Transports,
    socket: TcpStream,
    terminator: SocketAddr,
    (id, flow): (ListenerId, FlowId),
    expect: Expect,
) {
    // Whose connection it counts as, from here on.
    let mut counted = terminator.ip();
    match introduce(transports, &socket, terminator, flow, expect).await {
        Ok(introduced) if transports.admit_behind(id, counted, &introduced) => {
            let Introduced { remote, reported, rest } = introduced;
            counted = remote.ip();
            let source = Source {
                transport: Transport::Tcp,
                remote,
                local: socket.local_addr().unwrap_or(terminator),
                listener: Some(id),
                flow: Some(flow),
            };
            let stream = Rc::new(Stream::new(source, flow, socket, None, transports.clock_ms()));
            if connection::open_behind(transports, &stream, reported) {
                connection::serve(transports, &stream, rest).await;
            }
        }
        Ok(_) => {}
        Err(why) => {
            let failed = &transports.0.counters.handshakes_failed;
            failed.set(failed.get() + 1);
            transports.note_of(counted, true, &why, "a trusted terminator's connection is closed");
        }
    }
    transports.0.sources.borrow_mut().release(counted);
}

/// The TLS state of an accepted connection; the outer `None` is a TLS listener without usable settings.
#[expect(clippy::option_option, reason = "no TLS and no settings are two things")]
fn server_side(transports: &Transports, id: ListenerId, transport: Transport) -> Option<Option<rustls::Connection>> {
    if transport != Transport::Tls {
        return Some(None);
    }
    let config = transports.0.tls.borrow().get(&id).cloned()?;
    match rustls::ServerConnection::new(config) {
        Ok(tls) => Some(Some(tls.into())),
        Err(error) => {
            tracing::error!(%error, "the TLS settings of a listener cannot be used");
            None
        }
    }
}

/// The handshake of an accepted connection, within its time and the limits of half-open ones.
async fn shake(transports: &Transports, stream: &Rc<Stream>) -> Result<Vec<u8>, String> {
    if stream.tls.borrow().is_none() {
        return Ok(Vec::new());
    }
    let limits = transports.0.limits.get();
    let (now_ms, ip) = (transports.clock_ms(), stream.source.remote.ip());
    let (most, all) = (limits.handshakes_per_source, limits.handshakes);
    let give_up = transports
        .0
        .sources
        .borrow_mut()
        .begin(now_ms, ip, stream.flow, most, all);
    let result = tokio::select! {
        result = tokio::time::timeout(limits.handshake, connection::handshake(transports, stream)) => match result {
            Ok(Ok(rest)) => Ok(rest),
            Ok(Err(CloseReason::Lost(why))) => Err(why),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err("it was not finished in time".to_owned()),
        },
        () = give_up.notified() => Err("it stalled and had to make room for others".to_owned()),
    };
    transports.0.sources.borrow_mut().end(stream.flow);
    result
}
