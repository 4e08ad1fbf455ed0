//! The log: no secret and no body in it at the usual level, and no line that somebody outside wrote.

use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::link::{Link, TlsSetup};
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::raw::Raw;
use interop_tests::stand::{DOMAIN, Stand};
use interop_tests::trestle;
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually};

use super::signed::Signed;

const WIDE: &str = "limits: { per_source: { connections: 1000, handshakes: 1000, requests: 100000 } }\n";

/// How a forged line would begin; without a space, so that it may stand in a URI.
const FORGED: &str = "2026-01-01T00:00:00Z-forged-by-mallory";

/// Bytes that end a line or move a cursor, as they are, escaped and folded.
const STEERING: [&[u8]; 12] = [
    b"\n",
    b"\r",
    b"\x1b[2J\x1b[1;1H",
    b"\x1b]0;owned\x07",
    b"\x9b2J",
    b"\xc2\x9b2J",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"%0d%0a",
    b"\\r\\n",
    b"\r\n ",
];

/// Requests that bring the bytes to wherever a log line may quote a stranger.
fn letters(steer: &[u8]) -> Vec<Vec<u8>> {
    let with = |before: &str, after: &str| [before.as_bytes(), steer, FORGED.as_bytes(), after.as_bytes()].concat();
    let options = || Raw::new("UDP", "OPTIONS", "sip:a.example");
    let stranger = |value: Vec<u8>| Raw::new("UDP", "MESSAGE", "sip:alice@a.example").set("From", value);
    let digest = with(
        "Digest realm=\"a.example\", uri=\"sip:a.example\", nonce=\"1\", response=\"2\", username=\"",
        "\"",
    );
    let start = [
        b"OPTIONS sip:".as_slice(),
        &with("", "@a.example"),
        b" SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n",
    ]
    .concat();
    vec![
        stranger(with("<sip:m", "@evil.example>;tag=1")).bytes(),
        stranger(with("<sip:m@evil.example", ">;tag=1")).bytes(),
        stranger(with("\"", "\" <sip:m@evil.example>;tag=1")).bytes(),
        stranger(b"<sip:m@evil.example>;tag=1".to_vec())
            .set("User-Agent", with("x", ""))
            .bytes(),
        stranger(b"<sip:m@evil.example>;tag=1".to_vec())
            .set("To", with("<sip:alice@a.example", ">"))
            .bytes(),
        options().set("Call-ID", with("x", "")).bytes(),
        options().set("CSeq", with("1 ", "")).bytes(),
        options().set("Via", with("SIP/2.0/UDP h", ";branch=z9hG4bKx")).bytes(),
        Raw::new("UDP", "REGISTER", "sip:a.example")
            .line([b"Authorization: ".as_slice(), &digest].concat())
            .bytes(),
        start,
        with("", "\r\n\r\n"),
    ]
}

/// What is in a log that nobody outside may put there.
fn forged(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let steers =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.lines()
        .filter(|l| l.trim_start().starts_with("2026-01-01T00:00:00Z") || l.contains(steers))
        .map(|l| l.escape_debug().to_string())
        .collect()
}

fn judge(stand: &mut Stand, what: &str) -> Outcome {
    stand.alive()?;
    let log = std::fs::read(stand.dir().join("trestle.log"))?;
    let forged = forged(&log);
    assert!(forged.is_empty(), "{what}: {forged:#?}");
    Ok(())
}

#[test]
fn no_line_is_written_by_a_stranger() -> Outcome {
    for settings in [
        "level: info",
        "level: \"trestle=trace\"",
        "level: info, json: true",
        "level: info, redact: true",
    ] {
        let mut stand = Stand::start_as(Family::V4, |ports| {
            trestle::config(DOMAIN, ports, WIDE).replace("log: { level: info }", &format!("log: {{ {settings} }}"))
        })?;
        for (n, steer) in STEERING.iter().enumerate() {
            // From an address of its own each, so that each has its own lines.
            let last = u8::try_from(n + 1)?;
            let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 4, last), 0))?;
            for letter in letters(steer) {
                socket.send_to(&letter, stand.bridge.ports.client())?;
            }
        }
        eventually("refusals are logged", Duration::from_secs(10), || {
            stand.bridge.log().matches("refused").count() >= 8
        })?;
        judge(&mut stand, settings)?;
        assert!(
            stand.bridge.log().contains("forged-by-mallory") != settings.contains("redact"),
            "{settings}: nothing was quoted"
        );
    }
    Ok(())
}

