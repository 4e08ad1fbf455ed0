//! One bad certificate or server for each verdict, and exactly that verdict.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::ExtendedKeyUsagePurpose;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use super::*;
use crate::pki::crl::Crl;
use crate::pki::pin::Pin;
use crate::pki::testing::{Ca, DAY, Issued, Leaf, NOW, now, peer};

const TIMEOUT: Duration = Duration::from_secs(5);

fn ids(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|f| f.id).collect()
}

/// The verdict over a chain of peer B, whose authority is `ca`.
fn theirs(trust: &PeerTrust, chain: &[CertificateDer<'_>]) -> Vec<&'static str> {
    let mut view = View::theirs(trust, now());
    view.next_hop = Some("192.0.2.1:5061");
    let found = inspect::inspect(chain, &view);
    assert!(found.iter().all(|f| !f.what.is_empty() && !f.fix.is_empty()));
    ids(&found)
}

#[test]
fn a_good_chain_has_no_finding() {
    let ca = Ca::new("ca");
    let b = peer(0, "b.example", &[&ca]);
    assert_eq!(theirs(&b, &ca.issue(Leaf::domain("b.example")).chain), [""; 0]);
    assert_eq!(
        theirs(&b, &ca.intermediate("m").issue(Leaf::domain("b.example")).chain),
        [""; 0]
    );
}

#[test]
fn each_bad_certificate_gets_exactly_its_finding() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let b = peer(0, "b.example", &[&ca]);
    let leaf = || Leaf::domain("b.example");
    let mut soon = leaf();
    soon.params.not_before = time::OffsetDateTime::from_unix_timestamp(NOW as i64 + 120).unwrap();
    for (wanted, issued) in [
        ("expired", ca.issue(leaf().days(-30, -2))),
        ("not-yet-valid", ca.issue(leaf().days(3, 300))),
        ("clock-skew", ca.issue(soon)),
        ("expires-soon", ca.issue(leaf().days(-30, 10))),
        ("unknown-ca", other.issue(leaf())),
        ("unknown-ca", Ca::new("ca").issue(leaf())),
        ("wrong-name", ca.issue(Leaf::domain("c.example"))),
        ("wrong-name", ca.issue(Leaf::new("b.example").dns("evil.example"))),
        (
            "wrong-name",
            ca.issue(Leaf::new("x").uri("sip:c.example").dns("b.example")),
        ),
        ("cn-only", ca.issue(Leaf::new("b.example"))),
        ("wildcard", ca.issue(Leaf::new("*.example").dns("*.example"))),
        ("ip-route", ca.issue(Leaf::new("192.0.2.1").ip("192.0.2.1"))),
        ("ip-route", ca.issue(Leaf::new("192.0.2.1"))),
        ("self-signed-leaf", leaf().self_signed()),
        ("authority-leaf", ca.issue(leaf().authority())),
        ("no-client-auth", ca.issue(leaf().usage(&[ServerAuth]))),
        ("no-server-auth", ca.issue(leaf().usage(&[ClientAuth]))),
    ] {
        assert_eq!(theirs(&b, &issued.chain), [wanted]);
    }
}

#[test]
fn pin_it_is_the_advice_for_a_self_signed_certificate_and_following_it_helps() {
    let own = Leaf::new("old box").dns("b.example").self_signed();
    let mut b = peer(0, "b.example", &[&Ca::new("ca")]);
    let found = inspect::inspect(&own.chain, &View::theirs(&b, now()));
    assert!(found[0].fix.contains(&Pin::certificate(&own.der).to_string()));
    b.pins.push(Pin::certificate(&own.der));
    assert_eq!(theirs(&b, &own.chain), [""; 0]);
    assert_eq!(theirs(&b, &Leaf::new("old box").self_signed().chain), ["not-pinned"]);
}

#[test]
fn a_missing_intermediate_is_told_from_an_unknown_authority() {
    let ca = Ca::of_organisation("root", "Test Federation");
    let middle = ca.intermediate_of("middle", "Test Federation");
    let b = peer(0, "b.example", &[&ca]);
    let issued = middle.issue(Leaf::domain("b.example"));
    assert_eq!(theirs(&b, &issued.chain), [""; 0]);
    assert_eq!(theirs(&b, &issued.chain[..1]), ["missing-intermediate"]);
    let stranger = Ca::of_organisation("root", "Mallory").issue(Leaf::domain("b.example"));
    assert_eq!(theirs(&b, &stranger.chain), ["unknown-ca"]);
}

#[test]
fn without_organisations_a_telling_word_of_the_name_speaks_for_a_gap_and_a_link_does_not() {
    let ca = Ca::new("Contoso Root CA");
    let b = peer(0, "b.example", &[&ca]);
    let issued = ca.intermediate("Contoso Issuing CA 2").issue(Leaf::domain("b.example"));
    assert_eq!(theirs(&b, &issued.chain[..1]), ["missing-intermediate"]);
    // Every public authority writes where its own certificate is to be had.
    let uri = b"http://ca.example/ca.crt";
    let length = |n: usize| u8::try_from(n).unwrap();
    let mut access = vec![0x30, length(uri.len() + 14), 0x30, length(uri.len() + 12), 6, 8];
    access.extend([0x2b, 6, 1, 5, 5, 7, 0x30, 2, 0x86, length(uri.len())]);
    access.extend(uri);
    let link = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
    let public = Ca::new("Public Trust Root CA").issue(Leaf::domain("b.example").raw(link));
    let found = inspect::inspect(&public.chain, &View::theirs(&b, now()));
    assert_eq!(ids(&found), ["unknown-ca"]);
    assert!(found[0].fix.contains("http://ca.example/ca.crt"), "{}", found[0].fix);
}

#[test]
fn an_anchor_past_its_day_is_our_configurations_fault() {
    let ca = Ca::new("ca");
    let b = peer(0, "b.example", &[&ca]);
    let later = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 3100 * DAY as u64));
    let leaf = ca.issue(Leaf::domain("b.example").days(3000, 3300));
    let found = inspect::inspect(&leaf.chain, &View::theirs(&b, later));
    assert_eq!(ids(&found), ["anchor-expired"]);
    assert_eq!(
        (found[0].side, found[0].severity),
        (Side::Configuration, Severity::Warning)
    );
}

