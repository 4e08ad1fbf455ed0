//! Spellings and disguises that must not open what is closed.

use super::*;

#[test]
fn mapped_ipv6_is_the_ipv4_address() {
    let s = snapshot(CONFIG);
    let none = plain();
    let alice = by_user(request("MESSAGE", "sip:alice@a.example", TO_BOB, &none), ALICE);
    for spelling in ["192.0.2.66", "::ffff:192.0.2.66", "::ffff:c000:242"] {
        expect(
            &s,
            &Facts {
                source: ip(spelling),
                ..alice
            },
            403,
            "acl.incoming.deny",
        );
    }
    let carl = request("MESSAGE", "sip:carl@c.example", TO_BOB, &none);
    for (spelling, status) in [
        (PEER_C, 0),
        ("::ffff:192.0.2.1", 0),
        ("::192.0.2.1", 403),
        ("::ffff:198.51.100.3", 0),
    ] {
        assert_eq!(
            outcome(
                &s,
                &Facts {
                    source: ip(spelling),
                    ..carl
                }
            )
            .0,
            status,
            "{spelling}"
        );
    }
    let mapped = snapshot(&CONFIG.replace("deny: 192.0.2.66", "deny: \"::ffff:192.0.2.64/122\""));
    expect(
        &mapped,
        &Facts {
            source: ip("192.0.2.66"),
            ..alice
        },
        403,
        "acl.incoming.deny",
    );
}

#[test]
fn spellings_of_a_local_from_are_all_local() {
    let s = snapshot(CONFIG);
    let none = plain();
    for from in [
        "sip:alice@A.Example",
        "sip:alice@a.example.",
        "SIP:alice@a.example",
        "sips:alice@a.example",
        "pres:alice@a.example",
        "im:alice@a.example",
        "sip:%61lice@a.example:5060",
        "sip:alice:password@a.example",
    ] {
        // Even the peer, whose address is trusted, is asked.
        expect(&s, &from_c(request("MESSAGE", from, TO_BOB, &none)), 407, "domains");
        expect(&s, &by_user(request("MESSAGE", from, TO_BOB, &none), ALICE), 0, "");
    }
}

#[test]
fn near_names_are_other_names() {
    let s = snapshot(CONFIG);
    let none = plain();
    for from in [
        "sip:carl@c.example.evil.example",
        "sip:carl@evil-c.example",
        "sip:carl@sub.c.example",
        "sip:carl@c.example..",
        "sip:carl@xn--c-0ga.example",
        "sip:c.example@evil.example",
        "sip:carl%40c.example@evil.example",
        "sip:carl@c%2eexample",
    ] {
        expect(
            &s,
            &from_c(request("MESSAGE", from, TO_BOB, &none)),
            403,
            "peer.domains",
        );
    }
    for user in ["Alice", "alice%00", "alice%20", "alice;x=y", "al%69ce%"] {
        let from = format!("sip:{user}@a.example");
        expect(
            &s,
            &by_user(request("MESSAGE", &from, TO_BOB, &none), ALICE),
            403,
            "user.own_identity",
        );
    }
}

#[test]
fn every_scheme_of_a_closed_target_is_closed() {
    let s = snapshot(CONFIG);
    let b = certificate("b.example", &[B]);
    for scheme in ["sip", "sips", "pres", "im", "SIP", "Pres"] {
        let closed = format!("{scheme}:x@c.example");
        expect(
            &s,
            &secured(request("MESSAGE", "sip:bert@b.example", &closed, &b)),
            403,
            "peer.transit",
        );
    }
    for number in [
        "tel:+1555",
        "tel:+1-5-5-5",
        "tel:+1(555)",
        "tel:%2B1555",
        "tel:+1555;phone-context=x",
    ] {
        expect(
            &s,
            &secured(request("MESSAGE", "sip:bert@b.example", number, &b)),
            403,
            "peer.transit",
        );
    }
}

#[test]
fn a_request_uri_never_chooses_the_next_hop() {
    let s = snapshot(CONFIG);
    let none = plain();
    for uri in [
        "sip:x@198.51.100.99",
        "sip:x@198.51.100.99:5060;transport=tcp",
        "sip:x@[2001:db8::99]:5060",
        "sip:198.51.100.99",
        "sip:x@localhost",
        "sip:x@127.0.0.1:9090",
    ] {
        expect(
            &s,
            &by_user(request("MESSAGE", "sip:alice@a.example", uri, &none), ALICE),
            403,
            "route.none",
        );
        assert_ne!(
            outcome(&s, &request("MESSAGE", "sip:x@evil.example", uri, &none)).0,
            0,
            "{uri}"
        );
    }
}

#[test]
fn a_stranger_is_refused_whatever_he_says() {
    let s = snapshot(CONFIG);
    let none = plain();
    for method in [
        "MESSAGE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "REGISTER",
        "INVITE",
        "ACK",
        "CANCEL",
        "BYE",
        "OPTIONS",
        "INFO",
        "BENOTIFY",
    ] {
        for from in [
            "sip:alice@a.example",
            "sip:carl@c.example",
            "sip:bert@b.example",
            "sip:x@x.example",
            "sip:a.example",
        ] {
            for uri in [TO_BOB, "sip:a.example", "sip:x@b.example", "sip:bridge.a.example"] {
                for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
                    let listener = Some(ListenerId(if transport == Transport::Tls { 2 } else { 0 }));
                    let facts = Facts {
                        transport,
                        listener,
                        ..request(method, from, uri, &none)
                    };
                    assert_ne!(outcome(&s, &facts).0, 0, "{method} {from} {uri}");
                }
            }
        }
    }
}

