//! The steps that are not configured, route, dialect, limits.

use super::*;

#[test]
fn steps_9_and_10_are_not_configured() {
    let s = snapshot(CONFIG);
    let none = plain();
    let mut trace = Record::default();
    let _allow = decide(&s, &by_user(request("SUBSCRIBE", A, TO_BOB, &none), ALICE), &mut trace);
    for step in [Step::SearchSpace, Step::PresenceGroup] {
        let verdict = trace.0.iter().find(|r| r.step == step).map(|r| r.verdict);
        assert_eq!(verdict, Some(Verdict::NotConfigured));
    }
    assert_eq!(Verdict::NotConfigured.name(), "not configured, allow");
}

#[test]
fn step_11_route() {
    let s = snapshot(CONFIG);
    let (none, b) = (plain(), certificate("b.example", &[B]));
    let by_alice = |uri| by_user(request("MESSAGE", A, uri, &none), ALICE);
    let way = |facts: &Facts<'_>| match decide(&s, facts, &mut ()) {
        Decision::Allow(allow) => match allow.target {
            Target::Route { peer, .. } => Some(peer),
            other => panic!("{other:?}"),
        },
        _ => None,
    };
    let rows = [
        ("sip:x@b.example", Some(B)),
        ("sip:x@c.example", Some(C)),
        ("sip:x@d.example", Some(C)),
        ("sip:x@deep.t.example", Some(B)),
        ("sip:x@t.example", None),
        ("sip:x@xt.example", None),
        ("sip:x@198.51.100.9:5060", None),
        ("tel:+1-555-1234", Some(C)),
        ("tel:+1444", None),
        ("sip:+15559@a.example", Some(C)),
        ("sip:+1444@a.example", None),
    ];
    for (uri, peer) in rows {
        assert_eq!(way(&by_alice(uri)), peer, "{uri}");
    }
    expect(&s, &by_alice("sip:x@t.example"), 403, "route.none");
    expect(&s, &by_alice("tel:+1444"), 404, "route.none");
    // A peer reaches foreign targets only by its transit list.
    let by_b = |uri| secured(request("MESSAGE", B_USER, uri, &b));
    for (uri, status, rule) in [
        ("sip:x@d.example", 0, ""),
        ("sip:x@T.t.example.", 0, ""),
        ("sip:x@c.example", 403, "peer.transit"),
        ("tel:+4930", 0, ""),
        ("tel:+1555", 403, "peer.transit"),
        ("sip:x@nowhere.example", 403, "peer.transit"),
    ] {
        expect(&s, &by_b(uri), status, rule);
    }
    // sips: leaves over TLS only.
    let tls = |uri| Facts {
        transport: Transport::Tls,
        listener: Some(ListenerId(2)),
        ..by_alice(uri)
    };
    expect(&s, &tls("sips:x@b.example"), 0, "");
    expect(&s, &tls("sips:x@c.example"), 403, "peer.domains");
}

#[test]
fn step_11_along_a_dialog() {
    let s = snapshot(CONFIG);
    let none = plain();
    let bye = by_user(request("BYE", A, "sip:phone@198.51.100.77:5062", &none), ALICE);
    let dialog = |towards| {
        Some(InDialog {
            sender: Party::User(ALICE),
            towards: Some(towards),
        })
    };
    allowed(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(B)),
            ..bye
        },
        Party::User(ALICE),
        Target::Dialog(Party::Peer(B)),
    );
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(PeerId(9))),
            ..bye
        },
        481,
        "dialog.gone",
    );
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::User(UserId(9))),
            ..bye
        },
        481,
        "dialog.gone",
    );
    expect(&s, &bye, 403, "route.none");
}

#[test]
fn step_12_dialect() {
    let s = snapshot(CONFIG);
    let none = plain();
    let Decision::Allow(allow) = decide(&s, &by_user(request("MESSAGE", A, B_USER, &none), ALICE), &mut ()) else {
        panic!("refused")
    };
    assert_eq!(allow.dialect, DialectId(0));
    assert_eq!(s.dialects.first().map(|d| &*d.name), Some("rfc"));
}

#[test]
fn step_13_limits() {
    let s = snapshot(CONFIG);
    let none = plain();
    let over = |change: fn(&mut Over)| {
        let mut over = Over::default();
        change(&mut over);
        over
    };
    let alice = by_user(request("SUBSCRIBE", A, TO_BOB, &none), ALICE);
    let c = from_c(request("MESSAGE", C_USER, TO_BOB, &none));
    expect(
        &s,
        &Facts {
            over: over(|o| o.overloaded = true),
            ..alice
        },
        503,
        "limits.max_transactions",
    );
    expect(
        &s,
        &Facts {
            over: over(|o| o.subscriptions = true),
            ..alice
        },
        403,
        "presence.max_subscriptions",
    );
    expect(
        &s,
        &Facts {
            over: over(|o| o.subscriptions = true),
            ..c
        },
        0,
        "",
    );
    expect(
        &s,
        &Facts {
            over: over(|o| o.peer_requests = true),
            ..c
        },
        480,
        "peer.limits",
    );
    expect(
        &s,
        &Facts {
            over: over(|o| o.peer_requests = true),
            ..alice
        },
        0,
        "",
    );
}

#[test]
fn step_13_what_a_peer_holds() {
    let limited = "addresses: [192.0.2.1, 198.51.100.0/24], limits: {subscriptions: 2}}";
    let s = snapshot(&CONFIG.replace("addresses: [192.0.2.1, 198.51.100.0/24]}", limited));
    let none = plain();
    let subscribe = from_c(request("SUBSCRIBE", C_USER, TO_BOB, &none));
    for (held, status, rule) in [
        (&[9, 0][..], 0, ""),
        (&[0, 1], 0, ""),
        (&[0, 2], 403, "peer.limits"),
        (&[], 0, ""),
    ] {
        expect(&s, &Facts { held, ..subscribe }, status, rule);
    }
    let held = &[0, 2][..];
    let message = from_c(request("MESSAGE", C_USER, TO_BOB, &none));
    expect(&s, &Facts { held, ..message }, 0, "");
    // A refresh holds nothing more.
    let dialog = Some(InDialog {
        sender: Party::Peer(C),
        towards: None,
    });
    expect(
        &s,
        &Facts {
            held,
            dialog,
            ..subscribe
        },
        0,
        "",
    );
    let mut trace = Record::default();
    let _refused = decide(&s, &Facts { held, ..subscribe }, &mut trace);
    let last = trace.0.last().expect("a step");
    assert_eq!(last.because, "peer c holds 2 subscriptions of 2");
    assert_eq!(last.rule.as_ref().map(|r| r.line > 0), Some(true));
}

#[test]
fn refusals_name_file_and_line() {
    let s = snapshot(CONFIG);
    let none = plain();
    let decision = decide(&s, &from_c(request("MESSAGE", B_USER, TO_BOB, &none)), &mut ());
    let line = CONFIG.lines().position(|l| l.contains("name: c")).expect("c") + 1;
    assert_eq!(
        decision.rule().map(ToString::to_string),
        Some(format!("peer.domains (bridge.yaml:{line})"))
    );
}
