//! Documents that no gateway should send: the watcher goes on seeing the last good state, the trunk lives.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::hostile;

use super::kinds::{legacy, newer};

#[test]
fn bodies_that_lie() -> Outcome {
    hostile(newer(), "active", "available", "away", "away")?;
    hostile(legacy(), "active", "available", "active: Away", "away")
}
