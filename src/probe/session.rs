//! One question after the other, each with its answer, on one connection.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::questions::{self, Question};
use super::wire::Request;
use super::{About, Asked, MOST_MS, MOST_SENT, Notified, Seen, Setup};
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, View, parse};
use crate::sip::net::Transport;
use crate::sip::random::Random;
use crate::sip::write;

/// Between an answer and the next question.
const PACE_MS: u64 = 100;
/// How long the notification of a subscription may take after its answer.
const NOTIFY_MS: u64 = 1_500;
/// How long the answer to a keep-alive may take (RFC 5626 section 4.4.1 allows ten seconds; nothing depends on it).
const PONG_MS: u64 = 2_000;
/// Questions without an answer in a row, after which nobody is expected to answer.
const MOST_SILENT: usize = 3;
/// Requests of the peer that are answered.
const MOST_ANSWERED: usize = 200;
/// Characters of a header value that are kept.
const MOST_KEPT: usize = 400;

/// Headers of answers that are looked at.
const KEPT: [(&str, Name); 12] = [
    ("Allow", Name::Allow),
    ("Accept", Name::Accept),
    ("Supported", Name::Supported),
    ("Allow-Events", Name::AllowEvents),
    ("Server", Name::Other),
    ("User-Agent", Name::Other),
    ("Expires", Name::Expires),
    ("Require", Name::Require),
    ("Unsupported", Name::Unsupported),
    ("Session-Expires", Name::Other),
    ("Min-Expires", Name::MinExpires),
    ("Warning", Name::Warning),
];

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message.
    Send(Vec<u8>),
    /// Nothing until then, unless something comes.
    Wait(u64),
    /// It is over.
    Done,
}

#[derive(Debug)]
enum State {
    /// The next question goes out then.
    Between(u64),
    /// A question is out.
    Out {
        request: Box<Request>,
        sent_ms: u64,
        until: u64,
        again: u64,
        interval: u64,
        cancelled: bool,
    },
    /// It is answered; a notification may follow.
    Listening {
        call_id: String,
        until: u64,
    },
    /// A keep-alive is out.
    Ping {
        sent_ms: u64,
    },
    Over,
}

/// The questions to one peer.
pub struct Session {
    setup: Setup,
    random: Random,
    questions: VecDeque<Question>,
    state: State,
    out: VecDeque<Vec<u8>>,
    seen: Seen,
    began: Option<u64>,
    silent: usize,
    answered: usize,
    cseq: u32,
    tag: String,
    /// A subscription that has to be ended, before anything else is asked.
    ending: Option<Question>,
    /// INVITEs whose answer was not waited for.
    left: Vec<Request>,
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Session({} to ask)", self.questions.len())
    }
}

impl Session {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(setup: Setup, mut random: Random) -> Self {
        let tag = String::from_utf8_lossy(&random.token::<16>()).into_owned();
        Self {
            questions: questions::all(&setup).into(),
            setup,
            random,
            state: State::Between(0),
            out: VecDeque::new(),
            seen: Seen::default(),
            began: None,
            silent: 0,
            answered: 0,
            cseq: 0,
            tag,
            ending: None,
            left: Vec::new(),
        }
    }

