//! A real client of Live Communications Server 2005 lives on the bridge: pidgin-sipe 1.25 on libpurple, without a display.
//!
//! It signs in over TCP and TLS, keeps its contact list here, sees others and is seen. The plain clients beside it know
//! nothing of its dialect.

use std::path::Path;
use std::time::{Duration, Instant};

use interop_tests::agent::Agent;
use interop_tests::kamailio::{self, Kamailio};
use interop_tests::net::{Family, free_port};
use interop_tests::pki::Authority;
use interop_tests::sipe::{self, Sipe};
use interop_tests::stand::{DOMAIN, Stand};
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually, trestle};

const PATIENCE: Duration = Duration::from_secs(40);

/// A bridge with listeners for such clients.
struct World {
    stand: Stand,
    tcp: u16,
    tls: u16,
    homes: tempfile::TempDir,
}

impl World {
    fn new() -> Outcome<Self> {
        Self::with("")
    }

    /// With further lines of the configuration.
    fn with(rest: &str) -> Outcome<Self> {
        let (tcp, tls) = (free_port(), free_port());
        let listeners = format!(
            "  - {{ name: lcs, transport: tcp, bind: [\"127.0.0.1:{tcp}\"], dialect: lcs2005-clients }}\n  \
             - {{ name: lcs-tls, transport: tls, bind: [\"127.0.0.1:{tls}\"], client_certificate: none, dialect: lcs2005-clients }}\n\
             users:\n"
        );
        let stand = Stand::start_as(Family::V4, |ports| {
            let plain = trestle::config(DOMAIN, ports, &format!("notify: {{ min_interval: 0s }}\n{rest}"));
            plain.replacen("users:\n", &listeners, 1)
        })?;
        Ok(Self {
            stand,
            tcp,
            tls,
            homes: tempfile::tempdir()?,
        })
    }

    /// A client of a user, signed in.
    fn client(&self, user: &str, home: &str, tls: bool) -> Outcome<Sipe> {
        let home = self.homes.path().join(home);
        let certificate = self.stand.dir().join(format!("{DOMAIN}.pem"));
        let (port, certificate) = match tls {
            true => (self.tls, Some(certificate.as_path())),
            false => (self.tcp, None),
        };
        let mut client = self.start(user, &home, &format!("secret-{user}"), port, certificate)?;
        client.wait("signed-on", |_| true)?;
        // What is on its own list and not on the one it gets is taken off: nothing may be added before.
        eventually("the contact list has come", PATIENCE, || {
            client.wire().contains("sipe_buddy_cleanup_local_list")
        })?;
        Ok(client)
    }

    fn start(&self, user: &str, home: &Path, password: &str, port: u16, certificate: Option<&Path>) -> Outcome<Sipe> {
        let server = format!("127.0.0.1:{port}");
        Sipe::start(home, &format!("{user}@{DOMAIN}"), password, &server, certificate)
    }

    /// Waits until nobody or somebody is registered as this user.
    fn registered(&self, user: &str, yes: bool) -> Outcome {
        let who = format!("{user}@{DOMAIN}");
        let shown = || self.stand.bridge.ctl("registrations").unwrap_or_default();
        eventually(&format!("{who} registered: {yes}"), PATIENCE, || {
            shown().contains(&who) == yes
        })
        .map_err(|e| format!("{e}; registrations are {}", shown()).into())
    }
}

fn address(user: &str) -> String {
    format!("sip:{user}@{DOMAIN}")
}

/// A state as a plain client publishes it: basic, and what stands in RPID's activities.
fn state(entity: &str, basic: &str, activities: &str) -> String {
    let person = match activities {
        "" => String::new(),
        some => format!("<dm:person id=\"p\"><r:activities>{some}</r:activities></dm:person>"),
    };
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:r=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\"><tuple id=\"t\"><status><basic>{basic}</basic>\
         </status></tuple>{person}</presence>"
    )
}

