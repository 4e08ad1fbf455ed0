//! Whole operations through the sans-io engine: what a socket would bring in, up to what a socket would take away.
//!
//! `cargo bench --bench engine`. The answers that the far end gives are made by the harness and are in the figures.

mod stage;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stage::{NEAR, World};

fn plain(work: &mut dyn FnMut()) {
    work();
}

/// Numbers that no other iteration of this bench has had.
fn fresh() -> impl FnMut() -> usize {
    let mut next = 0;
    move || {
        next += 1;
        next
    }
}

fn relay(c: &mut Criterion) {
    let (mut world, mut next) = (World::new(plain), fresh());
    c.bench_function("engine/message relayed and answered", |b| {
        b.iter_batched(
            || stage::message(next()),
            |bytes| {
                world.wait(20);
                stage::relay(&mut world, &bytes);
            },
            BatchSize::SmallInput,
        );
    });
}

fn subscribe(c: &mut Criterion) {
    let (mut world, mut next) = (World::new(plain), fresh());
    for person in 0..200 {
        world.receive(NEAR, &stage::publish(person, person, 1, ""));
    }
    c.bench_function("engine/subscribe, first notify, its answer", |b| {
        b.iter_batched(
            || {
                let number = next();
                stage::subscribe(number, number % 200)
            },
            |bytes| {
                world.wait(20);
                world.receive(NEAR, &bytes);
                assert_eq!(world.answer_all("NOTIFY "), 1);
            },
            BatchSize::SmallInput,
        );
    });
}

fn publish(c: &mut Criterion) {
    let (mut world, mut next) = (World::new(plain), fresh());
    world.receive(NEAR, &stage::publish(0, 0, 1, ""));
    let mut tag = stage::etag(&world.take("SIP/2.0 200")[0]);
    for number in 0..20 {
        world.receive(NEAR, &stage::subscribe(number, 0));
        world.answer_all("NOTIFY ");
    }
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(20));
    group.bench_function("publish to 20 notifies and their answers", |b| {
        b.iter(|| {
            let version = next() + 1;
            world.wait(400);
            world.sent.clear();
            world.receive(NEAR, &stage::publish(version, 0, version, &tag));
            let answer = world.sent.iter().find(|wire| wire.starts_with(b"SIP/2.0 200"));
            tag = stage::etag(answer.expect("a 200 to PUBLISH"));
            assert_eq!(world.answer_all("NOTIFY "), 20);
        });
    });
    group.finish();
}

fn register(c: &mut Criterion) {
    let (mut world, mut next) = (World::new(plain), fresh());
    c.bench_function("engine/register", |b| {
        b.iter_batched(
            || stage::register(next()),
            |bytes| {
                world.wait(20);
                world.receive(NEAR, &bytes);
                assert_eq!(world.take("SIP/2.0 200").len(), 1);
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, relay, subscribe, publish, register);
criterion_main!(benches);
