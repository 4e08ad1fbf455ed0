//! The layer as its owner sees it: matching, replay, outcomes, stale ids.

use super::*;
use crate::sip::net::ListenerId;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A socket address by its last byte.
pub(super) fn from(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060)
}

pub(super) fn destination(last: u8) -> Destination {
    Destination::Datagram {
        listener: ListenerId(0),
        to: from(last),
    }
}

pub(super) fn at(ms: u64) -> Now {
    Now::default().after(ms)
}

pub(super) fn key<'a>(method: &'a str, branch: &'a str, source: u8) -> ServerKey<'a> {
    ServerKey {
        branch: branch.as_bytes(),
        sent_by: b"pc.a.example",
        method: method.as_bytes(),
        uri: b"sip:bob@b.example",
        from_tag: b"f",
        to_tag: b"",
        call_id: b"c",
        cseq: 1,
        top_via: b"SIP/2.0/UDP pc.a.example",
        source: from(source),
    }
}

pub(super) fn no_ack(_: &Bytes) -> Bytes {
    unreachable!("no ACK is due")
}

pub(super) struct Bench {
    pub(super) layer: Layer,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut random = Random::from_seed([9; 32]);
        Self {
            layer: Layer::new(Timers::default(), &mut random, at(0)),
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.layer.poll()).collect()
    }

    fn wires(&mut self) -> Vec<Bytes> {
        let wire = |output| {
            if let Output::Transmit { wire, .. } = output {
                Some(wire)
            } else {
                None
            }
        };
        self.outputs().into_iter().filter_map(wire).collect()
    }

    fn sent(&mut self, invite: bool, user: u64, reliable: bool) -> (ClientId, Branch) {
        let (id, branch) = self.layer.reserve(invite, user);
        self.layer
            .send(at(0), id, destination(2), Bytes::from_static(b"request"), reliable);
        assert_eq!(self.wires(), [&b"request"[..]]);
        (id, branch)
    }

    fn arrived(&mut self, method: &str, branch: &str) -> Arrived {
        self.layer
            .request(at(0), &key(method, branch, 1), destination(1), false, 7)
    }

    fn new_server(&mut self, method: &str, branch: &str) -> ServerId {
        match self.arrived(method, branch) {
            Arrived::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn run_to(&mut self, end: u64) -> Vec<Output> {
        let mut outputs = self.outputs();
        while let Some(next) = self.layer.next_timeout().filter(|&next| next <= end) {
            self.layer.handle_timeout(at(next));
            outputs.extend(self.outputs());
        }
        outputs
    }
}

#[test]
fn a_repeated_request_is_answered_with_the_stored_response() {
    let mut bench = Bench::new();
    let id = bench.new_server("MESSAGE", "z9hG4bK1");
    assert_eq!(bench.arrived("MESSAGE", "z9hG4bK1"), Arrived::Retransmission);
    assert_eq!(bench.outputs(), [], "Trying absorbs");
    assert!(bench.layer.respond(at(10), id, 200, Bytes::from_static(b"200")));
    assert!(!bench.layer.respond(at(11), id, 200, Bytes::from_static(b"again")));
    assert_eq!(bench.wires(), [&b"200"[..]]);
    assert_eq!(bench.arrived("MESSAGE", "z9hG4bK1"), Arrived::Retransmission);
    let replay = Output::Transmit {
        to: destination(1),
        wire: Bytes::from_static(b"200"),
        client: None,
    };
    assert_eq!(bench.outputs(), [replay]);
    assert_eq!(bench.run_to(32_009), []);
    assert_eq!(bench.run_to(32_010), [Output::ServerGone { user: 7 }], "Timer J");
    assert!(bench.layer.is_empty());
    assert!(matches!(bench.arrived("MESSAGE", "z9hG4bK1"), Arrived::New(new) if new != id));
}

#[test]
fn on_a_stream_a_response_ends_the_transaction() {
    let mut bench = Bench::new();
    let Arrived::New(id) = bench
        .layer
        .request(at(0), &key("INFO", "z9hG4bK1", 1), destination(1), true, 3)
    else {
        panic!("not new")
    };
    assert!(bench.layer.respond(at(1), id, 200, Bytes::from_static(b"200")));
    assert!(matches!(
        bench.outputs()[..],
        [Output::Transmit { .. }, Output::ServerGone { user: 3, .. }]
    ));
    assert!(bench.layer.is_empty() && bench.layer.server(id).is_none());
}

#[test]
fn nobody_answers_408_to_a_non_invite() {
    let mut bench = Bench::new();
    let id = bench.new_server("SUBSCRIBE", "z9hG4bK1");
    assert!(!bench.layer.respond(at(1), id, 408, Bytes::from_static(b"408")));
    assert!(!bench.layer.respond(at(1), id, 180, Bytes::from_static(b"180")));
    assert_eq!(bench.run_to(64_000), [Output::ServerGone { user: 7 }]);
    let id = bench.new_server("INVITE", "z9hG4bK1");
    assert!(bench.layer.respond(at(1), id, 408, Bytes::from_static(b"408")));
}

#[test]
fn an_ack_confirms_only_from_its_own_source() {
    let mut bench = Bench::new();
    let id = bench.new_server("INVITE", "z9hG4bK1");
    assert_eq!(
        bench.arrived("ACK", "z9hG4bK1"),
        Arrived::Retransmission,
        "nothing to acknowledge yet"
    );
    assert!(bench.layer.respond(at(0), id, 486, Bytes::from_static(b"486")));
    let stranger = key("ACK", "z9hG4bK1", 66);
    assert_eq!(
        bench.layer.request(at(1), &stranger, destination(66), false, 0),
        Arrived::AckFor2xx
    );
    assert_eq!(bench.layer.server(id).map(|info| info.state), Some(State::Completed));
    assert_eq!(bench.arrived("ACK", "z9hG4bK1"), Arrived::Ack(id));
    assert_eq!(bench.arrived("ACK", "z9hG4bK1"), Arrived::Retransmission);
    assert_eq!(bench.arrived("INVITE", "z9hG4bK1"), Arrived::Retransmission);
    assert_eq!(bench.wires().len(), 1, "Confirmed is silent");
    assert_eq!(bench.run_to(5_000), [Output::ServerGone { user: 7 }], "Timer I");
    assert_eq!(bench.arrived("ACK", "z9hG4bK1"), Arrived::AckFor2xx);
}

#[test]
fn a_cancel_finds_its_invite_only_from_its_own_source() {
    let mut bench = Bench::new();
    let invite = bench.new_server("INVITE", "z9hG4bK1");
    let stranger = key("CANCEL", "z9hG4bK1", 66);
    let Arrived::Cancel {
        invite: None,
        matched: false,
        ..
    } = bench.layer.request(at(1), &stranger, destination(66), false, 0)
    else {
        panic!("a stranger's CANCEL reached the INVITE")
    };
    let Arrived::Cancel {
        invite: Some(found),
        matched: true,
        id,
    } = bench.arrived("CANCEL", "z9hG4bK1")
    else {
        panic!("no match")
    };
    assert_eq!(found, invite);
    assert!(bench.layer.respond(at(2), id, 200, Bytes::from_static(b"200 CANCEL")));
    assert!(bench.layer.respond(at(2), invite, 487, Bytes::from_static(b"487")));
    assert_eq!(bench.wires(), [&b"200 CANCEL"[..], b"487"]);
    assert_eq!(bench.arrived("CANCEL", "z9hG4bK1"), Arrived::Retransmission);
    assert_eq!(bench.wires(), [&b"200 CANCEL"[..]]);
    bench.new_server("MESSAGE", "z9hG4bK2");
    let on_message = bench.arrived("CANCEL", "z9hG4bK2");
    assert!(matches!(
        on_message,
        Arrived::Cancel {
            invite: None,
            matched: true,
            ..
        }
    ));
}

#[test]
fn a_2xx_to_invite_passes_acks_and_further_2xx() {
    let mut bench = Bench::new();
    let id = bench.new_server("INVITE", "z9hG4bK1");
    assert!(bench.layer.respond(at(0), id, 180, Bytes::from_static(b"180")));
    assert_eq!(bench.arrived("INVITE", "z9hG4bK1"), Arrived::Retransmission);
    assert!(bench.layer.respond(at(0), id, 200, Bytes::from_static(b"200a")));
    assert!(bench.layer.respond(at(0), id, 200, Bytes::from_static(b"200b")));
    assert!(!bench.layer.respond(at(0), id, 486, Bytes::from_static(b"486")));
    assert_eq!(bench.wires(), [&b"180"[..], b"180", b"200a", b"200b"]);
    assert_eq!(bench.arrived("INVITE", "z9hG4bK1"), Arrived::Retransmission);
    assert_eq!(bench.arrived("ACK", "z9hG4bK1"), Arrived::AckFor2xx);
    assert_eq!(bench.run_to(64_000), [Output::ServerGone { user: 7 }], "Timer L");
}

#[test]
fn our_own_2xx_is_repeated_until_acknowledged() {
    let mut bench = Bench::new();
    let id = bench.new_server("INVITE", "z9hG4bK1");
    assert!(
        bench
            .layer
            .respond_repeating(at(0), id, 200, Bytes::from_static(b"200"))
    );
    assert!(bench.layer.set_server_user(id, 8));
    let outputs = bench.run_to(64_000);
    assert_eq!(outputs.len(), 1 + 10 + 2);
    assert_eq!(
        outputs[11..],
        [Output::Unacknowledged { id, user: 8 }, Output::ServerGone { user: 8 }]
    );
    let id = bench.new_server("INVITE", "z9hG4bK2");
    assert!(
        bench
            .layer
            .respond_repeating(at(64_000), id, 200, Bytes::from_static(b"200"))
    );
    assert_eq!(bench.run_to(65_500).len(), 3);
    bench.layer.acknowledged(id);
    assert_eq!(bench.run_to(200_000), [Output::ServerGone { user: 7 }]);
}

#[test]
fn responses_find_their_request_by_branch_and_method() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(false, 5, false);
    let mut forged = branch.as_bytes().to_vec();
    let last = forged.len() - 1;
    forged[last] = if forged[last] == b'a' { b'b' } else { b'a' };
    assert_eq!(bench.layer.response(at(1), &forged, b"MESSAGE", 200, no_ack), None);
    assert_eq!(
        bench.layer.response(at(1), branch.as_bytes(), b"INVITE", 200, no_ack),
        None
    );
    assert_eq!(
        bench.layer.response(at(1), branch.as_bytes(), b"MESSAGE", 0, no_ack),
        None
    );
    assert_eq!(
        bench.layer.response(at(1), branch.as_bytes(), b"MESSAGE", 700, no_ack),
        None
    );
    let pass = Some(Delivered {
        id,
        user: 5,
        pass: true,
    });
    let absorb = Some(Delivered {
        id,
        user: 5,
        pass: false,
    });
    assert_eq!(
        bench.layer.response(at(1), branch.as_bytes(), b"MESSAGE", 100, no_ack),
        pass
    );
    assert_eq!(
        bench.layer.response(at(2), branch.as_bytes(), b"MESSAGE", 200, no_ack),
        pass
    );
    assert_eq!(
        bench.layer.response(at(3), branch.as_bytes(), b"MESSAGE", 200, no_ack),
        absorb
    );
    assert_eq!(bench.run_to(5_002), [], "Timer K is silent");
    assert_eq!(
        bench
            .layer
            .response(at(5_002), branch.as_bytes(), b"MESSAGE", 200, no_ack),
        None
    );
    assert!(bench.layer.is_empty());
}

