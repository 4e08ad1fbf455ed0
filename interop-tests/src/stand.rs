//! A bridge alone, as a target: requests go in, verdicts come out, and after each it must still serve.
//!
//! Whatever a test did, when its [`Stand`] goes the bridge must be the same process, answer and have kept its memory in
//! bounds: the test fails otherwise.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::agent::Agent;
use crate::link::{Link, Received, TlsSetup};
use crate::net::Family;
use crate::pki::Authority;
use crate::raw::{CLOSED, Raw, SILENCE, Verdict};
use crate::trestle::{self, Ports, Trestle};
use crate::wire::Message;
use crate::{Outcome, wire};

/// The bridge's domain.
pub const DOMAIN: &str = "a.example";

/// How long an OPTIONS may take, whatever happened before.
const ALIVE: Duration = Duration::from_secs(4);

/// How much memory may have been added over a whole run.
const GROWTH_KIB: u64 = 256 * 1024;

/// A case of a table.
#[derive(Debug)]
pub struct Case {
    /// Its name: letter and number of the list it belongs to, and what it is.
    pub name: &'static str,
    /// `UDP`, `TCP` or `TLS`.
    pub transport: &'static str,
    /// What is sent.
    pub bytes: Vec<u8>,
    /// What has to become of it.
    pub verdict: Verdict,
}

impl Case {
    /// A case over UDP.
    #[must_use]
    pub fn udp(name: &'static str, raw: &Raw, verdict: Verdict) -> Self {
        Self {
            name,
            transport: "UDP",
            bytes: raw.bytes(),
            verdict,
        }
    }

    /// A case over TCP.
    #[must_use]
    pub fn tcp(name: &'static str, raw: &Raw, verdict: Verdict) -> Self {
        Self {
            name,
            transport: "TCP",
            bytes: raw.bytes(),
            verdict,
        }
    }
}

/// The bridge and what it began with.
#[derive(Debug)]
pub struct Stand {
    /// The bridge.
    pub bridge: Trestle,
    /// Its authority.
    pub authority: Authority,
    before_kib: u64,
    started_as: u32,
    dir: TempDir,
}

/// Wide per-source limits, since everything comes from one address; an unfinished request is cut after 2 s.
const LIMITS: &str =
    "limits: { per_source: { connections: 1000, handshakes: 1000, requests: 100000 }, half_request_timeout: 2s }\n";

impl Stand {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(family: Family) -> Outcome<Self> {
        Self::start_with(family, LIMITS)
    }

