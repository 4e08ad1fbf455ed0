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

#[test]
fn less_trust_through_a_terminator_is_withdrawn_trust() {
    let with = |terminator: &str, terminated: &str| {
        snapshot(&format!(
            "domains: [a.example]\nlisteners:\n  - {{name: old-tls, transport: tcp, bind: [\"127.0.0.1:5063\"], trusted_terminator: \
             {terminator}}}\npeers:\n  - {{name: b, domains: [b.example], transport: tcp, accept: [tcp, tls], next_hop: \
             \"127.0.0.1:1\", addresses: [192.0.2.1], tls: {{ca: [ca.pem], {terminated}}}}}\n"
        ))
    };
    let usual = "{addresses: [127.0.0.1], counts_as_tls: true}";
    let old = with(usual, "terminated: {by: [old-tls, 127.0.0.1], allow_cn: true}");
    let withdraws = |new: &Snapshot| {
        let changes = plan(&old, new);
        let peer = changes.withdrawn.iter().any(|w| matches!(w, Withdrawn::Peer(..)));
        (changes.items.len(), peer)
    };
    assert_eq!(
        withdraws(&with(usual, "terminated: {by: [old-tls, 127.0.0.1], allow_cn: true}")),
        (0, false)
    );
    assert_eq!(
        withdraws(&with(
            usual,
            "terminated: {by: [old-tls, 127.0.0.1, \"127.0.0.0/30\"], allow_cn: true}"
        )),
        (1, false)
    );
    assert_eq!(
        withdraws(&with(usual, "terminated: {by: [old-tls], allow_cn: true}")),
        (1, true)
    );
    assert_eq!(
        withdraws(&with(usual, "terminated: {by: [old-tls, 127.0.0.1]}")),
        (1, true)
    );
    assert_eq!(withdraws(&with(usual, "")), (1, true));
    let fewer = with(
        "{addresses: [127.0.0.1]}",
        "terminated: {by: [old-tls, 127.0.0.1], allow_cn: true}",
    );
    assert_eq!(
        withdraws(&fewer),
        (1, false),
        "its connections are judged again one by one"
    );
}
