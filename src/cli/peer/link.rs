//! The connections to a peer: one of ours, with the trust settings of the configuration, and where it is asked for those that
//! the peer opens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Problem;
use crate::sip::frame::{Frame, Framer, Limits};
use crate::sip::net::Transport;

/// How long connecting and the handshake may take, each.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a write may take: a peer that reads nothing is not waited for.
const WRITE: Duration = Duration::from_secs(5);
/// Connections of the peer at one time.
const MOST_ACCEPTED: usize = 8;
/// The connection that is ours.
pub(super) const OURS: usize = 0;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}
type Writer = WriteHalf<Box<dyn Stream>>;

/// What a connection brings.
pub(super) enum Came {
    /// A message.
    Message(usize, Vec<u8>),
    /// An answer to a keep-alive.
    Pong,
    /// It is over.
    Closed(usize, u32, String),
    /// The peer opened one.
    Opened(Box<dyn Stream>),
}

impl core::fmt::Debug for Came {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Came")
    }
}

/// How the peer is reached.
pub(super) struct Way {
    pub(super) transport: Transport,
    pub(super) targets: Vec<SocketAddr>,
    pub(super) tls: Option<(Arc<rustls::ClientConfig>, String)>,
    pub(super) server: Option<Arc<rustls::ServerConfig>>,
    pub(super) listen: Option<SocketAddr>,
}

/// What TLS came to.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) what: String,
    pub(super) ms: u64,
}

/// All of them.
pub(super) struct Link {
    way: Way,
    writers: BTreeMap<usize, Writer>,
    datagrams: Option<Rc<UdpSocket>>,
    sender: mpsc::Sender<Came>,
    came: mpsc::Receiver<Came>,
    next: usize,
    /// Tells our present connection from the last one.
    generation: u32,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) agreed: Option<Agreed>,
}

impl Link {
    pub(super) async fn open(way: Way) -> Result<Self, Problem> {
        let (sender, came) = mpsc::channel(64);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut link = Self {
            way,
            writers: BTreeMap::new(),
            datagrams: None,
            sender,
            came,
            next: OURS + 1,
            generation: 0,
            local: nowhere,
            remote: nowhere,
            agreed: None,
        };
        link.connect().await?;
        link.listen().await?;
        Ok(link)
    }

    /// Connects, in place of a connection that is gone.
    pub(super) async fn connect(&mut self) -> Result<(), Problem> {
        let mut last = Problem::Unreachable("it has no address".to_owned());
        for target in self.way.targets.clone() {
            match self.connect_to(target).await {
                Ok(()) => {
                    // Another connection is to the same server, so that all answers are of one.
                    self.way.targets = vec![target];
                    return Ok(());
                }
                // Who answers and refuses is who was meant.
                Err(refused @ Problem::Refused(_)) => return Err(refused),
                Err(other) => last = other,
            }
        }
        Err(last)
    }

