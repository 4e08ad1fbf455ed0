//! Authentication: nobody becomes somebody else.

use std::collections::BTreeSet;
use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::digest::Challenge;
use interop_tests::link::Link;
use interop_tests::net::Family;
use interop_tests::stand::{DOMAIN, Stand, outcome};
use interop_tests::wire::{Message, Request};

const PATIENCE: Duration = Duration::from_secs(4);

fn register(contact: &str) -> Request {
    Request::new("REGISTER", "sip:a.example")
        .with("Contact", contact)
        .with("Expires", "60")
}

/// Somebody without a password, who sees challenges as they are.
fn anonymous(stand: &Stand, user: &str) -> Outcome<Agent> {
    Agent::new(user, DOMAIN, "", Link::udp(stand.bridge.ports.client())?)
}

/// A request with credentials that were computed by hand.
fn with_credentials(request: &Request, credentials: &str) -> Request {
    Request {
        cseq: request.cseq + 1,
        ..request.clone()
    }
    .with("Authorization", credentials)
}

fn challenge(agent: &mut Agent, request: &Request) -> Outcome<(Message, Challenge)> {
    let answer = agent.ask(request)?;
    let challenge = agent
        .choose(&answer, "WWW-Authenticate")
        .ok_or_else(|| format!("no challenge: {}", answer.start))?;
    Ok((answer, challenge))
}

#[test]
fn digest_is_offered_and_basic_is_not() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    for transport in ["UDP", "TCP"] {
        let mut alice = Agent::new("alice", DOMAIN, "", stand.link(transport)?)?;
        let request = register(&alice.contact());
        let (answer, _) = challenge(&mut alice, &request)?;
        assert_eq!(answer.status(), 401, "A1");
        for value in answer.all("WWW-Authenticate") {
            assert!(value.to_ascii_lowercase().starts_with("digest "), "A1: {value}");
        }
        // alice:secret-alice
        let basic = with_credentials(&request, "Basic YWxpY2U6c2VjcmV0LWFsaWNl");
        assert!(alice.ask(&basic)?.status() >= 400, "A1: Basic is not accepted");
    }
    for algorithm in ["MD5", "SHA-256"] {
        let mut bob = Agent::udp("bob", DOMAIN, stand.bridge.ports.client())?;
        bob.algorithm = algorithm;
        assert_eq!(bob.register(60)?.status(), 200, "{algorithm}");
    }
    Ok(())
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut looks = BTreeSet::new();
    for user in ["alice", "nobody-of-that-name"] {
        let mut agent = anonymous(&stand, user)?;
        agent.password = "wrong".into();
        let answer = agent.register(60)?;
        let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
        looks.insert(format!("{} {names:?}", answer.start));
    }
    assert_eq!(looks.len(), 1, "A2: {looks:?}");
    Ok(())
}

/// How long an answer to these credentials takes, the middle of many; both kinds take turns.
fn times(stand: &Stand, request: &Request, credentials: &[String; 2]) -> Outcome<[Duration; 2]> {
    const ROUNDS: usize = 400;
    let mut link = stand.link("UDP")?;
    let mut all = [Vec::new(), Vec::new()];
    let at = link.local()?;
    for round in 0..ROUNDS {
        for (kind, credentials) in credentials.iter().enumerate() {
            let mut request = with_credentials(request, credentials);
            request.from = Some(format!("<sip:alice@a.example>;tag={round}"));
            request.to = Some("<sip:alice@a.example>".into());
            request.call_id = Some(interop_tests::wire::unique());
            let via = format!("SIP/2.0/UDP {at};branch=z9hG4bK{};rport", interop_tests::wire::unique());
            let bytes = request.write(&via);
            let started = std::time::Instant::now();
            link.send(&bytes)?;
            let (status, _) = outcome(&mut link, PATIENCE);
            let took = started.elapsed();
            assert_eq!(status, 401, "{credentials}");
            if let Some(list) = all.get_mut(kind) {
                list.push(took);
            }
        }
    }
    Ok(all.map(|mut list| {
        list.sort_unstable();
        list.get(list.len() / 2).copied().unwrap_or_default()
    }))
}

