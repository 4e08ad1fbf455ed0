//! Exit codes, the same for every subcommand.

use std::process::ExitCode;

/// What the codes mean, for `--help`.
pub const MEANING: &str = "Exit codes:
  0  well
  1  refused, or a problem was found
  2  could not run: wrong arguments, a file or a configuration that cannot be used
  3  nobody answers: no bridge on the control socket, no server at the address";

/// The code 2.
#[must_use]
pub fn unusable() -> ExitCode {
    ExitCode::from(2)
}

/// The code 3.
#[must_use]
pub fn unreachable() -> ExitCode {
    ExitCode::from(3)
}
