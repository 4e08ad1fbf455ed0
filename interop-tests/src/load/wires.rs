//! Every socket of the load, on one thread: connections to the server, and the place it connects to.
//!
//! Nothing blocks but the wait for events. What is sent during one turn leaves in one write per connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use socket2::{Domain, Socket, Type};

use super::Way;
use crate::Outcome;
use crate::pki::{Authority, Certificate};
use crate::wire::find;

/// What the receive buffers of datagram sockets ask for.
const ROOM: usize = 32 << 20;

/// Certificates of both sides, by one authority.
#[derive(Debug)]
pub struct Trust {
    /// The authority, PEM.
    pub ca: String,
    /// The server's.
    pub server: Certificate,
    /// The load's, at both ends.
    pub load: Certificate,
}

/// The name in the load's certificate.
pub const LOAD_NAME: &str = "load.test";
/// The name in the server's certificate.
pub const SERVER_NAME: &str = "server.test";

impl Trust {
    /// New ones.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> Outcome<Self> {
        let authority = Authority::new()?;
        Ok(Self {
            server: authority.issue(SERVER_NAME)?,
            load: authority.issue(LOAD_NAME)?,
            ca: authority.pem,
        })
    }

    fn configs(&self) -> Outcome<(Arc<ClientConfig>, Arc<ServerConfig>)> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(self.load.pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(self.load.key.as_bytes())?;
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(chain.clone(), key.clone_key())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok((Arc::new(client), Arc::new(server)))
    }
}

enum Pipe {
    Datagrams(UdpSocket),
    Plain(TcpStream),
    Sealed(TcpStream, Box<rustls::Connection>),
}

struct Wire {
    pipe: Pipe,
    remote: SocketAddr,
    input: Vec<u8>,
    output: Vec<u8>,
    open: bool,
}

/// A message that has arrived.
#[derive(Debug)]
pub struct Arrival {
    /// The wire it came on.
    pub wire: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// All wires of one run.
pub struct Wires {
    way: Way,
    wires: Vec<Wire>,
    door: Option<TcpListener>,
    /// Where the server reaches us.
    pub listen: SocketAddr,
    server: SocketAddr,
    tls: Option<(Arc<ClientConfig>, Arc<ServerConfig>)>,
    chunk: Vec<u8>,
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wires").field("way", &self.way).finish_non_exhaustive()
    }
}

impl Wires {
    /// Opens the place that the server reaches us at.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn open(way: Way, server: SocketAddr, listen: SocketAddr, trust: &Trust) -> Outcome<Self> {
        let mut all = Self {
            way,
            wires: Vec::new(),
            door: None,
            listen,
            server,
            tls: None,
            chunk: vec![0; 1 << 18],
        };
        match way {
            Way::Udp => {
                let socket = datagrams(listen)?;
                all.push(Pipe::Datagrams(socket), server);
            }
            Way::Tcp | Way::Tls => {
                let door = TcpListener::bind(listen)?;
                door.set_nonblocking(true)?;
                all.door = Some(door);
                if way == Way::Tls {
                    all.tls = Some(trust.configs()?);
                }
            }
        }
        Ok(all)
    }

    fn push(&mut self, pipe: Pipe, remote: SocketAddr) -> usize {
        self.wires.push(Wire {
            pipe,
            remote,
            input: Vec::new(),
            output: Vec::new(),
            open: true,
        });
        self.wires.len() - 1
    }

    /// Connects to the server; with TLS the handshake is over on return. Gives the wire and our own address.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub fn connect(&mut self) -> Outcome<(usize, SocketAddr)> {
        if self.way == Way::Udp {
            let socket = datagrams(SocketAddr::new(self.server.ip(), 0))?;
            let local = socket.local_addr()?;
            return Ok((self.push(Pipe::Datagrams(socket), self.server), local));
        }
        let mut stream = TcpStream::connect_timeout(&self.server, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let pipe = match &self.tls {
            None => Pipe::Plain(stream),
            Some((client, _)) => {
                let name = ServerName::try_from(SERVER_NAME)?;
                let mut session = ClientConnection::new(Arc::clone(client), name)?;
                session.set_buffer_limit(None);
                while session.is_handshaking() || session.wants_write() {
                    session.complete_io(&mut stream)?;
                }
                Pipe::Sealed(stream, Box::new(session.into()))
            }
        };
        match &pipe {
            Pipe::Plain(s) | Pipe::Sealed(s, _) => s.set_nonblocking(true)?,
            Pipe::Datagrams(_) => {}
        }
        Ok((self.push(pipe, self.server), local))
    }

    /// Queues a message; a datagram goes at once.
    ///
    /// # Errors
    /// When a datagram cannot be sent.
    pub fn send(&mut self, wire: usize, to: Option<SocketAddr>, bytes: &[u8]) -> Outcome {
        let Some(wire) = self.wires.get_mut(wire) else {
            return Err("no such wire".into());
        };
        let Pipe::Datagrams(socket) = &wire.pipe else {
            wire.output.extend_from_slice(bytes);
            return Ok(());
        };
        loop {
            match socket.send_to(bytes, to.unwrap_or(wire.remote)) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::from(100u8))?;
                }
                // What an earlier datagram met is told at a later one.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Writes what is queued, waits up to `wait` for something to arrive, and takes all of it in.
    ///
    /// # Errors
    /// When the server closes a connection or breaks TLS.
    pub fn turn(&mut self, wait: Duration, arrivals: &mut Vec<Arrival>) -> Outcome {
        for wire in &mut self.wires {
            flush(wire)?;
        }
        let ready = self.wait(wait)?;
        let mut chunk = std::mem::take(&mut self.chunk);
        for at in ready {
            match self.wires.get_mut(at) {
                Some(wire) => read(at, wire, &mut chunk, arrivals)?,
                None => self.accept()?,
            }
        }
        self.chunk = chunk;
        Ok(())
    }

    /// Which wires can be read; one past the last stands for the door.
    fn wait(&self, wait: Duration) -> Outcome<Vec<usize>> {
        let flags = |w: &Wire| {
            let sealed = matches!(&w.pipe, Pipe::Sealed(_, s) if s.wants_write());
            if w.output.is_empty() && !sealed {
                PollFlags::POLLIN
            } else {
                PollFlags::POLLIN | PollFlags::POLLOUT
            }
        };
        let open = || self.wires.iter().enumerate().filter(|(_, w)| w.open);
        let mut fds: Vec<PollFd<'_>> = open().map(|(_, w)| PollFd::new(fd(&w.pipe), flags(w))).collect();
        let mut who: Vec<usize> = open().map(|(at, _)| at).collect();
        if let Some(door) = &self.door {
            fds.push(PollFd::new(door.as_fd(), PollFlags::POLLIN));
            who.push(self.wires.len());
        }
        let millis = u16::try_from(wait.as_millis()).unwrap_or(u16::MAX);
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let readable = |fd: &PollFd<'_>| fd.revents().is_some_and(|r| r.intersects(!PollFlags::POLLOUT));
        Ok(fds
            .iter()
            .zip(who)
            .filter(|(fd, _)| readable(fd))
            .map(|(_, at)| at)
            .collect())
    }

    fn accept(&mut self) -> Outcome {
        let Some(door) = &self.door else { return Ok(()) };
        let (stream, remote) = match door.accept() {
            Ok(accepted) => accepted,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let pipe = match &self.tls {
            None => Pipe::Plain(stream),
            Some((_, server)) => {
                let mut session = ServerConnection::new(Arc::clone(server))?;
                session.set_buffer_limit(None);
                Pipe::Sealed(stream, Box::new(session.into()))
            }
        };
        self.push(pipe, remote);
        Ok(())
    }
}