fn publish(agent: &mut Agent, etag: &mut Option<String>, basic: &str, activities: &str) -> Outcome {
    let entity = agent.aor();
    let mut request = Request::new("PUBLISH", &entity)
        .with("Event", "presence")
        .with("Expires", "600")
        .body("application/pidf+xml", state(&entity, basic, activities));
    if let Some(etag) = etag {
        request = request.with("SIP-If-Match", etag.as_str());
    }
    let answer = agent.ask(&request)?;
    assert_eq!(answer.status(), 200, "{}", answer.start);
    *etag = answer.header("SIP-ETag").map(Into::into);
    Ok(())
}

fn signs_in_keeps_its_list_and_leaves(tls: bool) -> Outcome {
    let world = World::new()?;
    let (bob, carol) = (address("bob"), address("carol"));
    let mut client = world.client("alice", "first", tls)?;
    world.registered("alice", true)?;
    client.command(&format!("add {bob}"))?;
    client.command(&format!("add {carol}"))?;
    client.command(&format!("remove {carol}"))?;
    client.wait("added", |e| e["name"] == *bob)?;
    client.wait("removed", |e| e["name"] == *carol)?;
    eventually("the list has reached the bridge", PATIENCE, || {
        let wire = client.wire();
        // Each request goes twice: challenged, and with credentials.
        let kept = |what: &str| wire.matches(what).count() >= 2;
        let last = wire.rfind("<m:setContact>").and_then(|at| wire.get(at..));
        kept("<m:deleteContact>") && kept("<m:setContact>") && last.is_some_and(|w| w.contains("SIP/2.0 200 OK"))
    })?;
    client.quit()?;
    world.registered("alice", false)?;
    assert!(client.complaints().is_empty(), "{:#?}", client.complaints());
    // A client that has never been here finds the list.
    let mut again = world.client("alice", "second", tls)?;
    again.wait("added", |e| e["name"] == *bob)?;
    again.quit()?;
    assert!(!again.told.iter().any(|e| e["name"] == *carol), "{:#?}", again.told);
    assert!(again.complaints().is_empty(), "{:#?}", again.complaints());
    Ok(())
}

#[test]
fn signs_in_over_tcp() -> Outcome {
    if !sipe::installed("signs_in_over_tcp") {
        return Ok(());
    }
    signs_in_keeps_its_list_and_leaves(false)
}

#[test]
fn signs_in_over_tls() -> Outcome {
    if !sipe::installed("signs_in_over_tls") {
        return Ok(());
    }
    signs_in_keeps_its_list_and_leaves(true)
}

#[test]
fn a_wrong_password_stays_outside() -> Outcome {
    if !sipe::installed("a_wrong_password_stays_outside") {
        return Ok(());
    }
    let world = World::new()?;
    let home = world.homes.path().join("wrong");
    let mut client = world.start("alice", &home, "guess", world.tcp, None)?;
    client.wait("connection-error", |_| true)?;
    assert!(
        !client.told.iter().any(|e| e["event"] == "signed-on"),
        "{:#?}",
        client.told
    );
    world.registered("alice", false)
}

/// What a plain client publishes, and as what it is seen.
const STATES: [(&str, &str, &str); 9] = [
    ("open", "", "available"),
    ("open", "<r:busy/>", "busy"),
    ("open", "<r:away/>", "away"),
    ("open", "<r:on-the-phone/>", "busy"),
    ("open", "<r:meal/>", "away"),
    ("open", "<r:vacation/>", "away"),
    ("open", "<r:meeting/>", "busy"),
    ("open", "<r:busy/><r:other>do-not-disturb</r:other>", "do-not-disturb"),
    ("closed", "", "offline"),
];

#[test]
fn sees_a_plain_user_in_every_state() -> Outcome {
    if !sipe::installed("sees_a_plain_user_in_every_state") {
        return Ok(());
    }
    let world = World::new()?;
    let mut bob = world.stand.user("bob")?;
    let mut etag = None;
    publish(&mut bob, &mut etag, "open", "<r:away/>")?;
    let mut client = world.client("alice", "watcher", false)?;
    client.command(&format!("add {}", bob.aor()))?;
    client.wait_for_status(&bob.aor(), "away")?;
    // There and back: each state is seen after every kind of other.
    for (basic, activities, shown) in STATES.iter().chain(STATES.iter().rev()) {
        publish(&mut bob, &mut etag, basic, activities)?;
        client
            .wait_for_status(&bob.aor(), shown)
            .map_err(|e| format!("{basic} {activities}: {e}"))?;
    }
    client.quit()?;
    assert!(client.complaints().is_empty(), "{:#?}", client.complaints());
    Ok(())
}

