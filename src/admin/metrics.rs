//! The numbers for Prometheus, in its text format 0.0.4.

use core::fmt::Write as _;

use serde_json::Value;

/// The type of what [`render`] makes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the bridge has counted: field of its status, kind, what it means.
const COUNTED: [(&str, &str, &str); 17] = [
    (
        "draining",
        "gauge",
        "1 once new work is refused, since the bridge is stopping",
    ),
    ("transactions", "gauge", "Transactions alive"),
    ("connections", "gauge", "Open connections"),
    ("subscriptions", "gauge", "Subscriptions served"),
    (
        "lists",
        "gauge",
        "Lists of many subscriptions served, each in one dialog",
    ),
    ("upstream_subscriptions", "gauge", "Subscriptions held at peers"),
    ("presentities", "gauge", "Presentities known"),
    ("bindings", "gauge", "Contacts registered"),
    ("stored_messages", "gauge", "Messages kept for absent users"),
    (
        "messages_under_way",
        "gauge",
        "Messages on their way between parties that speak differently",
    ),
    ("requests", "counter", "Requests that reached the decision"),
    ("refused", "counter", "Requests refused by the decision"),
    ("forwarded", "counter", "Requests forwarded"),
    ("notifies", "counter", "NOTIFYs sent"),
    ("malformed", "counter", "Messages that could not be read"),
    ("stray_responses", "counter", "Responses that matched no request"),
    (
        "connections_refused",
        "counter",
        "Connections closed since their peer held as many as it may",
    ),
];

/// How contracts with peers stand: field of the peer's contract, name, what it means.
const CONTRACTS: [(&str, &str, &str); 5] = [
    (
        "messages",
        "contract_rate",
        "Requests a second that the peer is promised not to get more of",
    ),
    (
        "tokens",
        "contract_tokens",
        "Requests that could go to the peer at once",
    ),
    (
        "waiting",
        "contract_waiting",
        "Requests to the peer that wait for their turn",
    ),
    (
        "stale_ms",
        "contract_stale_milliseconds",
        "How long the oldest state that waits for the peer has been waiting",
    ),
    ("watched", "contract_watched", "Distinct addresses watched at the peer"),
];

/// What the bridge answers to the questions that the numbers are made of.
pub(super) struct Answers {
    pub(super) status: Value,
    pub(super) store: Value,
    pub(super) peers: Value,
    pub(super) certificates: Value,
}

/// All numbers.
pub(super) fn render(answers: &Answers) -> String {
    let mut out = String::new();
    let status = &answers.status;
    family(&mut out, "info", "gauge", "Always 1; the label says what runs");
    sample(&mut out, "info", &[("version", text(&status["version"]))], 1);
    family(&mut out, "uptime_seconds", "gauge", "Since the bridge has started");
    sample(&mut out, "uptime_seconds", &[], number(&status["uptime_s"]));
    for (field, kind, help) in COUNTED {
        let name = if kind == "counter" {
            format!("{field}_total")
        } else {
            field.to_owned()
        };
        family(&mut out, &name, kind, help);
        sample(&mut out, &name, &[], number(&status[field]));
    }
    let failure = text(&answers.store["failure"]);
    family(&mut out, "store_failing", "gauge", "1 while the store takes no records");
    sample(
        &mut out,
        "store_failing",
        &[("cause", failure)],
        u64::from(!failure.is_empty()),
    );
    let peers = || answers.peers.as_array().into_iter().flatten();
    family(
        &mut out,
        "peer_up",
        "gauge",
        "1 while the peer answers, 0 while it does not; nothing before that is known",
    );
    for peer in peers().filter(|p| p["state"] == "up" || p["state"] == "down") {
        let up = u64::from(peer["state"] == "up");
        sample(&mut out, "peer_up", &[("peer", text(&peer["name"]))], up);
    }
    family(&mut out, "peer_connections", "gauge", "Open connections of the peer");
    for peer in peers() {
        let held = number(&peer["connections"]);
        sample(&mut out, "peer_connections", &[("peer", text(&peer["name"]))], held);
    }
    family(
        &mut out,
        "peer_sessions",
        "gauge",
        "Sessions of messages held with the peer",
    );
    for peer in peers() {
        let held = number(&peer["sessions"]);
        sample(&mut out, "peer_sessions", &[("peer", text(&peer["name"]))], held);
    }
    for (field, name, help) in CONTRACTS {
        let held = |peer: &Value| peer["contract"][field].as_u64();
        if peers().any(|peer| held(peer).is_some()) {
            family(&mut out, name, "gauge", help);
        }
        for (peer, value) in peers().filter_map(|peer| Some((peer, held(peer)?))) {
            sample(&mut out, name, &[("peer", text(&peer["name"]))], value);
        }
    }
    let name = "certificates_refused_total";
    family(&mut out, name, "counter", "Certificates refused, by the reason");
    for (reason, count) in answers.certificates.as_object().into_iter().flatten() {
        sample(&mut out, name, &[("reason", reason)], number(count));
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_bool().map_or_else(|| value.as_u64().unwrap_or(0), u64::from)
}

fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    let _fits = writeln!(out, "# HELP trestle_{name} {help}.\n# TYPE trestle_{name} {kind}");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{}}}", labels.join(","))
    };
    let _fits = writeln!(out, "trestle_{name}{labels} {value}");
}

/// A label's value: the format knows these three escapes and no other.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_number_has_its_help_and_type_and_no_label_breaks_its_line() {
        let text = render(&Answers {
            status: json!({ "version": "1.0", "uptime_s": 7, "draining": true, "requests": 12 }),
            store: json!({ "failure": "no \"room\"\nat all" }),
            peers: json!([{ "name": "b\\c", "state": "up", "connections": 2 }, { "name": "d", "state": "down" }, { "name": "e", "state": "unprobed", "contract": { "messages": 20, "stale_ms": 7 } }]),
            certificates: json!({ "expired": 3 }),
        });
        for line in [
            "trestle_info{version=\"1.0\"} 1",
            "trestle_uptime_seconds 7",
            "trestle_draining 1",
            "# TYPE trestle_requests_total counter",
            "trestle_requests_total 12",
            "trestle_store_failing{cause=\"no \\\"room\\\"\\nat all\"} 1",
            "trestle_peer_up{peer=\"b\\\\c\"} 1",
            "trestle_peer_up{peer=\"d\"} 0",
            "trestle_peer_connections{peer=\"b\\\\c\"} 2",
            "trestle_contract_rate{peer=\"e\"} 20",
            "trestle_contract_stale_milliseconds{peer=\"e\"} 7",
            "trestle_certificates_refused_total{reason=\"expired\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.contains("trestle_peer_up{peer=\"e\"}"), "{text}");
        let mut described = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            if words[0] == "#" {
                described.push((words[1], words[2]));
            } else {
                let name = words[0].split('{').next().unwrap_or_default();
                assert!(described.ends_with(&[("HELP", name), ("TYPE", name)]), "{line}");
            }
        }
    }

    #[test]
    fn whatever_the_engine_counts_is_shown() {
        let status = serde_json::to_value(crate::engine::Status::default()).unwrap_or_default();
        let counted: Vec<&str> = status.as_object().into_iter().flatten().map(|(k, _)| &**k).collect();
        let shown: Vec<&str> = COUNTED.iter().map(|(field, ..)| *field).collect();
        assert_eq!(counted, shown);
    }
}
