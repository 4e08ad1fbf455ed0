//! What a peer with a contract gets, under the virtual clock.

use std::collections::{BTreeMap, VecDeque};

use super::sim::{PEER, Sim, body, header, reply};

const PEER_SETTINGS: &str = "probe: \"off\", contract: { messages: 20/s, watched: 3 }";
/// A tenth of a second's worth.
const BURST: usize = 2;

/// The peer, and when what reached it.
struct Peer {
    sim: Sim,
    got: Vec<(u64, String)>,
    seen: std::collections::HashSet<String>,
    /// What clients have been answered.
    told: Vec<String>,
    answers: bool,
}

impl Peer {
    fn new(settings: &str) -> Self {
        let mut sim = Sim::peer(settings);
        sim.pass(10);
        Self {
            sim,
            got: Vec::new(),
            seen: std::collections::HashSet::new(),
            told: Vec::new(),
            answers: true,
        }
    }

    /// Somebody there watches somebody here.
    fn watch(&mut self, n: usize, whom: &str) {
        let text = format!(
            "SUBSCRIBE sip:{whom}@a.example SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKw{n}{whom}\r\n\
             From: <sip:carl{n}@b.example>;tag=f{n}\r\nTo: <sip:{whom}@a.example>\r\nCall-ID: w{n}{whom}\r\n\
             CSeq: 1 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:carl{n}@{PEER}>\r\nEvent: presence\r\n\
             Expires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        self.sim.receive(PEER, &text);
    }

    /// Ten milliseconds; the peer answers what it gets.
    fn step(&mut self) {
        self.sim.pass(10);
        let answers = self.sim.sent.iter().map(|(_, m)| m);
        self.told.extend(answers.filter(|m| m.starts_with("SIP/2.0 ")).cloned());
        for (to, request) in self.sim.take_requests() {
            if to.to_string() != PEER {
                self.sim.receive(&to.to_string(), &reply(&request, "200 OK", ""));
                continue;
            }
            if self.answers {
                self.sim.receive(PEER, &reply(&request, "200 OK", "Expires: 3600\r\n"));
            }
            let branch = header(&request, "Via").unwrap_or_default();
            if self.seen.insert(branch) {
                self.got.push((self.sim.now.mono_ms, request));
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.step();
        }
    }

    /// The final answer to a client's request.
    fn answer(&self, call: &str) -> (u16, String) {
        let line = format!("Call-ID: {call}\r\n");
        let late = self.sim.sent.iter().map(|(_, m)| m);
        let all = self
            .told
            .iter()
            .chain(late)
            .filter(|m| m.starts_with("SIP/2.0 ") && m.contains(&line));
        let status = |m: &str| m.get(8..11).and_then(|s| s.parse().ok()).unwrap_or(0);
        let finals = all
            .map(|m| (status(m), m.clone()))
            .filter(|(s, _)| *s >= 200 && *s != 401 && *s != 407);
        finals.max_by_key(|(status, _)| *status).unwrap_or_default()
    }

    /// In no second did more arrive than was promised.
    fn keeps_to_the_rate(&self, rate: usize) {
        let mut second: VecDeque<u64> = VecDeque::new();
        for (at, request) in &self.got {
            second.push_back(*at);
            while second.front().is_some_and(|first| first + 1000 <= *at) {
                second.pop_front();
            }
            assert!(
                second.len() <= rate + BURST,
                "{} in a second, last {request}",
                second.len()
            );
        }
    }

    fn status(&self) -> super::ContractStatus {
        let peers = self.sim.engine.peer_status(self.sim.now);
        peers.into_iter().next().and_then(|p| p.contract).expect("a contract")
    }
}

#[test]
fn twenty_thousand_changes_in_ten_seconds() {
    let mut peer = Peer::new(PEER_SETTINGS);
    for n in 0..200 {
        peer.watch(n, "alice");
    }
    peer.pass(11_000);
    assert_eq!(peer.got.len(), 200, "everybody has a first state");
    // When the first state came that a watcher has not been sent yet.
    let mut lacks: BTreeMap<String, u64> = BTreeMap::new();
    let watchers: Vec<String> = peer.got.iter().filter_map(|(_, m)| header(m, "Call-ID")).collect();
    let (mut etag, mut worst) = (None, 0);
    for change in 0..100 {
        let (status, tag) = peer
            .sim
            .publish("alice", etag.as_deref(), 3600, Some(&format!("state{change}")));
        assert_eq!(status, 200);
        etag = Some(tag);
        for watcher in &watchers {
            lacks.entry(watcher.clone()).or_insert(peer.sim.now.mono_ms);
        }
        for _ in 0..10 {
            let before = peer.got.len();
            peer.step();
            for (_, request) in peer.got.get(before..).unwrap_or_default() {
                lacks.remove(&header(request, "Call-ID").unwrap_or_default());
            }
            let oldest = lacks.values().min().map_or(0, |since| peer.sim.now.mono_ms - since);
            let shown = peer.status();
            // One step passes between a change and what is seen of it.
            assert!(shown.stale_ms.abs_diff(oldest) <= 20, "{shown:?}, truly {oldest} ms");
            assert!(
                shown.waiting.abs_diff(lacks.len()) <= 3,
                "{shown:?}, truly {}",
                lacks.len()
            );
            worst = worst.max(shown.stale_ms);
        }
    }
    assert!(
        (9_000..=10_500).contains(&worst),
        "two hundred watchers at twenty a second: {worst} ms"
    );
    peer.pass(11_000);
    peer.keeps_to_the_rate(20);
    let mut last: BTreeMap<String, &str> = BTreeMap::new();
    for (_, request) in &peer.got {
        last.insert(header(request, "Call-ID").unwrap_or_default(), body(request));
    }
    assert_eq!(last.len(), 200);
    assert!(
        last.values().all(|body| body.contains("state99")),
        "the last state reaches everybody"
    );
    let rest = peer.status();
    assert_eq!((rest.waiting, rest.stale_ms, rest.tokens), (0, 0, BURST as u64));
    assert!(
        peer.got.len() < 200 + 200 + 250,
        "{} messages, latest state wins",
        peer.got.len()
    );
}

#[test]
fn subscriptions_and_messages_take_turns_with_states() {
    let mut peer = Peer::new(PEER_SETTINGS);
    for n in 0..100 {
        peer.watch(n, "alice");
    }
    peer.step();
    let calls: Vec<String> = (0..10)
        .map(|n| {
            let lines = "Content-Type: text/plain\r\n";
            peer.sim
                .ask("bob", "MESSAGE", "sip:carl@b.example", lines, &format!("text{n:02}"))
        })
        .collect();
    let watch = peer.sim.subscribe("alice", "sip:dave@b.example", 3600);
    assert_eq!(peer.sim.status(&watch), 200);
    // A third of twenty a second is theirs while states wait.
    peer.pass(2_500);
    let of = |method: &str| -> Vec<&str> {
        let fits = |m: &&(u64, String)| m.1.starts_with(method);
        peer.got.iter().filter(fits).map(|(_, m)| body(m)).collect()
    };
    let texts: Vec<String> = (0..10).map(|n| format!("text{n:02}")).collect();
    assert_eq!(of("MESSAGE "), texts, "in the order they came");
    assert_eq!(of("SUBSCRIBE ").len(), 1);
    assert!(of("NOTIFY ").len() > 20);
    for call in calls {
        assert_eq!(peer.answer(&call).0, 200, "the peer's own answer");
    }
    peer.keeps_to_the_rate(20);
}

#[test]
fn a_message_that_would_wait_too_long_is_refused_with_the_time_to_wait() {
    let mut peer = Peer::new("probe: \"off\", contract: { messages: 1/s }");
    let lines = "Content-Type: text/plain\r\n";
    let calls: Vec<String> = (0..12)
        .map(|n| {
            peer.sim
                .ask("bob", "MESSAGE", "sip:carl@b.example", lines, &format!("{n}"))
        })
        .collect();
    peer.pass(9_000);
    let answers: Vec<(u16, String)> = calls.iter().map(|call| peer.answer(call)).collect();
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    // One at once, eight in eight seconds.
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 200, 480, 480, 480]);
    assert_eq!(peer.got.len(), 9);
    for (_, answer) in answers.iter().filter(|(status, _)| *status == 480) {
        assert_eq!(header(answer, "Retry-After").as_deref(), Some("9"), "{answer}");
        assert!(
            header(answer, "Warning").is_some_and(|w| w.contains("peer.contract")),
            "{answer}"
        );
    }
}