#[test]
fn is_seen_by_a_plain_watcher_in_every_state_it_sets() -> Outcome {
    if !sipe::installed("is_seen_by_a_plain_watcher_in_every_state_it_sets") {
        return Ok(());
    }
    let world = World::new()?;
    let mut client = world.client("alice", "publisher", false)?;
    let mut bob = world.stand.user("bob")?;
    let watch = bob.watch(&address("alice"), 600)?;
    bob.notified(&watch, "active", "<basic>open</basic>")?;
    // By hand after signing in, which is what its users do.
    for (number, (set, held)) in [
        ("busy", &["busy"][..]),
        ("away", &["away"]),
        ("do-not-disturb", &["<r:busy/>", "dnd"]),
        ("be-right-back", &["be-right-back"]),
        ("available", &["<basic>open</basic>"]),
        ("busy", &["busy"]),
    ]
    .into_iter()
    .enumerate()
    {
        let echoes = |client: &Sipe| client.wire().matches("triggered by core - ignoring").count();
        let before = echoes(&client);
        client.command(&format!("status {set} note & {number}"))?;
        let note = format!("note &amp; {number}<");
        let seen = bob.expect(&format!("NOTIFY of {set}"), PATIENCE, |m| {
            watch.owns(m) && m.text().contains(&note) && held.iter().all(|word| m.text().contains(word))
        })?;
        assert!(
            seen.text().contains("<basic>open</basic>"),
            "{set} is no absence: {}",
            seen.text()
        );
        // It hears of its own state too, and takes that over: until then it would undo what comes next.
        eventually("the client sees itself", PATIENCE, || echoes(&client) > before)?;
    }
    client.quit()?;
    let end = Instant::now() + PATIENCE;
    while !bob
        .notified(&watch, "active", "")?
        .text()
        .contains("<basic>closed</basic>")
    {
        assert!(Instant::now() < end, "the state outlives its client");
    }
    Ok(())
}

#[test]
fn messages_and_typing_go_both_ways() -> Outcome {
    if !sipe::installed("messages_and_typing_go_both_ways") {
        return Ok(());
    }
    let world = World::new()?;
    let mut client = world.client("alice", "talker", false)?;
    let mut bob = world.stand.user("bob")?;
    client.command(&format!("im {} good morning", bob.aor()))?;
    bob.expect("MESSAGE", PATIENCE, |m| {
        m.is("MESSAGE") && m.text().contains("good morning")
    })?;
    let answer = bob.message(&address("alice"), "and to you: \u{20ac} <b>")?;
    assert!(matches!(answer.status(), 200 | 202), "{}", answer.start);
    client.wait("im", |e| {
        e["sender"] == *bob.aor() && e["text"].as_str().is_some_and(|t| t.contains('\u{20ac}'))
    })?;
    client.command(&format!("typing {} 1", bob.aor()))?;
    bob.expect("typing", PATIENCE, |m| {
        m.is("MESSAGE") && m.text().contains("<state>active")
    })?;
    let typing = "<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state></isComposing>";
    let request = Request::new("MESSAGE", &address("alice")).body("application/im-iscomposing+xml", typing.to_string());
    assert!(matches!(bob.ask(&request)?.status(), 200 | 202));
    client.wait("typing", |e| e["sender"] == *bob.aor())?;
    client.quit()
}

/// The domain of the organisation beside ours.
const FAR: &str = "b.example";

