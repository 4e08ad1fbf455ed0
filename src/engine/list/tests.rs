//! Lists in the simulated engine: a peer that speaks a dialect with them watches many in one dialog.

mod bounds;
mod life;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::sim::{Sim, body, header, pidf, reply};
use crate::policy::Snapshot;
use crate::sip::net::Source;

const ERIN: &str = "sip:erin@b.example";
const CARL: &str = "sip:carl@c.example";
/// Where the peer is that somebody on the list lives at.
const FAR: &str = "127.0.0.8:5060";
const ACCEPT: &str = "Accept: application/rlmi+xml, multipart/related, text/xml+msrtc.pidf, application/pidf+xml\r\n";
/// What such a server offers.
const OFFER: &str = "Accept: application/rlmi+xml, multipart/related, text/xml+msrtc.pidf, application/pidf+xml\r\nSupported: \
                     ms-piggyback-first-notify\r\nSupported: ms-benotify\r\nProxy-Require: ms-benotify\r\nSupported: eventlist\r\n";
const ADHOC: &str = "Require: adhoclist\r\nContent-Type: application/adrl+xml\r\n";

/// The usual configuration with a peer of the dialect, one of plain SIP, and a user who may not be watched.
fn config(base: &str, dialect: &str, rest: &str) -> String {
    base.replace("transport: udp, next_hop", "transport: tcp, next_hop")
        .replace(
            "probe: \"off\" }",
            &format!(
                "probe: \"off\", transit: [c.example], dialect: {dialect} }}\n  - {{ name: c, domains: [c.example], transport: udp, next_hop: \"{FAR}\", \
                 addresses: [127.0.0.8/32], probe: \"off\" }}"
            ),
        )
        .replace(
            "peers:\n",
            "  - { aor: closed@a.example, password: { plain: x }, enabled: { presence: false } }\npeers:\n",
        )
        + rest
        + "\n"
}

const AT_ONCE: &str = "notify: { min_interval: 0s }";

struct World {
    sim: Sim,
    line: Source,
    numbers: u32,
    etags: BTreeMap<String, String>,
}

/// A notification about a list, or an answer that holds one.
#[derive(Debug)]
struct Told {
    version: u32,
    full: bool,
    /// State, reason or nothing, and what stands in the part, of each resource.
    resources: BTreeMap<String, (String, String)>,
}

impl Told {
    fn state(&self, uri: &str) -> &str {
        self.resources.get(uri).map_or("missing", |r| &r.0)
    }

    fn document(&self, uri: &str) -> &str {
        self.resources.get(uri).map_or("missing", |r| &r.1)
    }
}

fn attribute<'t>(tag: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

/// Reads what a list is told.
fn read(message: &str) -> Told {
    let kind = header(message, "Content-Type").unwrap_or_default();
    assert!(
        kind.starts_with("multipart/related;type=\"application/rlmi+xml\";start=\"<"),
        "{message}"
    );
    let boundary = attribute(&kind.replace(';', " "), "boundary").unwrap().to_string();
    let start = attribute(&kind.replace(';', " "), "start").unwrap().to_string();
    let text = body(message).strip_suffix(&format!("--{boundary}--\r\n")).unwrap();
    let mut parts = BTreeMap::new();
    for part in text.split(&format!("--{boundary}\r\n")).skip(1) {
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        let id = header(head, "Content-ID").unwrap();
        assert_eq!(header(head, "Content-Transfer-Encoding").as_deref(), Some("binary"));
        assert!(
            parts
                .insert(id, body.strip_suffix("\r\n").unwrap().to_string())
                .is_none(),
            "{message}"
        );
    }
    let rlmi = parts.remove(&start).unwrap();
    let list = rlmi.split_once("<list ").map(|(_, l)| format!(" {l}")).unwrap();
    let mut resources = BTreeMap::new();
    for resource in rlmi.split("<resource").skip(1) {
        let (tag, instance) = resource.split_once("<instance").unwrap();
        assert_eq!(attribute(instance, "id"), Some("1"));
        let reason = attribute(instance, "reason")
            .map(|r| format!(" {r}"))
            .unwrap_or_default();
        let state = format!("{}{reason}", attribute(instance, "state").unwrap());
        let cid = attribute(instance, "cid").map(|cid| format!("<{cid}>"));
        let document = cid
            .map(|cid| parts.remove(&cid).expect("a part of that name"))
            .unwrap_or_default();
        let uri = attribute(tag, "uri").unwrap().to_string();
        assert!(
            resources.insert(uri, (state, document)).is_none(),
            "one instance each: {rlmi}"
        );
    }
    assert!(parts.is_empty(), "each part is somebody's");
    Told {
        version: attribute(&list, "version").unwrap().parse().unwrap(),
        full: attribute(&list, "fullState") == Some("true"),
        resources,
    }
}

fn adhoc(uris: &[&str]) -> String {
    let resources: String = uris.iter().map(|u| format!("<resource uri=\"{u}\"/>")).collect();
    format!(
        "<adhoclist xmlns=\"urn:ietf:params:xml:ns:adrl\" uri=\"{ERIN}\"><create xmlns=\"\">{resources}</create></adhoclist>"
    )
}

