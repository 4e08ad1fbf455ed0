//! The access list and the enablement of users on the running bridge: whose packet it is counts, not what it says; and no
//! other spelling of a name opens what is closed.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::link::Received;
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::stand::{DOMAIN, Stand, outcome};
use interop_tests::trestle;
use interop_tests::wire::{Message, Request};

const WAIT: Duration = Duration::from_secs(4);

/// The final answer to a datagram from this address.
fn from(stand: &Stand, address: [u8; 4], raw: &Raw) -> Outcome<u16> {
    let socket = UdpSocket::bind((Ipv4Addr::from(address), 0))?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.send_to(&raw.bytes(), stand.bridge.ports.client())?;
    let mut bytes = [0; 65_535];
    let length = socket.recv(&mut bytes)?;
    Ok(Message::parse(bytes.get(..length).unwrap_or_default()).map_or(0, |m| m.status()))
}

#[test]
fn deny_wins_and_only_the_address_of_the_packet_counts() -> Outcome {
    // In any order, and however the address is written.
    for rules in [
        "[{ deny: 127.0.5.9 }, { allow: 127.0.5.0/24 }, { allow: 127.0.0.1 }]",
        "[{ allow: 127.0.5.0/24 }, { allow: 127.0.0.1 }, { allow: 127.0.5.9 }, { deny: 127.0.5.9 }]",
        "[{ allow: all }, { deny: \"::ffff:127.0.5.9\" }, { deny: 127.0.6.0/24 }]",
    ] {
        let stand = Stand::start_with(Family::V4, &format!("acl: {{ incoming: {rules} }}\n"))?;
        let options = || Raw::new("UDP", "OPTIONS", "sip:a.example");
        // Let in is who is asked for a password like everybody.
        assert_eq!(from(&stand, [127, 0, 5, 8], &options())?, 401, "{rules}: allowed");
        let claims = [
            options(),
            options().set("Via", "SIP/2.0/UDP 127.0.5.8;branch=z9hG4bKa;rport;received=127.0.5.8"),
            options().line("Via: SIP/2.0/UDP 127.0.5.8;branch=z9hG4bKb"),
            options().line("X-Forwarded-For: 127.0.5.8"),
            options().line("P-Asserted-Identity: <sip:alice@a.example>"),
            options().line("Route: <sip:127.0.5.8;lr>"),
            options().set("From", "<sip:alice@127.0.5.8>;tag=1"),
        ];
        for (n, raw) in claims.iter().enumerate() {
            assert_eq!(from(&stand, [127, 0, 5, 9], raw)?, 403, "{rules}: denied, claim {n}");
            assert_eq!(
                from(&stand, [127, 0, 6, 1], raw)?,
                403,
                "{rules}: not listed, claim {n}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_denied_address_gets_no_connection_and_no_handshake() -> Outcome {
    let mut stand = Stand::start_as(Family::V4, |ports| {
        trestle::config(
            DOMAIN,
            ports,
            "acl: { incoming: [{ allow: all }, { deny: \"127.0.0.1\" }] }\n",
        )
    })?;
    if let Ok(mut link) = stand.link("TCP") {
        // Closed without a word, and unread.
        let _ = link.send(&Raw::new("TCP", "OPTIONS", "sip:a.example").bytes());
        assert!(matches!(link.receive(WAIT), Received::Closed));
    }
    assert!(stand.link("TLS").is_err(), "a handshake with a denied address");
    assert!(stand.bridge.process().is_running());
    // The list is taken away again, without a restart: the test's own last look needs that.
    let path = stand.dir().join("bridge.yaml");
    let open = std::fs::read_to_string(&path)?.replace("{ deny: \"127.0.0.1\" }", "{ deny: 192.0.2.1 }");
    std::fs::write(&path, open)?;
    stand.bridge.ctl("reload")?;
    let mut link = stand.link("TCP")?;
    link.send(&Raw::new("TCP", "OPTIONS", "sip:a.example").bytes())?;
    assert_eq!(outcome(&mut link, WAIT).0, 401);
    Ok(())
}

#[test]
fn no_spelling_opens_what_is_closed() -> Outcome {
    let closed = |name: &str, how: &str| {
        (
            format!("aor: {name}@a.example,"),
            format!("aor: {name}@a.example, enabled: {{ {how} }},"),
        )
    };
    let (bob, dave) = (
        closed("bob", "presence: false, client: true"),
        closed("dave", "presence: true, client: false"),
    );
    let stand = Stand::start_as(Family::V4, |ports| {
        trestle::config(DOMAIN, ports, "")
            .replace(&bob.0, &bob.1)
            .replace(&dave.0, &dave.1)
    })?;
    let mut alice = stand.user("alice")?;
    let here = stand.bridge.ports.client();
    let spellings = [
        "sip:bob@a.example",
        "sip:bob@A.EXAMPLE",
        "sip:bob@a.example.",
        "sip:bob@A.Example.;transport=tcp",
        "sip:b%6Fb@a.example",
        "sip:%62%6f%62@a.example",
        "sip:bob:secret@a.example",
        "sip:bob;x=y@a.example",
        "SIP:bob@a.example",
        "sips:bob@a.example",
        "pres:bob@a.example",
        "PRES:bob@a.example.",
        "im:bob@a.example",
        "tel:bob;phone-context=a.example",
        "sip:bob@a.example..",
        "sip:bob@a%2eexample",
        "sip:bob@xn--a.example",
        "sip:bob@\u{ff41}.example",
        "sip:bob@a\u{3002}example",
        "sip:bob@a.example?x=y",
        "sip:bob@a.example;maddr=127.0.0.1",
    ]
    .map(String::from);
    for uri in spellings
        .into_iter()
        .chain([format!("sip:bob@{here}"), format!("sip:bob@a.example:{}", here.port())])
    {
        let request = Request::new("SUBSCRIBE", &uri)
            .with("Event", "presence")
            .with("Contact", alice.contact());
        let answer = alice.ask(&request)?;
        assert!(answer.status() >= 400, "{uri}: {}", answer.start);
    }
    // One who is disabled gets nowhere by any name of his.
    for from in [
        "sip:dave@a.example",
        "sip:dave@A.EXAMPLE.",
        "pres:dave@a.example",
        "im:dave@a.example",
        "sip:d%61ve@a.example",
    ] {
        let mut dave = interop_tests::agent::Agent::udp("dave", DOMAIN, here)?;
        let message = Request::new("MESSAGE", "sip:alice@a.example").from(format!("<{from}>;tag=1"));
        let answer = dave.ask(&message.body("text/plain", from))?;
        assert!(answer.status() >= 400, "{from}: {}", answer.start);
    }
    alice.expect_none("MESSAGE", Duration::from_millis(300), |m| m.is("MESSAGE"))
}
