use core::net::IpAddr;

use super::*;
use crate::config::load_from;
use crate::config::tests::Memory;
use crate::pki::testing::{self, Leaf, now};
use crate::sip::net::Transport;

/// Peers: `word` (0) is proved by the terminator's word, `ca` (1) has an anchor, `else` (2) believes another terminator.
const CONFIG: &str = r#"
domains: [a.example]
listeners:
  - { name: old-tls, transport: tcp, bind: ["127.0.0.1:5063"],
      trusted_terminator: { addresses: [127.0.0.1], counts_as_tls: true, certificate_tlv: 225 } }
  - { name: other, transport: tcp, bind: ["127.0.0.1:5064"], trusted_terminator: { addresses: [127.0.0.2], counts_as_tls: true } }
peers:
  - { name: word, domains: [b.example], transport: tcp, accept: [tls], next_hop: "127.0.0.1:1",
      tls: { names: [host.b.example], terminated: { by: [old-tls], allow_cn: true } } }
  - { name: ca, domains: [c.example], transport: tcp, accept: [tls], next_hop: "127.0.0.1:2",
      tls: { ca: [ca.pem], terminated: { by: [old-tls] } } }
  - { name: else, domains: [b.example], transport: tcp, accept: [tls], next_hop: "127.0.0.1:3",
      tls: { terminated: { by: [other], allow_cn: true } } }
"#;

struct World {
    snapshot: Snapshot,
    store: PeerStore,
    chain: Vec<u8>,
}

fn world(leaf: Leaf) -> World {
    let loaded = load_from(
        std::path::Path::new("b.yaml"),
        &Memory::with(&[("b.yaml", CONFIG), ("ca.pem", "")]),
    );
    let snapshot = loaded.unwrap_or_else(|e| panic!("{e}")).snapshot;
    let ca = testing::Ca::new("CA of c");
    let trust = testing::peer(1, "c.example", &[&ca]);
    let chain = ca.issue(leaf).der.to_vec();
    let store = PeerStore::new(vec![Arc::new(trust)], &crate::pki::provider());
    World { snapshot, store, chain }
}

fn tls() -> ReportedTls {
    ReportedTls {
        shown_now: true,
        version: "TLSv1".into(),
        cipher: "AES128-SHA".into(),
        ..ReportedTls::default()
    }
}

fn named(cn: &[u8]) -> ReportedTls {
    ReportedTls {
        common_name: Some(cn.into()),
        ..tls()
    }
}

impl World {
    fn identity(&self, tls: Option<ReportedTls>) -> Identity {
        self.identity_by(IpAddr::from([127, 0, 0, 1]), tls)
    }

    fn identity_by(&self, terminator: IpAddr, tls: Option<ReportedTls>) -> Identity {
        let origin = Origin::From(([192, 0, 2, 7], 1234).into());
        let reported = Arc::new(Reported {
            terminator,
            origin,
            tls,
        });
        identify_terminated(
            reported,
            &self.snapshot.listeners[0],
            &self.snapshot,
            &self.store,
            now(),
        )
    }

    /// Names of the peers that an identity proves.
    fn proved(&self, identity: &Identity) -> Vec<&str> {
        let source = IpAddr::from([192, 0, 2, 7]);
        let all = self.snapshot.peers();
        all.filter(|(id, _)| crate::policy::is_peer(&self.snapshot, *id, Transport::Tcp, source, identity))
            .map(|(_, p)| &*p.name)
            .collect()
    }

    fn why_not(&self, tls: Option<ReportedTls>) -> &'static str {
        let identity = self.identity(tls);
        assert!(!identity.is_named() && self.proved(&identity).is_empty(), "{identity}");
        identity
            .terminated()
            .and_then(|t| t.why_not)
            .unwrap_or("it says nothing")
    }
}

