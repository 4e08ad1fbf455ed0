//! Connections we open: the pool, failures, TLS by peer, reuse.

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const PEER: PeerId = PeerId(3);

fn to_peer(transport: Transport, to: SocketAddr) -> Destination {
    Destination::Peer {
        peer: PEER,
        transport,
        to,
    }
}

fn tls_spec(config: Arc<rustls::ClientConfig>) -> PeerSpec {
    PeerSpec {
        tls: Some(config),
        server_name: "b.example".to_owned(),
        dscp: Some(26),
        ..PeerSpec::default()
    }
}

async fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let at = server.local_addr().expect("an address");
    (server, at)
}

#[test]
fn what_is_sent_while_connecting_waits_and_goes_over_one_connection() {
    run(quick(), |app, transports| async move {
        let (server, at) = server().await;
        for n in 1..=20 {
            transports.send(Destination::Contact { to: at }, request(&n.to_string()).into(), n);
        }
        transports.flush();
        let (mut socket, _) = server.accept().await.expect("a connection");
        let all: Vec<Vec<u8>> = (1..=20).map(|n| request(&n.to_string())).collect();
        expect(&mut socket, &all.concat()).await;
        transports.send(Destination::Contact { to: at }, request("more").into(), 0);
        transports.flush();
        expect(&mut socket, &request("more")).await;
        socket.write_all(&response("answer")).await.expect("a write");
        until("the answer is there", || app.bodies() == ["answer"]).await;
        let source = app.messages.borrow()[0].0;
        assert_eq!((source.listener, source.remote), (None, at));
        assert!(
            timeout(Duration::from_millis(100), server.accept()).await.is_err(),
            "one connection is enough"
        );
        assert!(app.failed.borrow().is_empty());
    });
}

#[test]
fn a_connection_that_ended_is_made_anew() {
    run(quick(), |app, transports| async move {
        let (server, at) = server().await;
        for round in 0..3 {
            transports.send(Destination::Contact { to: at }, request("x").into(), 0);
            transports.flush();
            let (mut socket, _) = server.accept().await.expect("a connection");
            expect(&mut socket, &request("x")).await;
            drop(socket);
            until("the loss is told", || app.closed.borrow().len() == round + 1).await;
        }
    });
}

#[test]
fn nobody_there_fails_every_token_and_only_tokens() {
    run(quick(), |app, transports| async move {
        let (server, at) = server().await;
        drop(server);
        for token in [1, 0, 2, 3] {
            transports.send(to_peer(Transport::Tcp, at), request("x").into(), token);
        }
        until("all three are told", || app.failed.borrow().len() == 3).await;
        assert!(
            app.failed
                .borrow()
                .iter()
                .all(|(_, why)| matches!(why, SendError::Connect(_))),
            "{:?}",
            app.failed
        );
        transports.send(to_peer(Transport::Tls, at), request("x").into(), 4);
        until("TLS needs settings", || {
            app.failed.borrow().contains(&(4, SendError::NoTlsSettings))
        })
        .await;
        transports.send(Destination::Flow(FlowId(u64::MAX)), request("x").into(), 5);
        until("the flow is unknown", || {
            app.failed.borrow().contains(&(5, SendError::Gone))
        })
        .await;
    });
}

#[test]
fn a_peer_gets_tls_by_its_own_settings_and_its_chain_is_judged() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let (server, at) = server().await;
        transports.set_peer(PEER, tls_spec(authority.client("a.example")));
        transports.send(to_peer(Transport::Tls, at), request("x").into(), 1);
        let acceptor = TlsAcceptor::from(authority.server("b.example"));
        let mut socket = acceptor
            .accept(server.accept().await.expect("one").0)
            .await
            .expect("a handshake");
        assert_eq!(socket.get_ref().1.server_name(), Some("b.example"));
        expect(&mut socket, &request("x")).await;
        let (source, peer, chain) = app.opened.borrow()[0];
        assert_eq!(
            (source.transport, source.listener, peer, chain),
            (Transport::Tls, None, Some(PEER), 1)
        );
        socket.write_all(&request("back")).await.expect("a write");
        expect(&mut socket, &response("back")).await;
    });
}

#[test]
fn a_wrong_certificate_sends_nothing_and_fails_every_token() {
    run(quick(), |app, transports| async move {
        let (ours, theirs) = (Authority::new(), Authority::new());
        let (server, at) = server().await;
        transports.set_peer(PEER, tls_spec(ours.client("a.example")));
        for (config, tokens) in [
            (theirs.server("b.example"), [1, 2]),
            (ours.server("other.example"), [3, 4]),
        ] {
            for token in tokens {
                transports.send(to_peer(Transport::Tls, at), request("secret").into(), token);
            }
            let shaken = TlsAcceptor::from(config)
                .accept(server.accept().await.expect("one").0)
                .await;
            if let Ok(mut socket) = shaken {
                let mut got = Vec::new();
                let _ = socket.read_to_end(&mut got).await;
                assert!(got.is_empty());
            }
            until("both are told", || {
                app.failed.borrow().iter().any(|(t, _)| *t == tokens[1])
            })
            .await;
        }
        assert!(
            app.failed
                .borrow()
                .iter()
                .all(|(_, why)| matches!(why, SendError::Handshake(_))),
            "{:?}",
            app.failed
        );
        assert!(app.opened.borrow().is_empty());
    });
}

