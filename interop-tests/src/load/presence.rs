//! SUBSCRIBE with its first NOTIFY, then PUBLISH with a NOTIFY to every watcher; also the fan-out and the memory jobs.
//!
//! Every NOTIFY must belong to its dialog, carry a higher CSeq than the one before, name its presentity and show the
//! version that was published; no watcher may miss one.

use std::time::{Duration, Instant};

use super::desk::{Ask, Desk, Next, Scene};
use super::meter::Meter;
use super::report::Phase;
use super::wires::Arrival;
use super::{Size, Way, text};
use crate::Outcome;

#[derive(Debug, Default, Clone)]
struct Watcher {
    /// The server's tag, from the answer or from a NOTIFY that overtook it.
    their_tag: Vec<u8>,
    accepted: bool,
    cseq: u64,
    /// The version seen last.
    seen: usize,
    begun: Option<Instant>,
}

#[derive(Debug, Default, Clone)]
struct Presentity {
    etag: String,
    /// The version published last.
    version: usize,
    /// The operation under way: when it began, how many watchers have not seen it, whether it was answered.
    begun: Option<Instant>,
    missing: usize,
    answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Publish { rounds: usize },
    Subscribe,
    Listen,
}

/// All presentities and their watchers.
pub struct Presence {
    way: Way,
    people: Vec<Presentity>,
    watchers: Vec<Watcher>,
    each: usize,
    act: Act,
    next: usize,
    /// NOTIFYs in this phase, and how long after the PUBLISH the last came.
    notifies: usize,
    spans: Vec<Duration>,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} watchers of {}", self.watchers.len(), self.people.len())
    }
}

fn document(person: usize, version: usize) -> String {
    let basic = if version.is_multiple_of(2) { "closed" } else { "open" };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" \
         xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:p{person}@pres.test\">\n<tuple id=\"t{person}\"><status><basic>{basic}</basic></status>\
         <contact priority=\"0.8\">sip:p{person}@desk.pres.test</contact><note>version {version} of {person};</note>\
         <timestamp>2026-01-01T00:00:00Z</timestamp></tuple>\n<dm:person id=\"h{person}\"><rpid:activities>\
         <rpid:busy/></rpid:activities><dm:note>at work</dm:note></dm:person>\n</presence>\n"
    )
}

impl Presence {
    /// So many people, each watched by `each`.
    #[must_use]
    pub fn new(way: Way, people: usize, each: usize) -> Self {
        Self {
            way,
            people: vec![Presentity::default(); people],
            watchers: vec![Watcher::default(); people * each],
            each,
            act: Act::Listen,
            next: 0,
            notifies: 0,
            spans: Vec::new(),
        }
    }

    fn begin(&mut self, act: Act) {
        (self.act, self.next, self.notifies) = (act, 0, 0);
        self.spans.clear();
    }

    fn publish(&mut self, desk: &mut Desk, person: usize) -> Outcome {
        let subscribed = self.watchers.get(person * self.each).is_some_and(|w| w.accepted);
        let Some(p) = self.people.get_mut(person) else {
            return Ok(());
        };
        p.version += 1;
        p.begun = Some(Instant::now());
        p.answered = false;
        p.missing = if subscribed { self.each } else { 0 };
        let condition = if p.etag.is_empty() {
            String::new()
        } else {
            format!("SIP-If-Match: {}\r\n", p.etag)
        };
        let body = document(person, p.version);
        let version = p.version;
        desk.begin();
        desk.ask(
            person,
            &Ask {
                method: "PUBLISH",
                uri: &format!("sip:p{person}@pres.test"),
                from: &format!("<sip:p{person}@pres.test>;tag=p{version}"),
                to: &format!("<sip:p{person}@pres.test>"),
                call_id: &format!("p{person}-{version}-{}@load.test", desk.run()),
                cseq: 1,
                extra: &format!(
                    "Event: presence\r\nExpires: 3600\r\n{condition}Content-Type: application/pidf+xml\r\n"
                ),
                body: &body,
            },
        )
    }

