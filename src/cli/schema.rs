//! `trestle schema`: the JSON Schema of the configuration, for editors.

use std::io::Write;
use std::process::ExitCode;

use clap::Args as ClapArgs;

/// Print the JSON Schema of bridge.yaml, so that an editor completes and checks it.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Prints the schema. Exits 0, or 2 when nobody takes the output.
#[must_use]
pub fn run(_: &Args) -> ExitCode {
    match std::io::stdout().write_all(crate::config::schema().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}