#[test]
fn a_handshake_that_stalls_or_is_refused_by_the_app_fails() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let (server, at) = server().await;
        transports.set_peer(PEER, tls_spec(authority.client("a.example")));
        transports.send(to_peer(Transport::Tls, at), request("x").into(), 1);
        let _stalled = server.accept().await.expect("one");
        until("it is told", || {
            app.failed.borrow().contains(&(1, SendError::HandshakeTimeout))
        })
        .await;
        app.unwanted.set(true);
        transports.send(to_peer(Transport::Tls, at), request("x").into(), 2);
        let acceptor = TlsAcceptor::from(authority.server("b.example"));
        let _ = acceptor.accept(server.accept().await.expect("one").0).await;
        until("it is told", || app.failed.borrow().contains(&(2, SendError::Unwanted))).await;
    });
}

#[test]
fn settings_that_change_meanwhile_are_not_outrun() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let (server, at) = server().await;
        transports.set_peer(PEER, tls_spec(authority.client("a.example")));
        transports.send(to_peer(Transport::Tls, at), request("x").into(), 1);
        let socket = server.accept().await.expect("one").0;
        transports.set_peer(PEER, tls_spec(authority.client("a.example")));
        let _ = TlsAcceptor::from(authority.server("b.example")).accept(socket).await;
        until("it is told", || {
            app.failed.borrow().contains(&(1, SendError::Reconfigured))
        })
        .await;
        assert!(app.opened.borrow().is_empty());
    });
}

#[test]
fn what_waits_while_all_settings_change_goes_by_the_new_ones_and_open_connections_stay() {
    run(quick(), |app, transports| async move {
        let authority = Authority::new();
        let (server, at) = server().await;
        let (other, there) = self::server().await;
        let spec = || tls_spec(authority.client("a.example"));
        let (moved, gone) = (PeerId(8), PeerId(9));
        transports.set_peers(vec![(PEER, spec()), (gone, spec())], &[]);
        let acceptor = TlsAcceptor::from(authority.server("b.example"));
        // One connection is open, two are being made.
        transports.send(to_peer(Transport::Tls, at), request("open").into(), 1);
        let mut open = acceptor
            .accept(server.accept().await.expect("one").0)
            .await
            .expect("a handshake");
        expect(&mut open, &request("open")).await;
        transports.send(to_peer(Transport::Tls, there), request("waits").into(), 2);
        let lost = Destination::Peer {
            peer: gone,
            transport: Transport::Tls,
            to: there,
        };
        transports.send(lost, request("lost").into(), 3);
        let begun = [
            other.accept().await.expect("one").0,
            other.accept().await.expect("two").0,
        ];
        transports.set_peers(vec![(moved, spec())], &[(PEER, moved)]);
        drop(begun);
        let mut next = acceptor
            .accept(other.accept().await.expect("three").0)
            .await
            .expect("a handshake");
        expect(&mut next, &request("waits")).await;
        until("nobody has the third", || {
            *app.failed.borrow() == [(3, SendError::Reconfigured)]
        })
        .await;
        let to = Destination::Peer {
            peer: moved,
            transport: Transport::Tls,
            to: at,
        };
        transports.send(to, request("still open").into(), 4);
        transports.flush();
        expect(&mut open, &request("still open")).await;
        transports.send(to_peer(Transport::Tls, at), request("old name").into(), 5);
        until("the old id is nobody's", || {
            app.failed.borrow().contains(&(5, SendError::NoTlsSettings))
        })
        .await;
    });
}

#[test]
fn what_waits_for_a_connection_is_bounded() {
    let limits = Limits {
        max_queued: 100_000,
        ..quick()
    };
    run(limits, |app, transports| async move {
        let authority = Authority::new();
        let (server, at) = server().await;
        transports.set_peer(PEER, tls_spec(authority.client("a.example")));
        for token in 1..=12 {
            transports.send(to_peer(Transport::Tls, at), vec![b'x'; 10_000].into(), token);
        }
        until("two were too many", || app.failed.borrow().len() == 2).await;
        assert_eq!(*app.failed.borrow(), [(11, SendError::Full), (12, SendError::Full)]);
        drop(server);
    });
}

