//! A peer speaks in a subscription of the user it is about alone.

use interop_tests::Outcome;
use interop_tests::emulators::scenes::{control_character, somebody_elses};

use super::kinds::{legacy, newer};

#[test]
fn a_document_about_somebody_else() -> Outcome {
    [newer(), legacy()].into_iter().try_for_each(somebody_elses)
}

#[test]
fn a_control_character() -> Outcome {
    [newer(), legacy()].into_iter().try_for_each(control_character)
}
