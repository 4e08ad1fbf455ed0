//! A peer's own TLS port, without a proxy behind it: takes connections, answers every request 200, counts both.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::Outcome;
use crate::net::Family;
use crate::pki::Certificate;
use crate::wire::{Message, complete};

/// How long a thread listens before it looks whether it shall end.
const TURN: Duration = Duration::from_millis(20);

/// The port. Its threads end with it.
#[derive(Debug)]
pub struct Trunk {
    /// Where it listens.
    pub at: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

impl Trunk {
    /// Opens it on a port of its own. `ca` verifies who connects.
    ///
    /// # Errors
    /// When there is no socket or the certificate does not serve.
    pub fn listen(family: Family, own: &Certificate, ca: &str) -> Outcome<Self> {
        Self::listen_on(TcpListener::bind(family.at(0))?, own, ca)
    }

    /// The same on a socket that was opened, and perhaps marked, by the caller.
    ///
    /// # Errors
    /// When the certificate does not serve.
    pub fn listen_on(listener: TcpListener, own: &Certificate, ca: &str) -> Outcome<Self> {
        let config = Arc::new(server_config(own, ca)?);
        let (at, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        listener.set_nonblocking(true)?;
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !all.over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        all.accepted.fetch_add(1, Ordering::Relaxed);
                        let (config, all) = (Arc::clone(&config), Arc::clone(&all));
                        std::thread::spawn(move || serve(stream, config, &all));
                    }
                    Err(_) => std::thread::sleep(TURN),
                }
            }
        });
        Ok(Self { at, shared })
    }

    /// Connections taken so far, whatever became of their handshakes.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open now, after their handshakes.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Requests of a method that have come so far.
    #[must_use]
    pub fn requests(&self, method: &str) -> Vec<Message> {
        let all = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|m| m.is(method)).cloned().collect()
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

fn server_config(own: &Certificate, ca: &str) -> Outcome<ServerConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_slice_iter(own.pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?)
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &Shared) {
    let _ = talk(stream, config, shared);
}

/// Answers until the other end goes or the port is closed.
fn talk(mut stream: TcpStream, config: Arc<ServerConfig>, shared: &Shared) -> Outcome {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut server = ServerConnection::new(config)?;
    while server.is_handshaking() {
        server.complete_io(&mut stream)?;
    }
    stream.set_read_timeout(Some(TURN))?;
    shared.open.fetch_add(1, Ordering::Relaxed);
    let done = exchange(StreamOwned::new(server, stream), shared);
    shared.open.fetch_sub(1, Ordering::Relaxed);
    done
}

fn exchange(mut tls: StreamOwned<ServerConnection, TcpStream>, shared: &Shared) -> Outcome {
    use std::io::{ErrorKind, Read as _, Write as _};
    let (mut pending, mut chunk) = (Vec::new(), vec![0; 65_536]);
    while !shared.over.load(Ordering::Relaxed) {
        match tls.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => pending.extend_from_slice(chunk.get(..length).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(e) => return Err(e.into()),
        }
        while let Some(length) = complete(&pending) {
            let raw: Vec<u8> = pending.drain(..length).collect();
            let Some(message) = Message::parse(&raw).filter(|m| m.status() == 0) else {
                continue;
            };
            if !message.is("ACK") {
                tls.write_all(&message.answer(200, "trunk", "", ""))?;
            }
            let mut all = shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(message);
        }
    }
    Ok(())
}
