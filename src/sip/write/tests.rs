use super::*;
use crate::sip::message::{Framing, Index, Malformed, parse};

const INVITE: &[u8] =
    b"INVITE sip:b@x SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKa, SIP/2.0/UDP p2;branch=z9hG4bKb\r\n\
    Max-Forwards: 9\r\nFrom: \"A\" <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\ni: c1\r\nCSeq: 7 INVITE\r\n\
    Route: <sip:us;lr>,<sip:next;lr>\r\nX-Odd :  kept\t \r\n folded\r\n\r\nbody";

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn forwarding_touches_only_what_it_must() -> Result<(), Malformed> {
    let mut index = Index::new();
    let view = parse(INVITE, Framing::Datagram, &mut index)?;
    let plan = Forward {
        via: b"SIP/2.0/TCP us;branch=z9hG4bKn",
        max_forwards: 8,
        drop_first_routes: 1,
        set_received: Some((IpAddr::from([127, 0, 0, 1]), 5999)),
        ..Forward::default()
    };
    let text = written(|out| forward_request(out, &view, &plan));
    assert_eq!(
        text,
        "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TCP us;branch=z9hG4bKn\r\n\
         Via: SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKa;received=127.0.0.1;rport=5999, SIP/2.0/UDP p2;branch=z9hG4bKb\r\n\
         Max-Forwards: 8\r\nFrom: \"A\" <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\ni: c1\r\nCSeq: 7 INVITE\r\n\
         Route: <sip:next;lr>\r\nX-Odd :  kept\t \r\n folded\r\nContent-Length: 4\r\n\r\nbody"
    );
    Ok(())
}

#[test]
fn a_response_loses_only_our_via() -> Result<(), Malformed> {
    let mut index = Index::new();
    let bytes = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKn,SIP/2.0/UDP a;branch=z9hG4bKa\r\nTo: <sip:b@x>;tag=2\r\nl: 0\r\n\r\n";
    let view = parse(bytes, Framing::Stream, &mut index)?;
    let text = written(|out| forward_response(out, &view));
    assert_eq!(
        text,
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bKa\r\nTo: <sip:b@x>;tag=2\r\nl: 0\r\n\r\n"
    );
    Ok(())
}

#[test]
fn a_recipe_gives_the_same_response_again() -> Result<(), Malformed> {
    let mut index = Index::new();
    let view = parse(INVITE, Framing::Datagram, &mut index)?;
    let headers: [(&[u8], &[u8]); 2] = [(b"Expires", b"60"), (b"Contact", b"<sip:us>")];
    let plain = Answer::new(200, "OK").tag(b"t9").with(&headers);
    let with_body = Answer {
        body: Some((b"text/plain", b"a\r\nb\r\n\r\nc")),
        ..plain
    };
    for answer in [
        plain,
        with_body,
        Answer::new(100, "Trying"),
        Answer::new(404, "Not Found").tag(b"x"),
    ] {
        let received = Some((IpAddr::from([127, 0, 0, 1]), 5999));
        let mut kept = BytesMut::new();
        recipe(&mut kept, &answer);
        assert_eq!(
            written(|out| respond_again(out, &view, received, &kept)),
            written(|out| respond(out, &view, received, &answer))
        );
        for end in 0..kept.len() {
            respond_again(&mut BytesMut::new(), &view, None, &kept[..end]);
        }
    }
    Ok(())
}

#[test]
fn a_via_line_without_items_hides_nothing() -> Result<(), Malformed> {
    let mut index = Index::new();
    let bytes = b"SIP/2.0 200 OK\r\nVia: \r\nVia: SIP/2.0/UDP us;branch=z9hG4bKn\r\nVia: SIP/2.0/UDP a\r\nl: 0\r\n\r\n";
    let view = parse(bytes, Framing::Stream, &mut index)?;
    let text = written(|out| forward_response(out, &view));
    assert_eq!(text, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a\r\nl: 0\r\n\r\n");
    let bytes = b"MESSAGE sip:b@x SIP/2.0\r\nVia: ,\r\nVia: SIP/2.0/UDP liar\r\nl: 0\r\n\r\n";
    let view = parse(bytes, Framing::Stream, &mut index)?;
    let plan = Forward {
        via: b"SIP/2.0/UDP us",
        set_received: Some((IpAddr::from([127, 0, 0, 1]), 5999)),
        ..Forward::default()
    };
    let text = written(|out| forward_request(out, &view, &plan));
    assert!(text.contains("Via: SIP/2.0/UDP liar;received=127.0.0.1\r\n"), "{text}");
    Ok(())
}

#[test]
fn answers_ack_and_cancel_copy_what_belongs_to_the_transaction() -> Result<(), Malformed> {
    let mut index = Index::new();
    let view = parse(INVITE, Framing::Datagram, &mut index)?;
    let answer = written(|out| {
        let headers: [(&[u8], &[u8]); 1] = [(b"X", b"a\r\nEvil: 1")];
        let answer = Answer::new(404, "Not\r\nFound").tag(b"t9").with(&headers);
        respond(out, &view, None, &answer);
    });
    assert!(answer.contains("To: <sip:b@x>;tag=t9\r\n") && answer.contains("X: aEvil: 1\r\n"));
    assert!(answer.starts_with("SIP/2.0 404 NotFound\r\nv: SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKa, SIP"));
    let cancel = written(|out| cancel(out, &view));
    assert!(cancel.starts_with("CANCEL sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9;rport;branch=z9hG4bKa\r\n"));
    assert!(cancel.contains("CSeq: 7 CANCEL\r\n") && cancel.contains("Route: <sip:us;lr>,<sip:next;lr>\r\n"));
    Ok(())
}