    fn subscribe(&mut self, desk: &mut Desk, number: usize) -> Outcome {
        let person = number / self.each;
        if let Some(watcher) = self.watchers.get_mut(number) {
            watcher.begun = Some(Instant::now());
        }
        let contact = desk.contact(&format!("w{number}"));
        desk.begin();
        desk.ask(
            number,
            &Ask {
                method: "SUBSCRIBE",
                uri: &format!("sip:p{person}@pres.test"),
                from: &format!("<sip:w{number}@pres.test>;tag=w{number}"),
                to: &format!("<sip:p{person}@pres.test>"),
                call_id: &format!("s{number}-{}@load.test", desk.run()),
                cseq: 1,
                extra: &format!(
                    "Contact: <{contact}>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\nExpires: 3600\r\n"
                ),
                body: "",
            },
        )
    }

    /// A subscription has begun when it was answered and its first NOTIFY is here.
    fn advance_watcher(&mut self, desk: &mut Desk, number: usize) {
        if let Some(watcher) = self.watchers.get_mut(number)
            && watcher.accepted
            && watcher.cseq > 0
            && let Some(begun) = watcher.begun.take()
        {
            desk.end(begun);
        }
    }

    fn advance_person(&mut self, desk: &mut Desk, person: usize) {
        if let Some(p) = self.people.get_mut(person)
            && p.answered
            && p.missing == 0
            && let Some(begun) = p.begun.take()
        {
            self.spans.push(begun.elapsed());
            desk.end(begun);
        }
    }

    /// Judges a NOTIFY; the number of its watcher when it is good.
    fn check(&mut self, desk: &mut Desk, notify: &[u8]) -> Result<usize, &'static str> {
        let header = |name: &[u8]| text::header(notify, name).unwrap_or_default();
        let to = text::param(header(b"To"), "tag")
            .strip_prefix(b"w")
            .and_then(text::leading);
        let number = usize::try_from(to.ok_or("a NOTIFY to no dialog of ours")?).unwrap_or(usize::MAX);
        let watcher = self.watchers.get_mut(number).ok_or("a NOTIFY to no dialog of ours")?;
        if header(b"Call-ID") != format!("s{number}-{}@load.test", desk.run()).as_bytes() {
            return Err("a NOTIFY with another Call-ID");
        }
        let tag = text::param(header(b"From"), "tag");
        if watcher.their_tag.is_empty() {
            watcher.their_tag = tag.to_vec();
        }
        if watcher.their_tag != tag {
            return Err("a NOTIFY with another tag");
        }
        let cseq = text::number(notify, b"CSeq").unwrap_or(0);
        if cseq == watcher.cseq && self.way == Way::Udp {
            return Ok(number);
        }
        if cseq <= watcher.cseq {
            return Err("a NOTIFY out of order");
        }
        watcher.cseq = cseq;
        self.check_state(number, text::body(notify)).map(|()| number)
    }

    /// Judges the document that a watcher was sent, and notes what it has seen.
    fn check_state(&mut self, number: usize, body: &[u8]) -> Result<(), &'static str> {
        let person = number / self.each;
        let watcher = self.watchers.get_mut(number).ok_or("a NOTIFY to no dialog of ours")?;
        let note = text::between(body, "<note>version ", ";</note>").ok_or("a NOTIFY without the state")?;
        let shown = usize::try_from(text::leading(note).unwrap_or(0)).unwrap_or(0);
        let named = note.ends_with(format!(" of {person}").as_bytes())
            && crate::wire::find(body, format!("entity=\"sip:p{person}@pres.test\"").as_bytes()).is_some();
        let p = self.people.get_mut(person).ok_or("a NOTIFY about nobody")?;
        if !named || shown > p.version {
            return Err("a NOTIFY about somebody else, or a state that was never published");
        }
        if shown < watcher.seen {
            return Err("an old state after a new one");
        }
        if shown > watcher.seen + 1 && watcher.seen > 0 {
            return Err("a state that was left out");
        }
        if shown == p.version && watcher.seen < shown && watcher.accepted && p.begun.is_some() {
            p.missing = p.missing.saturating_sub(1);
        }
        watcher.seen = shown;
        Ok(())
    }
}

