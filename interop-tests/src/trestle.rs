//! The bridge under test, in a directory of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::net::{Family, free_port};
use crate::process::Process;
use crate::{Outcome, eventually};

/// The program: `TRESTLE_BIN`, or where cargo puts it beside this test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn program() -> PathBuf {
    let built = || {
        let mut path = std::env::current_exe().ok()?;
        path.pop();
        path.pop();
        Some(path.join("trestle"))
    };
    let path = std::env::var_os("TRESTLE_BIN")
        .map(PathBuf::from)
        .or_else(built)
        .unwrap_or_default();
    assert!(path.exists(), "{} is missing: run `cargo build` first", path.display());
    path
}

/// Runs a subcommand to its end.
///
/// # Errors
/// When the program cannot be started.
pub fn run(dir: &Path, args: &[&str]) -> std::io::Result<Output> {
    Command::new(program()).args(args).current_dir(dir).output()
}

/// Where the bridge listens.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The loopback family.
    pub family: Family,
    /// UDP and TCP.
    pub plain: u16,
    /// TLS that requests a certificate.
    pub tls: u16,
    /// TLS that requires one.
    pub peers: u16,
}

impl Ports {
    /// Free ports.
    #[must_use]
    pub fn free(family: Family) -> Self {
        Self {
            family,
            plain: free_port(),
            tls: free_port(),
            peers: free_port(),
        }
    }

    /// Where plain clients go.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.family.at(self.plain)
    }

    /// Where TLS clients go.
    #[must_use]
    pub fn tls(&self) -> SocketAddr {
        self.family.at(self.tls)
    }

    /// Where peers go.
    #[must_use]
    pub fn trunk(&self) -> SocketAddr {
        self.family.at(self.peers)
    }
}

/// The common part of a configuration for a domain with users alice, bob, carol and dave (`secret-NAME`); its
/// certificate is `DOMAIN.pem`. `rest` is appended: peers, limits, whatever the test is about.
#[must_use]
pub fn config(domain: &str, ports: &Ports, rest: &str) -> String {
    let at = |port| ports.family.at(port);
    let users: String = ["alice", "bob", "carol", "dave"]
        .iter()
        .map(|u| format!("  - {{ aor: {u}@{domain}, password: {{ plain: secret-{u} }} }}\n"))
        .collect();
    format!(
        "domains: [{domain}]\nidentity: {{ host: {domain}, certificate: {domain}.pem, key: {domain}.key }}\nlisteners:\n  \
         - {{ name: udp, transport: udp, bind: [\"{plain}\"] }}\n  - {{ name: tcp, transport: tcp, bind: [\"{plain}\"] }}\n  \
         - {{ name: tls, transport: tls, bind: [\"{tls}\"], client_certificate: request }}\n  \
         - {{ name: tls-peers, transport: tls, bind: [\"{peers}\"], client_certificate: require }}\nusers:\n{users}\
         store: {{ path: data }}\nadmin: {{ socket: data/trestle.sock, http: \"off\" }}\nlog: {{ level: info }}\n{rest}",
        plain = at(ports.plain),
        tls = at(ports.tls),
        peers = at(ports.peers),
    )
}

/// A running bridge.
#[derive(Debug)]
pub struct Trestle {
    process: Process,
    dir: PathBuf,
    /// Where it listens.
    pub ports: Ports,
}

impl Trestle {
    /// Starts it in `dir`, where `bridge.yaml` and the certificates are.
    ///
    /// # Errors
    /// When it does not get ready; the text is its output.
    pub fn start(dir: &Path, ports: Ports) -> Outcome<Self> {
        Self::start_by(&mut command(dir), dir, ports)
    }

    /// The same by a command of one's own, which must end up as the program in `dir`.
    ///
    /// # Errors
    /// When it does not get ready; the text is its output.
    pub fn start_by(command: &mut Command, dir: &Path, ports: Ports) -> Outcome<Self> {
        let process = Process::start(command.current_dir(dir), &dir.join("trestle.log"))?;
        let mut bridge = Self {
            process,
            dir: dir.to_path_buf(),
            ports,
        };
        bridge.wait()?;
        Ok(bridge)
    }

    fn wait(&mut self) -> Outcome {
        let socket = self.dir.join("data/trestle.sock");
        self.process.wait_until(Duration::from_secs(20), || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
    }

    /// Asks it by `trestle ctl`, in JSON.
    ///
    /// # Errors
    /// When it does not answer well.
    pub fn ctl(&self, what: &str) -> Outcome<String> {
        let output = run(&self.dir, &["ctl", what, "--json", "--config", "bridge.yaml"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err((text + &String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    /// Waits until its (only) peer is in a state.
    ///
    /// # Errors
    /// When it is not in time.
    pub fn wait_for_peer(&self, state: &str) -> Outcome {
        let wanted = format!("\"state\":\"{state}\"");
        let shown = || self.ctl("peers").unwrap_or_else(|e| e.to_string());
        eventually(&format!("the peer is {state}"), Duration::from_secs(20), || {
            shown().replace(' ', "").contains(&wanted)
        })
        .map_err(|e| format!("{e}; it says {}", shown()).into())
    }

    /// Ends it in good order.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill).
    ///
    /// # Errors
    /// When it does not come back.
    pub fn start_again(&mut self) -> Outcome {
        self.process = Process::start(&mut command(&self.dir), &self.dir.join("trestle.log"))?;
        self.wait()
    }

    /// Makes it read its configuration again (SIGHUP).
    pub fn hang_up(&mut self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["run", "--config", "bridge.yaml"]).current_dir(dir);
    command
}
