//! The small clients on every transport and both families, with what scripts rely on: JSON and exit codes.

use std::net::SocketAddr;
use std::process::Output;

use interop_tests::Outcome;
use interop_tests::net::{Family, free_port};
use serde_json::Value;

use crate::bench::{Bench, FAMILIES, shown};

/// How a client reaches the bridge: transport, address, further arguments.
type Way<'a> = (&'static str, SocketAddr, Vec<&'a str>);

fn ways(bench: &Bench) -> [Way<'static>; 3] {
    let ports = &bench.ports;
    [
        ("udp", ports.client(), vec![]),
        ("tcp", ports.client(), vec![]),
        ("tls", ports.tls(), vec!["--ca", "ca.pem"]),
    ]
}

/// Runs a client as a user of ours.
fn run(bench: &Bench, command: &[&str], from: &str, way: &Way<'_>) -> Outcome<Output> {
    let (transport, server, more) = way;
    let user = from.split('@').next().unwrap_or_default();
    let server = server.to_string();
    let args = [
        command,
        &["--from", from, "--transport", transport, "--server", &server],
        more,
    ]
    .concat();
    Ok(bench
        .command(&args)
        .env("TRESTLE_PASSWORD", format!("secret-{user}"))
        .output()?)
}

/// The JSON lines of a client that has ended with this code.
fn lines(output: &Output, code: i32) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn they_work_on_every_transport_and_family() -> Outcome {
    for (family, digest) in [(Family::V4, "[md5]"), (Family::V6, "[sha-256]"), (Family::V6, "[md5]")] {
        let bench = Bench::start(
            family,
            &format!("registrar: {{ digest: {digest} }}\nnotify: {{ min_interval: 0s }}\n"),
        )?;
        for (number, way) in ways(&bench).into_iter().enumerate() {
            let note = format!("grüße <&> {number}");
            let publish = ["publish", "open", "--note", &note, "--json"];
            let answer = lines(&run(&bench, &publish, "bob@a.example", &way)?, 0);
            assert!(
                answer[0]["status"] == 200 && answer[0]["etag"].is_string(),
                "{answer:?}"
            );
            let watch = ["watch", "bob@a.example", "--json", "--count", "1"];
            let states = lines(&run(&bench, &watch, "alice@a.example", &way)?, 0);
            assert_eq!(states.len(), 1);
            assert_eq!(states[0]["basic"], "open", "{states:?}");
            assert_eq!(states[0]["entity"], "sip:bob@a.example", "{states:?}");
            let message = ["message", "carol@a.example", "hello", "--json"];
            // carol is away: it is kept for her.
            let answer = lines(&run(&bench, &message, "alice@a.example", &way)?, 0);
            assert_eq!(answer[0]["status"], 202, "{answer:?}");
        }
    }
    Ok(())
}

/// Whoever types a state sees it count, whatever was typed before; a phone that publishes by itself does not come between.
#[test]
fn the_last_state_that_is_typed_counts() -> Outcome {
    let bench = Bench::start(Family::V4, "notify: { min_interval: 0s }\n")?;
    let way = ("udp", bench.ports.client(), Vec::new());
    let mut phone = bench.user("bob", "udp")?;
    assert_eq!(phone.publish(None, "open", "the phone")?.status(), 200);
    for (basic, note) in [
        ("open", "hello"),
        ("closed", "gone"),
        ("open", "back"),
        ("closed", "home"),
    ] {
        lines(
            &run(&bench, &["publish", basic, "--note", note], "bob@a.example", &way)?,
            0,
        );
        let watch = ["watch", "bob@a.example", "--json", "--count", "1"];
        let states = lines(&run(&bench, &watch, "alice@a.example", &way)?, 0);
        assert_eq!(
            (&states[0]["basic"], &states[0]["note"]),
            (&basic.into(), &note.into()),
            "{states:?}"
        );
    }
    Ok(())
}

