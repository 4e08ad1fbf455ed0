//! Engine events as log lines. SIP identities are masked when `log.redact` says so.

use crate::engine::Event;

/// Writes one event.
pub(super) fn log(event: &Event, redact: bool) {
    match event {
        Event::Refused {
            source,
            method,
            from,
            to,
            status,
            rule,
            why,
        } => {
            let (from, to) = (shown(from, redact), shown(to, redact));
            let over = source.transport.param();
            tracing::info!(peer = %source.remote, over, method, from, to, status, rule, why, "refused");
        }
        Event::Peer { name, up: true, why } => tracing::info!(name, why, "peer is up"),
        Event::Peer { name, up: false, why } => tracing::warn!(name, why, "peer is down"),
        Event::Note(text) => tracing::info!("{text}"),
    }
}

/// The user part becomes a mark; the domain, which names no person, stays.
fn shown(uri: &str, redact: bool) -> String {
    match (redact, uri.split_once('@')) {
        (true, Some((head, domain))) => {
            let scheme = head.split_once(':').map_or("", |(s, _)| s);
            format!("{scheme}:***@{domain}")
        }
        _ => uri.to_string(),
    }
}
