//! `trestle ctl`: questions to a running bridge over its control socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::admin::trace::Traced;

/// Ask or steer the bridge that runs on a configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to ask or do.
    #[arg(value_enum)]
    pub what: What,
    /// The configuration the bridge runs on; says where its socket is.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The questions.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum What {
    /// The bridge at a glance.
    Status,
    /// Peers, up or down and why.
    Peers,
    /// Subscriptions served.
    Subscriptions,
    /// Registered contacts.
    Registrations,
    /// Read the configuration again; a bad file changes nothing.
    Reload,
    /// Stop in good order.
    Drain,
    /// Show messages live, also those under TLS.
    Trace,
}

impl What {
    fn question(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Peers => "peers",
            Self::Subscriptions => "subscriptions",
            Self::Registrations => "registrations",
            Self::Reload => "reload",
            Self::Drain => "drain",
            Self::Trace => "trace",
        }
    }
}

/// Exits 0 when the bridge did as asked, 1 when it refused, 2 when it could not be reached.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let socket = match crate::config::load(&args.config) {
        Ok(loaded) => loaded.snapshot.admin.socket,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    match ask(args, &socket) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("no bridge answers on {}: {error}", socket.display());
            ExitCode::from(2)
        }
    }
}

fn ask(args: &Args, socket: &std::path::Path) -> std::io::Result<ExitCode> {
    let mut stream = UnixStream::connect(socket)?;
    writeln!(stream, "{}", args.what.question())?;
    let mut lines = BufReader::new(stream).lines();
    if matches!(args.what, What::Trace) {
        for line in lines {
            show_traced(&line?, args.json)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let answer: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
    let failed = answer.get("error").is_some();
    if args.json {
        println!("{line}");
    } else if let Some(error) = answer.get("error").and_then(Value::as_str) {
        eprintln!("{error}");
    } else {
        print!("{}", table(&answer));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_traced(line: &str, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match serde_json::from_str::<Traced>(line) {
        Ok(traced) if !json => {
            let arrow = if traced.received { "<-" } else { "->" };
            let remote = traced
                .remote
                .map_or_else(|| "its connection".to_string(), |r| r.to_string());
            let seconds = traced.wall_ms / 1000 % 86_400;
            let (h, m, s, ms) = (seconds / 3600, seconds / 60 % 60, seconds % 60, traced.wall_ms % 1000);
            writeln!(
                out,
                "{h:02}:{m:02}:{s:02}.{ms:03} {arrow} {} {remote}\n{}",
                traced.transport, traced.message
            )
        }
        _ => writeln!(out, "{line}"),
    }
}

/// A list of objects as columns, an object as lines.
fn table(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none\n".into(),
        Value::Array(rows) => columns(rows),
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            fields
                .iter()
                .map(|(name, v)| format!("{name:width$}  {}\n", cell(v)))
                .collect()
        }
        other => format!("{}\n", cell(other)),
    }
}

fn columns(rows: &[Value]) -> String {
    let names: Vec<&String> = rows
        .first()
        .and_then(Value::as_object)
        .map(|o| o.keys().collect())
        .unwrap_or_default();
    let mut lines = vec![names.iter().map(|n| n.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(
        rows.iter()
            .map(|row| names.iter().map(|n| cell(&row[n.as_str()])).collect()),
    );
    let width = |at: usize| lines.iter().map(|l| l[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .map(|(c, w)| format!("{c:w$}", w = *w))
                .collect();
            format!("{}\n", cells.join("  ").trim_end())
        })
        .collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_columns() {
        let rows = serde_json::json!([{ "name": "b", "up": true }, { "name": "longer", "up": null }]);
        assert_eq!(table(&rows), "NAME    UP\nb       true\nlonger  -\n");
        assert_eq!(table(&serde_json::json!([])), "none\n");
    }
}
