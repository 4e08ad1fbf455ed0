//! With `log.redact` no line of the log names anybody, at any level, whatever happens; and secrets never do.

use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually};

use crate::bench::{A, Bench};

const PATIENCE: Duration = Duration::from_secs(20);

/// Users of ours and of others, a display name, a number, passwords.
const NOT_IN_ANY_LINE: [&str; 10] = [
    "alice",
    "bob",
    "carol",
    "dave",
    "erin",
    "mallory",
    "Wonderland",
    "4930555",
    "secret-",
    "response=\"",
];

/// Good and bad work of every kind.
fn work(bench: &Bench) -> Outcome {
    let (mut alice, mut bob) = (bench.user("alice", "udp")?, bench.user("bob", "tcp")?);
    assert_eq!(alice.message("sip:bob@a.example", "hello")?.status(), 200);
    bob.messaged("hello")?;
    let watch = alice.watch("sip:bob@a.example", 600)?;
    alice.notified(&watch, "active", "")?;
    // Refused: a stranger, somebody else's name, a wrong password, an unknown user, a number without a route, loops.
    let mut mallory = Agent::udp("mallory", "evil.example", bench.ports.client())?;
    let named = Request::new("MESSAGE", "sip:alice@a.example")
        .from("\"Wonderland\" <sip:mallory@evil.example>;tag=1")
        .body("text/plain", "x");
    assert!(mallory.ask(&named)?.status() >= 400);
    let mut wrong = Agent::new(
        "carol",
        A,
        "secret-wrong",
        interop_tests::link::Link::tcp(bench.ports.client())?,
    )?;
    assert!(wrong.register(600)?.status() >= 400);
    for target in [
        "tel:+4930555",
        "sip:+4930555@a.example;user=phone",
        "sip:dave@nowhere.example",
        "pres:dave@a.example",
    ] {
        assert!(alice.message(target, "x")?.status() >= 200, "{target}");
    }
    let forged = Request::new("MESSAGE", "sip:bob@a.example")
        .from("<sip:dave@a.example>;tag=1")
        .body("text/plain", "x");
    assert!(alice.ask(&forged)?.status() >= 400);
    let mut erin = bench.foreigner("erin")?;
    let other = Request::new("SUBSCRIBE", "sip:alice@a.example")
        .from("<sip:erin@c.example>;tag=1")
        .with("Event", "presence");
    assert!(erin.ask(&other)?.status() >= 400);
    // Not to be parsed, with names in what is broken.
    for bytes in [
        Raw::new("UDP", "OPTIONS", "sip:alice alice@a.example").bytes(),
        b"MESSAGE sip:alice@a.example SIP/2.0\r\nFrom: alice <<sip:alice@@\r\n\r\n".to_vec(),
        b"alice alice@a.example\r\n\r\n".to_vec(),
    ] {
        alice.send(&bytes)?;
        bob.send(&bytes)?;
    }
    Ok(())
}

#[test]
fn no_log_line_names_anybody() -> Outcome {
    for json in [true, false] {
        let bench = Bench::start_with(Family::V4, |config| {
            config.replace(
                "log: { level: info }",
                &format!("log: {{ level: trace, json: {json}, redact: true }}"),
            )
        })?;
        let mut bench = bench;
        work(&bench)?;
        // A reload that takes users away, and one that is refused with the line that is wrong.
        let path = bench.path("bridge.yaml");
        let config = std::fs::read_to_string(&path)?;
        let without: String = config
            .lines()
            .filter(|l| !l.contains("carol@"))
            .map(|l| format!("{l}\n"))
            .collect();
        std::fs::write(&path, &without)?;
        bench.bridge.hang_up();
        eventually("the reload", PATIENCE, || bench.bridge.log().contains("reload"))?;
        std::fs::write(
            &path,
            without.replace("password: { plain: secret-dave }", "pasword: secret-dave"),
        )?;
        bench.bridge.hang_up();
        eventually("the refusal", PATIENCE, || {
            bench.bridge.log().contains("stays as it was")
        })?;
        bench.bridge.stop();
        let log = bench.bridge.log();
        assert!(log.matches("refused").count() > 3, "{log}");
        assert!(log.contains("evil.example"), "domains stay: {log}");
        let naming: Vec<&str> = log
            .lines()
            .filter(|line| NOT_IN_ANY_LINE.iter().any(|name| line.contains(name)))
            .collect();
        assert!(naming.is_empty(), "{naming:#?}");
    }
    Ok(())
}
