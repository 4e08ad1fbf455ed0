//! A real Kamailio that runs `config/peers/kamailio/`, unchanged: only the values at its head are given at start.
//!
//! Users alice, bob, carol and dave with the password `secret-NAME`. Presence is kept in memory, so a restart forgets
//! publications, subscriptions and registrations: that is part of what the tests want.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::link::{Link, Received};
use crate::net::{Family, free_port};
use crate::pki::Certificate;
use crate::process::Process;
use crate::wire::{Request, unique};
use crate::{Outcome, find, repository};

/// What has to be installed for it.
pub const PROGRAMS: [&str; 1] = ["kamailio"];

/// Where Debian's package keeps its empty tables.
const TABLES: &str = "/usr/share/kamailio/dbtext/kamailio";

/// Who it is and whom it federates with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its own domain.
    pub domain: String,
    /// The other domain.
    pub peer_domain: String,
    /// Where the peer takes TLS connections.
    pub peer: SocketAddr,
    /// The loopback family.
    pub family: Family,
    /// UDP and TCP.
    pub plain: u16,
    /// The trunk.
    pub tls: u16,
    /// Who may watch whom: a user and its `pres-rules` document. Nothing here: everybody may.
    pub rules: Vec<(String, String)>,
}

impl Setup {
    /// On free ports.
    #[must_use]
    pub fn new(domain: &str, peer_domain: &str, peer: SocketAddr) -> Self {
        let family = if peer.is_ipv6() { Family::V6 } else { Family::V4 };
        Self {
            domain: domain.into(),
            peer_domain: peer_domain.into(),
            peer,
            family,
            plain: free_port(),
            tls: free_port(),
            rules: Vec::new(),
        }
    }
}

/// A running Kamailio.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    dir: PathBuf,
    /// Who it is.
    pub setup: Setup,
}

impl Kamailio {
    /// Starts it in `dir` with its certificate and the CA that the peer's must be signed by.
    ///
    /// # Errors
    /// When it does not get ready; the text is its output.
    pub fn start(dir: &Path, setup: Setup, own: &Certificate, peer_ca: &str) -> Outcome<Self> {
        let recipe = repository().join("config/peers/kamailio");
        for file in ["kamailio.cfg", "tls.cfg"] {
            std::fs::copy(recipe.join(file), dir.join(file))
                .map_err(|e| format!("{}: {e}", recipe.join(file).display()))?;
        }
        let certs = dir.join("certs");
        std::fs::create_dir_all(&certs)?;
        own.write(&certs, "own")?;
        std::fs::write(certs.join("peer-ca.pem"), peer_ca)?;
        write_tables(&dir.join("tables"), &setup.domain)?;
        let process = launch(dir, &setup)?;
        let mut kamailio = Self {
            process,
            dir: dir.to_path_buf(),
            setup,
        };
        kamailio.wait()?;
        Ok(kamailio)
    }

    fn wait(&mut self) -> Outcome {
        let (plain, trunk) = (self.client(), self.trunk());
        let domain = self.setup.domain.clone();
        self.process.wait_until(Duration::from_secs(20), || {
            std::net::TcpStream::connect(trunk).is_ok() && answers(plain, &domain)
        })
    }

    /// Where its users' clients go.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.setup.family.at(self.setup.plain)
    }

    /// Where the peer goes.
    #[must_use]
    pub fn trunk(&self) -> SocketAddr {
        self.setup.family.at(self.setup.tls)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.stop();
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_again(&mut self) -> Outcome {
        self.process = launch(&self.dir, &self.setup)?;
        self.wait()
    }

    /// Starts it again with another certificate.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start_with(&mut self, own: &Certificate) -> Outcome {
        own.write(&self.dir.join("certs"), "own")?;
        self.start_again()
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// Whether a SIP server answers OPTIONS over UDP right now.
#[must_use]
pub fn answers(server: SocketAddr, domain: &str) -> bool {
    let ask = || -> Outcome<bool> {
        let mut link = Link::udp(server)?;
        let uri = format!("sip:{domain}");
        let mut request = Request::new("OPTIONS", &uri)
            .from(format!("<{uri}>;tag=1"))
            .to(format!("<{uri}>"));
        request.call_id = Some(unique());
        let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{};rport", link.local()?, unique());
        link.send(&request.write(&via))?;
        Ok(matches!(link.receive(Duration::from_millis(100)), Received::Message(_)))
    };
    ask().unwrap_or(false)
}

fn launch(dir: &Path, setup: &Setup) -> Outcome<Process> {
    let at = |port| setup.family.at(port);
    write_rules(&dir.join("tables"), setup)?;
    let defines = [
        format!("OWN_DOMAIN=\"{}\"", setup.domain),
        format!("PEER_DOMAIN=\"{}\"", setup.peer_domain),
        format!("PEER_SIP_NAME=\"sip:{}\"", setup.peer_domain),
        format!("PEER_HOP=\"sip:{};transport=tls\"", setup.peer),
        format!("PLAIN_UDP=udp:{}", at(setup.plain)),
        format!("PLAIN_TCP=tcp:{}", at(setup.plain)),
        format!("TRUNK_TLS=tls:{}", at(setup.tls)),
        format!("TABLES=\"text://{}\"", dir.join("tables").display()),
        format!("TLS_SETTINGS=\"{}\"", dir.join("tls.cfg").display()),
    ];
    let mut command = Command::new(find("kamailio").ok_or("kamailio is not installed")?);
    command
        .current_dir(dir)
        .args(["-DD", "-E", "-m", "64", "-M", "16", "-f"])
        .arg(dir.join("kamailio.cfg"));
    command.arg("-Y").arg(dir).arg("-w").arg(dir);
    for define in defines {
        command.arg("-A").arg(define);
    }
    if !setup.rules.is_empty() {
        command.args(["-A", "WITH_RULES"]);
    }
    Process::start(&mut command, &dir.join("kamailio.log"))
}

/// One line a document, `:` escaped, as db_text wants it.
fn write_rules(dir: &Path, setup: &Setup) -> Outcome {
    let from = Path::new(TABLES).join("xcap");
    let mut table = std::fs::read_to_string(&from).map_err(|e| format!("{}: {e}", from.display()))?;
    for (id, (user, document)) in setup.rules.iter().enumerate() {
        let document = document.replace(':', "\\:");
        table += &format!("{}:{user}:{}:{document}:2:x:0:index:0\n", id + 1, setup.domain);
    }
    Ok(std::fs::write(dir.join("xcap"), table)?)
}

fn write_tables(dir: &Path, domain: &str) -> Outcome {
    std::fs::create_dir_all(dir)?;
    for table in ["version", "presentity", "active_watchers", "watchers"] {
        let from = Path::new(TABLES).join(table);
        std::fs::copy(&from, dir.join(table)).map_err(|e| format!("{}: {e}", from.display()))?;
    }
    let mut users =
        String::from("id(int,auto) username(string) domain(string) password(string) ha1(string) ha1b(string) \n");
    for (id, user) in ["alice", "bob", "carol", "dave"].iter().enumerate() {
        users += &format!("{}:{user}:{domain}:secret-{user}:-:-\n", id + 1);
    }
    std::fs::write(dir.join("subscriber"), users)?;
    Ok(())
}
