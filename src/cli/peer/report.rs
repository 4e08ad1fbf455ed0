//! The score sheet as text and as JSON.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use super::super::exit;
use super::Problem;
use crate::probe::overlay::Suggestion;
use crate::probe::{Finding, Seen};

/// What was found out about a peer.
pub(super) struct Report {
    pub(super) peer: String,
    pub(super) at: String,
    pub(super) from: String,
    pub(super) findings: Vec<Finding>,
    pub(super) seen: Seen,
    pub(super) suggestion: Suggestion,
    pub(super) dialect: String,
}

impl Report {
    /// As a process ends.
    pub(super) fn code(&self) -> ExitCode {
        match (self.seen.is_answered(), self.seen.garbage) {
            (true, _) => ExitCode::SUCCESS,
            (false, 0) => exit::unreachable(),
            (false, _) => ExitCode::FAILURE,
        }
    }

    pub(super) fn as_json(&self) -> String {
        let suggestion = serde_json::json!({
            "extends": &*self.suggestion.base,
            "ties": self.suggestion.ties.iter().map(|t| &**t).collect::<Vec<_>>(),
            "differs": self.suggestion.differs,
            "yaml": self.suggestion.yaml,
        });
        let all = serde_json::json!({
            "peer": self.peer, "at": self.at, "from": self.from, "answered": self.seen.is_answered(), "sent": self.seen.sent,
            "stopped": self.seen.stopped, "findings": self.findings, "dialect": self.dialect, "overlay": suggestion,
        });
        format!("{all:#}\n")
    }

    /// Nothing is suggested for a peer that said nothing.
    pub(super) fn write_overlay(&self, path: &Path) -> Result<(), Problem> {
        if !self.seen.is_answered() {
            return Ok(());
        }
        let wrong = |e: std::io::Error| Problem::Unusable(format!("{}: {e}", path.display()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(wrong)?;
        file.write_all(self.suggestion.yaml.as_bytes()).map_err(wrong)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "peer {} at {}, asked by {}\n", self.peer, self.at, self.from)?;
        for finding in &self.findings {
            let ms = finding.ms.map_or_else(String::new, |ms| format!("  ({ms} ms)"));
            writeln!(f, "{}\n    {}{ms}", finding.sent, finding.came)?;
            let key = finding.key.as_ref().map_or_else(String::new, |k| format!("  [{k}]"));
            writeln!(f, "    {}{key}", finding.means)?;
        }
        writeln!(f, "\n{} requests sent", self.seen.sent)?;
        if let Some(stopped) = &self.seen.stopped {
            writeln!(f, "ended early: {stopped}")?;
        }
        if !self.seen.is_answered() {
            return Ok(());
        }
        let fits = match *self.suggestion.base == *self.dialect && self.suggestion.differs.is_empty() {
            true => "which is what the configuration says",
            false => "as a file in the directory of `mappings: { dir: ... }`, named by `dialect` of the peer",
        };
        writeln!(f, "\nsuggested dialect, {fits}:\n\n{}", self.suggestion.yaml.trim_end())
    }
}
