//! What the doctor says: one finding for one fault.

use std::fmt;

use serde::Serialize;

use crate::pki::names::printable;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The trunk does not work.
    Error,
    /// It works, but not for long or not with every peer.
    Warning,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// We: our certificate or key.
    Ours,
    /// The peer: its certificate or server.
    Theirs,
    /// Whatever lies between.
    Network,
    /// We: what our configuration says of the peer.
    Configuration,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "our side",
            Self::Theirs => "their side",
            Self::Network => "network",
            Self::Configuration => "configuration",
        })
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable word for scripts.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Who has to act.
    pub side: Side,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    pub(super) fn error(id: &'static str, side: Side, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            id,
            severity: Severity::Error,
            side,
            what: printable(&what.into()),
            fix: printable(&fix.into()),
        }
    }

    pub(super) fn warning(id: &'static str, side: Side, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(id, side, what, fix)
        }
    }
}

/// Everything that was found out about one peer.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The peer.
    pub peer: String,
    /// What was looked at, and what was seen.
    pub looked_at: Vec<String>,
    /// The faults, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing keeps the trunk from working.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|f| f.severity != Severity::Error)
    }

    /// Errors first; a fault seen twice (in a file and on the wire) is said once.
    pub(super) fn settle(&mut self) {
        self.findings.sort_by_key(|f| f.severity);
        let mut kept: Vec<Finding> = Vec::new();
        for finding in self.findings.drain(..) {
            if !kept
                .iter()
                .any(|k| k.id == finding.id && k.side == finding.side && k.what == finding.what)
            {
                kept.push(finding);
            }
        }
        self.findings = kept;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "peer {}", self.peer)?;
        for line in &self.looked_at {
            writeln!(f, "  looked at {line}")?;
        }
        for finding in &self.findings {
            let severity = if finding.severity == Severity::Error {
                "error"
            } else {
                "warning"
            };
            writeln!(f, "{severity}[{}] ({}): {}", finding.id, finding.side, finding.what)?;
            writeln!(f, "  fix: {}", finding.fix)?;
        }
        if self.findings.is_empty() {
            writeln!(f, "nothing wrong found")?;
        }
        Ok(())
    }
}