#[test]
fn the_common_name_proves_who_is_proved_by_it() {
    let world = world(Leaf::domain("c.example"));
    let b = world.identity(Some(named(b"B.example.")));
    assert_eq!(world.proved(&b), ["word"], "{b}");
    assert!(
        b.to_string()
            .contains("CN=b.example, as the terminator 127.0.0.1 of listener old-tls reports (TLSv1 AES128-SHA)")
    );
    assert!(
        !b.carries("b.example") && b.mentions("b.example"),
        "no access list lets it in by that, every one keeps it out"
    );
    assert_eq!(world.proved(&world.identity(Some(named(b"host.b.example")))), ["word"]);
    for other in [
        &b"evil.example"[..],
        b"*.example",
        b"b.example\0.evil.example",
        b"",
        b"\xff",
        b"c.example",
    ] {
        let identity = world.identity(Some(named(other)));
        assert!(world.proved(&identity).is_empty(), "{}", other.escape_ascii());
    }
}

#[test]
fn only_a_verified_certificate_of_this_connection_counts() {
    let world = world(Leaf::domain("c.example"));
    let bad = |change: fn(&mut ReportedTls)| {
        let mut tls = named(b"b.example");
        change(&mut tls);
        Some(tls)
    };
    assert!(world.why_not(None).contains("without TLS"));
    assert!(
        world
            .why_not(bad(|t| t.shown_now = false))
            .contains("no certificate was shown")
    );
    assert!(
        world
            .why_not(bad(|t| (t.shown_now, t.shown_before) = (false, true)))
            .contains("resumed")
    );
    assert!(world.why_not(bad(|t| t.verify = 10)).contains("did not verify"));
    assert!(world.why_not(bad(|t| t.common_name = None)).contains("neither"));
    assert!(
        world
            .why_not(bad(|t| t.certificate = Some((*b"MII?").into())))
            .contains("cannot be read")
    );
    let stranger = world.identity_by(IpAddr::from([127, 0, 0, 2]), Some(named(b"b.example")));
    assert!(
        matches!(stranger, Identity::NoTls { .. }),
        "another listener's terminator: {stranger}"
    );
    // It came under TLS all the same, and that is all it proves.
    assert_eq!(
        world.identity(bad(|t| t.verify = 10)).counts_as(Transport::Tcp),
        Transport::Tls
    );
    assert_eq!(world.identity(None).counts_as(Transport::Tcp), Transport::Tcp);
}

#[test]
fn a_certificate_that_comes_along_is_verified_against_the_peer_s_own_anchors() {
    let world = world(Leaf::domain("c.example"));
    let with = |bytes: &[u8]| {
        Some(ReportedTls {
            certificate: Some(bytes.into()),
            ..named(b"b.example")
        })
    };
    let own = world.identity(with(&world.chain));
    assert_eq!(
        world.proved(&own),
        ["ca"],
        "the name that counts is the certificate's: {own}"
    );
    assert!(own.carries("c.example") && own.speaks_for(PeerId(1), &world.snapshot.peers[1], "c.example"));
    let pem = crate::pki::files::pem("CERTIFICATE", &world.chain);
    let base64: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
    assert_eq!(
        world.proved(&world.identity(with(base64.as_bytes()))),
        ["ca"],
        "base64 as well"
    );
    let two = [&world.chain[..], &world.chain].concat();
    assert_eq!(world.proved(&world.identity(with(&two))), ["ca"], "and a chain");

    let stranger = Leaf::domain("c.example").self_signed();
    assert!(
        world.proved(&world.identity(with(&stranger.der))).is_empty(),
        "another authority"
    );
    let why = world.why_not(with(b"0\x82\xff\xff"));
    assert!(why.contains("cannot be read"), "{why}");
    assert!(
        world.proved(&world.identity(Some(named(b"c.example")))).is_empty(),
        "the common name alone is too little for it"
    );
}

#[test]
fn an_expired_certificate_proves_nobody_with_anchors() {
    let world = world(Leaf::domain("c.example").days(-60, -30));
    let tls = ReportedTls {
        certificate: Some(world.chain[..].into()),
        ..tls()
    };
    assert!(world.proved(&world.identity(Some(tls))).is_empty());
}

#[test]
fn lengths_that_lie() {
    for bad in [
        &b"0\x83\x01\x00\x00"[..],
        b"0\x82\x01",
        b"0\x80",
        b"0\x05\x01",
        b"1\x01\x01",
        b"M",
        b"MIIB",
    ] {
        assert!(
            certificates(bad).is_none_or(|c| c.iter().all(|c| c.len() <= 2)),
            "{}",
            bad.escape_ascii()
        );
    }
}
