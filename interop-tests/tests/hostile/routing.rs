//! Routing: the bridge goes nowhere because a stranger, or a user, says so.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::raw::{Raw, Verdict};
use interop_tests::stand::{Case, DOMAIN, Stand};
use interop_tests::wire::Request;

/// Somebody who must never hear from the bridge.
struct Victim {
    udp: UdpSocket,
    tcp: TcpListener,
    at: SocketAddr,
}

impl Victim {
    fn new() -> Outcome<Self> {
        Self::at(Family::V4.at(interop_tests::net::free_port()))
    }

    fn at(at: SocketAddr) -> Outcome<Self> {
        let (udp, tcp) = (UdpSocket::bind(at)?, TcpListener::bind(at)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Self { udp, tcp, at })
    }

    fn heard(&self) -> Option<String> {
        let mut bytes = [0; 65_535];
        if let Ok((length, from)) = self.udp.recv_from(&mut bytes) {
            let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned();
            return Some(format!("a datagram from {from}:\n{text}"));
        }
        self.tcp
            .accept()
            .ok()
            .map(|(_, from)| format!("a connection from {from}"))
    }

    fn unharmed(&self) -> Outcome {
        std::thread::sleep(Duration::from_millis(500));
        self.heard()
            .map_or(Ok(()), |what| Err(format!("the victim got {what}").into()))
    }
}

#[test]
fn an_unauthenticated_request_reaches_no_third_party() -> Outcome {
    let (mut stand, victim) = (Stand::start(Family::V4)?, Victim::new()?);
    let at = victim.at;
    let to_alice = |method: &str| {
        Raw::new("UDP", method, "sip:alice@a.example")
            .line("Content-Type: text/plain")
            .body("x")
    };
    let mut cases = Vec::new();
    for uri in [
        format!("sip:x@{at}"),
        format!("sip:x@{at};transport=tcp"),
        format!("sip:x@{at};transport=udp"),
        format!("sip:x@a.example;maddr={};transport=udp", at.ip()),
        format!("sip:alice@a.example:{};maddr={}", at.port(), at.ip()),
        format!("sips:x@{at}"),
    ] {
        for method in ["MESSAGE", "OPTIONS", "SUBSCRIBE", "INVITE", "NOTIFY", "BYE", "REFER"] {
            cases.push(Case::udp(
                "R1 R3 Request-URI",
                &Raw::new("UDP", method, &uri),
                Verdict::RefusedOrDrop,
            ));
        }
    }
    for route in [
        format!("<sip:{at};lr>"),
        format!("<sip:{at}>"),
        format!("<sip:a.example;lr>, <sip:{at};lr>"),
    ] {
        let raw = to_alice("MESSAGE").line(format!("Route: {route}"));
        cases.push(Case::udp("R2 Route", &raw, Verdict::RefusedOrDrop));
        cases.push(Case::tcp("R2 Route", &raw, Verdict::RefusedOrDrop));
    }
    let contact = format!("<sip:x@{at}>");
    let subscribe = to_alice("SUBSCRIBE")
        .line("Event: presence")
        .set("Contact", &contact)
        .line("Expires: 60");
    cases.push(Case::udp("R4 SUBSCRIBE", &subscribe, Verdict::RefusedOrDrop));
    cases.push(Case::udp(
        "R4 Record-Route",
        &subscribe.line(format!("Record-Route: <sip:{at};lr>")),
        Verdict::RefusedOrDrop,
    ));
    let options = Raw::new("UDP", "OPTIONS", "sip:a.example").set("Contact", &contact);
    cases.push(Case::udp(
        "R4 OPTIONS",
        &options.line(format!("Record-Route: <sip:{at};lr>")),
        Verdict::Survive,
    ));
    stand.judge(cases)?;
    victim.unharmed()
}

#[test]
fn a_user_reaches_listed_domains_only() -> Outcome {
    let (stand, victim) = (Stand::start(Family::V4)?, Victim::new()?);
    let (mut alice, at) = (stand.user("alice")?, victim.at);
    for uri in [
        format!("sip:x@{at}"),
        format!("sip:x@{at};transport=tcp"),
        "sip:x@unlisted.example".to_string(),
    ] {
        for request in [
            Request::new("MESSAGE", &uri).body("text/plain", "x"),
            Request::new("SUBSCRIBE", &uri)
                .with("Event", "presence")
                .with("Contact", alice.contact()),
        ] {
            let answer = alice.ask(&request)?;
            assert!(
                matches!(answer.status(), 403 | 404),
                "R5: {} {uri}: {}",
                request.method,
                answer.start
            );
        }
    }
    let bob = stand.user("bob")?;
    let routed = Request::new("MESSAGE", &bob.aor())
        .with("Route", format!("<sip:{at};lr>"))
        .body("text/plain", "x");
    alice.ask(&routed)?;
    victim.unharmed()
}

