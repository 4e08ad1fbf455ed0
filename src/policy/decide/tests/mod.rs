//! One table a step, in the order of the steps: what is asked, what is answered, by which rule.

mod aim;
mod bypass;
mod flow;
mod numbers;
mod speaker;
mod terminator;
mod way;

use core::net::IpAddr;
use std::sync::Arc;

use super::decide;
use crate::config::tests::snapshot;
use crate::policy::acl::{Admission, SourceLoad, admit};
use crate::policy::decision::{Decision, Party, Target};
use crate::policy::facts::{AuthState, Facts, InDialog, Over, Scheme, UriFacts};
use crate::policy::identity::{CertNames, Identity};
use crate::policy::snapshot::{DialectId, DomainId, Snapshot};
use crate::policy::trace::{Record, Step, Verdict};
use crate::policy::users::UserId;
use crate::sip::net::{ListenerId, PeerId, Transport};

const CONFIG: &str = "\
domains: [a.example, a2.example]
users:
  - {aor: alice@a.example, password: {plain: x}}
  - {aor: bob@a.example, password: {plain: x}}
  - {aor: quiet@a.example, password: {plain: x}, enabled: {presence: false}}
  - {aor: gone@a.example, password: {plain: x}, enabled: {client: false}}
peers:
  - {name: b, domains: [b.example], transit: [d.example, .t.example, \"+49\"], transport: tls, tls: {ca: [ca.pem]}}
  - {name: c, domains: [c.example], transport: udp, addresses: [192.0.2.1, 198.51.100.0/24]}
  - {name: r, domains: [r.example], transport: tls, tls: {ca: [ca.pem]}, addresses: [203.0.113.0/24]}
routes:
  - {match: {domain: d.example}, peer: c}
  - {match: {suffix: .t.example}, peer: b}
  - {match: {digits: \"+1555\"}, peer: c}
  - {match: {digits: \"+49\"}, peer: c}
acl:
  incoming:
    - deny: 192.0.2.66
    - deny: {name: evil.b.example}
";

const ALICE: UserId = UserId(0);
const BOB: UserId = UserId(1);
const QUIET: UserId = UserId(2);
const GONE: UserId = UserId(3);
const B: PeerId = PeerId(0);
const C: PeerId = PeerId(1);
const R: PeerId = PeerId(2);
const STRANGER: &str = "192.0.2.99";
const PEER_C: &str = "192.0.2.1";

fn plain() -> Identity {
    Identity::no_tls("plain transport")
}

/// A certificate with this DNS name, whose chain verifies against the anchors of these peers.
fn certificate(name: &str, anchored: &[PeerId]) -> Identity {
    let names = CertNames {
        dns: vec![name.into()],
        has_san: true,
        ..CertNames::default()
    };
    Identity::TlsPeer {
        names,
        anchored: anchored.to_vec(),
        pinned: Vec::new(),
        chain: Arc::from([]),
    }
}

/// A request from a stranger over UDP to `uri`; tests change what they are about.
fn request<'a>(method: &'a str, from: &'a str, uri: &'a str, identity: &'a Identity) -> Facts<'a> {
    let parse = |text: &'a str| UriFacts::of(text.as_bytes()).expect("test URI");
    Facts {
        listener: Some(ListenerId(0)),
        transport: Transport::Udp,
        source: ip(STRANGER),
        local: None,
        identity,
        method: method.as_bytes(),
        uri: parse(uri),
        from: parse(from),
        to: parse(uri),
        event: None,
        max_forwards: Some(70),
        dialog: None,
        credentials: AuthState::None,
        looped: false,
        ring: false,
        over: Over::default(),
        held: &[],
        watched: None,
    }
}

/// The same over the mutual-TLS listener.
fn secured<'a>(facts: Facts<'a>) -> Facts<'a> {
    Facts {
        listener: Some(ListenerId(3)),
        transport: Transport::Tls,
        ..facts
    }
}

fn by_user<'a>(facts: Facts<'a>, user: UserId) -> Facts<'a> {
    Facts {
        credentials: AuthState::Valid(user),
        ..facts
    }
}

fn from_c<'a>(facts: Facts<'a>) -> Facts<'a> {
    Facts {
        source: ip(PEER_C),
        ..facts
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("test address")
}

/// Decides, checks that the trace tells the same story, and gives status (0: allowed) and rule.
fn outcome(snapshot: &Snapshot, facts: &Facts<'_>) -> (u16, String) {
    let mut trace = Record::default();
    let decision = decide(snapshot, facts, &mut trace);
    assert_eq!(
        decision,
        decide(snapshot, facts, &mut ()),
        "the trace changes the decision"
    );
    let steps: Vec<Step> = trace.0.iter().map(|r| r.step).collect();
    assert!(Step::ALL.starts_with(&steps), "{steps:?}");
    let last = trace.0.last().expect("a step");
    match &decision {
        Decision::Allow(_) => assert_eq!((steps.len(), last.verdict), (13, Verdict::Allow)),
        Decision::Refuse(_) => assert_eq!(last.verdict, Verdict::Refuse),
        Decision::Challenge { .. } => assert_eq!((last.step, last.verdict), (Step::Authentication, Verdict::Challenge)),
    }
    if let Some(rule) = decision.rule() {
        assert_eq!(last.rule.as_ref(), Some(rule));
    }
    (
        decision.status().unwrap_or(0),
        decision.rule().map(|r| r.id.to_string()).unwrap_or_default(),
    )
}

#[track_caller]
fn expect(snapshot: &Snapshot, facts: &Facts<'_>, status: u16, rule: &str) {
    assert_eq!(outcome(snapshot, facts), (status, rule.to_owned()));
}

#[track_caller]
fn allowed(snapshot: &Snapshot, facts: &Facts<'_>, who: Party, target: Target) {
    match decide(snapshot, facts, &mut ()) {
        Decision::Allow(allow) => assert_eq!((allow.who, allow.target), (who, target)),
        other => panic!("{other:?}"),
    }
    let _checked = outcome(snapshot, facts);
}

fn local(user: Option<UserId>) -> Target {
    Target::Local {
        domain: DomainId(0),
        user,
    }
}

const A: &str = "sip:alice@a.example";
const TO_BOB: &str = "sip:bob@a.example";
const C_USER: &str = "sip:carl@c.example";
const B_USER: &str = "sip:bert@b.example";
