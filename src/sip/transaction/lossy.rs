//! Two layers joined by a network that loses, delays and repeats datagrams, under a simulated clock.

use super::tests::{at, destination, from};
use super::*;
use std::collections::{BTreeMap, BinaryHeap};

const REQUESTS: u64 = 300;

/// A datagram under way: arrival time, order of sending, towards the server, text `branch method status`.
type Datagram = std::cmp::Reverse<(u64, u64, bool, String)>;

struct World {
    client: Layer,
    server: Layer,
    random: Random,
    network: BinaryHeap<Datagram>,
    order: u64,
    loss_percent: u64,
    /// When the server's user answers what.
    answers: BTreeMap<(u64, u64), (ServerId, String, u16)>,
    calls: BTreeMap<String, usize>,
    branches: Vec<String>,
    finals: BTreeMap<u64, Vec<u16>>,
    failed: usize,
    unacknowledged: usize,
}

impl World {
    fn new(loss_percent: u64, seed: u8) -> Self {
        let mut random = Random::from_seed([seed; 32]);
        let client = Layer::new(Timers::default(), &mut random, at(0));
        let server = Layer::new(Timers::default(), &mut random, at(0));
        Self {
            client,
            server,
            random,
            network: BinaryHeap::new(),
            order: 0,
            loss_percent,
            answers: BTreeMap::new(),
            calls: BTreeMap::new(),
            branches: Vec::new(),
            finals: BTreeMap::new(),
            failed: 0,
            unacknowledged: 0,
        }
    }

