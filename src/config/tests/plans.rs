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

/// A mapping file that says something else is named with its parts; lines that move are not.
#[test]
fn a_plan_names_the_dialects_that_say_something_else() {
    let with = |maps: &[(&str, &str)], dialect: &str| {
        let main = format!(
            "domains: [a.example]\nmappings: {{ dir: maps }}\npeers:\n  - {{ name: b, domains: [b.example], transport: udp, addresses: \
             [192.0.2.1], dialect: {dialect} }}\n"
        );
        let mut files = vec![("bridge.yaml", main.as_str())];
        files.extend_from_slice(maps);
        let loaded = load_from(Path::new("bridge.yaml"), &Memory::with(&files));
        loaded.map(|l| l.snapshot).unwrap_or_else(|p| panic!("{p}"))
    };
    const OURS: &str = "extends: lcs2005\n";
    let old = with(&[("maps/ours.yaml", OURS)], "ours");
    let moved = with(
        &[
            ("maps/ours.yaml", "# A comment\nextends: lcs2005\n"),
            ("maps/an.yaml", "extends: cups\n"),
        ],
        "ours",
    );
    let moves = plan(&old, &moved);
    assert_eq!(moves.to_string(), "+ dialect an\n");
    assert!(!moves.rendered);
    let other = with(
        &[(
            "maps/ours.yaml",
            "extends: lcs2005\nim: { idle_s: 60 }\npresence: { tables: { msrtc: { keeps: [note] } } }\n",
        )],
        "ours",
    );
    let changes = plan(&old, &other);
    assert_eq!(changes.to_string(), "~ dialect ours: im, presence.tables.msrtc\n");
    assert!(changes.rendered);
    let wire = plan(
        &old,
        &with(
            &[("maps/ours.yaml", "extends: lcs2005\nsip: { benotify: false }\n")],
            "ours",
        ),
    );
    assert_eq!(
        (wire.to_string().as_str(), wire.rendered),
        ("~ dialect ours: sip\n", false)
    );
    let peer = plan(&old, &with(&[("maps/ours.yaml", OURS)], "rfc"));
    assert_eq!((peer.to_string().as_str(), peer.rendered), ("~ peer b\n", true));
    assert!(!peer.withdrawn.iter().any(|w| matches!(w, Withdrawn::Peer(..))));
}
