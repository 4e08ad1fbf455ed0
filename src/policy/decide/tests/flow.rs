//! Source, listener, peer identity, name ACL.

use super::*;

#[test]
fn step_1_source() {
    let s = snapshot(CONFIG);
    let id = plain();
    let base = by_user(request("MESSAGE", A, TO_BOB, &id), ALICE);
    expect(&s, &base, 0, "");
    expect(
        &s,
        &Facts {
            source: ip("192.0.2.66"),
            ..base
        },
        403,
        "acl.incoming.deny",
    );
    let over = Over {
        source_requests: true,
        ..Over::default()
    };
    expect(&s, &Facts { over, ..base }, 480, "limits.per_source.requests");
    // A trunk carries many users: its own limits apply instead.
    let trunk = from_c(request("MESSAGE", C_USER, TO_BOB, &id));
    expect(&s, &Facts { over, ..trunk }, 0, "");

    let listed = snapshot(&CONFIG.replace(
        "    - deny: 192.0.2.66\n",
        "    - deny: 192.0.2.66\n    - allow: 192.0.2.64/26\n",
    ));
    expect(&listed, &base, 0, "");
    expect(
        &listed,
        &Facts {
            source: ip("192.0.2.66"),
            ..base
        },
        403,
        "acl.incoming.deny",
    );
    expect(
        &listed,
        &Facts {
            source: ip("192.0.3.1"),
            ..base
        },
        403,
        "acl.incoming.allow",
    );
    // What a peer lists as its own may come in.
    expect(&listed, &from_c(request("MESSAGE", C_USER, TO_BOB, &id)), 0, "");
}

#[test]
fn step_1_before_the_handshake() {
    let s = snapshot(CONFIG);
    let load = SourceLoad::default();
    assert_eq!(admit(&s, ListenerId(2), ip(STRANGER), load), Admission::Admit);
    let rule = |admission| match admission {
        Admission::Admit => String::new(),
        Admission::Drop { rule, .. } => rule.id.to_string(),
    };
    let full = SourceLoad {
        connections: 1000,
        ..load
    };
    let busy = SourceLoad {
        handshakes: 200,
        ..load
    };
    let everybody = SourceLoad {
        all_connections: 20_000,
        ..load
    };
    assert_eq!(
        rule(admit(&s, ListenerId(2), ip("192.0.2.66"), load)),
        "acl.incoming.deny"
    );
    assert_eq!(
        rule(admit(&s, ListenerId(2), ip("::ffff:192.0.2.66"), load)),
        "acl.incoming.deny"
    );
    assert_eq!(
        rule(admit(&s, ListenerId(2), ip(STRANGER), full)),
        "limits.per_source.connections"
    );
    assert_eq!(
        rule(admit(&s, ListenerId(2), ip(STRANGER), busy)),
        "limits.per_source.handshakes"
    );
    assert_eq!(
        rule(admit(&s, ListenerId(2), ip(STRANGER), everybody)),
        "limits.max_connections"
    );
    assert_eq!(rule(admit(&s, ListenerId(9), ip(STRANGER), load)), "listener.gone");
    let named = snapshot("domains: [a.example]\nacl: {incoming: [{allow: {name: b.example}}]}\n");
    assert_eq!(
        rule(admit(&named, ListenerId(1), ip(STRANGER), load)),
        "acl.incoming.allow"
    );
    assert_eq!(rule(admit(&named, ListenerId(2), ip(STRANGER), load)), "");
}

#[test]
fn host_names_of_the_list_count_by_their_present_addresses() {
    let s = snapshot("domains: [a.example]\nacl: {incoming: [{allow: {host: gw.b.example}}]}\n");
    let load = SourceLoad::default();
    assert!(matches!(
        admit(&s, ListenerId(0), ip(STRANGER), load),
        Admission::Drop { .. }
    ));
    assert_eq!(s.acl.hosts().map(|h| &**h).collect::<Vec<_>>(), ["gw.b.example"]);
    let s = s.with_resolved("GW.b.example.", &[ip(STRANGER)]);
    assert_eq!(admit(&s, ListenerId(0), ip(STRANGER), load), Admission::Admit);
    assert!(matches!(
        admit(&s.with_resolved("gw.b.example", &[]), ListenerId(0), ip(STRANGER), load),
        Admission::Drop { .. }
    ));
}