#[test]
fn revocation_and_our_own_stale_material() {
    let ca = Ca::new("ca");
    let (bad, good) = (ca.issue(Leaf::domain("b.example")), ca.issue(Leaf::domain("b.example")));
    let mut b = peer(0, "b.example", &[&ca]);
    b.crls.push(Crl::from_der(&ca.revoke(&[&bad])).unwrap());
    assert_eq!(theirs(&b, &bad.chain), ["revoked"]);
    assert_eq!(theirs(&b, &good.chain), [""; 0]);
    let later = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 60 * DAY as u64));
    assert_eq!(
        ids(&inspect::inspect(&good.chain, &View::theirs(&b, later))),
        ["crl-stale"]
    );
    let nobody = peer(0, "b.example", &[]);
    assert_eq!(theirs(&nobody, &good.chain), ["no-anchor"]);
    assert_eq!(
        theirs(&b, &[CertificateDer::from(b"garbage".as_slice())]),
        ["unreadable"]
    );
}

// What rcgen cannot make comes from the openssl program.

fn has_openssl() -> bool {
    let found = Command::new("openssl")
        .arg("version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("SKIPPED: this test needs the `openssl` program, which is not installed");
    }
    found
}

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(dir)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes `ca.pem`, and a certificate for b.example by it with extra arguments.
fn made_by_openssl(dir: &Path, key: &str, extra: &str) -> (PeerTrust, Vec<CertificateDer<'static>>) {
    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -days 365 -keyout ca.key -out ca.pem -subj /CN=Root",
    );
    openssl(
        dir,
        &format!("req -newkey {key} -nodes -keyout b.key -out b.csr -subj /CN=b.example"),
    );
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=DNS:b.example\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    openssl(
        dir,
        &format!("x509 -req -in b.csr -CA ca.pem -CAkey ca.key -set_serial 7 -days 200 -out b.pem {extra}"),
    );
    let mut trust = PeerTrust::new(crate::sip::net::PeerId(0), "b");
    trust.domains.push("b.example".into());
    trust
        .anchors
        .add(files::certificates(&dir.join("ca.pem")).unwrap().swap_remove(0))
        .unwrap();
    (trust, files::certificates(&dir.join("b.pem")).unwrap())
}