    async fn connect_to(&mut self, target: SocketAddr) -> Result<(), Problem> {
        let failed = |e: std::io::Error| Problem::Unreachable(format!("{target}: {e}"));
        let late = |_| Problem::Unreachable(format!("{target} does not answer within {} s", CONNECT.as_secs()));
        self.remote = target;
        if self.way.transport == Transport::Udp {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(self.way.listen.unwrap_or(any)).await.map_err(failed)?;
            socket.connect(target).await.map_err(failed)?;
            self.local = socket.local_addr().map_err(failed)?;
            let socket = Rc::new(socket);
            tokio::task::spawn_local(datagrams(Rc::clone(&socket), self.sender.clone()));
            self.datagrams = Some(socket);
            return Ok(());
        }
        let stream = timeout(CONNECT, TcpStream::connect(target))
            .await
            .map_err(late)?
            .map_err(failed)?;
        let _ = stream.set_nodelay(true);
        self.local = stream.local_addr().map_err(failed)?;
        let stream: Box<dyn Stream> = match &self.way.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let began = Instant::now();
                let name = ServerName::try_from(name.clone()).unwrap_or(ServerName::IpAddress(target.ip().into()));
                let refused = |e: std::io::Error| {
                    let help = "`trestle cert doctor` says why and on whose side";
                    Problem::Refused(format!("{target}: the TLS handshake failed: {e}; {help}"))
                };
                let shaken = timeout(CONNECT, TlsConnector::from(Arc::clone(config)).connect(name, stream));
                let stream = shaken.await.map_err(late)?.map_err(refused)?;
                let (_, tls) = stream.get_ref();
                let version = tls.protocol_version().and_then(|v| v.as_str()).unwrap_or("TLS");
                let suite = tls.negotiated_cipher_suite().and_then(|s| s.suite().as_str());
                let (version, suite) = (version.replace('_', "."), suite.unwrap_or("unnamed suite"));
                self.agreed = Some(Agreed {
                    what: format!("{version}, {suite}"),
                    ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                });
                Box::new(stream)
            }
        };
        self.generation += 1;
        self.serve(OURS, stream);
        Ok(())
    }

    async fn listen(&self) -> Result<(), Problem> {
        let Some(at) = self.way.listen.filter(|_| self.way.transport != Transport::Udp) else {
            return Ok(());
        };
        let taken = |e| Problem::Unusable(format!("--listen {at}: {e}; if the bridge runs there, stop it first"));
        let listener = TcpListener::bind(at).await.map_err(taken)?;
        let acceptor = self.way.server.clone().map(TlsAcceptor::from);
        let (sender, remote) = (self.sender.clone(), self.remote.ip());
        tokio::task::spawn_local(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let known = from.ip().to_canonical() == remote.to_canonical();
                let opened: Option<Box<dyn Stream>> = match &acceptor {
                    None if known => Some(Box::new(stream)),
                    None => None,
                    Some(acceptor) => {
                        let shaken = timeout(CONNECT, acceptor.accept(stream)).await;
                        shaken.ok().and_then(Result::ok).map(|s| Box::new(s) as Box<dyn Stream>)
                    }
                };
                if let Some(stream) = opened
                    && sender.send(Came::Opened(stream)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(())
    }

    fn serve(&mut self, id: usize, stream: Box<dyn Stream>) {
        let (reader, writer) = tokio::io::split(stream);
        self.writers.insert(id, writer);
        tokio::task::spawn_local(read(id, self.generation, reader, self.sender.clone()));
    }

    /// The next thing that comes, `None` when nothing does in time.
    pub(super) async fn next(&mut self, within: Duration) -> Option<Came> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.came.recv()).await.ok().flatten()? {
                Came::Opened(stream) if self.writers.len() <= MOST_ACCEPTED => {
                    let id = self.next;
                    self.next += 1;
                    self.serve(id, stream);
                }
                Came::Opened(_) => {}
                Came::Closed(id, generation, why) => {
                    if id != OURS {
                        self.writers.remove(&id);
                    } else if generation == self.generation {
                        self.writers.remove(&OURS);
                        return Some(Came::Closed(id, generation, why));
                    }
                }
                other => return Some(other),
            }
        }
    }

    /// Whether our connection is there.
    pub(super) fn is_open(&self) -> bool {
        self.datagrams.is_some() || self.writers.contains_key(&OURS)
    }

    /// Whether there are datagrams and no connection.
    pub(super) fn is_udp(&self) -> bool {
        self.datagrams.is_some()
    }

    /// Our connection is of no use any more.
    pub(super) fn drop_ours(&mut self) {
        self.writers.remove(&OURS);
        self.generation += 1;
    }

    /// Sends on a connection.
    pub(super) async fn send(&mut self, id: usize, bytes: &[u8]) -> Result<(), String> {
        if let Some(socket) = &self.datagrams {
            // An ICMP error of an earlier datagram is reported here; the next one may arrive.
            return socket.send(bytes).await.map(drop).map_err(|e| e.to_string());
        }
        let writer = self.writers.get_mut(&id).ok_or("the connection is closed")?;
        let written = timeout(WRITE, async {
            writer.write_all(bytes).await?;
            writer.flush().await
        });
        match written.await {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err(format!("it reads nothing for {} s", WRITE.as_secs())),
        }
    }
}

async fn datagrams(socket: Rc<UdpSocket>, sender: mpsc::Sender<Came>) {
    let mut buffer = vec![0; 65_535];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(n) => {
                let message = buffer.get(..n).unwrap_or_default().to_vec();
                if sender.send(Came::Message(OURS, message)).await.is_err() {
                    return;
                }
            }
            // Nobody listens there yet, or any more.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        if sender.is_closed() {
            return;
        }
    }
}

async fn read(id: usize, generation: u32, mut reader: impl AsyncRead + Unpin, sender: mpsc::Sender<Came>) {
    let mut framer = Framer::new(Limits::default());
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 16_384]);
    let why = loop {
        let came = match framer.next(&buffer) {
            Frame::Ping(n) => {
                buffer.drain(..n);
                continue;
            }
            Frame::Pong(n) => {
                buffer.drain(..n);
                Came::Pong
            }
            Frame::Message(n) => Came::Message(id, buffer.drain(..n).collect()),
            Frame::Broken { problem, .. } => break format!("what it sends cannot be followed: {problem}"),
            // Nothing may follow an answer to a keep-alive, so it is not waited for.
            Frame::Incomplete if buffer == b"\r\n" => {
                buffer.clear();
                Came::Pong
            }
            Frame::Incomplete => match reader.read(&mut chunk).await {
                Ok(0) => break "it closed the connection".to_owned(),
                Ok(n) => {
                    buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
                    continue;
                }
                Err(e) => break format!("the connection is lost: {e}"),
            },
        };
        if sender.send(came).await.is_err() {
            return;
        }
    };
    let _nobody_waits = sender.send(Came::Closed(id, generation, why)).await;
}