    /// Starts it with this at the end of its configuration, instead of wide limits.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_with(family: Family, rest: &str) -> Outcome<Self> {
        Self::start_as(family, |ports| trestle::config(DOMAIN, ports, rest))
    }

    /// The same with a configuration of the caller's.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_as(family: Family, config: impl FnOnce(&Ports) -> String) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (authority, ports) = (Authority::new()?, Ports::free(family));
        authority.issue(DOMAIN)?.write(dir.path(), DOMAIN)?;
        std::fs::write(dir.path().join("bridge.yaml"), config(&ports))?;
        let mut bridge = Trestle::start(dir.path(), ports)?;
        let before_kib = bridge.process().resident_kib().ok_or("no VmRSS")?;
        let started_as = bridge.process().id();
        Ok(Self {
            bridge,
            authority,
            before_kib,
            started_as,
            dir,
        })
    }

    /// Where its configuration and its store are.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// A new link, over `UDP`, `TCP` or, without a certificate, `TLS`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn link(&self, transport: &str) -> Outcome<Link> {
        let server = self.bridge.ports.client();
        match transport {
            "UDP" => Link::udp(server),
            "TLS" => {
                let setup = TlsSetup {
                    ca: self.authority.pem.clone(),
                    name: DOMAIN.into(),
                    own: None,
                };
                Link::tls(self.bridge.ports.tls(), &setup)
            }
            _ => Link::tcp(server),
        }
    }

    /// A user, registered over UDP.
    ///
    /// # Errors
    /// When REGISTER is not answered 200.
    pub fn user(&self, user: &str) -> Outcome<Agent> {
        let mut agent = Agent::udp(user, DOMAIN, self.bridge.ports.client())?;
        let answer = agent.register(600)?;
        if answer.status() != 200 {
            return Err(format!("REGISTER of {user} was answered {}", answer.start).into());
        }
        Ok(agent)
    }

    /// Sends bytes on a link of their own and returns what became of them.
    ///
    /// # Errors
    /// When no link can be opened.
    pub fn send(&self, transport: &str, bytes: &[u8], within: Duration) -> Outcome<(u16, Option<Message>)> {
        let mut link = self.link(transport)?;
        // A server that closes while we still write has given its answer.
        if link.send(bytes).is_err() {
            return Ok((CLOSED, None));
        }
        Ok(outcome(&mut link, within))
    }

    /// Judges a table of cases; all failures are reported together.
    ///
    /// # Errors
    /// When a case got another verdict or the bridge suffered.
    pub fn judge(&mut self, cases: Vec<Case>) -> Outcome {
        let mut wrong = Vec::new();
        for case in cases {
            let within = Duration::from_millis(if case.verdict.wants_answer() { 4000 } else { 600 });
            let (got, message) = self.send(case.transport, &case.bytes, within)?;
            if !case.verdict.allows(got) {
                let answer = message
                    .map(|m| String::from_utf8_lossy(&m.raw).into_owned())
                    .unwrap_or_default();
                wrong.push(format!(
                    "{} ({}): wanted {:?}, got {got}\n{answer}",
                    case.name, case.transport, case.verdict
                ));
            }
            self.alive()
                .map_err(|e| format!("after {}: {e}; so far: {wrong:#?}", case.name))?;
        }
        self.modest()?;
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n").into())
        }
    }

    /// The bridge answers an OPTIONS on a new connection, and on UDP.
    ///
    /// # Errors
    /// When it does not in 4 s.
    pub fn alive(&mut self) -> Outcome {
        for transport in ["TCP", "UDP"] {
            let started = Instant::now();
            let bytes = Raw::new(transport, "OPTIONS", "sip:a.example").bytes();
            let (got, _) = self
                .send(transport, &bytes, ALIVE)
                .map_err(|e| format!("{e}\n{}", self.bridge.log()))?;
            if got < 200 || started.elapsed() > ALIVE {
                let running = self.bridge.process().is_running();
                return Err(format!(
                    "no answer to OPTIONS over {transport} (running: {running})\n{}",
                    self.bridge.log()
                )
                .into());
            }
        }
        Ok(())
    }

    /// Its memory has not grown beyond reason since the start.
    ///
    /// # Errors
    /// When it has.
    pub fn modest(&mut self) -> Outcome {
        let now = self.bridge.process().resident_kib().ok_or("the bridge is gone")?;
        if now > self.before_kib + GROWTH_KIB {
            return Err(format!("memory grew from {} to {now} KiB", self.before_kib).into());
        }
        Ok(())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Connections of the test that have just gone may still count for a moment.
        let end = Instant::now() + ALIVE;
        let mut state = self.alive();
        while state.is_err() && Instant::now() < end {
            state = self.alive();
        }
        let same = self.bridge.process().id() == self.started_as;
        if let Err(error) = state.and_then(|()| self.modest()) {
            panic!("at the end of the test: {error}");
        }
        assert!(same, "it is another process than at the start");
    }
}

/// The first final answer on a link, or why there is none.
pub fn outcome(link: &mut Link, within: Duration) -> (u16, Option<Message>) {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match link.receive(left) {
            Received::Message(message) if message.status() >= 200 => return (message.status(), Some(*message)),
            Received::Message(_) | Received::Other(_) => {}
            Received::Closed => return (CLOSED, None),
            Received::Nothing => {}
        }
        if left.is_zero() {
            return (SILENCE, None);
        }
    }
}

/// Whether an answer holds a header line of this name that our request must not have been able to put there.
#[must_use]
pub fn has_injected(message: &Message, name: &str) -> bool {
    message.header(name).is_some() || wire::find(&message.raw, format!("\n{name}:").as_bytes()).is_some()
}