#[test]
fn old_signatures_keys_and_versions() {
    if !has_openssl() {
        return;
    }
    for (wanted, key, extra) in [
        (None, "rsa:2048", "-sha256 -extfile ext"),
        (Some("sha1"), "rsa:2048", "-sha1 -extfile ext"),
        (Some("rsa-short"), "rsa:1024", "-sha256 -extfile ext"),
        (Some("x509-v1"), "rsa:2048", "-sha256"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (trust, chain) = made_by_openssl(dir.path(), key, extra);
        let found = inspect::inspect(&chain, &View::theirs(&trust, UnixTime::now()));
        assert_eq!(
            ids(&found),
            wanted.into_iter().collect::<Vec<_>>(),
            "{extra}: {found:?}"
        );
    }
}

// Servers.

struct World {
    ca: Ca,
    dir: tempfile::TempDir,
    target: DoctorTarget,
}

/// Leaves that are valid today, by the real clock.
fn current(leaf: Leaf) -> Leaf {
    let today = (UnixTime::now().as_secs() as i64 - NOW as i64) / DAY;
    leaf.days(today - 3, today + 100)
}

fn world() -> World {
    let ca = Ca::new("ca");
    let dir = tempfile::tempdir().unwrap();
    let ours = ca.issue(current(Leaf::domain("a.example")));
    let file = |name: &str| dir.path().join(name);
    files::write(&file("a.pem"), ours.pem().as_bytes(), 0o644, false).unwrap();
    files::write(&file("a.key"), ours.key_pem().as_bytes(), 0o600, false).unwrap();
    let target = DoctorTarget {
        peer: Arc::new(peer(0, "b.example", &[&ca])),
        certificate: file("a.pem"),
        key: file("a.key"),
        domains: vec!["a.example".into()],
        next_hop: None,
    };
    World { ca, dir, target }
}

impl World {
    fn examine(&self, port: u16) -> Vec<&'static str> {
        ids(&self.report(port).findings)
    }

    fn report(&self, port: u16) -> Report {
        let at = Where {
            connect: Some(format!("127.0.0.1:{port}")),
            files: vec![],
            timeout: TIMEOUT,
        };
        let report = examine(&self.target, &at, UnixTime::now()).unwrap();
        assert_eq!(
            report.is_healthy(),
            report.findings.iter().all(|f| f.severity != Severity::Error)
        );
        println!("{report}");
        report
    }

    fn theirs(&self) -> Issued {
        self.ca.issue(current(Leaf::domain("b.example")))
    }
}

/// A server of one or two connections.
fn serve(config: ServerConfig) -> u16 {
    let config = Arc::new(config);
    serve_raw(move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while !matches!(tls.complete_io(&mut stream), Err(_) | Ok((0, 0))) {
            if tls.reader().read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let _ = tls.writer().write_all(b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        }
        let _ = tls.write_tls(&mut stream);
    })
}

fn serve_raw(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2).flatten() {
            let _ = stream.set_read_timeout(Some(TIMEOUT));
            serve(stream);
        }
    });
    port
}

fn asking(theirs: &Issued, authority: &Ca) -> ServerConfig {
    asking_with(theirs, authority, Vec::new())
}