#[test]
fn a_message_arrives_over_mutual_tls() -> Outcome {
    for family in FAMILIES {
        let bench = Bench::start(family, "")?;
        let mut alice = bench.user("alice", "tcp")?;
        let more = vec![
            "--ca",
            "ca.pem",
            "--cert",
            "b.example.pem",
            "--server-name",
            "a.example",
        ];
        let way = ("tls", bench.ports.trunk(), more);
        let output = run(&bench, &["message", "alice@a.example", "grüße"], "erin@b.example", &way)?;
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "200 OK\n");
        alice.messaged("grüße")?;
        // Without a certificate nobody is let in: the handshake or the first read says so.
        let bare = (
            "tls",
            bench.ports.trunk(),
            vec!["--ca", "ca.pem", "--server-name", "a.example"],
        );
        let output = run(&bench, &["message", "alice@a.example", "x"], "erin@b.example", &bare)?;
        assert_ne!(output.status.code(), Some(0), "{}", shown(&output));
    }
    Ok(())
}

#[test]
fn exit_codes_tell_what_happened() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let client = bench.ports.client().to_string();
    let closed = Family::V4.at(free_port()).to_string();
    let (tls, trunk) = (bench.ports.tls().to_string(), bench.ports.trunk().to_string());
    std::fs::write(bench.path("other.pem"), interop_tests::pki::Authority::new()?.pem)?;
    let to = ["message", "bob@a.example", "x", "--from", "alice@a.example"];
    let cases: [(i32, &[&str]); 9] = [
        // Refused: a wrong password, a certificate of another authority, an unknown user.
        (1, &["--password", "wrong", "--server", &client]),
        (1, &["--server", &tls, "--transport", "tls", "--ca", "other.pem"]),
        (1, &["--from", "mallory@evil.example", "--server", &client]),
        // Could not run.
        (2, &["--server", &client, "--transport", "pigeon"]),
        (2, &["--server", &tls, "--transport", "tls", "--ca", "missing.pem"]),
        (
            2,
            &[
                "--server",
                &trunk,
                "--transport",
                "tls",
                "--ca",
                "ca.pem",
                "--cert",
                "missing.pem",
            ],
        ),
        (2, &["--server", "no-port"]),
        // Nobody answers.
        (3, &["--server", &closed, "--transport", "tcp"]),
        (3, &["--server", &closed, "--transport", "udp"]),
    ];
    for (code, more) in cases {
        // The last of an option that is given twice would be an error: cases with their own sender replace it.
        let base = if more.contains(&"--from") { &to[..3] } else { &to[..] };
        let output = bench.run(&[base, more].concat())?;
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", shown(&output));
        assert!(!output.stderr.is_empty() || code == 1, "{more:?}");
        if more.contains(&"wrong") {
            assert!(shown(&output).contains("password"), "{}", shown(&output));
        }
    }
    let output = bench.run(&["message", "nobody", "x", "--server", &client])?;
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    Ok(())
}

/// What the bridge prints at its start must work as it stands: no password is asked of whoever may read the configuration.
#[test]
fn the_configuration_knows_the_password() -> Outcome {
    let bench = Bench::start(Family::V4, "")?;
    let server = bench.ports.client().to_string();
    for (config, code) in [("bridge.yaml", 0), ("missing.yaml", 1)] {
        let args = [
            "message",
            "bob@a.example",
            "hello",
            "--from",
            "alice@a.example",
            "--server",
            &server,
        ];
        let output = bench.run(&[&args[..], &["--config", config]].concat())?;
        assert_eq!(output.status.code(), Some(code), "{}", shown(&output));
        let said = String::from_utf8_lossy(&output.stderr).contains("TRESTLE_PASSWORD");
        assert_eq!(said, code == 1, "{}", shown(&output));
    }
    let log = bench.bridge.log();
    let line = log
        .lines()
        .find(|l| l.contains(" message bob@a.example hello"))
        .ok_or("nothing to try")?;
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let output = bench.run(&words)?;
    assert_eq!(output.status.code(), Some(0), "{line}: {}", shown(&output));
    Ok(())
}

/// A watcher that has seen enough leaves nothing behind.
#[test]
fn a_watcher_takes_its_subscription_along() -> Outcome {
    for (family, transport) in [(Family::V4, "udp"), (Family::V6, "udp"), (Family::V6, "tcp")] {
        let bench = Bench::start(family, "")?;
        let way = (transport, bench.ports.client(), vec![]);
        let watch = ["watch", "bob@a.example", "--count", "1", "--json"];
        assert_eq!(lines(&run(&bench, &watch, "alice@a.example", &way)?, 0).len(), 1);
        interop_tests::eventually("the subscription ends", std::time::Duration::from_secs(20), || {
            bench.bridge.ctl("subscriptions").is_ok_and(|text| text.trim() == "[]")
        })?;
    }
    Ok(())
}
