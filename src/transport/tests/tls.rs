//! TLS on incoming connections: certificates, floods of half-open handshakes, strangers, records.

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

fn listen_tls(transports: &Transports, config: Arc<rustls::ServerConfig>) -> SocketAddr {
    let spec = ListenerSpec {
        tls: Some(config),
        ..spec(7, Transport::Tls, &["127.0.0.1:0"])
    };
    transports.listen(&spec).expect("a listener")[0]
}

async fn shake(to: SocketAddr, config: Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("a.example").expect("a name");
    TlsConnector::from(config)
        .connect(name, TcpStream::connect(to).await?)
        .await
}

async fn served_tls(to: SocketAddr, config: &Arc<rustls::ClientConfig>) {
    let mut socket = shake(to, Arc::clone(config)).await.expect("a handshake");
    socket.write_all(&request("under TLS")).await.expect("a write");
    expect(&mut socket, &response("under TLS")).await;
}

#[test]
fn t0_a_certificate_of_the_authority_is_handed_over_with_the_connection() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let to = listen_tls(&transports, authority.server("a.example"));
        served_tls(to, &authority.client("b.example")).await;
        let (source, peer, chain) = app.opened.borrow()[0];
        assert_eq!(
            (source.transport, source.listener, peer, chain),
            (Transport::Tls, Some(ListenerId(7)), None, 1)
        );
        until("it is closed", || app.closed.borrow().len() == 1).await;
    });
}

#[test]
fn t1_t2_another_authority_or_no_certificate_never_opens() {
    run(quick(), |app, transports| async move {
        let (authority, other) = (Authority::new(), Authority::new());
        let to = listen_tls(&transports, authority.server("a.example"));
        let (chain, key) = other.issue("b.example");
        let builder = || {
            rustls::ClientConfig::builder_with_provider(crate::pki::provider())
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(authority.roots())
        };
        let strangers = [
            builder().with_client_auth_cert(chain, key).expect("one"),
            builder().with_no_client_auth(),
        ];
        for stranger in strangers {
            // With TLS 1.3 the client learns of it only when it reads.
            if let Ok(mut socket) = shake(to, Arc::new(stranger)).await {
                let _ = socket.write_all(&request("let me in")).await;
                let mut got = Vec::new();
                let _ = timeout(Duration::from_secs(4), socket.read_to_end(&mut got))
                    .await
                    .expect("it is closed");
                assert!(got.is_empty());
            }
        }
        assert!(app.opened.borrow().is_empty() && app.messages.borrow().is_empty());
        assert_eq!(transports.stats().handshakes_failed, 2);
        served_tls(to, &authority.client("b.example")).await;
    });
}

#[test]
fn t7_plain_sip_and_http_are_closed() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let to = listen_tls(&transports, authority.server("a.example"));
        for plain in [request("x"), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 5_000]] {
            let mut socket = dial(to).await;
            let _ = socket.write_all(&plain).await;
            drained(&mut socket).await;
        }
        assert!(app.opened.borrow().is_empty());
        served_tls(to, &authority.client("b.example")).await;
    });
}

#[test]
fn t8_stalled_handshakes_are_bounded_end_in_time_and_keep_nobody_out() {
    let log = Log::default();
    let _guard = log.listen();
    let seen = log.clone();
    let limits = Limits {
        handshakes_per_source: 16,
        ..quick()
    };
    run(limits, |_, transports| async move {
        let authority = Authority::new();
        let to = listen_tls(&transports, authority.server("a.example"));
        let mut stalled = Vec::new();
        for n in 0..40 {
            let mut socket = dial(to).await;
            if n % 2 == 0 {
                socket.write_all(&[0x16, 0x03, 0x01, 0x02]).await.expect("a write");
            }
            stalled.push(socket);
        }
        until("all were accepted", || transports.stats().accepted == 40).await;
        assert!(
            transports.stats().handshaking <= 16,
            "{}",
            transports.stats().handshaking
        );
        let started = tokio::time::Instant::now();
        served_tls(to, &authority.client("b.example")).await;
        assert!(started.elapsed() < Duration::from_secs(3));
        for mut socket in stalled {
            drained(&mut socket).await;
        }
        assert_eq!(transports.stats().handshaking, 0);
        assert_eq!(seen.lines("TLS handshake failed"), 1, "one line for all");
    });
}

