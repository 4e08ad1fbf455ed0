//! Framing on plain connections, coalescing, ends.

use super::*;

#[test]
fn f2_two_requests_in_one_segment_are_one_batch_and_two_answers() {
    run(quick(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        let before = app.batches.get();
        socket
            .write_all(&[request("one"), request("two")].concat())
            .await
            .expect("a write");
        expect(&mut socket, &[response("one"), response("two")].concat()).await;
        let batches = app.batches.get() - before;
        // One for the opening, one for the read.
        assert!(batches <= 2, "{batches} batches");
    });
}

#[test]
fn f3_one_request_in_segments_of_one_byte() {
    run(Limits::default(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        socket.set_nodelay(true).expect("no delay");
        for byte in request("slowly") {
            socket.write_all(&[byte]).await.expect("a write");
            tokio::task::yield_now().await;
        }
        expect(&mut socket, &response("slowly")).await;
        assert_eq!(app.bodies(), ["slowly"]);
    });
}

#[test]
fn f4_a_ping_gets_a_pong_and_the_connection_stays_usable() {
    run(quick(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        socket.write_all(b"\r\n\r\n").await.expect("a write");
        expect(&mut socket, b"\r\n").await;
        socket
            .write_all(&[b"\r\n\r\n".to_vec(), request("x")].concat())
            .await
            .expect("a write");
        expect(&mut socket, &[b"\r\n".to_vec(), response("x")].concat()).await;
        assert_eq!(app.bodies(), ["x"]);
    });
}

#[test]
fn f16_a_half_closed_sender_gets_even_a_late_answer() {
    run(quick(), |app, transports| async move {
        app.silent.set(true);
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        socket.write_all(&request("late")).await.expect("a write");
        socket.shutdown().await.expect("a half close");
        until("it arrived", || app.messages.borrow().len() == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(app.closed.borrow().len(), 0);
        let source = app.messages.borrow()[0].0;
        app.answer(&source, "100 Trying", b"");
        app.batch_done();
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.answer(&source, "200 OK", b"late");
        app.batch_done();
        let got = drained(&mut socket).await;
        assert!(got.ends_with(&response("late")), "{}", String::from_utf8_lossy(&got));
        until("it is closed", || app.closed.borrow().len() == 1).await;
        assert_eq!(app.closed.borrow()[0].1, CloseReason::Ended);
        assert_eq!(transports.connections(), 0);
    });
}

#[test]
fn a_half_closed_sender_that_is_owed_nothing_is_let_go_at_once_and_others_not_kept_for_ever() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut idle = dial(to).await;
        idle.write_all(&request("x")).await.expect("a write");
        expect(&mut idle, &response("x")).await;
        idle.shutdown().await.expect("a half close");
        until("it is closed", || app.closed.borrow().len() == 1).await;
        app.silent.set(true);
        let mut unanswered = dial(to).await;
        unanswered.write_all(&request("x")).await.expect("a write");
        unanswered.shutdown().await.expect("a half close");
        assert_eq!(drained(&mut unanswered).await, b"");
        until("it is closed", || app.closed.borrow().len() == 2).await;
    });
}

#[test]
fn many_messages_are_one_write_and_arrive_in_order() {
    run(quick(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        until("it is open", || app.opened.borrow().len() == 1).await;
        let flow = app.opened.borrow()[0].0.flow.expect("a flow");
        let all: Vec<Vec<u8>> = (0..60).map(|n| request(&n.to_string())).collect();
        // The first write of a connection waits for the runtime to look at the socket.
        transports.send(Destination::Flow(flow), Bytes::from_static(b"\r\n"), 0);
        transports.flush();
        expect(&mut socket, b"\r\n").await;
        for wire in &all {
            transports.send(Destination::Flow(flow), wire.clone().into(), 0);
        }
        assert!(
            socket.try_read(&mut [0; 10]).is_err(),
            "nothing is written before the flush"
        );
        transports.flush();
        assert_eq!(transports.queued(), 0, "the flush itself writes");
        let mut got = vec![0; 100_000];
        socket.readable().await.expect("readable");
        let n = socket.try_read(&mut got).expect("a read");
        assert_eq!(got[..n], all.concat(), "one segment holds all");
    });
}

#[test]
fn much_data_passes_through_small_socket_buffers_in_order() {
    run(quick(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        until("it is open", || app.opened.borrow().len() == 1).await;
        let flow = app.opened.borrow()[0].0.flow.expect("a flow");
        let chunks: Vec<Bytes> = (0..2_000u32)
            .map(|n| Bytes::from(n.to_be_bytes().repeat(1_000)))
            .collect();
        for chunk in &chunks {
            transports.send(Destination::Flow(flow), chunk.clone(), 0);
        }
        transports.flush();
        assert!(transports.queued() > 0, "more than a socket holds");
        let mut got = vec![0; 8_000_000];
        socket.read_exact(&mut got).await.expect("all of it");
        assert_eq!(got, chunks.concat());
        assert_eq!(transports.queued(), 0);
    });
}

