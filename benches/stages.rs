//! The stages that a message passes, each alone: framer, view, URI, decision, transaction, writers, PIDF, TLS records.
//!
//! `cargo bench --bench stages`; `cargo bench --bench stages -- view` for one of them.

mod stage;

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use trestle::policy::{AuthState, Facts, Identity, Over, Scheme, UriFacts, decide};
use trestle::presence::{Document, Publication, Rules, compose};
use trestle::sip::frame::{Frame, Framer, Limits};
use trestle::sip::message::{Framing, Index, View, parse};
use trestle::sip::net::Destination;
use trestle::sip::random::Random;
use trestle::sip::time::Now;
use trestle::sip::transaction::{Arrived, Layer, ServerKey, Timers};
use trestle::sip::uri::Uri;
use trestle::sip::write;

fn reading(c: &mut Criterion) {
    let message = stage::message(1);
    let stream: Vec<u8> = std::iter::repeat_n(&message[..], 16).flatten().copied().collect();
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(16));
    group.bench_function("framer, 16 messages of a stream", |b| {
        b.iter(|| {
            let (mut framer, mut at, mut found) = (Framer::new(Limits::default()), 0, 0);
            while let Frame::Message(length) = framer.next(black_box(&stream[at..])) {
                at += length;
                found += 1;
            }
            assert_eq!(found, 16);
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut index = Index::new();
    group.bench_function("view and essentials", |b| {
        b.iter(|| {
            let view = parse(black_box(&message), Framing::Datagram, &mut index).expect("a message");
            black_box(view.essentials().expect("its essentials").cseq.number)
        });
    });
    group.bench_function("uri", |b| {
        b.iter(|| {
            Uri::parse(black_box(b"sip:alice@a.example:5070;transport=tcp;lr"))
                .expect("a URI")
                .port
        });
    });
    group.finish();
}

fn deciding(c: &mut Criterion) {
    let (snapshot, source) = (stage::snapshot(), stage::source(stage::NEAR));
    let identity = Identity::no_tls("none");
    let uri = |user, host| UriFacts {
        number_params: b"",
        scheme: Scheme::Sip,
        user: Some(user),
        host,
        port: None,
        maddr: false,
    };
    let facts = Facts {
        listener: source.listener,
        transport: source.transport,
        source: source.remote.ip(),
        local: Some(source.local),
        identity: &identity,
        method: b"MESSAGE",
        uri: uri(b"bob", b"b.test"),
        from: uri(b"alice", b"a.test"),
        to: uri(b"bob", b"b.test"),
        event: None,
        max_forwards: Some(70),
        dialog: None,
        credentials: AuthState::None,
        looped: false,
        ring: false,
        over: Over::default(),
        held: &[],
        watched: None,
    };
    assert_eq!(decide(&snapshot, &facts, &mut ()).status(), None, "it is allowed");
    c.bench_function("decide/a message from peer to peer", |b| {
        b.iter(|| decide(&snapshot, black_box(&facts), &mut ()));
    });
}

fn transactions(c: &mut Criterion) {
    let mut now = Now {
        mono_ms: 1,
        wall_ms: 1_700_000_000_000,
    };
    let mut layer = Layer::new(Timers::default(), &mut Random::from_seed([1; 32]), now);
    let source = stage::source(stage::NEAR);
    let to = Destination::Datagram {
        listener: trestle::sip::net::ListenerId(0),
        to: source.remote,
    };
    let wire = Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n");
    let mut number = 0_u64;
    c.bench_function("transaction/new, answered, and one that ends", |b| {
        b.iter_batched(
            || {
                number += 1;
                format!("z9hG4bK{number}")
            },
            |branch| {
                now.mono_ms += 20;
                layer.handle_timeout(now);
                let key = ServerKey {
                    branch: branch.as_bytes(),
                    sent_by: b"127.0.0.1:7001",
                    method: b"MESSAGE",
                    uri: b"sip:bob@b.test",
                    from_tag: b"f",
                    to_tag: b"",
                    call_id: b"c",
                    cseq: 1,
                    top_via: b"SIP/2.0/UDP 127.0.0.1:7001",
                    source: source.remote,
                };
                let Arrived::New(id) = layer.request(now, &key, to, false, 0) else {
                    panic!("it is new");
                };
                layer.respond(now, id, 200, wire.clone());
                while let Some(output) = layer.poll() {
                    black_box(output);
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn with_view(bytes: &[u8], work: impl FnOnce(&View<'_>)) {
    let mut index = Index::new();
    work(&parse(bytes, Framing::Datagram, &mut index).expect("a message"));
}

fn writing(c: &mut Criterion) {
    let message = stage::message(1);
    let answer = stage::answer(&message);
    let mut out = BytesMut::with_capacity(1 << 16);
    let mut group = c.benchmark_group("write");
    with_view(&message, |view| {
        let plan = write::Forward {
            via: b"SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKabcdefghijklmnop",
            max_forwards: 69,
            set_received: Some((stage::source(stage::NEAR).remote.ip(), stage::NEAR)),
            ..write::Forward::default()
        };
        group.bench_function("a request forwarded", |b| {
            b.iter(|| {
                out.clear();
                write::forward_request(&mut out, black_box(view), &plan);
            });
        });
        group.bench_function("an answer of our own", |b| {
            b.iter(|| {
                out.clear();
                write::respond(
                    &mut out,
                    black_box(view),
                    None,
                    &write::Answer::new(200, "OK").tag(b"tag"),
                );
            });
        });
    });
    with_view(&answer, |view| {
        group.bench_function("a response forwarded", |b| {
            b.iter(|| {
                out.clear();
                write::forward_response(&mut out, black_box(view));
            });
        });
    });
    let body = stage::document(1, 1);
    group.bench_function("a notify", |b| {
        b.iter(|| {
            out.clear();
            write::Request::start(&mut out, b"NOTIFY", b"sip:w1@127.0.0.1:7002")
                .header(b"Via", b"SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKabcdefghijklmnop")
                .header(b"Max-Forwards", b"70")
                .parts(b"From", &[b"<sip:p1@pres.test>;tag=", b"abcdefgh"])
                .parts(b"To", &[b"<sip:w1@pres.test>;tag=", b"f1"])
                .header(b"Call-ID", b"SUBSCRIBE1@load.test")
                .number(b"CSeq", 17, b" NOTIFY")
                .header(b"Event", b"presence")
                .header(b"Subscription-State", b"active;expires=3599")
                .body(Some((b"application/pidf+xml", black_box(body.as_bytes()))));
        });
    });
    group.finish();
}

fn documents(c: &mut Criterion) {
    let bodies: Vec<String> = (1..=3).map(|version| stage::document(1, version)).collect();
    let read: Vec<Document> = bodies
        .iter()
        .map(|b| Document::parse(b.as_bytes()).expect("PIDF"))
        .collect();
    let publications: Vec<Publication<'_>> = bodies
        .iter()
        .zip(&read)
        .zip(1..)
        .map(|((body, document), age)| Publication {
            body: body.as_bytes(),
            document,
            age,
            dialect: "rfc",
            phone: None,
        })
        .collect();
    let rules = Rules::default();
    let mut group = c.benchmark_group("presence");
    group.bench_function("pidf read", |b| {
        b.iter(|| Document::parse(black_box(bodies[0].as_bytes())))
    });
    group.bench_function("one publication composed", |b| {
        b.iter(|| compose("sip:p1@pres.test", black_box(&publications[..1]), &rules));
    });
    group.bench_function("three publications composed", |b| {
        b.iter(|| compose("sip:p1@pres.test", black_box(&publications), &rules));
    });
    group.finish();
}

/// Two ends of a TLS 1.3 connection in memory, after the handshake.
fn tls_pair() -> (rustls::ServerConnection, rustls::ClientConnection) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["server.test".to_string()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let provider = trestle::pki::provider();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a root");
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a server");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls_pki_types::ServerName::try_from("server.test").expect("a name");
    let mut server = rustls::ServerConnection::new(Arc::new(server)).expect("a server");
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).expect("a client");
    while server.is_handshaking() || client.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        server.read_tls(&mut &wire[..]).expect("memory");
        server.process_new_packets().expect("a handshake");
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        client.read_tls(&mut &wire[..]).expect("memory");
        client.process_new_packets().expect("a handshake");
    }
    (server, client)
}

fn records(c: &mut Criterion) {
    let (mut server, mut client) = tls_pair();
    let message = stage::message(1);
    let (mut wire, mut plain) = (Vec::new(), vec![0; 1 << 16]);
    let mut group = c.benchmark_group("tls");
    for size in [1_usize, 16] {
        let batch = message.repeat(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(format!("{size} messages in one record, sealed and opened"), |b| {
            b.iter(|| {
                client.writer().write_all(black_box(&batch)).expect("memory");
                wire.clear();
                while client.wants_write() {
                    client.write_tls(&mut wire).expect("memory");
                }
                let mut rest = &wire[..];
                let mut read = 0;
                while !rest.is_empty() {
                    server.read_tls(&mut rest).expect("memory");
                    server.process_new_packets().expect("a record");
                    // Half a record shows nothing yet.
                    read += server.reader().read(&mut plain).unwrap_or(0);
                }
                assert_eq!(read, batch.len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reading, deciding, transactions, writing, documents, records);
criterion_main!(benches);
