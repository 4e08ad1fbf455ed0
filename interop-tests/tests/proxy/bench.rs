//! A bridge whose peer b.example is a test client over UDP.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::Link;
use interop_tests::net::Family;
use interop_tests::pki::Authority;
use interop_tests::stand::DOMAIN;
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::wire::{Message, Request};
use tempfile::TempDir;

/// Nothing may come for so long where nothing may come at all.
pub(crate) const QUIET: Duration = Duration::from_millis(800);
/// What is answered at once is answered within this, also where the machine is busy.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(2);

/// Both sides.
pub(crate) struct Bench {
    pub(crate) bridge: Trestle,
    /// Bob of b.example, who is the whole peer.
    pub(crate) bob: Agent,
    _dir: TempDir,
}

impl Bench {
    /// Starts the bridge; `peer` is added to the peer's settings, `rest` to the file.
    pub(crate) fn start(family: Family, peer: &str, rest: &str) -> Outcome<Self> {
        Self::start_with(family, peer, rest, |_| {})
    }

    /// The same with a peer that is told something before the bridge sees it.
    pub(crate) fn start_with(family: Family, peer: &str, rest: &str, tell: impl FnOnce(&Agent)) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (authority, ports) = (Authority::new()?, Ports::free(family));
        let bob = Agent::new("bob", "b.example", "", Link::udp(ports.client())?)?;
        tell(&bob);
        authority.issue(DOMAIN)?.write(dir.path(), DOMAIN)?;
        let rest = format!(
            "peers:\n  - name: far\n    domains: [b.example]\n    transport: udp\n    next_hop: \"{}\"\n    addresses: [\"{}\"]\n{peer}{rest}",
            bob.local(),
            family.ip()
        );
        std::fs::write(dir.path().join("bridge.yaml"), trestle::config(DOMAIN, &ports, &rest))?;
        let bridge = Trestle::start(dir.path(), ports)?;
        Ok(Self { bridge, bob, _dir: dir })
    }

    /// A user over UDP, not registered.
    pub(crate) fn user(&self, user: &str) -> Outcome<Agent> {
        Agent::udp(user, DOMAIN, self.bridge.ports.client())
    }

    /// A user over UDP, registered.
    pub(crate) fn registered(&self, user: &str) -> Outcome<Agent> {
        let mut agent = self.user(user)?;
        status(&agent.register(600)?, 200)?;
        Ok(agent)
    }
}

/// No OPTIONS of the bridge come between.
pub(crate) const NO_PROBE: &str = "    probe: \"off\"\n";

/// Fails unless the answer has this status.
pub(crate) fn status(answer: &Message, wanted: u16) -> Outcome {
    if answer.status() == wanted {
        return Ok(());
    }
    Err(format!("wanted {wanted}, got:\n{}", String::from_utf8_lossy(&answer.raw)).into())
}

/// The next request of the side that was called, from the INVITE it got and the tag it gave.
pub(crate) fn of_callee(invite: &Message, method: &str, cseq: u32) -> Request {
    let value = |name: &str| invite.header(name).unwrap_or_default().to_string();
    let mut request = Request::new(method, interop_tests::wire::uri_of(&value("Contact")))
        .from(format!("{};tag=t{}", value("To"), invite.branch()))
        .to(value("From"));
    request.call_id = Some(value("Call-ID"));
    request.cseq = cseq;
    for route in invite.all("Record-Route").flat_map(|line| line.split(',')) {
        request = request.with("Route", route.trim());
    }
    request
}

/// The next request of the side that called, from the answer to its INVITE.
pub(crate) fn of_caller(answer: &Message, method: &str, cseq: u32) -> Request {
    let value = |name: &str| answer.header(name).unwrap_or_default().to_string();
    let mut request = Request::new(method, interop_tests::wire::uri_of(&value("Contact")))
        .from(value("From"))
        .to(value("To"));
    request.call_id = Some(value("Call-ID"));
    request.cseq = cseq;
    request.headers = interop_tests::agent::routes(answer);
    request
}
