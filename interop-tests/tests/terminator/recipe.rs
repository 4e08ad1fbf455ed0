//! The recipe at work, and whom it keeps out.

use interop_tests::net::Family;
use interop_tests::openssl::{Old, TLS_1_0, TLS_1_2_CBC};
use interop_tests::pki::{Authority, Flaw};
use interop_tests::wire::Request;
use interop_tests::{Outcome, eventually, haproxy, openssl};

use super::place::{LCS, PATIENCE, Place, asks, from_bob, until, write};

fn possible(test: &str) -> bool {
    interop_tests::installed(test, &[haproxy::PROGRAM, openssl::PROGRAM])
}

/// Messages both ways; a subscription that comes in, and its NOTIFY that leaves by the terminator although the Contact
/// names the server itself.
fn both_ways(test: &str, family: Family, old: Old) -> Outcome {
    if !possible(test) {
        return Ok(());
    }
    let place = Place::whole(family, |text| text)?;
    let mut server = place.waits(old, &place.lcs)?;
    let _ = until(&mut server, "OPTIONS").map_err(|e| format!("{e}: {}", place.bridge.log()))?;
    place.bridge.wait_for_peer("up")?;

    let mut alice = place.alice()?;
    let mut client = place.calls(old, Some(&place.lcs))?;
    assert_eq!(
        asks(&mut client, &from_bob("MESSAGE", "TLS")),
        200,
        "{}",
        place.bridge.log()
    );
    let came = alice.messaged("from afar")?;
    assert!(came.header("From").is_some_and(|f| f.contains("bob@b.example")));

    let contact = format!("<sip:bob@{};transport=tls>", place.setup.server);
    let watch = Request::new("SUBSCRIBE", "sip:alice@a.example")
        .with("Event", "presence")
        .with("Contact", contact)
        .with("Expires", "600");
    assert_eq!(asks(&mut client, &write(watch, "TLS")), 200, "{}", place.bridge.log());
    let _ = until(&mut server, "NOTIFY").map_err(|e| format!("{e}: {}", place.bridge.log()))?;

    let answering = std::thread::spawn(move || -> Result<_, String> {
        let text = until(&mut server, "MESSAGE").map_err(|e| e.to_string())?.text();
        // A call: what follows inside it goes by the terminator as well, whatever its Contact says.
        for method in ["INVITE", "BYE"] {
            let _ = until(&mut server, method).map_err(|e| e.to_string())?;
        }
        // It must outlive its last answer, which it may not have passed on yet.
        Ok((text, server))
    });
    assert_eq!(alice.message("sip:bob@b.example", "to afar")?.status(), 200);
    let call = alice.call("sip:bob@b.example")?;
    let contact = call.answer.header("Contact").unwrap_or_default();
    assert!(contact.contains(&place.setup.server.to_string()), "{contact}");
    assert_eq!(alice.hang_up(&call)?.status(), 200, "{}", place.bridge.log());
    let (text, _server) = answering.join().map_err(|_| "it panicked")??;
    assert!(text.contains("to afar"), "{text}");

    // `ctl peers` names what it rests on.
    let peers = place.bridge.ctl("peers")?;
    assert!(peers.contains("old-tls") && peers.contains(LCS), "{peers}");
    Ok(())
}

#[test]
fn tls_1_0_both_ways_on_ipv4() -> Outcome {
    both_ways("tls_1_0_both_ways_on_ipv4", Family::V4, TLS_1_0)
}

#[test]
fn tls_1_2_without_aead_both_ways_on_ipv6() -> Outcome {
    both_ways("tls_1_2_without_aead_both_ways_on_ipv6", Family::V6, TLS_1_2_CBC)
}

#[test]
fn whoever_shows_no_good_certificate_is_kept_out() -> Outcome {
    if !possible("whoever_shows_no_good_certificate_is_kept_out") {
        return Ok(());
    }
    let place = Place::whole(Family::V4, |text| text)?;
    let stranger = Authority::named("CA of nobody")?;
    // What HAProxy refuses in the handshake.
    for (what, own) in [
        ("none", None),
        ("another authority's", Some(stranger.called(LCS)?)),
        ("an expired one", Some(place.theirs.flawed(LCS, Flaw::Expired)?)),
        (
            "one that is not valid yet",
            Some(place.theirs.flawed(LCS, Flaw::Future)?),
        ),
        (
            "one for signing code",
            Some(place.theirs.flawed(LCS, Flaw::WrongUsage)?),
        ),
    ] {
        let mut client = place.calls(TLS_1_0, own.as_ref())?;
        assert_eq!(
            asks(&mut client, &from_bob("MESSAGE", "TLS")),
            1,
            "{what}: {}",
            place.bridge.log()
        );
        assert!(client.is_over(), "{what}");
    }
    // What only the bridge can judge.
    for name in ["evil.example", "a.example", "*.b.example", "lcs.b.example.evil.example"] {
        let own = place.theirs.called(name)?;
        let mut client = place.calls(TLS_1_0, Some(&own))?;
        assert_eq!(asks(&mut client, &from_bob("MESSAGE", "TLS")), 403, "{name}");
    }
    let log = place.bridge.log();
    assert!(log.contains("peer.tls"), "{log}");
    let mut good = place.calls(TLS_1_0, Some(&place.lcs))?;
    let _alice = place.alice()?;
    assert_eq!(
        asks(&mut good, &from_bob("MESSAGE", "TLS")),
        200,
        "{}",
        place.bridge.log()
    );
    Ok(())
}

