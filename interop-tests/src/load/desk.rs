//! Where operations are counted: client transactions that are open, what has been answered, and what went wrong.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::meter::{Latencies, Meter};
use super::report::Phase;
use super::wires::{Arrival, Wires};
use super::{GIVE_UP, Way, text};
use crate::Outcome;

/// A request under way.
#[derive(Debug)]
struct Call {
    wire: usize,
    bytes: Vec<u8>,
    sent: Instant,
    again: Instant,
    interval: Duration,
    /// The caller's own number for the operation.
    tag: usize,
    call_id: String,
    cseq: String,
}

/// A request to be sent.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI.
    pub uri: &'a str,
    /// The whole value of From.
    pub from: &'a str,
    /// The whole value of To.
    pub to: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// The number in CSeq.
    pub cseq: usize,
    /// Further header lines, each with its line end.
    pub extra: &'a str,
    /// The body.
    pub body: &'a str,
}

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// The sockets.
    pub wires: Wires,
    /// Connections to the server, with our own address on each.
    pub doors: Vec<(usize, SocketAddr)>,
    way: Way,
    calls: HashMap<u64, Call>,
    /// Calls in the order of their next repetition, roughly: those that are gone are skipped.
    due: VecDeque<(Instant, u64)>,
    next: u64,
    run: String,
    /// What ought not to have happened, and how often.
    pub faults: BTreeMap<String, u64>,
    /// Repetitions sent.
    pub repeats: u64,
    /// Times of what has ended in this phase.
    pub times: Latencies,
    done: usize,
    open: usize,
}

/// What became of the wish to begin another operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It has begun.
    Begun,
    /// Not now: it waits for one that is under way.
    Later,
    /// There is none left.
    Over,
}

/// What plays on the desk.
pub trait Scene {
    /// Begins one more operation.
    ///
    /// # Errors
    /// When the server is gone.
    fn start(&mut self, desk: &mut Desk) -> Outcome<Next>;

    /// A final answer to the operation `tag` that was begun at `sent`.
    ///
    /// # Errors
    /// When the server is gone.
    fn answered(&mut self, desk: &mut Desk, tag: usize, sent: Instant, answer: &[u8]) -> Outcome;

    /// A request from the server.
    ///
    /// # Errors
    /// When the server is gone.
    fn asked(&mut self, desk: &mut Desk, request: &Arrival) -> Outcome;
}

