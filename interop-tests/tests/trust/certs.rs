//! `trestle cert` as a program, and its files in a running bridge.

use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::far::Far;
use interop_tests::link::Link;
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::stand::outcome;
use interop_tests::trestle::Trestle;
use interop_tests::{Outcome, eventually};

use super::org::{A, B, Org, closes, der, logged};

/// Peer b, found at `far`, with this in its `tls`.
fn peer(far: &Far, tls: &str) -> String {
    format!(
        "peers:\n  - {{ name: b, domains: [{B}], transport: tls, next_hop: \"{}\", tls: {{ {tls} }}, probe: {{ interval: 2s, timeout: 2s, down_after: 1 }} }}\n",
        far.address
    )
}

/// MESSAGE from somebody in b.example over a trunk connection; the status, or that it was not let in.
fn bob_writes(org: &Org, bridge: &Trestle, text: &str, own: interop_tests::pki::Certificate) -> Outcome<u16> {
    let mut bob = Agent::trunk("bob", B, bridge.ports.trunk(), &org.client(Some(own))?)?;
    Ok(bob.message(&format!("sip:alice@{A}"), text)?.status())
}

fn alice(bridge: &Trestle) -> Outcome<Agent> {
    let mut alice = Agent::udp("alice", A, bridge.ports.client())?;
    match alice.register(600)?.status() {
        200 => Ok(alice),
        status => Err(format!("REGISTER was answered {status}").into()),
    }
}

/// Alice writes to bob until the answer is this one: a peer takes a moment to be known up or down.
fn alice_gets(alice: &mut Agent, status: u16, text: &str) -> Outcome {
    let mut last = 0;
    eventually(&format!("{status} to alice"), Duration::from_secs(30), || {
        last = alice.message(&format!("sip:bob@{B}"), text).map_or(0, |m| m.status());
        last == status
    })
    .map_err(|e| format!("{e}; the last was {last}").into())
}

#[test]
fn two_organisations_that_made_everything_with_the_program_are_joined() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (a, b) = (Org::new(A)?, Org::new(B)?);
        let advice = b.give_authority(&a, "b")?;
        assert!(advice.contains("ca: [../certs/peers/b/ca.pem]"), "{advice}");
        assert!(advice.contains("sha256:"), "the digest to compare: {advice}");
        let far = Far::start(family, &b.certificate("bridge")?, &a.read("certs/ca.pem")?)?;
        let bridge = a.start(family, &peer(&far, "ca: [certs/peers/b/ca.pem]"))?;
        bridge.wait_for_peer("up")?;
        // Outwards: each took the other's certificate.
        let mut alice = alice(&bridge)?;
        alice_gets(&mut alice, 200, "outwards")?;
        far.received("MESSAGE", "outwards")?;
        assert_eq!(far.seen().client, Some(der(&a.read("certs/bridge.pem")?)?));
        // Inwards.
        assert_eq!(bob_writes(&a, &bridge, "inwards", b.certificate("bridge")?)?, 200);
        alice.messaged("inwards")?;
        let (code, text) = a.try_cert("doctor b --config bridge.yaml")?;
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("nothing wrong found"), "{text}");
    }
    Ok(())
}

#[test]
fn an_imported_authority_lets_a_peer_in_without_a_restart() -> Outcome {
    let (a, b) = (Org::new(A)?, Org::new(B)?);
    let far = Far::start(Family::V4, &b.certificate("bridge")?, &a.read("certs/ca.pem")?)?;
    let bridge = a.start(Family::V4, "")?;
    let mut alice = alice(&bridge)?;
    let refused = bob_writes(&a, &bridge, "too early", b.certificate("bridge")?);
    assert!(refused.is_err(), "a stranger's certificate was let in: {refused:?}");
    b.give_authority(&a, "b")?;
    a.configure(&bridge.ports, &peer(&far, "ca: [certs/peers/b/ca.pem]"))?;
    bridge.ctl("reload")?;
    assert_eq!(bob_writes(&a, &bridge, "now", b.certificate("bridge")?)?, 200);
    alice.messaged("now")?;
    alice_gets(&mut alice, 200, "and back")?;
    // Taken away again.
    a.configure(&bridge.ports, "")?;
    bridge.ctl("reload")?;
    assert!(bob_writes(&a, &bridge, "too late", b.certificate("bridge")?).is_err());
    alice.expect_none("MESSAGE", Duration::from_millis(300), |m| m.is("MESSAGE"))
}

