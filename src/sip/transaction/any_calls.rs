//! Random sequences of calls against an owner that keeps the books: nothing panics, every client transaction ends in
//! exactly one outcome and on time, every server transaction is reported gone once.

use super::tests::{Bench, at, destination, from, key, no_ack};
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Call {
    Request {
        method: usize,
        branch: usize,
        source: u8,
        reliable: bool,
    },
    Respond {
        server: usize,
        status: u16,
        repeating: bool,
    },
    DropServer {
        server: usize,
    },
    Acknowledged {
        server: usize,
    },
    Send {
        invite: bool,
        reliable: bool,
    },
    Response {
        client: usize,
        method: usize,
        status: u16,
    },
    Cancel {
        client: usize,
    },
    TransportFailed {
        client: usize,
    },
    Abandon {
        client: usize,
    },
    Wait {
        ms: u64,
    },
}

const METHODS: [&str; 5] = ["INVITE", "ACK", "CANCEL", "MESSAGE", "SUBSCRIBE"];
const BRANCHES: [&str; 4] = ["z9hG4bKa", "z9hG4bKb", "", "1"];

fn call() -> impl Strategy<Value = Call> {
    let status = prop_oneof![Just(100), 101..200u16, Just(200u16), 300..700u16, any::<u16>()];
    let index = 0..64usize;
    prop_oneof![
        3 => (0..5usize, 0..4usize, 1..3u8, any::<bool>())
            .prop_map(|(method, branch, source, reliable)| Call::Request { method, branch, source, reliable }),
        3 => (index.clone(), status.clone(), any::<bool>())
            .prop_map(|(server, status, repeating)| Call::Respond { server, status, repeating }),
        1 => index.clone().prop_map(|server| Call::DropServer { server }),
        1 => index.clone().prop_map(|server| Call::Acknowledged { server }),
        3 => any::<(bool, bool)>().prop_map(|(invite, reliable)| Call::Send { invite, reliable }),
        4 => (index.clone(), 0..5usize, status)
            .prop_map(|(client, method, status)| Call::Response { client, method, status }),
        1 => index.clone().prop_map(|client| Call::Cancel { client }),
        1 => index.clone().prop_map(|client| Call::TransportFailed { client }),
        1 => index.prop_map(|client| Call::Abandon { client }),
        2 => prop_oneof![0..700u64, 0..40_000u64].prop_map(|ms| Call::Wait { ms }),
    ]
}

/// What the owner saw of one client transaction.
struct Seen {
    id: ClientId,
    branch: Branch,
    invite: bool,
    outcomes: usize,
    accepted: bool,
    abandoned: bool,
    /// When the outcome is due: 64*T1 after sending, moved for an INVITE by provisional responses and its CANCEL.
    deadline: u64,
}

/// An owner that makes the calls and keeps the books.
struct Owner {
    bench: Bench,
    now: u64,
    clients: Vec<Seen>,
    /// Every server transaction by its token, and how often it was reported gone.
    servers: Vec<(ServerId, usize)>,
    dropped: Vec<ServerId>,
}

