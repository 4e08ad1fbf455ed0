//! The bridge of the recipe, the old server's certificates, and HAProxy between them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use interop_tests::agent::Agent;
use interop_tests::haproxy::{Haproxy, Setup};
use interop_tests::net::{Family, free_port};
use interop_tests::openssl::{Old, Pipe, rsa_key};
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{Ports, Trestle};
use interop_tests::wire::{Message, Request, unique};
use interop_tests::{Outcome, repository};
use tempfile::TempDir;

pub(crate) const A: &str = "a.example";
/// What the old server's certificate is called.
pub(crate) const LCS: &str = "lcs.b.example";
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// All of it.
pub(crate) struct Place {
    pub(crate) bridge: Trestle,
    pub(crate) haproxy: Option<Haproxy>,
    pub(crate) setup: Setup,
    pub(crate) ours: Authority,
    pub(crate) theirs: Authority,
    /// The old server's own, RSA, with a common name alone.
    pub(crate) lcs: Certificate,
    own: Certificate,
    dir: TempDir,
}

/// The old server's port.
pub(crate) struct Server {
    pub(crate) pipe: Pipe,
    at: SocketAddr,
}

impl Place {
    /// Without HAProxy. `change` changes the recipe's `bridge.yaml`.
    pub(crate) fn bridge(family: Family, change: impl FnOnce(String) -> String) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (ours, theirs) = (Authority::new()?, Authority::named("CA of b")?);
        let own = ours.issue_for(A, &rsa_key()?, false)?;
        let lcs = theirs.issue_for(LCS, &rsa_key()?, true)?;
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs)?;
        own.write(&certs, A)?;
        let (ports, at) = (Ports::free(family), || family.at(free_port()));
        let setup = Setup {
            outside: at(),
            trestle: at(),
            way_out: at(),
            server: at(),
            server_name: LCS.into(),
        };
        std::fs::write(dir.path().join("bridge.yaml"), change(shipped(ports, &setup)?))?;
        Ok(Self {
            bridge: Trestle::start(dir.path(), ports)?,
            haproxy: None,
            setup,
            ours,
            theirs,
            lcs,
            own,
            dir,
        })
    }

    /// With HAProxy; `change` changes the recipe's `haproxy.cfg`.
    pub(crate) fn whole(family: Family, change: impl FnOnce(String) -> String) -> Outcome<Self> {
        let mut place = Self::bridge(family, |text| text)?;
        let (dir, setup, ca) = (place.dir.path(), place.setup.clone(), &place.theirs.pem);
        place.haproxy = Some(Haproxy::start(dir, setup, &place.own, ca, change)?);
        Ok(place)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The old server connects, with this certificate.
    pub(crate) fn calls(&self, old: Old, own: Option<&Certificate>) -> Outcome<Pipe> {
        self.calls_with(old, own, &[])
    }

    /// The same with further options of `openssl s_client`.
    pub(crate) fn calls_with(&self, old: Old, own: Option<&Certificate>, more: &[&str]) -> Outcome<Pipe> {
        Pipe::connect(self.dir(), self.setup.outside, old, own, &self.ours.pem, more)
    }

    /// The old server waits for connections, with this certificate.
    pub(crate) fn waits(&self, old: Old, own: &Certificate) -> Outcome<Server> {
        let at = self.setup.server;
        let pipe = Pipe::accept(self.dir(), at, old, own, &self.ours.pem)?;
        Ok(Server { pipe, at })
    }

    /// Alice, registered.
    pub(crate) fn alice(&self) -> Outcome<Agent> {
        let mut alice = Agent::udp("alice", A, self.bridge.ports.client())?;
        match alice.register(600)?.status() {
            200 => Ok(alice),
            status => Err(format!("alice cannot register: {status}").into()),
        }
    }
}

/// A request of bob@b.example to alice.
pub(crate) fn from_bob(method: &str, transport: &str) -> Vec<u8> {
    write(
        Request::new(method, "sip:alice@a.example").body("text/plain", "from afar"),
        transport,
    )
}

/// The same of a request that is not finished.
pub(crate) fn write(mut request: Request, transport: &str) -> Vec<u8> {
    request.from = Some(format!("<sip:bob@b.example>;tag={}", unique()));
    request.to = Some("<sip:alice@a.example>".into());
    request.call_id = Some(unique());
    request.write(&format!("SIP/2.0/{transport} {LCS}:5061;branch=z9hG4bK{}", unique()))
}

/// What a pipe answers to a request: the status, or 1 where the connection does not stand.
pub(crate) fn asks(pipe: &mut Pipe, request: &[u8]) -> u16 {
    if pipe.send(request).is_err() {
        return 1;
    }
    pipe.receive(PATIENCE).map_or(1, |answer| answer.status())
}

/// Answers 200 to whatever comes until a request of this method does.
pub(crate) fn until(pipe: &mut Server, method: &str) -> Outcome<Message> {
    let end = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < end {
        if let Some(message) = pipe
            .pipe
            .receive(Duration::from_millis(200))
            .filter(|m| m.status() == 0)
        {
            if !message.is("ACK") {
                let contact = format!("Contact: <sip:bob@{};transport=tls>\r\n", pipe.at);
                pipe.pipe.send(&message.answer(200, "lcs", &contact, ""))?;
            }
            if message.is(method) {
                return Ok(message);
            }
        }
    }
    Err(format!("no {method} came").into())
}

/// The recipe's `bridge.yaml` with other addresses and the passwords of the tests. What is replaced must be there.
fn shipped(ports: Ports, setup: &Setup) -> Outcome<String> {
    let file = repository().join("config/peers/lcs2005-haproxy/bridge.yaml");
    let mut text = std::fs::read_to_string(&file)?;
    let quoted = |at: SocketAddr| format!("\"{at}\"");
    for (times, shipped, here) in [
        (2, "\"127.0.0.1:5060\", \"[::1]:5060\"", quoted(ports.client())),
        (1, "\"127.0.0.1:5063\", \"[::1]:5063\"", quoted(setup.trestle)),
        (
            1,
            "next_hop: 127.0.0.1:5064\n",
            format!("next_hop: \"{}\"\n", setup.way_out),
        ),
        (1, "plain: alice-dev", "plain: secret-alice".into()),
        (1, "interval: 10s, timeout: 3s", "interval: 1s, timeout: 1s".into()),
    ] {
        if text.matches(shipped).count() != times {
            return Err(format!("{}: {shipped} does not stand there {times} times", file.display()).into());
        }
        text = text.replace(shipped, &here);
    }
    Ok(text)
}