#[test]
fn an_invite_that_waits_can_be_cancelled() {
    let mut peer = Peer::new("probe: \"off\", contract: { messages: 1/s }");
    let lines = "Content-Type: text/plain\r\n";
    for n in 0..3 {
        peer.sim
            .ask("bob", "MESSAGE", "sip:carl@b.example", lines, &format!("{n}"));
    }
    let call = peer.sim.ask(
        "bob",
        "INVITE",
        "sip:carl@b.example",
        "Contact: <sip:bob@127.0.0.1:7001>\r\n",
        "",
    );
    peer.step();
    peer.sim.cancel("bob", "sip:carl@b.example", &call);
    assert_eq!(peer.answer(&call).0, 487, "{:?}", peer.answer(&call));
    peer.pass(5_000);
    assert!(
        peer.got.iter().all(|(_, m)| m.starts_with("MESSAGE ")),
        "it has never gone"
    );
}

#[test]
fn a_return_of_the_peer_is_paced() {
    let mut peer = Peer::new("probe: { interval: 30s, down_after: 1 }, contract: { messages: 5/s }");
    peer.pass(1_000);
    for n in 0..40 {
        let watch = peer.sim.subscribe("alice", &format!("sip:dave{n}@b.example"), 80_000);
        assert_eq!(peer.sim.status(&watch), 200);
    }
    peer.pass(10_000);
    peer.answers = false;
    peer.pass(70_000);
    assert_eq!(peer.sim.engine.peer_status(peer.sim.now)[0].state, "down");
    peer.answers = true;
    let from = peer.got.len();
    peer.pass(30_000);
    assert_eq!(peer.sim.engine.peer_status(peer.sim.now)[0].state, "up");
    peer.got.drain(..from);
    let refreshed: std::collections::BTreeSet<String> = peer
        .got
        .iter()
        .filter(|(_, m)| m.starts_with("SUBSCRIBE "))
        .filter_map(|(_, m)| header(m, "To"))
        .collect();
    // One may have been on its way already when the peer went silent; its repetition is answered then.
    assert!(
        refreshed.len() >= 39,
        "all of them are asked again: {}",
        refreshed.len()
    );
    peer.keeps_to_the_rate(5);
}

