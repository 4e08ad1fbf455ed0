//! One socket to the server: UDP, TCP, or TLS by `tokio-rustls`.
//!
//! The commands are simple sequences, so that the link looks blocking from outside; inside it runs its own small runtime.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Problem, Who};
use crate::sip::frame::{Frame, Framer, Limits};

/// How long connecting and the handshake may take together.
const CONNECT: Duration = Duration::from_secs(5);

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

enum Socket {
    Datagrams(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// The link, with what has been read of the next message.
pub(super) struct Link {
    runtime: Runtime,
    socket: Socket,
    framer: Framer,
    buffer: Vec<u8>,
    /// Our own address.
    pub(super) local: SocketAddr,
}

impl Link {
    /// Connects; with TLS the handshake is over on return.
    pub(super) fn open(who: &Who) -> Result<Self, Problem> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Problem::Unusable(e.to_string()))?;
        let (socket, local) = runtime.block_on(open(who))?;
        Ok(Self {
            runtime,
            socket,
            framer: Framer::new(Limits::default()),
            buffer: Vec::new(),
            local,
        })
    }

    /// Sends one message.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let socket = &mut self.socket;
        self.runtime.block_on(async {
            match socket {
                Socket::Datagrams(socket) => socket.send(bytes).await.map(drop),
                Socket::Stream(stream) => {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
            }
        })
    }

    /// The next message, `None` when none comes in time.
    pub(super) fn receive(&mut self, within: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + within;
        let mut chunk = vec![0; 65_535];
        loop {
            if let Some(message) = self.framed()? {
                return Ok(Some(message));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let (socket, room) = (&mut self.socket, &mut chunk);
            // Giving up a read that has not been answered loses nothing.
            let read = self.runtime.block_on(async {
                timeout(left, async {
                    match socket {
                        Socket::Datagrams(socket) => socket.recv(room).await.map(|n| (n, true)),
                        Socket::Stream(stream) => stream.read(room).await.map(|n| (n, false)),
                    }
                })
                .await
            });
            match read {
                Err(_) => return Ok(None),
                Ok(Ok((n, true))) => {
                    chunk.truncate(n);
                    return Ok(Some(chunk));
                }
                Ok(Ok((0, false))) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the server closed the connection",
                    ));
                }
                Ok(Ok((n, false))) => self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Ok(Err(e)) => return Err(e),
            }
        }
    }

    fn framed(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.framer.next(&self.buffer) {
                Frame::Incomplete => return Ok(None),
                Frame::Ping(n) | Frame::Pong(n) => drop(self.buffer.drain(..n)),
                Frame::Message(n) => return Ok(Some(self.buffer.drain(..n).collect())),
                Frame::Broken { problem, .. } => return Err(io::Error::new(ErrorKind::InvalidData, problem)),
            }
        }
    }
}

async fn open(who: &Who) -> Result<(Socket, SocketAddr), Problem> {
    // What is wrong with our own files is said before anybody is called.
    let tls = match who.transport.as_str() {
        "tls" => Some(tls(who)?),
        _ => None,
    };
    let mut addresses = tokio::net::lookup_host(who.server())
        .await
        .map_err(|e| Problem::Unusable(format!("{}: {e}", who.server())))?;
    let server = addresses
        .next()
        .ok_or_else(|| Problem::Unusable(format!("{} has no address", who.server())))?;
    let silent = |e: io::Error| Problem::Unreachable(format!("{server}: {e}"));
    if who.transport == "udp" {
        let any = SocketAddr::new(
            if server.is_ipv4() {
                std::net::Ipv4Addr::UNSPECIFIED.into()
            } else {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            },
            0,
        );
        let socket = UdpSocket::bind(any).await.map_err(silent)?;
        socket.connect(server).await.map_err(silent)?;
        let local = socket.local_addr().map_err(silent)?;
        return Ok((Socket::Datagrams(socket), local));
    }
    let late = |_| Problem::Unreachable(format!("{server} does not answer in {} s", CONNECT.as_secs()));
    let stream = timeout(CONNECT, TcpStream::connect(server))
        .await
        .map_err(late)?
        .map_err(silent)?;
    stream.set_nodelay(true).map_err(silent)?;
    let local = stream.local_addr().map_err(silent)?;
    let Some((connector, name)) = tls else {
        return Ok((Socket::Stream(Box::new(stream)), local));
    };
    let refused = |e: io::Error| Problem::Refused(format!("{server}: the TLS handshake failed: {e}"));
    let stream = timeout(CONNECT, connector.connect(name, stream))
        .await
        .map_err(late)?
        .map_err(refused)?;
    Ok((Socket::Stream(Box::new(stream)), local))
}

fn tls(who: &Who) -> Result<(TlsConnector, ServerName<'static>), Problem> {
    let unusable = |e: &dyn std::fmt::Display| Problem::Unusable(e.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in crate::pki::files::certificates(&who.ca).map_err(|e| unusable(&e))? {
        roots
            .add(certificate)
            .map_err(|e| Problem::Unusable(format!("{}: {e}", who.ca.display())))?;
    }
    let builder = ClientConfig::builder_with_provider(crate::pki::provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?
        .with_root_certificates(roots);
    let config = match &who.cert {
        Some(path) => {
            let chain = crate::pki::files::certificates(path).map_err(|e| unusable(&e))?;
            let key = crate::pki::files::private_key(&path.with_extension("key")).map_err(|e| unusable(&e))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| unusable(&e))?
        }
        None => builder.with_no_client_auth(),
    };
    let domain = who.from.rsplit_once('@').map_or(who.from.as_str(), |(_, d)| d);
    let name = who.server_name.clone().unwrap_or_else(|| domain.to_string());
    let name = ServerName::try_from(name.clone()).map_err(|_| Problem::Unusable(format!("{name} is no host name")))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
