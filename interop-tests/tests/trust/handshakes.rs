//! Handshakes that are old, weak, broken, slow or too clever: each is cut short, and the next proper client is served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use interop_tests::agent::Agent;
use interop_tests::hello::{Answer, GOOD_12, Hello, ask, listen, ssl2};
use interop_tests::link::TlsSetup;
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::stand::{DOMAIN, Stand};
use interop_tests::{Outcome, installed};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

const LIMITS: &str =
    "limits: { per_source: { connections: 1000, handshakes: 1000, requests: 100000 }, half_request_timeout: 3s }\n";
const WITHIN: Duration = Duration::from_secs(10);

/// A bridge that knows peer b.example, and the authority of that peer.
fn stand(family: Family) -> Outcome<(Stand, Authority, tempfile::TempDir)> {
    let (peers, dir) = (Authority::named("CA of b")?, tempfile::tempdir()?);
    let ca = dir.path().join("b-ca.pem");
    std::fs::write(&ca, &peers.pem)?;
    let peer = format!(
        "{LIMITS}peers:\n  - {{ name: b, domains: [b.example], transport: tls, next_hop: \"192.0.2.1:5061\", tls: {{ ca: \
         [{}] }} }}\n",
        ca.display()
    );
    Ok((Stand::start_with(family, &peer)?, peers, dir))
}

/// A proper peer is served on a new connection; how long it took.
fn served(stand: &Stand, peers: &Authority) -> Outcome<Duration> {
    let started = Instant::now();
    let setup = TlsSetup {
        ca: stand.authority.pem.clone(),
        name: DOMAIN.into(),
        own: Some(peers.issue("b.example")?),
    };
    let mut bob = Agent::trunk("bob", "b.example", stand.bridge.ports.trunk(), &setup)?;
    let answer = bob.ask(&interop_tests::wire::Request::new("OPTIONS", "sip:a.example"))?;
    match answer.status() {
        200 => Ok(started.elapsed()),
        _ => Err(format!("OPTIONS of a proper peer was answered {}", answer.start).into()),
    }
}

/// What the first answer must be.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// An alert, then the end. These descriptions are in order: protocol_version 70, handshake_failure 40, decode_error
    /// 50, illegal_parameter 47, unexpected_message 10, missing_extension 109, unrecognized_name 112.
    Alert(&'static [u8]),
    /// An alert of any kind, or closed without a word.
    Refused,
    /// A ServerHello of this version.
    Hello(u16),
    /// Anything but an answer in SIP.
    Survive,
}

impl Verdict {
    fn allows(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Alert(all), Answer::Alert(description)) => all.contains(description),
            (Self::Refused, Answer::Alert(_) | Answer::Closed) => true,
            (Self::Hello(wanted), Answer::Hello { version, .. }) => *version == wanted,
            (Self::Survive, Answer::Other(bytes)) => !bytes.starts_with(b"SIP"),
            (Self::Survive, _) => true,
            _ => false,
        }
    }
}

fn judge(table: Vec<(&str, Vec<u8>, Verdict)>) -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (mut stand, peers, _dir) = stand(family)?;
        let mut wrong = Vec::new();
        for (name, bytes, verdict) in &table {
            for server in [stand.bridge.ports.trunk(), stand.bridge.ports.tls()] {
                let answer = ask(server, bytes, WITHIN)?;
                if !verdict.allows(&answer) {
                    wrong.push(format!("{name}: wanted {verdict:?}, got {answer:?}"));
                }
            }
            served(&stand, &peers).map_err(|e| format!("after {name}: {e}"))?;
        }
        stand.modest()?;
        if !wrong.is_empty() {
            return Err(wrong.join("\n").into());
        }
    }
    Ok(())
}

