//! `trestle schema`: what may stand in a configuration, as JSON Schema for editors or as a list for people.

use std::io::Write;
use std::process::ExitCode;

use clap::Args as ClapArgs;

use crate::config::keys::keys;

/// Print the JSON Schema of bridge.yaml, so that an editor completes and checks it.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// List every key with its meaning and default instead.
    #[arg(long)]
    keys: bool,
}

/// Prints the schema. Exits 0, or 2 when nobody takes the output.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let text = if args.keys { listed() } else { crate::config::schema() };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

/// One line for each key; a blank one before each group.
fn listed() -> String {
    let keys = keys();
    let width = keys.iter().map(|k| k.path.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (at, key) in keys.iter().enumerate() {
        if at > 0 && !key.path.contains('.') {
            out.push('\n');
        }
        out.push_str(&format!("{:width$}  {}\n", key.path, key.meaning));
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_tells_keys_and_defaults() {
        let text = super::listed();
        let line = text
            .lines()
            .find(|l| l.starts_with("peers[].probe.interval "))
            .unwrap_or_default();
        assert!(line.ends_with("  Time between probes. Default: 30s."), "{line}");
        assert!(text.contains("\n\nlimits "), "{text}");
    }
}