/// A bridge with such clients, and a Kamailio as its peer.
fn federated() -> Outcome<(World, Kamailio)> {
    let (theirs, port) = (Authority::named("CA of b.example")?, free_port());
    let homes = tempfile::tempdir()?;
    let ca = homes.path().join("b-ca.pem");
    std::fs::write(&ca, &theirs.pem)?;
    let peer = format!(
        "peers:\n  - {{ name: b, domains: [{FAR}], transport: tls, next_hop: \"{}\", tls: {{ ca: [\"{}\"] }}, \
         probe: {{ interval: 2s, timeout: 1s, down_after: 2 }} }}\n",
        Family::V4.at(port),
        ca.display()
    );
    let mut world = World::with(&peer)?;
    world.homes = homes;
    let setup = kamailio::Setup {
        tls: port,
        ..kamailio::Setup::new(FAR, DOMAIN, world.stand.bridge.ports.trunk())
    };
    let dir = world.homes.path().join("kamailio");
    std::fs::create_dir(&dir)?;
    let far = Kamailio::start(&dir, setup, &theirs.issue(FAR)?, &world.stand.authority.pem)?;
    world.stand.bridge.wait_for_peer("up")?;
    Ok((world, far))
}

fn far_user(far: &Kamailio, user: &str) -> Outcome<Agent> {
    let mut agent = Agent::tcp(user, FAR, far.client())?;
    match agent.register(600)?.status() {
        200 => Ok(agent),
        other => Err(format!("REGISTER of {user} at Kamailio was answered {other}").into()),
    }
}

/// A user of a Kamailio beside the bridge and one of the bridge change through every state, and the client shows both; what
/// it sets itself, a watcher at that Kamailio sees.
#[test]
fn sees_and_is_seen_across_a_kamailio() -> Outcome {
    let test = "sees_and_is_seen_across_a_kamailio";
    if !sipe::installed(test) || !interop_tests::installed(test, &kamailio::PROGRAMS) {
        return Ok(());
    }
    let (world, far) = federated()?;
    let (mut near_bob, mut far_bob) = (world.stand.user("bob")?, far_user(&far, "bob")?);
    let (mut near_tag, mut far_tag) = (None, None);
    publish(&mut near_bob, &mut near_tag, "open", "<r:away/>")?;
    publish(&mut far_bob, &mut far_tag, "open", "<r:away/>")?;
    let mut client = world.client("alice", "between", false)?;
    for who in [near_bob.aor(), far_bob.aor()] {
        client.command(&format!("add {who}"))?;
        client.wait_for_status(&who, "away")?;
    }
    for (basic, activities, shown) in STATES.iter().chain(STATES.iter().rev()) {
        for (bob, tag) in [(&mut near_bob, &mut near_tag), (&mut far_bob, &mut far_tag)] {
            publish(bob, tag, basic, activities)?;
            client
                .wait_for_status(&bob.aor(), shown)
                .map_err(|e| format!("{} {basic} {activities}: {e}\n{}", bob.aor(), world.stand.bridge.log()))?;
        }
    }
    let mut carol = far_user(&far, "carol")?;
    let watch = carol.watch(&address("alice"), 600)?;
    for (set, held) in [
        ("busy", "busy"),
        ("away", "away"),
        ("do-not-disturb", "dnd"),
        ("available", "open"),
    ] {
        client.command(&format!("status {set} now {set}"))?;
        let note = format!("now {set}<");
        let seen = carol.expect(&format!("NOTIFY of {set}"), PATIENCE, |m| {
            watch.owns(m) && m.text().contains(&note) && m.text().contains(held)
        })?;
        assert!(
            seen.text().contains("<basic>open</basic>"),
            "{set} is no absence: {}",
            seen.text()
        );
        // Until it has heard of itself it would undo what comes next.
        let heard = format!("switch to '{set}' for the account");
        eventually("the client sees itself", PATIENCE, || client.wire().contains(&heard))?;
    }
    client.quit()?;
    carol.expect("NOTIFY that she has gone", PATIENCE, |m| {
        watch.owns(m) && m.text().contains("<basic>closed</basic>")
    })?;
    assert!(client.complaints().is_empty(), "{:#?}", client.complaints());
    Ok(())
}