#[test]
fn an_imported_certificate_is_a_pin_and_nothing_else_gets_in() -> Outcome {
    let (a, b) = (Org::new(A)?, Org::new(B)?);
    let theirs = b.path("certs/bridge.pem");
    let advice = a.cert(&format!("import b {}", theirs.display()))?;
    assert!(advice.contains("pin: [../certs/peers/b/pin.pem]"), "{advice}");
    assert!(advice.contains("names: ") && advice.contains(B), "{advice}");
    let (code, text) = a.try_cert(&format!("import b {}", theirs.display()))?;
    assert!(code == 2 && text.contains("--force"), "replaced unasked: {code} {text}");
    let far = Far::start(Family::V4, &b.certificate("bridge")?, &a.read("certs/ca.pem")?)?;
    let bridge = a.start(Family::V4, &peer(&far, "pin: [certs/peers/b/pin.pem]"))?;
    let mut alice = alice(&bridge)?;
    assert_eq!(bob_writes(&a, &bridge, "pinned", b.certificate("bridge")?)?, 200);
    alice.messaged("pinned")?;
    alice_gets(&mut alice, 200, "to the pinned one")?;
    // Another of the same authority, with the same names.
    b.cert(&format!("issue bridge.{B} --domain {B} --out second"))?;
    assert!(bob_writes(&a, &bridge, "not pinned", b.certificate("second")?).is_err());
    far.show(&b.certificate("second")?, &a.read("certs/ca.pem")?)?;
    alice_gets(&mut alice, 504, "not to another")?;
    assert_eq!(far.count("MESSAGE", "not to another"), 0);
    Ok(())
}

#[test]
fn a_revoked_certificate_is_out_after_a_reload_and_its_connection_is_closed() -> Outcome {
    let (a, b) = (Org::new(A)?, Org::new(B)?);
    b.give_authority(&a, "b")?;
    b.cert("crl make")?;
    b.cert(&format!("issue sip.{B} --domain {B} --out good"))?;
    let list = b.path("certs/crl.pem");
    let told = a.cert(&format!("import b {}", list.display()))?;
    assert!(
        told.contains("0 revoked") && told.contains("crl: [../certs/peers/b/crl.pem]"),
        "{told}"
    );
    let far = Far::start(Family::V4, &b.certificate("bridge")?, &a.read("certs/ca.pem")?)?;
    let tls = "ca: [certs/peers/b/ca.pem], crl: [certs/peers/b/crl.pem]";
    let bridge = a.start(Family::V4, &peer(&far, tls))?;
    bridge.wait_for_peer("up")?;
    let mut alice = alice(&bridge)?;
    alice_gets(&mut alice, 200, "before")?;
    let mut relied = Link::tls(bridge.ports.trunk(), &a.client(Some(b.certificate("bridge")?))?)?;
    let mut other = Link::tls(bridge.ports.trunk(), &a.client(Some(b.certificate("good")?))?)?;
    for link in [&mut relied, &mut other] {
        link.send(&Raw::new("TLS", "OPTIONS", "sip:a.example").bytes())?;
        assert!(outcome(link, Duration::from_secs(10)).0 >= 200);
    }

    let told = b.cert("revoke certs/bridge.pem --compromised")?;
    assert!(told.contains("1 revoked"), "{told}");
    let shown = b.cert("crl show")?;
    assert!(shown.contains("1 revoked"), "{shown}");
    a.cert(&format!("import b {} --force", list.display()))?;
    // The file alone changes nothing; the reload does.
    alice_gets(&mut alice, 200, "before the reload")?;
    bridge.ctl("reload")?;
    closes(&mut relied, "its certificate is revoked")?;
    assert!(bob_writes(&a, &bridge, "revoked", b.certificate("bridge")?).is_err());
    logged(&bridge, &["revoked"])?;
    alice_gets(&mut alice, 504, "to the revoked one")?;
    assert_eq!(far.count("MESSAGE", "to the revoked one"), 0);
    // What is not revoked goes on, on the same connection.
    other.send(&Raw::new("TLS", "OPTIONS", "sip:a.example").bytes())?;
    assert!(outcome(&mut other, Duration::from_secs(10)).0 >= 200);
    assert_eq!(bob_writes(&a, &bridge, "good", b.certificate("good")?)?, 200);
    alice.messaged("good")?;
    far.show(&b.certificate("good")?, &a.read("certs/ca.pem")?)?;
    alice_gets(&mut alice, 200, "after")
}