#[test]
fn f16_a_goodbye_after_the_request_is_still_answered() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        app.silent.set(true);
        let to = listen_tls(&transports, authority.server("a.example"));
        let mut socket = shake(to, authority.client("b.example")).await.expect("a handshake");
        socket.write_all(&request("late")).await.expect("a write");
        socket.shutdown().await.expect("a goodbye");
        until("it arrived", || app.messages.borrow().len() == 1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let source = app.messages.borrow()[0].0;
        app.answer(&source, "200 OK", b"late");
        app.batch_done();
        assert_eq!(drained(&mut socket).await, response("late"));
    });
}

#[test]
fn a_new_certificate_is_used_from_the_next_handshake_on() {
    run(quick(), |_, transports| async move {
        let (old, new) = (Authority::new(), Authority::new());
        let to = listen_tls(&transports, old.server("a.example"));
        let mut before = shake(to, old.client("b.example")).await.expect("a handshake");
        transports.set_server_tls(ListenerId(7), new.server("a.example"));
        served_tls(to, &new.client("b.example")).await;
        assert!(shake(to, old.client("b.example")).await.is_err());
        before.write_all(&request("still")).await.expect("a write");
        expect(&mut before, &response("still")).await;
    });
}

#[test]
fn many_messages_become_few_records() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let to = listen_tls(&transports, authority.server("a.example"));
        let name = ServerName::try_from("a.example").expect("a name");
        let mut tls = rustls::ClientConnection::new(authority.client("b.example"), name).expect("a client");
        let socket = dial(to).await;
        let mut records = Vec::new();
        pump(&socket, &mut tls, &mut records, |tls, _| !tls.is_handshaking()).await;
        until("it is open", || app.opened.borrow().len() == 1).await;
        // Session tickets, if any, come first.
        let flow = app.opened.borrow()[0].0.flow.expect("a flow");
        transports.send(Destination::Flow(flow), Bytes::from_static(b"!"), 0);
        transports.flush();
        pump(&socket, &mut tls, &mut records, |_, plain| plain == b"!").await;
        records.clear();
        let all: Vec<Vec<u8>> = (0..50).map(|n| request(&format!("{n:0100}"))).collect();
        for wire in &all {
            transports.send(Destination::Flow(flow), wire.clone().into(), 0);
        }
        transports.flush();
        let all = all.concat();
        pump(&socket, &mut tls, &mut records, |_, plain| plain == all).await;
        assert_eq!(records.len(), 1, "50 messages, {} bytes, {records:?}", all.len());
    });
}

/// Runs a client by hand until `done`, which sees the plaintext so far; notes the length of each record that arrives.
async fn pump(
    socket: &TcpStream,
    tls: &mut rustls::ClientConnection,
    records: &mut Vec<usize>,
    done: impl Fn(&rustls::ClientConnection, &[u8]) -> bool,
) {
    use std::io::Read;
    let (mut wire, mut plain) = (Vec::new(), Vec::new());
    loop {
        while tls.wants_write() {
            let mut out = Vec::new();
            tls.write_tls(&mut out).expect("memory");
            socket.writable().await.expect("writable");
            assert_eq!(socket.try_write(&out).expect("a write"), out.len());
        }
        if done(tls, &plain) {
            return;
        }
        let mut buffer = [0; 65_536];
        timeout(Duration::from_secs(4), socket.readable())
            .await
            .expect("in time")
            .expect("readable");
        let Ok(n) = socket.try_read(&mut buffer) else { continue };
        assert!(n > 0, "closed; so far {:?}", String::from_utf8_lossy(&plain));
        wire.extend_from_slice(&buffer[..n]);
        while wire.len() >= 5 {
            let length = 5 + usize::from(u16::from_be_bytes([wire[3], wire[4]]));
            if wire.len() < length {
                break;
            }
            records.push(length);
            let mut record = &wire[..length];
            while !record.is_empty() {
                tls.read_tls(&mut record).expect("memory");
                tls.process_new_packets().expect("a record");
            }
            wire.drain(..length);
            let mut part = vec![0; 20_000];
            while let Ok(n) = tls.reader().read(&mut part) {
                if n == 0 {
                    break;
                }
                plain.extend_from_slice(&part[..n]);
            }
        }
    }
}
