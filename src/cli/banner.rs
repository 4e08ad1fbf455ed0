//! What a starting bridge tells the person who started it.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::Loaded;
use crate::policy::Snapshot;
use crate::sip::net::Transport;

/// Prints listeners, domains, users and peers, and commands to try.
pub fn print(config: &Path, loaded: &Loaded) {
    let snapshot = &loaded.snapshot;
    println!(
        "Trestle {} is running on {}",
        env!("CARGO_PKG_VERSION"),
        config.display()
    );
    for listener in &snapshot.listeners {
        let binds: Vec<String> = listener.bind.iter().map(ToString::to_string).collect();
        println!(
            "  listener  {:<10} {} {}",
            listener.name,
            listener.transport.param(),
            binds.join(" ")
        );
    }
    for (domain, _) in snapshot.domains.iter() {
        let users: Vec<&str> = snapshot
            .users
            .iter()
            .filter(|(_, u)| u.domain == *domain)
            .map(|(_, u)| &*u.user)
            .collect();
        // Standard output often ends in the same file as the log.
        if snapshot.log.redact {
            println!("  domain    {domain:<10} users: {}", users.len());
        } else {
            println!("  domain    {domain:<10} users: {}", users.join(" "));
        }
    }
    for (_, peer) in snapshot.peers() {
        let domains: Vec<&str> = peer.domains.iter().map(|(d, _)| &**d).collect();
        println!(
            "  peer      {:<10} {} over {}",
            peer.name,
            domains.join(" "),
            peer.transport.param()
        );
    }
    println!("Try, in another terminal:");
    for line in to_try(&program(), config, snapshot) {
        println!("  {line}");
    }
}

/// How this program is called from where it was started.
fn program() -> String {
    let called = std::env::args().next().filter(|name| name.contains('/'));
    called.unwrap_or_else(|| "trestle".into())
}

/// Commands that work as they stand.
fn to_try(program: &str, config: &Path, snapshot: &Snapshot) -> Vec<String> {
    let config = match config.display().to_string() {
        usual if usual == "config/bridge.yaml" => String::new(),
        other => format!(" --config {other}"),
    };
    let mut lines = Vec::new();
    let able = snapshot.users.iter().filter(|(_, u)| u.client && u.presence);
    let users: Vec<String> = able.map(|(_, u)| u.address()).take(2).collect();
    // Standard output often ends in the same file as the log, and the log names nobody then.
    if let [one, other] = &users[..]
        && let Some(server) = plain_server(snapshot)
        && !snapshot.log.redact
    {
        let server = if server == "127.0.0.1:5060" {
            String::new()
        } else {
            format!(" --server {server}")
        };
        lines.push(format!("{program} watch {other} --from {one}{server}{config}"));
        lines.push(format!(
            "{program} publish open --note hello --from {other}{server}{config}"
        ));
        lines.push(format!("{program} message {other} hello --from {one}{server}{config}"));
    }
    lines.push(format!("{program} ctl trace{config}"));
    lines
}

/// Where the small clients reach the bridge over UDP.
fn plain_server(snapshot: &Snapshot) -> Option<String> {
    let plain = snapshot.listeners.iter().filter(|l| l.transport == Transport::Udp);
    let bound = plain.flat_map(|l| &l.bind).min_by_key(|at| at.is_ipv6())?;
    let at = match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())),
        other => *other,
    };
    Some(at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::snapshot;

    const USERS: &str = "domains: [a.example]\nusers:\n  - {aor: quiet@a.example, password: {plain: x}, enabled: {presence: false}}\n  \
                         - {aor: alice@a.example, password: {plain: x}}\n  - {aor: bob@a.example, password: {plain: x}}\n";

    #[test]
    fn three_commands_are_shown_with_all_that_they_need() {
        let usual = to_try("trestle", Path::new("config/bridge.yaml"), &snapshot(USERS));
        assert_eq!(
            usual,
            [
                "trestle watch bob@a.example --from alice@a.example",
                "trestle publish open --note hello --from bob@a.example",
                "trestle message bob@a.example hello --from alice@a.example",
                "trestle ctl trace",
            ]
        );
        let listener = "listeners: [{name: u, transport: udp, bind: [\"[::]:5070\"]}]\n";
        let other = to_try("./t", Path::new("b.yaml"), &snapshot(&format!("{USERS}{listener}")));
        assert_eq!(
            other.first().map(String::as_str),
            Some("./t watch bob@a.example --from alice@a.example --server [::1]:5070 --config b.yaml")
        );
        let masked = to_try(
            "trestle",
            Path::new("b.yaml"),
            &snapshot(&format!("{USERS}log: {{redact: true}}\n")),
        );
        assert_eq!(masked, ["trestle ctl trace --config b.yaml"]);
    }
}
