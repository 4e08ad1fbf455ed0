//! The far end of a TLS trunk: a small SIP server that shows the certificate it is told to, asks for one, answers every
//! request 200 and remembers what came.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::net::{Family, free_port};
use crate::pki::Certificate;
use crate::wire::{Message, complete};
use crate::{Outcome, eventually};

/// What happened at the far end.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Requests, oldest first.
    pub requests: Vec<Message>,
    /// Handshakes that came to their end.
    pub handshakes: usize,
    /// Why the others did not.
    pub failures: Vec<String>,
    /// The certificate the latest client showed, DER.
    pub client: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
    open: Mutex<Vec<TcpStream>>,
    /// Header lines of every answer.
    extra: Mutex<String>,
    stopped: AtomicBool,
}

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct Far {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings of a server that shows `own` and asks for a certificate by one of the authorities in `ca` (PEM); with
/// none it asks for no certificate.
///
/// # Errors
/// When a certificate or key is none.
pub fn settings(own: &Certificate, ca: &str) -> Outcome<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate?)?;
    }
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?,
        )
    };
    let chain = CertificateDer::pem_slice_iter(own.pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = provider
        .key_provider
        .load_private_key(PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?;
    // Not checked against each other: a server may be as wrong as a test wants it.
    let pair = rustls::sign::CertifiedKey::new(chain, key);
    Ok(builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair))))
}

impl Far {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When a certificate is none or there is no port.
    pub fn start(family: Family, own: &Certificate, ca: &str) -> Outcome<Self> {
        // What an earlier test process left may still be going away from a port that looked free.
        let mut tried = Self::start_at(family.at(free_port()), own, ca);
        for _ in 0..3 {
            if tried.is_ok() {
                break;
            }
            tried = Self::start_at(family.at(free_port()), own, ca);
        }
        tried
    }

    /// Starts it there.
    ///
    /// # Errors
    /// When a certificate is none or the address is taken.
    pub fn start_at(address: SocketAddr, own: &Certificate, ca: &str) -> Outcome<Self> {
        let listener = TcpListener::bind(address)?;
        let shared = Arc::new(Shared {
            config: Mutex::new(Arc::new(settings(own, ca)?)),
            seen: Mutex::default(),
            open: Mutex::default(),
            extra: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// Shows another certificate from the next connection on, and closes those that are open.
    ///
    /// # Errors
    /// When a certificate is none.
    pub fn show(&self, own: &Certificate, ca: &str) -> Outcome {
        *lock(&self.shared.config) = Arc::new(settings(own, ca)?);
        self.hang_up();
        Ok(())
    }

    /// Puts whole header lines into every answer.
    pub fn say(&self, lines: &str) {
        *lock(&self.shared.extra) = lines.to_string();
    }

    /// Closes all connections.
    pub fn hang_up(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// What happened so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// How many requests of a method came with this text in their body.
    #[must_use]
    pub fn count(&self, method: &str, text: &str) -> usize {
        let seen = lock(&self.shared.seen);
        seen.requests
            .iter()
            .filter(|m| m.is(method) && m.text().contains(text))
            .count()
    }

    /// Waits for a request of a method with this text in its body.
    ///
    /// # Errors
    /// When none comes in 10 s.
    pub fn received(&self, method: &str, text: &str) -> Outcome {
        let what = format!("{method} {text:?} at {}", self.address);
        eventually(&what, Duration::from_secs(10), || self.count(method, text) > 0)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.hang_up();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
    if let Ok(copy) = stream.try_clone() {
        lock(&shared.open).push(copy);
    }
    let config = Arc::clone(&lock(&shared.config));
    let Ok(mut tls) = ServerConnection::new(config) else {
        return;
    };
    while tls.is_handshaking() {
        if let Err(error) = tls.complete_io(&mut stream) {
            let _ = tls.write_tls(&mut stream);
            lock(&shared.seen).failures.push(error.to_string());
            return;
        }
    }
    let client = tls.peer_certificates().and_then(<[_]>::first).map(|c| c.to_vec());
    {
        let mut seen = lock(&shared.seen);
        seen.handshakes += 1;
        seen.client = client;
    }
    talk(shared, &mut rustls::StreamOwned::new(tls, stream));
}

fn talk(shared: &Shared, tls: &mut rustls::StreamOwned<ServerConnection, TcpStream>) {
    let (mut pending, mut chunk) = (Vec::new(), vec![0; 16_384]);
    loop {
        while pending.starts_with(b"\r\n") {
            pending.drain(..2);
        }
        while let Some(length) = complete(&pending) {
            let raw: Vec<u8> = pending.drain(..length).collect();
            let Some(message) = Message::parse(&raw).filter(|m| m.status() == 0) else {
                continue;
            };
            let answer = message.answer(200, "far", &lock(&shared.extra), "");
            let owed = !message.is("ACK");
            lock(&shared.seen).requests.push(message);
            if owed && tls.write_all(&answer).and_then(|()| tls.flush()).is_err() {
                return;
            }
        }
        match tls.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => pending.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted) => {}
            Err(e) => {
                lock(&shared.seen).failures.push(e.to_string());
                return;
            }
        }
    }
}
