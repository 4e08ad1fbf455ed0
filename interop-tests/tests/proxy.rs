//! The running bridge as a proxy: what it passes on, keeps, refuses and answers for others, on IPv4 and IPv6.
//!
//! What federates with a real Kamailio stands in `kamailio.rs`; here the peer is a test client that can be told to be
//! slow, silent or gone.

use interop_tests::Outcome;
use interop_tests::net::Family;

#[path = "proxy/bench.rs"]
mod bench;
#[path = "proxy/calls.rs"]
mod calls;
#[path = "proxy/forks.rs"]
mod forks;
#[path = "proxy/messages.rs"]
mod messages;
#[path = "proxy/peers.rs"]
mod peers;

/// `module: name, name;` makes the tests `name::v4` and `name::v6` of the functions `module::name`.
macro_rules! on_both {
    ($($module:ident: $($name:ident),+;)*) => {
        $($(mod $name {
            use super::*;
            #[test]
            fn v4() -> Outcome {
                super::$module::$name(Family::V4)
            }
            #[test]
            fn v6() -> Outcome {
                super::$module::$name(Family::V6)
            }
        })+)*
    };
}

on_both! {
    calls: both_sides_speak_inside_a_dialog, users_of_the_bridge_call_each_other, a_call_is_cancelled, hops_are_counted;
    forks: the_first_who_answers_wins, all_refuse, a_message_goes_to_every_contact, path_is_honoured;
    messages: kept_for_the_absent_and_survive_a_kill, not_kept_where_it_is_not_wanted, long_ones_do_not_leave_as_datagrams;
    peers: silence_is_answered_in_time, a_peer_that_is_down_is_told_at_once, only_our_own_overload_is_503;
}