fn datagrams(at: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, None)?;
    // Beyond the kernel's limit where we may: what a burst loses here is not the server's doing.
    if setsockopt(&socket, RcvBufForce, &ROOM).is_err() {
        socket.set_recv_buffer_size(ROOM)?;
    }
    socket.bind(&at.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn fd(pipe: &Pipe) -> std::os::fd::BorrowedFd<'_> {
    match pipe {
        Pipe::Datagrams(s) => s.as_fd(),
        Pipe::Plain(s) | Pipe::Sealed(s, _) => s.as_fd(),
    }
}

fn flush(wire: &mut Wire) -> Outcome {
    if !wire.open {
        return Ok(());
    }
    match &mut wire.pipe {
        Pipe::Datagrams(_) => {}
        Pipe::Plain(stream) => {
            while !wire.output.is_empty() {
                match stream.write(&wire.output) {
                    Ok(n) => drop(wire.output.drain(..n)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Pipe::Sealed(stream, session) => {
            if !wire.output.is_empty() {
                session.writer().write_all(&wire.output)?;
                wire.output.clear();
            }
            while session.wants_write() {
                match session.write_tls(stream) {
                    Ok(_) => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    Ok(())
}

/// How many reads one wire gets before the others have their turn.
const READS: usize = 64;

fn read(at: usize, wire: &mut Wire, chunk: &mut [u8], arrivals: &mut Vec<Arrival>) -> Outcome {
    for _ in 0..READS {
        let outcome = match &mut wire.pipe {
            Pipe::Datagrams(socket) => match socket.recv_from(chunk) {
                Ok((n, from)) => {
                    let bytes = chunk.get(..n).unwrap_or_default().to_vec();
                    arrivals.push(Arrival { wire: at, from, bytes });
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => continue,
                Err(e) => Err(e),
            },
            Pipe::Plain(stream) => stream.read(chunk),
            Pipe::Sealed(stream, session) => unseal(stream, session, chunk),
        };
        match outcome {
            Ok(0) => {
                wire.open = false;
                break;
            }
            Ok(n) => wire.input.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => return Err(e.into()),
        }
    }
    cut(at, wire, arrivals);
    Ok(())
}

fn unseal(stream: &mut TcpStream, session: &mut rustls::Connection, chunk: &mut [u8]) -> std::io::Result<usize> {
    let closed = session.read_tls(stream)? == 0;
    session
        .process_new_packets()
        .map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))?;
    match session.reader().read(chunk) {
        Err(e) if e.kind() == ErrorKind::WouldBlock && closed => Ok(0),
        other => other,
    }
}

/// Takes whole messages off the front of a stream.
fn cut(at: usize, wire: &mut Wire, arrivals: &mut Vec<Arrival>) {
    let mut done = 0;
    loop {
        let rest = wire.input.get(done..).unwrap_or_default();
        let skipped = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let rest = rest.get(skipped..).unwrap_or_default();
        let Some(head) = find(rest, b"\r\n\r\n") else { break };
        let length = super::text::number(rest, b"Content-Length").unwrap_or(0);
        let end = head + 4 + usize::try_from(length).unwrap_or(0);
        let Some(bytes) = rest.get(..end) else { break };
        arrivals.push(Arrival {
            wire: at,
            from: wire.remote,
            bytes: bytes.to_vec(),
        });
        done += skipped + end;
    }
    wire.input.drain(..done);
}
