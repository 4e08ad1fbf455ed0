//! R11: who guesses, or has seen, all that names a transaction or a dialog ends neither, from wherever he sends.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::agent::{PATIENCE, routes};
use interop_tests::net::Family;
use interop_tests::stand::Stand;
use interop_tests::wire::{Message, Request, param, uri_of};

use super::signed::Signed;

const QUIET: Duration = Duration::from_millis(500);

/// A socket on another loopback address.
struct Mallory(UdpSocket, SocketAddr);

impl Mallory {
    fn new(server: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::from([127, 0, 0, 99]), 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(4)))?;
        Ok(Self(socket, server))
    }

    /// The status of the final answer; 0 for none.
    fn ask(&self, request: &Request, via: &str) -> Outcome<u16> {
        self.0.send_to(&request.write(via), self.1)?;
        let mut bytes = [0; 65_535];
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            self.0.set_read_timeout(Some(Duration::from_millis(200)))?;
            if let Ok((length, _)) = self.0.recv_from(&mut bytes)
                && let Some(message) = Message::parse(bytes.get(..length).unwrap_or_default())
                && message.status() >= 200
            {
                return Ok(message.status());
            }
        }
        Ok(0)
    }
}

/// The request of these headers with another method.
fn like(seen: &Message, method: &str, cseq: u32, to: &str) -> Request {
    let mut request = Request::new(method, seen.start.split(' ').nth(1).unwrap_or_default())
        .from(seen.header("From").unwrap_or_default())
        .to(to);
    request.call_id = seen.header("Call-ID").map(Into::into);
    request.cseq = cseq;
    request
}

#[test]
fn a_call_that_rings_is_not_cancelled_from_elsewhere() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    bob.answer_with("INVITE", 180);
    let mut invite = Signed::new(&stand, "alice", "INVITE", "sip:bob@a.example")?;
    let bytes = invite.raw.bytes();
    invite.link.send(&bytes)?;
    let far = bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    let near = Message::parse(&bytes).ok_or("unreadable")?;
    let via = near.header("Via").unwrap_or_default().to_string();
    let mallory = Mallory::new(stand.bridge.ports.client())?;
    for method in ["CANCEL", "ACK", "BYE", "INVITE"] {
        for (seen, via) in [(&near, via.as_str()), (&far, far.header("Via").unwrap_or_default())] {
            let cseq = if method == "BYE" { 3 } else { 2 };
            let to = seen.header("To").unwrap_or_default();
            let status = mallory.ask(&like(seen, method, cseq, to), via)?;
            assert!(status == 0 || status >= 400, "{method}: {status}");
        }
    }
    bob.expect_none("anything of mallory's", QUIET, |m| {
        m.is("CANCEL") || m.is("BYE") || m.is("ACK") || (m.is("INVITE") && m.branch() != far.branch())
    })?;
    // The call goes on: bob takes it, alice hears of it.
    bob.send(&far.answer(200, "taken", &format!("Contact: {}\r\n", bob.contact()), ""))?;
    let (status, _) = interop_tests::stand::outcome(&mut invite.link, PATIENCE);
    assert_eq!(status, 200, "alice's call");
    Ok(())
}

#[test]
fn a_subscription_is_not_ended_from_elsewhere_nor_by_another_user() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob, mut carol) = (stand.user("alice")?, stand.user("bob")?, stand.user("carol")?);
    let mut watch = alice.watch("sip:bob@a.example", 600)?;
    let first = alice.notified(&watch, "active", "")?;
    let ours = first.header("From").unwrap_or_default().to_string();
    let theirs = first.header("To").unwrap_or_default().to_string();
    let contact = watch.answer.header("Contact").map_or("", uri_of).to_string();
    let end = |from: &str| {
        let mut request = Request::new("SUBSCRIBE", &contact)
            .from(from)
            .to(&ours)
            .with("Event", "presence")
            .with("Contact", "<sip:x@127.0.0.99>")
            .with("Expires", "0");
        request.call_id = Some(watch.call_id().to_string());
        request.cseq = 5000;
        request
    };
    // Without credentials, from elsewhere.
    let mallory = Mallory::new(stand.bridge.ports.client())?;
    let status = mallory.ask(&end(&theirs), "SIP/2.0/UDP 127.0.0.99;branch=z9hG4bKguess;rport")?;
    assert!(status >= 400, "without credentials: {status}");
    // With credentials of her own, as herself and as alice.
    for from in [
        format!("<sip:carol@a.example>;tag={}", param(&theirs, "tag")),
        theirs.clone(),
    ] {
        let status = carol.ask(&end(&from))?.status();
        assert!(matches!(status, 403 | 481), "{from}: {status}");
    }
    // NOTIFYs that were not asked for, and requests that a subscription has not.
    for method in ["NOTIFY", "BYE", "MESSAGE", "PUBLISH", "REGISTER"] {
        let request = Request {
            method: method.into(),
            ..end(&theirs)
        }
        .with("Subscription-State", "terminated");
        let status = mallory.ask(&request, "SIP/2.0/UDP 127.0.0.99;branch=z9hG4bKother;rport")?;
        assert!(status >= 400, "{method}: {status}");
    }
    bob.publish(None, "open", "still heard")?;
    alice.notified(&watch, "active", "still heard")?;
    assert_eq!(alice.rewatch(&mut watch, 600)?.status(), 200);
    Ok(())
}

/// A token of our Record-Route, seen in one dialog, opens no other.
#[test]
fn a_route_token_is_good_for_its_own_dialog_only() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let (mut alice, mut bob, mut carol) = (stand.user("alice")?, stand.user("bob")?, stand.user("carol")?);
    let call = alice.call("sip:bob@a.example")?;
    bob.expect("INVITE", PATIENCE, |m| m.is("INVITE"))?;
    bob.expect("ACK", PATIENCE, |m| m.is("ACK"))?;
    let own = call.answer.header("Call-ID").unwrap_or_default().to_string();
    let bye = |call_id: &str| {
        let mut request = Request::new("BYE", call.answer.header("Contact").map_or("", uri_of))
            .from(call.answer.header("From").unwrap_or_default())
            .to(call.answer.header("To").unwrap_or_default());
        request.call_id = Some(call_id.to_string());
        request.headers = routes(&call.answer);
        request.cseq = 50;
        request
    };
    // Another Call-ID: the seal is broken. Alice herself may not use it so either.
    assert!(alice.ask(&bye("another@dialog.invalid"))?.status() >= 400);
    // Carol, with the right Call-ID and all of it.
    assert!(carol.ask(&bye(&own))?.status() >= 400, "as alice");
    let as_herself = carol.new_from();
    assert!(carol.ask(&bye(&own).from(as_herself))?.status() >= 400, "as herself");
    // Alice's token does not turn the bridge towards a third party.
    let victim = UdpSocket::bind("127.0.0.98:0")?;
    victim.set_read_timeout(Some(QUIET))?;
    let at = victim.local_addr()?;
    for lines in [vec![], vec![("Route".to_string(), format!("<sip:{at};lr>"))]] {
        let mut request = bye(&own);
        request.method = "INFO".into();
        request.uri = format!("sip:x@{at}");
        request.headers.extend(lines);
        alice.ask(&request)?;
    }
    assert!(victim.recv(&mut [0; 2000]).is_err(), "a third party was sent something");
    bob.expect_none("BYE", QUIET, |m: &Message| m.is("BYE"))?;
    assert_eq!(alice.hang_up(&call)?.status(), 200);
    bob.expect("BYE", PATIENCE, |m| m.is("BYE")).map(drop)
}