#[test]
fn no_line_is_written_by_a_certificate() -> Outcome {
    let peers = Authority::named("CA of b")?;
    let dir = tempfile::tempdir()?;
    let ca = dir.path().join("b-ca.pem");
    std::fs::write(&ca, &peers.pem)?;
    let rest = format!(
        "{WIDE}peers:\n  - {{ name: b, domains: [b.example], transport: tls, next_hop: \"192.0.2.1:5061\", tls: {{ ca: \
         [{}] }} }}\n",
        ca.display()
    );
    let mut stand = Stand::start_with(Family::V4, &rest)?;
    let stranger = Authority::named(&format!("Evil\n{FORGED}"))?;
    for name in [
        format!("evil\n{FORGED}"),
        format!("evil\u{1b}[2J{FORGED}"),
        format!("evil\u{202e}{FORGED}"),
    ] {
        for authority in [&peers, &stranger] {
            let setup = TlsSetup {
                ca: stand.authority.pem.clone(),
                name: DOMAIN.into(),
                own: Some(authority.called(&name)?),
            };
            // The handshake fails, or what follows is refused; both are logged.
            if let Ok(mut link) = Link::tls(stand.bridge.ports.trunk(), &setup) {
                let raw = Raw::new("TLS", "OPTIONS", "sip:a.example").set("From", "<sip:x@b.example>;tag=1");
                let _ = link.send(&raw.bytes());
                let _ = link.receive(Duration::from_millis(500));
            }
        }
    }
    eventually("the certificates are logged", Duration::from_secs(10), || {
        stand.bridge.log().contains("client certificate")
    })?;
    judge(&mut stand, "certificates")
}

#[test]
fn no_secret_and_no_body_is_in_the_log() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob) = (stand.user("alice")?, stand.user("bob")?);
    const BODY: &str = "burn-after-reading";
    assert_eq!(alice.message("sip:bob@a.example", BODY)?.status(), 200);
    bob.messaged(BODY)?;
    // Refused ones, too: to nobody, to elsewhere, too large, unreadable.
    for target in [
        "sip:nobody@a.example",
        "sip:x@elsewhere.example",
        "tel:+1",
        "mailto:x@y",
    ] {
        assert!(alice.message(target, BODY)?.status() >= 400);
    }
    alice.publish(None, "open", BODY)?;
    let broken = Request::new("PUBLISH", "sip:alice@a.example")
        .with("Event", "presence")
        .body("application/pidf+xml", format!("<{BODY}"));
    assert_eq!(alice.ask(&broken)?.status(), 400);
    // Good and bad credentials; the responses that were sent.
    let mut responses = Vec::new();
    for (user, method, uri) in [
        ("alice", "REGISTER", "sip:a.example"),
        ("bob", "MESSAGE", "sip:alice@a.example"),
    ] {
        for bend in [false, true] {
            let mut signed = Signed::new(&stand, user, method, uri)?.bent(|raw| {
                let raw = if bend {
                    raw.set("From", "<sip:carol@a.example>;tag=1")
                } else {
                    raw
                };
                raw.line("Content-Type: text/plain").body(BODY)
            });
            let text = String::from_utf8_lossy(&signed.raw.bytes()).into_owned();
            let response = text.split("response=\"").nth(1).and_then(|r| r.split('"').next());
            responses.push(response.unwrap_or_default().to_string());
            signed.ask()?;
        }
    }
    let mut wrong = Agent::new("alice", DOMAIN, "wrong-password-7", stand.link("TCP")?)?;
    assert!(wrong.register(60)?.status() >= 400);
    for bytes in [
        format!("{BODY}\r\n\r\n"),
        format!("MESSAGE {BODY} SIP/2.0\r\n{BODY}\r\n\r\n{BODY}"),
    ] {
        stand.send("UDP", bytes.as_bytes(), Duration::from_millis(200))?;
    }
    stand.alive()?;
    let log = stand.bridge.log();
    assert!(log.contains("do not count"), "a failed login is logged: {log}");
    for secret in ["secret-", "wrong-password-7", BODY, "response=", "nonce="] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    for response in responses {
        assert!(response.len() >= 32 && !log.contains(&response), "{response}: {log}");
    }
    // The interop certificates are written with the usual permissions, which is too wide for a key.
    assert!(
        log.contains("can read the key"),
        "a key that all may read is warned of: {log}"
    );
    Ok(())
}
