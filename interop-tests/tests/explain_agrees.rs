//! The running engine and `explain` agree: 100,000 random requests go as bytes through the simulated engine, and the
//! status and rule id on the wire are those of the pure decision.
//!
//! The facts are never taken from the engine: what a certificate is worth, whose dialog a tag or token is, what came of
//! credentials, what loops and what is over a limit follows from how each case was made.

#[path = "explain_agrees/cases.rs"]
mod cases;
#[path = "explain_agrees/dialogs.rs"]
mod dialogs;
#[path = "explain_agrees/parts.rs"]
mod parts;
#[path = "explain_agrees/tally.rs"]
mod tally;
#[path = "explain_agrees/world.rs"]
mod world;

use interop_tests::Outcome;
use trestle::policy::decide;
use trestle::sip::random::Random;

use cases::Maker;
use tally::Tally;
use world::World;

const CASES: u64 = 100_000;
/// A new engine after so many.
const BLOCK: u64 = 10_000;

#[test]
fn a_hundred_thousand_requests_are_judged_alike() -> Outcome {
    let dir = tempfile::tempdir()?;
    let snapshot = world::snapshot(dir.path())?;
    let mut random = Random::from_seed([42; 32]);
    let mut tally = Tally::default();
    for block in 0..CASES / BLOCK {
        let mut world = World::start(&snapshot, &mut random)?;
        let mut maker = Maker::start(&mut world)?;
        for number in block * BLOCK..(block + 1) * BLOCK {
            world.pass(random.next_u64() % 200)?;
            maker.keep_nonces(&mut world)?;
            let case = maker.case(&mut random, &mut world, number)?;
            let over = world.over(&case);
            let watched = world.watched();
            let decision = decide(&snapshot, &case.facts(over, &watched), &mut tally);
            let (status, rule) = world.send(&case)?;
            let wanted = decision.rule().map(|rule| rule.id.to_string());
            let text = format!("{:?} from {:?}\n{}", case.kinds, case.source, case.text);
            match decision.status() {
                Some(want) => assert_eq!((status, &rule), (want, &wanted), "case {number}:\n{text}"),
                None => assert_eq!(
                    rule, None,
                    "case {number} is allowed, yet refused with {status}:\n{text}"
                ),
            }
            tally.note(&case, wanted);
        }
    }
    println!("{tally}");
    tally.complete()
}
