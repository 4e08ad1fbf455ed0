//! `ca`, `issue`, `crl`, `revoke`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Outcome, now, say};
use crate::pki::authority::{self, Authority, Request, Revoked};
use crate::pki::crl::Crl;
use crate::pki::files;

#[derive(Debug, Args)]
pub(super) struct CaArgs {
    /// Its name, as it appears in what it issues.
    #[arg(long, default_value = "Trestle CA")]
    name: String,
    /// Days it lasts.
    #[arg(long, default_value_t = authority::AUTHORITY_DAYS)]
    days: u32,
    /// Replace an authority; what it has issued is then worthless.
    #[arg(long)]
    force: bool,
}

pub(super) fn ca(args: &CaArgs, dir: &Path) -> Outcome {
    let made = authority::make_authority(&args.name, args.days, now())?;
    files::make_directory(dir).map_err(say)?;
    let (certificate, key) = (dir.join("ca.pem"), dir.join("ca.key"));
    authority::write_pair(&made, &certificate, &key, args.force).map_err(say)?;
    println!(
        "made {} and {} (keep the key to yourself)",
        certificate.display(),
        key.display()
    );
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// Fully qualified host name: the common name, and a DNS and a sip: name.
    host: String,
    /// SIP domain it may speak for; may be repeated.
    #[arg(long = "domain", value_name = "DOMAIN")]
    domains: Vec<String>,
    /// Base name of the two files.
    #[arg(long, default_value = "bridge")]
    out: String,
    /// Days it lasts.
    #[arg(long, default_value_t = authority::LEAF_DAYS)]
    days: u32,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

pub(super) fn issue(args: &IssueArgs, dir: &Path) -> Outcome {
    let authority = load(dir)?;
    let request = Request {
        host: args.host.clone(),
        domains: args.domains.clone(),
        days: args.days,
    };
    let made = authority.issue(&request, now())?;
    let (certificate, key) = (
        dir.join(format!("{}.pem", args.out)),
        dir.join(format!("{}.key", args.out)),
    );
    authority::write_pair(&made, &certificate, &key, args.force).map_err(say)?;
    println!("made {} and {}", certificate.display(), key.display());
    if args.domains.is_empty() {
        println!("note: it names no domain; a peer must list the host in tls.names. Use --domain to name one");
    }
    Ok(ExitCode::SUCCESS)
}

fn load(dir: &Path) -> Result<Authority, String> {
    Authority::load(&dir.join("ca.pem"), &dir.join("ca.key")).map_err(say)
}

#[derive(Debug, Subcommand)]
pub(super) enum CrlCommand {
    /// Make crl.pem out of what was revoked.
    Make {
        /// Days until the next one is due.
        #[arg(long, default_value_t = authority::CRL_DAYS)]
        days: u32,
    },
    /// Show a revocation list.
    Show {
        /// The list; our own if it is left out.
        file: Option<PathBuf>,
    },
}

pub(super) fn crl(command: &CrlCommand, dir: &Path) -> Outcome {
    match command {
        CrlCommand::Make { days } => write_list(dir, &read_ledger(dir)?, *days)?,
        CrlCommand::Show { file } => {
            for list in Crl::load(file.as_ref().unwrap_or(&dir.join("crl.pem"))).map_err(say)? {
                let due = if list.is_stale(now()) {
                    ", a newer one was due"
                } else {
                    ""
                };
                println!("{}: {} revoked{due}", list.issuer, list.revoked);
                list.serials.iter().for_each(|s| println!("  {s}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The certificate to revoke.
    file: PathBuf,
    /// Its key fell into other hands (otherwise: it was replaced).
    #[arg(long)]
    compromised: bool,
    /// Days until the next list is due.
    #[arg(long, default_value_t = authority::CRL_DAYS)]
    days: u32,
}

pub(super) fn revoke(args: &RevokeArgs, dir: &Path) -> Outcome {
    let authority = load(dir)?;
    let chain = files::certificates(&args.file).map_err(say)?;
    let unreadable = || format!("{}: not a readable certificate", args.file.display());
    let leaf = chain
        .first()
        .and_then(|der| X509Certificate::from_der(der).ok())
        .ok_or_else(unreadable)?
        .1;
    let (_, ca) = X509Certificate::from_der(&authority.certificate).map_err(|_| unreadable())?;
    if leaf.verify_signature(Some(ca.public_key())).is_err() {
        return Err(format!(
            "{}: not issued by {}; only its issuer can revoke it",
            args.file.display(),
            ca.subject()
        ));
    }
    let mut ledger = read_ledger(dir)?;
    if ledger.iter().any(|r| r.serial == leaf.raw_serial()) {
        println!("{} is revoked already", args.file.display());
    } else {
        let at = i64::try_from(now()).unwrap_or(i64::MAX);
        ledger.push(Revoked {
            serial: leaf.raw_serial().to_vec(),
            at,
            compromised: args.compromised,
        });
        write_ledger(dir, &ledger)?;
    }
    write_list(dir, &ledger, args.days)?;
    println!("give it to every peer that trusts our authority (`tls: {{crl: [...]}}` for a Trestle)");
    Ok(ExitCode::SUCCESS)
}

fn write_list(dir: &Path, ledger: &[Revoked], days: u32) -> Result<(), String> {
    let list = load(dir)?.revocation_list(ledger, days, now())?;
    let file = dir.join("crl.pem");
    files::write(&file, list.as_bytes(), 0o644, true).map_err(say)?;
    println!(
        "made {} with {} revoked, next due in {days} days",
        file.display(),
        ledger.len()
    );
    Ok(())
}

/// What was revoked so far: `revoked.list`, a line each of serial (hexadecimal), seconds since 1970, and the reason.
fn read_ledger(dir: &Path) -> Result<Vec<Revoked>, String> {
    let file = dir.join("revoked.list");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = String::from_utf8(files::read(&file).map_err(say)?).map_err(say)?;
    let line = |(number, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let entry = words
            .next()
            .zip(words.next())
            .zip(words.next())
            .and_then(|((serial, at), reason)| {
                let digits = serial
                    .as_bytes()
                    .chunks(2)
                    .map(|two| u8::from_str_radix(core::str::from_utf8(two).ok()?, 16).ok());
                Some(Revoked {
                    serial: digits.collect::<Option<_>>()?,
                    at: at.parse().ok()?,
                    compromised: reason == "compromised",
                })
            });
        entry.ok_or_else(|| format!("{}:{}: expected `SERIAL SECONDS REASON`", file.display(), number + 1))
    };
    text.lines()
        .enumerate()
        .filter(|(_, l)| !l.is_empty())
        .map(line)
        .collect()
}

fn write_ledger(dir: &Path, ledger: &[Revoked]) -> Result<(), String> {
    let mut text = String::new();
    for entry in ledger {
        for byte in &entry.serial {
            let _ = write!(text, "{byte:02x}");
        }
        let reason = if entry.compromised { "compromised" } else { "superseded" };
        let _ = writeln!(text, " {} {reason}", entry.at);
    }
    files::write(&dir.join("revoked.list"), text.as_bytes(), 0o644, true).map_err(say)
}
