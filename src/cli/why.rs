//! `trestle why`: what a watcher was told of a presentity, and why, asked of the running bridge.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::ctl;

/// Say what a watcher was told of somebody, from which sources it came, and which rules decided.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  trestle why alice@a.example bob@a.example
  trestle why carl@b.example bob@a.example --json | jq '.sources[] | select(.part | startswith(\"left out\"))'

Exit codes: 0 told, 1 it is not watched, 2 the configuration cannot be read, 3 no bridge answers.")]
pub struct Args {
    /// Who watches, user@domain.
    pub watcher: String,
    /// Who is watched, user@domain.
    pub presentity: String,
    /// The configuration the bridge runs on; says where its socket is.
    #[arg(short, long, value_name = "FILE", default_value = "config/bridge.yaml")]
    pub config: PathBuf,
    /// The bridge's control socket itself, where there is no configuration to ask.
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs `trestle why`.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    // The socket reads a line, and blanks part what is in it.
    if [&args.watcher, &args.presentity]
        .iter()
        .any(|a| a.chars().any(|c| c.is_whitespace() || c.is_control()))
    {
        eprintln!("an address has no blanks: write user@domain");
        return super::exit::unusable();
    }
    let question = format!("why {} {}", args.watcher, args.presentity);
    ctl::question(
        &question,
        (args.socket.as_deref(), &args.config),
        args.json,
        |answer| match args.json {
            true => format!("{answer}\n"),
            false => shown(answer),
        },
    )
}

/// The answer for people.
fn shown(answer: &Value) -> String {
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".into(),
        Some(other) => other.to_string(),
    };
    let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut out = format!(
        "{} is {} (version {}) because: {}\n\nsources\n",
        text(answer, "presentity"),
        text(answer, "state"),
        text(answer, "version"),
        text(answer, "rule")
    );
    for source in list("sources") {
        let mut notes = Vec::new();
        if source.get("manual") == Some(&Value::Bool(true)) {
            notes.push("by hand".to_string());
        }
        for (name, words) in [("since_s", "s old"), ("expires_s", "s left")] {
            if let Some(seconds) = source.get(name).and_then(Value::as_u64) {
                notes.push(format!("{seconds}{words}"));
            }
        }
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!("  ({})", notes.join(", "))
        };
        let _fits = writeln!(
            out,
            "  {:12}  {}: {}  {}{notes}",
            text(source, "kind"),
            text(source, "from"),
            text(source, "state"),
            text(source, "part")
        );
    }
    let _fits = writeln!(out, "\nsent to {}", text(answer, "watcher"));
    for sent in list("sent") {
        let _fits = writeln!(
            out,
            "  version {} to {}, {} s ago, as {} in dialect {}: {}; {}",
            text(sent, "version"),
            text(sent, "to"),
            text(sent, "ago_s"),
            text(sent, "content_type"),
            text(sent, "dialect"),
            text(sent, "shows"),
            text(sent, "progress")
        );
        let lines = sent.get("mapping").and_then(Value::as_array).into_iter().flatten();
        for line in lines.filter_map(Value::as_str) {
            let _fits = writeln!(out, "    {line}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn people_read_who_wins_and_what_is_left_out() {
        let answer = json!({
            "watcher": "w@b.example", "presentity": "p@a.example", "state": "available", "version": 3, "rule": "the newest",
            "sources": [
                {"kind": "publication", "from": "tag", "state": "available", "since_s": null, "expires_s": 60, "manual": true,
                 "part": "wins"},
                {"kind": "line", "from": "4711@ccm at peer ccm", "state": "on-the-phone", "since_s": 2, "expires_s": null,
                 "manual": false, "part": "left out: an echo of what we told"}],
            "sent": [{"to": "192.0.2.1:5060 udp", "ago_s": 4, "version": 3, "progress": "the watcher has it",
                      "content_type": "application/pidf+xml", "dialect": "rfc", "shows": "available",
                      "mapping": ["mappings/x.yaml:7 busy"]}],
        });
        let text = super::shown(&answer);
        assert_eq!(
            text,
            "p@a.example is available (version 3) because: the newest\n\nsources\n  publication   tag: available  wins  (by hand, \
             60s left)\n  line          4711@ccm at peer ccm: on-the-phone  left out: an echo of what we told  (2s old)\n\nsent to \
             w@b.example\n  version 3 to 192.0.2.1:5060 udp, 4 s ago, as application/pidf+xml in dialect rfc: available; the \
             watcher has it\n    mappings/x.yaml:7 busy\n"
        );
    }
}