impl Scene for Presence {
    fn start(&mut self, desk: &mut Desk) -> Outcome<Next> {
        let number = self.next;
        let people = self.people.len();
        match self.act {
            Act::Publish { rounds } if number < people * rounds => {
                let person = number % people;
                // One change at a time for each presentity.
                if self.people.get(person).is_some_and(|p| p.begun.is_some()) {
                    return Ok(Next::Later);
                }
                self.publish(desk, person)?;
            }
            Act::Subscribe if number < self.watchers.len() => self.subscribe(desk, number)?,
            _ => return Ok(Next::Over),
        }
        self.next += 1;
        Ok(Next::Begun)
    }

    fn answered(&mut self, desk: &mut Desk, tag: usize, _sent: Instant, answer: &[u8]) -> Outcome {
        let status = text::status(answer).unwrap_or(0);
        if let Act::Publish { .. } = self.act {
            let etag = text::header(answer, b"SIP-ETag").unwrap_or_default();
            if status != 200 || etag.is_empty() {
                desk.fail(format!("PUBLISH answered {status}"));
                return Ok(());
            }
            if let Some(p) = self.people.get_mut(tag) {
                p.etag = String::from_utf8_lossy(etag).into_owned();
                p.answered = true;
            }
            self.advance_person(desk, tag);
            return Ok(());
        }
        let theirs = text::param(text::header(answer, b"To").unwrap_or_default(), "tag").to_vec();
        let Some(watcher) = self.watchers.get_mut(tag) else {
            return Ok(());
        };
        let seconds = text::number(answer, b"Expires").unwrap_or(0);
        if !(200..300).contains(&status) || theirs.is_empty() || text::count(answer, b"Contact") != 1 || seconds == 0 {
            desk.fail(format!("SUBSCRIBE answered {status}, or without what makes a dialog"));
            return Ok(());
        }
        if !watcher.their_tag.is_empty() && watcher.their_tag != theirs {
            desk.fault("an answer with another tag than its NOTIFY");
        }
        watcher.their_tag = theirs;
        watcher.accepted = true;
        self.advance_watcher(desk, tag);
        Ok(())
    }

    fn asked(&mut self, desk: &mut Desk, request: &Arrival) -> Outcome {
        if !text::is(&request.bytes, b"NOTIFY") {
            desk.fault("a request that is no NOTIFY");
            return Ok(());
        }
        let answer = text::ok(&request.bytes, "", "");
        desk.wires.send(request.wire, Some(request.from), &answer)?;
        self.notifies += 1;
        match self.check(desk, &request.bytes) {
            Ok(number) => {
                self.advance_watcher(desk, number);
                self.advance_person(desk, number / self.each);
            }
            Err(what) => desk.fault(what),
        }
        Ok(())
    }
}

/// PUBLISH all, SUBSCRIBE all, then change all a few times.
///
/// # Errors
/// When the server is gone.
pub fn run(desk: &mut Desk, way: Way, size: &Size, meter: Meter) -> Outcome<Vec<Phase>> {
    let mut scene = Presence::new(way, size.presentities, size.watchers);
    scene.begin(Act::Publish { rounds: 1 });
    desk.play("seed", meter, size.window, None, &mut scene)?;
    scene.begin(Act::Subscribe);
    let subscribe = desk.play("subscribe", meter, size.window, None, &mut scene)?;
    scene.begin(Act::Publish { rounds: size.rounds });
    let notify = desk.play("notify", meter, 8, None, &mut scene)?.per(scene.notifies);
    finish(desk, &mut scene)?;
    Ok(vec![subscribe, notify])
}

/// Nothing may come late, and every watcher must have seen the last state.
fn finish(desk: &mut Desk, scene: &mut Presence) -> Outcome {
    scene.act = Act::Listen;
    desk.settle(Duration::from_millis(100), scene)?;
    let people = &scene.people;
    let version = |at: usize| people.get(at).map_or(0, |p| p.version);
    let behind = scene.watchers.iter().enumerate();
    let behind = behind.filter(|(at, w)| w.seen != version(at / scene.each)).count();
    if behind > 0 {
        desk.fault(format!("{behind} watchers that do not know the last state"));
    }
    Ok(())
}