#[test]
fn a_wrong_password_and_an_unknown_user_take_the_same_time() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut alice = anonymous(&stand, "alice")?;
    let request = register(&alice.contact());
    let (_, fresh) = challenge(&mut alice, &request)?;
    let answer = |user: &str| fresh.answer(user, "wrong", "REGISTER", &request.uri, 1);
    let credentials = [answer("alice"), answer("zyxwv")];
    // Others use this machine, too: of a few tries the evenest counts. A real difference shows in all of them.
    let mut seen = Vec::new();
    for _ in 0..6 {
        let [known, unknown] = times(&stand, &request, &credentials)?;
        let apart = known.abs_diff(unknown).as_secs_f64() / known.min(unknown).as_secs_f64();
        seen.push((known, unknown));
        if apart <= 0.2 {
            return Ok(());
        }
    }
    Err(format!("A2: wrong password and unknown user are more than 20 % apart: {seen:?}").into())
}

#[test]
fn a_domain_of_a_peer_is_not_to_be_had_without_its_certificate() -> Outcome {
    let peer = "peers:\n  - { name: b, domains: [b.example], transport: tls, next_hop: \"192.0.2.1:5061\", tls: { ca: \
                [a.example.pem] }, probe: \"off\" }\n";
    let stand = Stand::start_with(Family::V4, peer)?;
    let mut alice = stand.user("alice")?;
    for transport in ["UDP", "TCP", "TLS"] {
        let mut bob = Agent::new("bob", "b.example", "secret-bob", stand.link(transport)?)?;
        for from in [
            "<sip:bob@b.example>",
            "<sip:bob@B.EXAMPLE.>",
            "<pres:bob@b.example>",
            "<sips:bob@b.example>",
        ] {
            for method in ["MESSAGE", "SUBSCRIBE", "NOTIFY", "INVITE"] {
                let request = Request::new(method, "sip:alice@a.example")
                    .from(format!("{from};tag=1"))
                    .with("Event", "presence")
                    .with("Contact", "<sip:bob@b.example>")
                    .body("text/plain", "x");
                let answer = bob.ask(&request)?;
                assert!(
                    answer.status() >= 400,
                    "A11 {transport} {method} {from}: {}",
                    answer.start
                );
            }
        }
    }
    alice.expect_none("anything", Duration::from_millis(300), |m| m.status() == 0)
}

#[test]
fn credentials_serve_once_and_for_one_thing() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut alice = anonymous(&stand, "alice")?;
    let request = register(&alice.contact());
    let (_, fresh) = challenge(&mut alice, &request)?;
    let credentials = fresh.answer("alice", "secret-alice", "REGISTER", &request.uri, 1);
    assert_eq!(
        alice.ask(&with_credentials(&request, &credentials))?.status(),
        200,
        "the first time"
    );
    assert_eq!(
        alice.ask(&with_credentials(&request, &credentials))?.status(),
        401,
        "A3: nonce and count again"
    );
    let next = fresh.answer("alice", "secret-alice", "REGISTER", &request.uri, 2);
    let answer = alice.ask(&with_credentials(&request, &next))?;
    assert_eq!(answer.status(), 200, "the next count");
    let outdated = fresh.answer("alice", "secret-alice", "REGISTER", &request.uri, 2);
    assert_eq!(
        alice.ask(&with_credentials(&request, &outdated))?.status(),
        401,
        "a count that was used before"
    );
    let invented = Challenge {
        nonce: "0123456789abcdef".into(),
        ..fresh.clone()
    };
    let credentials = invented.answer("alice", "secret-alice", "REGISTER", &request.uri, 1);
    assert_eq!(
        alice.ask(&with_credentials(&request, &credentials))?.status(),
        401,
        "A4: an invented nonce"
    );
    let (_, fresh) = challenge(&mut alice, &request)?;
    let elsewhere = fresh.answer("alice", "secret-alice", "REGISTER", "sip:elsewhere.example", 1);
    assert!(
        alice.ask(&with_credentials(&request, &elsewhere))?.status() >= 400,
        "A5: uri of another request"
    );
    let other_method = fresh.answer("alice", "secret-alice", "INVITE", &request.uri, 2);
    assert!(
        alice.ask(&with_credentials(&request, &other_method))?.status() >= 400,
        "A5: of another method"
    );
    Ok(())
}

