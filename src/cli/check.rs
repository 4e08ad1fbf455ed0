//! `trestle check`: whether a configuration is fit to run, and what it would do.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use crate::config::{Loaded, Problem, Problems, load};

/// Read the configuration and say what is wrong with it, without starting anything.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// Machine-readable output.
    #[arg(long)]
    pub json: bool,
}

/// Exits 0 when it is fit to run (with or without warnings), 1 when it is not, 2 when it cannot be read.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let (text, code) = match load(&args.config) {
        Ok(loaded) if args.json => (problems_json(&[], &loaded.warnings), 0),
        Err(problems) if args.json => (problems_json(&problems.0, &[]), if unread(&problems) { 2 } else { 1 }),
        Ok(loaded) => (report(&loaded), 0),
        Err(problems) => {
            let count = problems.0.len();
            let noun = if count == 1 { "error" } else { "errors" };
            (
                format!("{problems}\n\n{count} {noun}\n"),
                if unread(&problems) { 2 } else { 1 },
            )
        }
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(if written.is_err() { 2 } else { code })
}

fn unread(problems: &Problems) -> bool {
    problems.0.first().is_some_and(|p| p.place.line == 0)
}

pub(super) fn problems_json(errors: &[Problem], warnings: &[Problem]) -> String {
    let list = |problems: &[Problem]| -> Vec<serde_json::Value> {
        let one = |p: &Problem| {
            serde_json::json!({
                "file": &*p.file, "line": p.place.line, "column": p.place.column, "what": p.what, "help": p.help,
            })
        };
        problems.iter().map(one).collect()
    };
    let report = serde_json::json!({ "fit": errors.is_empty(), "errors": list(errors), "warnings": list(warnings) });
    format!("{report}\n")
}

fn report(loaded: &Loaded) -> String {
    let mut out = String::new();
    for warning in &loaded.warnings {
        let _fits = writeln!(out, "warning: {warning}\n");
    }
    let s = &loaded.snapshot;
    let mut line = |label: &str, value: String| {
        let _fits = writeln!(out, "{label:<10}{value}");
    };
    line(
        "files",
        loaded
            .files
            .iter()
            .map(|f| f.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    );
    line(
        "domains",
        s.domains
            .iter()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
            .join(", "),
    );
    for listener in &s.listeners {
        let sockets: Vec<String> = listener.bind.iter().map(ToString::to_string).collect();
        line(
            "listener",
            format!(
                "{}: {} {}",
                listener.name,
                listener.transport.param(),
                sockets.join(" ")
            ),
        );
    }
    line("users", s.users.iter().len().to_string());
    for peer in &s.peers {
        let domains: Vec<&str> = peer.domains.iter().map(|(name, _)| &**name).collect();
        line(
            "peer",
            format!("{}: {} for {}", peer.name, peer.transport.param(), domains.join(" ")),
        );
    }
    line("routes", s.routes.iter().len().to_string());
    let (allow, deny) = (s.acl.allow.len(), s.acl.deny.len());
    line(
        "access",
        match (allow, deny) {
            (0, 0) => "no list; identity and digest decide, everything else is refused".into(),
            _ => format!("{allow} allow, {deny} deny"),
        },
    );
    let _fits = match loaded.warnings.len() {
        0 => writeln!(out, "fit to run"),
        1 => writeln!(out, "fit to run, 1 warning"),
        n => writeln!(out, "fit to run, {n} warnings"),
    };
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load_from;
    use crate::config::tests::Memory;

    #[test]
    fn the_report_names_what_would_run_and_no_secret() {
        let text = "domains: [a.example]\nusers: [{aor: alice@a.example, password: {plain: s3cret}}]\n";
        let loaded =
            load_from(Path::new("b.yaml"), &Memory::with(&[("b.yaml", text)])).unwrap_or_else(|p| panic!("{p}"));
        let report = report(&loaded);
        assert!(!report.contains("s3cret"), "{report}");
        assert!(
            report.contains("listener  tls-peers: tls 0.0.0.0:5062 [::]:5062"),
            "{report}"
        );
        assert!(report.ends_with("fit to run, 1 warning\n"), "{report}");
    }
}
