//! One socket of a test client: UDP, TCP or TLS, blocking, with deadlines.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::Outcome;
use crate::pki::Certificate;
use crate::wire::{Message, complete};

/// How a client behaves at the TLS level.
#[derive(Debug, Clone)]
pub struct TlsSetup {
    /// The CA the server must be verified by, PEM.
    pub ca: String,
    /// The name it must carry.
    pub name: String,
    /// What the client shows when it is asked.
    pub own: Option<Certificate>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// A message.
    Message(Box<Message>),
    /// Bytes that are no message (a datagram that cannot be read as one).
    Other(Vec<u8>),
    /// The other side closed the connection.
    Closed,
    /// Nothing in time.
    Nothing,
}

/// A socket towards one server.
#[derive(Debug)]
pub struct Link {
    socket: Socket,
    server: SocketAddr,
    pending: Vec<u8>,
}

const CONNECT: Duration = Duration::from_secs(5);

impl Link {
    /// A UDP socket on the server's family.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn udp(server: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0))?;
        Ok(Self {
            socket: Socket::Udp(socket),
            server,
            pending: Vec::new(),
        })
    }

    /// A TCP connection.
    ///
    /// # Errors
    /// When it is refused.
    pub fn tcp(server: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            socket: Socket::Tcp(connect(server)?),
            server,
            pending: Vec::new(),
        })
    }

    /// A TLS connection, after its handshake. With TLS 1.3 a server that refuses the client's certificate says so only
    /// afterwards: the link then closes at the first [`receive`](Self::receive).
    ///
    /// # Errors
    /// When the connection or the handshake fails.
    pub fn tls(server: SocketAddr, setup: &TlsSetup) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(setup.ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &setup.own {
            None => config.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?
            }
        };
        let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(setup.name.clone())?)?;
        let mut stream = connect(server)?;
        stream.set_read_timeout(Some(CONNECT))?;
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        let socket = Socket::Tls(Box::new(StreamOwned::new(client, stream)));
        Ok(Self {
            socket,
            server,
            pending: Vec::new(),
        })
    }

    /// `UDP`, `TCP` or `TLS`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        match self.socket {
            Socket::Udp(_) => "UDP",
            Socket::Tcp(_) => "TCP",
            Socket::Tls(_) => "TLS",
        }
    }

    /// The certificate the server showed, DER; `None` without TLS.
    #[must_use]
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        match &self.socket {
            Socket::Tls(tls) => tls.conn.peer_certificates()?.first().map(|c| c.to_vec()),
            Socket::Udp(_) | Socket::Tcp(_) => None,
        }
    }

    /// Our own address.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local(&self) -> std::io::Result<SocketAddr> {
        match &self.socket {
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Tcp(stream) => stream.local_addr(),
            Socket::Tls(tls) => tls.sock.local_addr(),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the socket refuses.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Udp(socket) => socket.send_to(bytes, self.server).map(drop),
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Says that nothing more will be sent; reading goes on.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn half_close(&mut self) -> std::io::Result<()> {
        match &mut self.socket {
            Socket::Udp(_) => Ok(()),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Tls(tls) => tls.sock.shutdown(Shutdown::Write),
        }
    }

    /// The next message, or why there is none.
    pub fn receive(&mut self, within: Duration) -> Received {
        let end = Instant::now() + within;
        loop {
            while self.pending.starts_with(b"\r\n") {
                self.pending.drain(..2);
            }
            if let Some(length) = complete(&self.pending) {
                let raw: Vec<u8> = self.pending.drain(..length).collect();
                return Message::parse(&raw).map_or(Received::Other(raw), |m| Received::Message(Box::new(m)));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Received::Nothing;
            }
            let mut chunk = vec![0; 65_536];
            match self.read(&mut chunk, left) {
                Ok(0) if self.transport() != "UDP" => return Received::Closed,
                Ok(length) => {
                    chunk.truncate(length);
                    if self.transport() == "UDP" {
                        return Message::parse(&chunk)
                            .map_or(Received::Other(chunk), |m| Received::Message(Box::new(m)));
                    }
                    self.pending.append(&mut chunk);
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                // An unreachable UDP port shows here once; the socket stays usable.
                Err(_) if self.transport() == "UDP" => {}
                Err(_) => return Received::Closed,
            }
        }
    }

    fn read(&mut self, chunk: &mut [u8], left: Duration) -> std::io::Result<usize> {
        let wait = Some(left.max(Duration::from_millis(1)));
        match &mut self.socket {
            Socket::Udp(socket) => {
                socket.set_read_timeout(wait)?;
                socket.recv_from(chunk).map(|(length, _)| length)
            }
            Socket::Tcp(stream) => {
                stream.set_read_timeout(wait)?;
                stream.read(chunk)
            }
            Socket::Tls(tls) => {
                tls.sock.set_read_timeout(wait)?;
                tls.read(chunk)
            }
        }
    }
}

fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, CONNECT)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(CONNECT))?;
    Ok(stream)
}