#[test]
fn own_credentials_open_nothing_of_others() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    let mut alice = stand.user("alice")?;
    let contact = alice.contact();
    let message = Request::new("MESSAGE", "sip:bob@a.example").body("text/plain", "x");
    let as_bob = "<sip:bob@a.example>;tag=1";
    for (name, request) in [
        (
            "A6 REGISTER of another",
            register(&contact).to("<sip:bob@a.example>").from(as_bob),
        ),
        ("A6 REGISTER, To only", register(&contact).to("<sip:bob@a.example>")),
        ("A7 MESSAGE From another", message.clone().from(as_bob)),
        (
            "A7 From another domain",
            message.clone().from("<sip:bob@b.example>;tag=1"),
        ),
        ("A7 From in other letters", message.from("<sip:bob@A.EXAMPLE.>;tag=1")),
    ] {
        let answer = alice.ask(&request)?;
        assert!(answer.status() >= 400, "{name}: {}", answer.start);
    }
    bob.expect_none("MESSAGE", Duration::from_millis(300), |m| m.is("MESSAGE"))
}

#[test]
fn strange_user_names_never_get_in() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let long = "u".repeat(5000);
    let names = [
        "*",
        "alice)(uid=*",
        "*)(uid=*))(|(uid=*",
        "admin)(&)",
        "alice\\\\2a",
        "alice%00",
        "cn=alice,dc=a,dc=example",
        "alice' OR '1'='1",
        "../../etc/passwd",
        "alice@b.example",
        "ALICE",
        "",
        &long,
    ];
    for name in names {
        for password in ["", "secret-alice", "*"] {
            let mut agent = anonymous(&stand, "alice")?;
            let request = register(&agent.contact());
            let (_, fresh) = challenge(&mut agent, &request)?;
            let credentials = fresh.answer(name, password, "REGISTER", &request.uri, 1);
            // Too long for a datagram or not: whatever it is, it is no 2xx.
            if let Ok(answer) = agent.transact_within(&with_credentials(&request, &credentials), PATIENCE) {
                assert!(
                    answer.status() >= 400,
                    "A8 {name:.40} with {password:?}: {}",
                    answer.start
                );
            }
        }
    }
    for user in ["alice", "bob"] {
        let mut agent = anonymous(&stand, user)?;
        let request = register(&agent.contact());
        let (_, fresh) = challenge(&mut agent, &request)?;
        let credentials = fresh.answer(user, "", "REGISTER", &request.uri, 1);
        assert!(
            agent.ask(&with_credentials(&request, &credentials))?.status() >= 400,
            "A9: an empty password"
        );
    }
    stand.alive()
}

#[test]
fn headers_that_claim_give_no_rights() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    let mut mallory = anonymous(&stand, "alice")?;
    for (name, value) in [
        ("P-Asserted-Identity", "<sip:alice@a.example>"),
        ("P-Preferred-Identity", "<sip:alice@a.example>"),
        ("Remote-Party-ID", "<sip:alice@a.example>;party=calling;screen=yes"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Authenticated-User", "alice"),
        ("Forwarded", "for=127.0.0.1"),
        ("Identity", "\"abc\""),
        ("Authorization", "Digest username=\"alice\""),
        ("Authorization", "Digest"),
        (
            "Proxy-Authorization",
            "Digest username=\"alice\", realm=\"a.example\", nonce=\"\", uri=\"\", response=\"\"",
        ),
    ] {
        let request = Request::new("MESSAGE", "sip:bob@a.example")
            .with(name, value)
            .body("text/plain", "x");
        assert!(mallory.ask(&request)?.status() >= 400, "A10: {name}");
    }
    bob.expect_none("MESSAGE", Duration::from_millis(300), |m| m.is("MESSAGE"))
}

