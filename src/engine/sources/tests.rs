//! Lines and publish trunks in the simulated engine: alice has a primary line and another one at the peer.

use crate::engine::sim::{PEER, Sim, body, header, reply};

const LINES: &str = "lines: [{ number: \"4711\", peer: b }, { number: \"4712\", peer: b }]";

/// The bridge and a telephone system that answers as such systems do.
struct Office {
    sim: Sim,
    /// The last SUBSCRIBE for each line.
    asked: Vec<String>,
    told: Vec<String>,
    cseq: u32,
}

impl Office {
    fn new(presence: &str) -> Self {
        let config = format!("{presence}\n");
        Self::on(Sim::configured(|base| {
            base.replace(
                "alice@a.example, password: { plain: x } }",
                &format!("alice@a.example, password: {{ plain: x }}, {LINES} }}"),
            ) + "notify: { min_interval: 0s }\n"
                + &config
        }))
    }

    fn on(sim: Sim) -> Self {
        let mut office = Self {
            sim,
            asked: Vec::new(),
            told: Vec::new(),
            cseq: 0,
        };
        office.pass(300);
        office
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.sim.pass(ms.min(100));
            self.look();
        }
    }

    /// The telephone system takes subscriptions, and watchers answer.
    fn look(&mut self) {
        loop {
            let new = self.sim.take_requests();
            if new.is_empty() {
                return;
            }
            for (to, request) in new {
                let lines = match request.split(' ').next() {
                    Some("NOTIFY") => {
                        self.told.push(body(&request).to_string());
                        ""
                    }
                    _ => {
                        self.asked.push(request.clone());
                        "Expires: 3600\r\nContact: <sip:ccm@127.0.0.9:5060>\r\n"
                    }
                };
                self.sim.receive(&to.to_string(), &reply(&request, "200 OK", lines));
            }
        }
    }

    /// A NOTIFY on the subscription of the last SUBSCRIBE; `tag` says whether To carries ours.
    fn line(&mut self, body: &str, state: &str, tag: bool) -> u16 {
        self.cseq += 1;
        let subscribe = self.asked.last().cloned().unwrap_or_default();
        let (from, to) = (header(&subscribe, "From"), header(&subscribe, "To"));
        let mut to_us = from.unwrap_or_default();
        if !tag {
            to_us = to_us.split(";tag=").next().unwrap_or_default().to_string();
        }
        let call_id = header(&subscribe, "Call-ID").unwrap_or_default();
        let theirs = to.unwrap_or_default();
        let theirs = theirs.split(";tag=").next().unwrap_or_default();
        let text = format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKn{n}\r\nFrom: {theirs};tag=theirs\r\n\
             To: {to_us}\r\nCall-ID: {call_id}\r\nCSeq: {n} NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:ccm@127.0.0.9:5060>\r\n\
             Event: presence\r\nSubscription-State: {state}\r\nContent-Type: application/pidf+xml\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len(),
            n = self.cseq,
        );
        self.sim.receive(PEER, &text);
        let status = self.sim.status(&call_id);
        self.look();
        status
    }

    fn says(&mut self, basic: &str, activity: &str) {
        let body = phone("sip:4711@b.example", basic, activity);
        assert_eq!(self.line(&body, "active", true), 200);
    }

    fn watch(&mut self) {
        let watch = self.sim.subscribe("bob", "sip:alice@a.example", 80_000);
        assert_eq!(self.sim.status(&watch), 200);
        self.look();
    }

    fn last(&self) -> &str {
        self.told.last().map_or("", String::as_str)
    }
}

fn phone(entity: &str, basic: &str, activity: &str) -> String {
    let said = match activity {
        "" => String::new(),
        word => format!("<e:activities><e:{word}/></e:activities>"),
    };
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}' xmlns:e='urn:ietf:params:xml:ns:pidf:status:rpid'>\
         <tuple id='cmp-4711-9'><status><basic>{basic}</basic>{said}</status></tuple></presence>"
    )
}

fn is_on_the_phone(document: &str) -> bool {
    document.contains("on-the-phone")
}

