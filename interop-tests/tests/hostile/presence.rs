//! Presence, messages and bodies.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::stand::Stand;
use interop_tests::watch::pidf;
use interop_tests::wire::{Message, Request};

const PIDF: &str = "application/pidf+xml";
const QUICK: Duration = Duration::from_secs(2);

fn publish(agent: &Agent, body: impl Into<Vec<u8>>) -> Request {
    Request::new("PUBLISH", &agent.aor())
        .with("Event", "presence")
        .with("Expires", "60")
        .body(PIDF, body)
}

/// A TCP client, since bodies are large.
fn alice(stand: &Stand) -> Outcome<Agent> {
    Agent::tcp("alice", "a.example", stand.bridge.ports.client())
}

/// A document with this before its root and this inside.
fn document(before: &str, inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n{before}<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@a.example\">\
         {inside}<tuple id=\"t\"><status><basic>open</basic></status></tuple></presence>"
    )
}

fn in_time(agent: &mut Agent, name: &str, request: &Request) -> Outcome<Message> {
    let started = Instant::now();
    let answer = agent.ask(request)?;
    assert!(started.elapsed() < QUICK, "{name} took {:?}", started.elapsed());
    Ok(answer)
}

#[test]
fn entities_are_refused_and_nothing_is_fetched() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let mut alice = alice(&stand)?;
    let trap = TcpListener::bind("127.0.0.1:0")?;
    trap.set_nonblocking(true)?;
    let url = format!("http://{}/x.dtd", trap.local_addr()?);
    let laughs: String = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let note = "<note>&x;</note>";
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(
            document(&format!("<!DOCTYPE p [<!ENTITY l0 \"ha\">{laughs}]>"), "")
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        )
        .collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (
            "P1 laughs",
            document(
                &format!("<!DOCTYPE p [<!ENTITY l0 \"ha\">{laughs}]>"),
                "<note>&l9;</note>",
            )
            .into(),
        ),
        (
            "P2 file",
            document("<!DOCTYPE p [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>", note).into(),
        ),
        (
            "P2 http",
            document(&format!("<!DOCTYPE p [<!ENTITY x SYSTEM \"{url}\">]>"), note).into(),
        ),
        (
            "P3 external DTD",
            document(&format!("<!DOCTYPE p SYSTEM \"{url}\">"), "").into(),
        ),
        (
            "P3 parameter",
            document(&format!("<!DOCTYPE p [<!ENTITY % x SYSTEM \"{url}\"> %x;]>"), "").into(),
        ),
        ("UTF-16", utf16),
        ("an entity nobody declared", document("", note).into()),
    ];
    for (name, body) in cases {
        let request = publish(&alice, body);
        let answer = in_time(&mut alice, name, &request)?;
        assert!((400..500).contains(&answer.status()), "{name}: {}", answer.start);
        stand.alive()?;
    }
    assert!(trap.accept().is_err(), "something was fetched");
    stand.modest()
}

#[test]
fn documents_of_odd_shapes() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let mut alice = alice(&stand)?;
    let deep = "<x xmlns=\"urn:x\">".repeat(20_000) + &"</x>".repeat(20_000);
    let prefixes: String = (0..10_000).map(|n| format!(" xmlns:p{n}=\"urn:{n}\"")).collect();
    let tuples: String = (0..3000)
        .map(|n| format!("<tuple id=\"t{n}\"><status><basic>open</basic></status></tuple>"))
        .collect();
    // Served or refused, but in time.
    for (name, body) in [
        ("P4 20000 deep", document("", &deep)),
        ("namespaces", document("", &format!("<x xmlns=\"urn:x\"{prefixes}/>"))),
        (
            "P16 a megabyte",
            document("", &format!("<note>{}</note>", "n".repeat(1 << 20))),
        ),
        ("P17 3000 tuples", document("", &tuples)),
        (
            "XInclude",
            document(
                "",
                "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"/>",
            ),
        ),
        (
            "a style sheet",
            document("<?xml-stylesheet href=\"http://127.0.0.1:1/x\"?>", ""),
        ),
    ] {
        let request = publish(&alice, body);
        // The megabyte and more may be cut off with the connection.
        match in_time(&mut alice, name, &request) {
            Ok(answer) => assert!((200..500).contains(&answer.status()), "{name}: {}", answer.start),
            Err(error) => assert!(error.to_string().contains("closed"), "{name}: {error}"),
        }
        stand.alive()?;
        alice = self::alice(&stand)?;
    }
    for (name, body) in [
        ("P5 not well-formed", b"<presence><tuple></presence>".to_vec()),
        ("P5 empty", Vec::new()),
        (
            "P5 another root",
            b"<html xmlns=\"http://www.w3.org/1999/xhtml\"/>".to_vec(),
        ),
        ("P5 two roots", [document("", "").as_bytes(), b"<presence/>"].concat()),
        (
            "P5 invalid UTF-8",
            document("", "<note>\u{1}</note>")
                .replace('\u{1}', "\u{fffd}")
                .into_bytes(),
        ),
        (
            "P5 cut off",
            document("", "").as_bytes().iter().copied().take(120).collect(),
        ),
        ("P5 no XML", b"open".to_vec()),
    ] {
        let mut body = body;
        if name == "P5 invalid UTF-8" {
            // The replacement character becomes bytes that are none.
            let at = interop_tests::wire::find(&body, "\u{fffd}".as_bytes()).unwrap_or(0);
            body.splice(at..at + 3, [0xff, 0xfe]);
        }
        let answer = alice.ask(&publish(&alice, body))?;
        assert_eq!(answer.status(), 400, "{name}: {}", answer.start);
    }
    stand.modest()
}