    /// How many questions are over, and how many there are.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        let done = self.seen.asked.len();
        (done, done + self.questions.len())
    }

    /// What is being asked.
    #[must_use]
    pub fn current(&self) -> &str {
        self.seen.asked.last().map_or("", |a| &a.sent)
    }

    /// What to do next.
    pub fn poll(&mut self, now_ms: u64) -> Action {
        let began = *self.began.get_or_insert(now_ms);
        loop {
            if let Some(bytes) = self.out.pop_front() {
                self.seen.sent += 1;
                return Action::Send(bytes);
            }
            if now_ms.saturating_sub(began) > MOST_MS && !matches!(self.state, State::Over) {
                self.stop(&format!("it took longer than {} s", MOST_MS / 1000));
            }
            let next = match &self.state {
                State::Over => return Action::Done,
                State::Between(at) | State::Listening { until: at, .. } => *at,
                State::Out { until, again, .. } => (*until).min(*again),
                State::Ping { sent_ms } => sent_ms + PONG_MS,
            };
            if now_ms < next {
                return Action::Wait(next);
            }
            self.on_time(now_ms);
        }
    }

    fn on_time(&mut self, now_ms: u64) {
        match &mut self.state {
            State::Between(_) => self.next(now_ms),
            State::Listening { .. } => self.between(now_ms),
            State::Ping { .. } => self.state = State::Over,
            State::Out {
                request,
                until,
                again,
                interval,
                cancelled,
                ..
            } => {
                if now_ms >= *until {
                    if request.method == "INVITE" {
                        self.left.push(Request::clone(request));
                    }
                    // Who was rung must not go on ringing.
                    let rang = self.seen.asked.last().is_some_and(|a| a.rang);
                    let cancel = (rang && !*cancelled).then(|| request.beside("CANCEL", None));
                    if let Some(cancel) = cancel {
                        self.out.push_back(cancel.bytes(&self.setup));
                    }
                    self.unanswered(now_ms);
                } else {
                    *again = now_ms.saturating_add(*interval);
                    *interval = interval.saturating_mul(2);
                    if self.seen.sent < MOST_SENT - 8 {
                        self.out.push_back(request.bytes(&self.setup));
                    }
                }
            }
            State::Over => {}
        }
    }

    fn unanswered(&mut self, now_ms: u64) {
        self.silent += 1;
        if self.silent >= MOST_SILENT && !self.seen.is_answered() {
            return self.stop("it does not answer");
        }
        self.between(now_ms);
    }

    fn between(&mut self, now_ms: u64) {
        self.state = State::Between(now_ms + PACE_MS);
    }

    fn stop(&mut self, why: &str) {
        self.seen.stopped.get_or_insert_with(|| why.to_owned());
        self.state = State::Over;
        self.out.clear();
    }

    fn next(&mut self, now_ms: u64) {
        let ending = self.ending.take();
        let room = self.seen.sent < MOST_SENT - 8 || ending.is_some();
        let Some(mut question) = ending.or_else(|| self.questions.pop_front()) else {
            return self.ping(now_ms);
        };
        if !room {
            return self.stop(&format!("{} requests are enough", self.seen.sent));
        }
        self.cseq += 1;
        let request = &mut question.request;
        if question.about != About::Unsubscribe {
            request.cseq = self.cseq;
            request.call_id = self.token();
            request.tag = self.tag.clone();
        }
        if question.about != About::Branchless {
            request.branch = format!("z9hG4bK{}", self.token());
        }
        self.out.push_back(request.bytes(&self.setup));
        let patience = self.setup.patience_ms;
        let interval = if self.setup.transport == Transport::Udp {
            500
        } else {
            patience
        };
        self.state = State::Out {
            request: Box::new(question.request),
            sent_ms: now_ms,
            until: now_ms + patience,
            again: now_ms + interval,
            interval: interval * 2,
            cancelled: false,
        };
        self.seen.asked.push(Asked {
            about: question.about,
            sent: question.sent,
            status: None,
            reason: String::new(),
            took_ms: None,
            headers: Vec::new(),
            media: None,
            rport: false,
            notified: None,
            rang: false,
            lost: None,
        });
    }

    fn ping(&mut self, now_ms: u64) {
        if self.setup.transport == Transport::Udp {
            self.state = State::Over;
            return;
        }
        self.seen.pinged = true;
        self.out.push_back(b"\r\n\r\n".to_vec());
        self.state = State::Ping { sent_ms: now_ms };
    }

    fn token(&mut self) -> String {
        String::from_utf8_lossy(&self.random.token::<16>()).into_owned()
    }

    /// An answer to a keep-alive came.
    pub fn pong(&mut self, now_ms: u64) {
        if let State::Ping { sent_ms } = self.state {
            self.seen.pong_ms = Some(now_ms.saturating_sub(sent_ms));
            self.state = State::Over;
        }
    }

    /// The connection is gone, or cannot be followed any more. Another one goes on with the next question.
    pub fn lost(&mut self, now_ms: u64, why: &str) {
        self.out.clear();
        match self.state {
            State::Out { .. } => {
                if let Some(asked) = self.seen.asked.last_mut() {
                    asked.lost = Some(why.to_owned());
                }
                self.unanswered(now_ms);
            }
            State::Listening { .. } => self.between(now_ms),
            State::Ping { .. } => self.state = State::Over,
            State::Between(_) | State::Over => {}
        }
    }

    /// Another connection is open, from this address of ours.
    pub fn connected(&mut self, local: &str) {
        if self.setup.contact == self.setup.local {
            local.clone_into(&mut self.setup.contact);
        }
        local.clone_into(&mut self.setup.local);
    }

    /// No further connection can be made.
    pub fn give_up(&mut self, why: &str) {
        self.stop(why);
    }

    /// A message came; what it is answered with, on the connection that it came by.
    pub fn take(&mut self, now_ms: u64, message: &[u8]) -> Option<Vec<u8>> {
        let mut index = Index::new();
        let Ok(view) = parse(message, Framing::Datagram, &mut index) else {
            self.seen.garbage = self.seen.garbage.saturating_add(1);
            return None;
        };
        if view.is_request() {
            return self.asked_by_peer(now_ms, &view);
        }
        self.answer(now_ms, &view);
        None
    }

    fn asked_by_peer(&mut self, now_ms: u64, view: &View<'_>) -> Option<Vec<u8>> {
        let method = view.method().map(|m| m.as_bytes().to_vec()).unwrap_or_default();
        if matches!(&*method, b"NOTIFY" | b"BENOTIFY") {
            self.notified(now_ms, view, method == b"BENOTIFY");
        }
        self.answered += 1;
        if matches!(&*method, b"BENOTIFY" | b"ACK") || self.answered > MOST_ANSWERED || view.essentials().is_err() {
            return None;
        }
        let (status, reason) = match &*method {
            b"NOTIFY" | b"OPTIONS" | b"BYE" | b"CANCEL" => (200, "OK"),
            _ => (405, "Method Not Allowed"),
        };
        let mut out = BytesMut::new();
        let tag = self.tag.clone();
        write::respond(
            &mut out,
            view,
            None,
            &write::Answer::new(status, reason).tag(tag.as_bytes()),
        );
        Some(out.to_vec())
    }

    fn notified(&mut self, now_ms: u64, view: &View<'_>, best_effort: bool) {
        let call_id = view.header(Name::CallId).unwrap_or_default();
        let (wanted, is_answered) = match &self.state {
            State::Out { request, .. } => (request.call_id.as_str(), false),
            State::Listening { call_id, .. } => (call_id.as_str(), true),
            _ => return,
        };
        let Some(asked) = self.seen.asked.last_mut().filter(|_| wanted.as_bytes() == call_id) else {
            return;
        };
        let media = view
            .header(Name::ContentType)
            .filter(|_| !view.body().is_empty())
            .map(kept);
        let better = asked.notified.as_ref().is_none_or(|n| n.media.is_none());
        if better {
            asked.notified = Some(Notified {
                best_effort,
                media,
                agent: view
                    .named("User-Agent")
                    .next()
                    .or(view.named("Server").next())
                    .map(kept),
            });
        }
        if is_answered {
            self.between(now_ms);
        }
    }

    /// A session that came about after all is ended at once.
    fn late(&mut self, view: &View<'_>) {
        let call_id = view.header(Name::CallId).unwrap_or_default();
        let is_it = |r: &Request| r.call_id.as_bytes() == call_id;
        let accepted = view.status().is_some_and(|s| (200..300).contains(&s));
        if let Some(at) = self.left.iter().position(is_it).filter(|_| accepted) {
            let request = self.left.swap_remove(at);
            self.hang_up(&request, view);
        }
    }

    fn hang_up(&mut self, request: &Request, view: &View<'_>) {
        for (method, cseq) in [("ACK", request.cseq), ("BYE", request.cseq + 1)] {
            let mut next = request.within(method, cseq, view);
            next.branch = format!("z9hG4bK{}", self.token());
            self.out.push_back(next.bytes(&self.setup));
        }
    }

    fn answer(&mut self, now_ms: u64, view: &View<'_>) {
        self.late(view);
        let State::Out {
            request,
            sent_ms,
            cancelled,
            ..
        } = &mut self.state
        else {
            return;
        };
        let cseq = format!("{} {}", request.cseq, request.method);
        let theirs = view.header(Name::CSeq).unwrap_or_default();
        let same = theirs.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
        let same = same.eq(cseq.as_bytes().split(|b| *b == b' '));
        let ours = same && view.header(Name::CallId) == Some(request.call_id.as_bytes());
        let (Some(status), true, Some(asked)) = (view.status(), ours, self.seen.asked.last_mut()) else {
            return;
        };
        if status < 200 {
            // 100 is of the next hop alone; after any other somebody is being rung.
            if status > 100 && request.method == "INVITE" && !*cancelled {
                (asked.rang, *cancelled) = (true, true);
                let cancel = request.beside("CANCEL", None);
                self.out.push_back(cancel.bytes(&self.setup));
            }
            return;
        }
        asked.read(view, status, now_ms.saturating_sub(*sent_ms));
        let request = request.clone();
        self.silent = 0;
        self.follow(now_ms, &request, view, status);
    }

    /// What an answer asks for.
    fn follow(&mut self, now_ms: u64, request: &Request, view: &View<'_>, status: u16) {
        let well = (200..300).contains(&status);
        let about = self.seen.asked.last().map(|a| a.about);
        if request.method == "INVITE" {
            if well {
                self.hang_up(request, view);
            } else {
                let ack = request.beside("ACK", view.header(Name::To));
                self.out.push_back(ack.bytes(&self.setup));
            }
        }
        let subscribed = well && request.method == "SUBSCRIBE" && about != Some(About::Unsubscribe);
        let lasts = subscribed && matches!(about, Some(About::NoExpires | About::Offers | About::UnknownEvent));
        if lasts {
            let mut end = request.within("SUBSCRIBE", request.cseq + 1, view);
            let event = request.headers.iter().find(|(name, _)| *name == "Event").cloned();
            end.headers = event.into_iter().chain([("Expires", "0".to_owned())]).collect();
            self.ending = Some(Question {
                about: About::Unsubscribe,
                sent: "SUBSCRIBE that ends it".to_owned(),
                request: end,
            });
        }
        let seen = self.seen.asked.last().and_then(|a| a.notified.as_ref());
        if subscribed && seen.is_none() {
            self.state = State::Listening {
                call_id: request.call_id.clone(),
                until: now_ms + NOTIFY_MS,
            };
        } else {
            self.between(now_ms);
        }
    }

    /// What was found out.
    #[must_use]
    pub fn seen(self) -> Seen {
        self.seen
    }
}

impl Asked {
    fn read(&mut self, view: &View<'_>, status: u16, took_ms: u64) {
        self.status = Some(status);
        self.took_ms = Some(took_ms);
        let bytes = view.bytes();
        let first = bytes.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
        self.reason = kept(first.splitn(3, |b| *b == b' ').nth(2).unwrap_or_default());
        for (name, known) in KEPT {
            let values: Vec<String> = match known {
                Name::Other => view.named(name).map(kept).collect(),
                known => view.headers(known).map(kept).collect(),
            };
            if !values.is_empty() {
                self.headers.push((name, values.join(", ")));
            }
        }
        self.media = view
            .header(Name::ContentType)
            .filter(|_| !view.body().is_empty())
            .map(kept);
        if let Ok(essentials) = view.essentials() {
            self.rport = essentials.via.rport().is_some_and(|p| p.is_some()) || essentials.via.received().is_some();
        }
    }
}

/// A value as it may be shown: printable and not too long.
fn kept(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().filter(|c| !c.is_control()).take(MOST_KEPT).collect()
}