#[test]
fn the_primary_line_is_watched_by_the_bridge_itself_and_nobody_else_s() {
    let office = Office::new("");
    assert_eq!(office.asked.len(), 1, "{:?}", office.asked);
    assert!(office.asked[0].starts_with("SUBSCRIBE sip:4711@b.example "));
    assert!(
        office.asked[0].contains("From: <sip:bridge.a.example>") || office.asked[0].contains("From: <sip:a.example>")
    );
}

#[test]
fn a_call_makes_its_owner_busy_and_ringing_does_not() {
    let mut office = Office::new("");
    office.watch();
    assert!(office.last().contains("closed"), "{}", office.last());
    office.says("open", "alerting");
    assert!(
        office.last().contains("open") && !is_on_the_phone(office.last()),
        "{}",
        office.last()
    );
    office.says("open", "on-the-phone");
    assert!(is_on_the_phone(office.last()), "{}", office.last());
    assert!(!office.last().contains("status:rpid"), "{}", office.last());
    office.says("open", "");
    assert!(!is_on_the_phone(office.last()));
}

#[test]
fn do_not_disturb_on_the_phone_and_by_hand_come_before_a_call() {
    let mut office = Office::new("");
    office.watch();
    office.says("open", "dnd");
    assert!(office.last().contains(":dnd"), "{}", office.last());
    office.says("closed", "busy");
    assert!(is_on_the_phone(office.last()), "{}", office.last());
    let dnd = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@a.example'><tuple id='manual'><status>\
               <basic>open</basic></status><note>dnd by hand</note></tuple></presence>";
    let lines = "Event: presence\r\nExpires: 3600\r\nContent-Type: application/pidf+xml\r\n";
    let call = office.sim.ask("alice", "PUBLISH", "sip:alice@a.example", lines, dnd);
    assert_eq!(office.sim.status(&call), 200);
    office.look();
    assert!(
        office.last().contains("dnd by hand") && !is_on_the_phone(office.last()),
        "{}",
        office.last()
    );
}

#[test]
fn a_lost_line_leaves_and_makes_nobody_offline() {
    let mut office = Office::new("");
    office.watch();
    assert_eq!(office.sim.register("alice", 3600), 200);
    office.says("open", "on-the-phone");
    assert!(is_on_the_phone(office.last()));
    office.says("closed", "");
    assert!(
        office.last().contains("open") && !office.last().contains("line-"),
        "{}",
        office.last()
    );
    office.says("open", "on-the-phone");
    // The subscription ends, and a new one is refused.
    let gone = phone("sip:4711@b.example", "open", "on-the-phone");
    assert_eq!(office.line(&gone, "terminated;reason=giveup", true), 200);
    office.pass(3_000);
    assert!(
        office.last().contains("open") && !is_on_the_phone(office.last()),
        "{}",
        office.last()
    );
}

#[test]
fn a_phone_that_nobody_else_speaks_beside_is_a_switch() {
    let mut office = Office::new("presence: { lone_idle_phone: ignored }");
    office.watch();
    office.says("open", "");
    assert!(office.last().contains("closed"), "{}", office.last());
    office.says("open", "on-the-phone");
    assert!(is_on_the_phone(office.last()));
}

#[test]
fn a_notify_without_our_tag_or_an_expiry_is_taken() {
    let mut office = Office::new("");
    office.watch();
    let body = phone("sip:4711@b.example", "open", "on-the-phone");
    assert_eq!(office.line(&body, "active", false), 200);
    assert!(is_on_the_phone(office.last()));
    // It came without an expiry: what was asked for holds, and it is refreshed before that.
    let before = office.asked.len();
    office.pass(3_500_000);
    assert_eq!(office.asked.len(), before + 1);
}

