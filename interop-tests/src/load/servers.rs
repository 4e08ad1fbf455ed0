//! The servers that are compared: Trestle with its usual promises, and Kamailio tuned for speed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::Way;
use super::wires::{LOAD_NAME, SERVER_NAME, Trust};
use crate::kamailio::answers;
use crate::process::Process;
use crate::{Outcome, find, repository};

/// Who is measured.
#[derive(Debug, Clone)]
pub enum Server {
    /// The bridge, by its program.
    Trestle(PathBuf),
    /// Debian's Kamailio.
    Kamailio,
}

impl Server {
    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trestle(_) => "trestle",
            Self::Kamailio => "kamailio",
        }
    }

    /// Starts it in `dir`, to serve on `at` and to reach the load at `load`.
    ///
    /// # Errors
    /// When it does not get ready; the text is its output.
    pub fn start(&self, dir: &Path, way: Way, at: SocketAddr, load: SocketAddr, trust: &Trust) -> Outcome<Process> {
        trust.server.write(dir, "server")?;
        std::fs::write(dir.join("ca.pem"), &trust.ca)?;
        let mut command = match self {
            Self::Trestle(program) => trestle(program, dir, way, at, load)?,
            Self::Kamailio => kamailio(dir, way, at, load)?,
        };
        let mut process = Process::start(command.current_dir(dir), &dir.join("log"))?;
        let socket = dir.join("trestle.sock");
        process.wait_until(Duration::from_secs(20), || match (self, way) {
            (Self::Trestle(_), _) => std::os::unix::net::UnixStream::connect(&socket).is_ok(),
            (Self::Kamailio, Way::Udp) => answers(at, "pres.test"),
            (Self::Kamailio, _) => std::net::TcpStream::connect(at).is_ok(),
        })?;
        Ok(process)
    }
}

/// `interop-tests/load/bridge.yaml` with its marks filled in.
fn trestle(program: &Path, dir: &Path, way: Way, at: SocketAddr, load: SocketAddr) -> Outcome<Command> {
    let file = repository().join("interop-tests/load/bridge.yaml");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let (ask, tls) = if way == Way::Tls {
        let tls = format!(", tls: {{ ca: [ca.pem], names: [{LOAD_NAME}, {SERVER_NAME}] }}");
        (", client_certificate: require", tls)
    } else {
        ("", String::new())
    };
    let text = text
        .replace("@TRANSPORT@", way.param())
        .replace("@AT@", &at.to_string())
        .replace("@LOAD@", &load.to_string())
        .replace("@ASK@", ask)
        .replace("@TLS@", &tls);
    std::fs::write(dir.join("bridge.yaml"), text)?;
    let mut command = Command::new(program);
    command.args(["run", "--config", "bridge.yaml"]);
    Ok(command)
}

/// Two workers for each kind of socket, the fast memory manager, memory enough for five seconds of transactions.
fn kamailio(dir: &Path, way: Way, at: SocketAddr, load: SocketAddr) -> Outcome<Command> {
    let mut command = Command::new(find("kamailio").ok_or("kamailio is not installed")?);
    let config = repository().join("interop-tests/load/kamailio.cfg");
    command.args([
        "-DD", "-E", "-n", "2", "-N", "2", "-m", "4096", "-M", "64", "-x", "fm", "-X", "fm", "-f",
    ]);
    command.arg(config).arg("-Y").arg(dir).arg("-P").arg(dir.join("pid"));
    command.args(["-l", &format!("{}:{at}", way.param())]);
    command.args(["-A", &format!("FAR_END=\"sip:{load};transport={}\"", way.param())]);
    command.args(["-A", &format!("OWN_ADDRESS=\"sip:{at};transport={}\"", way.param())]);
    match way {
        Way::Udp => drop(command.arg("-T")),
        Way::Tcp => {}
        Way::Tls => {
            let side = |name: &str| {
                format!(
                    "[{name}:default]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n\
                     certificate = {dir}/server.pem\nprivate_key = {dir}/server.key\nca_list = {dir}/ca.pem\n",
                    dir = dir.display()
                )
            };
            std::fs::write(dir.join("tls.cfg"), side("server") + &side("client"))?;
            command.args(["-A", "MUTUAL_TLS", "-A"]);
            command.arg(format!("TLS_FILE=\"{}\"", dir.join("tls.cfg").display()));
            command.args(["-A", &format!("LOAD_NAME=\"{LOAD_NAME}\"")]);
        }
    }
    Ok(command)
}