#[test]
fn an_invite_keeps_its_ack() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(true, 5, false);
    let ack = |_: &Bytes| Bytes::from_static(b"ACK");
    let first = bench.layer.response(at(1), branch.as_bytes(), b"INVITE", 486, ack);
    assert_eq!(
        first,
        Some(Delivered {
            id,
            user: 5,
            pass: true
        })
    );
    let again = bench.layer.response(at(2), branch.as_bytes(), b"INVITE", 486, no_ack);
    assert_eq!(
        again,
        Some(Delivered {
            id,
            user: 5,
            pass: false
        })
    );
    assert_eq!(bench.wires(), [&b"ACK"[..], b"ACK"]);
    assert_eq!(bench.run_to(64_000), [], "Timer D is silent");
    let (id, branch) = bench.sent(true, 6, true);
    assert!(
        bench
            .layer
            .response(at(3), branch.as_bytes(), b"INVITE", 603, ack)
            .is_some()
    );
    assert_eq!(bench.wires(), [&b"ACK"[..]]);
    assert_eq!(bench.layer.client(id), None);
}

#[test]
fn what_cannot_be_written_is_not_sent() {
    let mut bench = Bench::new();
    let nothing = |_: &Bytes| Bytes::new();
    let (id, branch) = bench.sent(true, 5, false);
    bench.layer.response(at(1), branch.as_bytes(), b"INVITE", 180, no_ack);
    assert_eq!(bench.layer.cancel(at(2), id, nothing), Cancelled::Pointless);
    for _ in 0..2 {
        let delivered = bench.layer.response(at(3), branch.as_bytes(), b"INVITE", 500, nothing);
        assert!(delivered.is_some_and(|delivered| delivered.id == id));
    }
    assert_eq!(bench.run_to(64_000), []);
    let marked = branch.marked(7);
    assert!(bench.layer.is_loop(marked.as_bytes(), || 7) && !bench.layer.is_loop(marked.as_bytes(), || 8));
    assert!(bench.layer.is_loop(branch.as_bytes(), || 7) && !bench.layer.is_loop(b"z9hG4bK1", || 7));
    assert_eq!(ClientId::from_token(id.to_token()), Some(id));
    assert_eq!(ClientId::from_token(0), None);
}