fn asking_with(theirs: &Issued, authority: &Ca, crls: Vec<Vec<u8>>) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .with_crls(crls.into_iter().map(Into::into))
        .allow_unknown_revocation_status()
        .build()
        .unwrap();
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(theirs.chain.clone(), theirs.key_der())
        .unwrap()
}

#[test]
fn a_healthy_trunk_has_no_finding() {
    let world = world();
    assert_eq!(world.examine(serve(asking(&world.theirs(), &world.ca))), [""; 0]);
}

#[test]
fn a_bad_certificate_on_the_wire_is_found_there() {
    let world = world();
    let wrong = world.ca.issue(current(Leaf::domain("c.example")));
    assert_eq!(world.examine(serve(asking(&wrong, &world.ca))), ["wrong-name"]);
}

#[test]
fn a_server_that_asks_for_no_client_certificate() {
    let (world, builder) = (world(), ServerConfig::builder_with_provider(provider()));
    let theirs = world.theirs();
    let builder = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let port = serve(
        builder
            .with_single_cert(theirs.chain.clone(), theirs.key_der())
            .unwrap(),
    );
    assert_eq!(world.examine(port), ["no-client-certificate-asked"]);
}

#[test]
fn a_server_that_does_not_know_our_authority() {
    let world = world();
    assert_eq!(
        world.examine(serve(asking(&world.theirs(), &Ca::new("theirs")))),
        ["our-ca-unknown"]
    );
}

#[test]
fn a_server_that_refuses_our_certificate_says_why_and_so_do_we() {
    let mut world = world();
    let install = |world: &World, ours: &Issued| {
        files::write(&world.target.certificate, ours.pem().as_bytes(), 0o644, true).unwrap();
        files::write(&world.target.key, ours.key_pem().as_bytes(), 0o600, true).unwrap();
    };
    let revoked = world.ca.issue(current(Leaf::domain("a.example")));
    install(&world, &revoked);
    let list = world.ca.revoke(&[&revoked]);
    let port = serve(asking_with(&world.theirs(), &world.ca, vec![list]));
    let report = world.report(port);
    assert_eq!(ids(&report.findings), ["our-certificate-refused"]);
    assert!(report.findings[0].fix.contains("new key") && report.findings[0].side == Side::Ours);
    // What the peer refuses for a reason that we see, too, is said of both.
    let only_server = current(Leaf::domain("a.example")).usage(&[ExtendedKeyUsagePurpose::ServerAuth]);
    install(&world, &world.ca.issue(only_server));
    assert_eq!(
        world.examine(serve(asking(&world.theirs(), &world.ca))),
        ["no-client-auth", "our-certificate-refused"]
    );
    // Closed without a word.
    install(&world, &world.ca.issue(current(Leaf::domain("a.example"))));
    let config = Arc::new(asking(&world.theirs(), &world.ca));
    let port = serve_raw(move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
    });
    assert_eq!(world.examine(port), ["our-certificate-refused"]);
    // No files at all.
    std::fs::remove_file(&world.target.key).unwrap();
    world.target.domains.clear();
    assert_eq!(
        world.examine(serve(asking(&world.theirs(), &world.ca))),
        ["own-files", "no-client-certificate-sent"]
    );
}

#[test]
fn a_server_with_only_its_address_in_the_certificate() {
    let world = world();
    let address = world.ca.issue(current(Leaf::new("127.0.0.1").ip("127.0.0.1")));
    let report = world.report(serve(asking(&address, &world.ca)));
    assert_eq!(ids(&report.findings), ["ip-route"]);
    assert!(report.findings[0].fix.contains("DNS:b.example"));
}