#[test]
fn what_is_not_there_is_said() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob) = (stand.user("alice")?, stand.user("bob")?);
    let odd = Request::new("PUBLISH", &alice.aor())
        .with("Event", "presence")
        .body("application/x-odd", "x");
    let answer = alice.ask(&odd)?;
    assert!(
        answer.status() == 415 && answer.header("Accept").is_some(),
        "P6: {}",
        answer.start
    );
    let unknown = publish(&alice, pidf(&alice.aor(), "open", "x")).with("SIP-If-Match", "no-such-tag");
    assert_eq!(alice.ask(&unknown)?.status(), 412, "P8");
    let published = bob.publish(None, "open", "bob")?;
    let tag = published.header("SIP-ETag").ok_or("no SIP-ETag")?;
    let stolen = publish(&alice, pidf(&alice.aor(), "open", "x")).with("SIP-If-Match", tag);
    assert_eq!(alice.ask(&stolen)?.status(), 412, "P8: another user's tag");
    let subscribe = |event: Option<&str>, accept: &str, alice: &Agent| {
        let request = Request::new("SUBSCRIBE", "sip:bob@a.example")
            .with("Contact", alice.contact())
            .with("Accept", accept);
        event.map_or(request.clone(), |e| request.with("Event", e))
    };
    let answer = alice.ask(&subscribe(Some("frobnicate"), PIDF, &alice))?;
    assert_eq!(answer.status(), 489, "P9");
    assert!(
        answer.header("Allow-Events").is_some_and(|e| e.contains("presence")),
        "P9: Allow-Events"
    );
    assert!(
        matches!(alice.ask(&subscribe(None, PIDF, &alice))?.status(), 400 | 489),
        "P9: no Event"
    );
    assert_eq!(
        alice.ask(&subscribe(Some("presence"), "text/html", &alice))?.status(),
        406,
        "P9: Accept"
    );
    let notify = Request::new("NOTIFY", "sip:alice@a.example")
        .to("<sip:alice@a.example>;tag=nobody")
        .with("Event", "presence")
        .with("Subscription-State", "active");
    assert!(matches!(bob.ask(&notify)?.status(), 481 | 403), "P10");
    let in_dialog = subscribe(Some("presence"), PIDF, &alice).to("<sip:bob@a.example>;tag=nobody");
    assert_eq!(alice.ask(&in_dialog)?.status(), 481, "P11");
    Ok(())
}

#[test]
fn nobody_speaks_for_somebody_else() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob, mut carol) = (stand.user("alice")?, stand.user("bob")?, stand.user("carol")?);
    bob.publish(None, "open", "bob himself")?;
    let watch = carol.watch("sip:bob@a.example", 60)?;
    carol.notified(&watch, "active", "bob himself")?;
    let request = Request::new("PUBLISH", "sip:bob@a.example").with("Event", "presence");
    let answer = alice.ask(&request.body(PIDF, pidf("sip:bob@a.example", "closed", "forged")))?;
    assert_eq!(answer.status(), 403, "P7: {}", answer.start);
    // An entity that is not hers changes nothing of his.
    alice.ask(&publish(&alice, pidf("sip:bob@a.example", "closed", "forged")))?;
    carol.not_notified(&watch, Duration::from_millis(700))?;
    // To the bridge itself: to a user's phone it would be that phone's to refuse.
    let csta = Request::new("INFO", "sip:a.example").body("application/csta+xml", "<MonitorStart/>");
    assert!(alice.ask(&csta)?.status() >= 400, "P19");
    Ok(())
}