#[test]
fn every_2xx_of_a_forked_invite_passes_until_timer_m() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(true, 5, false);
    for ms in 1..4 {
        let delivered = bench.layer.response(at(ms), branch.as_bytes(), b"INVITE", 200, no_ack);
        assert_eq!(
            delivered,
            Some(Delivered {
                id,
                user: 5,
                pass: true
            })
        );
    }
    let late = bench.layer.response(at(4), branch.as_bytes(), b"INVITE", 486, no_ack);
    assert_eq!(
        late,
        Some(Delivered {
            id,
            user: 5,
            pass: false
        })
    );
    assert_eq!(bench.run_to(32_000), []);
    assert_eq!(bench.run_to(32_001), [Output::ClientGone { id, user: 5 }]);
}

#[test]
fn a_cancel_waits_for_a_provisional_response_and_shares_the_branch() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(true, 5, false);
    assert_eq!(bench.layer.cancel(at(1), id, no_ack), Cancelled::Wait);
    assert!(
        bench
            .layer
            .response(at(2), branch.as_bytes(), b"CANCEL", 200, no_ack)
            .is_none()
    );
    assert!(
        bench
            .layer
            .response(at(2), branch.as_bytes(), b"INVITE", 180, no_ack)
            .is_some()
    );
    assert_eq!(
        bench.layer.cancel(at(1_000), id, |_| Bytes::from_static(b"CANCEL")),
        Cancelled::Sent
    );
    assert_eq!(bench.layer.cancel(at(1_000), id, no_ack), Cancelled::Pointless);
    bench.layer.handle_timeout(at(1_500));
    assert_eq!(bench.wires(), [&b"CANCEL"[..], b"CANCEL"], "Timer E");
    let answer = bench
        .layer
        .response(at(1_600), branch.as_bytes(), b"CANCEL", 200, no_ack);
    assert!(answer.is_some_and(|delivered| !delivered.pass && delivered.id != id));
    assert_eq!(bench.run_to(32_999), []);
    assert_eq!(
        bench.run_to(33_000),
        [Output::Failed {
            id,
            user: 5,
            why: Why::Timeout
        }]
    );
    assert!(bench.layer.is_empty());
}

