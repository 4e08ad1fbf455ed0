//! The sockets of an emulator: its own port, and the connection it opens to the bridge for its own requests, as servers
//! of the time did. One thread a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::island::Island;
use super::{Entry, Keys, Way};
use crate::Outcome;
use crate::far::settings;
use crate::wire::{Message, complete};

/// How long a thread listens before it looks for something to send.
const TURN: Duration = Duration::from_millis(5);
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) island: Mutex<Island>,
    pub(super) log: Mutex<Vec<Entry>>,
    way: Way,
    own: Mutex<Option<Sender<Vec<u8>>>>,
    open: Mutex<Vec<TcpStream>>,
    over: AtomicBool,
    accepted: AtomicUsize,
}

impl Shared {
    pub(super) fn start(island: Island) -> Outcome<Arc<Self>> {
        let way = island.way.clone();
        let listener = TcpListener::bind(way.own())?;
        let tls = match &way.keys {
            Some(keys) => Some(Arc::new(settings(&keys.own, &keys.ca)?)),
            None => None,
        };
        let shared = Arc::new(Self {
            island: Mutex::new(island),
            log: Mutex::default(),
            way,
            own: Mutex::default(),
            open: Mutex::default(),
            over: AtomicBool::new(false),
            accepted: AtomicUsize::new(0),
        });
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if all.over.load(Ordering::Relaxed) {
                    return;
                }
                all.accepted.fetch_add(1, Ordering::Relaxed);
                let (shared, tls) = (Arc::clone(&all), tls.clone());
                std::thread::spawn(move || {
                    let (back, queue) = channel();
                    let _ = shared.keep(&stream);
                    let stream: Outcome<Box<dyn Stream>> = match tls {
                        None => Ok(Box::new(stream)),
                        Some(config) => accept(stream, config),
                    };
                    if let Ok(stream) = stream {
                        shared.serve(stream, &queue, &back);
                    }
                });
            }
        });
        Ok(shared)
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    fn keep(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TURN))?;
        lock(&self.open).push(stream.try_clone()?);
        Ok(())
    }

    pub(super) fn hang_up(&self) {
        lock(&self.own).take();
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.hang_up();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.way.own(), CONNECT);
    }

    /// Sends a request over our own connection, which is opened when there is none.
    pub(super) fn send_out(self: &Arc<Self>, bytes: &[u8]) -> Outcome {
        let mut own = lock(&self.own);
        if let Some(line) = own.as_ref()
            && line.send(bytes.to_vec()).is_ok()
        {
            return Ok(());
        }
        let stream = TcpStream::connect_timeout(&self.way.bridge, CONNECT)?;
        self.keep(&stream)?;
        let stream: Box<dyn Stream> = match &self.way.keys {
            None => Box::new(stream),
            Some(keys) => connect(stream, keys)?,
        };
        let (line, queue) = channel();
        line.send(bytes.to_vec())?;
        *own = Some(line.clone());
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.serve(stream, &queue, &line));
        Ok(())
    }

    fn note(&self, sent: bool, message: Message) {
        let at = Instant::now();
        lock(&self.log).push(Entry { sent, at, message });
    }

    fn serve(self: &Arc<Self>, mut stream: Box<dyn Stream>, queue: &Receiver<Vec<u8>>, back: &Sender<Vec<u8>>) {
        let (mut pending, mut chunk) = (Vec::new(), vec![0; 65_536]);
        while !self.over.load(Ordering::Relaxed) {
            loop {
                match queue.try_recv() {
                    Ok(bytes) => {
                        if let Some(message) = Message::parse(&bytes) {
                            self.note(true, message);
                        }
                        if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {
                            return;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            match stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => pending.extend_from_slice(chunk.get(..n).unwrap_or_default()),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return,
            }
            self.take(&mut pending, back);
        }
    }

    fn take(self: &Arc<Self>, pending: &mut Vec<u8>, back: &Sender<Vec<u8>>) {
        loop {
            while pending.starts_with(b"\r\n") {
                pending.drain(..2);
            }
            let Some(length) = complete(pending) else { return };
            let raw: Vec<u8> = pending.drain(..length).collect();
            let Some(message) = Message::parse(&raw) else {
                lock(&self.island).fault(&format!("no message: {:.80}", String::from_utf8_lossy(&raw)));
                continue;
            };
            self.note(false, message.clone());
            let answers = lock(&self.island).message(&message);
            for bytes in answers.back {
                let _ = back.send(bytes);
            }
            for bytes in answers.out {
                let _ = self.send_out(&bytes);
            }
        }
    }
}

fn accept(mut stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Outcome<Box<dyn Stream>> {
    stream.set_read_timeout(Some(CONNECT))?;
    let mut server = ServerConnection::new(config)?;
    while server.is_handshaking() {
        server.complete_io(&mut stream)?;
    }
    stream.set_read_timeout(Some(TURN))?;
    Ok(Box::new(StreamOwned::new(server, stream)))
}

fn connect(mut stream: TcpStream, keys: &Keys) -> Outcome<Box<dyn Stream>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(keys.ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let chain = CertificateDer::pem_slice_iter(keys.own.pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(keys.own.key.as_bytes())?)?;
    let mut client = ClientConnection::new(Arc::new(config), ServerName::try_from(keys.bridge.clone())?)?;
    stream.set_read_timeout(Some(CONNECT))?;
    while client.is_handshaking() {
        client.complete_io(&mut stream)?;
    }
    stream.set_read_timeout(Some(TURN))?;
    Ok(Box::new(StreamOwned::new(client, stream)))
}