impl World {
    fn new(dialect: &str) -> Self {
        Self::with(dialect, AT_ONCE)
    }

    fn with(dialect: &str, rest: &str) -> Self {
        let mut sim = Sim::configured(|base| config(base, dialect, rest));
        let line = sim.open("127.0.0.9:40000");
        Self {
            sim,
            line,
            numbers: 0,
            etags: BTreeMap::new(),
        }
    }

    fn snapshot(change: impl FnOnce(String) -> String) -> Arc<Snapshot> {
        Sim::configured(|base| change(config(base, "lcs2005", AT_ONCE)))
            .engine
            .snapshot()
            .clone()
    }

    /// erin sends a SUBSCRIBE; the answer.
    fn send(&mut self, lines: &str, body: &str) -> String {
        self.numbers += 1;
        let n = self.numbers;
        let ids = format!("To: <sip:alice@a.example>\r\nCall-ID: w{n}\r\nCSeq: 5 SUBSCRIBE\r\n");
        self.raw(&format!("{ids}{lines}"), body, &format!("w{n}"))
    }

    fn raw(&mut self, lines: &str, body: &str, call_id: &str) -> String {
        self.numbers += 1;
        let text = format!(
            "SUBSCRIBE sip:alice@a.example SIP/2.0\r\nVia: SIP/2.0/tcp 127.0.0.9:40000;branch=z9hG4bKw{}\r\nFrom: <{ERIN}>;tag=t;\
             epid=01ab\r\nMax-Forwards: 70\r\nContact: <sip:erin@127.0.0.9:40000;transport=tcp>\r\nEvent: presence\r\n\
             {lines}Content-Length: {}\r\n\r\n{body}",
            self.numbers,
            body.len()
        );
        self.sim.receive_over(self.line, &text);
        self.sim.answer(call_id).to_string()
    }

    fn watch(&mut self, offer: &str, uris: &[&str]) -> String {
        self.send(&format!("{offer}{ADHOC}"), &adhoc(uris))
    }

    /// Refreshes, changes or ends a list.
    fn again(&mut self, answer: &str, cseq: u32, lines: &str, body: &str) -> String {
        let (to, call_id) = (header(answer, "To").unwrap(), header(answer, "Call-ID").unwrap());
        let ids = format!("To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} SUBSCRIBE\r\n");
        self.raw(&format!("{ids}{lines}"), body, &call_id)
    }

    fn publish(&mut self, user: &str, note: &str) {
        let etag = self.etags.get(user).cloned();
        let (status, etag) = self.sim.publish(user, etag.as_deref(), 80_000, Some(note));
        assert_eq!(status, 200);
        self.etags.insert(user.into(), etag);
    }

    /// What left for erin so far; NOTIFY is answered.
    fn told(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        for (to, request) in self.sim.take_requests() {
            if to.to_string() == FAR {
                continue;
            }
            if request.starts_with("NOTIFY ") {
                self.sim.receive_over(self.line, &reply(&request, "200 OK", ""));
            }
            if request.contains("NOTIFY ") {
                out.push(request);
            }
        }
        out
    }

    fn told_once(&mut self) -> Told {
        let told = self.told();
        let [one] = &told[..] else { panic!("{told:?}") };
        read(one)
    }

    /// What left for the far peer.
    fn asked(&mut self) -> Vec<String> {
        let asked = self
            .sim
            .take_requests()
            .into_iter()
            .filter(|(to, _)| to.to_string() == FAR);
        asked.map(|(_, m)| m).filter(|m| m.starts_with("SUBSCRIBE ")).collect()
    }

    /// The far peer takes a SUBSCRIBE, and says something of carl.
    fn far_says(&mut self, subscribe: &str, cseq: u32, note: &str) {
        let of = |name: &str| header(subscribe, name).unwrap();
        if cseq == 1 {
            let contact = format!("Contact: <sip:carl@{FAR}>\r\nExpires: 3600\r\n");
            self.sim.receive(FAR, &reply(subscribe, "200 OK", &contact));
        }
        let body = pidf(CARL, note);
        let text = format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {FAR};rport;branch=z9hG4bK{note}{cseq}\r\nFrom: <{CARL}>;tag=theirs\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:carl@{FAR}>\r\nEvent: presence\r\n\
             Subscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            of("From"),
            of("Call-ID"),
            body.len()
        );
        self.sim.receive(FAR, &text);
    }

    fn subscriptions(&self) -> (usize, usize) {
        let status = self.sim.engine.status();
        (status.subscriptions, status.lists)
    }
}

const ALICE: &str = "sip:alice@a.example";
const BOB: &str = "sip:bob@a.example";