#[test]
fn an_invite_takes_its_cancel_along() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(true, 5, true);
    bench.layer.response(at(2), branch.as_bytes(), b"INVITE", 180, no_ack);
    bench.layer.cancel(at(3), id, |_| Bytes::from_static(b"CANCEL"));
    bench
        .layer
        .response(at(4), branch.as_bytes(), b"INVITE", 487, |_| Bytes::from_static(b"ACK"));
    assert_eq!(bench.wires(), [&b"CANCEL"[..], b"ACK"]);
    assert!(bench.layer.is_empty());
    assert_eq!(
        bench.layer.response(at(5), branch.as_bytes(), b"CANCEL", 200, no_ack),
        None
    );
    assert_eq!(bench.run_to(100_000), []);
}

#[test]
fn timer_c_warns_and_then_fails() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(true, 5, false);
    bench.layer.response(at(0), branch.as_bytes(), b"INVITE", 183, no_ack);
    assert_eq!(bench.run_to(185_000), [Output::TimerC { id, user: 5 }]);
    assert_eq!(
        bench.run_to(217_000),
        [Output::Failed {
            id,
            user: 5,
            why: Why::Timeout
        }]
    );
}

#[test]
fn transport_failure_and_abandon() {
    let mut bench = Bench::new();
    let (id, branch) = bench.sent(false, 5, false);
    bench.layer.transport_failed(at(1), id);
    bench.layer.transport_failed(at(1), id);
    assert_eq!(
        bench.outputs(),
        [Output::Failed {
            id,
            user: 5,
            why: Why::Transport
        }]
    );
    assert_eq!(
        bench.layer.response(at(2), branch.as_bytes(), b"BYE", 200, no_ack),
        None
    );
    let (id, _) = bench.sent(true, 6, false);
    bench.layer.abandon(id);
    assert_eq!(bench.run_to(100_000), []);
    assert!(bench.layer.is_empty());
}

