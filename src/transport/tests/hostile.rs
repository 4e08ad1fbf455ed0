//! What strangers do: half requests, lies about lengths, noise, floods. Others keep being served.

use super::*;

#[test]
fn f1_slow_writers_are_closed_in_time_and_others_are_served() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut slow = Vec::new();
        for _ in 0..60 {
            slow.push(dial(to).await);
        }
        for round in 0..3 {
            for socket in &mut slow {
                let part = if round == 0 {
                    &b"OPTIONS sip:a@b SIP/2.0\r\n"[..]
                } else {
                    b"X: y\r\n"
                };
                let _ = socket.write_all(part).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            served(to).await;
        }
        for mut socket in slow {
            drained(&mut socket).await;
        }
        let unfinished = app
            .closed
            .borrow()
            .iter()
            .filter(|(_, why)| *why == CloseReason::Unfinished)
            .count();
        assert_eq!(unfinished, 60);
    });
}

#[test]
fn f5_a_body_that_never_comes_is_never_processed() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut socket = dial(to).await;
        socket
            .write_all(b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 500\r\n\r\nxx")
            .await
            .expect("a write");
        drained(&mut socket).await;
        assert!(app.messages.borrow().is_empty());
        served(to).await;
    });
}

#[test]
fn f6_what_stands_after_the_body_is_not_body() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut socket = dial(to).await;
        socket
            .write_all(b"MESSAGE sip:a@b SIP/2.0\r\nContent-Length: 4\r\n\r\nbody\x00\x01garbage")
            .await
            .expect("a write");
        let got = drained(&mut socket).await;
        assert!(got.starts_with(&response("body")), "{}", String::from_utf8_lossy(&got));
        assert_eq!(app.bodies(), ["body"]);
        served(to).await;
    });
}

#[test]
fn f7_to_f11_lies_about_the_length_are_answered_and_close_at_once() {
    let cases: [(&[u8], u16); 6] = [
        (b"Content-Length: -1\r\n", 400),
        (b"Content-Length: 99999999999999999999\r\n", 400),
        (b"Content-Length: 2000000000\r\n", 413),
        (b"Content-Length: 3\r\nContent-Length: 90\r\n", 400),
        (b"l: 3\r\nContent-Length: 90\r\n", 400),
        (b"", 400),
    ];
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        for (headers, status) in cases {
            let mut socket = dial(to).await;
            let wire = [
                b"MESSAGE sip:a@b SIP/2.0\r\n",
                headers,
                b"\r\nabc",
                &request("smuggled"),
            ]
            .concat();
            socket.write_all(&wire).await.expect("a write");
            let started = tokio::time::Instant::now();
            let got = drained(&mut socket).await;
            assert!(
                started.elapsed() < Duration::from_millis(900),
                "at once, not by a timer"
            );
            let wanted = format!("SIP/2.0 {status}");
            assert!(
                got.starts_with(wanted.as_bytes()),
                "{wanted}: {}",
                String::from_utf8_lossy(&got)
            );
        }
        assert!(app.messages.borrow().is_empty(), "the hidden request is never run");
        served(to).await;
    });
}

#[test]
fn f12_a_header_section_without_end_is_cut_off_before_it_is_read_whole() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut socket = dial(to).await;
        socket
            .write_all(b"OPTIONS sip:a@b SIP/2.0\r\nX: ")
            .await
            .expect("a write");
        let mut sent = 0;
        let part = vec![b'x'; 64 * 1024];
        while sent < 64 << 20 {
            match timeout(Duration::from_secs(2), socket.write_all(&part)).await {
                Ok(Ok(())) => sent += part.len(),
                _ => break,
            }
        }
        assert!(sent < 32 << 20, "{sent} bytes were taken");
        assert!(matches!(app.closed.borrow()[0].1, CloseReason::Unframable(_)));
        served(to).await;
    });
}

#[test]
fn f13_f14_noise_and_http_do_no_harm() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut random = crate::sip::random::Random::from_seed([9; 32]);
        for _ in 0..20 {
            let mut noise = vec![0; 60_000];
            random.fill(&mut noise);
            let mut socket = dial(to).await;
            let _ = socket.write_all(&noise).await;
            drained(&mut socket).await;
        }
        let mut http = dial(to).await;
        http.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("a write");
        drained(&mut http).await;
        assert!(app.messages.borrow().is_empty());
        served(to).await;
    });
}

#[test]
fn f15_many_idle_connections_hold_nothing_and_a_further_one_is_served() {
    run(quick(), |app, transports| async move {
        let to = listen(&transports, Transport::Tcp);
        let mut idle = Vec::new();
        for _ in 0..250 {
            idle.push(dial(to).await);
        }
        until("all are open", || app.opened.borrow().len() == 250).await;
        served(to).await;
        assert!(transports.connections() >= 250);
        assert_eq!(transports.stats().accepted, 251);
    });
}

#[test]
fn connections_of_one_source_are_limited_before_anything_else_and_logged_once() {
    let log = Log::default();
    let _guard = log.listen();
    let seen = log.clone();
    run(quick(), |app, transports| async move {
        app.most.set(Some(5));
        let to = listen(&transports, Transport::Tcp);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(dial(to).await);
        }
        until("five are open", || app.opened.borrow().len() == 5).await;
        for _ in 0..50 {
            let mut refused = dial(to).await;
            drained(&mut refused).await;
        }
        assert_eq!(app.opened.borrow().len(), 5);
        assert_eq!(transports.stats().refused, 50);
        assert_eq!(seen.lines("too many connections of this source"), 1);
        held.clear();
        until("they are gone", || transports.connections() == 0).await;
        served(to).await;
    });
}

#[test]
fn a_stream_is_read_no_faster_than_its_source_may_send_and_loses_nothing() {
    let log = Log::default();
    let _guard = log.listen();
    let seen = log.clone();
    run(quick(), |app, transports| async move {
        app.rate.set(Some(20));
        let mut socket = dial(listen(&transports, Transport::Tcp)).await;
        let started = tokio::time::Instant::now();
        let (all, answers): (Vec<_>, Vec<_>) = (0..40)
            .map(|n| (request(&n.to_string()), response(&n.to_string())))
            .unzip();
        socket.write_all(&all.concat()).await.expect("a write");
        expect(&mut socket, &answers.concat()).await;
        let took = started.elapsed();
        assert!(
            took >= Duration::from_millis(900),
            "{took:?}: 20 at once, 20 more in a second"
        );
        assert!(transports.stats().over_rate > 0);
        assert_eq!(seen.lines("sends more messages a second"), 1);
    });
}