#[test]
fn lines_survive_a_restart_and_follow_a_reload() {
    let mut office = Office::new("");
    office.says("open", "on-the-phone");
    let first = header(&office.asked[0], "Call-ID");
    office.sim.restart(2_000);
    office.pass(1_000);
    let again = office.asked.last().cloned().unwrap_or_default();
    assert_eq!(header(&again, "Call-ID"), first, "the same dialog is refreshed");
    office.watch();
    office.says("open", "on-the-phone");
    assert!(is_on_the_phone(office.last()));
    // Without the line, it is left and counts no more.
    office.sim.reload(Sim::snapshot("", "notify: { min_interval: 0s }"));
    office.pass(500);
    let last = office.asked.last().cloned().unwrap_or_default();
    assert!(last.contains("Expires: 0\r\n"), "{last}");
    assert!(!is_on_the_phone(office.last()), "{}", office.last());
}

#[test]
fn a_restart_in_the_middle_of_a_call_tells_nobody_anything() {
    for (after, times) in [("on-the-phone", 0), ("", 1)] {
        let mut office = Office::new("");
        office.watch();
        office.says("open", "on-the-phone");
        office.pass(2_500);
        let told = office.told.len();
        office.sim.restart(1_000);
        office.pass(1_000);
        assert_eq!(office.told.len(), told, "the line has not been heard yet");
        office.says("open", after);
        office.pass(10_000);
        assert_eq!(office.told.len(), told + times, "{after}: {}", office.last());
    }
    // A line that is not heard does not keep anybody waiting.
    let mut office = Office::new("");
    office.watch();
    office.says("open", "on-the-phone");
    office.pass(2_500);
    let told = office.told.len();
    office.sim.restart(1_000);
    office.pass(8_000);
    assert_eq!(office.told.len(), told + 1);
    assert!(!is_on_the_phone(office.last()), "{}", office.last());
}

/// As a telephone system of the time writes it: the person before the tuple and without an id, a basic status in it, drafts
/// of namespaces.
#[test]
fn a_line_is_read_in_the_dialect_of_its_peer() {
    let mut office = Office::on(Sim::configured(|base| {
        base.replace("probe: \"off\"", "probe: \"off\", dialect: unified-cm")
            .replace(
                "alice@a.example, password: { plain: x } }",
                &format!("alice@a.example, password: {{ plain: x }}, {LINES} }}"),
            )
            + "notify: { min_interval: 0s }\n"
    }));
    office.watch();
    let body = |basic: &str, activity: &str| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:4711@b.example' \
             xmlns:e='urn:ietf:params:xml:ns:pidf:status:rpid' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
             xmlns:ce='urn:cisco:params:xml:ns:pidf:rpid'><dm:person><status><basic>{basic}</basic></status>\
             <e:activities>{activity}</e:activities></dm:person><tuple id='cmp-4711-9'><status><basic>{basic}</basic>\
             <e:activities>{activity}</e:activities></status><contact priority='0.8'>sip:4711@b.example:5060</contact></tuple></presence>"
        )
    };
    let rows = [
        ("open", "<e:on-the-phone/>", "on-the-phone"),
        ("closed", "<e:on-the-phone/><e:busy/>", "on-the-phone"),
        ("open", "<ce:alerting/>", "idle"),
        ("open", "<ce:dnd/>", "dnd"),
        ("closed", "", "unknown"),
        ("open", "", "idle"),
    ];
    for (basic, activity, wanted) in rows {
        assert_eq!(
            office.line(&body(basic, activity), "active", true),
            200,
            "{basic} {activity}"
        );
        let why = office
            .sim
            .engine
            .why(office.sim.now, "bob@a.example", "alice@a.example");
        let sources = why.map(|w| w.sources).unwrap_or_default();
        let line = sources.iter().find(|s| s.kind == "line").map(|s| s.state.as_str());
        assert_eq!(line, Some(wanted), "{basic} {activity}: {}", office.last());
    }
}

