//! Users here whose clients take sessions, beside one who sends messages by themselves.

use super::super::super::sim::{challenge, stream};
use super::*;
use crate::engine::Input;
use crate::sip::digest;
use crate::sip::net::FlowId;
use crate::sip::random::Random;

/// A client of alice's at the second listener.
struct Client {
    flow: u64,
    count: u32,
}

impl Client {
    /// Signs in.
    fn new(sim: &mut Sim, flow: u64) -> Self {
        sim.connect(flow);
        let mut client = Self { flow, count: 0 };
        let ids = format!(
            "From: <sip:alice@a.example>;tag=r{flow};epid=e{flow}\r\nTo: <sip:alice@a.example>\r\nCall-ID: r{flow}\r\n\
             CSeq: 1 REGISTER\r\nEvent: registration\r\n"
        );
        let answer = client.send(sim, "REGISTER", "sip:a.example", &ids, "");
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        client
    }

    fn at(&self) -> String {
        stream(self.flow).to_string()
    }

    /// Sends a request, and answers its challenge; the answer.
    fn send(&mut self, sim: &mut Sim, method: &str, uri: &str, lines: &str, text: &str) -> String {
        self.count += 1;
        let at = stream(self.flow);
        let start = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/tcp {at};branch=z9hG4bK{}x{}\r\n{lines}Max-Forwards: 70\r\n\
             Contact: <sip:alice@a.example:{};maddr=192.0.2.66;transport=tcp>\r\n",
            self.flow,
            self.count,
            at.port()
        );
        let length = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        let mut before = sim.sent.len();
        sim.receive_by(self.flow, &format!("{start}{length}"));
        let last = |sim: &Sim, before: usize| {
            let new = sim.sent.iter().skip(before);
            let mut mine = new.filter(|(to, m)| *to == at && m.starts_with("SIP/2.0 "));
            mine.next_back().map_or_else(String::new, |(_, m)| m.clone())
        };
        let first = last(sim, before);
        let Some((name, value)) = challenge(&first) else {
            return first;
        };
        let asked = digest::Challenge::parse(value.as_bytes()).unwrap();
        let mut random = Random::from_seed([9; 32]);
        let value = digest::answer(&asked, "alice", "x", method.as_bytes(), "(null)", 1, &mut random);
        before = sim.sent.len();
        sim.receive_by(self.flow, &format!("{start}{name}: {value}\r\n{length}"));
        last(sim, before)
    }

    fn answer(&self, sim: &mut Sim, request: &str, status: &str) {
        sim.receive_by(self.flow, &reply(request, status, ""));
    }

    /// Takes the bridge's INVITE.
    fn accept(&self, sim: &mut Sim) -> String {
        let invite = one(sim, &self.at(), "INVITE");
        assert!(invite.contains("m=x-ms-message 5060 sip null"), "{invite}");
        let lines = "Contact: <sip:alice@127.0.0.2:5070;transport=tcp>\r\nContent-Type: application/sdp\r\n";
        let answer = reply(&invite, "200 OK", lines).replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: {}\r\n\r\n{SDP}", SDP.len()),
        );
        sim.receive_by(self.flow, &answer);
        assert_eq!(take(sim, &self.at(), "ACK").len(), 1);
        invite
    }

    /// A request of hers in the dialog of the bridge's INVITE.
    fn within(&mut self, sim: &mut Sim, invite: &str, cseq: u32, method: &str, kind: &str, text: &str) -> String {
        let lines = format!(
            "From: <sip:alice@a.example>;tag=theirs\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{kind}",
            header(invite, "From").unwrap(),
            header(invite, "Call-ID").unwrap()
        );
        self.send(sim, method, "sip:127.0.0.1:5060;transport=tcp", &lines, text)
    }

    fn lose(&self, sim: &mut Sim) {
        sim.input(Input::Closed {
            flow: FlowId(self.flow),
        });
    }
}

const TEXT: &str = "Content-Type: text/plain\r\n";

/// A bridge with bob, who sends messages by themselves.
fn bridge_with_bob() -> Sim {
    let mut sim = Sim::with_clients_of("lcs2005-clients");
    assert_eq!(sim.register("bob", 3600), 200);
    sim.sent.clear();
    sim
}

fn bob_says(sim: &mut Sim, text: &str) -> String {
    sim.ask("bob", "MESSAGE", "sip:alice@a.example", TEXT, text)
}

