//! Peers that the bridge connects to: every bad certificate and every server that is no proper TLS server, each with its
//! verdict. Nothing is sent to them; who writes to them is told at once, with a reason.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use interop_tests::agent::Agent;
use interop_tests::far::Far;
use interop_tests::net::{Family, free_port};
use interop_tests::pki::{Authority, Certificate, Flaw};
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::wire::Message;
use interop_tests::{Outcome, eventually};
use tempfile::TempDir;

use super::org::{A, Metrics, logged, with_metrics};

/// A peer of the table: its domain is `NAME.example`, its authority `CA.pem`.
struct Row {
    name: String,
    at: SocketAddr,
    ca: &'static str,
}

/// A bridge with these peers, and alice.
struct World {
    bridge: Trestle,
    alice: Agent,
    metrics: Metrics,
    _dir: TempDir,
}

fn world(rows: &[Row], ours: &Certificate, authorities: &[(&str, &Authority)]) -> Outcome<World> {
    let dir = tempfile::tempdir()?;
    ours.write(dir.path(), A)?;
    for (name, authority) in authorities {
        std::fs::write(dir.path().join(format!("{name}.pem")), &authority.pem)?;
    }
    let peers: String = rows
        .iter()
        .map(|row| {
            format!(
                "  - {{ name: {n}, domains: [{n}.example], transport: tls, next_hop: \"{}\", tls: {{ ca: [{}.pem] }}, \
                 probe: {{ interval: 2s, timeout: 2s, down_after: 1 }} }}\n",
                row.at,
                row.ca,
                n = row.name,
            )
        })
        .collect();
    let ports = Ports::free(Family::V4);
    let (config, metrics) = with_metrics(&trestle::config(A, &ports, &format!("peers:\n{peers}")));
    std::fs::write(dir.path().join("bridge.yaml"), config)?;
    let bridge = Trestle::start(dir.path(), ports)?;
    let mut alice = Agent::udp("alice", A, bridge.ports.client())?;
    assert_eq!(alice.register(600)?.status(), 200);
    Ok(World {
        bridge,
        alice,
        metrics,
        _dir: dir,
    })
}

impl World {
    /// Writes to somebody at a peer that must not get it. The answer, within 20 s, is 504 or 480 with a Reason.
    fn refuses(&mut self, name: &str, text: &str) -> Outcome {
        let started = Instant::now();
        let answer = self.alice.message(&format!("sip:bob@{name}.example"), text)?;
        let reason = answer.header("Reason").unwrap_or_default();
        if !matches!(answer.status(), 504 | 480) || reason.is_empty() {
            return Err(format!("{name}: answered {} with Reason {reason:?}", answer.start).into());
        }
        if started.elapsed() > Duration::from_secs(20) {
            return Err(format!("{name}: answered after {:?}", started.elapsed()).into());
        }
        Ok(())
    }

    /// The line of `trestle ctl peers --json` that is about a peer.
    fn peer(&self, name: &str) -> Outcome<String> {
        let all = self.bridge.ctl("peers")?.replace(' ', "");
        let mine = |p: &&str| p.contains(&format!("\"name\":\"{name}\""));
        Ok(all.split('{').find(mine).unwrap_or_default().to_string())
    }

    fn known_as(&self, name: &str, words: &str) -> Outcome {
        let shown = || self.peer(name).unwrap_or_default();
        eventually(
            &format!("ctl peers shows {words} for {name}"),
            Duration::from_secs(30),
            || shown().contains(words),
        )
        .map_err(|e| format!("{e}; it shows {}", shown()).into())
    }
}

/// A loopback address of its own for the row of this number, so that each has its own line in the log.
fn own_address(row: usize) -> SocketAddr {
    let last = u8::try_from(row + 10).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::from([127, 0, 0, last]), free_port())
}

