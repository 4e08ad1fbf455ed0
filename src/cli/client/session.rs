//! Requests and answers of one user agent.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Who;
use super::link::Link;
use crate::sip::digest::{Challenge, answer};
use crate::sip::header::Name;
use crate::sip::message::{Framing, Index, View, parse};
use crate::sip::random::Random;
use crate::sip::uri::Aor;
use crate::sip::write;

/// How long a final answer may take (64*T1).
const PATIENCE: Duration = Duration::from_secs(32);

/// A request in the making.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
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
    pub(super) fn open(who: &Who) -> Result<Self, String> {
        let aor = Aor::parse(&who.from).ok_or_else(|| format!("{} is not user@domain", who.from))?;
        let mut seed = [0; 32];
        crate::pki::provider()
            .secure_random
            .fill(&mut seed)
            .map_err(|_| "no randomness".to_string())?;
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

    /// Our Contact.
    pub(super) fn contact(&self) -> String {
        let transport = if self.who.transport == "udp" {
            String::new()
        } else {
            format!(";transport={}", self.who.transport)
        };
        format!("<sip:{}{transport}>", self.link.local)
    }

    /// Sends a request and waits for its final answer; one challenge is answered. Returns status, reason and the answer.
    pub(super) fn ask(&mut self, ask: Ask<'_>) -> Result<(u16, Vec<u8>), String> {
        let mut credentials = None;
        loop {
            let (branch, wire) = self.write(ask, credentials.as_ref());
            let reply = self.transact(&branch, &wire)?;
            let mut index = Index::new();
            let view = parse(&reply, Framing::Datagram, &mut index).map_err(|e| e.to_string())?;
            let status = view.status().unwrap_or(0);
            let (from, to) = match status {
                401 => (Name::WwwAuthenticate, "Authorization"),
                407 => (Name::ProxyAuthenticate, "Proxy-Authorization"),
                _ => return Ok((status, reply)),
            };
            let challenge = view.headers(from).find_map(Challenge::parse);
            let (None, Some(challenge), false) = (&credentials, challenge, self.who.password.is_empty()) else {
                return Ok((status, reply));
            };
            let user = self.aor.user().to_string();
            let method = ask.method.as_bytes();
            let value = answer(
                &challenge,
                &user,
                &self.who.password,
                method,
                ask.target,
                1,
                &mut self.random,
            );
            credentials = Some((to, value));
        }
    }

    fn write(&mut self, ask: Ask<'_>, credentials: Option<&(&str, String)>) -> (String, Vec<u8>) {
        self.cseq += 1;
        let branch = format!("z9hG4bK{}", token(&mut self.random));
        let transport = self.who.transport.to_uppercase();
        let via = format!("SIP/2.0/{transport} {};branch={branch};rport", self.link.local);
        let mut out = BytesMut::new();
        let mut request = write::Request::start(&mut out, ask.method.as_bytes(), ask.target.as_bytes())
            .header(b"Via", via.as_bytes())
            .header(b"Max-Forwards", b"70")
            .parts(
                b"From",
                &[b"<", self.aor.to_uri().as_bytes(), b">;tag=", self.tag.as_bytes()],
            )
            .parts(b"To", &[b"<", ask.target.as_bytes(), b">"])
            .header(b"Call-ID", self.call_id.as_bytes())
            .number(b"CSeq", u64::from(self.cseq), format!(" {}", ask.method).as_bytes());
        for (name, value) in ask.headers {
            request = request.header(name.as_bytes(), value.as_bytes());
        }
        if let Some((name, value)) = credentials {
            request = request.header(name.as_bytes(), value.as_bytes());
        }
        request.body(ask.body.map(|(kind, body)| (kind.as_bytes(), body.as_bytes())));
        (branch, out.to_vec())
    }

    /// Repeats over UDP (Timer E) until the final answer is there.
    fn transact(&mut self, branch: &str, wire: &[u8]) -> Result<Vec<u8>, String> {
        let end = Instant::now() + PATIENCE;
        let mut interval = Duration::from_millis(500);
        let udp = self.who.transport == "udp";
        loop {
            self.link.send(wire).map_err(|e| e.to_string())?;
            let again = Instant::now() + if udp { interval } else { PATIENCE };
            while let Some(left) = again.min(end).checked_duration_since(Instant::now()) {
                let Some(message) = self.link.receive(left).map_err(|e| e.to_string())? else {
                    break;
                };
                if is_final_answer(&message, branch) {
                    return Ok(message);
                }
            }
            if Instant::now() >= end {
                return Err(format!("{} does not answer", self.who.server));
            }
            interval = (interval * 2).min(Duration::from_secs(4));
        }
    }

    /// The next request from the server, answered 200.
    pub(super) fn next_request(&mut self, within: Duration) -> Result<Option<Vec<u8>>, String> {
        let Some(message) = self.link.receive(within).map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let mut index = Index::new();
        let Ok(view) = parse(&message, Framing::Datagram, &mut index) else {
            return Ok(Some(Vec::new()));
        };
        if view.is_request() {
            let mut out = BytesMut::new();
            write::respond(&mut out, &view, 200, "OK", Some(self.tag.as_bytes()), None, &[], None);
            self.link.send(&out).map_err(|e| e.to_string())?;
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
