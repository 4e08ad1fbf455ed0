//! The recipes of `config/peers` as they are shipped, with what a test has to have otherwise.

use crate::trestle::Ports;
use crate::{Outcome, repository};

/// A text, how often it stands in the recipe, and what stands there instead.
pub type Change<'a> = (usize, &'a str, String);

/// The `bridge.yaml` of a recipe, but for addresses, passwords and what `more` changes. What is replaced must be there, so
/// that a recipe cannot change unnoticed.
///
/// # Errors
/// When there is no such recipe, or it does not say what is to be replaced.
pub fn shipped(name: &str, ports: Ports, more: &[Change<'_>]) -> Outcome<String> {
    let file = repository().join("config/peers").join(name).join("bridge.yaml");
    let mut text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let usual = [
        (
            2,
            "\"127.0.0.1:5060\", \"[::1]:5060\"",
            format!("\"{}\"", ports.client()),
        ),
        (1, "\"127.0.0.1:5061\", \"[::1]:5061\"", format!("\"{}\"", ports.tls())),
        (
            1,
            "\"127.0.0.1:5062\", \"[::1]:5062\"",
            format!("\"{}\"", ports.trunk()),
        ),
        (1, "plain: alice-dev", "plain: secret-alice".into()),
        (1, "plain: carol-dev", "plain: secret-carol".into()),
        (1, "http: 127.0.0.1:9090", "http: \"off\"".into()),
    ];
    for (times, old, new) in usual.iter().chain(more) {
        if text.matches(old).count() != *times {
            return Err(format!("{}: {old} does not stand there {times} times", file.display()).into());
        }
        text = text.replace(old, new);
    }
    Ok(text)
}
