//! A bridge for `a.example` with the trunk of `b.example` in the test's own hands.

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::TlsSetup;
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{self, Ports, Trestle};
use interop_tests::trunk::Trunk;
use tempfile::TempDir;

/// The bridge's domain.
pub(crate) const A: &str = "a.example";
/// The peer's domain.
pub(crate) const B: &str = "b.example";
/// Somebody to watch and to write to.
pub(crate) const ALICE: &str = "sip:alice@a.example";

/// The bridge and the peer's port.
pub(crate) struct Site {
    pub(crate) bridge: Trestle,
    /// The peer's own port; the bridge's next hop.
    pub(crate) trunk: Trunk,
    pub(crate) authority: Authority,
    dir: TempDir,
}

impl Site {
    /// Where `bridge.yaml` is.
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Starts both. `peer` is written into the peer's settings, `rest` behind everything.
    pub(crate) fn start(family: Family, peer: &str, rest: &str) -> Outcome<Self> {
        let authority = Authority::new()?;
        let trunk = Trunk::listen(family, &authority.issue(B)?, &authority.pem)?;
        Self::start_with(family, authority, trunk, peer, rest)
    }

    /// The same with a port of the caller's.
    pub(crate) fn start_with(
        family: Family,
        authority: Authority,
        trunk: Trunk,
        peer: &str,
        rest: &str,
    ) -> Outcome<Self> {
        let (dir, ports) = (tempfile::tempdir()?, Ports::free(family));
        authority.issue(A)?.write(dir.path(), A)?;
        std::fs::write(dir.path().join("b-ca.pem"), &authority.pem)?;
        let peer = format!(
            "peers:\n  - name: b\n    domains: [{B}]\n    transport: tls\n    next_hop: \"{}\"\n    \
             tls: {{ ca: [b-ca.pem] }}\n    probe: \"off\"\n{peer}{rest}",
            trunk.at
        );
        std::fs::write(dir.path().join("bridge.yaml"), trestle::config(A, &ports, &peer))?;
        Ok(Self {
            bridge: Trestle::start(dir.path(), ports)?,
            trunk,
            authority,
            dir,
        })
    }

    /// Somebody of `b.example` who comes in with this certificate; answers are expected at the peer's own port.
    pub(crate) fn caller(&self, own: Certificate) -> Outcome<Agent> {
        let setup = TlsSetup {
            ca: self.authority.pem.clone(),
            name: A.into(),
            own: Some(own),
        };
        let mut bob = Agent::trunk("bob", B, self.bridge.ports.trunk(), &setup)?;
        bob.sent_by = Some(self.trunk.at);
        Ok(bob)
    }

    /// Somebody of `b.example` with the right certificate.
    pub(crate) fn bob(&self) -> Outcome<Agent> {
        self.caller(self.authority.issue(B)?)
    }

    /// A user of the bridge, registered.
    pub(crate) fn alice(&self) -> Outcome<Agent> {
        let mut alice = Agent::udp("alice", A, self.bridge.ports.client())?;
        match alice.register(600)?.status() {
            200 => Ok(alice),
            other => Err(format!("REGISTER was answered {other}").into()),
        }
    }
}
