//! Conversations under a clock of their own: one sentence of what they promise, one test.

use super::super::sim::{CLIENT, PEER, Sim, body, header, reply};

mod broken;
mod clients;
mod contracts;
mod ends;
mod modes;
mod sessions;

const LCS: &str = "dialect: lcs2005";
const SDP: &str =
    "v=0\r\no=- 0 0 IN IP4 127.0.0.9\r\ns=session\r\nc=IN IP4 127.0.0.9\r\nt=0 0\r\nm=x-ms-message 5060 sip null\r\n";

/// A bridge with alice registered and a peer that speaks otherwise.
fn bridge(settings: &str) -> Sim {
    let mut sim = Sim::peers(settings, "");
    assert_eq!(sim.register("alice", 3600), 200);
    sim.sent.clear();
    sim
}

/// What the bridge has sent to an address since this was asked last: the first of each request.
fn take(sim: &mut Sim, to: &str, method: &str) -> Vec<String> {
    let fits = |(at, m): &(std::net::SocketAddr, String)| at.to_string() == to && m.starts_with(&format!("{method} "));
    let mut found: Vec<String> = Vec::new();
    let (mine, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut sim.sent).into_iter().partition(fits);
    sim.sent = rest;
    for (_, message) in mine {
        if !found.contains(&message) {
            found.push(message);
        }
    }
    found
}

fn one(sim: &mut Sim, to: &str, method: &str) -> String {
    let mut found = take(sim, to, method);
    assert_eq!(found.len(), 1, "{method} to {to}: {found:#?}, and {:#?}", sim.sent);
    found.pop().unwrap()
}

/// The bridge's INVITE is answered 200 with this tag.
fn accept(sim: &mut Sim, invite: &str, tag: &str) {
    let lines = "Contact: <sip:bob@127.0.0.9:5060>\r\nContent-Type: application/sdp\r\n";
    let answer = reply(invite, "200 OK", lines)
        .replace(";tag=theirs", &format!(";tag={tag};epid={tag}"))
        .replace(
            "Content-Length: 0\r\n\r\n",
            &format!("Content-Length: {}\r\n\r\n{SDP}", SDP.len()),
        );
    sim.receive(PEER, &answer);
}

fn answer(sim: &mut Sim, from: &str, request: &str, status: &str) {
    sim.receive(from, &reply(request, status, ""));
}

/// A message of alice's, which is on its way.
fn says(sim: &mut Sim, kind: &str, text: &str) -> String {
    sim.ask(
        "alice",
        "MESSAGE",
        "sip:bob@b.example",
        &format!("Content-Type: {kind}\r\n"),
        text,
    )
}

/// A request of bob's at the peer.
struct Theirs {
    call_id: String,
    from: String,
    to: String,
    cseq: u32,
}

impl Theirs {
    fn new(name: &str) -> Self {
        Self {
            call_id: format!("{name}@b"),
            from: format!("<sip:bob@b.example>;tag={name};epid={name}"),
            to: "<sip:alice@a.example>".into(),
            cseq: 0,
        }
    }

    /// The dialog of the bridge's own INVITE, from the other side.
    fn of(invite: &str, tag: &str) -> Self {
        Self {
            call_id: header(invite, "Call-ID").unwrap(),
            from: format!("<sip:bob@b.example>;tag={tag}"),
            to: header(invite, "From").unwrap(),
            cseq: 0,
        }
    }

    fn text(&mut self, method: &str, lines: &str, body: &str) -> String {
        self.cseq += u32::from(method != "ACK");
        format!(
            "{method} sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:5060;branch=z9hG4bK{}{method}{}\r\nFrom: {}\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nMax-Forwards: 70\r\nContact: <sip:bob@127.0.0.9:5060>\r\n{lines}\
             Content-Length: {}\r\n\r\n{body}",
            self.call_id,
            self.cseq,
            self.from,
            self.to,
            self.call_id,
            self.cseq,
            body.len()
        )
    }

    /// Sends it; the status of the answer, 0 for none yet.
    fn send(&mut self, sim: &mut Sim, method: &str, lines: &str, body: &str) -> u16 {
        let text = self.text(method, lines, body);
        sim.receive(PEER, &text);
        self.status(sim, method)
    }

    fn status(&self, sim: &Sim, method: &str) -> u16 {
        let (id, cseq) = (
            format!("Call-ID: {}\r\n", self.call_id),
            format!("CSeq: {} {method}\r\n", self.cseq),
        );
        let fits = |(_, m): &&(std::net::SocketAddr, String)| {
            m.starts_with("SIP/2.0 ") && m.contains(&id) && m.contains(&cseq)
        };
        sim.sent
            .iter()
            .rev()
            .find(fits)
            .map_or(0, |(_, m)| m[8..11].parse().unwrap())
    }

    /// Opens a session; the 200.
    fn open(&mut self, sim: &mut Sim, lines: &str) -> String {
        let status = self.send(sim, "INVITE", &format!("{lines}Content-Type: application/sdp\r\n"), SDP);
        assert_eq!(status, 200, "{:#?}", sim.sent);
        let ok = sim.answer(&self.call_id).to_string();
        self.to = header(&ok, "To").unwrap();
        let ack = self.text("ACK", "", "");
        sim.receive(PEER, &ack);
        ok
    }

    fn says(&mut self, sim: &mut Sim, text: &str) -> u16 {
        self.send(sim, "MESSAGE", "Content-Type: text/plain; charset=UTF-8\r\n", text)
    }
}

/// Bob at a peer that takes sessions of one kind has opened one with carol, at a peer that takes those of another.
fn opened_across() -> (Sim, Theirs) {
    let c = "  - { name: c, domains: [c.example], transport: udp, next_hop: \"127.0.0.8:5060\", addresses: [127.0.0.8/32], probe: \"off\", dialect: sametime75 }\n";
    let mut sim = Sim::peers("dialect: lcs2005, transit: [c.example]", c);
    let mut bob = Theirs::new("b1");
    bob.to = "<sip:carol@c.example>".into();
    let text = bob
        .text("INVITE", "Content-Type: application/sdp\r\n", SDP)
        .replace("INVITE sip:alice@a", "INVITE sip:carol@c");
    sim.receive(PEER, &text);
    bob.to = header(sim.answer(&bob.call_id), "To").unwrap();
    let ack = bob.text("ACK", "", "");
    sim.receive(PEER, &ack);
    (sim, bob)
}