#[test]
fn why_names_the_sources_and_the_rule() {
    let mut office = Office::new("");
    office.watch();
    let why = |office: &Office| {
        office
            .sim
            .engine
            .why(office.sim.now, "bob@a.example", "sip:alice@a.example")
    };
    let told = why(&office).unwrap_or_else(|e| panic!("{e}"));
    assert!(told.rule.starts_with("nobody says anything"), "{told:?}");
    let parts: Vec<_> = told.sources.iter().map(|s| (s.kind, s.part)).collect();
    assert_eq!(parts, [("line", "left out: unknown"), ("registration", "wins")]);
    let (etag_status, etag) = office.sim.publish("alice", None, 600, Some("mine"));
    assert_eq!(etag_status, 200);
    office.says("open", "on-the-phone");
    office.sim.pass(3_000);
    let told = why(&office).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(told.rule, "a phone in use before any other automatic state");
    assert_eq!(
        (told.sources[0].kind, told.sources[0].part, &*told.sources[0].state),
        ("line", "wins", "on-the-phone")
    );
    assert_eq!(
        (told.sources[0].from.as_str(), told.sources[0].since_s),
        ("4711@b.example at peer b", Some(3))
    );
    assert_eq!((told.sources[1].kind, told.sources[1].part), ("publication", "counts"));
    assert_eq!(
        (told.sources[1].from.as_str(), told.sources[1].state.as_str()),
        (&*etag, "available (\u{201c}mine\u{201d})")
    );
    assert!(told.state.starts_with("busy (on-the-phone"), "{}", told.state);
    let sent = &told.sent[0];
    assert_eq!(
        (sent.version, sent.progress, sent.ago_s),
        (told.version, "the watcher has it", Some(3))
    );
    assert_eq!(
        (sent.content_type, sent.dialect.as_str()),
        ("application/pidf+xml", "rfc")
    );
    assert!(why(&office).is_ok());
    let nobody = office.sim.engine.why(office.sim.now, "bob@a.example", "carl@b.example");
    assert!(nobody.is_err_and(|e| e.contains("does not watch")));
}

mod trunk {
    use super::*;

    const GRANT: &str = "probe: \"off\", publishes: [alice@a.example]";

    fn office() -> Office {
        Office::on(Sim::configured(|base| {
            base.replace("probe: \"off\"", GRANT).replace(
                "alice@a.example, password: { plain: x } }",
                &format!("alice@a.example, password: {{ plain: x }}, {LINES} }}"),
            ) + "notify: { min_interval: 0s }\n"
        }))
    }

    impl Office {
        fn publish(&mut self, to: &str, lines: &str, body: &str) -> String {
            self.cseq += 1;
            let (n, kind) = (
                self.cseq,
                if body.is_empty() {
                    ""
                } else {
                    "Content-Type: application/pidf+xml\r\n"
                },
            );
            let text = format!(
                "PUBLISH {to} SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};branch=z9hG4bKp{n}\r\nFrom: <sip:ccm@b.example>;tag=p{n}\r\n\
                 To: <{to}>\r\nCall-ID: p{n}\r\nCSeq: {n} PUBLISH\r\nMax-Forwards: 70\r\nEvent: presence\r\n{lines}{kind}\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            self.sim.receive(PEER, &text);
            let answer = self.sim.answer(&format!("p{n}")).to_string();
            self.look();
            answer
        }
    }

    const ALICE: &str = "sip:alice@a.example";

    #[test]
    fn a_peer_that_publishes_is_not_asked_and_its_word_on_the_line_counts() {
        let mut office = office();
        assert!(office.asked.is_empty(), "{:?}", office.asked);
        office.watch();
        let body = phone("sip:4711@b.example", "closed", "busy");
        let first = office.publish(ALICE, "Expires: 600\r\n", &body);
        assert!(first.starts_with("SIP/2.0 200"), "{first}");
        assert!(is_on_the_phone(office.last()), "{}", office.last());
        let tag = header(&first, "SIP-ETag").unwrap_or_default();
        // A refresh keeps it, a stale tag is 412, and it ends by Expires 0.
        let second = office.publish(ALICE, &format!("SIP-If-Match: {tag}\r\nExpires: 600\r\n"), "");
        assert!(second.starts_with("SIP/2.0 200"), "{second}");
        assert!(
            office
                .publish(ALICE, &format!("SIP-If-Match: {tag}\r\n"), "")
                .starts_with("SIP/2.0 412")
        );
        let tag = header(&second, "SIP-ETag").unwrap_or_default();
        // A restart keeps the state and the tag.
        office.sim.restart(1_000);
        let idle = phone("sip:4711@b.example", "open", "");
        let third = office.publish(ALICE, &format!("SIP-If-Match: {tag}\r\nExpires: 600\r\n"), &idle);
        assert!(third.starts_with("SIP/2.0 200"), "{third}");
        assert!(
            office.last().contains("open") && !is_on_the_phone(office.last()),
            "{}",
            office.last()
        );
        let tag = header(&third, "SIP-ETag").unwrap_or_default();
        assert!(
            office
                .publish(ALICE, &format!("SIP-If-Match: {tag}\r\nExpires: 0\r\n"), "")
                .starts_with("SIP/2.0 200")
        );
        assert!(office.last().contains("closed"), "{}", office.last());
    }

