//! One subscription about many: `application/adrl+xml` goes in, `multipart/related` around RLMI comes back.

use std::collections::BTreeMap;

use interop_tests::Outcome;
use interop_tests::emulators::dialog::Dialog;
use interop_tests::emulators::scenes::expect_status;
use interop_tests::emulators::site::{ALICE, BOB, CAROL, STATES, Setup, Site, publish};
use interop_tests::emulators::xml;
use interop_tests::wire::{Message, find};

use super::kinds::{live, office};

const NOBODY: &str = "nobody@a.example";

/// State, kind and body of each resource, and whether it is all.
type List = (bool, BTreeMap<String, (String, String, Vec<u8>)>);

/// Reads a notification about a list, strictly.
fn read(message: &Message) -> Result<List, String> {
    let kind = message.header("Content-Type").unwrap_or_default().replace(' ', "");
    if !kind.starts_with("multipart/related;") || !kind.contains("type=\"application/rlmi+xml\"") {
        return Err(format!("{kind} is no list"));
    }
    let value = |name: &str| {
        kind.split(&format!(";{name}=\""))
            .nth(1)
            .and_then(|v| v.split('"').next())
    };
    let (boundary, start) = (
        value("boundary").ok_or("no boundary")?,
        value("start").ok_or("no start")?,
    );
    let mut parts = BTreeMap::new();
    let body = [b"\r\n", &message.body[..]].concat();
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body
        .get(find(&body, delimiter.as_bytes()).ok_or("no part")?..)
        .unwrap_or_default();
    loop {
        rest = rest.get(delimiter.len()..).unwrap_or_default();
        if rest.starts_with(b"--") {
            break;
        }
        let end = find(rest, delimiter.as_bytes()).ok_or("a part does not end")?;
        let (part, next) = rest.split_at(end);
        let split = find(part, b"\r\n\r\n").ok_or("a part without headers")?;
        let head = String::from_utf8_lossy(&part[..split]).into_owned();
        let of = |name: &str| {
            head.lines()
                .find_map(|l| l.strip_prefix(name))
                .unwrap_or_default()
                .to_string()
        };
        parts.insert(of("Content-ID: "), (of("Content-Type: "), part[split + 4..].to_vec()));
        rest = next;
    }
    let (_, rlmi) = parts.remove(start).ok_or("the first part is missing")?;
    let root = xml::read(&rlmi)?;
    if root.name != "list" || root.space != "urn:ietf:params:xml:ns:rlmi" {
        return Err(format!("{} in {}", root.name, root.space));
    }
    let mut resources = BTreeMap::new();
    for resource in root.all("resource") {
        let instance = resource.at("instance").ok_or("no instance")?;
        let cid = format!("<{}>", instance.attribute("cid"));
        let (kind, body) = parts.remove(&cid).unwrap_or_default();
        let uri = resource.attribute("uri").trim_start_matches("sip:").to_string();
        resources.insert(uri, (instance.attribute("state").to_string(), kind, body));
    }
    Ok((root.attribute("fullState") == "true", resources))
}

fn shown(setup: &Setup, list: &List, user: &str) -> Result<String, String> {
    let (_, kind, body) = list.1.get(user).ok_or_else(|| format!("{user} is missing"))?;
    (setup.habits.read)(kind, user, body)
}

fn batch(setup: Setup) -> Outcome {
    let site = Site::start(setup)?;
    let (mut alice, mut carol) = (site.user("alice")?, site.user("carol")?);
    publish(&mut alice, None, &STATES[1])?;
    let resources: String = [ALICE, CAROL, NOBODY]
        .map(|u| format!("<resource uri=\"sip:{u}\"/>"))
        .concat();
    let body = format!(
        "<adhoclist xmlns=\"urn:ietf:params:xml:ns:adrl\" uri=\"sip:{BOB}\" name=\"sip:{BOB}\"><create xmlns=\"\">{resources}\
         </create></adhoclist>"
    );
    let lines = "Event: presence\r\nAccept: application/rlmi+xml, multipart/related, text/xml+msrtc.pidf\r\nRequire: adhoclist\r\n\
                 Supported: eventlist, ms-benotify, ms-piggyback-first-notify\r\nProxy-Require: ms-benotify\r\nContent-Type: \
                 application/adrl+xml\r\n";
    let wire = &setup.habits.wire;
    let mut dialog = Dialog::begin(wire, &site.way, BOB, ALICE);
    let answer = site
        .peer
        .ask(&dialog.request(wire, &site.way, "SUBSCRIBE", lines, body.as_bytes()))?;
    expect_status(&answer, 200)?;
    dialog.answered(&answer);
    let first = read(&answer)?;
    assert!(first.0 && first.1.len() == 3, "{first:?}");
    assert_eq!(shown(&setup, &first, ALICE)?, "busy");
    assert_eq!(first.1.get(NOBODY).map(|r| r.0.as_str()), Some("terminated"));
    // Only who has changed.
    publish(&mut carol, None, &STATES[1])?;
    let next = site.peer.wait_for("news of carol", |e| {
        !e.sent && e.message.is("BENOTIFY") && dialog.owns(&e.message)
    })?;
    let next = read(&next)?;
    assert!(!next.0 && next.1.len() == 1, "{next:?}");
    assert_eq!(shown(&setup, &next, CAROL)?, "busy");
    let ended = dialog.request(wire, &site.way, "SUBSCRIBE", "Event: presence\r\nExpires: 0\r\n", b"");
    expect_status(&site.peer.ask(&ended)?, 200)
}

#[test]
fn live_communications_server_watches_a_list() -> Outcome {
    live().ways().into_iter().try_for_each(batch)
}

#[test]
fn office_communications_server_watches_a_list() -> Outcome {
    office().ways().into_iter().try_for_each(batch)
}
