//! Withdrawn trust: the connections and dialogs that relied on it end, and nothing else.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::run;

use super::site::{A, Site, is_closed, is_open};

const ALICE: &str = "sip:alice@a.example";
const QUIET: Duration = Duration::from_millis(300);

/// Bob and Carl of two peers watch Alice, the change is made; Bob must have lost everything and Carl nothing.
fn bob_loses(why: &str, site: &Site, mut bob: Agent, change: impl FnOnce(&Site) -> Outcome) -> Outcome {
    let mut carl = site.carl()?;
    let his = bob.watch(ALICE, 600)?;
    let mut other = carl.watch(ALICE, 600)?;
    bob.notified(&his, "active", "").map_err(|e| format!("{why}: {e}"))?;
    carl.notified(&other, "active", "")?;
    change(site).map_err(|e| format!("{why}: {e}"))?;
    bob.notified(&his, "terminated", "")
        .map_err(|e| format!("{why}: {e}\n{}", site.bridge.log()))?;
    is_closed(&mut bob).map_err(|e| format!("{why}: {e}"))?;
    let held = site.bridge.ctl("subscriptions")?;
    assert!(!held.contains("bob@b.example"), "{why}: {held}");
    assert!(held.contains("carl@c.example"), "{why}: {held}");
    assert!(is_open(&mut carl), "{why}: carl's connection");
    assert_eq!(carl.rewatch(&mut other, 600)?.status(), 200, "{why}: carl's dialog");
    carl.notified(&other, "active", "").map_err(|e| format!("{why}: {e}"))?;
    carl.expect_none("end", QUIET, |m| {
        m.header("Subscription-State")
            .is_some_and(|s| s.starts_with("terminated"))
    })?;
    assert_eq!((site.b.trunk.accepted(), site.c.trunk.accepted()), (0, 0), "{why}");
    Ok(())
}

fn reload(site: &Site) -> Outcome {
    site.reload().map(drop)
}

#[test]
fn a_peer_is_removed() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let site = Site::start(family, "")?;
        bob_loses("removed", &site, site.bob()?, |site| {
            let plan = site.change(&site.b.settings(""), "")?;
            assert!(plan.contains("trustinpeerbends"), "{plan}");
            Ok(())
        })?;
        let come_back = site.bob().map(|mut bob| is_open(&mut bob));
        assert!(
            !come_back.unwrap_or(false),
            "{family:?}: the handshake or the request is refused"
        );
    }
    Ok(())
}

#[test]
fn a_ca_is_replaced_in_its_file() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let next = Authority::new()?;
    bob_loses("the file has another CA", &site, site.bob()?, |site| {
        std::fs::write(site.dir().join("b-ca.pem"), &next.pem)?;
        reload(site)
    })
}

#[test]
fn a_ca_is_replaced_by_another_file() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    std::fs::write(site.dir().join("next-ca.pem"), Authority::new()?.pem)?;
    bob_loses("another file", &site, site.bob()?, |site| {
        site.change("ca: [b-ca.pem]", "ca: [next-ca.pem]").map(drop)
    })
}

#[test]
fn a_ca_that_is_added_disturbs_nobody() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let mut bob = site.bob()?;
    let watch = bob.watch(ALICE, 600)?;
    bob.notified(&watch, "active", "")?;
    let both = format!("{}{}", Authority::new()?.pem, site.b.authority.pem);
    std::fs::write(site.dir().join("b-ca.pem"), both)?;
    site.reload()?;
    site.user("alice")?.publish(None, "open", "both are good")?;
    bob.notified(&watch, "active", "both are good")?;
    assert!(is_open(&mut bob));
    Ok(())
}

