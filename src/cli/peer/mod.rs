//! `trestle peer`: questions to a live peer.

mod ask;
mod link;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args as ClapArgs, Subcommand};

use super::exit;

/// Find out about peers.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Ask a live peer what it takes, and suggest a dialect for it.
    ///
    /// Sends at most 40 requests, one after the other, with the trust settings of the configuration. No person is written to
    /// unless --message-to names one. The bridge may go on running.
    Probe(ProbeArgs),
}

/// What `trestle peer probe` is told.
#[derive(Clone, Debug, ClapArgs)]
pub struct ProbeArgs {
    /// The peer's name in the configuration.
    pub name: String,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// Whose presence is asked for, once in each format: a user of the peer who is there.
    #[arg(long, value_name = "URI")]
    pub to: Option<String>,
    /// Who gets three test messages and two sessions that end at once. Nobody is written to without.
    #[arg(long, value_name = "URI")]
    pub message_to: Option<String>,
    /// Who asks. Default: the bridge itself, sip:HOST.
    #[arg(long, value_name = "URI")]
    pub from: Option<String>,
    /// Connect here instead of the peer's next hop.
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<String>,
    /// Take the peer's own connections here, for peers that notify at a fixed address: stop the bridge first if it is its.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<std::net::SocketAddr>,
    /// Write the suggested mapping file here; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub overlay: Option<PathBuf>,
    /// Seconds to wait for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub timeout: u64,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// Why there is no score sheet.
#[derive(Debug)]
enum Problem {
    /// What was given cannot be used.
    Unusable(String),
    /// The peer, or our TLS, refuses before SIP is spoken.
    Refused(String),
    /// Nobody answers.
    Unreachable(String),
}

/// Exits 0 when the peer answered and was probed, 1 when it refuses TLS or speaks no SIP, 2 when the question makes no sense,
/// 3 when nobody answers.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let What::Probe(args) = &args.what;
    let told = ask::probe(args).and_then(|report| {
        if let Some(path) = &args.overlay {
            report.write_overlay(path)?;
        }
        Ok(report)
    });
    let problem = match told {
        Ok(report) => {
            let text = if args.json {
                report.as_json()
            } else {
                report.to_string()
            };
            if std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).is_err() {
                return exit::unusable();
            }
            return report.code();
        }
        Err(problem) => problem,
    };
    let (text, code) = match problem {
        Problem::Unusable(text) => (text, exit::unusable()),
        Problem::Refused(text) => (text, ExitCode::FAILURE),
        Problem::Unreachable(text) => (text, exit::unreachable()),
    };
    eprintln!("{text}");
    code
}
