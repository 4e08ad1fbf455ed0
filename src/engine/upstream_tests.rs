//! Subscriptions at a peer that behaves as peers do, in the simulated engine.

use super::sim::{CLIENT, PEER, Sim, body, header, pidf, reply};

const CARL: &str = "sip:carl@b.example";

/// Alice watches carl at the peer; what she has been told so far.
struct Far {
    sim: Sim,
    watch: String,
    /// The answer to her SUBSCRIBE.
    dialog: String,
    /// NOTIFY bodies that reached alice, in order.
    told: Vec<String>,
    /// SUBSCRIBEs that reached the peer and have no answer yet.
    asked: Vec<String>,
    seen: Vec<String>,
    /// Contact of the peer's NOTIFYs.
    contact: String,
    cseq: u32,
}

impl Far {
    fn new() -> Self {
        let mut sim = Sim::new();
        sim.pass(10);
        let watch = sim.subscribe("alice", CARL, 80_000);
        assert_eq!(sim.status(&watch), 200, "{}", sim.answer(&watch));
        let dialog = sim.answer(&watch).to_string();
        let mut far = Self {
            sim,
            watch,
            dialog,
            told: Vec::new(),
            asked: Vec::new(),
            seen: Vec::new(),
            contact: "sip:carl@127.0.0.9:5060".into(),
            cseq: 1,
        };
        far.look();
        far
    }

    /// With carl's state known.
    fn known() -> Self {
        let mut far = Self::new();
        let subscribe = far.next();
        far.answer(&subscribe, "200 OK", "Expires: 3600\r\n");
        assert_eq!(far.notify(&subscribe, "theirs", "active;expires=3600", "here"), 200);
        assert!(far.last().contains("here"));
        far
    }

    /// Sorts what has left; alice answers. Repeats over UDP count once.
    fn look(&mut self) {
        loop {
            let new = self.sim.take_requests();
            if new.is_empty() {
                return;
            }
            for (to, request) in new {
                if self.seen.contains(&request) {
                    continue;
                }
                self.seen.push(request.clone());
                if request.starts_with("NOTIFY ") {
                    self.told.push(body(&request).to_string());
                    self.sim.receive(&to.to_string(), &reply(&request, "200 OK", ""));
                } else {
                    assert_eq!(to.to_string(), PEER);
                    self.asked.push(request);
                }
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(500) {
            self.sim.pass(ms.min(500));
            self.look();
        }
    }

    /// The next SUBSCRIBE at the peer.
    fn next(&mut self) -> String {
        self.look();
        assert_eq!(self.asked.len(), 1, "{:?}", self.asked);
        self.asked.remove(0)
    }

    fn quiet(&mut self) {
        self.look();
        assert_eq!(self.asked, [""; 0]);
    }

    fn answer(&mut self, subscribe: &str, status: &str, lines: &str) {
        let contact = "Contact: <sip:carl@127.0.0.9:5060>\r\n";
        self.sim
            .receive(PEER, &reply(subscribe, status, &format!("{contact}{lines}")));
        self.look();
    }

    /// The peer sends a NOTIFY in the dialog of a SUBSCRIBE; the status it is answered with.
    fn notify(&mut self, subscribe: &str, tag: &str, state: &str, note: &str) -> u16 {
        self.cseq += 1;
        self.notify_as(subscribe, tag, state, note, self.cseq, "presence")
    }

    fn notify_as(&mut self, subscribe: &str, tag: &str, state: &str, note: &str, cseq: u32, event: &str) -> u16 {
        let of = |name: &str| header(subscribe, name).unwrap();
        let to = of("From");
        let body = if note.is_empty() {
            String::new()
        } else {
            pidf(CARL, note)
        };
        let kind = if note.is_empty() {
            ""
        } else {
            "Content-Type: application/pidf+xml\r\n"
        };
        let text = format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};rport;branch=z9hG4bKn{tag}{cseq}\r\nFrom: <{CARL}>;tag={tag}\r\n\
             To: {to}\r\nCall-ID: {}\r\nCSeq: {cseq} NOTIFY\r\nMax-Forwards: 70\r\nContact: <{}>\r\n\
             Event: {event}\r\nSubscription-State: {state}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            of("Call-ID"),
            self.contact,
            body.len()
        );
        self.sim.receive(PEER, &text);
        let status = self.sim.status(&of("Call-ID"));
        self.look();
        status
    }