#[test]
fn step_2_listener() {
    let s = snapshot(CONFIG);
    let (none, b) = (plain(), certificate("b.example", &[B]));
    expect(&s, &secured(request("MESSAGE", B_USER, TO_BOB, &none)), 403, "listener");
    expect(&s, &secured(request("MESSAGE", B_USER, TO_BOB, &b)), 0, "");
    let base = by_user(request("MESSAGE", A, TO_BOB, &none), ALICE);
    expect(
        &s,
        &Facts {
            listener: Some(ListenerId(77)),
            ..base
        },
        403,
        "listener.gone",
    );
    // A user needs no certificate where none is required.
    expect(
        &s,
        &Facts {
            listener: Some(ListenerId(2)),
            transport: Transport::Tls,
            ..base
        },
        0,
        "",
    );
    // The other end of a connection that we opened is judged like any other.
    let x = certificate("x.example", &[B]);
    expect(
        &s,
        &Facts {
            listener: None,
            ..secured(request("MESSAGE", B_USER, TO_BOB, &x))
        },
        403,
        "peer.tls",
    );
    expect(
        &s,
        &Facts {
            listener: None,
            ..secured(request("MESSAGE", B_USER, TO_BOB, &b))
        },
        0,
        "",
    );
}

#[test]
fn step_3_peer_identity() {
    let s = snapshot(CONFIG);
    // The name counts only under that peer's own anchors.
    let rows: [(&str, &[PeerId], u16, &str); 4] = [
        ("b.example", &[B], 0, ""),
        ("b.example", &[R], 403, "listener"),
        ("b.example", &[], 403, "listener"),
        ("x.example", &[B], 403, "listener"),
    ];
    for (name, anchored, status, rule) in rows {
        let identity = certificate(name, anchored);
        expect(
            &s,
            &secured(request("MESSAGE", B_USER, TO_BOB, &identity)),
            status,
            rule,
        );
    }
    // Listed addresses restrict a peer under TLS.
    let r = certificate("r.example", &[R]);
    let rita = secured(request("MESSAGE", "sip:rita@r.example", TO_BOB, &r));
    expect(&s, &rita, 403, "listener");
    expect(
        &s,
        &Facts {
            source: ip("203.0.113.7"),
            ..rita
        },
        0,
        "",
    );
    // A peer with TLS is nobody on a plain transport, a plain peer nobody under TLS.
    let none = plain();
    expect(
        &s,
        &Facts {
            source: ip("203.0.113.7"),
            ..request("MESSAGE", "sip:rita@r.example", TO_BOB, &none)
        },
        403,
        "peer.transport",
    );
    expect(
        &s,
        &Facts {
            transport: Transport::Tls,
            listener: Some(ListenerId(2)),
            ..from_c(request("MESSAGE", C_USER, TO_BOB, &none))
        },
        403,
        "peer.transport",
    );
    expect(&s, &from_c(request("MESSAGE", C_USER, TO_BOB, &none)), 0, "");
    expect(&s, &request("MESSAGE", C_USER, TO_BOB, &none), 403, "peer.addresses");
}

#[test]
fn step_4_name_acl() {
    let s = snapshot(CONFIG);
    let evil = certificate("evil.b.example", &[B]);
    let facts = secured(request("MESSAGE", B_USER, TO_BOB, &evil));
    // Not b's name, and on a listener that does not insist, the denied name itself refuses.
    expect(
        &s,
        &Facts {
            listener: Some(ListenerId(2)),
            ..facts
        },
        403,
        "acl.incoming.deny",
    );
    let by_name = snapshot(&CONFIG.replace("    - deny: 192.0.2.66\n", "    - allow: {name: b.example}\n"));
    let (good, none) = (certificate("b.example", &[B]), plain());
    expect(&by_name, &secured(request("MESSAGE", B_USER, TO_BOB, &good)), 0, "");
    expect(
        &by_name,
        &by_user(request("MESSAGE", A, TO_BOB, &none), ALICE),
        403,
        "acl.incoming.allow",
    );
}
