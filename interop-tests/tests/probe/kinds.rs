//! The dialect that is suggested fits the peer that is asked.

use interop_tests::agent::Agent;
use interop_tests::emulators::island::{Habits, Island};
use interop_tests::emulators::site::{A, B, BOB, ERIN, STATES, publish};
use interop_tests::emulators::{Keys, Peer, Way, lcs, ocs, sametime, sametime_legacy, unified_cm};
use interop_tests::kamailio::{self, Kamailio};
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::trestle::{Ports, config};
use interop_tests::{Outcome, installed};
use tempfile::TempDir;

use super::{overlay_is_well, probe};

/// A configuration with one peer `b`, its certificates beside it.
fn written(authority: &Authority, ports: &Ports, own: std::net::SocketAddr, tls: bool) -> Outcome<TempDir> {
    let dir = tempfile::tempdir()?;
    authority.issue(A)?.write(dir.path(), A)?;
    std::fs::write(dir.path().join("b-ca.pem"), &authority.pem)?;
    let way = match tls {
        true => "transport: tls, tls: { ca: [b-ca.pem] }".to_owned(),
        false => format!("transport: tcp, addresses: [\"{}\"]", own.ip()),
    };
    let peers = format!("peers:\n  - {{ name: b, domains: [{B}], next_hop: \"{own}\", {way} }}\n");
    std::fs::write(dir.path().join("bridge.yaml"), config(A, ports, &peers))?;
    std::fs::create_dir(dir.path().join("mappings"))?;
    Ok(dir)
}

/// The emulator is asked, and what is suggested for it is its dialect.
fn suggests(habits: Habits, base: &str, family: Family, tls: bool) -> Outcome {
    let (authority, ports) = (Authority::new()?, Ports::free(family));
    let keys = Keys {
        own: authority.issue(B)?,
        ca: authority.pem.clone(),
        bridge: A.into(),
    };
    let way = Way {
        family,
        port: free_port(),
        bridge: if tls { ports.trunk() } else { ports.client() },
        keys: tls.then_some(keys),
    };
    let dir = written(&authority, &ports, way.own(), tls)?;
    let peer = Peer::start(Island::new(habits, way.clone(), &[BOB, ERIN]))?;
    let (to, test, listen) = (format!("sip:{BOB}"), format!("sip:{ERIN}"), way.bridge.to_string());
    let words = [
        "--to",
        &to,
        "--message-to",
        &test,
        "--listen",
        &listen,
        "--overlay",
        "mappings/b.yaml",
    ];
    let (sheet, code, wrong) = probe(dir.path(), &words)?;
    let why = || format!("{base}, tls {tls}: {code} {wrong}\n{sheet:#}\n{}", peer.story());
    if code != 0 || sheet["overlay"]["extends"] != base {
        return Err(why().into());
    }
    let text = overlay_is_well(dir.path(), "b.yaml").map_err(|e| format!("{e}\n{}", why()))?;
    assert!(text.contains(&format!("extends: {base}\n")), "{text}");
    assert!(sheet["sent"].as_u64().is_some_and(|n| n <= 40), "{}", why());
    let findings = sheet["findings"].as_array().cloned().unwrap_or_default();
    let first = findings.first().and_then(|f| f["sent"].as_str()).unwrap_or_default();
    assert_eq!(first == "TLS handshake", tls, "{}", why());
    // Nobody but the one who was named is written to, and no subscription is left.
    for message in peer.received("MESSAGE").iter().chain(&peer.received("INVITE")) {
        assert!(message.start.contains(ERIN), "{}", message.start);
    }
    assert_eq!(peer.with(|i| i.watchers_of(BOB)), 0, "{}", why());
    Ok(())
}

/// A kind over plain TCP and mutual TLS, on one family each.
fn both(habits: Habits, base: &str) -> Outcome {
    suggests(habits, base, Family::V4, false)?;
    suggests(habits, base, Family::V6, true)
}

#[test]
fn lcs_2005() -> Outcome {
    both(lcs::HABITS, "lcs2005")
}

#[test]
fn ocs_2007() -> Outcome {
    both(ocs::HABITS, "ocs2007")
}

#[test]
fn sametime_75() -> Outcome {
    both(sametime::HABITS, "sametime75")
}

#[test]
fn sametime_of_the_drafts() -> Outcome {
    both(sametime_legacy::HABITS, "sametime-legacy")
}

#[test]
fn unified_communications_manager() -> Outcome {
    both(unified_cm::HABITS, "unified-cm")
}

#[test]
fn kamailio() -> Outcome {
    if !installed("probe::kamailio", &kamailio::PROGRAMS) {
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let (authority, ports, far) = (Authority::new()?, Ports::free(family), tempfile::tempdir()?);
        let setup = kamailio::Setup::new(B, A, ports.trunk());
        let kamailio = Kamailio::start(far.path(), setup, &authority.issue(B)?, &authority.pem)?;
        let dir = written(&authority, &ports, kamailio.trunk(), true)?;
        let mut bob = Agent::tcp("bob", B, kamailio.client())?;
        assert_eq!(bob.register(600)?.status(), 200);
        publish(&mut bob, None, STATES.first().ok_or("no state")?)?;
        // No --listen: it notifies over the connection that it was asked by.
        let words = [
            "--to",
            "sip:bob@b.example",
            "--message-to",
            "sip:bob@b.example",
            "--overlay",
            "mappings/b.yaml",
        ];
        let (sheet, code, wrong) = probe(dir.path(), &words)?;
        let why = || format!("{code} {wrong}\n{sheet:#}\n{}", kamailio.log());
        assert_eq!(code, 0, "{}", why());
        assert_eq!(sheet["overlay"]["extends"], "rfc", "{}", why());
        let findings = sheet["findings"].as_array().cloned().unwrap_or_default();
        let says = |part: &str| findings.iter().any(|f| f.to_string().contains(part));
        assert!(says("TLSv1") && says("it is there") && says("489"), "{}", why());
        assert!(
            says("it answers keep-alives") && says("NOTIFY with application/pidf+xml"),
            "{}",
            why()
        );
        assert!(
            says("and writes application/pidf+xml"),
            "it does not look at Accept: {}",
            why()
        );
        overlay_is_well(dir.path(), "b.yaml").map_err(|e| format!("{e}\n{}", why()))?;
    }
    Ok(())
}
