//! P22: a subscription that the bridge holds at a peer. Who has seen all that names its dialog, but is not that peer,
//! changes nothing; nor does the peer itself by an old number or a hostile document.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::{Agent, PATIENCE};
use interop_tests::link::Link;
use interop_tests::net::Family;
use interop_tests::watch::pidf;
use interop_tests::wire::{Message, Request, uri_of};

use super::site::{B, Site};

const CARL: &str = "sip:carl@b.example";
const QUIET: Duration = Duration::from_millis(300);

/// A NOTIFY within the dialog that this SUBSCRIBE began, with this number and document.
fn notify(subscribe: &Message, tag: &str, cseq: u32, state: &str, body: impl Into<Vec<u8>>) -> Request {
    let mut request = Request::new("NOTIFY", subscribe.header("Contact").map_or("", uri_of))
        .from(format!("<{CARL}>;tag={tag}"))
        .to(subscribe.header("From").unwrap_or_default())
        .with("Event", "presence")
        .with("Subscription-State", state)
        .with("Contact", "<sip:carl@b.example;transport=tls>")
        .body("application/pidf+xml", body);
    request.call_id = subscribe.header("Call-ID").map(Into::into);
    request.cseq = cseq;
    request
}

#[test]
fn only_the_peer_itself_notifies_and_only_in_order() -> Outcome {
    let other = "  - { name: c, domains: [c.example], transport: tls, next_hop: \"192.0.2.3:5061\", tls: { ca: [b-ca.pem] }, \
                 probe: \"off\" }\n";
    let site = Site::start(Family::V4, other, "notify: { min_interval: 0s }\n")?;
    let (mut alice, mut bob) = (site.alice()?, site.bob()?);
    bob.alias = true;
    // The connection is known for the peer's once something has come over it.
    bob.ask(&Request::new("OPTIONS", "sip:a.example"))?;
    let watch = alice.watch(CARL, 600)?;
    let subscribe = bob.expect("SUBSCRIBE", PATIENCE, |m| m.is("SUBSCRIBE"))?;
    let tag = format!("t{}", subscribe.branch());
    let say = |cseq, note: &str| notify(&subscribe, &tag, cseq, "active;expires=600", pidf(CARL, "open", note));
    assert_eq!(bob.ask(&say(100, "the truth"))?.status(), 200);
    alice.notified(&watch, "active", "the truth")?;
    alice.forget(|m| watch.owns(m));

    // From elsewhere: strangers, a user with her password, another peer under its own name and under this one.
    let mut c = site.caller(site.authority.issue("c.example")?)?;
    let plain = |link: Link| Agent::new("carl", B, "", link);
    let at = site.bridge.ports.client();
    let mut others: Vec<(&str, Agent)> = vec![("UDP", plain(Link::udp(at)?)?), ("TCP", plain(Link::tcp(at)?)?)];
    others.push(("a user", Agent::udp("dave", "a.example", at)?));
    for (who, agent) in &mut others {
        for from in [None, Some(agent.aor())] {
            let mut forged = say(200, "forged");
            if let Some(aor) = from {
                forged.from = Some(format!("<{aor}>;tag={tag}"));
            }
            let status = agent.ask(&forged)?.status();
            assert!(matches!(status, 401 | 403 | 407 | 481), "{who}: {status}");
        }
    }
    for from in [CARL, "sip:carl@c.example"] {
        let status = c.ask(&say(201, "forged").from(format!("<{from}>;tag={tag}")))?.status();
        assert!(matches!(status, 403 | 481), "another peer as {from}: {status}");
    }
    // By the peer itself: old numbers, a tag or a Call-ID that is none of it, an end of somebody else's subscription.
    for cseq in [100, 99, 1] {
        assert_eq!(bob.ask(&say(cseq, "stale"))?.status(), 500, "CSeq {cseq}");
    }
    for wrong in [
        Request {
            from: Some(format!("<{CARL}>;tag=other")),
            ..say(300, "forged")
        },
        Request {
            call_id: Some("other@x".into()),
            ..say(301, "forged")
        },
        Request {
            to: Some("<sip:alice@a.example>;tag=guess".into()),
            ..say(302, "forged")
        },
    ] {
        assert_eq!(bob.ask(&wrong)?.status(), 481);
    }
    alice.not_notified(&watch, QUIET)?;

    // P1 to P5 from a peer: no document is read that could hurt, and none reaches the watcher.
    let bomb = format!(
        "<!DOCTYPE p [<!ENTITY a \"{}\"><!ENTITY b \"{}\">]>",
        "x".repeat(1000),
        "&a;".repeat(1000)
    );
    let good = pidf(CARL, "open", "hurt");
    let deep = "<x xmlns=\"urn:x\">".repeat(20_000) + &"</x>".repeat(20_000);
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("entities", good.replace("<presence", &(bomb + "<presence")).into()),
        (
            "an external entity",
            good.replace("<presence", "<!DOCTYPE p SYSTEM \"file:///etc/passwd\"><presence")
                .into(),
        ),
        ("20000 deep", good.replace("<tuple", &(deep + "<tuple")).into()),
        ("cut off", good.as_bytes().iter().copied().take(150).collect()),
        ("of somebody else", pidf("sip:erin@b.example", "open", "hurt").into()),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        (
            "UTF-7",
            good.replace("UTF-8", "UTF-7").replace("open", "+ADw-open").into(),
        ),
        ("no XML", b"open".to_vec()),
    ];
    for (n, (name, body)) in bodies.into_iter().enumerate() {
        let request = notify(&subscribe, &tag, 400 + u32::try_from(n)?, "active", body);
        let answer = bob.ask(&request)?;
        assert!((400..500).contains(&answer.status()), "{name}: {}", answer.start);
    }
    alice.not_notified(&watch, QUIET)?;
    assert_eq!(bob.ask(&say(500, "still the peer's"))?.status(), 200);
    alice.notified(&watch, "active", "still the peer's").map(drop)
}