#[test]
fn our_own_key_mismatch_and_the_certificate_we_then_cannot_send() {
    let world = world();
    let other = world.ca.issue(current(Leaf::domain("a.example")));
    files::write(&world.target.key, other.key_pem().as_bytes(), 0o600, true).unwrap();
    let port = serve(asking(&world.theirs(), &world.ca));
    assert_eq!(world.examine(port), ["key-mismatch", "no-client-certificate-sent"]);
    files::write(&world.target.key, other.key_pem().as_bytes(), 0o644, true).unwrap();
    files::write(&world.target.certificate, other.pem().as_bytes(), 0o644, true).unwrap();
    assert_eq!(world.examine(serve(asking(&world.theirs(), &world.ca))), ["open-key"]);
    std::fs::remove_file(&world.target.certificate).unwrap();
    let at = Where {
        connect: None,
        files: vec![world.target.key.clone()],
        timeout: TIMEOUT,
    };
    assert!(
        examine(&world.target, &at, UnixTime::now()).is_err(),
        "a key is no certificate to look at"
    );
}

#[test]
fn our_own_certificate_is_judged_as_the_peer_would() {
    let mut world = world();
    world.target.domains = vec!["elsewhere.example".into()];
    assert_eq!(world.examine(serve(asking(&world.theirs(), &world.ca))), ["wrong-name"]);
}

#[test]
fn a_server_whose_key_is_another_ones() {
    let world = world();
    let (theirs, other) = (world.theirs(), world.theirs());
    let signing = provider().key_provider.load_private_key(other.key_der()).unwrap();
    let pair = rustls::sign::CertifiedKey::new(theirs.chain.clone(), signing);
    let mut config = asking(&theirs, &world.ca);
    config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(pair));
    assert_eq!(world.examine(serve(config)), ["key-mismatch"]);
}

#[test]
fn ports_that_are_not_tls_or_not_there() {
    let world = world();
    let plain = serve_raw(|mut stream| {
        let _ = stream.read(&mut [0; 2048]);
        let _ = stream.write_all(b"SIP/2.0 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    assert_eq!(world.examine(plain), ["not-tls"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert_eq!(world.examine(closed), ["unreachable"]);
    assert_eq!(world.examine(serve_raw(drop)), ["handshake"]);
}

#[test]
fn nothing_to_look_at_is_an_error_of_its_own() {
    let at = Where {
        connect: None,
        files: vec![],
        timeout: TIMEOUT,
    };
    assert!(
        examine(&world().target, &at, UnixTime::now())
            .unwrap_err()
            .contains("--connect")
    );
}

/// `openssl s_server`, ended with the value.
struct SServer {
    child: Child,
    port: u16,
}

impl SServer {
    fn start(dir: &Path, extra: &str) -> Self {
        let arguments = format!("s_server -accept 127.0.0.1:0 -cert b.pem -key b.key {extra}");
        let mut child = Command::new("openssl")
            .current_dir(dir)
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|l| l.ok()?.strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.parse().ok());
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            port: port.expect("openssl s_server says where it listens"),
            child,
        }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn old_servers_are_told_apart() {
    if !has_openssl() {
        return;
    }
    for (wanted, extra) in [
        (None, "-tls1_2 -Verify 1"),
        (Some("no-client-certificate-asked"), "-tls1_2"),
        (Some("no-client-certificate-asked"), "-tls1_3"),
        (Some("protocol-too-old"), "-tls1 -cipher ALL:@SECLEVEL=0"),
        (Some("protocol-too-old"), "-tls1_1 -cipher ALL:@SECLEVEL=0"),
        (Some("no-common-suite"), "-tls1_2 -cipher AES128-SHA"),
        (Some("no-common-suite"), "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256"),
    ] {
        let mut world = world();
        let (trust, _) = made_by_openssl(world.dir.path(), "rsa:2048", "-sha256 -extfile ext");
        world.target.peer = Arc::new(trust);
        let server = SServer::start(world.dir.path(), extra);
        assert_eq!(
            world.examine(server.port),
            wanted.into_iter().collect::<Vec<_>>(),
            "{extra}"
        );
    }
}
