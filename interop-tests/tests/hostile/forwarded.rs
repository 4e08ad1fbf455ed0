//! What is passed on: byte for byte or not at all, and never with a header that nobody wrote.

use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::net::Family;
use interop_tests::raw::Raw;
use interop_tests::stand::{Stand, has_injected};
use interop_tests::wire::{Message, find, unique};

use super::signed::Signed;

const QUICK: Duration = Duration::from_secs(4);

/// A MESSAGE of alice's for bob; what he got of it, by its text.
fn pass(stand: &Stand, bob: &mut Agent, bend: impl FnOnce(Raw) -> Raw) -> Outcome<(u16, Option<Message>)> {
    let text = unique();
    let mut signed = Signed::new(stand, "alice", "MESSAGE", "sip:bob@a.example")?
        .bent(|raw| bend(raw.line("Content-Type: text/plain").body(&text)));
    let (status, _) = signed.ask()?;
    let got = |m: &Message| m.is("MESSAGE") && find(&m.body, text.as_bytes()).is_some();
    if status == 200 {
        return Ok((status, Some(bob.expect("MESSAGE", QUICK, got)?)));
    }
    bob.expect_none("MESSAGE that was refused", Duration::from_millis(200), got)?;
    Ok((status, None))
}

#[test]
fn lines_of_any_bytes_go_on_as_they_came() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    let table: [(&str, &[u8]); 7] = [
        ("S12 invalid UTF-8", b"Subject: \xff\xfe\xc0\x80 and more"),
        ("S12 Latin-1", b"Organization: M\xfcller"),
        ("S12 in the display name", b"P-Odd: \"\xe4\xf6\" <sip:x@y.invalid>"),
        ("S14 escapes", b"Subject: a%0d%0aX-Injected: yes"),
        ("an escape sequence", b"Subject: \x1b[2Jwiped"),
        ("a name nobody knows, odd spacing", b"x-ODD  :\t  a ,b  "),
        ("P21 a fold", b"Subject: one\r\n X-Injected: two"),
    ];
    for (name, line) in table {
        let (status, got) = pass(&stand, &mut bob, |raw| raw.line(line))?;
        let got = got.ok_or_else(|| format!("{name}: answered {status}"))?;
        let whole = [b"\r\n", line, b"\r\n"].concat();
        assert!(find(&got.raw, &whole).is_some(), "{name}: {}", got.raw.escape_ascii());
        assert!(!has_injected(&got, "X-Injected"), "{name}: {}", got.raw.escape_ascii());
    }
    Ok(())
}

#[test]
fn no_byte_of_a_value_becomes_a_header_at_the_addressee() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    let odd: [(&str, &[u8]); 8] = [
        ("P21 LF", b"\n"),
        ("P21 CR", b"\r"),
        ("LF CR", b"\n\r"),
        ("CR CR LF", b"\r\r\n"),
        ("NUL CR LF NUL", b"\0\r\n\0"),
        ("NEL", b"\xc2\x85"),
        ("line separator", b"\xe2\x80\xa8"),
        ("overlong LF", b"\xc0\x8a"),
    ];
    for (name, bytes) in odd {
        for header in ["Subject", "User-Agent", "X-Any"] {
            let line = [header.as_bytes(), b": one", bytes, b"X-Injected: two"].concat();
            let (status, got) = pass(&stand, &mut bob, |raw| raw.line(line))?;
            assert!(status == 200 || status == 400, "{name} in {header}: {status}");
            if let Some(got) = got {
                assert!(
                    !has_injected(&got, "X-Injected") && find(&got.raw, b"\rX-Injected").is_none(),
                    "{name} in {header}: {}",
                    got.raw.escape_ascii()
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_nul_cuts_nothing_short() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    // S11: in the answer and in what is passed on.
    let from = |raw: Raw| raw.set("From", b"\"a\0b\" <sip:alice@a.example>;tag=1");
    let (status, got) = pass(&stand, &mut bob, from)?;
    let whole = |bytes: &[u8]| find(bytes, b"a\0b\" <sip:alice@a.example>").is_some();
    assert!(
        status == 400 || got.is_some_and(|m| whole(&m.raw)),
        "a name with a NUL: {status}"
    );
    let options = Raw::new("UDP", "OPTIONS", "sip:a.example").set("From", b"\"a\0b\" <sip:alice@a.example>;tag=1");
    let (status, answer) = stand.send("UDP", &options.bytes(), QUICK)?;
    assert!(status == 400 || answer.is_some_and(|m| whole(&m.raw)), "{status}");
    // P20: and a body of every byte, alone and repeated, arrives whole.
    for repeat in [1, 40] {
        let every: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(repeat);
        let mut signed = Signed::over(stand.link("TCP")?, "alice", "MESSAGE", "sip:bob@a.example")?
            .bent(|raw| raw.line("Content-Type: application/octet-stream").body(&every));
        let (status, _) = signed.ask()?;
        let got = bob.expect("every byte", QUICK, |m| m.is("MESSAGE") && m.body == every);
        assert!(status >= 400 || got.is_ok(), "P20 {repeat}: {status} {got:?}");
    }
    Ok(())
}

#[test]
fn credentials_for_the_bridge_stay_here() -> Outcome {
    let stand = Stand::start(Family::V4)?;
    let mut bob = stand.user("bob")?;
    let (status, got) = pass(&stand, &mut bob, |raw| raw)?;
    let got = got.ok_or_else(|| format!("answered {status}"))?;
    assert!(find(&got.raw, b"Digest").is_none(), "{}", got.raw.escape_ascii());
    Ok(())
}
