//! A real HAProxy that runs `config/peers/lcs2005-haproxy/haproxy.cfg`, unchanged: its values come from the environment.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::pki::Certificate;
use crate::process::Process;
use crate::{Outcome, find, repository};

/// What has to be installed for it.
pub const PROGRAM: &str = "haproxy";

/// Where it stands between.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where the old peer connects to.
    pub outside: SocketAddr,
    /// The bridge's listener with a trusted terminator.
    pub trestle: SocketAddr,
    /// Where the bridge connects to.
    pub way_out: SocketAddr,
    /// The old peer's own port.
    pub server: SocketAddr,
    /// The name of its certificate.
    pub server_name: String,
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
    /// Where it stands.
    pub setup: Setup,
}

impl Haproxy {
    /// Starts it in `dir` with its certificate and the CA that the old peer's must be signed by. `change` may change the
    /// recipe, for what it forbids.
    ///
    /// # Errors
    /// When it does not get ready; the text is its output.
    pub fn start(
        dir: &Path,
        setup: Setup,
        own: &Certificate,
        peer_ca: &str,
        change: impl FnOnce(String) -> String,
    ) -> Outcome<Self> {
        let recipe = repository().join("config/peers/lcs2005-haproxy/haproxy.cfg");
        std::fs::write(dir.join("haproxy.cfg"), change(std::fs::read_to_string(recipe)?))?;
        let certs = dir.join("haproxy-certs");
        std::fs::create_dir_all(&certs)?;
        std::fs::write(certs.join("own.pem"), format!("{}{}", own.pem, own.key))?;
        std::fs::write(certs.join("peer-ca.pem"), peer_ca)?;
        let mut command = Command::new(find(PROGRAM).ok_or("haproxy is not installed")?);
        command
            .current_dir(dir)
            .args(["-db", "-f", "haproxy.cfg"])
            .env("OUTSIDE", setup.outside.to_string())
            .env("TRESTLE", setup.trestle.to_string())
            .env("WAY_OUT", setup.way_out.to_string())
            .env("SERVER", setup.server.to_string())
            .env("SERVER_NAME", &setup.server_name)
            .env("CERTS", &certs);
        let process = Process::start(&mut command, &dir.join("haproxy.log"))?;
        let mut haproxy = Self { process, setup };
        let (outside, way_out) = (haproxy.setup.outside, haproxy.setup.way_out);
        let up = |at: SocketAddr| std::net::TcpStream::connect(at).is_ok();
        haproxy
            .process
            .wait_until(Duration::from_secs(20), || up(outside) && up(way_out))?;
        Ok(haproxy)
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}
