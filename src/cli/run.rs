//! `trestle run`: the bridge itself.

use std::path::PathBuf;
use std::process::ExitCode;

/// Run the bridge until it is told to stop (SIGTERM, SIGINT or `trestle ctl drain`); SIGHUP reloads.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT)]
    pub config: PathBuf,
}

const DEFAULT: &str = "config/bridge.yaml";

impl Default for Args {
    fn default() -> Self {
        Self {
            config: PathBuf::from(DEFAULT),
        }
    }
}

/// Exits 0 after an orderly stop, 2 when it could not start.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match crate::app::run(&args.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("trestle cannot start: {problem}");
            ExitCode::from(2)
        }
    }
}