    fn last(&self) -> &str {
        self.told.last().map_or("", String::as_str)
    }

    fn is_unknown(&self) -> bool {
        self.last().contains("unknown")
    }
}

#[test]
fn a_notify_that_overtakes_its_2xx_makes_the_dialog() {
    let mut far = Far::new();
    let subscribe = far.next();
    assert!(far.is_unknown());
    assert!(
        header(&subscribe, "From").unwrap().starts_with("<sip:alice@a.example>"),
        "{subscribe}"
    );
    assert_eq!(far.notify(&subscribe, "theirs", "active;expires=3600", "early"), 200);
    assert!(far.last().contains("early"));
    far.answer(&subscribe, "200 OK", "Expires: 3600\r\n");
    assert_eq!(far.notify(&subscribe, "theirs", "active;expires=3600", "later"), 200);
    assert!(far.last().contains("later"));
}

#[test]
fn the_second_dialog_of_a_forked_subscribe_is_refused() {
    let mut far = Far::known();
    far.pass(3_600_000 * 8 / 10 - 1000);
    far.quiet();
    let mut far = Far::new();
    let subscribe = far.next();
    far.answer(&subscribe, "200 OK", "Expires: 3600\r\n");
    assert_eq!(far.notify(&subscribe, "theirs", "active", "first"), 200);
    assert_eq!(far.notify(&subscribe, "other", "active", "second"), 481);
    assert_eq!(far.notify(&subscribe, "theirs", "active", "third"), 200);
    assert!(far.last().contains("third") && !far.told.iter().any(|b| b.contains("second")));
}

#[test]
fn notifies_out_of_order_or_of_another_event_change_nothing() {
    let mut far = Far::new();
    let subscribe = far.next();
    far.answer(&subscribe, "200 OK", "Expires: 3600\r\n");
    assert_eq!(far.notify_as(&subscribe, "theirs", "active", "new", 9, "presence"), 200);
    assert_eq!(far.notify_as(&subscribe, "theirs", "active", "old", 8, "presence"), 500);
    assert_eq!(
        far.notify_as(&subscribe, "theirs", "active", "strange", 10, "dialog"),
        489
    );
    assert!(far.last().contains("new"));
    assert_eq!(
        far.notify_as(&subscribe, "theirs", "active", "newer", 11, "presence"),
        200
    );
    assert!(far.last().contains("newer"));
}

/// Runs to the refresh that is due.
fn refresh(far: &mut Far) -> String {
    for _ in 0..4000 {
        far.pass(1000);
        if !far.asked.is_empty() {
            break;
        }
    }
    far.next()
}

#[test]
fn a_481_opens_a_new_subscription_and_the_gap_is_unknown_unless_it_is_short() {
    for (pause, unknown) in [(500, false), (3000, true)] {
        let mut far = Far::known();
        let old = refresh(&mut far);
        assert!(
            header(&old, "To").unwrap().contains("tag=theirs"),
            "in the dialog: {old}"
        );
        far.answer(&old, "481 Gone", "");
        let new = far.next();
        assert_ne!(header(&new, "Call-ID"), header(&old, "Call-ID"));
        assert!(!header(&new, "To").unwrap().contains("tag="));
        let told = far.told.len();
        far.pass(pause);
        assert_eq!(far.is_unknown(), unknown);
        far.answer(&new, "200 OK", "Expires: 3600\r\n");
        assert_eq!(far.notify(&old, "theirs", "active", "late"), 481, "the old one is gone");
        assert_eq!(far.notify(&new, "theirs", "active", "here"), 200);
        assert_eq!(far.told.len(), told + if unknown { 2 } else { 0 });
    }
}

#[test]
fn a_refresh_that_fails_keeps_the_state_until_the_subscription_ends() {
    let mut far = Far::known();
    let told = far.told.len();
    let first = refresh(&mut far);
    far.answer(&first, "500 Later", "Retry-After: 60\r\n");
    far.pass(59_000);
    far.quiet();
    far.pass(2_000);
    let second = far.next();
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(far.told.len(), told);
    // Silence is a loss: unknown, and asked again in the same dialog.
    far.pass(33_000);
    assert!(far.is_unknown());
    let third = refresh(&mut far);
    far.answer(&third, "200 OK", "Expires: 3600\r\n");
    far.notify(&third, "theirs", "active", "back");
    assert!(far.last().contains("back"));
}

