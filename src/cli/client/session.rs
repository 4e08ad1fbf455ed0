//! Requests and answers of one user agent.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::link::Link;
use super::typed::{self, Answer, Parts, Remote};
use super::{Problem, Who};
use crate::sip::message::{Framing, Index, View, parse};
use crate::sip::random::Random;
use crate::sip::uri::Aor;
use crate::sip::write;

/// How long a final answer may take (64*T1).
const PATIENCE: Duration = Duration::from_secs(32);

/// A request in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: rsip::Method,
    pub(super) target: &'a Aor,
    pub(super) remote: Option<&'a Remote>,
    pub(super) headers: &'a [rsip::Header],
    pub(super) body: Option<(&'a str, &'a str)>,
}

/// One user agent.
pub(super) struct Session {
    link: Link,
    who: Who,
    pub(super) aor: Aor,
    random: Random,
    cseq: u32,
    call_id: String,
    tag: String,
}

impl Session {
    pub(super) fn open(who: &Who) -> Result<Self, Problem> {
        let aor = super::address(&who.from)?;
        let mut seed = [0; 32];
        crate::pki::provider()
            .secure_random
            .fill(&mut seed)
            .map_err(|_| Problem::Unusable("the operating system gives no randomness".into()))?;
        let mut random = Random::from_seed(seed);
        let (call_id, tag) = (token(&mut random), token(&mut random));
        Ok(Self {
            link: Link::open(who)?,
            who: who.clone(),
            aor,
            random,
            cseq: 0,
            call_id,
            tag,
        })
    }

    fn transport(&self) -> rsip::Transport {
        match self.who.transport.as_str() {
            "udp" => rsip::Transport::Udp,
            "tcp" => rsip::Transport::Tcp,
            _ => rsip::Transport::Tls,
        }
    }

    /// Our Contact.
    pub(super) fn contact(&self) -> rsip::Header {
        typed::contact(self.link.local, self.transport())
    }

    /// Sends a request and waits for its final answer; one challenge is answered.
    pub(super) fn ask(&mut self, ask: Ask<'_>) -> Result<Answer, Problem> {
        let (branch, request) = self.request(ask, None);
        let answer = self.transact(&branch, &request)?;
        if !matches!(answer.status, 401 | 407) {
            return Ok(answer);
        }
        let (user, password) = (self.aor.user().to_string(), self.who.secret(&self.aor));
        if password.is_empty() {
            return Ok(answer);
        }
        let Some(credentials) = answer.credentials(&user, &password, &request, &mut self.random) else {
            return Ok(answer);
        };
        let (branch, request) = self.request(ask, Some(credentials));
        self.transact(&branch, &request)
    }

    fn request(&mut self, ask: Ask<'_>, credentials: Option<rsip::Header>) -> (String, rsip::Request) {
        self.cseq += 1;
        let branch = format!("z9hG4bK{}", token(&mut self.random));
        let headers: Vec<rsip::Header> = ask.headers.iter().cloned().chain(credentials).collect();
        let request = typed::request(&Parts {
            method: ask.method,
            target: ask.target,
            remote: ask.remote,
            from: &self.aor,
            tag: &self.tag,
            call_id: &self.call_id,
            cseq: self.cseq,
            transport: self.transport(),
            local: self.link.local,
            branch: &branch,
            headers: &headers,
            body: ask.body,
        });
        (branch, request)
    }

    fn lost(&self, error: &std::io::Error) -> Problem {
        Problem::Unreachable(format!("{}: {error}", self.who.server()))
    }

    /// Repeats over UDP (Timer E) until the final answer is there.
    fn transact(&mut self, branch: &str, request: &rsip::Request) -> Result<Answer, Problem> {
        let wire = request.to_string();
        let end = Instant::now() + PATIENCE;
        let mut interval = Duration::from_millis(500);
        let udp = self.who.transport == "udp";
        loop {
            self.link.send(wire.as_bytes()).map_err(|e| self.lost(&e))?;
            let again = (Instant::now() + if udp { interval } else { PATIENCE }).min(end);
            while let Some(left) = again.checked_duration_since(Instant::now()) {
                let Some(message) = self.link.receive(left).map_err(|e| self.lost(&e))? else {
                    break;
                };
                if is_final_answer(&message, branch)
                    && let Some(answer) = Answer::read(&message)
                {
                    return Ok(answer);
                }
            }
            if Instant::now() >= end {
                return Err(Problem::Unreachable(format!("{} does not answer", self.who.server())));
            }
            interval = (interval * 2).min(Duration::from_secs(4));
        }
    }

    /// The next request from the server, answered 200.
    pub(super) fn next_request(&mut self, within: Duration) -> Result<Option<Vec<u8>>, Problem> {
        let Some(message) = self.link.receive(within).map_err(|e| self.lost(&e))? else {
            return Ok(None);
        };
        let mut index = Index::new();
        let Ok(view) = parse(&message, Framing::Datagram, &mut index) else {
            return Ok(Some(Vec::new()));
        };
        if view.is_request() {
            let mut out = BytesMut::new();
            write::respond(
                &mut out,
                &view,
                None,
                &write::Answer::new(200, "OK").tag(self.tag.as_bytes()),
            );
            self.link.send(&out).map_err(|e| self.lost(&e))?;
        }
        Ok(Some(message))
    }
}

fn is_final_answer(message: &[u8], branch: &str) -> bool {
    let mut index = Index::new();
    let Ok(view) = parse(message, Framing::Datagram, &mut index) else {
        return false;
    };
    let ours = |view: &View<'_>| {
        view.essentials()
            .is_ok_and(|e| e.via.branch() == Some(branch.as_bytes()))
    };
    view.status().is_some_and(|s| s >= 200) && ours(&view)
}

fn token(random: &mut Random) -> String {
    String::from_utf8_lossy(&random.token::<16>()).into_owned()
}
