//! A bridge that runs the recipe of a peer, and the emulator of that peer, joined.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::bodies::{self, Pidf};
use super::island::{Habits, Island, bare};
use super::{Keys, PATIENCE, Peer, Way};
use crate::Outcome;
use crate::agent::Agent;
use crate::net::{Family, free_port};
use crate::pki::Authority;
use crate::trestle::{Ports, Trestle};
use crate::watch::Watch;
use crate::wire::{Message, Request};

/// The bridge's domain.
pub const A: &str = "a.example";
/// The peer's domain.
pub const B: &str = "b.example";
/// Somebody at the peer.
pub const BOB: &str = "bob@b.example";
/// Somebody else there.
pub const ERIN: &str = "erin@b.example";
/// A line at the peer that the recipe of Unified CM gives to alice.
pub const LINE: &str = "4711@b.example";
/// A user of the bridge.
pub const ALICE: &str = "alice@a.example";
/// Another one.
pub const CAROL: &str = "carol@a.example";

/// A peer as a test wants it.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// The recipe's directory below `config/peers`.
    pub recipe: &'static str,
    /// The emulator.
    pub habits: Habits,
    /// The loopback family.
    pub family: Family,
    /// Mutual TLS; plain TCP without.
    pub tls: bool,
    /// Further lines of the configuration.
    pub rest: &'static str,
}

impl Setup {
    /// The recipe with its emulator over TCP on IPv4.
    #[must_use]
    pub fn new(recipe: &'static str, habits: Habits) -> Self {
        Self {
            recipe,
            habits,
            family: Family::V4,
            tls: false,
            rest: "",
        }
    }

    /// All four ways: both families, without and with TLS.
    #[must_use]
    pub fn ways(self) -> [Self; 4] {
        [
            (Family::V4, false),
            (Family::V6, false),
            (Family::V4, true),
            (Family::V6, true),
        ]
        .map(|(family, tls)| Self { family, tls, ..self })
    }
}

/// Both, running.
#[derive(Debug)]
pub struct Site {
    /// The emulator.
    pub peer: Peer,
    /// The bridge.
    pub bridge: Trestle,
    /// How they reach each other.
    pub way: Way,
    _dir: TempDir,
}

impl Site {
    /// Starts both.
    ///
    /// # Errors
    /// When one does not get ready.
    pub fn start(setup: Setup) -> Outcome<Self> {
        let (authority, dir, ports) = (Authority::new()?, tempfile::tempdir()?, Ports::free(setup.family));
        let keys = Keys {
            own: authority.issue(B)?,
            ca: authority.pem.clone(),
            bridge: A.into(),
        };
        let way = Way {
            family: setup.family,
            port: free_port(),
            bridge: if setup.tls { ports.trunk() } else { ports.client() },
            keys: setup.tls.then_some(keys),
        };
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs)?;
        authority.issue(A)?.write(&certs, A)?;
        std::fs::write(certs.join("b-ca.pem"), &authority.pem)?;
        std::fs::write(dir.path().join("bridge.yaml"), recipe(&setup, ports, &way)?)?;
        let peer = Peer::start(Island::new(setup.habits, way.clone(), &[BOB, ERIN]))?;
        let bridge = Trestle::start(dir.path(), ports)?;
        Ok(Self {
            peer,
            bridge,
            way,
            _dir: dir,
        })
    }

    /// A user of the bridge with a plain client, registered.
    ///
    /// # Errors
    /// When REGISTER is refused.
    pub fn user(&self, user: &str) -> Outcome<Agent> {
        let mut agent = Agent::tcp(user, A, self.bridge.ports.client())?;
        match agent.register(600)?.status() {
            200 => Ok(agent),
            other => Err(format!("REGISTER of {user} was answered {other}").into()),
        }
    }

    /// The bridge's log behind what went wrong.
    #[must_use]
    pub fn explain(&self, error: &dyn std::fmt::Display) -> String {
        let log = self.bridge.log();
        let last: Vec<&str> = log.lines().rev().take(25).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!(
            "{error}\n--- {}\n{}\n--- the bridge\n{}",
            self.way.transport(),
            self.peer.story(),
            last.join("\n")
        )
    }
}

/// The recipe as it is shipped, but for addresses, passwords, the way to the peer and the pace of NOTIFYs.
fn recipe(setup: &Setup, ports: Ports, way: &Way) -> Outcome<String> {
    let mut text = crate::recipe::shipped(setup.recipe, ports, &[])?;
    let (begin, end) = ("    transport: t", "    probe:");
    let (Some(from), Some(to)) = (text.find(begin), text.find(end)) else {
        return Err(format!("recipe {}: no peer with transport and probe", setup.recipe).into());
    };
    let shipped = text.get(from..to).unwrap_or_default();
    let own = way.own();
    let here = match (shipped.contains("transport: tls"), setup.tls) {
        (true, true) => shipped.replace("127.0.0.2:5061", &format!("\"{own}\"")),
        (false, false) => shipped
            .replace("127.0.0.2:5060", &format!("\"{own}\""))
            .replace("[127.0.0.2]", &format!("[\"{}\"]", own.ip())),
        (_, true) => format!("    transport: tls\n    next_hop: \"{own}\"\n    tls: {{ ca: [certs/b-ca.pem] }}\n"),
        (_, false) => format!(
            "    transport: tcp\n    next_hop: \"{own}\"\n    addresses: [\"{}\"]\n",
            own.ip()
        ),
    };
    if !here.contains(&own.to_string()) {
        return Err(format!("recipe {}: no next hop to replace", setup.recipe).into());
    }
    text.replace_range(from..to, &here);
    Ok(text + "notify: { min_interval: 0s }\n" + setup.rest)
}

