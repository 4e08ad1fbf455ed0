//! The command line: one file per subcommand.

pub mod banner;
pub mod cert;
pub mod check;
pub mod client;
pub mod ctl;
pub mod dial;
mod examples;
pub mod exit;
pub mod explain;
pub mod mappings;
pub mod peer;
pub mod run;
pub mod schema;
pub mod why;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

/// Trestle lets presence and messaging servers of different makers work together.
#[derive(Debug, Parser)]
#[command(version, about, long_about = None, after_help = format!("{EXAMPLES}\n\n{}", exit::MEANING))]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  trestle                                   run on config/bridge.yaml
  trestle check --config /etc/trestle/bridge.yaml
  trestle explain --from sip:bob@b.example --to sip:alice@a.example --method MESSAGE --peer b
  trestle ctl peers
  trestle watch bob@a.example --password alice-dev
  trestle completions bash > /etc/bash_completion.d/trestle";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge (the default).
    Run(run::Args),
    /// Judge a configuration without running it.
    Check(check::Args),
    /// Print what may stand in a configuration: a JSON Schema for editors, or a list of all keys.
    Schema(schema::Args),
    /// Say what would be decided for a request, step by step, and by which line of which file.
    Explain(explain::Args),
    /// Say what becomes of a number, step by step, and by which line of which file.
    Dial(dial::Args),
    /// List, check and compare dialects.
    Mappings(mappings::Args),
    /// Ask a live peer what it takes, and suggest a dialect for it.
    Peer(peer::Args),
    /// Say what a watcher was told of somebody, from which sources, and by which rules.
    Why(why::Args),
    /// Make, issue and list certificates.
    Cert(cert::Args),
    /// Ask or steer a running bridge.
    Ctl(ctl::Args),
    /// Watch somebody's presence, one line a change.
    Watch(client::WatchArgs),
    /// Publish a presence state.
    Publish(client::PublishArgs),
    /// Send an instant message.
    Message(client::MessageArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The peer of `cert doctor` as a configuration names it, or as it was imported when none is given.
fn doctor_target(args: &cert::DoctorArgs, dir: &std::path::Path) -> Result<crate::pki::doctor::DoctorTarget, String> {
    let usual = std::path::PathBuf::from("config/bridge.yaml");
    let Some(path) = args
        .config
        .clone()
        .or_else(|| (args.domains.is_empty() && usual.exists()).then_some(usual))
    else {
        return cert::target_from_files(args, dir);
    };
    let snapshot = crate::config::load(&path).map_err(|e| e.to_string())?.snapshot;
    let id = snapshot.peer_named(&args.peer).ok_or_else(|| {
        let names: Vec<String> = snapshot.peers().map(|(_, p)| p.name.to_string()).collect();
        format!(
            "{} names no peer {}; it has: {}",
            path.display(),
            args.peer,
            names.join(", ")
        )
    })?;
    let peer = snapshot.peer(id).ok_or("the peer is gone")?;
    crate::pki::settings::doctor_target(&snapshot, id, peer).map_err(|e| e.to_string())
}

fn command() -> clap::Command {
    examples::with_examples(Cli::command())
}

/// Runs the program on its arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    match cli.command {
        None => run::run(&run::Args::default()),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Schema(args)) => schema::run(&args),
        Some(Command::Explain(args)) => explain::run(&args),
        Some(Command::Dial(args)) => dial::run(&args),
        Some(Command::Mappings(args)) => mappings::run(&args),
        Some(Command::Peer(args)) => peer::run(&args),
        Some(Command::Why(args)) => why::run(&args),
        Some(Command::Cert(args)) => cert::run(&args, &doctor_target),
        Some(Command::Ctl(args)) => ctl::run(&args),
        Some(Command::Watch(args)) => client::watch(&args),
        Some(Command::Publish(args)) => client::publish(&args),
        Some(Command::Message(args)) => client::message(&args),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut command(), "trestle", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}
