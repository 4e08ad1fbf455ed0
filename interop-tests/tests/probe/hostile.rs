//! Servers that do not behave: the probe ends in time, with the right exit code, and says why.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use interop_tests::Outcome;
use interop_tests::net::Family;
use interop_tests::pki::{Authority, Certificate};
use interop_tests::trestle::{Ports, config};

use super::probe;

const A: &str = "a.example";
/// A probe that goes wrong is over within this, on a loaded machine.
const BOUND: Duration = Duration::from_secs(60);

/// Listens and does something with each connection.
fn server(with: impl Fn(TcpStream) + Send + Clone + 'static) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let with = with.clone();
            std::thread::spawn(move || with(stream));
        }
    });
    Ok(at)
}

fn configured(dir: &Path, at: SocketAddr, transport: &str) -> Outcome<Authority> {
    let authority = Authority::new()?;
    authority.issue(A)?.write(dir, A)?;
    std::fs::write(dir.join("b-ca.pem"), &authority.pem)?;
    let trust = match transport {
        "tls" => "tls: { ca: [b-ca.pem] }",
        _ => "addresses: [127.0.0.1]",
    };
    let peers = format!(
        "peers:\n  - {{ name: b, domains: [b.example], next_hop: \"{at}\", transport: {transport}, {trust} }}\n"
    );
    std::fs::write(dir.join("bridge.yaml"), config(A, &Ports::free(Family::V4), &peers))?;
    Ok(authority)
}

/// Exit code, score sheet and what was said, in time.
fn against(at: SocketAddr, transport: &str) -> Outcome<(i32, serde_json::Value, String)> {
    let dir = tempfile::tempdir()?;
    configured(dir.path(), at, transport)?;
    let began = Instant::now();
    let words = ["--to", "sip:bob@b.example", "--timeout", "1", "--overlay", "b.yaml"];
    let (sheet, code, wrong) = probe(dir.path(), &words)?;
    assert!(began.elapsed() < BOUND, "it took {:?}", began.elapsed());
    assert!(
        !dir.path().join("b.yaml").exists(),
        "nothing is suggested for who said nothing"
    );
    Ok((code, sheet, wrong))
}

fn drain(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
}

#[test]
fn one_that_never_answers() -> Outcome {
    let at = server(drain)?;
    let (code, sheet, wrong) = against(at, "tcp")?;
    assert_eq!(
        (code, sheet["answered"].as_bool()),
        (3, Some(false)),
        "{wrong} {sheet:#}"
    );
    assert!(
        sheet["stopped"].as_str().is_some_and(|s| s.contains("does not answer")),
        "{sheet:#}"
    );
    Ok(())
}

#[test]
fn one_that_never_shakes_hands() -> Outcome {
    let at = server(drain)?;
    let (code, _, wrong) = against(at, "tls")?;
    assert!(code == 3 && wrong.contains("does not answer within"), "{code} {wrong}");
    Ok(())
}

#[test]
fn one_that_answers_garbage() -> Outcome {
    let at = server(|mut stream| {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    })?;
    let (code, sheet, wrong) = against(at, "tcp")?;
    assert!(
        matches!(code, 1 | 3) && sheet["answered"] == false,
        "{code} {wrong} {sheet:#}"
    );
    let refused = against(at, "tls")?;
    assert!(
        refused.0 == 1 && refused.2.contains("the TLS handshake failed"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn one_that_closes() -> Outcome {
    let at = server(|mut stream| {
        let mut buffer = [0; 64];
        let _some = stream.read(&mut buffer);
    })?;
    let (code, sheet, wrong) = against(at, "tcp")?;
    assert!(code == 3 && sheet["answered"] == false, "{code} {wrong} {sheet:#}");
    assert!(
        sheet.to_string().contains("closed the connection") || sheet.to_string().contains("is lost"),
        "{sheet:#}"
    );
    Ok(())
}

#[test]
fn one_that_answers_ten_megabytes() -> Outcome {
    let big = |head: &'static [u8]| {
        server(move |mut stream| {
            let mut buffer = [0; 4096];
            let _some = stream.read(&mut buffer);
            let _gone = stream.write_all(head);
            for _ in 0..160 {
                if stream.write_all(&[b'x'; 65_536]).is_err() {
                    return;
                }
            }
            drain(stream);
        })
    };
    for head in [
        &b"SIP/2.0 200 OK\r\nContent-Length: 10485760\r\n\r\n"[..],
        &b"SIP/2.0 200 OK\r\nSubject: "[..],
    ] {
        let (code, sheet, wrong) = against(big(head)?, "tcp")?;
        assert!(code == 3 && sheet["answered"] == false, "{code} {wrong} {sheet:#}");
        assert!(sheet.to_string().contains("cannot be followed"), "{sheet:#}");
    }
    Ok(())
}

#[test]
fn one_that_is_not_there() -> Outcome {
    let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (code, _, wrong) = against(at, "tcp")?;
    assert!(code == 3 && wrong.contains(&at.to_string()), "{code} {wrong}");
    let (code, sheet, _) = against(at, "udp")?;
    assert!(code == 3 && sheet["answered"] == false, "{code} {sheet:#}");
    Ok(())
}

/// The trust settings are those of the peer: somebody else's certificate is refused before anything is asked.
#[test]
fn one_with_a_certificate_of_somebody_else() -> Outcome {
    let stranger = Authority::named("somebody else")?;
    let own: Certificate = stranger.issue("b.example")?;
    let settings = interop_tests::far::settings(&own, &stranger.pem)?;
    let settings = std::sync::Arc::new(settings);
    let at = server(move |mut stream| {
        if let Ok(mut tls) = rustls::ServerConnection::new(std::sync::Arc::clone(&settings)) {
            let _refused = tls.complete_io(&mut stream);
        }
    })?;
    let (code, _, wrong) = against(at, "tls")?;
    assert!(code == 1 && wrong.contains("trestle cert doctor"), "{code} {wrong}");
    Ok(())
}

#[test]
fn questions_without_sense() -> Outcome {
    let dir = tempfile::tempdir()?;
    configured(dir.path(), "127.0.0.1:9".parse()?, "tcp")?;
    std::fs::write(dir.path().join("there.yaml"), "mine")?;
    for (more, wanted) in [
        (&["--overlay", "there.yaml"][..], "is there already"),
        (&["--to", "tel:1"], "--to: `tel:1` is no address"),
        (&["--message-to", "sip:a@b>"], "--message-to: "),
        (&["--connect", "nowhere"], "--connect: `nowhere` is not HOST:PORT"),
    ] {
        let (_, code, wrong) = probe(dir.path(), more)?;
        assert!(code == 2 && wrong.contains(wanted), "{more:?}: {code} {wrong}");
    }
    assert_eq!(std::fs::read_to_string(dir.path().join("there.yaml"))?, "mine");
    let output = interop_tests::trestle::run(dir.path(), &["peer", "probe", "nobody", "--config", "bridge.yaml"])?;
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && wrong.contains("no peer `nobody`; peers: b"),
        "{wrong}"
    );
    Ok(())
}