#[test]
fn a_peer_that_moves_is_refreshed_where_it_is() {
    let mut far = Far::known();
    let dialog = refresh(&mut far);
    far.answer(&dialog, "200 OK", "Expires: 3600\r\n");
    far.contact = "sip:carl@127.0.0.9:5060;moved=1".into();
    assert_eq!(far.notify(&dialog, "theirs", "active;expires=600", "moved"), 200);
    let next = refresh(&mut far);
    assert!(
        next.starts_with("SUBSCRIBE sip:carl@127.0.0.9:5060;moved=1 SIP/2.0"),
        "{next}"
    );
}

#[test]
fn a_first_refusal_waits_as_long_as_the_peer_says() {
    let mut far = Far::new();
    let subscribe = far.next();
    far.answer(&subscribe, "480 Not Now", "Retry-After: 120\r\n");
    far.pass(119_000);
    far.quiet();
    far.pass(2_000);
    let again = far.next();
    far.answer(&again, "403 Never", "");
    far.pass(600_000);
    far.quiet();
    assert!(far.is_unknown());
}

#[test]
fn a_rejected_subscription_is_not_tried_again_before_the_watcher_asks() {
    for reason in ["rejected", "noresource"] {
        let mut far = Far::known();
        let subscribe = far.asked.first().cloned();
        assert_eq!(subscribe, None);
        far.pass(10_000);
        let dialog = refresh(&mut far);
        far.answer(&dialog, "200 OK", "Expires: 3600\r\n");
        far.notify(&dialog, "theirs", &format!("terminated;reason={reason}"), "");
        assert!(far.is_unknown(), "{reason}");
        far.pass(2 * 3_600_000);
        far.quiet();
        let answer = far.dialog.clone();
        let watch = far.watch.clone();
        let lines = format!(
            "From: {}\r\nTo: {}\r\nCall-ID: {watch}\r\nEvent: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: 3000\r\n",
            header(&answer, "From").unwrap(),
            header(&answer, "To").unwrap()
        );
        far.sim
            .ask_with("alice", "SUBSCRIBE", "sip:127.0.0.1:5060", &lines, 50, "");
        let again = far.next();
        assert_ne!(header(&again, "Call-ID"), header(&dialog, "Call-ID"), "{reason}");
    }
}

#[test]
fn an_invariant_state_stays_and_a_deactivated_subscription_moves_at_once() {
    let mut far = Far::known();
    let dialog = refresh(&mut far);
    far.answer(&dialog, "200 OK", "Expires: 3600\r\n");
    far.notify(&dialog, "theirs", "terminated;reason=invariant", "for ever");
    far.pass(2 * 3_600_000);
    far.quiet();
    assert!(far.last().contains("for ever"));

    let mut far = Far::known();
    let dialog = refresh(&mut far);
    let told = far.told.len();
    far.notify(&dialog, "theirs", "terminated;reason=deactivated", "");
    let new = far.next();
    far.answer(&new, "200 OK", "Expires: 3600\r\n");
    far.notify(&new, "theirs", "active", "there");
    assert!(
        far.last().contains("there") && far.told.len() == told + 1,
        "{:?}",
        far.told
    );
    far.pass(10_000);
    far.notify(&new, "theirs", "terminated;reason=probation;retry-after=60", "");
    assert!(far.is_unknown());
    far.pass(59_000);
    far.quiet();
    far.pass(2_000);
    far.next();
}

#[test]
fn the_last_notify_of_a_subscription_that_nobody_needs_is_taken() {
    let mut far = Far::known();
    let answer = far.dialog.clone();
    let lines = format!(
        "From: {}\r\nTo: {}\r\nCall-ID: {}\r\nEvent: presence\r\nContact: <sip:alice@{CLIENT}>\r\nExpires: 0\r\n",
        header(&answer, "From").unwrap(),
        header(&answer, "To").unwrap(),
        far.watch
    );
    far.sim
        .ask_with("alice", "SUBSCRIBE", "sip:127.0.0.1:5060", &lines, 50, "");
    let leave = far.next();
    assert_eq!(header(&leave, "Expires").as_deref(), Some("0"));
    far.answer(&leave, "200 OK", "Expires: 0\r\n");
    assert_eq!(far.notify(&leave, "theirs", "terminated;reason=timeout", ""), 200);
    assert_eq!(far.notify(&leave, "theirs", "active", "more"), 481, "then it is gone");
    assert_eq!(far.sim.engine.status().upstream_subscriptions, 0);
}