#[test]
fn old_versions_and_weak_suites_are_refused_with_an_alert() -> Outcome {
    const OLD: Verdict = Verdict::Alert(&[70, 40]);
    const WEAK: Verdict = Verdict::Alert(&[40]);
    judge(vec![
        ("SSL 2.0", ssl2(), Verdict::Refused),
        ("SSL 3.0", Hello::old(0x0300).bytes(), OLD),
        ("TLS 1.0", Hello::old(0x0301).bytes(), OLD),
        ("TLS 1.1", Hello::old(0x0302).bytes(), OLD),
        (
            "TLS 1.1 by supported_versions",
            Hello::v12(&GOOD_12).with(43, &[2, 3, 2]).bytes(),
            OLD,
        ),
        ("NULL", Hello::v12(&[0x0002, 0x003b, 0xc006]).bytes(), WEAK),
        ("anonymous", Hello::v12(&[0x0034, 0xc018, 0x00a6]).bytes(), WEAK),
        ("3DES", Hello::v12(&[0x000a, 0xc008, 0xc012]).bytes(), WEAK),
        ("RC4", Hello::v12(&[0x0004, 0x0005, 0xc007, 0xc011]).bytes(), WEAK),
        ("CBC", Hello::v12(&[0xc009, 0xc013, 0xc023]).bytes(), WEAK),
        ("RSA key exchange", Hello::v12(&[0x009c, 0x009d]).bytes(), WEAK),
        ("export", Hello::v12(&[0x0003, 0x0008, 0x0014]).bytes(), WEAK),
        ("TLS 1.2", Hello::v12(&GOOD_12).bytes(), Verdict::Hello(0x0303)),
        ("TLS 1.3", Hello::v13().bytes(), Verdict::Hello(0x0304)),
    ])
}

#[test]
fn garbage_in_the_handshake_is_cut_and_the_next_is_served() -> Outcome {
    let good = || Hello::v12(&GOOD_12);
    let long = [b'a'; 300];
    let whole = good().bytes();
    let mut lying = whole.clone();
    // The handshake claims 16 MB.
    lying.splice(6..9, [0xff, 0xff, 0xff]);
    let mut random = vec![22, 3, 1, 0x40, 0];
    random.extend((0..0x4000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap_or(0)));
    judge(vec![
        (
            "SNI with a NUL",
            good().with_names(&[b"a.example\0.evil"]).bytes(),
            Verdict::Refused,
        ),
        (
            "SNI that is an address",
            good().with_names(&[b"127.0.0.1"]).bytes(),
            Verdict::Survive,
        ),
        (
            "SNI of 300 bytes",
            good().with_names(&[&long]).bytes(),
            Verdict::Refused,
        ),
        (
            "SNI that is no UTF-8",
            good().with_names(&[b"\xff\xfe\x80"]).bytes(),
            Verdict::Refused,
        ),
        ("empty SNI", good().with_names(&[b""]).bytes(), Verdict::Refused),
        ("no name in SNI", good().with(0, &[0, 0]).bytes(), Verdict::Refused),
        (
            "two names in SNI",
            good().with_names(&[b"a.example", b"b.example"]).bytes(),
            Verdict::Survive,
        ),
        (
            "SNI whose length lies",
            good().with(0, &[0xff, 0xff, 0, 0]).bytes(),
            Verdict::Refused,
        ),
        (
            "SNI of somebody else",
            good().with_names(&[b"evil.example"]).bytes(),
            Verdict::Hello(0x0303),
        ),
        (
            "SNI twice",
            good().with_names(&[b"a.example"]).with_names(&[b"a.example"]).bytes(),
            Verdict::Refused,
        ),
        ("no suites", Hello::v12(&[]).bytes(), Verdict::Refused),
        ("a length that lies", lying, Verdict::Refused),
        ("random bytes", random, Verdict::Refused),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Verdict::Refused),
        (
            "plain SIP",
            interop_tests::raw::Raw::new("TCP", "OPTIONS", "sip:a.example").bytes(),
            Verdict::Refused,
        ),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 0], Verdict::Refused),
        (
            "application data",
            vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
            Verdict::Refused,
        ),
    ])
}

#[test]
fn tickets_resumption_and_early_data_are_not_to_be_had() -> Outcome {
    let (stand, peers, _dir) = stand(Family::V4)?;
    let trunk = stand.bridge.ports.trunk();
    // A client that asks for a ticket of TLS 1.2 (35) is not promised one.
    let asked = ask(trunk, &Hello::v12(&GOOD_12).with(35, &[]).bytes(), WITHIN)?;
    let Answer::Hello { extensions, .. } = asked else {
        return Err(format!("{asked:?}").into());
    };
    assert!(!extensions.contains(&35), "{extensions:?}");
    // One that comes with a key of before (41) and early data (42) is not let in by it.
    let identity = [&[0, 38, 0, 32][..], &[1; 32], &[0; 4]].concat();
    let binder = [&[0, 33, 32][..], &[2; 32]].concat();
    let hello = Hello::v13()
        .with(42, &[])
        .with(45, &[1, 1])
        .with(41, &[identity, binder].concat());
    let answer = ask(trunk, &hello.bytes(), WITHIN)?;
    match &answer {
        Answer::Hello { extensions, .. } => assert!(!extensions.contains(&41), "{extensions:?}"),
        Answer::Alert(_) | Answer::Closed => {}
        other => return Err(format!("{other:?}").into()),
    }
    // A library that would gladly resume and send early.
    let config = Arc::new(eager(&stand, &peers)?);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(trunk)?;
        stream.set_read_timeout(Some(WITHIN))?;
        let mut tls = ClientConnection::new(Arc::clone(&config), ServerName::try_from(DOMAIN)?)?;
        assert!(tls.early_data().is_none(), "it may send early");
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let mut both = rustls::Stream::new(&mut tls, &mut stream);
        both.write_all(&interop_tests::raw::Raw::new("TLS", "OPTIONS", "sip:a.example").bytes())?;
        let mut answer = [0; 2048];
        let n = both.read(&mut answer)?;
        assert!(answer.get(..n).is_some_and(|a| a.starts_with(b"SIP/2.0 ")));
        assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    Ok(())
}

