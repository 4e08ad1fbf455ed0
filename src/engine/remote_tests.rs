//! Presentities at a peer: fetches, and whose view is whose, in the simulated engine.

use super::sim::{CLIENT, PEER, Sim, body, header, pidf, reply};

const CARL: &str = "sip:carl@b.example";

/// What left since the last look: SUBSCRIBEs to the peer, and NOTIFYs to watchers, which are answered.
fn look(sim: &mut Sim) -> (Vec<String>, Vec<String>) {
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for (to, request) in sim.take_requests() {
        if request.starts_with("NOTIFY ") {
            sim.receive(&to.to_string(), &reply(&request, "200 OK", ""));
            told.push(request);
        } else {
            assert_eq!(to.to_string(), PEER);
            asked.push(request);
        }
    }
    (asked, told)
}

/// The peer takes a SUBSCRIBE and tells the state.
fn tell(sim: &mut Sim, subscribe: &str, note: &str) {
    let of = |name: &str| header(subscribe, name).unwrap();
    let contact = "Contact: <sip:carl@127.0.0.9:5060>\r\nExpires: 3600\r\n";
    sim.receive(PEER, &reply(subscribe, "200 OK", contact));
    let body = pidf(CARL, note);
    sim.receive(
        PEER,
        &format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};rport;branch=z9hG4bK{note}{}\r\nFrom: <{CARL}>;tag=theirs\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:carl@127.0.0.9:5060>\r\n\
             Event: presence\r\nSubscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            of("Call-ID"),
            of("From"),
            of("Call-ID"),
            body.len()
        ),
    );
}

fn fetch(sim: &mut Sim) -> String {
    let lines = format!("Event: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: 0\r\n");
    let fetch = sim.ask("alice", "SUBSCRIBE", CARL, &lines, "");
    assert_eq!(sim.status(&fetch), 200);
    let (mut asked, told) = look(sim);
    assert_eq!(
        (asked.len(), told),
        (1, Vec::new()),
        "the only NOTIFY waits for the peer"
    );
    asked.remove(0)
}

fn is_last(notify: &str) -> bool {
    header(notify, "Subscription-State").is_some_and(|s| s.starts_with("terminated"))
}

#[test]
fn a_fetch_brings_what_the_peer_says() {
    let mut sim = Sim::new();
    let subscribe = fetch(&mut sim);
    tell(&mut sim, &subscribe, "here");
    let (asked, told) = look(&mut sim);
    assert!(
        told.len() == 1 && is_last(&told[0]) && body(&told[0]).contains("here"),
        "{told:?}"
    );
    // Its answer was in before this look; with it the bridge leaves the peer as well.
    let asked = if asked.is_empty() { look(&mut sim).0 } else { asked };
    assert_eq!(header(&asked[0], "Expires").as_deref(), Some("0"));
    assert_eq!(sim.engine.status().subscriptions, 0);
}

#[test]
fn a_fetch_does_not_wait_for_ever() {
    let mut sim = Sim::new();
    fetch(&mut sim);
    sim.pass(3_900);
    assert_eq!(look(&mut sim).1, [""; 0]);
    sim.pass(200);
    let told = look(&mut sim).1;
    assert!(
        told.len() == 1 && is_last(&told[0]) && !body(&told[0]).contains("<basic>open"),
        "{told:?}"
    );
}

#[test]
fn a_refusal_ends_the_wait_at_once() {
    let mut sim = Sim::new();
    let subscribe = fetch(&mut sim);
    sim.receive(PEER, &reply(&subscribe, "404 Not Found", ""));
    let told = look(&mut sim).1;
    assert!(told.len() == 1 && is_last(&told[0]), "{told:?}");
}

#[test]
fn a_fetch_beside_a_subscription_is_answered_from_what_is_known() {
    let mut sim = Sim::new();
    sim.subscribe("alice", CARL, 3600);
    let (asked, _) = look(&mut sim);
    tell(&mut sim, &asked[0], "known");
    look(&mut sim);
    let lines = format!("Event: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: 0\r\n");
    sim.ask("alice", "SUBSCRIBE", CARL, &lines, "");
    let (asked, told) = look(&mut sim);
    assert_eq!(asked, [""; 0], "the peer is not asked again");
    assert!(
        told.len() == 1 && is_last(&told[0]) && body(&told[0]).contains("known"),
        "{told:?}"
    );
}

