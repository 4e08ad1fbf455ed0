//! Authentication.

use super::*;

#[test]
fn step_5_authentication_of_users() {
    let s = snapshot(CONFIG);
    let none = plain();
    let base = request("MESSAGE", A, TO_BOB, &none);
    let rows: [(&str, AuthState, u16, &str); 6] = [
        ("MESSAGE", AuthState::None, 407, "domains"),
        ("SUBSCRIBE", AuthState::None, 401, "domains"),
        ("MESSAGE", AuthState::Wrong, 407, "domains"),
        ("MESSAGE", AuthState::Valid(BOB), 403, "user.own_identity"),
        ("MESSAGE", AuthState::Valid(ALICE), 0, ""),
        ("ACK", AuthState::None, 403, "domains"),
    ];
    for (method, credentials, status, rule) in rows {
        expect(
            &s,
            &Facts {
                method: method.as_bytes(),
                credentials,
                ..base
            },
            status,
            rule,
        );
    }
    let stale = decide(
        &s,
        &Facts {
            credentials: AuthState::Stale,
            ..base
        },
        &mut (),
    );
    assert!(matches!(
        stale,
        Decision::Challenge {
            stale: true,
            proxy: true,
            ..
        }
    ));
    // An unknown user looks like a wrong password.
    expect(
        &s,
        &request("MESSAGE", "sip:nobody@a.example", TO_BOB, &none),
        407,
        "domains",
    );
    // A peer that uses a local From is asked like everybody.
    expect(&s, &from_c(base), 407, "domains");
}

#[test]
fn step_5_register_and_publish_are_for_ones_own_address() {
    let s = snapshot(CONFIG);
    let none = plain();
    let register = by_user(request("REGISTER", A, "sip:a.example", &none), ALICE);
    let to = |to: &'static str| Facts {
        to: UriFacts::of(to.as_bytes()).expect("URI"),
        ..register
    };
    allowed(&s, &to(A), Party::User(ALICE), local(None));
    expect(&s, &to(TO_BOB), 403, "register.own");
    expect(&s, &to(C_USER), 403, "register.own");
    let at = |uri: &'static str| Facts {
        uri: UriFacts::of(uri.as_bytes()).expect("URI"),
        ..to(A)
    };
    allowed(&s, &at("sip:bridge.a.example"), Party::User(ALICE), local(None));
    allowed(&s, &at("sip:+1555@a.example"), Party::User(ALICE), local(None));
    expect(&s, &at("sip:b.example"), 403, "register.own");
    expect(&s, &by_user(request("PUBLISH", A, A, &none), ALICE), 0, "");
    expect(
        &s,
        &by_user(request("PUBLISH", A, TO_BOB, &none), ALICE),
        403,
        "publish.own",
    );
    expect(
        &s,
        &from_c(request("PUBLISH", C_USER, C_USER, &none)),
        403,
        "publish.own",
    );
    expect(
        &s,
        &from_c(request("REGISTER", C_USER, "sip:a.example", &none)),
        403,
        "register.own",
    );
}

#[test]
fn step_5_authentication_of_peers() {
    let s = snapshot(CONFIG);
    let (none, b) = (plain(), certificate("b.example", &[B]));
    allowed(
        &s,
        &from_c(request("SUBSCRIBE", C_USER, TO_BOB, &none)),
        Party::Peer(C),
        local(Some(BOB)),
    );
    expect(
        &s,
        &from_c(request("MESSAGE", B_USER, TO_BOB, &none)),
        403,
        "peer.domains",
    );
    expect(
        &s,
        &secured(request("MESSAGE", C_USER, TO_BOB, &b)),
        403,
        "peer.domains",
    );
    expect(
        &s,
        &request("MESSAGE", "sip:x@x.example", TO_BOB, &none),
        403,
        "peer.identity",
    );
    for from in [
        "tel:+15551234",
        "mailto:alice@a.example",
        "sip:anonymous@anonymous.invalid",
    ] {
        let rule = if from.starts_with("sip:") {
            "peer.domains"
        } else {
            "from.domain"
        };
        expect(&s, &from_c(request("MESSAGE", from, TO_BOB, &none)), 403, rule);
    }
}

#[test]
fn step_5_a_dialog_belongs_to_those_who_opened_it() {
    let s = snapshot(CONFIG);
    let (none, b) = (plain(), certificate("b.example", &[B]));
    let dialog = |sender| Some(InDialog { sender, towards: None });
    let from_b = secured(request("NOTIFY", B_USER, "sip:bridge.a.example", &b));
    allowed(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(B)),
            ..from_b
        },
        Party::Peer(B),
        Target::Bridge,
    );
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(C)),
            ..from_b
        },
        481,
        "dialog.owner",
    );
    let forged = request("NOTIFY", B_USER, "sip:bridge.a.example", &none);
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(B)),
            ..forged
        },
        481,
        "dialog.owner",
    );
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::Peer(B)),
            ..from_c(forged)
        },
        481,
        "dialog.owner",
    );
    let alice = by_user(request("BYE", A, C_USER, &none), ALICE);
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::User(BOB)),
            ..alice
        },
        481,
        "dialog.owner",
    );
    // ACK and CANCEL cannot be asked; they belong to a transaction or to nothing.
    let cancel = request("CANCEL", A, TO_BOB, &none);
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::User(ALICE)),
            ..cancel
        },
        0,
        "",
    );
    expect(
        &s,
        &Facts {
            dialog: dialog(Party::User(BOB)),
            ..cancel
        },
        403,
        "domains",
    );
    expect(&s, &cancel, 403, "domains");
}

#[test]
fn step_5_a_publish_trunk_needs_its_grant() {
    let granted = "addresses: [192.0.2.1, 198.51.100.0/24], publishes: [alice@a.example, quiet@a.example]}";
    let s = snapshot(&CONFIG.replace("addresses: [192.0.2.1, 198.51.100.0/24]}", granted));
    let none = plain();
    let publish = |from: &'static str, to: &'static str| from_c(request("PUBLISH", from, to, &none));
    allowed(&s, &publish("sip:ccm@c.example", A), Party::Peer(C), local(Some(ALICE)));
    allowed(&s, &publish(A, A), Party::Peer(C), local(Some(ALICE)));
    expect(&s, &publish("sip:ccm@c.example", TO_BOB), 403, "peer.publishes");
    // In the name of somebody else it is no trunk, and from another place no peer.
    expect(&s, &publish(TO_BOB, A), 401, "domains");
    expect(&s, &publish(B_USER, A), 403, "peer.domains");
    expect(&s, &request("PUBLISH", A, A, &none), 401, "domains");
    expect(
        &s,
        &publish("sip:ccm@c.example", "sip:quiet@a.example"),
        403,
        "user.enabled",
    );
    expect(
        &s,
        &publish("sip:ccm@c.example", "sip:nobody@a.example"),
        403,
        "publish.own",
    );
    // Nothing else is opened by it.
    expect(&s, &from_c(request("MESSAGE", A, TO_BOB, &none)), 407, "domains");
    // Without a grant nobody publishes for others.
    let s = snapshot(CONFIG);
    expect(&s, &publish("sip:ccm@c.example", A), 403, "peer.publishes");
    // The user himself, from behind the same address, is asked for his digest as anywhere.
    expect(&s, &publish(A, A), 401, "domains");
}