/// Runs `trestle cert` on a directory of its own beside the configuration.
fn cert(site: &Site, args: &[&str]) -> Outcome {
    let output = run(site.dir(), &[&["cert", "--dir", "pki"], args].concat())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn made(site: &Site, name: &str) -> Outcome<Certificate> {
    let read = |kind: &str| std::fs::read_to_string(site.dir().join(format!("pki/{name}.{kind}")));
    Ok(Certificate {
        pem: read("pem")?,
        key: read("key")?,
    })
}

#[test]
fn a_certificate_is_revoked() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    cert(&site, &["ca"])?;
    for name in ["one", "two"] {
        cert(&site, &["issue", "b.example", "--domain", "b.example", "--out", name])?;
    }
    cert(&site, &["crl", "make"])?;
    site.change("ca: [b-ca.pem]", "ca: [pki/ca.pem], crl: [pki/crl.pem]")?;
    // Two connections of one peer, by two certificates: only one of them is revoked.
    let mut stays = site.caller_with("betty", &site.b, made(&site, "two")?)?;
    stays.alias = false;
    assert!(is_open(&mut stays));
    let bob = site.caller_with("bob", &site.b, made(&site, "one")?)?;
    bob_loses("revoked", &site, bob, |site| {
        cert(site, &["revoke", "pki/one.pem"])?;
        reload(site)
    })?;
    assert!(is_open(&mut stays), "the other certificate is as good as before");
    Ok(())
}

#[test]
fn a_name_is_removed() -> Outcome {
    let site = Site::start_with(Family::V4, |b, c| {
        let named = b
            .settings("")
            .replace("ca: [b-ca.pem]", "ca: [b-ca.pem], names: [gw.b.example]");
        format!("peers:\n{named}{}", c.settings(""))
    })?;
    let bob = site.caller("bob", &site.b, "gw.b.example")?;
    bob_loses("name", &site, bob, |site| {
        site.change(", names: [gw.b.example]", "").map(drop)
    })
}

#[test]
fn a_domain_is_removed() -> Outcome {
    let site = Site::start_with(Family::V4, |b, c| {
        let two = b
            .settings("")
            .replace("domains: [b.example]", "domains: [b.example, b2.example]");
        format!("peers:\n{two}{}", c.settings(""))
    })?;
    bob_loses("domain", &site, site.bob()?, |site| {
        site.change("domains: [b.example, b2.example]", "domains: [b2.example]")
            .map(drop)
    })
}

#[test]
fn an_entry_of_the_access_list_is_removed() -> Outcome {
    let acl = "acl: { incoming: [{ allow: { name: b.example } }, { allow: { name: c.example } }] }\n";
    let site = Site::start(Family::V4, acl)?;
    bob_loses("allow removed", &site, site.bob()?, |site| {
        site.change("{ allow: { name: b.example } }, ", "").map(drop)
    })?;
    let site = Site::start(Family::V4, "")?;
    bob_loses("deny added", &site, site.bob()?, |site| {
        let c = site.c.settings("");
        site.change(
            &c,
            &format!("{c}acl: {{ incoming: [{{ deny: {{ name: b.example }} }}] }}\n"),
        )
        .map(drop)
    })
}

/// Alice is registered, has published and watches Dave; Carol watches Alice and Dave.
struct Users {
    alice: Agent,
    carol: Agent,
    hers: interop_tests::watch::Watch,
    of_alice: interop_tests::watch::Watch,
    of_dave: interop_tests::watch::Watch,
}

fn users(site: &Site) -> Outcome<Users> {
    let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
    assert_eq!(alice.publish(None, "open", "at the desk")?.status(), 200);
    let hers = alice.watch("sip:dave@a.example", 600)?;
    alice.notified(&hers, "active", "")?;
    let of_alice = carol.watch(ALICE, 600)?;
    carol.notified(&of_alice, "active", "at the desk")?;
    let of_dave = carol.watch("sip:dave@a.example", 600)?;
    carol.notified(&of_dave, "active", "")?;
    Ok(Users {
        alice,
        carol,
        hers,
        of_alice,
        of_dave,
    })
}