#[test]
fn times_and_numbers_are_kept_in_bounds() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let mut alice = stand.user("alice")?;
    for (value, allowed) in [
        ("2147483648", &[200, 400, 423][..]),
        ("4294967296", &[200, 400, 423]),
        ("100000000000000000000", &[200, 400, 423]),
        ("-1", &[400]),
        ("abc", &[400]),
    ] {
        let contact = alice.contact();
        for (method, uri) in [("SUBSCRIBE", "sip:alice@a.example"), ("REGISTER", "sip:a.example")] {
            let request = Request::new(method, uri)
                .with("Event", "presence")
                .with("Expires", value)
                .with("Contact", contact.clone())
                .with("Accept", PIDF);
            let answer = alice.ask(&request)?;
            // A registrar may take the default for what it cannot read (RFC 3261 10.2.1.1); a clamp is at most a day.
            let lenient = method == "REGISTER" && answer.status() == 200;
            assert!(
                lenient || allowed.contains(&answer.status()),
                "P12 {method} {value}: {}",
                answer.start
            );
            let seconds: u64 = answer.header("Expires").and_then(|e| e.parse().ok()).unwrap_or(0);
            assert!(seconds <= 86_400, "P12 {method} {value}: granted {seconds}");
        }
    }
    let star = Request::new("REGISTER", "sip:a.example")
        .with("Contact", "*")
        .with("Expires", "3600");
    assert_eq!(alice.ask(&star)?.status(), 400, "P13");
    let mut crowd = Request::new("REGISTER", "sip:a.example").with("Expires", "60");
    for n in 0..500 {
        crowd = crowd.with("Contact", format!("<sip:alice@127.0.0.1:{}>", 20_000 + n));
    }
    let mut dave = Agent::tcp("dave", "a.example", stand.bridge.ports.client())?;
    let answer = dave.ask(&crowd)?;
    let kept = answer.all("Contact").flat_map(|c| c.split(',')).count();
    assert!(
        answer.status() >= 400 || kept <= 100,
        "P14: {} keeps {kept}",
        answer.start
    );
    stand.alive()
}

#[test]
fn three_hundred_subscriptions_of_one_user() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob) = (stand.user("alice")?, stand.user("bob")?);
    for n in 0..300 {
        let answer = alice.subscribe("sip:bob@a.example", 600)?;
        assert!(
            answer.status() / 100 == 2 || answer.status() >= 400,
            "P15 {n}: {}",
            answer.start
        );
        if n % 100 == 99 {
            let started = Instant::now();
            assert_eq!(bob.register(600)?.status(), 200);
            assert!(
                started.elapsed() < QUICK,
                "P15: another user waited {:?}",
                started.elapsed()
            );
        }
    }
    stand.modest()
}

#[test]
fn bytes_and_subjects_of_messages() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob) = (stand.user("alice")?, stand.user("bob")?);
    let raw: Vec<u8> = (0..=255).collect();
    let request = Request::new("MESSAGE", "sip:bob@a.example").body("application/octet-stream", raw.clone());
    if alice.ask(&request)?.status() == 200 {
        bob.expect("MESSAGE with every byte", QUICK, |m| m.is("MESSAGE") && m.body == raw)?;
    }
    for subject in [
        "a%0d%0aX-Injected: yes",
        "a\\r\\nX-Injected: yes",
        "a\r\n X-Injected: folded",
        "a\u{2028}X-Injected: yes",
    ] {
        let request = Request::new("MESSAGE", "sip:bob@a.example")
            .with("Subject", subject)
            .body("text/plain", subject);
        if alice.ask(&request)?.status() == 200 {
            let got = bob.expect("MESSAGE", QUICK, |m| m.is("MESSAGE") && m.body == subject.as_bytes())?;
            assert!(
                got.header("X-Injected").is_none(),
                "P21: {}",
                String::from_utf8_lossy(&got.raw)
            );
        }
    }
    stand.alive()
}
