//! Who is no terminator, and terminators that stall, lie or say nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use interop_tests::net::Family;
use interop_tests::wire::Message;
use interop_tests::{Outcome, eventually};
use socket2::{Domain, Socket, Type};

use super::header::{field, header, local, shown};
use super::place::{LCS, PATIENCE, Place, from_bob};

const SERVER: &str = "192.0.2.20:40000";

fn server() -> Outcome<SocketAddr> {
    Ok(SERVER.parse()?)
}

/// A connection to the listener from this loopback address.
fn from(ip: &str, to: SocketAddr) -> Outcome<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(ip.parse()?, 0).into())?;
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The status of the answer, or 1 where the connection is closed without one.
fn answer(stream: &mut TcpStream) -> u16 {
    let mut chunk = [0; 65_536];
    match stream.read(&mut chunk) {
        Ok(n) if n > 0 => Message::parse(chunk.get(..n).unwrap_or_default()).map_or(2, |m| m.status()),
        Ok(_) => 1,
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => 1,
        Err(_) => 3,
    }
}

/// What comes back to these bytes.
fn says(ip: &str, to: SocketAddr, bytes: &[u8]) -> Outcome<u16> {
    let mut stream = from(ip, to)?;
    // A connection that is closed at once may not even take them.
    if stream.write_all(bytes).is_err() {
        return Ok(1);
    }
    Ok(answer(&mut stream))
}

#[test]
fn a_forged_header_from_elsewhere_is_refused() -> Outcome {
    let place = Place::bridge(Family::V4, |text| text)?;
    let _alice = place.alice()?;
    let to = place.setup.trestle;
    let forged = [shown(server()?, LCS), from_bob("MESSAGE", "TLS")].concat();
    assert_eq!(
        says("127.0.0.1", to, &forged)?,
        200,
        "from the terminator's address it is none: {}",
        place.bridge.log()
    );
    assert_eq!(says("127.0.0.2", to, &forged)?, 1);
    assert_eq!(says("127.0.0.2", to, &from_bob("MESSAGE", "TCP"))?, 1);
    let log = place.bridge.log();
    assert!(
        log.contains("no trusted terminator of this listener is at that address: listener.trusted_terminator"),
        "{log}"
    );
    // Nor is it anything at the other listeners: the header is no SIP.
    let mut plain = from("127.0.0.1", place.bridge.ports.client())?;
    plain.write_all(&forged)?;
    let mut all = Vec::new();
    // It may be cut off with bytes unread.
    let _ = plain.read_to_end(&mut all);
    assert!(
        !all.escape_ascii().to_string().contains("200 "),
        "{}",
        all.escape_ascii()
    );
    Ok(())
}

#[test]
fn what_is_no_proper_header_ends_the_connection_with_one_line() -> Outcome {
    for family in [Family::V4, Family::V6] {
        let place = Place::bridge(family, |text| text)?;
        let ip = family.ip().to_string();
        let source = server()?;
        let cn = field(0x22, LCS.as_bytes());
        let twice = [
            field(0x20, &[&[7, 0, 0, 0, 0][..], &cn].concat()),
            field(0x20, &[1, 0, 0, 0, 0]),
        ]
        .concat();
        for (what, bytes) in [
            ("version 1", b"PROXY TCP4 192.0.2.20 192.0.2.10 40000 5061\r\n".to_vec()),
            ("none", Vec::new()),
            ("two fields of TLS", header(0x21, source, &twice)),
            ("a field that is cut off", header(0x21, source, &[0x20, 0, 99, 1])),
            ("a wrong checksum", header(0x21, source, &field(3, &[1, 2, 3, 4]))),
            ("another command", header(0x2f, source, &[])),
        ] {
            let all = [bytes, from_bob("MESSAGE", "TLS")].concat();
            assert_eq!(says(&ip, place.setup.trestle, &all)?, 1, "{what}");
        }
        let log = place.bridge.log();
        assert_eq!(
            log.matches("a trusted terminator's connection is closed").count(),
            1,
            "{log}"
        );
        // What it says of others proves nothing, and a health check nothing at all.
        let _alice = place.alice()?;
        let bare = [header(0x21, source, &[]), from_bob("MESSAGE", "TLS")].concat();
        assert_eq!(says(&ip, place.setup.trestle, &bare)?, 403);
        let own = [local(source), from_bob("MESSAGE", "TLS")].concat();
        assert_eq!(says(&ip, place.setup.trestle, &own)?, 403);
    }
    Ok(())
}

