//! Examples for the help of every subcommand that has none of its own.

use clap::Command;

/// Subcommand, as it is called, and what its help ends with.
const EXAMPLES: [(&[&str], &str); 18] = [
    (
        &["run"],
        "  trestle run --config /etc/trestle/bridge.yaml
  RUST_LOG=info,trestle::transport=debug trestle run",
    ),
    (
        &["check"],
        "  trestle check --config /etc/trestle/bridge.yaml && trestle ctl reload
  trestle check --json | jq -r '.errors[].what'",
    ),
    (
        &["schema"],
        "  trestle schema > config/bridge.schema.json
    and in config/bridge.yaml, for editors: # yaml-language-server: $schema=bridge.schema.json
  trestle schema --keys | grep '^peers'",
    ),
    (
        &["explain"],
        "  trestle explain --from sip:bob@b.example --to sip:alice@a.example --method MESSAGE --peer b
  trestle explain --from sip:bob@b.example --to sip:alice@a.example --method SUBSCRIBE --event presence \\
      --cert their.pem --json
  trestle explain --from sip:bob@b.example --to sip:alice@a.example --method SUBSCRIBE --event presence --peer b \\
      --accept 'text/xml+msrtc.pidf, application/xpidf+xml'
  trestle explain --from sip:bob@b.example --to sip:alice@a.example --method PUBLISH --event presence --peer b \\
      --content-type application/pidf+xml --body document.xml
  trestle explain --from sip:alice@a.example --user alice@a.example --to sip:bob@b.example --content-type text/html",
    ),
    (
        &["dial"],
        "  trestle dial 18005551212
  trestle dial 'tel:1001;phone-context=dialstring' --peer ucm --json",
    ),
    (
        &["peer", "probe"],
        "  trestle peer probe b --to sip:bob@b.example
  trestle peer probe b --to sip:bob@b.example --message-to sip:test@b.example \\
      --overlay mappings/b.yaml && trestle mappings check mappings
  trestle peer probe b --json | jq -r '.overlay.yaml'",
    ),
    (
        &["completions"],
        "  trestle completions bash > /etc/bash_completion.d/trestle
  trestle completions fish > ~/.config/fish/completions/trestle.fish",
    ),
    (
        &["mappings", "check"],
        "  trestle mappings check /etc/trestle/mappings && trestle ctl reload
  trestle mappings check mappings --json | jq -r '.errors[].what'",
    ),
    (
        &["mappings", "matrix"],
        "  trestle mappings matrix rfc lcs2005
  trestle mappings matrix lcs2005 sametime-legacy --from-format pidf-text
  trestle mappings matrix rfc ours --dir /etc/trestle/mappings --json | jq '.states[] | select(.outcome != \"same\")'",
    ),
    (
        &["mappings", "list"],
        "  trestle mappings list
  trestle mappings list --dir /etc/trestle/mappings",
    ),
    (&["cert", "ca"], "  trestle cert ca --name 'Example CA'"),
    (
        &["cert", "issue"],
        "  trestle cert issue bridge.a.example --domain a.example",
    ),
    (&["cert", "import"], "  trestle cert import b their-ca.pem"),
    (
        &["cert", "export"],
        "  trestle cert export
  trestle cert export --ca --out our-ca.pem",
    ),
    (
        &["cert", "list"],
        "  trestle cert list
  trestle cert list --json | jq '.[] | select(.days_left < 30)'",
    ),
    (&["cert", "crl"], "  trestle cert crl make\n  trestle cert crl show"),
    (&["cert", "revoke"], "  trestle cert revoke certs/old.pem --compromised"),
    (
        &["cert", "doctor"],
        "  trestle cert doctor b --config config/bridge.yaml
  trestle cert doctor b --domain b.example --connect sip.b.example:5061",
    ),
];

/// The command with its examples.
pub(super) fn with_examples(command: Command) -> Command {
    EXAMPLES
        .iter()
        .fold(command, |command, (path, text)| add(command, path, text))
}

fn add(command: Command, path: &[&str], text: &str) -> Command {
    match path.split_first() {
        None if command.get_after_help().is_none() => command.after_help(format!("Examples:\n{text}")),
        Some((first, rest)) if command.find_subcommand(first).is_some() => {
            command.mut_subcommand(*first, |sub| add(sub, rest, text))
        }
        _ => command,
    }
}