    fn put(&mut self, now: u64, to_server: bool, text: String) {
        let copies = if self.random.next_u64().is_multiple_of(20) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            if self.random.next_u64() % 100 >= self.loss_percent {
                self.order += 1;
                let delay = 1 + self.random.next_u64() % 80;
                self.network
                    .push(std::cmp::Reverse((now + delay, self.order, to_server, text.clone())));
            }
        }
    }

    fn start(&mut self, now: u64, user: u64, method: &str) {
        let (id, branch) = self.client.reserve(method == "INVITE", user);
        let branch = String::from_utf8_lossy(branch.as_bytes()).into_owned();
        self.client.send(
            at(now),
            id,
            destination(2),
            format!("{branch} {method} 0").into(),
            false,
        );
        self.branches.push(branch);
    }

    fn drain(&mut self, now: u64) {
        loop {
            let (output, from_client) = match self.client.poll() {
                Some(output) => (output, true),
                None => match self.server.poll() {
                    Some(output) => (output, false),
                    None => return,
                },
            };
            match output {
                Output::Transmit { wire, .. } => {
                    self.put(now, from_client, String::from_utf8_lossy(&wire).into_owned());
                }
                Output::Failed { .. } => self.failed += 1,
                Output::Unacknowledged { .. } => self.unacknowledged += 1,
                Output::TimerC { id, user } => {
                    let cancel = format!("{} CANCEL 0", self.branches[user as usize]);
                    assert_eq!(self.client.cancel(at(now), id, |_| cancel.into()), Cancelled::Sent);
                }
                Output::ClientGone { .. } | Output::ServerGone { .. } => {}
            }
        }
    }

    fn arrive(&mut self, now: u64, to_server: bool, text: &str) {
        let parts: Vec<&str> = text.split(' ').collect();
        let &[branch, method, status] = parts.as_slice() else {
            panic!("{text}")
        };
        if to_server {
            self.request(now, branch, method);
        } else {
            self.response(now, branch, method, status.parse().expect("a status"));
        }
    }

    fn request(&mut self, now: u64, branch: &str, method: &str) {
        let key = ServerKey {
            branch: branch.as_bytes(),
            sent_by: b"a.example",
            method: method.as_bytes(),
            uri: b"",
            from_tag: b"",
            to_tag: b"",
            call_id: b"",
            cseq: 1,
            top_via: b"",
            source: from(1),
        };
        match self.server.request(at(now), &key, destination(1), false, 0) {
            Arrived::New(id) => {
                *self.calls.entry(branch.to_owned()).or_default() += 1;
                self.order += 1;
                let status = [200, 200, 486, 503][(self.random.next_u64() % 4) as usize];
                let delay = self.random.next_u64() % 2_000;
                let head = format!("{branch} {method}");
                if method == "INVITE" {
                    assert!(self.server.respond(at(now), id, 180, format!("{head} 180").into()));
                }
                self.answers.insert((now + delay, self.order), (id, head, status));
            }
            Arrived::AckFor2xx => {
                let original = branch.trim_end_matches(".ack");
                let found = self.answers.values().find(|(_, head, _)| head.starts_with(original));
                if let Some(&(id, ..)) = found {
                    self.server.acknowledged(id);
                }
            }
            Arrived::Repeated(id) => {
                let (_, recipe) = self.server.recipe(id).expect("what is repeated has a recipe");
                let wire = String::from_utf8_lossy(&recipe).replace("recipe of ", "");
                self.put(now, false, wire);
            }
            Arrived::Retransmission | Arrived::Ack(_) => {}
            Arrived::Cancel { id, matched, .. } => {
                let status = if matched { 200 } else { 481 };
                assert!(
                    self.server
                        .respond(at(now), id, status, format!("{branch} CANCEL {status}").into())
                );
            }
        }
    }

    fn response(&mut self, now: u64, branch: &str, method: &str, status: u16) {
        let ack = |_: &Bytes| format!("{branch} ACK 0").into();
        let delivered = self
            .client
            .response(at(now), branch.as_bytes(), method.as_bytes(), status, ack);
        let Some(delivered) = delivered.filter(|delivered| delivered.pass && status >= 200) else {
            return;
        };
        self.finals.entry(delivered.user).or_default().push(status);
        if method == "INVITE" && status < 300 {
            self.put(now, true, format!("{branch}.ack ACK 0"));
        }
    }

    fn answer(&mut self, now: u64, key: (u64, u64)) {
        let Some((id, head, status)) = self.answers.get(&key).cloned() else {
            return;
        };
        let wire = Bytes::from(format!("{head} {status}"));
        if head.ends_with("INVITE") && status < 300 {
            self.server.respond_repeating(at(now), id, status, wire);
        } else if head.ends_with("MESSAGE") && key.1.is_multiple_of(2) {
            let recipe = Bytes::from(format!("recipe of {head} {status}"));
            self.server.respond_by_recipe(at(now), id, status, wire, recipe);
        } else {
            self.server.respond(at(now), id, status, wire);
        }
    }

    fn run(&mut self) {
        let (mut now, mut answered) = (0, (0, 0));
        for user in 0..REQUESTS {
            self.start(0, user, if user % 2 == 0 { "MESSAGE" } else { "INVITE" });
        }
        self.drain(0);
        loop {
            let arrival = self.network.peek().map(|datagram| datagram.0.0);
            let answer = self
                .answers
                .range((std::ops::Bound::Excluded(answered), std::ops::Bound::Unbounded))
                .next();
            let answer = answer.map(|(&key, _)| key);
            let timeouts = [self.client.next_timeout(), self.server.next_timeout()];
            let times = [arrival, answer.map(|key| key.0)].into_iter().chain(timeouts).flatten();
            let Some(next) = times.min() else { return };
            now = next.max(now);
            self.client.handle_timeout(at(now));
            self.server.handle_timeout(at(now));
            if let Some(key) = answer.filter(|key| key.0 <= now) {
                self.answer(now, key);
                answered = key;
            }
            if arrival.is_some_and(|arrival| arrival <= now)
                && let Some(std::cmp::Reverse((_, _, to_server, text))) = self.network.pop()
            {
                self.arrive(now, to_server, &text);
            }
            self.drain(now);
        }
    }

    fn check(&self) {
        assert!(self.client.is_empty() && self.server.is_empty(), "everything ends");
        assert!(
            self.calls.values().all(|&count| count == 1),
            "the server's user sees each request once"
        );
        for finals in self.finals.values() {
            let repeated_2xx = finals.iter().all(|&status| status == 200);
            assert!(finals.len() == 1 || repeated_2xx, "{finals:?}");
        }
        assert_eq!(self.finals.len() + self.failed, REQUESTS as usize, "one outcome each");
    }
}

#[test]
fn without_loss_everything_is_answered() {
    let mut world = World::new(0, 1);
    world.run();
    world.check();
    assert_eq!((world.failed, world.unacknowledged), (0, 0));
    assert_eq!(world.calls.len(), REQUESTS as usize);
}

#[test]
fn a_third_lost_costs_nearly_nothing() {
    for seed in 2..6 {
        let mut world = World::new(33, seed);
        world.run();
        world.check();
        assert!(world.failed < 6, "{} of {REQUESTS} failed", world.failed);
    }
}

#[test]
fn with_most_or_all_lost_every_transaction_still_ends() {
    for (loss, seed) in [(80, 6), (95, 7), (100, 8)] {
        let mut world = World::new(loss, seed);
        world.run();
        world.check();
        assert!(loss < 100 || world.failed == REQUESTS as usize);
    }
}