#[test]
fn a_header_may_come_byte_by_byte_but_not_too_slowly() -> Outcome {
    let place = Place::bridge(Family::V4, |text| text)?;
    let _alice = place.alice()?;
    let mut stream = from("127.0.0.1", place.setup.trestle)?;
    stream.set_nodelay(true)?;
    for byte in [shown("[2001:db8::20]:40000".parse()?, LCS), from_bob("MESSAGE", "TLS")].concat() {
        stream.write_all(&[byte])?;
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(answer(&mut stream), 200, "{}", place.bridge.log());

    let mut slow = from("127.0.0.1", place.setup.trestle)?;
    let started = Instant::now();
    let whole = shown(server()?, LCS);
    slow.write_all(whole.get(..20).unwrap_or_default())?;
    slow.set_read_timeout(Some(Duration::from_secs(60)))?;
    assert_eq!(answer(&mut slow), 1);
    assert!(
        started.elapsed() >= Duration::from_secs(5),
        "closed after {:?}",
        started.elapsed()
    );
    assert!(
        place.bridge.log().contains("it was not finished in time"),
        "{}",
        place.bridge.log()
    );
    Ok(())
}

#[test]
fn stalled_ones_do_not_hold_up_a_proper_one() -> Outcome {
    let place = Place::bridge(Family::V4, |text| text)?;
    let _alice = place.alice()?;
    let whole = shown(server()?, LCS);
    let mut stalled = Vec::new();
    for n in 0..60 {
        let mut stream = from("127.0.0.1", place.setup.trestle)?;
        stream.write_all(whole.get(..n % 30).unwrap_or_default())?;
        stalled.push(stream);
    }
    let asked = Instant::now();
    let good = [whole, from_bob("MESSAGE", "TLS")].concat();
    assert_eq!(
        says("127.0.0.1", place.setup.trestle, &good)?,
        200,
        "{}",
        place.bridge.log()
    );
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    drop(stalled);
    Ok(())
}

#[test]
fn the_source_that_is_reported_is_the_one_the_access_list_judges() -> Outcome {
    let acl = "acl: { incoming: [{ deny: 192.0.2.20 }, { deny: \"2001:db8::/32\" }] }\n";
    let place = Place::bridge(Family::V4, |text| text + acl)?;
    let _alice = place.alice()?;
    for (source, wanted) in [
        (SERVER, 1),
        ("[::ffff:192.0.2.20]:1", 1),
        ("[2001:db8::1]:1", 1),
        ("192.0.2.21:1", 200),
    ] {
        let bytes = [shown(source.parse()?, LCS), from_bob("MESSAGE", "TLS")].concat();
        assert_eq!(
            says("127.0.0.1", place.setup.trestle, &bytes)?,
            wanted,
            "{source}: {}",
            place.bridge.log()
        );
    }
    let log = place.bridge.log();
    assert!(
        log.contains("192.0.2.20") && log.contains("it came by the terminator at 127.0.0.1"),
        "{log}"
    );
    Ok(())
}

#[test]
fn a_reload_that_takes_the_trust_away_ends_the_connection() -> Outcome {
    let mut place = Place::bridge(Family::V4, |text| text)?;
    let _alice = place.alice()?;
    let mut stream = from("127.0.0.1", place.setup.trestle)?;
    stream.write_all(&[shown(server()?, LCS), from_bob("MESSAGE", "TLS")].concat())?;
    assert_eq!(answer(&mut stream), 200);
    let file = place.dir().join("bridge.yaml");
    let text = std::fs::read_to_string(&file)?;
    // What it does not rest on changes nothing for it.
    std::fs::write(&file, text.replace("plain: carol-dev", "plain: changed"))?;
    place.bridge.hang_up();
    eventually("the bridge has read it", PATIENCE, || {
        place.bridge.log().contains("carol@a.example\" change=Changed")
    })?;
    stream.write_all(&from_bob("MESSAGE", "TLS"))?;
    assert_eq!(answer(&mut stream), 200, "{}", place.bridge.log());
    std::fs::write(
        &file,
        text.replace("names: [lcs.b.example], ", "names: [other.b.example], "),
    )?;
    place.bridge.hang_up();
    assert_eq!(answer(&mut stream), 1, "{}", place.bridge.log());
    let again = [shown(server()?, LCS), from_bob("MESSAGE", "TLS")].concat();
    assert_eq!(says("127.0.0.1", place.setup.trestle, &again)?, 403);
    Ok(())
}
