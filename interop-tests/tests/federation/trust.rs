//! Who must not get through: wrong certificates in both directions, and strangers.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::link::Link;
use interop_tests::pki::Flaw;
use interop_tests::wire::Request;

use super::pair::{A, B, Near, Pair, refused, status};

const QUIET: Duration = Duration::from_millis(300);

/// Kamailio as a client judges the chain and the dates, but never the name: that is its limit, and why `ca_list` holds
/// one CA only.
const CHAIN: [Flaw; 4] = [Flaw::Expired, Flaw::Future, Flaw::OtherAuthority, Flaw::SelfSigned];

fn nothing_arrived(agent: &mut Agent, why: &str) -> Outcome {
    agent.expect_none(&format!("MESSAGE although: {why}"), QUIET, |m| m.is("MESSAGE"))
}

/// The far side's certificate is wrong: nothing may be sent to it. Afterwards, with the right one, all is well.
pub(crate) fn wrong_certificate_at_the_far_side(pair: &mut Pair) -> Outcome {
    let mut alice = pair.near_user("alice")?;
    let flaws = if pair.kind() == Near::Bridge {
        &Flaw::ALL[..]
    } else {
        &CHAIN
    };
    for flaw in flaws {
        pair.far.stop();
        pair.far.start_with(&pair.authority.flawed(B, *flaw)?)?;
        let mut bob = pair.far_user("bob")?;
        let text = format!("for a peer with a certificate that is {flaw:?}");
        refused(&alice.message("sip:bob@b.example", &text)?).map_err(|e| format!("{flaw:?}: {e}"))?;
        nothing_arrived(&mut bob, &text)?;
    }
    pair.far.stop();
    pair.far.start_with(&pair.authority.issue(B)?)?;
    let mut bob = pair.far_user("bob")?;
    pair.wait_for_peer("up")?;
    status(&alice.message("sip:bob@b.example", "now")?, 200)?;
    bob.messaged("now").map(drop)
}

/// The near side's certificate is by another CA: Kamailio lets it neither in nor talks to it.
pub(crate) fn wrong_certificate_at_the_near_side(pair: &mut Pair) -> Outcome {
    let authority = interop_tests::pki::Authority::new()?;
    let flawed = authority.flawed(A, Flaw::OtherAuthority)?;
    let pair = Pair::start_with(pair.kind(), pair.family(), authority, &flawed)?;
    let (mut alice, mut bob) = (pair.near_user("alice")?, pair.far_user("bob")?);
    refused(&alice.message("sip:bob@b.example", "from a stranger")?)?;
    nothing_arrived(&mut bob, "our certificate is by another CA")?;
    refused(&bob.message("sip:alice@a.example", "to a stranger")?)?;
    nothing_arrived(&mut alice, "our certificate is by another CA")
}

/// Somebody calls with a certificate that only looks like the peer's.
pub(crate) fn wrong_certificate_of_a_caller(pair: &mut Pair) -> Outcome {
    let mut alice = pair.near_user("alice")?;
    for flaw in Flaw::ALL {
        let setup = pair.caller(Some(pair.authority.flawed(B, flaw)?));
        let text = format!("from a caller whose certificate is {flaw:?}");
        // Either the handshake fails, or the connection is closed, or the request is refused.
        if let Ok(mut mallory) = Agent::trunk("bob", B, pair.near_trunk(), &setup)
            && let Ok(answer) = mallory.message("sip:alice@a.example", &text)
        {
            refused(&answer).map_err(|e| format!("{flaw:?}: {e}"))?;
        }
        nothing_arrived(&mut alice, &text)?;
    }
    // The same client with the right certificate does get through.
    let setup = pair.caller(Some(pair.authority.issue(B)?));
    let mut bob = Agent::trunk("bob", B, pair.near_trunk(), &setup)?;
    status(&bob.message("sip:alice@a.example", "from the peer")?, 200)?;
    alice.messaged("from the peer").map(drop)
}

/// No certificate, another domain's certificate, no TLS at all, and the tricks that shall open what is closed.
pub(crate) fn strangers(pair: &mut Pair) -> Outcome {
    let mut alice = pair.near_user("alice")?;
    if let Ok(mut nobody) = Agent::trunk("bob", B, pair.near_trunk(), &pair.caller(None))
        && let Ok(answer) = nobody.message("sip:alice@a.example", "without a certificate")
    {
        refused(&answer)?;
    }
    nothing_arrived(&mut alice, "no certificate")?;
    let third = pair.caller(Some(pair.authority.issue("third.example")?));
    for domain in [B, "third.example", A] {
        let Ok(mut mallory) = Agent::trunk("bob", domain, pair.near_trunk(), &third) else {
            continue;
        };
        tricks(&mut mallory, &format!("third.example as {domain}"))?;
    }
    for domain in [B, "third.example"] {
        for link in [Link::udp(pair.near_client())?, Link::tcp(pair.near_client())?] {
            let transport = link.transport();
            tricks(
                &mut Agent::new("bob", domain, "", link)?,
                &format!("{domain} over {transport}"),
            )?;
        }
    }
    nothing_arrived(&mut alice, "strangers")?;
    // The peer itself, for domains it was not granted.
    let peer = pair.caller(Some(pair.authority.issue(B)?));
    for domain in ["third.example", A] {
        let mut bob = Agent::trunk("bob", domain, pair.near_trunk(), &peer)?;
        tricks(&mut bob, &format!("{B} as {domain}"))?;
    }
    let mut bob = Agent::trunk("bob", B, pair.near_trunk(), &peer)?;
    refused(&bob.message("sip:x@third.example", "no transit")?)?;
    nothing_arrived(&mut alice, "a peer that is not granted the domain")
}

/// Each must be refused, or the connection closed.
fn tricks(mallory: &mut Agent, who: &str) -> Outcome {
    let target = "sip:alice@a.example";
    let plain = Request::new("MESSAGE", target).body("text/plain", who);
    let contact = mallory.contact();
    let all = [
        ("plain", plain.clone()),
        ("To-tag", plain.clone().to(format!("<{target}>;tag=1234"))),
        ("Route", plain.clone().with("Route", "<sip:a.example;lr>")),
        (
            "asserted identity",
            plain.clone().with("P-Asserted-Identity", "<sip:bob@b.example>"),
        ),
        (
            "second Via",
            plain.clone().with("Via", "SIP/2.0/TLS b.example;branch=z9hG4bKfirst"),
        ),
        (
            "SUBSCRIBE",
            Request::new("SUBSCRIBE", target)
                .with("Event", "presence")
                .with("Contact", contact.clone()),
        ),
        (
            "PUBLISH",
            Request::new("PUBLISH", target)
                .with("Event", "presence")
                .with("Expires", "60"),
        ),
        (
            "REGISTER",
            Request::new("REGISTER", "sip:a.example")
                .to(format!("<{target}>"))
                .with("Contact", contact),
        ),
    ];
    for (trick, request) in all {
        match mallory.ask(&request) {
            Ok(answer) => refused(&answer).map_err(|e| format!("{who}, {trick}: {e}"))?,
            // Closed: refused without an answer. Silence is not: it would have waited for 34 s.
            Err(error) if error.to_string().contains("closed") => return Ok(()),
            Err(error) => return Err(format!("{who}, {trick}: {error}").into()),
        }
    }
    Ok(())
}
