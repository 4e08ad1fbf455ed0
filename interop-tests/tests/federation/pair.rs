//! Two organisations joined by a trunk: `a.example` (the near side, what is tested) and `b.example` (Kamailio).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use interop_tests::agent::Agent;
use interop_tests::kamailio::{self, Kamailio};
use interop_tests::link::TlsSetup;
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{Ports, Trestle};
use interop_tests::{Outcome, wire};
use tempfile::TempDir;

/// The near domain.
pub(crate) const A: &str = "a.example";
/// The far domain.
pub(crate) const B: &str = "b.example";

/// What the near side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Near {
    /// The bridge.
    Bridge,
    /// Another Kamailio.
    Kamailio,
}

impl Near {
    /// For the table of scenarios.
    pub(crate) fn bridge() -> Self {
        Self::Bridge
    }

    /// For the table of scenarios.
    pub(crate) fn kamailio() -> Self {
        Self::Kamailio
    }
}

enum Running {
    Bridge(Trestle),
    Kamailio(Kamailio),
}

/// Both sides, up and joined.
pub(crate) struct Pair {
    near: Running,
    /// The far side.
    pub(crate) far: Kamailio,
    /// Signs both sides' certificates.
    pub(crate) authority: Authority,
    dir: TempDir,
}

impl Pair {
    /// Starts both sides.
    pub(crate) fn start(near: Near, family: Family) -> Outcome<Self> {
        let authority = Authority::new()?;
        let certificate = authority.issue(A)?;
        Self::start_with(near, family, authority, &certificate)
    }

    /// Starts both sides, the near one with this certificate.
    pub(crate) fn start_with(near: Near, family: Family, authority: Authority, own: &Certificate) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let ports = Ports::free(family);
        let setup = kamailio::Setup::new(B, A, ports.trunk());
        let far_trunk = family.at(setup.tls);
        let far_dir = subdirectory(dir.path(), "b")?;
        let far = Kamailio::start(&far_dir, setup, &authority.issue(B)?, &authority.pem)?;
        let near_dir = subdirectory(dir.path(), "a")?;
        let near = match near {
            Near::Bridge => Running::Bridge(start_bridge(&near_dir, ports, far_trunk, own, &authority.pem)?),
            Near::Kamailio => {
                let setup = kamailio::Setup {
                    plain: ports.plain,
                    tls: ports.peers,
                    ..kamailio::Setup::new(A, B, far_trunk)
                };
                Running::Kamailio(Kamailio::start(&near_dir, setup, own, &authority.pem)?)
            }
        };
        Ok(Self {
            near,
            far,
            authority,
            dir,
        })
    }

    /// What the near side is.
    pub(crate) fn kind(&self) -> Near {
        match self.near {
            Running::Bridge(_) => Near::Bridge,
            Running::Kamailio(_) => Near::Kamailio,
        }
    }

    /// The loopback family.
    pub(crate) fn family(&self) -> Family {
        self.far.setup.family
    }

    /// A user of the near side, registered.
    pub(crate) fn near_user(&self, user: &str) -> Outcome<Agent> {
        registered(Agent::udp(user, A, self.near_client())?)
    }

    /// A user of the far side, registered; over TCP, so that both transports of clients are used.
    pub(crate) fn far_user(&self, user: &str) -> Outcome<Agent> {
        registered(Agent::tcp(user, B, self.far.client())?)
    }

    /// Where clients of the near side go.
    pub(crate) fn near_client(&self) -> SocketAddr {
        match &self.near {
            Running::Bridge(bridge) => bridge.ports.client(),
            Running::Kamailio(kamailio) => kamailio.client(),
        }
    }

    /// Where peers of the near side go.
    pub(crate) fn near_trunk(&self) -> SocketAddr {
        match &self.near {
            Running::Bridge(bridge) => bridge.ports.trunk(),
            Running::Kamailio(kamailio) => kamailio.trunk(),
        }
    }

    /// How somebody with this certificate goes to the near side's trunk.
    pub(crate) fn caller(&self, own: Option<Certificate>) -> TlsSetup {
        TlsSetup {
            ca: self.authority.pem.clone(),
            name: A.into(),
            own,
        }
    }

    /// The bridge, when the near side is one.
    pub(crate) fn bridge(&mut self) -> Option<&mut Trestle> {
        match &mut self.near {
            Running::Bridge(bridge) => Some(bridge),
            Running::Kamailio(_) => None,
        }
    }

    /// Waits until the near side knows whether the far side is there; Kamailio does not ask.
    pub(crate) fn wait_for_peer(&self, state: &str) -> Outcome {
        match &self.near {
            Running::Bridge(bridge) => bridge.wait_for_peer(state),
            Running::Kamailio(_) => Ok(()),
        }
    }

    /// Ends the near side in good order and starts it again.
    pub(crate) fn restart_near(&mut self) -> Outcome {
        match &mut self.near {
            Running::Bridge(bridge) => {
                bridge.stop();
                bridge.start_again()
            }
            Running::Kamailio(kamailio) => {
                kamailio.stop();
                kamailio.start_again()
            }
        }
    }

    /// Ends the far side and starts it again.
    pub(crate) fn restart_far(&mut self) -> Outcome {
        self.far.stop();
        self.far.start_again()
    }

    /// What both sides have logged, for the text of a failure.
    pub(crate) fn logs(&self) -> String {
        let near = match &self.near {
            Running::Bridge(bridge) => bridge.log(),
            Running::Kamailio(kamailio) => kamailio.log(),
        };
        format!(
            "--- near ({})\n{near}\n--- far\n{}",
            self.dir.path().display(),
            self.far.log()
        )
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A scenario that fails returns an error and does not panic: the test command asks for the logs then.
        if std::env::var_os("TRESTLE_LOGS").is_some() {
            eprintln!("{}", self.logs());
        }
    }
}

