//! `sips:` asks for TLS on every hop (RFC 3261 section 26.2.2), the last one to the user's phone included.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::{Link, TlsSetup};
use interop_tests::net::Family;
use interop_tests::wire::Request;

use crate::site::{A, ALICE, Site};

#[test]
fn a_phone_without_tls_hears_nothing_that_asks_for_it() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let site = Site::start(family, "", "messages: { store_offline: true }\n")?;
        let (mut plain, mut bob) = (site.alice()?, site.bob()?);
        let secure = ALICE.replace("sip:", "sips:");
        assert_eq!(bob.message(&secure, "for her ears")?.status(), 480);
        let invite = Request::new("INVITE", &secure).with("Contact", bob.contact());
        assert_eq!(bob.ask(&invite)?.status(), 480);
        plain.expect_none("anything for sips:", Duration::from_millis(500), |m| {
            m.is("MESSAGE") || m.is("INVITE")
        })?;
        assert_eq!(bob.message(ALICE, "for everybody")?.status(), 200);
        plain.messaged("for everybody")?;
        // A second phone under TLS gets it, and only that one.
        let setup = TlsSetup {
            ca: site.authority.pem.clone(),
            name: A.into(),
            own: None,
        };
        let link = Link::tls(site.bridge.ports.tls(), &setup)?;
        let mut phone = Agent::new("alice", A, "secret-alice", link)?;
        assert_eq!(phone.register(600)?.status(), 200);
        assert_eq!(bob.message(&secure, "for her ears")?.status(), 200);
        phone.messaged("for her ears")?;
        plain.expect_none("MESSAGE for sips:", Duration::from_millis(500), |m| m.is("MESSAGE"))?;
    }
    Ok(())
}
