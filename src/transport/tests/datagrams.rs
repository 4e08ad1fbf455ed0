//! Datagrams: sizes, batches, addresses, errors, rates.

use tokio::net::UdpSocket;

use super::*;

async fn client(address: &str) -> UdpSocket {
    UdpSocket::bind(address).await.expect("a socket")
}

async fn answer(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 70_000];
    let got = timeout(Duration::from_secs(4), socket.recv_from(&mut buffer))
        .await
        .expect("an answer")
        .expect("a read");
    buffer.truncate(got.0);
    (buffer, got.1)
}

async fn alive(socket: &UdpSocket, to: SocketAddr) {
    socket.send_to(&request("alive?"), to).await.expect("a write");
    assert_eq!(answer(socket).await, (response("alive?"), to));
}

#[test]
fn f20_odd_sizes_do_no_harm_and_the_largest_is_taken_whole() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Udp);
        let socket = client("127.0.0.1:0").await;
        for odd in [&b""[..], b"x", &[0; 100], b"\r\n", b"\r\n\r\n\r\n\r\n"] {
            socket.send_to(odd, to).await.expect("a write");
        }
        let large = request(&"z".repeat(65_000));
        socket.send_to(&large, to).await.expect("a write");
        let wanted = response(&"z".repeat(65_000));
        while answer(&socket).await.0 != wanted {}
        assert!(app.messages.borrow().iter().any(|(_, m)| *m == large));
        alive(&socket, to).await;
    });
}

#[test]
fn equal_answers_go_as_one_and_arrive_as_many_in_order() {
    run(quick(), |_, transports| async move {
        let to = listen(&transports, Transport::Udp);
        let (one, other) = (client("127.0.0.1:0").await, client("127.0.0.1:0").await);
        let text = |n: usize| {
            if n % 10 == 9 {
                format!("{n:02} and more")
            } else {
                format!("{n:02}")
            }
        };
        for n in 0..40 {
            one.send_to(&request(&text(n)), to).await.expect("a write");
            other.send_to(&request(&text(n)), to).await.expect("a write");
        }
        for n in 0..40 {
            assert_eq!(answer(&one).await.0, response(&text(n)));
            assert_eq!(answer(&other).await.0, response(&text(n)));
        }
    });
}

#[test]
fn a_ping_gets_a_pong() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Udp);
        let socket = client("127.0.0.1:0").await;
        socket.send_to(b"\r\n\r\n", to).await.expect("a write");
        assert_eq!(answer(&socket).await.0, b"\r\n");
        assert!(app.messages.borrow().is_empty());
        let after_blank_lines = [b"\r\n\r\n".to_vec(), request("x")].concat();
        socket.send_to(&after_blank_lines, to).await.expect("a write");
        until("blank lines hide no request", || {
            app.messages.borrow().iter().any(|(_, m)| *m == after_blank_lines)
        })
        .await;
    });
}

#[test]
fn a_burst_is_handled_in_few_batches_and_answered_whole() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Udp);
        let socket = client("127.0.0.1:0").await;
        for n in 0..200 {
            // Sent without giving the receiver a turn.
            assert!(
                socket.try_send_to(&request(&n.to_string()), to).is_ok() || {
                    socket.writable().await.expect("writable");
                    socket.try_send_to(&request(&n.to_string()), to).is_ok()
                }
            );
        }
        for n in 0..200 {
            assert_eq!(answer(&socket).await.0, response(&n.to_string()), "in order");
        }
        assert!(app.batches.get() < 40, "{} batches", app.batches.get());
        assert_eq!(transports.queued(), 0);
    });
}

#[test]
fn the_answer_leaves_from_the_address_that_was_asked() {
    run(quick(), |app, transports| async move {
        let two = transports
            .listen(&spec(1, Transport::Udp, &["127.0.0.1:0", "127.0.0.2:0"]))
            .expect("two");
        let any = transports
            .listen(&spec(2, Transport::Udp, &["0.0.0.0:0"]))
            .expect("any")[0]
            .port();
        let socket = client("0.0.0.0:0").await;
        for ip in ["127.0.0.1", "127.0.0.3", "127.0.0.2"] {
            alive(&socket, format!("{ip}:{any}").parse().expect("an address")).await;
        }
        for to in [two[1], two[0], two[1]] {
            alive(&socket, to).await;
        }
        let locals: Vec<SocketAddr> = app.messages.borrow().iter().map(|m| m.0.local).collect();
        assert_eq!(locals[1].to_string(), format!("127.0.0.3:{any}"));
        assert_eq!(locals[3], two[1]);
    });
}

#[test]
fn ipv6_on_one_address_and_on_all() {
    run(quick(), |app, transports| async move {
        let one = transports.listen(&spec(1, Transport::Udp, &["[::1]:0"])).expect("IPv6")[0];
        let any = transports.listen(&spec(2, Transport::Udp, &["[::]:0"])).expect("IPv6")[0].port();
        let socket = client("[::1]:0").await;
        alive(&socket, one).await;
        alive(&socket, format!("[::1]:{any}").parse().expect("an address")).await;
        assert_eq!(app.messages.borrow()[1].0.local.to_string(), format!("[::1]:{any}"));
        transports.send(
            Destination::Datagram {
                listener: ListenerId(1),
                to: "127.0.0.1:9".parse().expect("one"),
            },
            Bytes::from_static(b"x"),
            5,
        );
        until("it is told", || app.failed.borrow().contains(&(5, SendError::NoSocket))).await;
    });
}