#[test]
fn so_many_addresses_are_watched_and_no_more() {
    let mut peer = Peer::new(PEER_SETTINGS);
    let mut watch = |user: &str, n: u32| {
        let call = peer.sim.subscribe(user, &format!("sip:dave{n}@b.example"), 3600);
        let status = peer.sim.status(&call);
        peer.pass(200);
        status
    };
    assert_eq!([watch("alice", 0), watch("alice", 1), watch("alice", 2)], [200; 3]);
    assert_eq!(watch("bob", 3), 403);
    assert_eq!(watch("bob", 1), 200, "one that is watched already");
    let status = peer.status();
    assert_eq!((status.watched, status.watched_most), (3, Some(3)));
}

#[test]
fn a_reload_keeps_who_waits() {
    let mut peer = Peer::new("probe: \"off\", contract: { messages: 1/s }");
    for n in 0..10 {
        peer.watch(n, "alice");
    }
    peer.step();
    assert_eq!(peer.got.len(), 1);
    let config = |settings: &str| Sim::peer(settings).engine.snapshot().clone();
    peer.sim.reload(config("probe: \"off\", contract: { messages: 2/s }"));
    peer.pass(2_000);
    assert!((4..=6).contains(&peer.got.len()), "{}", peer.got.len());
    peer.sim.reload(config("probe: \"off\""));
    peer.step();
    assert_eq!(peer.got.len(), 10, "nothing holds the others back any more");
}

#[test]
fn the_expiry_that_is_asked_for_is_the_peers_own() {
    let mut peer = Peer::new("probe: \"off\", subscription_timeout: 600s");
    peer.sim.subscribe("alice", "sip:dave@b.example", 3600);
    peer.step();
    assert_eq!(header(&peer.got[0].1, "Expires").as_deref(), Some("600"));
}
