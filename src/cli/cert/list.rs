//! `list`: everything under the directory, with its days left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Outcome, now, say};
use crate::pki::crl::Crl;
use crate::pki::files;
use crate::pki::names::{names_of, printable};
use crate::pki::verify::day;

const DAY: i64 = 86_400;
const SOON: i64 = 30;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// One certificate or revocation list.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) file: PathBuf,
    pub(super) kind: &'static str,
    pub(super) subject: String,
    pub(super) names: String,
    pub(super) expires: String,
    pub(super) days_left: i64,
    pub(super) warnings: Vec<String>,
}

pub(super) fn list(args: &ListArgs, dir: &Path) -> Outcome {
    let entries = entries(dir, now())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&entries).map_err(say)?);
    } else if entries.is_empty() {
        println!(
            "no certificates in {}; `trestle cert ca` and `trestle cert issue` make some",
            dir.display()
        );
    } else {
        print_table(&entries);
    }
    let soon = entries.iter().any(|e| e.days_left < SOON);
    Ok(if soon { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything in the directory and in peers/*, by file name.
pub(super) fn entries(dir: &Path, now: u64) -> Result<Vec<Entry>, String> {
    let mut places = vec![dir.to_owned()];
    if let Ok(peers) = fs::read_dir(dir.join("peers")) {
        places.extend(peers.flatten().map(|p| p.path()).filter(|p| p.is_dir()));
    }
    let mut list = Vec::new();
    for place in &places {
        let found = fs::read_dir(place).map_err(|e| format!("{}: {e}", place.display()))?;
        list.extend(found.flatten().map(|f| f.path()).filter(|f| f.is_file()));
    }
    list.sort();
    let suffix = |f: &PathBuf| {
        f.extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| matches!(e, "pem" | "crt" | "cer" | "crl"))
    };
    Ok(list
        .iter()
        .filter(|f| suffix(f))
        .flat_map(|f| of_file(f, now))
        .collect())
}

fn of_file(file: &Path, now: u64) -> Vec<Entry> {
    if let Ok(lists) = Crl::load(file) {
        return lists.iter().map(|l| of_list(file, l, now)).collect();
    }
    match files::certificates(file) {
        Ok(chain) => chain.iter().map(|der| of_certificate(file, der, now)).collect(),
        Err(problem) => vec![unreadable(file, format!("{}; {}", problem.what, problem.fix))],
    }
}

/// What is no certificate, with the reason.
fn unreadable(file: &Path, why: String) -> Entry {
    Entry {
        file: file.to_owned(),
        kind: "unreadable",
        subject: String::new(),
        names: String::new(),
        expires: String::new(),
        days_left: i64::MAX,
        warnings: vec![why],
    }
}

fn days_left(until: i64, now: u64) -> i64 {
    until
        .saturating_sub(i64::try_from(now).unwrap_or(i64::MAX))
        .div_euclid(DAY)
}

fn of_list(file: &Path, list: &Crl, now: u64) -> Entry {
    let until = list.next_update.unwrap_or(i64::MAX);
    Entry {
        file: file.to_owned(),
        kind: "revocation list",
        subject: list.issuer.clone(),
        names: format!("{} revoked", list.revoked),
        expires: list.next_update.map(day).unwrap_or_default(),
        // A list is renewed monthly: only one that is overdue counts as expiring.
        days_left: if list.is_stale(now) {
            days_left(until, now)
        } else {
            days_left(until, now).max(SOON)
        },
        warnings: list
            .is_stale(now)
            .then(|| "a newer list was due".to_owned())
            .into_iter()
            .collect(),
    }
}

fn of_certificate(file: &Path, der: &[u8], now: u64) -> Entry {
    let mut warnings = Vec::new();
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return unreadable(file, "not an X.509 certificate".to_owned());
    };
    let until = certificate.validity().not_after.timestamp();
    let left = days_left(until, now);
    if left < 0 {
        warnings.push("expired".to_owned());
    } else if left < SOON {
        warnings.push("renew it now".to_owned());
    }
    if certificate.validity().not_before.timestamp() > i64::try_from(now).unwrap_or(i64::MAX) {
        warnings.push("not yet valid".to_owned());
    }
    let key = file.with_extension("key");
    if files::is_readable_by_others(&key) {
        warnings.push(format!("{} is readable by others: chmod 600", key.display()));
    }
    let names = names_of(der).unwrap_or_default();
    warnings.extend(
        names
            .dropped
            .iter()
            .map(|d| format!("{} {}: {}", d.kind, d.shown, d.why)),
    );
    Entry {
        file: file.to_owned(),
        kind: if certificate.is_ca() {
            "authority"
        } else {
            "certificate"
        },
        subject: printable(&certificate.subject().to_string()),
        names: names.to_string(),
        expires: day(until),
        days_left: left,
        warnings,
    }
}

fn print_table(entries: &[Entry]) {
    let cell = |e: &Entry| {
        let left = if e.days_left == i64::MAX {
            String::new()
        } else {
            e.days_left.to_string()
        };
        [
            e.file.display().to_string(),
            e.kind.to_owned(),
            e.subject.clone(),
            e.names.clone(),
            e.expires.clone(),
            left,
        ]
    };
    let heads = ["FILE", "KIND", "SUBJECT", "NAMES", "EXPIRES", "DAYS"].map(str::to_owned);
    let rows: Vec<_> = core::iter::once(heads).chain(entries.iter().map(cell)).collect();
    let widths: [usize; 6] =
        core::array::from_fn(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0).min(60));
    let warnings = core::iter::once(&[][..]).chain(entries.iter().map(|e| &e.warnings[..]));
    for (row, warnings) in rows.iter().zip(warnings) {
        let line: Vec<_> = row
            .iter()
            .zip(widths)
            .map(|(text, width)| format!("{text:width$}"))
            .collect();
        println!("{}", line.join("  ").trim_end());
        warnings.iter().for_each(|w| println!("  warning: {w}"));
    }
}
