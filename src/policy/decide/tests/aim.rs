//! Canonical address, enablement, loop and hops.

use super::*;

#[test]
fn step_6_canonical_address() {
    let s = snapshot(CONFIG);
    let none = plain();
    let message = |uri| by_user(request("MESSAGE", A, uri, &none), ALICE);
    for uri in [
        TO_BOB,
        "pres:bob@a.example",
        "im:bob@A.EXAMPLE.",
        "sip:%62ob@a.example:9999;transport=tcp",
    ] {
        allowed(&s, &message(uri), Party::User(ALICE), local(Some(BOB)));
    }
    expect(&s, &message("http:bob@a.example"), 416, "uri.scheme");
    expect(&s, &message("sips:bob@a.example"), 403, "uri.sips");
    let tls = |uri| Facts {
        transport: Transport::Tls,
        listener: Some(ListenerId(2)),
        ..message(uri)
    };
    expect(&s, &tls("sips:bob@a.example"), 0, "");
    expect(&s, &message("sip:bob@a.example;maddr=192.0.2.5"), 403, "uri.maddr");
    expect(&s, &message("sip:bob@a.example;MADDR=192.0.2.5"), 403, "uri.maddr");
    for uri in ["sip:a.example", "sip:bridge.a.example", "sip:x@bridge.a.example:5070"] {
        allowed(&s, &message(uri), Party::User(ALICE), Target::Bridge);
    }
    let here = Some("[::ffff:192.0.2.7]:5060".parse().expect("address"));
    allowed(
        &s,
        &Facts {
            local: here,
            ..message("sip:192.0.2.7")
        },
        Party::User(ALICE),
        Target::Bridge,
    );
    expect(
        &s,
        &Facts {
            local: here,
            ..message("sip:192.0.2.7:5070")
        },
        403,
        "route.none",
    );
}

#[test]
fn step_7_enablement() {
    let s = snapshot(CONFIG);
    let none = plain();
    expect(
        &s,
        &from_c(request("SUBSCRIBE", C_USER, "sip:nobody@a.example", &none)),
        404,
        "user.unknown",
    );
    expect(
        &s,
        &from_c(request("SUBSCRIBE", C_USER, "sip:alice@a2.example", &none)),
        404,
        "user.unknown",
    );
    expect(
        &s,
        &from_c(request("SUBSCRIBE", C_USER, "sip:quiet@a.example", &none)),
        403,
        "user.enabled",
    );
    expect(
        &s,
        &from_c(request("MESSAGE", C_USER, "sip:quiet@a.example", &none)),
        0,
        "",
    );
    expect(
        &s,
        &by_user(
            request("PUBLISH", "sip:quiet@a.example", "sip:quiet@a.example", &none),
            QUIET,
        ),
        403,
        "user.enabled",
    );
    expect(
        &s,
        &by_user(request("MESSAGE", "sip:gone@a.example", TO_BOB, &none), GONE),
        403,
        "user.enabled",
    );
}

#[test]
fn step_8_loop_and_hops() {
    let s = snapshot(CONFIG);
    let none = plain();
    let message = |uri| by_user(request("MESSAGE", A, uri, &none), ALICE);
    expect(
        &s,
        &Facts {
            looped: true,
            ..message(TO_BOB)
        },
        482,
        "hops.loop",
    );
    let rows = [(TO_BOB, 483), (C_USER, 483), ("tel:+15551", 483), ("sip:a.example", 0)];
    for (uri, status) in rows {
        let (rule, facts) = (if status == 0 { "" } else { "hops.max_forwards" }, message(uri));
        expect(
            &s,
            &Facts {
                max_forwards: Some(0),
                ..facts
            },
            status,
            rule,
        );
        expect(
            &s,
            &Facts {
                max_forwards: Some(1),
                ..facts
            },
            0,
            "",
        );
    }
    let watch = by_user(request("SUBSCRIBE", A, TO_BOB, &none), ALICE);
    expect(
        &s,
        &Facts {
            max_forwards: Some(0),
            ..watch
        },
        0,
        "",
    );
}

#[test]
fn step_8_what_a_peer_brings_back_is_a_ring_and_opens_nothing() {
    let s = snapshot(CONFIG);
    let none = plain();
    let back = |method: &'static str, from: &'static str, to: &'static str| Facts {
        ring: true,
        ..from_c(request(method, from, to, &none))
    };
    for (from, to) in [(A, B_USER), (A, TO_BOB), (B_USER, C_USER), (C_USER, A)] {
        expect(&s, &back("MESSAGE", from, to), 482, "hops.ring");
        expect(&s, &back("SUBSCRIBE", from, to), 482, "hops.ring");
    }
    // Somebody who is no peer is asked as ever.
    let stranger = Facts {
        ring: true,
        ..request("MESSAGE", C_USER, A, &none)
    };
    expect(&s, &stranger, 403, "peer.addresses");
}