/// One presentity, a crowd of watchers, a few changes one after the other; the span is from the PUBLISH to the last NOTIFY.
///
/// # Errors
/// When the server is gone.
pub fn fan_out(desk: &mut Desk, way: Way, size: &Size, meter: Meter) -> Outcome<Vec<Phase>> {
    let mut scene = Presence::new(way, 1, size.crowd);
    scene.begin(Act::Publish { rounds: 1 });
    desk.play("seed", meter, 1, None, &mut scene)?;
    scene.begin(Act::Subscribe);
    desk.play("subscribe", meter, size.window, None, &mut scene)?;
    scene.begin(Act::Publish { rounds: size.rounds });
    let mut phase = desk.play("fan-out", meter, 1, None, &mut scene)?.per(scene.notifies);
    scene.spans.sort_unstable();
    phase.last_ms = scene.spans.get(scene.spans.len() / 2).map(|s| s.as_secs_f64() * 1000.0);
    finish(desk, &mut scene)?;
    Ok(vec![phase])
}

/// Holds subscriptions and reads the server's memory before and after, when transactions are over.
///
/// # Errors
/// When the server is gone.
pub fn memory(desk: &mut Desk, way: Way, size: &Size, meter: Meter, quiet: Duration) -> Outcome<Vec<Phase>> {
    let each = size.watchers.max(1);
    let mut scene = Presence::new(way, (size.held / each).max(1), each);
    scene.begin(Act::Publish { rounds: 1 });
    desk.play("seed", meter, size.window, None, &mut scene)?;
    desk.settle(quiet, &mut scene)?;
    let before = meter.memory();
    scene.begin(Act::Subscribe);
    let mut phase = desk.play("hold", meter, size.window, None, &mut scene)?;
    finish(desk, &mut scene)?;
    desk.settle(quiet, &mut scene)?;
    let grown = meter.memory().saturating_sub(before);
    phase.bytes = Some(grown / u64::try_from(scene.watchers.len().max(1))?);
    Ok(vec![phase])
}

#[cfg(test)]
mod tests {
    use super::super::wires::{Trust, Wires};
    use super::*;

    #[test]
    fn what_a_notify_must_not_do_is_found() -> Outcome {
        let at = |port| crate::net::Family::V4.at(port);
        let wires = Wires::open(Way::Udp, at(9), at(crate::net::free_port()), &Trust::new()?)?;
        let desk = &mut Desk::new(Way::Udp, wires, 1)?;
        let mut scene = Presence::new(Way::Tcp, 1, 2);
        scene.people[0].version = 3;
        let notify = |run: &str, tag: &str, cseq: u32, version: usize| {
            format!(
                "NOTIFY sip:w1@x SIP/2.0\r\nFrom: <sip:p0@x>;tag={tag}\r\nTo: <sip:w1@x>;tag=w1\r\n\
                 Call-ID: s1-{run}@load.test\r\nCSeq: {cseq} NOTIFY\r\n\r\n{}",
                document(0, version)
            )
            .into_bytes()
        };
        let run = desk.run().to_string();
        let mut check = |tag: &str, cseq, version| scene.check(desk, &notify(&run, tag, cseq, version));
        assert_eq!(check("s", 5, 1), Ok(1));
        assert_eq!(check("s", 5, 1), Err("a NOTIFY out of order"));
        assert_eq!(check("t", 6, 1), Err("a NOTIFY with another tag"));
        assert_eq!(check("s", 7, 3), Err("a state that was left out"));
        assert_eq!(
            check("s", 8, 9),
            Err("a NOTIFY about somebody else, or a state that was never published")
        );
        assert_eq!(check("s", 9, 2), Ok(1));
        assert_eq!(check("s", 10, 1), Err("an old state after a new one"));
        assert_eq!(
            scene.check(desk, &notify("x", "s", 11, 2)),
            Err("a NOTIFY with another Call-ID")
        );
        Ok(())
    }

    #[test]
    fn documents_carry_person_and_version() {
        let text = document(3, 4);
        assert_eq!(
            text::between(text.as_bytes(), "<note>version ", ";</note>"),
            Some(&b"4 of 3"[..])
        );
        assert!(text.contains("<basic>closed</basic>"));
    }
}