#[test]
fn monstrous_credentials_are_survived() -> Outcome {
    let mut stand = Stand::start(Family::V4)?;
    let many = (0..3000).map(|n| format!("p{n}=\"v\"")).collect::<Vec<_>>().join(", ");
    let monsters = [
        "Digest ".to_string() + &"a".repeat(40_000),
        format!("Digest {many}"),
        "Digest username=\"".to_string() + &"\\\"".repeat(10_000) + "\"",
        "Digest username=\"alice\", nc=FFFFFFFFFFFFFFFF, qop=auth".into(),
        "Digest ,,,,=,=\"\",==".into(),
        "Digest username=\"al\0ice\"".into(),
    ];
    for monster in monsters {
        let mut agent = Agent::new("alice", DOMAIN, "", stand.link("TCP")?)?;
        let request = with_credentials(&register(&agent.contact()), &monster);
        if let Ok(answer) = agent.transact_within(&request, PATIENCE) {
            assert!(answer.status() >= 400, "A12 {monster:.40}: {}", answer.start);
        }
        stand.alive()?;
    }
    stand.modest()
}

/// What one user may hold is counted by who he is, not by how he writes himself.
#[test]
fn one_user_holds_no_more_than_one_user_may() -> Outcome {
    let rest = "limits: { per_source: { connections: 1000, handshakes: 1000, requests: 100000 } }\npresence: { \
                max_subscriptions: 6, max_publications: 3 }\nregistrar: { max_contacts: 4 }\n";
    let stand = Stand::start_with(Family::V4, rest)?;
    let (mut alice, mut bob) = (stand.user("alice")?, stand.user("bob")?);
    let spellings = [
        "sip:alice@a.example",
        "sip:alice@A.EXAMPLE.",
        "pres:alice@a.example",
        "sip:al%69ce@a.example;x=1",
    ];
    let (mut subscribed, mut published, mut kept) = (0, 0, 0);
    for n in 0..10 {
        for whom in ["bob", "carol", "dave"] {
            let from = spellings.get(n % spellings.len()).copied().unwrap_or_default();
            let request = Request::new("SUBSCRIBE", &format!("sip:{whom}@a.example"))
                .from(format!("<{from}>;tag={n}{whom}"))
                .with("Event", "presence")
                .with("Contact", alice.contact())
                .with("Expires", "600");
            let answer = alice.ask(&request)?;
            subscribed += usize::from(answer.status() == 200);
            let rule = answer.header("Warning").unwrap_or_default();
            assert!(
                answer.status() == 200 || rule.contains("presence.max_subscriptions"),
                "{rule}"
            );
        }
        published += usize::from(alice.publish(None, "open", &format!("note {n}"))?.status() == 200);
        let register = register(&format!("<sip:alice@127.0.0.1:{}>", 20_000 + n));
        let answer = alice.ask(&register)?;
        let list = answer.all("Contact").flat_map(|c| c.split(',')).count();
        kept = kept.max(if answer.status() == 200 { list } else { 0 });
    }
    assert_eq!((subscribed, published, kept), (6, 3, 4));
    // Others have their own, and fetching keeps nothing.
    assert_eq!(bob.subscribe("sip:carol@a.example", 600)?.status(), 200);
    for n in 0..50 {
        let answer = bob.subscribe("sip:carol@a.example", 0)?;
        assert_eq!(answer.status(), 200, "fetch {n}: {}", answer.start);
    }
    Ok(())
}

/// What the bridge keeps on disk, and the socket that commands it, are for its owner only.
#[test]
fn nobody_else_on_the_machine_reads_or_commands() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let stand = Stand::start(Family::V4)?;
    let mut alice = stand.user("alice")?;
    alice.publish(None, "open", "private")?;
    let data = stand.dir().join("data");
    let mut all = vec![data.clone()];
    all.extend(std::fs::read_dir(&data)?.flatten().map(|e| e.path()));
    assert!(all.len() > 2 && all.contains(&data.join("trestle.sock")), "{all:?}");
    for path in all {
        let mode = std::fs::symlink_metadata(&path)?.permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
    Ok(())
}