#[test]
fn a_user_is_removed() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let mut all = users(&site)?;
    site.change("  - { aor: alice@a.example, password: { plain: secret-alice } }\n", "")?;
    all.alice.notified(&all.hers, "terminated", "")?;
    all.carol.notified(&all.of_alice, "terminated", "")?;
    let bound = site.bridge.ctl("registrations")?;
    assert!(
        !bound.contains("alice@a.example") && bound.contains("carol@a.example"),
        "{bound}"
    );
    assert_eq!(all.carol.rewatch(&mut all.of_dave, 600)?.status(), 200);
    all.carol.notified(&all.of_dave, "active", "")?;
    Ok(())
}

#[test]
fn a_password_is_changed() -> Outcome {
    let mut site = Site::start(Family::V4, "")?;
    let mut all = users(&site)?;
    site.change("secret-alice", "another-secret")?;
    all.alice.notified(&all.hers, "terminated", "")?;
    // Whoever knew the old password has left nothing behind; who watches sees that.
    let seen = all.carol.notified(&all.of_alice, "active", "closed")?;
    assert!(!seen.text().contains("at the desk"), "{}", seen.text());
    let bound = site.bridge.ctl("registrations")?;
    assert!(
        !bound.contains("alice@a.example") && bound.contains("carol@a.example"),
        "{bound}"
    );
    assert_eq!(all.carol.rewatch(&mut all.of_dave, 600)?.status(), 200);
    assert_ne!(all.alice.register(60)?.status(), 200, "the old one");
    all.alice.password = "another-secret".into();
    assert_eq!(all.alice.register(60)?.status(), 200, "the new one");
    all.carol.notified(&all.of_alice, "active", "open")?;
    // Nor does a restart bring it back.
    site.bridge.kill();
    site.bridge.start_again()?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(ALICE, 600)?;
    let seen = carol.notified(&watch, "active", "")?;
    assert!(!seen.text().contains("at the desk"), "{}", seen.text());
    Ok(())
}

#[test]
fn a_route_that_is_gone_ends_what_went_by_it() -> Outcome {
    let site = Site::start(Family::V4, "")?;
    let (mut bob, mut carl, mut alice) = (site.bob()?, site.carl()?, site.user("alice")?);
    // The connections are there to be used.
    assert!(is_open(&mut bob) && is_open(&mut carl));
    let to_bob = alice.watch("sip:bob@b.example", 600)?;
    let to_carl = alice.watch("sip:carl@c.example", 600)?;
    bob.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
    carl.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
    alice.notified(&to_bob, "active", "")?;
    alice.notified(&to_carl, "active", "")?;
    site.change(&site.b.settings(""), "")?;
    alice.notified(&to_bob, "terminated", "")?;
    alice.expect_none("NOTIFY about carl", QUIET, |m| to_carl.owns(m))?;
    carl.expect_none("SUBSCRIBE", QUIET, |m| m.is("SUBSCRIBE"))?;
    let status = site.bridge.ctl("status")?.replace(' ', "");
    assert!(status.contains("\"upstream_subscriptions\":1"), "{status}");
    Ok(())
}

#[test]
fn a_user_of_plain_udp_keeps_what_the_list_still_allows() -> Outcome {
    let site = Site::start(
        Family::V4,
        "acl: { incoming: [{ allow: 127.0.0.0/8 }, { allow: 192.0.2.0/24 }] }\n",
    )?;
    let mut carol = Agent::udp("carol", A, site.bridge.ports.client())?;
    assert_eq!(carol.register(600)?.status(), 200);
    let mut watch = carol.watch(ALICE, 600)?;
    carol.notified(&watch, "active", "")?;
    site.change(", { allow: 192.0.2.0/24 }", "")?;
    carol.expect_none("end", QUIET, |m| watch.owns(m))?;
    assert_eq!(carol.rewatch(&mut watch, 600)?.status(), 200);
    carol.notified(&watch, "active", "")?;
    site.change("{ allow: 127.0.0.0/8 }", "{ allow: 192.0.2.0/24 }")?;
    carol.notified(&watch, "terminated", "")?;
    let bound = site.bridge.ctl("registrations")?;
    assert!(
        !bound.contains("carol@a.example"),
        "nothing may be sent to where nobody may come from: {bound}"
    );
    Ok(())
}
