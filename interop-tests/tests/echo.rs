//! Two bridges that feed each other: the same person has an address at both, and each takes the other's as a line.

use std::path::Path;
use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::trestle::{Ports, Trestle, config, run};
use interop_tests::watch::Watch;
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually};

/// A bridge with bob watching alice.
struct Side {
    bridge: Trestle,
    alice: Agent,
    bob: Agent,
    watch: Watch,
    etag: Option<String>,
    domain: &'static str,
}

impl Side {
    fn start(dir: &Path, (domain, ports): (&'static str, Ports), (other, there): (&str, Ports)) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        Authority::new()?.issue(domain)?.write(dir, domain)?;
        let peer = format!(
            "peers:\n  - {{ name: other, domains: [{other}], transport: tcp, next_hop: \"{}\", addresses: [\"{}\"], probe: \"off\" }}\n\
             notify: {{ min_interval: 0s }}\n",
            there.client(),
            there.family.ip()
        );
        let written = config(domain, &ports, &peer).replace(
            "plain: secret-alice } }",
            "plain: secret-alice }, lines: [{ number: alice, peer: other }] }",
        );
        std::fs::write(dir.join("bridge.yaml"), written)?;
        let bridge = Trestle::start(dir, ports)?;
        let alice = Agent::udp("alice", domain, ports.client())?;
        let mut bob = Agent::udp("bob", domain, ports.client())?;
        let watch = bob.watch(&format!("sip:alice@{domain}"), 600)?;
        Ok(Self {
            bridge,
            alice,
            bob,
            watch,
            etag: None,
            domain,
        })
    }

    fn publish(&mut self, activity: &str) -> Outcome {
        let said = match activity {
            "" => String::new(),
            word => format!("<r:activities><r:{word}/></r:activities>"),
        };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
             xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:alice@{}'><tuple id='own'><status><basic>open</basic></status>\
             <note>own</note></tuple><dm:person id='p'>{said}</dm:person></presence>",
            self.domain
        );
        let mut request = Request::new("PUBLISH", &self.alice.aor())
            .with("Event", "presence")
            .with("Expires", "600")
            .body("application/pidf+xml", body);
        if let Some(etag) = &self.etag {
            request = request.with("SIP-If-Match", etag);
        }
        let answer = self.alice.ask(&request)?;
        assert_eq!(answer.status(), 200, "{}", answer.start);
        self.etag = answer.header("SIP-ETag").map(Into::into);
        Ok(())
    }

    /// What `trestle why` tells of bob.
    fn why(&self) -> Outcome<String> {
        let (bob, alice) = (format!("bob@{}", self.domain), format!("alice@{}", self.domain));
        let told = run(self.bridge.dir(), &["why", &bob, &alice, "--config", "bridge.yaml"])?;
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        Ok(String::from_utf8_lossy(&told.stdout).into_owned())
    }

    /// Waits until `trestle why` tells something, and does not tell something else.
    fn tells(&self, wanted: &str, unwanted: &str) -> Outcome {
        let fits = |text: &str| text.contains(wanted) && (unwanted.is_empty() || !text.contains(unwanted));
        let asked = || self.why().unwrap_or_else(|e| e.to_string());
        eventually(
            &format!("{wanted:?} and not {unwanted:?}"),
            Duration::from_secs(30),
            || fits(&asked()),
        )
        .map_err(|e| format!("{e}: {}\n{}", asked(), self.bridge.log()).into())
    }
}

#[test]
fn a_call_ends_everywhere_when_it_ends_where_it_was() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let top = tempfile::tempdir()?;
        let (here, there) = (Ports::free(family), Ports::free(family));
        let mut a = Side::start(&top.path().join("a"), ("a.example", here), ("b.example", there))?;
        let mut b = Side::start(&top.path().join("b"), ("b.example", there), ("a.example", here))?;
        a.bob.notified(&a.watch, "active", "")?;
        b.bob.notified(&b.watch, "active", "")?;
        for round in 0..3 {
            a.publish("on-the-phone")?;
            // The other side shows it, and what comes back from there is known as an echo.
            b.tells("alice@b.example is busy", "")?;
            a.tells("left out: an echo", "")?;
            a.publish("")?;
            a.tells("alice@a.example is available", "on-the-phone")?;
            b.tells("alice@b.example is available", "on-the-phone")
                .map_err(|e| format!("round {round}: {e}"))?;
        }
        // At rest: nobody is told anything any more.
        a.bob.forget(|m| m.is("NOTIFY"));
        b.bob.forget(|m| m.is("NOTIFY"));
        let (_before, during) = (a.why()?, Duration::from_secs(3));
        a.bob.not_notified(&a.watch, during)?;
        b.bob.not_notified(&b.watch, Duration::from_millis(10))?;
        let nobody = run(
            a.bridge.dir(),
            &["why", "carol@a.example", "alice@a.example", "--config", "bridge.yaml"],
        )?;
        assert_eq!(
            nobody.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&nobody.stdout)
        );
        assert!(String::from_utf8_lossy(&nobody.stderr).contains("does not watch"));
    }
    Ok(())
}
