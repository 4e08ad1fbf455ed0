//! One socket to the server: UDP, TCP or TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Who;
use crate::sip::frame::{Frame, Framer, Limits};

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// The link, with what has been read of the next message.
pub(super) struct Link {
    socket: Socket,
    framer: Framer,
    buffer: Vec<u8>,
    /// Our own address.
    pub(super) local: SocketAddr,
}

impl Link {
    /// Connects.
    pub(super) fn open(who: &Who) -> Result<Self, String> {
        let server = who
            .server
            .to_socket_addrs()
            .map_err(|e| format!("{}: {e}", who.server))?
            .next();
        let server = server.ok_or_else(|| format!("{} has no address", who.server))?;
        let fault = |e: io::Error| format!("{server}: {e}");
        let socket = match who.transport.as_str() {
            "udp" => {
                let any: SocketAddr = if server.is_ipv4() {
                    ([0, 0, 0, 0], 0).into()
                } else {
                    ([0u16; 8], 0).into()
                };
                let socket = UdpSocket::bind(any).map_err(fault)?;
                socket.connect(server).map_err(fault)?;
                Socket::Udp(socket)
            }
            "tcp" => Socket::Tcp(TcpStream::connect_timeout(&server, Duration::from_secs(5)).map_err(fault)?),
            _ => Socket::Tls(Box::new(tls(who, server)?)),
        };
        let local = match &socket {
            Socket::Udp(s) => s.local_addr(),
            Socket::Tcp(s) => s.local_addr(),
            Socket::Tls(s) => s.sock.local_addr(),
        };
        Ok(Self {
            socket,
            framer: Framer::new(Limits::default()),
            buffer: Vec::new(),
            local: local.map_err(fault)?,
        })
    }

    /// Sends one message.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Udp(s) => s.send(bytes).map(|_| ()),
            Socket::Tcp(s) => s.write_all(bytes),
            Socket::Tls(s) => s.write_all(bytes).and_then(|()| s.flush()),
        }
    }

    fn set_timeout(&self, wait: Duration) -> io::Result<()> {
        let wait = Some(wait.max(Duration::from_millis(1)));
        match &self.socket {
            Socket::Udp(s) => s.set_read_timeout(wait),
            Socket::Tcp(s) => s.set_read_timeout(wait),
            Socket::Tls(s) => s.sock.set_read_timeout(wait),
        }
    }

    /// The next message, `None` when none comes in time.
    pub(super) fn receive(&mut self, within: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + within;
        let mut chunk = vec![0; 65_535];
        loop {
            if let Some(message) = self.framed()? {
                return Ok(Some(message));
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            self.set_timeout(left)?;
            let read = match &mut self.socket {
                Socket::Udp(s) => {
                    return match s.recv(&mut chunk) {
                        Ok(n) => Ok(Some(chunk[..n].to_vec())),
                        Err(e) if is_timeout(&e) => Ok(None),
                        Err(e) => Err(e),
                    };
                }
                Socket::Tcp(s) => s.read(&mut chunk),
                Socket::Tls(s) => s.read(&mut chunk),
            };
            match read {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection",
                    ));
                }
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if is_timeout(&e) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    fn framed(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.framer.next(&self.buffer) {
                Frame::Incomplete => return Ok(None),
                Frame::Ping(n) | Frame::Pong(n) => drop(self.buffer.drain(..n)),
                Frame::Message(n) => return Ok(Some(self.buffer.drain(..n).collect())),
                Frame::Broken { problem, .. } => return Err(io::Error::new(io::ErrorKind::InvalidData, problem)),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn tls(who: &Who, server: SocketAddr) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in crate::pki::files::certificates(&who.ca).map_err(|e| e.to_string())? {
        roots
            .add(certificate)
            .map_err(|e| format!("{}: {e}", who.ca.display()))?;
    }
    let builder = ClientConfig::builder_with_provider(crate::pki::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    let config = match &who.cert {
        Some(path) => {
            let chain = crate::pki::files::certificates(path).map_err(|e| e.to_string())?;
            let key = crate::pki::files::private_key(&path.with_extension("key")).map_err(|e| e.to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())?
        }
        None => builder.with_no_client_auth(),
    };
    let domain = who.from.rsplit_once('@').map_or(who.from.as_str(), |(_, d)| d);
    let name = who.server_name.clone().unwrap_or_else(|| domain.to_string());
    let name = rustls::pki_types::ServerName::try_from(name.clone()).map_err(|_| format!("{name} is no host name"))?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let socket = TcpStream::connect_timeout(&server, Duration::from_secs(5)).map_err(|e| format!("{server}: {e}"))?;
    Ok(StreamOwned::new(session, socket))
}
