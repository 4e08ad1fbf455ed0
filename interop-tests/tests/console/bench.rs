//! A bridge with users and one peer `b` that proves itself by certificate, and its command line.

use std::path::PathBuf;
use std::process::{Command, Output};

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::TlsSetup;
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::process::Process;
use interop_tests::trestle::{self, Ports, Trestle};
use tempfile::TempDir;

/// The bridge's domain.
pub(crate) const A: &str = "a.example";
/// The peer's domain.
pub(crate) const B: &str = "b.example";

/// Both families.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(crate) struct Bench {
    pub(crate) bridge: Trestle,
    pub(crate) authority: Authority,
    pub(crate) ports: Ports,
    pub(crate) dir: TempDir,
}

impl Bench {
    /// Starts it; `rest` comes behind the usual configuration.
    pub(crate) fn start(family: Family, rest: &str) -> Outcome<Self> {
        Self::start_with(family, |config| config + rest)
    }

    /// Starts it with a configuration that `change` has had a hand in.
    pub(crate) fn start_with(family: Family, change: impl FnOnce(String) -> String) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let (authority, ports) = (Authority::new()?, Ports::free(family));
        std::fs::write(dir.path().join("ca.pem"), &authority.pem)?;
        authority.issue(A)?.write(dir.path(), A)?;
        authority.issue(B)?.write(dir.path(), B)?;
        let peers = format!(
            "peers:\n  - {{ name: b, domains: [{B}], transport: tls, next_hop: \"{}\", probe: \"off\", tls: {{ ca: [ca.pem] }} }}\n",
            family.at(free_port())
        );
        std::fs::write(
            dir.path().join("bridge.yaml"),
            change(trestle::config(A, &ports, &peers)),
        )?;
        let bridge = Trestle::start(dir.path(), ports)?;
        Ok(Self {
            bridge,
            authority,
            ports,
            dir,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A user, registered.
    pub(crate) fn user(&self, user: &str, transport: &str) -> Outcome<Agent> {
        let mut agent = match transport {
            "udp" => Agent::udp(user, A, self.ports.client())?,
            _ => Agent::tcp(user, A, self.ports.client())?,
        };
        assert_eq!(agent.register(600)?.status(), 200, "REGISTER of {user}");
        Ok(agent)
    }

    /// Somebody of the peer, over mutual TLS.
    pub(crate) fn foreigner(&self, user: &str) -> Outcome<Agent> {
        Agent::trunk(user, B, self.ports.trunk(), &self.tls()?)
    }

    /// What a connection of the peer shows.
    pub(crate) fn tls(&self) -> Outcome<TlsSetup> {
        Ok(TlsSetup {
            ca: self.authority.pem.clone(),
            name: A.into(),
            own: Some(self.authority.issue(B)?),
        })
    }

    /// `trestle` with these arguments, in the bridge's directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(trestle::program());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_remove("TRESTLE_PASSWORD");
        command
    }

    /// Runs `trestle` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome<Output> {
        Ok(self.command(args).output()?)
    }

    /// Starts `trestle`; its output goes to the file `log`.
    pub(crate) fn spawn(&self, args: &[&str], log: &str) -> Outcome<Process> {
        Process::start(&mut self.command(args), &self.path(log))
    }
}

/// Exit code and output, for a message.
pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
