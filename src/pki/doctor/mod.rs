//! `trestle cert doctor`: what keeps a trunk from coming up, on whose side, and the fix.
//!
//! Looks at certificates as the bridge would ([`inspect`]), and at a live server. It accepts any
//! certificate in order to look at it, sends one OPTIONS at most, and is never used for traffic. It cannot see the
//! peer's own trust settings: what the peer thinks of our certificate shows only in the alert it sends.

mod clock;
mod finding;
mod gap;
pub mod inspect;
mod look;
mod probe;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};

pub use finding::{Finding, Report, Severity, Side};

use super::files::{self, FileProblem};
use super::tls::{LocalIdentity, provider};
use super::verify::PeerTrust;
use inspect::View;

/// What the configuration says of a trunk; all that the doctor needs to know.
#[derive(Debug)]
pub struct DoctorTarget {
    /// The peer as the bridge verifies it.
    pub peer: Arc<PeerTrust>,
    /// Our certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Domains that our certificate should name.
    pub domains: Vec<Arc<str>>,
    /// Where the peer is, `host:port` or an address; `None`: found by DNS.
    pub next_hop: Option<String>,
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct Where {
    /// Connect here, `host:port`. With neither this nor files the peer's next hop is taken.
    pub connect: Option<String>,
    /// Look at these certificates of the peer: its chain, end entity first.
    pub files: Vec<PathBuf>,
    /// For the connection, for each step of the handshake and for the answer.
    pub timeout: Duration,
}

/// Examines a trunk, our side first.
///
/// # Errors
/// When there is nothing to look at, or a named file cannot be read.
pub fn examine(target: &DoctorTarget, at: &Where, now: UnixTime) -> Result<Report, String> {
    let mut report = Report {
        peer: target.peer.name.to_string(),
        looked_at: Vec::new(),
        findings: Vec::new(),
    };
    let ours = our_side(target, now, &mut report);
    if !at.files.is_empty() {
        let chain = their_files(&at.files).map_err(|e| e.to_string())?;
        report
            .looked_at
            .push(format!("{} certificates from files", chain.len()));
        report
            .findings
            .extend(their_side(target, target.next_hop.as_deref(), &chain, now));
    }
    let next_hop = || target.next_hop.as_ref().filter(|_| at.files.is_empty());
    if let Some(address) = at.connect.as_ref().or_else(next_hop) {
        let seen = look::look(address, target, ours.as_ref(), at.timeout);
        verdict::judge_connection(target, &seen, address, at.timeout, now, &mut report);
    } else if at.files.is_empty() {
        return Err(format!(
            "peer {} has no next_hop that speaks TLS: say where it is with --connect host:port, or name its certificates with --files",
            target.peer.name
        ));
    }
    report.settle();
    Ok(report)
}

/// Our certificate as the peer would see it.
fn our_side(target: &DoctorTarget, now: UnixTime, report: &mut Report) -> Option<LocalIdentity> {
    match LocalIdentity::load(&target.certificate, &target.key, &provider()) {
        Ok(identity) => {
            report
                .looked_at
                .push(format!("our certificate {}", target.certificate.display()));
            for warning in identity.warnings() {
                let what = format!("{}: {}", warning.file.display(), warning.what);
                report
                    .findings
                    .push(Finding::warning("open-key", Side::Ours, what, warning.fix.clone()));
            }
            let mut us = PeerTrust::new(target.peer.id, "this bridge");
            us.domains.clone_from(&target.domains);
            report
                .findings
                .extend(inspect::inspect(identity.chain(), &View::ours(&us, now)));
            Some(identity)
        }
        Err(problem) => {
            let id = if problem.is_key_mismatch {
                "key-mismatch"
            } else {
                "own-files"
            };
            let what = format!("{}: {}", problem.file.display(), problem.what);
            report.findings.push(Finding::error(id, Side::Ours, what, problem.fix));
            // An unusable pair may still hold a certificate worth looking at (X.509 v1 is refused by the loader).
            if let Ok(chain) = files::certificates(&target.certificate)
                && chain.first().is_some_and(|c| inspect::is_version_1(c))
            {
                report.findings.clear();
                let us = PeerTrust::new(target.peer.id, "this bridge");
                report.findings.extend(inspect::inspect(&chain, &View::ours(&us, now)));
            }
            None
        }
    }
}

fn their_files(list: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let mut chain = Vec::new();
    for file in list {
        chain.extend(files::certificates(file)?);
    }
    Ok(chain)
}

fn their_side(target: &DoctorTarget, at: Option<&str>, chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<Finding> {
    let mut view = View::theirs(&target.peer, now);
    view.next_hop = at;
    inspect::inspect(chain, &view)
}

#[cfg(test)]
mod tests;