impl Desk {
    /// A desk with so many connections to the server.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn new(way: Way, mut wires: Wires, connections: usize) -> Outcome<Self> {
        let doors = (0..connections).map(|_| wires.connect()).collect::<Outcome<Vec<_>>>()?;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        Ok(Self {
            wires,
            doors,
            way,
            calls: HashMap::new(),
            due: VecDeque::new(),
            next: 0,
            run: format!("{:x}", since.as_micros()),
            faults: BTreeMap::new(),
            repeats: 0,
            times: Latencies::default(),
            done: 0,
            open: 0,
        })
    }

    /// Text that no other run uses.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// A URI of ours that the server can send requests to.
    #[must_use]
    pub fn contact(&self, user: &str) -> String {
        format!("sip:{user}@{};transport={}", self.wires.listen, self.way.param())
    }

    /// Notes something that ought not to happen.
    pub fn fault(&mut self, what: impl Into<String>) {
        *self.faults.entry(what.into()).or_default() += 1;
    }

    /// An operation has begun.
    pub fn begin(&mut self) {
        self.open += 1;
    }

    /// An operation has ended well.
    pub fn end(&mut self, sent: Instant) {
        self.times.add(sent.elapsed());
        self.done += 1;
        self.open = self.open.saturating_sub(1);
    }

    /// An operation has ended badly.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.fault(what);
        self.open = self.open.saturating_sub(1);
    }

    /// Sends a request; the answer comes back with `tag`.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn ask(&mut self, tag: usize, ask: &Ask<'_>) -> Outcome {
        let id = self.next;
        self.next += 1;
        let doors = self.doors.len().max(1);
        let Some((wire, local)) = self.doors.get(tag % doors).copied() else {
            return Err("no connection to the server".into());
        };
        let cseq = format!("{} {}", ask.cseq, ask.method);
        let bytes = format!(
            "{} {} SIP/2.0\r\nVia: SIP/2.0/{} {local};branch=z9hG4bK-{}-{id};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: {cseq}\r\n{}Content-Length: {}\r\n\r\n{}",
            ask.method, ask.uri, self.way.via(), self.run, ask.from, ask.to, ask.call_id, ask.extra, ask.body.len(), ask.body,
        )
        .into_bytes();
        self.wires.send(wire, None, &bytes)?;
        let now = Instant::now();
        let interval = Duration::from_millis(500);
        self.due.push_back((now + interval, id));
        self.calls.insert(
            id,
            Call {
                wire,
                bytes,
                sent: now,
                again: now + interval,
                interval,
                tag,
                call_id: ask.call_id.into(),
                cseq,
            },
        );
        Ok(())
    }

    /// Runs operations, `window` at a time, until the scene has no more or `until` is past, and all have ended.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn play(
        &mut self,
        name: &str,
        meter: Meter,
        window: usize,
        until: Option<Instant>,
        scene: &mut dyn Scene,
    ) -> Outcome<Phase> {
        (self.done, self.open, self.times, self.repeats) = (0, 0, Latencies::default(), 0);
        let (cpu, begun) = (meter.cpu(), Instant::now());
        let mut arrivals = Vec::new();
        let (mut more, mut progress, mut last) = (true, begun, 0);
        loop {
            while more && self.open < window {
                let past = until.is_some_and(|end| Instant::now() >= end);
                match if past { Next::Over } else { scene.start(self)? } {
                    Next::Begun => {}
                    Next::Later => break,
                    Next::Over => more = false,
                }
            }
            if self.open == 0 && !more {
                break;
            }
            self.wires.turn(Duration::from_millis(20), &mut arrivals)?;
            for arrival in arrivals.drain(..) {
                self.take(&arrival, scene)?;
            }
            self.repeat()?;
            if self.done != last {
                (last, progress) = (self.done, Instant::now());
            } else if progress.elapsed() > GIVE_UP {
                *self.faults.entry(format!("{name}: lost")).or_default() += u64::try_from(self.open)?;
                self.calls.clear();
                break;
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Phase::new(
            name,
            self.done,
            seconds,
            meter.cpu().saturating_sub(cpu),
            &mut self.times,
            self.repeats,
        ))
    }

    /// Plays until nothing has come for a while: what is repeated or late shows here.
    ///
    /// # Errors
    /// When the server is gone.
    pub fn settle(&mut self, during: Duration, scene: &mut dyn Scene) -> Outcome {
        let end = Instant::now() + during;
        let mut arrivals = Vec::new();
        while Instant::now() < end {
            self.wires.turn(Duration::from_millis(20), &mut arrivals)?;
            for arrival in arrivals.drain(..) {
                self.take(&arrival, scene)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, arrival: &Arrival, scene: &mut dyn Scene) -> Outcome {
        let Some(status) = text::status(&arrival.bytes) else {
            return scene.asked(self, arrival);
        };
        if status < 200 {
            return Ok(());
        }
        let via = text::header(&arrival.bytes, b"Via").unwrap_or_default();
        let mark = format!("z9hG4bK-{}-", self.run);
        let branch = text::param(via, "branch").strip_prefix(mark.as_bytes());
        let Some(id) = branch.and_then(text::leading) else {
            self.fault("an answer with a branch that is not ours");
            return Ok(());
        };
        // Over UDP a repeated request may be answered twice.
        let Some(call) = self.calls.remove(&id) else {
            if self.way != Way::Udp || id >= self.next {
                self.fault("an answer that nobody waits for");
            }
            return Ok(());
        };
        let same = |name: &[u8], sent: &str| text::header(&arrival.bytes, name) == Some(sent.as_bytes());
        if !same(b"Call-ID", &call.call_id) || !same(b"CSeq", &call.cseq) {
            self.fault("an answer with another Call-ID or CSeq");
        }
        if text::count(&arrival.bytes, b"Via") != 1 || call.wire != arrival.wire {
            self.fault("an answer with more than our Via, or on another connection");
        }
        scene.answered(self, call.tag, call.sent, &arrival.bytes)
    }

    /// Timer E for UDP; over streams only the loss is noticed.
    fn repeat(&mut self) -> Outcome {
        let now = Instant::now();
        while let Some((at, id)) = self.due.front().copied() {
            if at > now {
                break;
            }
            self.due.pop_front();
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if self.way != Way::Udp {
                continue;
            }
            call.interval = (call.interval * 2).min(Duration::from_secs(4));
            call.again = now + call.interval;
            self.due.push_back((call.again, id));
            self.repeats += 1;
            self.wires.send(call.wire, None, &call.bytes)?;
        }
        Ok(())
    }
}

/// Stops with a list of what went wrong.
///
/// # Errors
/// When anything did.
pub fn judge(faults: &BTreeMap<String, u64>) -> Outcome {
    if faults.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = faults.iter().map(|(what, times)| format!("{times} x {what}")).collect();
    Err(list.join("; ").into())
}