#[test]
fn one_certificate_does_not_speak_for_two_peers() {
    let s = snapshot(CONFIG);
    // Anchored at both, named for b: still only b.
    let both = certificate("b.example", &[B, C]);
    expect(
        &s,
        &secured(request("MESSAGE", "sip:carl@c.example", TO_BOB, &both)),
        403,
        "peer.domains",
    );
    expect(
        &s,
        &secured(request("MESSAGE", "sip:bert@b.example", TO_BOB, &both)),
        0,
        "",
    );
}

#[test]
fn a_certificate_speaks_only_for_the_domains_it_names() {
    let s = snapshot(&CONFIG.replace("domains: [b.example]", "domains: [b.example, b2.example]"));
    let id = certificate("b.example", &[B]);
    expect(
        &s,
        &secured(request("MESSAGE", "sip:bert@b.example", TO_BOB, &id)),
        0,
        "",
    );
    expect(
        &s,
        &secured(request("MESSAGE", "sip:bert@b2.example", TO_BOB, &id)),
        403,
        "peer.tls",
    );
    let all = snapshot(
        &CONFIG
            .replace("domains: [b.example]", "domains: [b.example, b2.example]")
            .replace("tls: {ca: [ca.pem]}}", "tls: {ca: [ca.pem], names: [sip.b.example]}}"),
    );
    let host = certificate("sip.b.example", &[B]);
    expect(
        &all,
        &secured(request("MESSAGE", "sip:bert@b2.example", TO_BOB, &host)),
        0,
        "",
    );
    let wildcard = certificate("*.example", &[B]);
    expect(
        &all,
        &secured(request("MESSAGE", "sip:bert@b.example", TO_BOB, &wildcard)),
        403,
        "listener",
    );
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn host() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "a.example",
            "A.example.",
            "b.example",
            "c.example",
            "x.t.example",
            "bridge.a.example",
            "127.0.0.1",
        ];
        prop_oneof![
            prop::sample::select(known.to_vec()).prop_map(|h| h.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    fn user() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::of(prop_oneof![
            prop::sample::select(vec!["alice", "%61lice", "bob", "quiet", "gone", "+1555", "%"])
                .prop_map(|u| u.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..8),
        ])
    }

    fn scheme() -> impl Strategy<Value = Scheme> {
        prop::sample::select(vec![
            Scheme::Sip,
            Scheme::Sips,
            Scheme::Tel,
            Scheme::Pres,
            Scheme::Im,
            Scheme::Other,
        ])
    }

    type Parts = (Scheme, Option<Vec<u8>>, Vec<u8>, Option<u16>, bool);

    fn parts() -> impl Strategy<Value = Parts> {
        (
            scheme(),
            user(),
            host(),
            any::<Option<u16>>(),
            prop::bool::weighted(0.1),
        )
    }

    fn uri(parts: &Parts) -> UriFacts<'_> {
        let (scheme, user, host, port, maddr) = parts;
        UriFacts {
            number_params: b"",
            scheme: *scheme,
            user: user.as_deref(),
            host,
            port: *port,
            maddr: *maddr,
        }
    }

    proptest! {
        /// Whatever the bytes: no panic, trace and decision agree, and only the proved get in, each as who he is.
        #[test]
        fn only_the_proved_get_in(
            method in prop::sample::select(vec!["MESSAGE", "REGISTER", "PUBLISH", "SUBSCRIBE", "NOTIFY", "ACK", "CANCEL", "X"]),
            (from, to, target) in (parts(), parts(), parts()),
            sender in 0_u8..4,
            transport in prop::sample::select(vec![Transport::Udp, Transport::Tcp, Transport::Tls]),
            listener in prop::option::of(0_u16..5),
            max_forwards in prop::option::of(0_u32..3),
        ) {
            let s = snapshot(CONFIG);
            let id = if sender == 1 { certificate("b.example", &[B]) } else { plain() };
            let facts = Facts {
                listener: listener.map(ListenerId),
                transport,
                source: ip(if sender == 2 { PEER_C } else { STRANGER }),
                credentials: if sender == 3 { AuthState::Valid(ALICE) } else { AuthState::None },
                uri: uri(&target),
                from: uri(&from),
                to: uri(&to),
                max_forwards,
                ..request(method, "sip:x@x.example", "sip:x@x.example", &id)
            };
            let (status, _) = outcome(&s, &facts);
            if let Decision::Allow(allow) = decide(&s, &facts, &mut ()) {
                prop_assert_eq!(status, 0);
                let expected = match sender {
                    1 => Party::Peer(B),
                    2 => Party::Peer(C),
                    3 => Party::User(ALICE),
                    _ => return Err(TestCaseError::fail("a stranger got in")),
                };
                prop_assert_eq!(allow.who, expected);
                prop_assert!(sender != 1 || transport == Transport::Tls);
                prop_assert!(sender != 2 || transport != Transport::Tls);
                prop_assert!(!target.4 && target.0 != Scheme::Other);
            } else {
                prop_assert!((400..700).contains(&status));
            }
        }
    }
}
