//! Connects to a server, accepts whatever certificate it shows, and writes down what happens.
//!
//! For diagnosis only: nothing here is reachable from the running bridge.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::DoctorTarget;
use super::clock::{self, Answer};
use crate::pki::tls::{LocalIdentity, provider, server_name};

/// What a connection showed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The certificates the server sent.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Whether its signature over the handshake fits the certificate; `None` when it did not come to that.
    pub(super) signature_fits: Option<bool>,
    /// Whether it asked for a client certificate.
    pub(super) asked: bool,
    /// Whether the handshake came to its end on our side.
    pub(super) finished: bool,
    /// Protocol and cipher suite.
    pub(super) agreed: Option<String>,
    /// What it answered to OPTIONS, if it did.
    pub(super) answer: Option<Answer>,
    /// What ended it.
    pub(super) end: Option<End>,
}

/// Why a connection ended early.
#[derive(Debug)]
pub(super) enum End {
    /// The name does not resolve, or nobody accepts the connection.
    Unreachable(String),
    /// It was silent for the whole time.
    Silent,
    /// It closed the connection.
    Closed,
    /// It sent a fatal alert.
    Alert(AlertDescription),
    /// What it sent is not TLS.
    NotTls,
    /// Our TLS gave up.
    Tls(Error),
}

/// The host of `host:port`, `[v6]:port` or a bare host or address.
pub(super) fn host_of(address: &str) -> &str {
    if let Some((host, _)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => address,
    }
}

/// The port of `host:port`, else 5061.
fn port_of(address: &str) -> u16 {
    let tail = address.rsplit_once(']').map_or(address, |(_, tail)| tail);
    match tail.split_once(':') {
        Some((_, port)) if !port.contains(':') => port.parse().unwrap_or(5061),
        _ => 5061,
    }
}

/// Opens a TCP connection with a time limit.
pub(super) fn open(address: &str, timeout: Duration) -> Result<TcpStream, End> {
    let failed = |e: std::io::Error| End::Unreachable(e.to_string());
    let mut last = End::Unreachable("the name has no address".to_owned());
    for to in (host_of(address), port_of(address)).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&to, timeout) {
            Ok(stream) => {
                stream.set_read_timeout(Some(timeout)).map_err(failed)?;
                stream.set_write_timeout(Some(timeout)).map_err(failed)?;
                return Ok(stream);
            }
            Err(e) => last = End::Unreachable(format!("{to}: {e}")),
        }
    }
    Err(last)
}

/// Connects and shakes hands, showing our certificate if there is one.
pub(super) fn look(address: &str, target: &DoctorTarget, ours: Option<&LocalIdentity>, timeout: Duration) -> Seen {
    let mut seen = Seen::default();
    let recorder = Arc::new(Recorder {
        provider: provider(),
        state: Mutex::default(),
    });
    let asked = Arc::new(Asked {
        ours: ours.map(LocalIdentity::certified),
        asked: AtomicBool::new(false),
    });
    match open(address, timeout).and_then(|stream| Ok((stream, connection(target, &recorder, &asked)?))) {
        Ok((mut stream, mut tls)) => {
            seen.end = shake(&mut stream, &mut tls, timeout).err();
            seen.finished = !tls.is_handshaking();
            seen.agreed = tls
                .protocol_version()
                .zip(tls.negotiated_cipher_suite())
                .map(|(version, suite)| {
                    let version = version.as_str().unwrap_or("TLS").replace('_', ".");
                    format!("{version} {}", suite.suite().as_str().unwrap_or("unnamed suite"))
                });
            if seen.finished && seen.end.is_none() {
                let wait = timeout.min(Duration::from_millis(1500));
                let request = options(target, &stream);
                match linger(&mut stream, &mut tls, &request, wait) {
                    Ok(answer) => seen.answer = answer,
                    Err(end) => seen.end = Some(end),
                }
            }
        }
        Err(end) => seen.end = Some(end),
    }
    let state = recorder.state.lock().unwrap_or_else(PoisonError::into_inner);
    seen.chain.clone_from(&state.chain);
    seen.signature_fits = state.signature_fits;
    seen.asked = asked.asked.load(Ordering::Relaxed);
    seen
}

fn connection(target: &DoctorTarget, recorder: &Arc<Recorder>, asked: &Arc<Asked>) -> Result<ClientConnection, End> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&recorder.provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(End::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(recorder) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::clone(asked) as Arc<dyn ResolvesClientCert>);
    let name = server_name(&target.peer).or_else(|| ServerName::try_from("unnamed.invalid").ok());
    config.enable_sni = server_name(&target.peer).is_some();
    config.resumption = rustls::client::Resumption::disabled();
    let name = name.ok_or(End::Tls(Error::UnsupportedNameType))?;
    ClientConnection::new(Arc::new(config), name).map_err(End::Tls)
}