#[test]
fn stale_ids_and_branches_touch_no_successor() {
    let mut bench = Bench::new();
    let (old, old_branch) = bench.sent(false, 1, false);
    bench.layer.abandon(old);
    let (new, _) = bench.layer.reserve(false, 2);
    assert_eq!((old.slot, old.generation + 1), (new.slot, new.generation));
    bench
        .layer
        .send(at(1), old, destination(2), Bytes::from_static(b"x"), false);
    bench.layer.transport_failed(at(1), old);
    bench.layer.abandon(old);
    assert_eq!(bench.layer.cancel(at(1), old, no_ack), Cancelled::Pointless);
    assert_eq!(
        bench.layer.response(at(1), old_branch.as_bytes(), b"BYE", 200, no_ack),
        None
    );
    assert_eq!(bench.layer.client(new).map(|info| info.state), Some(State::Reserved));
    bench
        .layer
        .send(at(1), new, destination(2), Bytes::from_static(b"x"), false);
    bench
        .layer
        .send(at(1), new, destination(2), Bytes::from_static(b"y"), false);
    assert_eq!(bench.wires(), [&b"x"[..]], "sent once, and only by the live id");
    let old = bench.new_server("INFO", "z9hG4bK1");
    bench.layer.drop_server(old);
    let new = bench.new_server("INFO", "z9hG4bK2");
    assert!(!bench.layer.respond(at(1), old, 200, Bytes::from_static(b"200")));
    assert!(!bench.layer.set_server_user(old, 1));
    bench.layer.drop_server(old);
    bench.layer.acknowledged(old);
    assert_eq!(bench.layer.server(new).map(|info| info.user), Some(7));
}
