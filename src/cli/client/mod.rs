//! Small clients for trying and scripting: `trestle message`, `trestle publish`, `trestle watch`.
//!
//! One user agent on one socket, blocking. Not a softphone: it answers NOTIFY and nothing else.

mod commands;
mod link;
mod session;
mod typed;

pub use commands::{MessageArgs, PublishArgs, WatchArgs, message, publish, watch};

use std::path::PathBuf;

use crate::sip::uri::Aor;

/// Why a command did not get an answer that it likes.
#[derive(Debug)]
enum Problem {
    /// Something that was given cannot be used.
    Unusable(String),
    /// Nobody answers.
    Unreachable(String),
    /// It was refused before SIP was spoken.
    Refused(String),
}

/// An address as it is given on the command line.
fn address(text: &str) -> Result<Aor, Problem> {
    Aor::parse(text).ok_or_else(|| Problem::Unusable(format!("{text} is not user@domain")))
}

/// Who speaks, and to which server.
#[derive(Debug, Clone, clap::Args)]
pub struct Who {
    /// Our own address, user@domain.
    #[arg(long, value_name = "AOR", default_value = "alice@a.example")]
    pub from: String,
    /// The password; better in the environment variable TRESTLE_PASSWORD. Without one, the configuration is asked.
    #[arg(
        long,
        env = "TRESTLE_PASSWORD",
        hide_env_values = true,
        hide_default_value = true,
        default_value = ""
    )]
    pub password: String,
    /// A configuration of a bridge that knows our password, where this is its machine.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// The server, host:port. Default: 127.0.0.1, 5060 or with TLS 5061.
    #[arg(long, value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// udp, tcp or tls.
    #[arg(long, default_value = "udp", value_parser = ["udp", "tcp", "tls"])]
    pub transport: String,
    /// With TLS: the authority that the server's certificate must lead to.
    #[arg(long, value_name = "FILE", default_value = "certs/ca.pem")]
    pub ca: PathBuf,
    /// With mutual TLS: our certificate; its key is beside it, ending in .key.
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// With TLS: the name the certificate must carry; the server's domain if not given.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
}

impl Who {
    fn server(&self) -> &str {
        let usual = if self.transport == "tls" {
            "127.0.0.1:5061"
        } else {
            "127.0.0.1:5060"
        };
        self.server.as_deref().unwrap_or(usual)
    }

    /// The password that was given, else the one that the configuration has for the address; empty when there is none.
    fn secret(&self, aor: &Aor) -> String {
        if !self.password.is_empty() {
            return self.password.clone();
        }
        let known = crate::config::load(&self.config).ok().and_then(|loaded| {
            let users = loaded.snapshot.users;
            let id = users.find_plain(aor.user(), aor.domain())?;
            Some(users.get(id)?.password.reveal().to_owned())
        });
        known.unwrap_or_default()
    }
}
