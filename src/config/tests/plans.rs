//! What changes between two configurations, and whose trust is withdrawn.

use super::*;

#[test]
fn a_plan_names_changes_and_withdrawn_trust() {
    let old = snapshot(
        "\
domains: [a.example, old.example]
users:
  - {aor: alice@a.example, password: {plain: x}}
  - {aor: bob@a.example, password: {plain: x}}
  - {aor: carol@a.example, password: {plain: x}}
peers:
  - {name: b, domains: [b.example, b2.example], transport: tls, tls: {ca: [ca.pem]}}
  - {name: c, domains: [c.example], transport: udp, addresses: [192.0.2.1, 192.0.2.2]}
  - {name: d, domains: [d.example], transport: udp, addresses: [192.0.2.4]}
",
    );
    let new = snapshot(
        "\
domains: [a.example]
users:
  - {aor: carol@a.example, password: {plain: x}}
  - {aor: bob@a.example, password: {plain: changed}}
peers:
  - {name: d, domains: [d.example], transport: udp, addresses: [192.0.2.4, 192.0.2.5]}
  - {name: b, domains: [b.example], transport: tls, tls: {ca: [ca.pem]}}
  - {name: c, domains: [c.example], transport: udp, addresses: [192.0.2.1]}
acl: {incoming: [{deny: 192.0.2.9}]}
store: {sync: process}
",
    );
    let changes = plan(&old, &new);
    insta::assert_snapshot!(changes, @r#"
    - domain old.example
    ~ peer b
    ~ peer c
    ~ peer d
    - route b2.example
    - user alice@a.example
    ~ user bob@a.example
    ~ access list acl.incoming
    ~ settings store
    ! old.example is local no more: its dialogs end
    ! a peer may no longer speak for b2.example: those dialogs end
    ! trust in peer c ends: its connections and dialogs end
    ! user alice@a.example must prove itself anew: its dialogs end
    ! alice@a.example may no longer be watched: its watchers' dialogs end
    ! user bob@a.example must prove itself anew: its dialogs end
    ! fewer may connect: open connections are judged again
    ! store takes effect after a restart
    "#);
    assert_eq!(
        (
            changes.peer(PeerId(0)),
            changes.peer(PeerId(1)),
            changes.peer(PeerId(2))
        ),
        (Some(PeerId(1)), None, Some(PeerId(0)))
    );
    assert!(
        changes
            .items
            .iter()
            .any(|i| i.kind == Kind::Peer && i.name == "d" && i.change == Change::Changed)
    );
    assert!(
        !changes
            .withdrawn
            .iter()
            .any(|w| matches!(w, Withdrawn::Peer(PeerId(2), _)))
    );
    assert!(plan(&new, &new).is_empty());
}
