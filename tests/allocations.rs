//! How many allocations the engine makes for an operation: a gate that no change may pass unseen, since time on a loaded
//! machine tells nothing and a count tells everything. What the harness itself allocates is not counted.
//!
//! The numbers are those of today, rounded up. Who lowers one lowers it here too.

#[path = "../benches/stage/mod.rs"]
mod stage;

use std::cell::Cell;

use stage::{NEAR, World};

thread_local! {
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

fn count(work: &mut dyn FnMut()) {
    let info = allocation_counter::measure(work);
    COUNTED.set(COUNTED.get() + info.count_total);
}

/// Allocations for each of `units` while `work` runs, once tables have the size they keep.
fn each(units: usize, work: impl FnOnce()) -> f64 {
    let before = COUNTED.get();
    work();
    (COUNTED.get() - before) as f64 / units as f64
}

fn gate(what: &str, measured: f64, allowed: f64) {
    println!("{what}: {measured:.2} allocations, {allowed} allowed");
    assert!(
        measured <= allowed,
        "{what} makes {measured:.2} allocations, {allowed} are allowed: find the new ones, or say why they are needed"
    );
}

/// MESSAGE from trunk to trunk with its answer. 20 ms apart, so that as many transactions end as begin.
#[test]
fn a_relayed_message() {
    let mut world = World::new(count);
    let messages: Vec<Vec<u8>> = (0..6000).map(stage::message).collect();
    let (warm, measured) = messages.split_at(4000);
    let mut run = |messages: &[Vec<u8>]| {
        for message in messages {
            world.wait(20);
            stage::relay(&mut world, message);
        }
    };
    run(warm);
    gate("a relayed MESSAGE", each(measured.len(), || run(measured)), 0.1);
}

/// SUBSCRIBE with its first NOTIFY and the answer to that. Each adds a subscription, so tables grow.
#[test]
fn a_subscription() {
    let mut world = World::new(count);
    for presentity in 0..200 {
        world.receive(NEAR, &stage::publish(presentity, presentity, 1, ""));
    }
    let mut subscribe = |from: usize, to: usize| {
        for number in from..to {
            world.wait(20);
            world.receive(NEAR, &stage::subscribe(number, number % 200));
            assert_eq!(world.answer_all("NOTIFY "), 1);
        }
    };
    subscribe(0, 4000);
    gate(
        "a SUBSCRIBE with its NOTIFY",
        each(2000, || subscribe(4000, 6000)),
        11.1,
    );
}

/// A PUBLISH with 20 watchers, counted for each NOTIFY.
#[test]
fn a_notify() {
    let mut world = World::new(count);
    world.receive(NEAR, &stage::publish(0, 0, 1, ""));
    let mut tag = stage::etag(&world.take("SIP/2.0 200")[0]);
    for number in 0..20 {
        world.receive(NEAR, &stage::subscribe(number, 0));
        world.answer_all("NOTIFY ");
    }
    let mut publish = |from: usize, to: usize| {
        for version in from..to {
            world.wait(400);
            world.sent.clear();
            world.receive(NEAR, &stage::publish(version, 0, version, &tag));
            let answer = world.sent.iter().find(|wire| wire.starts_with(b"SIP/2.0 200"));
            tag = stage::etag(answer.expect("a 200 to PUBLISH"));
            assert_eq!(world.answer_all("NOTIFY "), 20);
        }
    };
    publish(2, 302);
    gate("a NOTIFY of 20", each(100 * 20, || publish(302, 402)), 4.4);
}

/// A REGISTER of an address that is registered already.
#[test]
fn a_registration_refreshed() {
    let mut world = World::new(count);
    let register = |round: usize, number: usize| {
        let text = String::from_utf8(stage::register(number)).expect("text");
        let later = text
            .replace("CSeq: 1 ", &format!("CSeq: {round} "))
            .replace("z9hG4bK", &format!("z9hG4bK{round}x"));
        later.into_bytes()
    };
    let mut run = |round: usize| {
        for number in 0..2000 {
            world.wait(20);
            world.receive(NEAR, &register(round, number));
            assert_eq!(world.take("SIP/2.0 200").len(), 1);
        }
    };
    run(1);
    run(2);
    gate("a REGISTER that refreshes", each(2000, || run(3)), 19.1);
}
