//! Callers on the listener that requires a certificate: every bad certificate, each with its verdict.

use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::link::{Link, TlsSetup};
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate, Flaw};
use interop_tests::stand::outcome;
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually};
use tempfile::TempDir;

use super::org::{A, B, Metrics, logged, with_metrics};

/// How a caller is kept out.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// The handshake fails; counted and logged under this reason.
    Handshake(&'static str),
    /// It verifies by a peer's authority, but its names are not that peer's: each request is refused 403; counted and
    /// logged under this reason.
    Request(&'static str),
}

/// A bridge of a.example with peers b.example and c.example, each with an authority of its own.
struct World {
    bridge: Trestle,
    ours: Authority,
    b: Authority,
    c: Authority,
    metrics: Metrics,
    _dir: TempDir,
}

fn world(family: Family) -> Outcome<World> {
    let dir = tempfile::tempdir()?;
    let (ours, b, c) = (
        Authority::new()?,
        Authority::named("CA of b")?,
        Authority::named("CA of c")?,
    );
    ours.issue(A)?.write(dir.path(), A)?;
    std::fs::write(dir.path().join("b-ca.pem"), &b.pem)?;
    std::fs::write(dir.path().join("c-ca.pem"), &c.pem)?;
    let ports = Ports::free(family);
    let rest = "peers:\n  - { name: b, domains: [b.example], transport: tls, tls: { ca: [b-ca.pem] }, next_hop: \
                \"192.0.2.1:5061\" }\n  - { name: c, domains: [c.example], transport: tls, tls: { ca: [c-ca.pem] }, \
                next_hop: \"192.0.2.2:5061\" }\n";
    let (config, metrics) = with_metrics(&trestle::config(A, &ports, rest));
    std::fs::write(dir.path().join("bridge.yaml"), config)?;
    Ok(World {
        bridge: Trestle::start(dir.path(), ports)?,
        ours,
        b,
        c,
        metrics,
        _dir: dir,
    })
}

impl World {
    fn setup(&self, own: Option<Certificate>) -> TlsSetup {
        TlsSetup {
            ca: self.ours.pem.clone(),
            name: A.into(),
            own,
        }
    }

    /// MESSAGE to alice by bob@b.example with this certificate: the status, or 1 where the connection does not stand.
    fn calls(&self, own: Option<Certificate>, text: &str) -> Outcome<u16> {
        let setup = self.setup(own);
        let Ok(mut link) = Link::tls(self.bridge.ports.trunk(), &setup) else {
            return Ok(1);
        };
        let mut request = Request::new("MESSAGE", "sip:alice@a.example").body("text/plain", text);
        request.from = Some("<sip:bob@b.example>;tag=1".into());
        request.to = Some("<sip:alice@a.example>".into());
        request.call_id = Some(interop_tests::wire::unique());
        let via = format!("SIP/2.0/TLS b.example;branch=z9hG4bK{}", interop_tests::wire::unique());
        if link.send(&request.write(&via)).is_err() {
            return Ok(1);
        }
        Ok(outcome(&mut link, Duration::from_secs(10)).0)
    }
}

#[test]
fn every_bad_certificate_of_a_caller_is_refused_for_its_reason() -> Outcome {
    use Verdict::{Handshake, Request};
    let table = [
        (Flaw::Expired, Handshake("expired")),
        (Flaw::Future, Handshake("not-yet-valid")),
        (Flaw::OtherAuthority, Handshake("unknown-ca")),
        (Flaw::SelfSigned, Handshake("unknown-ca")),
        (Flaw::MissingIntermediate, Handshake("unknown-ca")),
        (Flaw::WrongUsage, Handshake("wrong-usage")),
        (Flaw::ServerOnly, Handshake("wrong-usage")),
        (Flaw::AuthorityLeaf, Handshake("authority-leaf")),
        (Flaw::OtherName, Request("wrong-name")),
        (Flaw::Wildcard, Request("wrong-name")),
        (Flaw::Nul, Request("wrong-name")),
        (Flaw::NulUri, Request("wrong-name")),
        (Flaw::ThirdDomain, Request("wrong-name")),
        (Flaw::CommonNameOnly, Request("cn-only")),
        (Flaw::User, Request("wrong-name")),
        (Flaw::OtherUri, Request("wrong-name")),
    ];
    for family in [Family::V4, Family::V6] {
        let world = world(family)?;
        let mut alice = Agent::udp("alice", A, world.bridge.ports.client())?;
        assert_eq!(alice.register(600)?.status(), 200);
        for (flaw, verdict) in table {
            let own = world.b.flawed(B, flaw)?;
            kept_out(&world, own, verdict).map_err(|e| format!("{flaw:?}: {e}"))?;
        }
        // The authority of peer c is an authority, but not b's.
        kept_out(&world, world.c.issue(B)?, Request("wrong-name")).map_err(|e| format!("by the CA of c: {e}"))?;
        alice.expect_none("MESSAGE", Duration::from_millis(500), |m| m.is("MESSAGE"))?;
        // The same caller with the right certificate is let in; c is, too, but as itself only.
        assert_eq!(world.calls(Some(world.b.issue(B)?), "good")?, 200);
        alice.messaged("good")?;
        assert_eq!(world.calls(Some(world.c.issue("c.example")?), "c as b")?, 403);
        alice.expect_none("MESSAGE", Duration::from_millis(500), |m| m.is("MESSAGE"))?;
    }
    Ok(())
}

fn kept_out(world: &World, own: Certificate, verdict: Verdict) -> Outcome {
    let (reason, wanted) = match verdict {
        Verdict::Handshake(reason) => (reason, 1),
        Verdict::Request(reason) => (reason, 403),
    };
    let before = world.metrics.refused(reason)?;
    let status = world.calls(Some(own), "bad")?;
    if status != wanted {
        return Err(format!("got {status} instead of {wanted}").into());
    }
    logged(&world.bridge, &["a client certificate (", reason])?;
    eventually(&format!("/metrics counts {reason}"), Duration::from_secs(10), || {
        world.metrics.refused(reason).is_ok_and(|n| n == before + 1)
    })
}

#[test]
fn without_a_certificate_nobody_is_let_in_where_one_is_required() -> Outcome {
    let world = world(Family::V4)?;
    assert_eq!(world.calls(None, "none")?, 1);
    // Where one is only requested, a caller without is a stranger like any other.
    let mut nobody = Agent::trunk("bob", B, world.bridge.ports.tls(), &world.setup(None))?;
    let status = nobody.message("sip:alice@a.example", "none")?.status();
    assert!((400..500).contains(&status), "{status}");
    Ok(())
}
