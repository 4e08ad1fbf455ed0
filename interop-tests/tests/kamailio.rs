//! Federation with a real Kamailio over mutual TLS, in both directions, on IPv4 and IPv6.
//!
//! Both sides run the files of `config/peers/kamailio/`, with other addresses. Each scenario runs twice: between the bridge
//! and Kamailio, and between two Kamailios. The second proves the scenario, the client and the recipe by themselves, so
//! that a failure of the first is the bridge's.

#[path = "federation/pair.rs"]
mod pair;
#[path = "federation/scenarios.rs"]
mod scenarios;
#[path = "federation/trust.rs"]
mod trust;

use interop_tests::Outcome;
use interop_tests::net::Family;
use pair::{Near, Pair};

fn with(test: &str, near: Near, family: Family, scenario: impl FnOnce(&mut Pair) -> Outcome) -> Outcome {
    if !interop_tests::installed(test, &interop_tests::kamailio::PROGRAMS) {
        return Ok(());
    }
    scenario(&mut Pair::start(near, family)?)
}

/// `name => function: kinds of near side`.
macro_rules! scenarios {
    ($($name:ident => $scenario:path : $($near:ident)+;)*) => {
        $(mod $name {
            use super::*;
            $(mod $near {
                use super::*;
                #[test]
                fn ipv4() -> Outcome {
                    with(concat!(stringify!($name), "::", stringify!($near), "::ipv4"), Near::$near(), Family::V4, $scenario)
                }
                #[test]
                fn ipv6() -> Outcome {
                    with(concat!(stringify!($name), "::", stringify!($near), "::ipv6"), Near::$near(), Family::V6, $scenario)
                }
            })+
        })*
    };
}

scenarios! {
    watch_both_ways => scenarios::watch_both_ways: bridge kamailio;
    refresh_and_unsubscribe => scenarios::refresh_and_unsubscribe: bridge kamailio;
    blocked_watchers => scenarios::blocked_watchers: bridge kamailio;
    messages_both_ways => scenarios::messages_both_ways: bridge kamailio;
    unknown_users => scenarios::unknown_users: bridge kamailio;
    calls_both_ways => scenarios::calls_both_ways: bridge kamailio;
    far_side_restarts => scenarios::far_side_restarts: bridge kamailio;
    near_side_restarts => scenarios::near_side_restarts: bridge kamailio;
    near_side_is_killed => scenarios::near_side_is_killed: bridge;
    far_side_is_down => scenarios::far_side_is_down: bridge;
    wrong_certificate_at_the_far_side => trust::wrong_certificate_at_the_far_side: bridge kamailio;
    wrong_certificate_at_the_near_side => trust::wrong_certificate_at_the_near_side: bridge kamailio;
    wrong_certificate_of_a_caller => trust::wrong_certificate_of_a_caller: bridge kamailio;
    strangers => trust::strangers: bridge kamailio;
}