/// A state of a user of the bridge as a plain client publishes it.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Its name; also what a plain reader calls it.
    pub name: &'static str,
    /// `open` or `closed`.
    pub basic: &'static str,
    /// Elements in activities; the prefix `r` is RPID's.
    pub activities: &'static str,
    /// Further elements of the person.
    pub person: &'static str,
}

const fn state(name: &'static str, basic: &'static str, activities: &'static str) -> State {
    State {
        name,
        basic,
        activities,
        person: "",
    }
}

/// Every state.
pub const STATES: [State; 10] = [
    state("available", "open", ""),
    state("busy", "open", "<r:busy/>"),
    state("on-the-phone", "open", "<r:on-the-phone/>"),
    state("away", "open", "<r:away/>"),
    State {
        person: "<r:user-input>idle</r:user-input>",
        ..state("idle", "open", "<r:away/>")
    },
    state("meeting", "open", "<r:meeting/>"),
    state("dnd", "open", "<r:busy/><x:dnd xmlns:x=\"urn:x-test\"/>"),
    state("meal", "open", "<r:meal/>"),
    state("vacation", "open", "<r:vacation/>"),
    state("offline", "closed", ""),
];

/// What a plain reader of RFC 4480 calls a document.
#[must_use]
pub fn plain(document: &Pidf) -> &'static str {
    let is = |names: &[&str]| document.activities.iter().any(|a| names.contains(&a.as_str()));
    match document.open {
        Some(false) => "offline",
        None => "unknown",
        _ if is(&["dnd", "do-not-disturb"]) => "dnd",
        _ if is(&["on-the-phone"]) => "on-the-phone",
        _ if is(&["meeting", "appointment", "presentation"]) => "meeting",
        _ if is(&["busy"]) => "busy",
        _ if is(&["meal"]) => "meal",
        _ if is(&["vacation"]) => "vacation",
        _ if document.idle => "idle",
        _ if is(&["away", "other"]) => "away",
        _ => "available",
    }
}

/// Publishes a state in place of an earlier one; the new entity tag.
///
/// # Errors
/// When it is not answered 200.
pub fn publish(agent: &mut Agent, etag: Option<&str>, state: &State) -> Outcome<String> {
    let entity = bare(&agent.aor());
    let body = bodies::pidf(&entity, state.basic, state.activities, state.person, "");
    let mut request = Request::new("PUBLISH", &agent.aor())
        .with("Event", "presence")
        .with("Expires", "600")
        .body("application/pidf+xml", body);
    if let Some(etag) = etag {
        request = request.with("SIP-If-Match", etag);
    }
    let answer = agent.ask(&request)?;
    match (answer.status(), answer.header("SIP-ETag")) {
        (200, Some(etag)) => Ok(etag.into()),
        _ => Err(format!("PUBLISH {} was answered {}", state.name, answer.start).into()),
    }
}

/// Waits until a plain watcher sees this; whatever it is shown until then must be valid.
///
/// # Errors
/// When it does not come to that, or a document is not valid.
pub fn sees(agent: &mut Agent, watch: &Watch, word: &str) -> Outcome<Message> {
    let entity = bare(&watch.presentity);
    let end = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let message = agent
            .expect(&format!("NOTIFY with {word}"), left, |m| {
                watch.owns(m) && !m.body.is_empty()
            })
            .map_err(|e| format!("{e}; last: {last}"))?;
        let document = bodies::read_pidf(&entity, &message.body)
            .map_err(|why| format!("a plain watcher cannot read: {why}\n{}", message.text()))?;
        if plain(&document) == word {
            return Ok(message);
        }
        last = message.text();
    }
}

/// Waits until a plain client has got a text outside any session, and checks who it is from.
///
/// # Errors
/// When it does not come.
pub fn gets(agent: &mut Agent, from: &str, text: &str) -> Outcome<Message> {
    let message = agent.expect(&format!("MESSAGE {text:?}"), PATIENCE, |m| {
        m.is("MESSAGE") && m.text() == text
    })?;
    let by = message.header("From").map(bare).unwrap_or_default();
    if by != from {
        return Err(format!("{text:?} is from {by}, not {from}").into());
    }
    Ok(message)
}

/// A text must not come twice.
///
/// # Errors
/// When it does.
pub fn only_once(agent: &mut Agent, text: &str) -> Outcome {
    agent.expect_none("second copy", Duration::from_millis(700), |m| {
        m.is("MESSAGE") && m.text() == text
    })
}
