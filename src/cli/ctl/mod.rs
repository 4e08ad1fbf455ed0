//! `trestle ctl`: questions to a running bridge over its control socket.

mod table;
mod trace;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::exit;
use crate::config::load::control_socket;

/// Ask or steer the bridge that runs on a configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// The configuration the bridge runs on; says where its socket is.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "config/bridge.yaml"
    )]
    config: PathBuf,
    /// The bridge's control socket itself, where there is no configuration to ask.
    #[arg(long, global = true, value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  trestle ctl status
  trestle ctl peers --json | jq -r '.[] | select(.state != \"up\") | .name'
  trestle ctl reload --config /etc/trestle/bridge.yaml
  trestle ctl trace --peer b --method SUBSCRIBE

Exit codes: 0 done, 1 the bridge refused, 2 the configuration cannot be read, 3 no bridge answers.";

/// The questions.
#[derive(Debug, Clone, Subcommand)]
enum What {
    /// The bridge at a glance.
    #[command(after_help = "Example:\n  trestle ctl status --json | jq .subscriptions")]
    Status,
    /// Peers, up or down and why.
    #[command(after_help = "Example:\n  trestle ctl peers")]
    Peers,
    /// Subscriptions served.
    #[command(after_help = "Example:\n  trestle ctl subscriptions --json | jq length")]
    Subscriptions,
    /// Registered contacts.
    #[command(after_help = "Example:\n  trestle ctl registrations")]
    Registrations,
    /// Read the configuration again; a bad file changes nothing.
    #[command(after_help = "Example:\n  trestle check && trestle ctl reload")]
    Reload,
    /// Stop in good order: refuse new work, let what is under way end.
    #[command(after_help = "Example:\n  trestle ctl drain")]
    Drain,
    /// Show messages live, also those under TLS.
    Trace(trace::Args),
}

impl What {
    fn question(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Peers => "peers",
            Self::Subscriptions => "subscriptions",
            Self::Registrations => "registrations",
            Self::Reload => "reload",
            Self::Drain => "drain",
            Self::Trace(_) => "trace",
        }
    }
}

/// Exits as [`exit::MEANING`] says; 1 when the bridge refused.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let (stream, socket) = match connect(args.socket.as_deref(), &args.config) {
        Ok(connected) => connected,
        Err(code) => return code,
    };
    let outcome = match &args.what {
        What::Trace(wanted) => trace::run(wanted, stream, args.json),
        what => {
            let question = what.question();
            ask(question, stream, args.json, |answer| match args.json {
                true => format!("{answer}\n"),
                false => shown(question, answer),
            })
        }
    };
    outcome.unwrap_or_else(|error| nobody(&socket, &error))
}

/// Asks the bridge one question of another subcommand, and prints what `show` makes of the answer.
#[must_use]
pub(super) fn question(
    question: &str,
    at: (Option<&Path>, &Path),
    json: bool,
    show: impl FnOnce(&Value) -> String,
) -> ExitCode {
    match connect(at.0, at.1) {
        Ok((stream, socket)) => ask(question, stream, json, show).unwrap_or_else(|error| nobody(&socket, &error)),
        Err(code) => code,
    }
}

/// The control socket of the bridge that runs on a configuration, or the one that is named.
fn connect(socket: Option<&Path>, config: &Path) -> Result<(UnixStream, PathBuf), ExitCode> {
    let socket = match socket.map_or_else(|| control_socket(config), |s| Ok(s.to_path_buf())) {
        Ok(socket) => socket,
        Err(problem) => {
            eprintln!("{problem}\n   = or say where the bridge's socket is: --socket FILE");
            return Err(exit::unusable());
        }
    };
    match UnixStream::connect(&socket) {
        Ok(stream) => Ok((stream, socket)),
        Err(error) => Err(nobody(&socket, &error)),
    }
}

fn nobody(socket: &Path, error: &std::io::Error) -> ExitCode {
    eprintln!(
        "no bridge answers on {}: {error}\n   = is it running, and on this configuration? see --config and --socket",
        socket.display()
    );
    exit::unreachable()
}

fn ask(
    question: &str,
    mut stream: UnixStream,
    json: bool,
    show: impl FnOnce(&Value) -> String,
) -> std::io::Result<ExitCode> {
    writeln!(stream, "{question}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let ended = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "it has stopped");
    let answer: Value = serde_json::from_str(&line).map_err(|_| ended())?;
    let error = answer.get("error").and_then(Value::as_str);
    match error {
        Some(error) if !json => eprintln!("{error}"),
        _ => print!("{}", show(&answer)),
    }
    Ok(error.map_or(ExitCode::SUCCESS, |_| ExitCode::FAILURE))
}

fn shown(question: &str, answer: &Value) -> String {
    match question {
        "reload" => table::reloaded(answer),
        "drain" => "no new work is taken; it stops when what is under way has ended\n".into(),
        what => table::table(what, answer),
    }
}