impl Owner {
    fn new() -> Self {
        let (clients, servers, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            bench: Bench::new(),
            now: 0,
            clients,
            servers,
            dropped,
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.bench.layer.poll() {
            match output {
                Output::Failed { id, user, why } => {
                    let seen = &mut self.clients[user as usize];
                    assert!(seen.id == id && !seen.abandoned);
                    assert!(
                        why == Why::Transport || self.now == seen.deadline,
                        "{} {}",
                        self.now,
                        seen.deadline
                    );
                    seen.outcomes += 1;
                }
                Output::ServerGone { user } => self.servers[user as usize].1 += 1,
                Output::ClientGone { user, .. } => assert!(self.clients[user as usize].accepted),
                Output::TimerC { user, .. } => {
                    let seen = &mut self.clients[user as usize];
                    assert_eq!(seen.outcomes, 0);
                    seen.deadline = self.now + 32_000;
                }
                Output::Transmit { wire, .. } => assert!(!wire.is_empty()),
                Output::Unacknowledged { .. } => {}
            }
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(next) = self.bench.layer.next_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.bench.layer.handle_timeout(at(self.now));
            self.drain();
        }
        self.now = end;
    }

    fn make(&mut self, call: Call) {
        let now = at(self.now);
        let server = |index: usize| self.servers.get(index % self.servers.len().max(1)).map(|&(id, _)| id);
        match call {
            Call::Wait { ms } => self.wait(ms),
            Call::Request {
                method,
                branch,
                source,
                reliable,
            } => {
                let key = key(METHODS[method], BRANCHES[branch], source);
                match self
                    .bench
                    .layer
                    .request(now, &key, destination(source), reliable, self.servers.len() as u64)
                {
                    Arrived::New(id) | Arrived::Cancel { id, .. } => {
                        self.servers.push((id, 0));
                    }
                    _ => {}
                }
            }
            Call::Respond {
                server: index,
                status,
                repeating,
            } => {
                if let Some(id) = server(index) {
                    let wire = Bytes::from_static(b"response");
                    if repeating {
                        self.bench.layer.respond_repeating(now, id, status, wire);
                    } else {
                        self.bench.layer.respond(now, id, status, wire);
                    }
                }
            }
            Call::DropServer { server: index } => {
                if let Some(id) = server(index).filter(|&id| self.bench.layer.server(id).is_some()) {
                    self.bench.layer.drop_server(id);
                    self.dropped.push(id);
                }
            }
            Call::Acknowledged { server: index } => {
                server(index)
                    .into_iter()
                    .for_each(|id| self.bench.layer.acknowledged(id));
            }
            Call::Send { invite, reliable } => {
                let (id, branch) = self.bench.layer.reserve(invite, self.clients.len() as u64);
                self.bench
                    .layer
                    .send(now, id, destination(9), Bytes::from_static(b"request"), reliable);
                let deadline = self.now + 32_000;
                let seen = Seen {
                    id,
                    branch,
                    invite,
                    outcomes: 0,
                    accepted: false,
                    abandoned: false,
                    deadline,
                };
                self.clients.push(seen);
            }
            other => self.make_client_call(other),
        }
        self.drain();
    }

    fn make_client_call(&mut self, call: Call) {
        let now = at(self.now);
        let (Call::Response { client, .. }
        | Call::Cancel { client }
        | Call::TransportFailed { client }
        | Call::Abandon { client }) = call
        else {
            return;
        };
        let index = client % self.clients.len().max(1);
        let Some(seen) = self.clients.get_mut(index) else {
            return;
        };
        let layer = &mut self.bench.layer;
        match call {
            Call::Cancel { .. } if layer.cancel(now, seen.id, |_| Bytes::from_static(b"CANCEL")) == Cancelled::Sent => {
                seen.deadline = self.now + 32_000;
            }
            Call::TransportFailed { .. } => layer.transport_failed(now, seen.id),
            Call::Abandon { .. } => {
                layer.abandon(seen.id);
                seen.abandoned = true;
            }
            Call::Response { method, status, .. } => {
                let before = layer.client(seen.id).map(|info| info.state);
                let method = METHODS[method].as_bytes();
                let ack = |_: &Bytes| Bytes::from_static(b"ACK");
                let Some(delivered) = layer.response(now, seen.branch.as_bytes(), method, status, ack) else {
                    return;
                };
                if !delivered.pass {
                    return;
                }
                assert!(!seen.abandoned && delivered.id == seen.id && delivered.user == index as u64);
                assert_eq!(seen.invite, method == b"INVITE");
                let again = seen.accepted && (200..300).contains(&status);
                if status >= 200 && !again {
                    seen.outcomes += 1;
                    seen.accepted = seen.invite && status < 300;
                } else if seen.invite && !again && before == Some(State::Calling) {
                    seen.deadline = u64::MAX;
                }
            }
            _ => {}
        }
    }

    /// Lets everything end, and looks at the books.
    fn close(mut self) {
        self.wait(300_000);
        for seen in &self.clients {
            assert!(
                seen.abandoned && seen.outcomes <= 1 || seen.outcomes == 1,
                "outcomes: {}",
                seen.outcomes
            );
        }
        let mut open = 0;
        for &(id, gone) in &self.servers {
            let info = self.bench.layer.server(id);
            let ended = gone + usize::from(self.dropped.contains(&id));
            assert_eq!(ended, usize::from(info.is_none()));
            assert!(info.is_none_or(|info| info.invite && info.state == State::Proceeding));
            open += usize::from(info.is_some());
        }
        assert_eq!(self.bench.layer.len(), open, "only unanswered INVITEs stay");
    }
}

proptest! {
    #[test]
    fn any_calls_end_in_one_outcome_each(calls in proptest::collection::vec(call(), 1..120)) {
        let mut owner = Owner::new();
        for call in calls {
            owner.make(call);
        }
        owner.close();
    }

    #[test]
    fn any_bytes_may_be_matched(fields: [Vec<u8>; 8], cseq: u32, status: u16, number: u64) {
        let mut bench = Bench::new();
        let [branch, sent_by, method, uri, from_tag, to_tag, call_id, top_via] = &fields;
        let key = ServerKey {
            branch, sent_by, method, uri, from_tag, to_tag, call_id, cseq, top_via, source: from(1),
        };
        let first = bench.layer.request(at(number), &key, destination(1), false, number);
        let second = bench.layer.request(at(number), &key, destination(1), false, number);
        prop_assert!(second == Arrived::Retransmission || first == Arrived::AckFor2xx);
        prop_assert_eq!(bench.layer.response(at(number), branch, method, status, no_ack), None);
        bench.layer.handle_timeout(at(u64::MAX));
    }
}