/// A peer that connects in over TLS, and the flow it has.
async fn come_in(app: &App, transports: &Transports) -> (tokio_rustls::client::TlsStream<TcpStream>, FlowId) {
    let authority = Authority::new();
    let spec = ListenerSpec {
        tls: Some(authority.server("a.example")),
        ..spec(7, Transport::Tls, &["127.0.0.1:0"])
    };
    let at = transports.listen(&spec).expect("a listener")[0];
    let name = rustls::pki_types::ServerName::try_from("a.example").expect("a name");
    let before = app.opened.borrow().len();
    let connector = tokio_rustls::TlsConnector::from(authority.client("b.example"));
    let socket = connector.connect(name, dial(at).await).await.expect("a handshake");
    until("it is open", || app.opened.borrow().len() > before).await;
    let flow = app.opened.borrow()[before].0.flow.expect("a flow");
    (socket, flow)
}

#[test]
fn a_connection_the_peer_opened_is_used_only_once_adopted() {
    run(quick(), |app, transports| async move {
        let (mut peer, flow) = come_in(&app, &transports).await;
        let (server, other) = server().await;
        let to = to_peer(Transport::Tls, other);
        transports.send(to, request("not yet").into(), 1);
        until("it is not used", || app.failed.borrow().len() == 1).await;
        assert_eq!(app.failed.borrow()[0], (1, SendError::NoTlsSettings));
        transports.adopt(flow, PEER, Some(other));
        transports.send(to, request("reused").into(), 0);
        transports.flush();
        expect(&mut peer, &request("reused")).await;
        // Another address, another peer, another transport: not by this connection.
        let elsewhere = SocketAddr::new(other.ip(), 1);
        let stranger = Destination::Peer {
            peer: PeerId(4),
            transport: Transport::Tls,
            to: other,
        };
        transports.send(to_peer(Transport::Tls, elsewhere), request("x").into(), 2);
        transports.send(stranger, request("x").into(), 3);
        until("nor for these", || app.failed.borrow().len() == 3).await;
        transports.send(to_peer(Transport::Tcp, other), request("own").into(), 0);
        let (mut own, _) = server.accept().await.expect("a connection of its own");
        expect(&mut own, &request("own")).await;
        drop(peer);
        until("it is closed", || !app.closed.borrow().is_empty()).await;
        transports.send(to, request("gone").into(), 4);
        until("it is forgotten", || {
            app.failed.borrow().contains(&(4, SendError::NoTlsSettings))
        })
        .await;
    });
}

#[test]
fn adopted_for_all_it_takes_over_what_waits_for_a_connection_that_never_comes() {
    run(quick(), |app, transports| async move {
        let (mut peer, flow) = come_in(&app, &transports).await;
        transports.set_peer(PEER, tls_spec(Authority::new().client("a.example")));
        // Somebody who accepts and says nothing.
        let (_mute, at) = server().await;
        transports.send(to_peer(Transport::Tls, at), request("waits").into(), 1);
        transports.adopt(flow, PEER, None);
        transports.flush();
        expect(&mut peer, &request("waits")).await;
        transports.send(to_peer(Transport::Tls, at), request("next").into(), 2);
        transports.flush();
        expect(&mut peer, &request("next")).await;
        tokio::time::sleep(quick().handshake + Duration::from_millis(200)).await;
        assert!(app.failed.borrow().is_empty(), "{:?}", app.failed);
        transports.send(to_peer(Transport::Tls, at), request("last").into(), 3);
        transports.flush();
        expect(&mut peer, &request("last")).await;
    });
}

#[test]
fn a_connection_without_tls_is_never_adopted() {
    run(quick(), |app, transports| async move {
        let at = listen(&transports, Transport::Tcp);
        let _peer = dial(at).await;
        until("it is open", || app.opened.borrow().len() == 1).await;
        let flow = app.opened.borrow()[0].0.flow.expect("a flow");
        let (server, other) = server().await;
        transports.adopt(flow, PEER, Some(other));
        transports.adopt(flow, PEER, None);
        transports.send(to_peer(Transport::Tcp, other), request("own").into(), 0);
        let (mut own, _) = server.accept().await.expect("a connection of its own");
        expect(&mut own, &request("own")).await;
    });
}

#[test]
fn it_connects_from_the_configured_address() {
    run(quick(), |_, transports| async move {
        let (server, at) = server().await;
        let bind = Some("127.0.0.5".parse().expect("an address"));
        transports.set_peer(
            PEER,
            PeerSpec {
                bind,
                ..PeerSpec::default()
            },
        );
        transports.send(to_peer(Transport::Tcp, at), request("x").into(), 0);
        let (_, from) = server.accept().await.expect("a connection");
        assert_eq!(from.ip().to_string(), "127.0.0.5");
    });
}
