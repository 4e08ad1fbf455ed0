//! States that clients set.

use super::*;

/// What a client sets, as SIPE writes it.
fn state(aggregate: u32, number: Option<u32>) -> String {
    let by_hand = number.map_or_else(String::new, |n| {
        format!("<states><state avail=\"{n}\" since=\"2026-01-01T00:00:00Z\" set=\"manual\">x</state></states>")
    });
    format!(
        "<m:setPresence><m:presentity m:uri=\"{SELF}\"><m:availability m:aggregate=\"300\"/>\
         <m:activity m:aggregate=\"{aggregate}\"/><userInfo xmlns=\"http://schemas.microsoft.com/2002/09/sip/presence\">\
         <note>here</note>{by_hand}</userInfo></m:presentity></m:setPresence>"
    )
}

#[test]
fn a_state_is_a_publication_that_lives_as_long_as_its_registration() {
    let (mut sim, mut desk) = signed_in();
    sim.subscribe("bob", SELF, 3600);
    sim.pass(100);
    sim.notifies();
    assert_eq!(status(&desk.service(&mut sim, &state(600, Some(6500)))), 200);
    let seen = sim.notifies().pop().unwrap();
    assert!(
        body(&seen).contains("busy") && body(&seen).contains("manual") && body(&seen).contains("here"),
        "{seen}"
    );
    // Another endpoint's state stands beside it; what is set by hand outweighs what is not.
    let mut lap = Endpoint::new(&mut sim, 2, "bb02");
    assert_eq!(
        status(&lap.service(&mut sim, &state(400, None))),
        403,
        "it has not registered"
    );
    lap.register(&mut sim, "Expires: 3000\r\n");
    assert_eq!(status(&lap.service(&mut sim, &state(400, None))), 200);
    let id = sim
        .engine
        .presence
        .local_id(&Aor::parse("alice@a.example").unwrap())
        .unwrap();
    let count = |sim: &Sim| sim.disk.keys().filter(|k| k.first() == Some(&b'p')).count();
    assert_eq!(count(&sim), 2);
    assert!(String::from_utf8_lossy(&sim.engine.presence.resources.get(id).unwrap().body).contains("busy"));
    // The same endpoint's next state takes the place of its last, also after a restart.
    sim.restart(1000);
    let mut desk = Endpoint::new(&mut sim, 3, "aa01");
    desk.register(&mut sim, "Expires: 600\r\n");
    assert_eq!(status(&desk.service(&mut sim, &state(100, Some(15500)))), 200);
    assert_eq!(count(&sim), 2);
    sim.input(Input::Closed { flow: FlowId(3) });
    assert_eq!(count(&sim), 1, "it went with its connection");
    sim.pass(3_100_000);
    assert_eq!(count(&sim), 0, "the other with its registration");
}

#[test]
fn who_is_disabled_for_presence_sets_no_state() {
    let disabled = |config: &str| {
        let tcp = format!("}}, {{ name: tcp, transport: tcp, bind: [\"127.0.0.1:5060\"], dialect: {DIALECT} }}]");
        let config = config.replace("5060\"] }]", &format!("5060\"] {tcp}"));
        config.replacen(
            "password: { plain: x } }",
            "password: { plain: x }, enabled: { presence: false } }",
            1,
        )
    };
    let mut sim = Sim::configured(disabled);
    let mut alice = Endpoint::new(&mut sim, 1, "aa01");
    assert_eq!(status(&alice.register(&mut sim, "")), 200);
    assert_eq!(status(&alice.service(&mut sim, &state(600, None))), 403);
    assert!(!sim.disk.keys().any(|k| k.first() == Some(&b'p')));
}

#[test]
fn a_state_that_makes_no_sense_changes_nothing() {
    let (mut sim, mut alice) = signed_in();
    let hostile = "<m:setPresence><m:presentity m:uri=\"sip:alice@a.example\"/></m:setPresence>";
    let answer = alice.service(&mut sim, hostile);
    assert!(matches!(status(&answer), 200 | 400), "{answer}");
    let answer = alice.service(&mut sim, &hostile.replace("presentity m:uri", "presence m:uri"));
    assert!(
        status(&answer) == 400 && rule(&answer).contains("no presentity"),
        "{answer}"
    );
}