    #[test]
    fn a_secondary_line_does_not_leak() {
        let mut office = office();
        office.watch();
        let told = office.told.len();
        let body = phone("sip:4712@b.example", "open", "on-the-phone");
        assert!(office.publish(ALICE, "", &body).starts_with("SIP/2.0 200"));
        assert_eq!(office.told.len(), told, "{}", office.last());
    }

    #[test]
    fn nobody_publishes_what_it_may_not() {
        let mut office = office();
        let about = |entity: &str| phone(entity, "open", "on-the-phone");
        let answer = office.publish("sip:bob@a.example", "", &about("sip:bob@a.example"));
        assert!(
            answer.starts_with("SIP/2.0 403") && answer.contains("\"peer.publishes\""),
            "{answer}"
        );
        for stranger in ["sip:9999@b.example", "sip:bob@a.example"] {
            assert!(
                office.publish(ALICE, "", &about(stranger)).starts_with("SIP/2.0 403"),
                "{stranger}"
            );
        }
        // What the peer published is not for alice to change, nor the other way round.
        let (_, own) = office.sim.publish("alice", None, 600, Some("mine"));
        assert!(
            office
                .publish(ALICE, &format!("SIP-If-Match: {own}\r\nExpires: 0\r\n"), "")
                .starts_with("SIP/2.0 412")
        );
    }

    #[test]
    fn what_a_peer_published_goes_with_its_grant() {
        let mut office = office();
        office.watch();
        assert!(
            office
                .publish(ALICE, "", &phone(ALICE, "open", "on-the-phone"))
                .starts_with("SIP/2.0 200")
        );
        assert!(is_on_the_phone(office.last()));
        office.sim.reload(Sim::snapshot("", "notify: { min_interval: 0s }"));
        office.pass(100);
        assert!(!is_on_the_phone(office.last()), "{}", office.last());
        assert!(
            office.sim.disk.keys().all(|k| k.first() != Some(&b'p')),
            "its record is gone"
        );
    }

    /// The dialect of such a trunk: another label, no ids, closed together with busy.
    #[test]
    fn a_trunk_in_its_own_dialect_says_that_a_person_is_on_the_phone() {
        let mut office = Office::on(Sim::configured(|base| {
            base.replace(
                "probe: \"off\"",
                "probe: \"off\", dialect: unified-cm, publishes: [\"*\"]",
            ) + "notify: { min_interval: 0s }\n"
        }));
        office.watch();
        // Whom it names counts in whatever form: without its namespace this is read by the dialect alone.
        let stranger =
            phone("sip:9999@b.example", "closed", "busy").replace(" xmlns='urn:ietf:params:xml:ns:pidf'", "");
        assert!(
            office.publish(ALICE, "", &stranger).starts_with("SIP/2.0 403"),
            "{stranger}"
        );
        let answer = office.publish(ALICE, "", &phone(ALICE, "closed", "busy"));
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
        assert!(
            is_on_the_phone(office.last()) && office.last().contains("open"),
            "{}",
            office.last()
        );
        let why = office
            .sim
            .engine
            .why(office.sim.now, "bob@a.example", "alice@a.example");
        let why = why.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (why.sources[0].kind, why.sources[0].from.as_str()),
            ("publication", "peer b")
        );
    }
}