fn shake(stream: &mut TcpStream, tls: &mut ClientConnection, timeout: Duration) -> Result<(), End> {
    let deadline = Instant::now() + timeout;
    while tls.is_handshaking() {
        while tls.wants_write() {
            tls.write_tls(stream).map_err(|_| End::Closed)?;
        }
        if tls.is_handshaking() && tls.wants_read() {
            if Instant::now() > deadline {
                return Err(End::Silent);
            }
            receive(stream, tls)?;
        }
    }
    while tls.wants_write() {
        tls.write_tls(stream).map_err(|_| End::Closed)?;
    }
    Ok(())
}

fn receive(stream: &mut TcpStream, tls: &mut ClientConnection) -> Result<(), End> {
    match tls.read_tls(stream) {
        Ok(0) => return Err(End::Closed),
        Ok(_) => {}
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Err(End::Silent),
        Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
        Err(_) => return Err(End::Closed),
    }
    let ended = match tls.process_new_packets() {
        Ok(_) => return Ok(()),
        Err(Error::AlertReceived(alert)) => End::Alert(alert),
        Err(Error::InvalidMessage(_)) if tls.is_handshaking() && tls.protocol_version().is_none() => End::NotTls,
        Err(e) => End::Tls(e),
    };
    // Our alert is owed to the server even so.
    let _ = tls.write_tls(stream);
    Err(ended)
}

/// An OPTIONS to the peer's domain, as the bridge's own probes are.
fn options(target: &DoctorTarget, stream: &TcpStream) -> String {
    let mut random = [0; 16];
    let _ = provider().secure_random.fill(&mut random);
    let id: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let from = target.domains.first().map_or("doctor.invalid", |d| &**d);
    let to = target.peer.domains.first().map_or(from, |d| &**d);
    let local = stream.local_addr().map_or_else(|_| from.to_owned(), |a| a.to_string());
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS {local};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\nFrom: \
         <sip:{from}>;tag={id}\r\nTo: <sip:{to}>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// In TLS 1.3 the server judges our certificate after our handshake is over: sends a request and waits a moment for its
/// answer.
fn linger(
    stream: &mut TcpStream,
    tls: &mut ClientConnection,
    request: &str,
    wait: Duration,
) -> Result<Option<Answer>, End> {
    const ENOUGH: usize = 16 * 1024;
    let deadline = Instant::now() + wait;
    let _ = tls.writer().write_all(request.as_bytes());
    let _ = tls.write_tls(stream);
    let _ = stream.set_read_timeout(Some(wait));
    let mut got = Vec::new();
    while Instant::now() < deadline && got.len() < ENOUGH {
        match receive(stream, tls) {
            Ok(()) => {
                let mut piece = [0; 4096];
                while let Ok(n) = tls.reader().read(&mut piece)
                    && n > 0
                {
                    got.extend(piece.iter().take(n));
                }
                if let Some(answer) = clock::read(&got) {
                    return Ok(Some(answer));
                }
            }
            Err(End::Silent) => return Ok(None),
            // Who has answered something has not refused us.
            Err(_) if !got.is_empty() => return Ok(None),
            Err(end) => return Err(end),
        }
    }
    Ok(None)
}

/// Accepts every certificate and remembers it.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chain: Vec<CertificateDer<'static>>,
    signature_fits: Option<bool>,
}

impl Recorder {
    /// A signature that does not fit is a finding, not the end: there may be more to see.
    fn note(&self, checked: &Result<HandshakeSignatureValid, Error>) -> HandshakeSignatureValid {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).signature_fits = Some(checked.is_ok());
        HandshakeSignatureValid::assertion()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = core::iter::once(end_entity)
            .chain(intermediates)
            .map(|c| c.clone().into_owned())
            .collect();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).chain = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(self.note(&verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(self.note(&verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows our certificate when asked, and remembers that it was asked for.
#[derive(Debug)]
struct Asked {
    ours: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.ours.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_port() {
        for (text, host, port) in [
            ("b.example", "b.example", 5061),
            ("b.example:5062", "b.example", 5062),
            ("192.0.2.1:7", "192.0.2.1", 7),
            ("[2001:db8::1]:5062", "2001:db8::1", 5062),
            ("2001:db8::1", "2001:db8::1", 5061),
            ("[2001:db8::1]", "2001:db8::1", 5061),
        ] {
            assert_eq!((host_of(text), port_of(text)), (host, port), "{text}");
        }
    }
}