#[test]
fn a_slow_reader_is_closed_when_its_queue_is_full_or_nothing_moves() {
    let limits = Limits {
        max_queued: 12 << 20,
        ..quick()
    };
    run(limits, |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let _never_reads = dial(to).await;
        let _neither = dial(to).await;
        until("they are open", || app.opened.borrow().len() == 2).await;
        let flows: Vec<FlowId> = app.opened.borrow().iter().filter_map(|o| o.0.flow).collect();
        let big = Bytes::from(vec![b'x'; 1 << 20]);
        for token in 1..=60 {
            transports.send(Destination::Flow(flows[0]), big.clone(), token);
            transports.flush();
        }
        for token in 101..=110 {
            transports.send(Destination::Flow(flows[1]), big.clone(), token);
        }
        transports.flush();
        until("both are closed", || app.closed.borrow().len() == 2).await;
        assert!(
            app.closed
                .borrow()
                .iter()
                .all(|(_, why)| *why == CloseReason::SlowReader),
            "{:?}",
            app.closed
        );
        assert_eq!(transports.queued(), 0);
        until("whoever waited was told", || {
            app.failed.borrow().iter().any(|(t, _)| *t == 110)
        })
        .await;
        assert!(app.failed.borrow().iter().any(|(t, _)| *t == 60));
        transports.send(Destination::Flow(flows[0]), big, 77);
        until("the flow is gone", || {
            app.failed.borrow().contains(&(77, SendError::Gone))
        })
        .await;
        served(to).await;
    });
}

#[test]
fn close_sends_what_is_queued_first() {
    run(quick(), |app, transports| async move {
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        until("it is open", || app.opened.borrow().len() == 1).await;
        let flow = app.opened.borrow()[0].0.flow.expect("a flow");
        transports.send(Destination::Flow(flow), Bytes::from_static(b"last words"), 0);
        transports.close(flow, "its trust was withdrawn");
        assert_eq!(drained(&mut socket).await, b"last words");
        assert_eq!(
            *app.closed.borrow(),
            [(flow, CloseReason::Closed("its trust was withdrawn"))]
        );
    });
}

#[test]
fn idle_connections_are_closed_and_busy_ones_not() {
    let limits = Limits {
        idle: Duration::from_millis(400),
        ..quick()
    };
    run(limits, |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let (mut idle, mut busy) = (dial(to).await, dial(to).await);
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            busy.write_all(b"\r\n\r\n").await.expect("a write");
            expect(&mut busy, b"\r\n").await;
        }
        assert_eq!(drained(&mut idle).await, b"");
        assert_eq!(app.closed.borrow().len(), 1);
        assert_eq!(app.closed.borrow()[0].1, CloseReason::Idle);
    });
}

#[test]
fn a_connection_that_is_not_wanted_is_closed_unheard() {
    run(quick(), |app, transports| async move {
        app.unwanted.set(true);
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        let _ = socket.write_all(&request("x")).await;
        drained(&mut socket).await;
        assert!(app.messages.borrow().is_empty() && app.closed.borrow().is_empty());
    });
}

#[test]
fn a_removed_listener_takes_nothing_more_and_its_connections_go_on() {
    run(quick(), |_, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut before = dial(to).await;
        served(to).await;
        transports.remove_listener(ListenerId(1));
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(to).await.is_err());
        before.write_all(&request("still")).await.expect("a write");
        expect(&mut before, &response("still")).await;
        let again = transports
            .listen(&spec(1, Transport::Tcp, &[&to.to_string()]))
            .expect("the address is free");
        served(again[0]).await;
    });
}

#[test]
fn a_listener_opens_whole_or_not_at_all_and_says_which_address_failed() {
    run(quick(), |_, transports| async move {
        let taken = listen(&transports, Transport::Tcp);
        let error = transports
            .listen(&spec(2, Transport::Tcp, &["127.0.0.1:0", &taken.to_string()]))
            .expect_err("taken");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        served(taken).await;
    });
}

#[test]
fn ipv6_and_ipv4_stand_side_by_side() {
    run(quick(), |app, transports| async move {
        let v4 = transports
            .listen(&spec(1, Transport::Tcp, &["0.0.0.0:0"]))
            .expect("IPv4")[0]
            .port();
        let v6 = transports
            .listen(&spec(2, Transport::Tcp, &[&format!("[::]:{v4}")]))
            .expect("the same port")[0];
        assert_eq!(v6.port(), v4);
        served(SocketAddr::from(([127, 0, 0, 1], v4))).await;
        served(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v4))).await;
        let sources: Vec<Source> = app.messages.borrow().iter().map(|m| m.0).collect();
        assert_eq!(sources[0].listener, Some(ListenerId(1)));
        assert_eq!(sources[1].listener, Some(ListenerId(2)));
        assert_eq!(
            sources[1].local,
            "[::1]:0"
                .parse::<SocketAddr>()
                .map(|mut a| {
                    a.set_port(v4);
                    a
                })
                .expect("one")
        );
    });
}