/// R4, R5: what a user names as his own address is a claim, too.
#[test]
fn a_user_s_contact_at_a_third_party_is_not_believed() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    // Another host than alice's: what she says of other ports of her own is hers to say.
    let victim = Victim::at(SocketAddr::from(([127, 0, 0, 66], interop_tests::net::free_port())))?;
    let (at, mut bob) = (victim.at, stand.user("bob")?);
    for transport in ["UDP", "TCP"] {
        for way in ["", ";transport=tcp", ";transport=udp", ";maddr=127.0.0.66"] {
            let mut alice = Agent::new("alice", DOMAIN, "secret-alice", stand.link(transport)?)?;
            let contact = format!("<sip:alice@{at}{way}>");
            let hers = alice.contact();
            let register = Request::new("REGISTER", "sip:a.example")
                .with("Contact", &contact)
                .with("Path", format!("<sip:{at};lr>"))
                .with("Supported", "path")
                .with("Expires", "600");
            alice.ask(&register)?;
            bob.message("sip:alice@a.example", "to whom")?;
            for contact in [&contact, &hers] {
                let subscribe = Request::new("SUBSCRIBE", "sip:bob@a.example")
                    .with("Event", "presence")
                    .with("Contact", contact)
                    .with("Record-Route", format!("<sip:{at}{way};lr>"))
                    .with("Expires", "600");
                alice.ask(&subscribe)?;
            }
            bob.publish(None, "open", way)?;
            for request in [
                Request::new("MESSAGE", &format!("sip:bob@a.example;maddr={}", at.ip())),
                Request::new("MESSAGE", "sip:bob@a.example").with("Route", format!("<sip:{at}{way};lr>")),
                Request::new("INVITE", "sip:bob@a.example")
                    .with("Contact", &contact)
                    .with("Record-Route", format!("<sip:{at}{way};lr>")),
            ] {
                alice.ask(&request.body("text/plain", "x"))?;
            }
            let gone = Request::new("REGISTER", "sip:a.example")
                .with("Contact", "*")
                .with("Expires", "0");
            assert_eq!(alice.ask(&gone)?.status(), 200);
        }
    }
    victim.unharmed()
}

#[test]
fn answers_go_to_where_the_packet_came_from() -> Outcome {
    let (stand, victim) = (Stand::start(Family::V4)?, Victim::new()?);
    for via in [
        format!("SIP/2.0/UDP {}", victim.at),
        format!("SIP/2.0/UDP {};rport", victim.at),
    ] {
        let rport = via.contains("rport");
        let raw = Raw::new("UDP", "OPTIONS", "sip:a.example").set("Via", format!("{via};branch=z9hG4bKlie{rport}"));
        let (got, answer) = stand.send("UDP", &raw.bytes(), Duration::from_secs(2))?;
        if rport {
            let via = answer
                .as_ref()
                .and_then(|m| m.header("Via"))
                .unwrap_or_default()
                .to_string();
            assert!(got >= 200 && via.contains("received=127.0.0.1"), "R6: {got} {via}");
        }
    }
    // Without rport RFC 3261 names the sent-by port at the packet's address, which here is the victim's: one answer there
    // is in order, a request is not.
    std::thread::sleep(Duration::from_millis(300));
    if let Some(what) = victim.heard() {
        assert!(what.contains("SIP/2.0 "), "R6: {what}");
    }
    Ok(())
}

#[test]
fn a_lie_about_the_host_moves_no_answer() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let raw =
        Raw::new("UDP", "OPTIONS", "sip:a.example").set("Via", "SIP/2.0/UDP 127.0.0.77:5060;rport;branch=z9hG4bKother");
    let (got, answer) = stand.send("UDP", &raw.bytes(), Duration::from_secs(3))?;
    let via = answer
        .as_ref()
        .and_then(|m| m.header("Via"))
        .unwrap_or_default()
        .to_string();
    assert!(
        got >= 200 && via.contains("received=127.0.0.1") && via.contains("rport="),
        "R6: {got} {via}"
    );
    Ok(())
}

#[test]
fn contacts_that_lead_back_end() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let port = stand.bridge.ports.plain;
    let mut alice = stand.user("alice")?;
    let mut bob = stand.user("bob")?;
    let loops = [
        ("R7 one", vec![format!("<sip:bob@127.0.0.1:{port}>")]),
        ("R7 the address itself", vec!["<sip:bob@a.example>".to_string()]),
        (
            "R8 two",
            vec![
                format!("<sip:bob@127.0.0.1:{port};a=1>"),
                format!("<sip:bob@127.0.0.1:{port};a=2>"),
            ],
        ),
    ];
    for (name, contacts) in loops {
        let away = Request::new("REGISTER", "sip:a.example")
            .with("Contact", "*")
            .with("Expires", "0");
        let gone = bob.ask(&away)?;
        assert_eq!(
            (gone.status(), gone.header("Contact")),
            (200, None),
            "{name}: all contacts go"
        );
        let mut register = Request::new("REGISTER", "sip:a.example").with("Expires", "60");
        for contact in contacts {
            register = register.with("Contact", contact);
        }
        let registered = bob.ask(&register)?;
        let started = Instant::now();
        let answer = alice.ask(&Request::new("MESSAGE", "sip:bob@a.example").body("text/plain", name))?;
        let allowed = [202, 403, 404, 480, 481, 482, 483, 504];
        // A bridge that goes back the way the REGISTER came reaches him, and nothing loops.
        let reached = bob
            .expect("MESSAGE", Duration::from_millis(200), |m| m.is("MESSAGE"))
            .is_ok();
        assert!(
            (reached && answer.status() == 200) || allowed.contains(&answer.status()),
            "{name} (REGISTER: {}): {}",
            registered.start,
            answer.start
        );
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{name} took {:?}",
            started.elapsed()
        );
        stand.alive()?;
    }
    stand.modest()
}