#[test]
fn a_terminator_that_lets_everybody_in_proves_nobody() -> Outcome {
    if !possible("a_terminator_that_lets_everybody_in_proves_nobody") {
        return Ok(());
    }
    let lax = |text: String| {
        text.replace(
            "verify required ssl-min",
            "verify optional crt-ignore-err all ca-ignore-err all ssl-min",
        )
    };
    let place = Place::whole(Family::V4, lax)?;
    let _alice = place.alice()?;
    let stranger = Authority::named("CA of nobody")?.called(LCS)?;
    let expired = place.theirs.flawed(LCS, Flaw::Expired)?;
    for (what, own) in [
        ("none", None),
        ("another authority's", Some(&stranger)),
        ("an expired one", Some(&expired)),
    ] {
        let mut client = place.calls(TLS_1_0, own)?;
        assert_eq!(
            asks(&mut client, &from_bob("MESSAGE", "TLS")),
            403,
            "{what}: {}",
            place.bridge.log()
        );
    }
    let mut good = place.calls(TLS_1_0, Some(&place.lcs))?;
    assert_eq!(
        asks(&mut good, &from_bob("MESSAGE", "TLS")),
        200,
        "{}",
        place.bridge.log()
    );
    Ok(())
}

#[test]
fn nothing_is_sent_to_a_server_with_another_certificate() -> Outcome {
    if !possible("nothing_is_sent_to_a_server_with_another_certificate") {
        return Ok(());
    }
    let place = Place::whole(Family::V4, |text| text)?;
    let mut alice = place.alice()?;
    let stranger = Authority::named("CA of nobody")?.called(LCS)?;
    for own in [
        place.theirs.called("evil.example")?,
        stranger,
        place.theirs.flawed(LCS, Flaw::Expired)?,
    ] {
        let tls = Old {
            ciphers: "ALL:@SECLEVEL=0",
            ..TLS_1_2_CBC
        };
        let server = place.waits(tls, &own)?;
        let status = alice.message("sip:bob@b.example", "secret")?.status();
        // Refused, or kept to be tried again: so it is with conversations.
        assert!(status >= 480 || status == 202, "{status}");
        assert!(server.pipe.receive(std::time::Duration::from_millis(300)).is_none());
        drop(server);
    }
    eventually("the peer is down", PATIENCE, || {
        place
            .bridge
            .ctl("peers")
            .is_ok_and(|p| p.replace(' ', "").contains("\"state\":\"down\""))
    })
}

/// A certificate that was shown in an earlier connection proves nothing: it may have been withdrawn since.
#[test]
fn a_resumed_session_proves_nobody() -> Outcome {
    if !possible("a_resumed_session_proves_nobody") {
        return Ok(());
    }
    let resuming = |text: String| {
        let text = text.replace("    tune.ssl.cachesize 0\n", "");
        text.replace(" no-tls-tickets", "")
    };
    let place = Place::whole(Family::V4, resuming)?;
    let _alice = place.alice()?;
    let session = place.dir().join("session.pem").display().to_string();
    let first = ["-sess_out", session.as_str()];
    let mut client = place.calls_with(TLS_1_2_CBC, Some(&place.lcs), &first)?;
    assert_eq!(
        asks(&mut client, &from_bob("MESSAGE", "TLS")),
        200,
        "{}",
        place.bridge.log()
    );
    drop(client);
    let mut again = place.calls_with(TLS_1_2_CBC, Some(&place.lcs), &["-sess_in", session.as_str()])?;
    assert_eq!(
        asks(&mut again, &from_bob("MESSAGE", "TLS")),
        403,
        "{}",
        place.bridge.log()
    );
    let log = place.bridge.log();
    assert!(log.contains("resumed"), "{log}");
    Ok(())
}

/// Who looks for what is wrong is told what helps.
#[test]
fn the_doctor_knows_old_tls_and_names_the_recipe() -> Outcome {
    if !possible("the_doctor_knows_old_tls_and_names_the_recipe") {
        return Ok(());
    }
    let place = Place::bridge(Family::V4, |text| text)?;
    let at = place.setup.server.to_string();
    let doctor = |more: &[&str]| -> Outcome<String> {
        let args = [&["cert", "doctor", "lcs", "--config", "bridge.yaml"], more].concat();
        let output = interop_tests::trestle::run(place.dir(), &args)?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        Ok(out + &err)
    };
    for (old, id, what) in [
        (
            TLS_1_0,
            "protocol-too-old",
            "at most TLS 1.0 (suite 0x002f, AES128-SHA)",
        ),
        (TLS_1_2_CBC, "no-common-suite", "chooses suite 0x0035, AES256-SHA"),
    ] {
        let server = place.waits(old, &place.lcs)?;
        let listens = || std::net::TcpStream::connect(place.setup.server).is_ok();
        eventually("the server listens", PATIENCE, listens)?;
        let said = doctor(&["--connect", &at])?;
        for wanted in [id, what, "config/peers/lcs2005-haproxy"] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        drop(server);
    }
    let said = doctor(&[])?;
    assert!(
        said.contains("no next_hop that speaks TLS") && said.contains("--connect"),
        "{said}"
    );
    Ok(())
}
