//! What a starting bridge tells the person who started it.

use std::path::Path;

use crate::config::Loaded;

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
    let domain = snapshot.domains.iter().next().map_or("a.example", |(d, _)| &**d);
    let users: Vec<&str> = snapshot.users.iter().map(|(_, u)| &*u.user).take(2).collect();
    if let [one, other] = users[..]
        && !snapshot.log.redact
    {
        println!("  trestle watch {other}@{domain} --from {one}@{domain} --password …");
        println!("  trestle publish open --note hello --from {other}@{domain} --password …");
        println!("  trestle message {other}@{domain} hello --from {one}@{domain} --password …");
    }
    println!("  trestle ctl trace --config {}", config.display());
}