#[test]
fn a_port_where_nobody_listens_does_not_hurt_the_socket() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Udp);
        let socket = client("127.0.0.1:0").await;
        let gone = client("127.0.0.1:0").await.local_addr().expect("an address");
        for round in 0..20 {
            transports.send(
                Destination::Datagram {
                    listener: ListenerId(1),
                    to: gone,
                },
                request("x").into(),
                0,
            );
            transports.flush();
            if round % 5 == 0 {
                alive(&socket, to).await;
            }
        }
        let impossible = "255.255.255.255:9".parse().expect("an address");
        transports.send(
            Destination::Datagram {
                listener: ListenerId(1),
                to: impossible,
            },
            request("x").into(),
            9,
        );
        let huge = Bytes::from(vec![b'x'; 70_000]);
        transports.send(
            Destination::Datagram {
                listener: ListenerId(1),
                to: gone,
            },
            huge,
            10,
        );
        transports.flush();
        until("both failures are told", || app.failed.borrow().len() == 2).await;
        assert!(
            app.failed
                .borrow()
                .iter()
                .all(|(_, why)| matches!(why, SendError::Datagram(_)))
        );
        alive(&socket, to).await;
    });
}

#[test]
fn too_many_datagrams_of_a_source_are_dropped_with_one_line() {
    let log = Log::default();
    let _guard = log.listen();
    let seen = log.clone();
    run(quick(), |app, transports| async move {
        app.rate.set(Some(50));
        let to = listen(&transports, Transport::Udp);
        let (flood, other) = (client("127.0.0.2:0").await, client("127.0.0.1:0").await);
        for _ in 0..500 {
            let _ = flood.send_to(&request("x"), to).await;
        }
        alive(&other, to).await;
        until("all are counted", || transports.stats().over_rate >= 300).await;
        assert!(app.messages.borrow().len() < 200);
        assert_eq!(seen.lines("sends more messages a second"), 1);
    });
}

/// A socket that tells the traffic class of what it receives.
fn watching(address: &str) -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind(address).expect("a socket");
    let at = socket.local_addr().expect("an address");
    let options = socket2::SockRef::from(&socket);
    if at.is_ipv4() {
        options.set_recv_tos_v4(true).expect("an option");
    } else {
        options.set_recv_tclass_v6(true).expect("an option");
    }
    (socket, at)
}

/// The code point of the next datagram, and the address it came from.
async fn code_point(socket: &std::net::UdpSocket) -> (u8, Option<SocketAddr>) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
    use std::os::fd::AsRawFd as _;
    for _ in 0..400 {
        let (mut bytes, mut space) = ([0; 2000], nix::cmsg_space!([u8; 64]));
        let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT;
        match recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => {
                let class = message.cmsgs().expect("control messages").find_map(|c| match c {
                    ControlMessageOwned::Ipv4Tos(tos) => Some(i32::from(tos)),
                    ControlMessageOwned::Ipv6TClass(class) => Some(class),
                    _ => None,
                });
                let from = message.address.and_then(|a| a.to_string().parse().ok());
                return (u8::try_from(class.expect("a class") >> 2).expect("a byte"), from);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("nothing came");
}

#[test]
fn datagrams_to_a_marked_address_carry_its_code_point_and_others_none() {
    run(quick(), |_, transports| async move {
        // From one address, and from a wildcard that must answer from where it was asked.
        for (bind, marked, other) in [
            ("127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"),
            ("0.0.0.0:0", "127.0.0.2:0", "127.0.0.3:0"),
            ("[::1]:0", "[::1]:0", ""),
            ("[::]:0", "[::1]:0", ""),
        ] {
            let at = transports
                .listen(&spec(1, Transport::Udp, &[bind]))
                .expect("a listener")[0];
            let (marked, to) = watching(marked);
            let net = ipnet::IpNet::from(to.ip());
            let send = |to| {
                transports.send(
                    Destination::Datagram {
                        listener: ListenerId(1),
                        to,
                    },
                    request("x").into(),
                    0,
                );
            };
            // Learns where it was asked.
            let asked = SocketAddr::new(
                if to.is_ipv4() {
                    "127.0.0.4".parse().expect("ip")
                } else {
                    to.ip()
                },
                at.port(),
            );
            if at.ip().is_unspecified() {
                marked.send_to(&request("hello"), asked).expect("a write");
                assert_eq!(code_point(&marked).await.0, 0, "{bind}: the answer");
            }
            transports.mark_datagrams([(net, 34)]);
            for _ in 0..40 {
                send(to);
            }
            transports.flush();
            for _ in 0..40 {
                let (class, from) = code_point(&marked).await;
                assert_eq!(class, 34, "{bind}");
                if at.ip().is_unspecified() {
                    assert_eq!(from, Some(asked), "{bind}");
                }
            }
            if !other.is_empty() {
                let (plain, elsewhere) = watching(other);
                send(to);
                send(elsewhere);
                send(to);
                transports.flush();
                assert_eq!(code_point(&plain).await.0, 0, "{bind}: another receiver");
                assert_eq!(
                    [code_point(&marked).await.0, code_point(&marked).await.0],
                    [34, 34],
                    "{bind}"
                );
            }
            transports.mark_datagrams([]);
            send(to);
            transports.flush();
            assert_eq!(code_point(&marked).await.0, 0, "{bind}: no longer marked");
            transports.remove_listener(ListenerId(1));
        }
    });
}
