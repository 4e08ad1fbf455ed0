//! Engine events as log lines. SIP identities are masked when `log.redact` says so; what slips through here is caught by
//! [`crate::admin::redact`].

use std::borrow::Cow;

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
            let (from, to, why) = (shown(from, redact), shown(to, redact), without_numbers(why, redact));
            let (from, to, why) = (&*from, &*to, &*why);
            let over = source.transport.param();
            tracing::info!(source = %source.remote, over, method, from, to, status, rule, why, "refused");
        }
        Event::Peer { name, up: true, why } => tracing::info!(name, why, "peer is up"),
        Event::Peer { name, up: false, why } => tracing::warn!(name, why, "peer is down"),
        Event::Note(text) => tracing::info!("{text}"),
    }
}

/// The user part becomes a mark; the domain, which names no person, stays. Without a domain nothing but the scheme stays.
fn shown(uri: &str, redact: bool) -> Cow<'_, str> {
    if !redact {
        return uri.into();
    }
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    match rest.rsplit_once('@') {
        Some((_, domain)) => format!("{scheme}:***@{domain}").into(),
        None if scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips") => uri.into(),
        None => format!("{scheme}:***").into(),
    }
}

/// Why something was refused may name a telephone number.
fn without_numbers(why: &str, redact: bool) -> Cow<'_, str> {
    if !redact {
        return why.into();
    }
    let is_number = |word: &str| word.bytes().filter(u8::is_ascii_digit).count() > 3 && !word.contains(['.', ':']);
    let words = why.split(' ').map(|word| if is_number(word) { "***" } else { word });
    words.collect::<Vec<_>>().join(" ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_named() {
        assert_eq!(shown("sip:alice@a.example;x", true), "sip:***@a.example;x");
        assert_eq!(shown("tel:+4930", true), "tel:***");
        assert_eq!(shown("alice", true), ":***");
        assert_eq!(shown("sip:a.example", true), "sip:a.example");
        assert_eq!(shown("sip:alice@a.example", false), "sip:alice@a.example");
        assert_eq!(
            without_numbers("no route takes the number +493012", true),
            "no route takes the number ***"
        );
        assert_eq!(
            without_numbers("192.0.2.1 is not on the list", true),
            "192.0.2.1 is not on the list"
        );
    }
}