fn start_bridge(dir: &Path, ports: Ports, far: SocketAddr, own: &Certificate, ca: &str) -> Outcome<Trestle> {
    let certs = subdirectory(dir, "certs")?;
    own.write(&certs, A)?;
    std::fs::write(certs.join("b-ca.pem"), ca)?;
    std::fs::write(dir.join("bridge.yaml"), recipe(ports, far)?)?;
    Trestle::start(dir, ports)
}

/// The recipe for Kamailio, with one user more and another patience of the probe.
fn recipe(ports: Ports, far: SocketAddr) -> Outcome<String> {
    let users = "  - { aor: dave@a.example, password: { plain: secret-dave } }\npeers:\n";
    let more = [
        (1, "next_hop: 127.0.0.2:5061\n", format!("next_hop: \"{far}\"\n")),
        (1, "\npeers:\n", format!("\n{users}")),
        (1, "interval: 10s, timeout: 3s", "interval: 1s, timeout: 1s".into()),
    ];
    interop_tests::recipe::shipped("kamailio", ports, &more)
}

fn subdirectory(dir: &Path, name: &str) -> Outcome<PathBuf> {
    let path = dir.join(name);
    std::fs::create_dir(&path)?;
    Ok(path)
}

fn registered(mut agent: Agent) -> Outcome<Agent> {
    let answer = agent.register(600)?;
    match answer.status() {
        200 => Ok(agent),
        _ => Err(format!("REGISTER of {} was answered {}", agent.aor(), answer.start).into()),
    }
}

/// Fails unless the answer has this status.
pub(crate) fn status(answer: &wire::Message, wanted: u16) -> Outcome {
    if answer.status() == wanted {
        return Ok(());
    }
    Err(format!("wanted {wanted}, got:\n{}", String::from_utf8_lossy(&answer.raw)).into())
}

/// Fails unless the answer is a refusal or failure (4xx to 6xx), and no 408, which RFC 4320 rules out.
pub(crate) fn refused(answer: &wire::Message) -> Outcome {
    if answer.status() >= 400 && answer.status() != 408 {
        return Ok(());
    }
    Err(format!("wanted a refusal, got:\n{}", String::from_utf8_lossy(&answer.raw)).into())
}

/// The entity tag that a PUBLISH got.
pub(crate) fn etag(answer: &wire::Message) -> Outcome<String> {
    status(answer, 200)?;
    Ok(answer.header("SIP-ETag").ok_or("no SIP-ETag")?.to_string())
}