#[test]
fn after_a_restart_the_peer_is_asked_and_only_a_change_is_told() {
    for (note, told) in [("here", 0), ("gone", 1)] {
        let mut far = Far::known();
        far.pass(2_000);
        let before = far.told.len();
        far.sim.restart(5_000);
        far.look();
        assert_eq!(far.told.len(), before, "nothing is said before the peer has answered");
        let refresh = far.next();
        assert!(header(&refresh, "To").unwrap().contains("tag=theirs"), "{refresh}");
        far.answer(&refresh, "200 OK", "Expires: 3600\r\n");
        assert_eq!(far.notify(&refresh, "theirs", "active", note), 200);
        assert_eq!(far.told.len(), before + told);
    }
    // A peer that does not answer is not believed for long.
    let mut far = Far::known();
    far.pass(2_000);
    far.sim.restart(5_000);
    far.pass(33_000);
    assert!(far.is_unknown());
    // One that has forgotten the dialog is asked anew at once.
    let mut far = Far::known();
    far.pass(2_000);
    far.sim.restart(5_000);
    let refresh = far.next();
    far.answer(&refresh, "481 Gone", "");
    far.next();
}

#[test]
fn a_lost_peer_is_unknown_at_once_and_refreshed_one_by_one_when_it_returns() {
    let mut sim = Sim::probing();
    let whom = ["sip:carl@b.example", "sip:cora@b.example", "sip:cyril@b.example"];
    let serve = |sim: &mut Sim, alive: bool| -> Vec<String> {
        let all = sim.take_requests();
        let mut seen = Vec::new();
        for (to, request) in all {
            let to = to.to_string();
            if to == PEER && !alive {
                continue;
            }
            let contact = "Contact: <sip:b@127.0.0.9:5060>\r\nExpires: 3600\r\n";
            sim.receive(&to, &reply(&request, "200 OK", contact));
            seen.push(request);
        }
        seen
    };
    sim.pass(100);
    serve(&mut sim, true);
    let mut subscribes = Vec::new();
    for presentity in whom {
        sim.subscribe("alice", presentity, 80_000);
        subscribes.extend(serve(&mut sim, true).into_iter().filter(|r| r.starts_with("SUBSCRIBE")));
    }
    assert_eq!(subscribes.len(), 3);
    for (n, (subscribe, presentity)) in subscribes.iter().zip(whom).enumerate() {
        let of = |name: &str| header(subscribe, name).unwrap();
        let body = pidf(presentity, "here");
        let notify = format!(
            "NOTIFY sip:127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {PEER};rport;branch=z9hG4bKm{n}\r\nFrom: <{presentity}>;tag=theirs\r\n\
             To: {}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\nMax-Forwards: 70\r\nContact: <sip:b@127.0.0.9:5060>\r\nEvent: presence\r\n\
             Subscription-State: active;expires=3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: {}\r\n\r\n{body}",
            of("From"),
            of("Call-ID"),
            body.len()
        );
        sim.receive(PEER, &notify);
    }
    let told = serve(&mut sim, true);
    assert_eq!(told.iter().filter(|r| r.contains("here")).count(), 3);
    // The next probe is not answered.
    let mut unknown = 0;
    for _ in 0..70 {
        sim.pass(1000);
        let told = serve(&mut sim, false);
        unknown += told
            .iter()
            .filter(|r| r.starts_with("NOTIFY") && r.contains("unknown"))
            .count();
    }
    assert_eq!(unknown, 3, "each watcher is told once");
    // The peer answers the next one.
    let mut refreshes = Vec::new();
    for _ in 0..60_000 {
        sim.pass(1);
        for request in serve(&mut sim, true) {
            if request.starts_with("SUBSCRIBE") {
                refreshes.push((sim.now.mono_ms, header(&request, "To").unwrap()));
            }
        }
        if refreshes.len() == 3 {
            break;
        }
    }
    assert_eq!(refreshes.len(), 3, "{refreshes:?}");
    assert!(
        refreshes.iter().all(|(_, to)| to.contains("tag=theirs")),
        "in the dialogs: {refreshes:?}"
    );
    assert!(
        refreshes.windows(2).all(|w| w[1].0 >= w[0].0 + 4),
        "paced: {refreshes:?}"
    );
}