#[test]
fn a_message_by_itself_opens_a_session_with_a_client() {
    let mut sim = bridge_with_bob();
    let mut alice = Client::new(&mut sim, 1);
    let call = bob_says(&mut sim, "hello");
    let invite = alice.accept(&mut sim);
    let message = one(&mut sim, &alice.at(), "MESSAGE");
    assert_eq!(body(&message), "hello");
    alice.answer(&mut sim, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    // Her answer and her typing reach him as he knows them.
    let keyboard = crate::im::typing::keyboard(true);
    let answer = alice.within(
        &mut sim,
        &invite,
        2,
        "INFO",
        "Content-Type: application/xml\r\n",
        &keyboard,
    );
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let typing = one(&mut sim, CLIENT, "MESSAGE");
    assert!(typing.contains(">active<"), "{typing}");
    answer_ok(&mut sim, &typing);
    alice.within(&mut sim, &invite, 3, "MESSAGE", TEXT, "hi bob");
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(body(&message), "hi bob");
    answer_ok(&mut sim, &message);
    // So does his.
    let body = crate::im::typing::is_composing(true);
    sim.ask(
        "bob",
        "MESSAGE",
        "sip:alice@a.example",
        "Content-Type: application/im-iscomposing+xml\r\n",
        &body,
    );
    let info = one(&mut sim, &alice.at(), "INFO");
    assert!(info.contains("status=\"type\""), "{info}");
    alice.answer(&mut sim, &info, "200 OK");
    // She leaves the session; the next text opens another.
    let answer = alice.within(&mut sim, &invite, 4, "BYE", "", "");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let call = bob_says(&mut sim, "again");
    alice.accept(&mut sim);
    let message = one(&mut sim, &alice.at(), "MESSAGE");
    assert_eq!(super::body(&message), "again");
    alice.answer(&mut sim, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
}

fn answer_ok(sim: &mut Sim, request: &str) {
    answer(sim, CLIENT, request, "200 OK");
}

#[test]
fn a_client_opens_a_session_with_one_who_has_none() {
    let mut sim = bridge_with_bob();
    let mut alice = Client::new(&mut sim, 1);
    let ids = "From: <sip:alice@a.example>;tag=a1;epid=e1\r\nTo: <sip:bob@a.example>\r\nCall-ID: a1\r\n";
    let lines = format!(
        "{ids}CSeq: 1 INVITE\r\nms-text-format: text/plain; charset=UTF-8;ms-body=SGk=\r\nContent-Type: application/sdp\r\n"
    );
    let ok = alice.send(&mut sim, "INVITE", "sip:bob@a.example", &lines, SDP);
    assert!(ok.starts_with("SIP/2.0 200"), "{ok}");
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(body(&message), "Hi");
    answer_ok(&mut sim, &message);
    let to = header(&ok, "To").unwrap();
    let lines = |cseq: u32, method: &str, more: &str| {
        let ids = ids.replace("<sip:bob@a.example>", &to);
        format!("{ids}CSeq: {cseq} {method}\r\n{more}")
    };
    alice.send(&mut sim, "ACK", "sip:127.0.0.1:5060", &lines(1, "ACK", ""), "");
    alice.send(
        &mut sim,
        "MESSAGE",
        "sip:127.0.0.1:5060",
        &lines(2, "MESSAGE", TEXT),
        "more",
    );
    let message = one(&mut sim, CLIENT, "MESSAGE");
    assert_eq!(body(&message), "more");
    answer_ok(&mut sim, &message);
    let call = bob_says(&mut sim, "yes?");
    let message = one(&mut sim, &alice.at(), "MESSAGE");
    assert!(message.contains("Call-ID: a1\r\n"), "{message}");
    alice.answer(&mut sim, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
}

#[test]
fn a_lost_connection_takes_its_sessions_and_the_text_waits_for_her_return() {
    let mut sim = bridge_with_bob();
    let alice = Client::new(&mut sim, 1);
    let call = bob_says(&mut sim, "one");
    alice.accept(&mut sim);
    assert_eq!(body(&one(&mut sim, &alice.at(), "MESSAGE")), "one");
    alice.lose(&mut sim);
    assert_eq!(sim.status(&call), 202, "it waits for her");
    let second = bob_says(&mut sim, "two");
    assert_eq!(sim.status(&second), 202);
    assert_eq!(sim.engine.status().messages_under_way, 0);
    // She is back: in one session, in order.
    let alice = Client::new(&mut sim, 2);
    assert!(
        take(&mut sim, &alice.at(), "MESSAGE").is_empty(),
        "nothing outside a session"
    );
    alice.accept(&mut sim);
    for text in ["one", "two"] {
        let message = one(&mut sim, &alice.at(), "MESSAGE");
        assert_eq!(body(&message), text);
        assert!(
            header(&message, "From").unwrap().contains("sip:bob@a.example"),
            "{message}"
        );
        alice.answer(&mut sim, &message, "200 OK");
    }
    assert!(take(&mut sim, &alice.at(), "INVITE").is_empty());
    assert!(!sim.disk.keys().any(|k| matches!(k.first(), Some(b'm' | b'c'))));
    assert!(take(&mut sim, CLIENT, "MESSAGE").is_empty(), "he is told of no failure");
}

#[test]
fn a_text_on_its_way_over_a_lost_connection_goes_to_the_next() {
    let mut sim = bridge_with_bob();
    let desk = Client::new(&mut sim, 1);
    let call = bob_says(&mut sim, "one");
    desk.accept(&mut sim);
    assert_eq!(take(&mut sim, &desk.at(), "MESSAGE").len(), 1);
    let phone = Client::new(&mut sim, 2);
    desk.lose(&mut sim);
    phone.accept(&mut sim);
    let message = one(&mut sim, &phone.at(), "MESSAGE");
    assert_eq!(body(&message), "one");
    phone.answer(&mut sim, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
}

#[test]
fn what_waited_survives_a_restart_and_a_client_that_does_not_answer() {
    let mut sim = Sim::with_clients_of("lcs2005-clients");
    let call = bob_says(&mut sim, "later");
    assert_eq!(sim.status(&call), 202);
    sim.restart(1_000);
    sim.sent.clear();
    let alice = Client::new(&mut sim, 1);
    let invite = one(&mut sim, &alice.at(), "INVITE");
    alice.answer(&mut sim, &invite, "480 Temporarily Unavailable");
    assert_eq!(take(&mut sim, &alice.at(), "ACK").len(), 1);
    assert_eq!(sim.engine.status().messages_under_way, 0);
    sim.pass(31_000);
    alice.accept(&mut sim);
    let message = one(&mut sim, &alice.at(), "MESSAGE");
    assert_eq!(body(&message), "later");
    alice.answer(&mut sim, &message, "200 OK");
    sim.pass(100_000);
    assert!(take(&mut sim, &alice.at(), "MESSAGE").is_empty());
}

#[test]
fn a_client_that_declines_is_final() {
    let mut sim = bridge_with_bob();
    let alice = Client::new(&mut sim, 1);
    let call = bob_says(&mut sim, "hello");
    let invite = one(&mut sim, &alice.at(), "INVITE");
    alice.answer(&mut sim, &invite, "603 Decline");
    assert_eq!(sim.status(&call), 603);
    assert_eq!(sim.engine.messages.len(), 0);
}

#[test]
fn a_client_that_does_not_come_leaves_it_to_the_next() {
    let mut sim = bridge_with_bob();
    let (desk, phone) = (Client::new(&mut sim, 1), Client::new(&mut sim, 2));
    let call = bob_says(&mut sim, "hello");
    let invite = one(&mut sim, &desk.at(), "INVITE");
    assert!(take(&mut sim, &phone.at(), "INVITE").is_empty());
    desk.answer(&mut sim, &invite, "480 Temporarily Unavailable");
    phone.accept(&mut sim);
    let message = one(&mut sim, &phone.at(), "MESSAGE");
    assert_eq!(body(&message), "hello");
    phone.answer(&mut sim, &message, "200 OK");
    assert_eq!(sim.status(&call), 200);
    // Nobody comes: it waits.
    let mut sim = bridge_with_bob();
    let clients = [Client::new(&mut sim, 1), Client::new(&mut sim, 2)];
    let call = bob_says(&mut sim, "hello");
    for client in &clients {
        let invite = one(&mut sim, &client.at(), "INVITE");
        client.answer(&mut sim, &invite, "480 Temporarily Unavailable");
    }
    assert_eq!((sim.status(&call), sim.engine.messages.len()), (202, 1));
}
