//! Two bridges that each route a third domain to the other: a request for it ends, and soon.

use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::trestle::{Ports, Trestle};

use super::org::{A, B, Org};

/// The other bridge as a peer, trusted to bring and to take what is for c.example.
fn other(name: &str, domain: &str, at: &Ports) -> String {
    format!(
        "peers:\n  - {{ name: {name}, domains: [{domain}], transit: [c.example], transport: tls, next_hop: \"{}\", tls: {{ \
         ca: [certs/peers/{name}/ca.pem] }}, probe: {{ interval: 2s, timeout: 2s, down_after: 2 }} }}\nroutes:\n  - {{ \
         match: {{ domain: c.example }}, peer: {name} }}\n",
        at.trunk()
    )
}

#[test]
fn a_circle_of_routes_ends_after_one_round() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let (a, b) = (Org::new(A)?, Org::new(B)?);
        b.give_authority(&a, "b")?;
        a.give_authority(&b, "a")?;
        let (at_a, at_b) = (Ports::free(family), Ports::free(family));
        a.configure(&at_a, &other("b", B, &at_b))?;
        b.configure(&at_b, &other("a", A, &at_a))?;
        let (one, two) = (Trestle::start(a.dir(), at_a)?, Trestle::start(b.dir(), at_b)?);
        one.wait_for_peer("up")?;
        two.wait_for_peer("up")?;
        let mut alice = Agent::udp("alice", A, at_a.client())?;
        assert_eq!(alice.register(600)?.status(), 200);
        let started = Instant::now();
        let answer = alice.message("sip:carol@c.example", "round and round")?;
        // Where it comes round it claims to be alice and is not by alice's own way: that ends it (407, 403) even before
        // the loop is looked for (482, 483).
        assert!(
            matches!(answer.status(), 407 | 403 | 482 | 483),
            "{}\n{}\n{}",
            answer.start,
            one.log(),
            two.log()
        );
        for bridge in [&one, &two] {
            let status = bridge.ctl("status")?.replace(' ', "");
            assert!(status.contains("\"forwarded\":1,"), "forwarded once: {status}");
        }
        assert!(started.elapsed() < Duration::from_secs(15));
        // The straight way is still open.
        let mut bob = Agent::udp("bob", B, at_b.client())?;
        assert_eq!(bob.register(600)?.status(), 200);
        assert_eq!(alice.message("sip:bob@b.example", "straight")?.status(), 200);
        bob.messaged("straight")?;
    }
    Ok(())
}