fn eager(stand: &Stand, peers: &Authority) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(stand.authority.pem.as_bytes())?)?;
    let own = peers.issue("b.example")?;
    let chain = vec![CertificateDer::from_pem_slice(own.pem.as_bytes())?];
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?;
    config.enable_early_data = true;
    Ok(config)
}

#[test]
fn renegotiation_is_refused() -> Outcome {
    if !installed("renegotiation_is_refused", &["openssl"]) {
        return Ok(());
    }
    let (stand, peers, dir) = stand(Family::V4)?;
    peers.issue("b.example")?.write(dir.path(), "b")?;
    let connect = stand.bridge.ports.trunk().to_string();
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_2",
            "-legacy_server_connect",
            "-cert",
            "b.pem",
            "-key",
            "b.key",
            "-connect",
            &connect,
        ])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = client.stdin.take().ok_or("no stdin")?;
    let mut shown = client.stdout.take().ok_or("no stdout")?;
    let (mut all, mut chunk) = (String::new(), [0; 4096]);
    // The handshake is over when the session is shown.
    while !all.contains("Verify return code") {
        match shown.read(&mut chunk)? {
            0 => return Err(format!("openssl ended before the handshake did: {all}").into()),
            n => all += &String::from_utf8_lossy(chunk.get(..n).unwrap_or_default()),
        }
    }
    assert!(all.contains("TLSv1.2"), "{all}");
    input.write_all(b"R\n")?;
    let refused = super::org::logged(&stand.bridge, &["NoRenegotiation"]);
    // It would wait for the second handshake for ever.
    std::thread::sleep(Duration::from_millis(500));
    client.kill()?;
    drop(input);
    refused?;
    let end = client.wait_with_output()?;
    let said = String::from_utf8_lossy(&end.stderr);
    let after = said.split_once("RENEGOTIATING").ok_or_else(|| said.to_string())?.1;
    assert!(!after.contains("verify return"), "it shook hands again: {said}");
    served(&stand, &peers).map(drop)
}

#[test]
fn stalled_handshakes_are_cut_in_time_and_keep_nobody_waiting() -> Outcome {
    let (stand, peers, _dir) = stand(Family::V4)?;
    let trunk = stand.bridge.ports.trunk();
    let whole = Hello::v12(&GOOD_12).bytes();
    let mut stalled = Vec::new();
    for n in 0..40 {
        let mut stream = TcpStream::connect(trunk)?;
        // Some say nothing, some half, some all and then no more.
        let part = match n % 3 {
            0 => 0,
            1 => whole.len() / 2,
            _ => whole.len(),
        };
        stream.write_all(whole.get(..part).unwrap_or_default())?;
        stalled.push(stream);
    }
    let took = served(&stand, &peers)?;
    assert!(took < Duration::from_secs(3), "a proper peer waited for {took:?}");
    // One byte a while does not buy time.
    let mut slow = TcpStream::connect(trunk)?;
    let started = Instant::now();
    let mut cut = false;
    for byte in whole.chunks(1) {
        if slow.write_all(byte).is_err() {
            cut = true;
            break;
        }
        match listen(&mut slow, Duration::from_millis(250)) {
            Answer::Silence => {}
            _ => {
                cut = true;
                break;
            }
        }
    }
    assert!(cut, "it was never cut");
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "cut after {:?}",
        started.elapsed()
    );
    for (n, mut stream) in stalled.into_iter().enumerate() {
        let _ = stream.set_read_timeout(Some(WITHIN));
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(e) => return Err(format!("stalled handshake {n} is still open: {e}").into()),
        }
    }
    served(&stand, &peers).map(drop)
}
