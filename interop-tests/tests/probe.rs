//! `trestle peer probe` against peers that are emulated, against a real Kamailio, and against hostile servers.

#[path = "probe/hostile.rs"]
mod hostile;
#[path = "probe/kinds.rs"]
mod kinds;

use std::path::Path;

use interop_tests::{Outcome, trestle};

/// A score sheet in JSON, and the exit code.
fn probe(dir: &Path, more: &[&str]) -> Outcome<(serde_json::Value, i32, String)> {
    let fixed = ["peer", "probe", "b", "--config", "bridge.yaml", "--json"];
    let words: Vec<&str> = fixed.iter().chain(more).copied().collect();
    let output = trestle::run(dir, &words)?;
    let (said, wrong) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let sheet = serde_json::from_str(&said).unwrap_or_default();
    Ok((sheet, output.status.code().unwrap_or(-1), wrong.into_owned()))
}

/// The suggested file passes the check.
fn overlay_is_well(dir: &Path, file: &str) -> Outcome<String> {
    let mappings = dir.join("mappings");
    let text = std::fs::read_to_string(mappings.join(file))?;
    let output = trestle::run(dir, &["mappings", "check", "mappings"])?;
    match output.status.success() {
        true => Ok(text),
        false => Err(format!("{}\n{text}", String::from_utf8_lossy(&output.stdout)).into()),
    }
}
