//! `trestle cert`: an authority, certificates, revocation, the peers' certificates, and the doctor.
//!
//! Writes only into the directory it is told (`certs/` unless said otherwise) and never replaces a file without
//! `--force`. The work is done in `pki`.

mod doctor;
mod list;
mod make;
mod peers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

pub use doctor::{DoctorArgs, TargetOf, target_from_files};

/// Make, exchange, list and diagnose certificates.
#[derive(Debug, Parser)]
pub struct Args {
    /// Directory of certificates and keys.
    #[arg(long, global = true, default_value = "certs", value_name = "DIR")]
    dir: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an authority of your own (ca.pem, ca.key; ECDSA P-256, as the cryptography library cannot generate RSA).
    Ca(make::CaArgs),
    /// Issue a certificate for the bridge or a peer, by the authority in the directory.
    Issue(make::IssueArgs),
    /// Check a peer's authority, certificate or revocation list, and copy it to peers/PEER/.
    Import(peers::ImportArgs),
    /// Print what the other side needs of us: our certificates and authority, as PEM. Never a key.
    Export(peers::ExportArgs),
    /// List certificates and revocation lists with their days left; exit code 1 if one has fewer than 30.
    List(list::ListArgs),
    /// Make or show revocation lists.
    Crl {
        #[command(subcommand)]
        what: make::CrlCommand,
    },
    /// Revoke a certificate that the authority in the directory has issued, and renew its list.
    Revoke(make::RevokeArgs),
    /// Say what keeps a trunk from coming up, on whose side, and the fix.
    Doctor(DoctorArgs),
}

/// Runs the command; for `doctor`, `target_of` looks the peer up (see [`target_from_files`]).
#[must_use]
pub fn run(args: &Args, target_of: &TargetOf) -> ExitCode {
    let dir = &args.dir;
    let result = match &args.what {
        What::Ca(a) => make::ca(a, dir),
        What::Issue(a) => make::issue(a, dir),
        What::Import(a) => peers::import(a, dir),
        What::Export(a) => peers::export(a, dir),
        What::List(a) => list::list(a, dir),
        What::Crl { what } => make::crl(what, dir),
        What::Revoke(a) => make::revoke(a, dir),
        What::Doctor(a) => doctor::doctor(a, dir, target_of),
    };
    result.unwrap_or_else(|message| {
        eprintln!("trestle cert: {message}");
        ExitCode::from(2)
    })
}

/// What a command answers: an exit code, or why it could not run (exit code 2).
type Outcome = Result<ExitCode, String>;

/// Seconds since 1970 by the system's clock.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn say(message: impl core::fmt::Display) -> String {
    message.to_string()
}

/// A peer's name as a directory name.
fn peer_directory(dir: &Path, peer: &str) -> Result<PathBuf, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if peer.is_empty() || peer.starts_with('.') || !peer.chars().all(fits) {
        return Err(format!(
            "{peer:?} is no peer name: letters, digits, `-`, `_` and `.` only"
        ));
    }
    Ok(dir.join("peers").join(peer))
}

#[cfg(test)]
mod tests;