#[test]
fn the_whole_list_rides_in_the_answer_and_changes_follow() {
    let mut world = World::new("lcs2005");
    world.publish("alice", "one");
    let answer = world.watch(OFFER, &[ALICE, BOB]);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!(header(&answer, "Require").as_deref(), Some("eventlist"));
    assert_eq!(header(&answer, "ms-piggyback-cseq").as_deref(), Some("1"));
    let first = read(&answer);
    assert!(first.full && first.version == 1, "{first:?}");
    assert_eq!((first.state(ALICE), first.state(BOB)), ("active", "active"));
    assert!(
        first.document(ALICE).contains("<presentity") && first.document(ALICE).contains("aggregate=\"300\""),
        "{first:?}"
    );
    assert!(first.document(BOB).contains("aggregate=\"0\""), "{first:?}");
    assert!(world.told().is_empty(), "nothing follows the answer");
    assert_eq!(world.subscriptions(), (2, 1));
    world.publish("bob", "here");
    let told = world.told();
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(
        told.starts_with("BENOTIFY ") && header(told, "Require").as_deref() == Some("eventlist"),
        "{told}"
    );
    assert_eq!(header(told, "CSeq").as_deref(), Some("2 BENOTIFY"));
    let next = read(told);
    assert!(!next.full && next.version == 2, "{next:?}");
    assert_eq!(next.resources.len(), 1, "{next:?}");
    assert!(next.document(BOB).contains("aggregate=\"300\""), "{next:?}");
    // A change that this dialect cannot show is none.
    world.publish("bob", "still here");
    let told = world.told();
    assert!(told.iter().all(|t| t.contains("still here")), "{told:?}");
}

#[test]
fn what_was_not_offered_is_not_done() {
    let mut world = World::new("lcs2005");
    let answer = world.watch(ACCEPT, &[ALICE, BOB]);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!((header(&answer, "Require"), header(&answer, "Supported")), (None, None));
    let told = world.told();
    assert!(
        told.len() == 1 && told[0].starts_with("NOTIFY ") && header(&told[0], "Require").is_none(),
        "{told:?}"
    );
    let first = read(&told[0]);
    assert!(
        first.full && first.version == 1 && first.resources.len() == 2,
        "{first:?}"
    );
    let pidf = ACCEPT.replace("text/xml+msrtc.pidf, ", "");
    world.watch(&pidf, &[ALICE]);
    assert!(world.told_once().document(ALICE).contains("<presence "));
}

#[test]
fn changes_are_paced_together_and_the_last_state_arrives() {
    let mut world = World::with("lcs2005", "");
    world.watch(OFFER, &[ALICE, BOB]);
    world.told();
    for n in 0..20 {
        world.publish("alice", &format!("alice{n}"));
        world.publish("bob", &format!("bob{n}"));
        world.sim.pass(100);
    }
    world.sim.pass(20_000);
    let told: Vec<Told> = world.told().iter().map(|t| read(t)).collect();
    assert!((2..=4).contains(&told.len()), "{}", told.len());
    let mut last = BTreeMap::new();
    for (n, told) in told.iter().enumerate() {
        assert!(!told.full && told.version == n as u32 + 2, "{told:?}");
        last.extend(told.resources.clone());
    }
    assert!(
        last[ALICE].1.contains("alice19") && last[BOB].1.contains("bob19"),
        "{last:?}"
    );
}

#[test]
fn whoever_may_not_be_watched_is_terminated_and_not_missing() {
    let mut world = World::new("lcs2005");
    let uris = [
        ALICE,
        "sip:closed@a.example",
        "sip:nobody@a.example",
        "sip:x@elsewhere.example",
        "sip:frank@b.example",
        "sip:127.0.0.1:5060",
        "mailto:alice@a.example",
        "not an address",
        "sip:alice@a.example?Subject=x",
        "sips:bob@a.example",
    ];
    let first = read(&world.watch(OFFER, &uris));
    assert_eq!(first.resources.len(), uris.len(), "{first:?}");
    assert_eq!(first.state(ALICE), "active");
    for uri in &uris[1..9] {
        let state = first.state(uri);
        assert!(
            matches!(state, "terminated rejected" | "terminated noresource"),
            "{uri} {state}"
        );
        assert_eq!(first.document(uri), "");
    }
    assert_eq!(first.state("sip:nobody@a.example"), "terminated noresource");
}

#[test]
fn lists_are_counted_and_named_for_operators() {
    let mut world = World::new("lcs2005");
    world.watch(OFFER, &[ALICE, BOB, "sip:nobody@a.example"]);
    let now = world.sim.now;
    let mut shown: Vec<_> = world.sim.engine.subscription_status(now);
    shown.sort_by(|a, b| a.presentity.cmp(&b.presentity));
    let names: Vec<_> = shown.iter().map(|s| s.presentity.as_str()).collect();
    assert_eq!(names, ["a list of 3", "alice@a.example", "bob@a.example"]);
    assert!(
        shown
            .iter()
            .all(|s| s.watcher == "erin@b.example" && s.expires_s == 28_800),
        "{shown:?}"
    );
    let why = world.sim.engine.why(now, "erin@b.example", "bob@a.example").unwrap();
    assert_eq!(why.sent.len(), 1);
    assert_eq!(why.sent[0].content_type, "text/xml+msrtc.pidf");
    assert!(why.sent[0].ago_s.is_some(), "{why:?}");
}