/// The peer authorises by who watches: each watcher has a subscription of its own there, and a view of its own.
#[test]
fn each_watcher_asks_in_its_own_name_and_sees_its_own_answer() {
    let mut sim = Sim::new();
    sim.subscribe("alice", CARL, 3600);
    sim.subscribe("bob", CARL, 3600);
    let (asked, _) = look(&mut sim);
    assert_eq!(asked.len(), 2);
    let of = |user: &str| {
        let from = format!("<sip:{user}@a.example>");
        asked
            .iter()
            .find(|a| header(a, "From").unwrap().starts_with(&from))
            .unwrap()
    };
    let (alice, bob) = (of("alice"), of("bob"));
    tell(&mut sim, alice, "for-alice");
    let told = look(&mut sim).1;
    assert!(
        told.len() == 1 && told[0].starts_with("NOTIFY sip:alice@") && body(&told[0]).contains("for-alice"),
        "{told:?}"
    );
    sim.receive(PEER, &reply(bob, "403 Forbidden", ""));
    sim.pass(60_000);
    assert!(
        look(&mut sim).1.iter().all(|n| !n.contains("for-alice")),
        "bob sees nothing of it"
    );
}

#[test]
fn a_shared_view_is_one_subscription_in_the_bridges_name() {
    let mut sim = Sim::peer("probe: \"off\", view_sharing: true");
    sim.subscribe("alice", CARL, 3600);
    sim.subscribe("bob", CARL, 3600);
    let (asked, _) = look(&mut sim);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(header(&asked[0], "From").unwrap().starts_with("<sip:a.example>"));
    tell(&mut sim, &asked[0], "for-all");
    let told = look(&mut sim).1;
    assert!(
        told.len() == 2 && told.iter().all(|n| body(n).contains("for-all")),
        "{told:?}"
    );
}

/// Somebody at b watches somebody at c; the status and the rule of the answer.
fn transit(sim: &mut Sim, n: u32, whom: &str) -> (u16, String) {
    let text = format!(
        "SUBSCRIBE sip:{whom}@c.example SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKt{n}\r\nFrom: <sip:carl{n}@b.example>;tag=f{n}\r\n\
         To: <sip:{whom}@c.example>\r\nCall-ID: t{n}\r\nCSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:carl{n}@{PEER}>\r\n\
         Event: presence\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
    );
    sim.receive(PEER, &text);
    let rule = header(sim.answer(&format!("t{n}")), "Warning").unwrap_or_default();
    (sim.status(&format!("t{n}")), rule)
}

const C: &str = "  - { name: c, domains: [c.example], transport: udp, next_hop: \"127.0.0.10:5060\", addresses: [127.0.0.10/32], \
                 probe: \"off\"";

#[test]
fn what_is_served_between_two_peers_is_limited_like_all_that_is_served() {
    let mut sim = Sim::peers(
        "transit: [c.example], limits: { subscriptions: 2 }",
        &format!("{C} }}\n"),
    );
    sim.pass(10);
    let mut answers = (1..=3).map(|n| transit(&mut sim, n, "dora"));
    assert_eq!((answers.next().unwrap().0, answers.next().unwrap().0), (200, 200));
    let (status, rule) = answers.next().unwrap();
    assert!(status == 403 && rule.contains("limits"), "{status} {rule}");
    drop(answers);
    // What we promised c holds for whoever asks.
    let mut sim = Sim::peers("transit: [c.example]", &format!("{C}, contract: {{ watched: 2 }} }}\n"));
    sim.pass(10);
    assert_eq!(transit(&mut sim, 1, "dora").0, 200);
    assert_eq!(transit(&mut sim, 2, "emil").0, 200);
    assert_eq!(transit(&mut sim, 3, "emil").0, 200, "he is watched already");
    let (status, rule) = transit(&mut sim, 4, "fritz");
    assert!(status == 403 && rule.contains("contract"), "{status} {rule}");
}

#[test]
fn who_may_pass_no_more_is_served_no_more() {
    let with = |transit: &str| {
        Sim::configured(|base| {
            let peers = format!("probe: \"off\"{transit} }}\n{C} }}\n");
            base.replace("probe: \"off\" }\n", &peers) + "notify: { min_interval: 0s }\n"
        })
    };
    let mut sim = with(", transit: [c.example]");
    sim.pass(10);
    assert_eq!(transit(&mut sim, 1, "dora").0, 200);
    let told = sim.notifies();
    assert!(!told.is_empty() && !told.iter().any(|m| is_last(m)), "{told:?}");
    let next = with("").engine.snapshot().clone();
    let mut stopped = with(", transit: [c.example]");
    stopped.disk = sim.disk.clone();
    sim.reload(next.clone());
    let told = sim.notifies();
    assert!(told.len() == 1 && is_last(&told[0]), "{told:?}");
    assert_eq!(sim.engine.status().subscriptions, 0);
    // Nor after a start by such a configuration.
    stopped.start_by(next);
    assert_eq!(stopped.engine.status().subscriptions, 0);
}
