//! The transports on real loopback sockets: what `hostile-input` asks of framing (F) and TLS (T), limits, the pool.

mod datagrams;
mod hostile;
mod outgoing;
mod streams;
mod tls;

use core::cell::{Cell, OnceCell, RefCell};
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::{CloseReason, Handler, Limits, ListenerSpec, PeerSpec, SendError, Transports};
use crate::policy::acl::SourceLoad;
use crate::sip::message::{Framing, Malformed};
use crate::sip::net::{Destination, FlowId, ListenerId, PeerId, Source, Transport};

/// An app that remembers, and answers each request with a 200 that repeats its body.
#[derive(Default)]
struct App {
    transports: OnceCell<Transports>,
    messages: RefCell<Vec<(Source, Vec<u8>)>>,
    broken: RefCell<Vec<u16>>,
    opened: RefCell<Vec<(Source, Option<PeerId>, usize)>>,
    closed: RefCell<Vec<(FlowId, CloseReason)>>,
    failed: RefCell<Vec<(u64, SendError)>>,
    outputs: RefCell<Vec<(Destination, Bytes)>>,
    batches: Cell<u32>,
    busy: Cell<bool>,
    /// What it does.
    silent: Cell<bool>,
    unwanted: Cell<bool>,
    most: Cell<Option<u32>>,
    rate: Cell<Option<u32>>,
}

impl App {
    /// Notes that a call runs; a second one inside it would be a nested call.
    fn alone<R>(&self, call: impl FnOnce() -> R) -> R {
        assert!(!self.busy.replace(true), "the handler was called from inside a call");
        let result = call();
        self.busy.set(false);
        result
    }

    fn answer(&self, source: &Source, status: &str, body: &[u8]) {
        let to = match (source.flow, source.listener) {
            (Some(flow), _) => Destination::Flow(flow),
            (None, Some(listener)) => Destination::Datagram {
                listener,
                to: source.remote,
            },
            (None, None) => return,
        };
        let mut wire = format!("SIP/2.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        wire.extend_from_slice(body);
        self.outputs.borrow_mut().push((to, wire.into()));
    }

    fn transports(&self) -> &Transports {
        self.transports.get().expect("transports")
    }

    fn bodies(&self) -> Vec<String> {
        self.messages.borrow().iter().map(|(_, m)| body(m)).collect()
    }
}

impl Handler for App {
    fn admit(&self, _: ListenerId, _: IpAddr, load: SourceLoad) -> Result<(), String> {
        self.alone(|| match self.most.get() {
            Some(most) if load.connections >= most => Err("too many connections of this source".to_owned()),
            _ => Ok(()),
        })
    }

    fn message_rate(&self, _: &Source) -> Option<u32> {
        self.rate.get()
    }

    fn opened(&self, source: &Source, peer: Option<PeerId>, chain: Option<Vec<CertificateDer<'static>>>) -> bool {
        self.alone(|| {
            self.opened
                .borrow_mut()
                .push((*source, peer, chain.map_or(0, |c| c.len())))
        });
        !self.unwanted.get()
    }

    fn message(&self, source: &Source, bytes: &[u8], _: Framing) {
        self.alone(|| {
            self.messages.borrow_mut().push((*source, bytes.to_vec()));
            if !self.silent.get() && !bytes.starts_with(b"SIP/") {
                self.answer(source, "200 OK", body(bytes).as_bytes());
            }
        });
    }

    fn broken(&self, source: &Source, _: &[u8], problem: Malformed) {
        self.alone(|| {
            self.broken.borrow_mut().push(problem.status);
            self.answer(source, &format!("{} Bad", problem.status), b"");
        });
    }

    fn closed(&self, flow: FlowId, why: &CloseReason) {
        self.alone(|| self.closed.borrow_mut().push((flow, why.clone())));
    }

    fn send_failed(&self, token: u64, _: Destination, why: &SendError) {
        assert_ne!(token, 0);
        self.alone(|| self.failed.borrow_mut().push((token, why.clone())));
    }

    fn resolved(&self, _: u64, _: super::resolver::Targets) {}

    fn batch_done(&self) {
        self.alone(|| {
            self.batches.set(self.batches.get() + 1);
            for (to, wire) in self.outputs.take() {
                self.transports().send(to, wire, 0);
            }
            self.transports().flush();
        });
    }
}

fn body(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    text.split_once("\r\n\r\n")
        .map(|(_, b)| b.to_owned())
        .unwrap_or_default()
}

fn request(body: &str) -> Vec<u8> {
    format!(
        "MESSAGE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn response(body: &str) -> Vec<u8> {
    format!("SIP/2.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

/// Limits short enough to wait for.
fn quick() -> Limits {
    Limits {
        half: Duration::from_millis(400),
        handshake: Duration::from_millis(800),
        connect: Duration::from_millis(800),
        linger: Duration::from_millis(1_500),
        ..Limits::default()
    }
}

/// Runs a test with transports of the given limits, and ends it if it hangs.
fn run<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Rc<App>, Transports) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let app = Rc::new(App::default());
        let transports = Transports::new(Rc::clone(&app) as Rc<dyn Handler>, limits);
        assert!(app.transports.set(transports.clone()).is_ok());
        timeout(Duration::from_secs(30), test(app, transports))
            .await
            .expect("the test hangs");
    });
}

fn spec(id: u16, transport: Transport, bind: &[&str]) -> ListenerSpec {
    let bind = bind.iter().map(|b| b.parse().expect("an address")).collect();
    ListenerSpec {
        id: ListenerId(id),
        transport,
        bind,
        tls: None,
        dscp: None,
        shared: false,
    }
}

fn listen(transports: &Transports, transport: Transport) -> SocketAddr {
    transports
        .listen(&spec(1, transport, &["127.0.0.1:0"]))
        .expect("a listener")[0]
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came true that {what}");
}

async fn dial(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("a connection")
}

/// Reads exactly this.
async fn expect(socket: &mut (impl AsyncReadExt + Unpin), wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    let read = timeout(Duration::from_secs(5), socket.read_exact(&mut got)).await;
    assert!(matches!(read, Ok(Ok(_))), "{read:?}: {}", String::from_utf8_lossy(&got));
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
}

/// Reads until the other end closes; a reset counts.
async fn drained(socket: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(8), socket.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "it is not closed");
    all
}

/// That a new connection is served.
async fn served(to: SocketAddr) {
    let mut socket = dial(to).await;
    socket.write_all(&request("alive?")).await.expect("a write");
    expect(&mut socket, &response("alive?")).await;
}

/// An authority that issues certificates for tests.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self {
            issuer: rcgen::Issuer::new(params, key),
            certificate,
        }
    }

    fn issue(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .der()
            .clone();
        (vec![leaf], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        Arc::new(roots)
    }

    /// A server that asks for a certificate of this authority.
    fn server(&self, name: &str) -> Arc<rustls::ServerConfig> {
        let provider = crate::pki::provider();
        let (chain, key) = self.issue(name);
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(chain, key);
        Arc::new(config.expect("a configuration"))
    }

    /// A client that presents a certificate of this authority.
    fn client(&self, name: &str) -> Arc<rustls::ClientConfig> {
        let (chain, key) = self.issue(name);
        let config = rustls::ClientConfig::builder_with_provider(crate::pki::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_client_auth_cert(chain, key);
        Arc::new(config.expect("a configuration"))
    }
}

/// Counts log lines of this thread that hold a word.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self, word: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().expect("a lock"))
            .lines()
            .filter(|l| l.contains(word))
            .count()
    }
}