#[test]
fn every_bad_certificate_of_a_server_is_refused_for_its_reason() -> Outcome {
    let table = [
        (Flaw::Expired, "expired"),
        (Flaw::Future, "not-yet-valid"),
        (Flaw::OtherAuthority, "unknown-ca"),
        (Flaw::SelfSigned, "unknown-ca"),
        (Flaw::MissingIntermediate, "unknown-ca"),
        (Flaw::WrongUsage, "wrong-usage"),
        (Flaw::ClientOnly, "wrong-usage"),
        (Flaw::AuthorityLeaf, "authority-leaf"),
        (Flaw::OtherName, "wrong-name"),
        (Flaw::Wildcard, "wrong-name"),
        (Flaw::Nul, "wrong-name"),
        (Flaw::NulUri, "wrong-name"),
        (Flaw::ThirdDomain, "wrong-name"),
        (Flaw::CommonNameOnly, "cn-only"),
        (Flaw::User, "wrong-name"),
        (Flaw::OtherUri, "wrong-name"),
    ];
    let (ours, theirs, other) = (
        Authority::new()?,
        Authority::named("theirs")?,
        Authority::named("other")?,
    );
    let own = ours.issue(A)?;
    let (mut rows, mut ends) = (Vec::new(), Vec::new());
    let mut add = |name: String, certificate: &Certificate, ca: &'static str| -> Outcome {
        let far = Far::start_at(own_address(ends.len()), certificate, &ours.pem)?;
        rows.push(Row {
            name,
            at: far.address,
            ca,
        });
        ends.push(far);
        Ok(())
    };
    for (at, (flaw, _)) in table.iter().enumerate() {
        add(
            format!("f{at}"),
            &theirs.flawed(&format!("f{at}.example"), *flaw)?,
            "theirs",
        )?;
    }
    // The authority of another peer issues this peer's name.
    add("forged".into(), &other.issue("forged.example")?, "theirs")?;
    add("other".into(), &other.issue("other.example")?, "other")?;
    add("good".into(), &theirs.issue("good.example")?, "theirs")?;
    let mut world = world(&rows, &own, &[("theirs", &theirs), ("other", &other)])?;
    let bad: Vec<(String, &str)> = table
        .iter()
        .enumerate()
        .map(|(at, (_, reason))| (format!("f{at}"), *reason))
        .chain([("forged".into(), "unknown-ca")])
        .collect();
    for ((name, reason), far) in bad.iter().zip(&ends) {
        let told = format!("{name}, which must be refused for {reason}");
        world.refuses(name, &told)?;
        world.known_as(name, "\"state\":\"down\"")?;
        // Known down: refused at once, again with a reason.
        world.refuses(name, &told)?;
        logged(&world.bridge, &[&format!("the certificate of peer {name} ("), reason])?;
        let shown = world.peer(name)?;
        assert!(!shown.contains("\"certificate_refused\":null"), "{name}: {shown}");
        assert!(world.metrics.refused(reason)? > 0, "{name}: {reason} is not counted");
        let seen = far.seen();
        assert!(seen.requests.is_empty(), "{told}: it was sent {:?}", seen.requests);
        assert_eq!(seen.handshakes, 0, "{told}: the handshake was finished");
    }
    for name in ["other", "good"] {
        world.known_as(name, "\"state\":\"up\"")?;
        let answer: Message = world.alice.message(&format!("sip:bob@{name}.example"), "well")?;
        assert_eq!(answer.status(), 200, "{name}");
        assert!(world.peer(name)?.contains("\"certificate_refused\":null"));
    }
    Ok(())
}

/// Serves bytes to whoever has said something, and notes what was said; `None`: says nothing at all.
fn raw_server(at: SocketAddr, answer: Option<Vec<u8>>) -> Outcome {
    let listener = TcpListener::bind(at)?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                let mut said = [0; 4096];
                let _ = stream.read(&mut said);
                if let Some(bytes) = answer {
                    let _ = stream.write_all(&bytes);
                }
                // Until the other side has had enough.
                while matches!(stream.read(&mut said), Ok(n) if n > 0) {}
            });
        }
    });
    Ok(())
}

/// A ServerHello of an old protocol version, in a record of that version.
fn server_hello(version: u16, suite: u16) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(suite.to_be_bytes());
    body.push(0);
    let mut out = vec![22];
    out.extend(version.to_be_bytes());
    out.extend([
        0,
        u8::try_from(body.len() + 4).unwrap_or(0),
        2,
        0,
        0,
        u8::try_from(body.len()).unwrap_or(0),
    ]);
    out.extend(body);
    out
}

#[test]
fn servers_that_are_too_old_or_no_tls_servers_are_refused() -> Outcome {
    let sip = b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let table: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("tls11", Some(server_hello(0x0302, 0xc013)), "handshake failed"),
        ("tls10", Some(server_hello(0x0301, 0x002f)), "handshake failed"),
        ("ssl3", Some(server_hello(0x0300, 0x0005)), "handshake failed"),
        (
            "ssl2",
            Some(vec![0x80, 0x0b, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]),
            "handshake failed",
        ),
        ("rc4", Some(server_hello(0x0303, 0x0005)), "handshake failed"),
        ("nosuite", Some(server_hello(0x0303, 0x0002)), "handshake failed"),
        ("anon", Some(server_hello(0x0303, 0x00a6)), "handshake failed"),
        ("tripledes", Some(server_hello(0x0303, 0x000a)), "handshake failed"),
        ("cbc", Some(server_hello(0x0303, 0xc013)), "handshake failed"),
        ("plain", Some(sip), "handshake failed"),
        ("alert", Some(vec![21, 3, 3, 0, 2, 2, 40]), "HandshakeFailure"),
        ("silent", None, "took too long"),
    ];
    let (ours, theirs) = (Authority::new()?, Authority::named("theirs")?);
    let mut rows = Vec::new();
    for (at, (name, answer, _)) in table.iter().enumerate() {
        let address = own_address(at + 40);
        raw_server(address, answer.clone())?;
        rows.push(Row {
            name: (*name).into(),
            at: address,
            ca: "theirs",
        });
    }
    let far = Far::start_at(own_address(39), &theirs.issue("good.example")?, &ours.pem)?;
    rows.push(Row {
        name: "good".into(),
        at: far.address,
        ca: "theirs",
    });
    let mut world = world(&rows, &ours.issue(A)?, &[("theirs", &theirs)])?;
    for ((name, _, words), row) in table.iter().zip(&rows) {
        world.refuses(name, "old")?;
        world.known_as(name, "\"state\":\"down\"")?;
        let ip = format!("ip={}", row.at.ip());
        eventually(&format!("a line about {name}"), Duration::from_secs(20), || {
            world.bridge.log().lines().any(|l| l.contains(&ip) && l.contains(words))
        })
        .map_err(|e| format!("{e}\n{}", world.bridge.log()))?;
    }
    world.known_as("good", "\"state\":\"up\"")?;
    assert_eq!(world.alice.message("sip:bob@good.example", "well")?.status(), 200);
    Ok(())
}
