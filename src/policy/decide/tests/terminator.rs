//! What comes through a trusted terminator: a peer by name where its configuration says so, nothing more than a plain
//! connection from that address elsewhere.

use super::*;
use crate::policy::acl::admit_behind;
use crate::policy::is_peer;
use crate::policy::terminator::{Origin, Reported, ReportedTls, Terminated};

const CONFIG: &str = "\
domains: [a.example]
users: [{aor: alice@a.example, password: {plain: x}}]
listeners:
  - {name: udp, transport: udp, bind: [\"127.0.0.1:5060\"]}
  - {name: tcp, transport: tcp, bind: [\"127.0.0.1:5060\"]}
  - {name: old-tls, transport: tcp, bind: [\"127.0.0.1:5063\"], trusted_terminator: {addresses: [127.0.0.1], counts_as_tls: true}}
  - {name: front, transport: tcp, bind: [\"127.0.0.1:5064\"], trusted_terminator: {addresses: [127.0.0.1]}}
peers:
  - {name: lcs, domains: [b.example], transport: tcp, accept: [tls], next_hop: \"127.0.0.1:1\", tls: {terminated: {by: [old-tls], allow_cn: true}}}
  - {name: plain, domains: [c.example], transport: tcp, addresses: [192.0.2.1]}
  - {name: both, domains: [d.example], transport: tcp, next_hop: \"127.0.0.1:2\", addresses: [192.0.2.5, 127.0.0.1], tls: {terminated: {by: [front], allow_cn: true}}}
  - {name: strict, domains: [e.example], transport: tcp, accept: [tls], next_hop: \"127.0.0.1:3\", tls: {terminated: {by: [old-tls]}}}
  - {name: near, domains: [f.example], transport: tcp, accept: [tls], next_hop: \"127.0.0.1:4\", addresses: [192.0.2.8], tls: {terminated: {by: [old-tls], allow_cn: true}}}
acl:
  incoming:
    - deny: 192.0.2.66
";

const OLD_TLS: ListenerId = ListenerId(2);
const FRONT: ListenerId = ListenerId(3);
const TO: &str = "sip:alice@a.example";

/// What a terminator reports: this common name of a certificate that it verified, believed by these peers.
fn reports(cn: Option<&str>, anchored: &[u16], counts_as_tls: bool, origin: Origin) -> Identity {
    Identity::Terminated(Box::new(Terminated {
        names: CertNames {
            common_name: cn.map(Into::into),
            ..CertNames::default()
        },
        listener: "old-tls".into(),
        anchored: anchored.iter().map(|id| PeerId(*id)).collect(),
        pinned: Vec::new(),
        counts_as_tls,
        why_not: cn.is_none().then_some("no certificate was shown"),
        reported: Arc::new(Reported {
            terminator: ip("127.0.0.1"),
            origin,
            tls: Some(ReportedTls::default()),
        }),
    }))
}

fn at(source: &str) -> Origin {
    Origin::From((ip(source), 1234).into())
}

/// A MESSAGE by that listener, as the engine sees it.
fn comes<'a>(listener: ListenerId, source: &'a str, from: &'a str, identity: &'a Identity) -> Facts<'a> {
    Facts {
        listener: Some(listener),
        transport: identity.counts_as(Transport::Tcp),
        source: ip(source),
        ..request("MESSAGE", from, TO, identity)
    }
}

const ANYWHERE: &str = "192.0.2.99";

#[test]
fn a_reported_name_proves_the_peer_that_says_so() {
    let s = snapshot(CONFIG);
    let lcs = reports(Some("b.example"), &[0, 3, 4], true, at(ANYWHERE));
    let facts = comes(OLD_TLS, ANYWHERE, "sip:bob@b.example", &lcs);
    expect(&s, &facts, 0, "");
    let mut trace = Record::default();
    let _ = decide(&s, &facts, &mut trace);
    let told: Vec<&str> = trace.0.iter().map(|r| &*r.because).collect();
    assert!(
        told.contains(&"listener old-tls behind terminator 127.0.0.1 (tls)"),
        "{told:?}"
    );
    let by = "peer lcs: a certificate with CN=b.example, as the terminator 127.0.0.1 of listener old-tls reports";
    assert!(told.contains(&by), "{told:?}");
    expect(&s, &comes(OLD_TLS, ANYWHERE, "sips:bob@b.example", &lcs), 0, "");
    expect(
        &s,
        &comes(OLD_TLS, ANYWHERE, "sip:bob@c.example", &lcs),
        403,
        "peer.domains",
    );
    let nobody = reports(None, &[], true, at(ANYWHERE));
    expect(
        &s,
        &comes(OLD_TLS, ANYWHERE, "sip:bob@b.example", &nobody),
        403,
        "peer.tls",
    );
    let other = reports(Some("evil.example"), &[0, 3, 4], true, at(ANYWHERE));
    expect(
        &s,
        &comes(OLD_TLS, ANYWHERE, "sip:bob@b.example", &other),
        403,
        "peer.tls",
    );
}

#[test]
fn the_common_name_and_the_address_are_restrictions_of_each_peer() {
    let s = snapshot(CONFIG);
    let strict = reports(Some("e.example"), &[0, 3, 4], true, at(ANYWHERE));
    expect(
        &s,
        &comes(OLD_TLS, ANYWHERE, "sip:bob@e.example", &strict),
        403,
        "peer.tls",
    );
    let near = reports(Some("f.example"), &[0, 3, 4], true, at("192.0.2.8"));
    expect(&s, &comes(OLD_TLS, "192.0.2.8", "sip:bob@f.example", &near), 0, "");
    expect(
        &s,
        &comes(OLD_TLS, ANYWHERE, "sip:bob@f.example", &near),
        403,
        "peer.tls",
    );
}

#[test]
fn where_it_does_not_count_as_tls_it_is_a_plain_connection() {
    let s = snapshot(CONFIG);
    let named = reports(Some("b.example"), &[0], false, at(ANYWHERE));
    expect(
        &s,
        &comes(FRONT, ANYWHERE, "sip:bob@b.example", &named),
        403,
        "peer.transport",
    );
    let sips = Facts {
        uri: UriFacts::of(b"sips:alice@a.example").expect("URI"),
        ..comes(FRONT, "192.0.2.1", "sip:carol@c.example", &named)
    };
    expect(&s, &sips, 403, "uri.sips");
    // The address proves what it proves without a terminator, and the terminator's own proves nothing.
    let unnamed = reports(None, &[], false, at("192.0.2.1"));
    expect(&s, &comes(FRONT, "192.0.2.1", "sip:carol@c.example", &unnamed), 0, "");
    let as_tls = reports(None, &[], true, at("192.0.2.1"));
    expect(
        &s,
        &comes(OLD_TLS, "192.0.2.1", "sip:carol@c.example", &as_tls),
        403,
        "peer.transport",
    );
}

#[test]
fn a_peer_that_is_proved_through_terminators_is_not_proved_there_by_its_address() {
    let s = snapshot(CONFIG);
    let both = "sip:dora@d.example";
    let named = reports(Some("d.example"), &[2], false, at("192.0.2.5"));
    expect(&s, &comes(FRONT, "192.0.2.5", both, &named), 0, "");
    let unnamed = reports(None, &[], false, at("192.0.2.5"));
    expect(&s, &comes(FRONT, "192.0.2.5", both, &unnamed), 403, "peer.tls");
    let direct = plain();
    expect(&s, &comes(ListenerId(1), "192.0.2.5", both, &direct), 0, "");
    for origin in [Origin::Own, Origin::Untold] {
        let own = reports(None, &[], false, origin);
        expect(&s, &comes(FRONT, "127.0.0.1", both, &own), 403, "peer.tls");
        assert!(!is_peer(&s, PeerId(2), Transport::Tcp, ip("127.0.0.1"), &own));
    }
}

#[test]
fn nobody_but_the_terminator_connects_and_whom_it_reports_is_judged() {
    let s = snapshot(CONFIG);
    let admitted = |verdict| matches!(verdict, Admission::Admit);
    let load = SourceLoad::default();
    assert!(admitted(admit(&s, OLD_TLS, ip("127.0.0.1"), load)));
    assert!(admitted(admit(&s, OLD_TLS, ip("::ffff:127.0.0.1"), load)));
    for other in ["192.0.2.1", "127.0.0.2", "::1"] {
        let verdict = admit(&s, OLD_TLS, ip(other), load);
        assert!(
            matches!(verdict, Admission::Drop { rule, .. } if &*rule.id == "listener.trusted_terminator"),
            "{other}"
        );
    }
    let busy = SourceLoad {
        connections: 10_000,
        handshakes: 10_000,
        all_connections: 1,
    };
    assert!(
        admitted(admit(&s, OLD_TLS, ip("127.0.0.1"), busy)),
        "these are not its own"
    );
    assert!(admitted(admit_behind(&s, ip(ANYWHERE), load)) && !admitted(admit_behind(&s, ip(ANYWHERE), busy)));
    assert!(!admitted(admit_behind(&s, ip("::ffff:192.0.2.66"), load)), "denied");
    let direct = plain();
    let strange = comes(OLD_TLS, "127.0.0.1", "sip:bob@b.example", &direct);
    expect(&s, &strange, 403, "listener.trusted_terminator");
}