#[test]
fn a_certificate_and_key_replaced_on_disk_are_used_after_a_reload() -> Outcome {
    let (a, b) = (Org::new(A)?, Org::new(B)?);
    b.give_authority(&a, "b")?;
    let far = Far::start(Family::V4, &b.certificate("bridge")?, &a.read("certs/ca.pem")?)?;
    let bridge = a.start(Family::V4, &peer(&far, "ca: [certs/peers/b/ca.pem]"))?;
    bridge.wait_for_peer("up")?;
    let setup = a.client(Some(b.certificate("bridge")?))?;
    let old = der(&a.read("certs/bridge.pem")?)?;
    let link = Link::tls(bridge.ports.trunk(), &setup)?;
    assert_eq!(link.server_certificate(), Some(old.clone()));
    let mut bob = Agent::new("bob", B, "", link)?;
    let mut alice = alice(&bridge)?;

    a.cert(&format!("issue bridge.{A} --domain {A} --force"))?;
    let new = der(&a.read("certs/bridge.pem")?)?;
    let shown = || -> Outcome<Option<Vec<u8>>> { Ok(Link::tls(bridge.ports.trunk(), &setup)?.server_certificate()) };
    assert_eq!(shown()?, Some(old.clone()), "before the reload");
    // A key that does not belong to it changes nothing.
    let key = a.read("certs/bridge.key")?;
    a.cert("issue other.a.example --out other")?;
    std::fs::copy(a.path("certs/other.key"), a.path("certs/bridge.key"))?;
    let error = bridge.ctl("reload").err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("is not the key of"), "{error}");
    assert_eq!(shown()?, Some(old), "after a reload that failed");
    std::fs::write(a.path("certs/bridge.key"), key)?;
    bridge.ctl("reload")?;
    assert_eq!(shown()?, Some(new.clone()));
    // The connection of before lives on.
    assert_eq!(bob.message(&format!("sip:alice@{A}"), "on the old one")?.status(), 200);
    alice.messaged("on the old one")?;
    // Outwards too, from the next connection on.
    far.hang_up();
    alice_gets(&mut alice, 200, "with the new one")?;
    eventually("the far side sees the new one", Duration::from_secs(20), || {
        far.seen().client.as_ref() == Some(&new)
    })
}

#[test]
fn the_list_shows_days_left_and_what_is_wrong() -> Outcome {
    let (a, b) = (Org::new(A)?, Org::new(B)?);
    b.give_authority(&a, "b")?;
    let table = a.cert("list")?;
    for word in [
        "FILE",
        "EXPIRES",
        "DAYS",
        "certs/bridge.pem",
        "certs/peers/b/ca.pem",
        "sip:a.example",
    ] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    let json = a.cert("list --json")?;
    for word in [
        r#""file": "certs/bridge.pem""#,
        r#""kind": "authority""#,
        r#""warnings": []"#,
    ] {
        assert!(json.contains(word), "no {word} in\n{json}");
    }
    let days = |n| json.contains(&format!(r#""days_left": {n}"#));
    assert!(days(825) || days(824), "{json}");
    a.cert("issue soon.a.example --days 9 --out soon")?;
    b.cert("crl make")?;
    a.cert(&format!("import b {}", b.path("certs/crl.pem").display()))?;
    let (code, table) = a.try_cert("list")?;
    assert_eq!(code, 1, "something expires in 8 days\n{table}");
    assert!(
        table.contains("warning: renew it now") && table.contains("revocation list"),
        "{table}"
    );
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(a.path("certs/bridge.key"), std::fs::Permissions::from_mode(0o644))?;
    assert!(a.try_cert("list")?.1.contains("chmod 600"));
    // A key is never given away.
    let out = a.cert("export")?;
    assert!(out.contains("BEGIN CERTIFICATE") && !out.contains("PRIVATE"), "{out}");
    Ok(())
}
