//! RFC 3263 against a small DNS server in the same process.

use core::cell::{Cell, RefCell};
use core::future::Future;
use std::collections::HashMap;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query as DnsQuery, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::*;
use crate::sip::random::Random;

const ALL: &[Transport] = &[Transport::Tls, Transport::Tcp, Transport::Udp];

/// The DNS server: a zone, a switch, a counter.
#[derive(Default)]
struct Server {
    zone: RefCell<HashMap<(String, RecordType), Vec<RData>>>,
    ttl_s: Cell<u32>,
    down: Cell<bool>,
    asked: Cell<u32>,
}

impl Server {
    fn add(&self, name: &str, data: RData) {
        let key = (name.to_owned(), data.record_type());
        self.zone.borrow_mut().entry(key).or_default().push(data);
    }

    fn a(&self, name: &str, last: u8) {
        self.add(name, RData::A(A::new(192, 0, 2, last)));
    }

    fn srv(&self, name: &str, priority: u16, weight: u16, target: &str) {
        self.add(name, RData::SRV(SRV::new(priority, weight, 5070, fqdn(target))));
    }

    fn naptr(&self, name: &str, order: u16, service: &str, replacement: &str) {
        let (flags, service) = (Box::from(&b"s"[..]), Box::from(service.as_bytes()));
        self.add(
            name,
            RData::NAPTR(NAPTR::new(order, 1, flags, service, Box::default(), fqdn(replacement))),
        );
    }

    fn fill(&self, answer: &mut Message, query: &DnsQuery, name: &str) {
        let zone = self.zone.borrow();
        if !zone.keys().any(|(n, _)| n == name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        for data in zone.get(&(name.to_owned(), query.query_type())).into_iter().flatten() {
            answer.add_answer(Record::from_rdata(query.name().clone(), self.ttl_s.get(), data.clone()));
        }
    }

    async fn serve(self: Rc<Self>, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            self.asked.set(self.asked.get() + 1);
            if self.down.get() {
                continue;
            }
            let Ok(question) = Message::from_vec(&buffer[..n]) else {
                continue;
            };
            let Some(query) = question.queries.first().cloned() else {
                continue;
            };
            let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
            let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
            answer.metadata.recursion_available = true;
            self.fill(&mut answer, &query, &name);
            answer.add_query(query);
            let _ = socket.send_to(&answer.to_vec().expect("an answer"), from).await;
        }
    }
}

fn fqdn(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).expect("a name")
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Rc<Server>, Resolver) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let resolver = Resolver::asking(&[socket.local_addr().expect("an address")]);
        let server = Rc::new(Server::default());
        server.ttl_s.set(300);
        tokio::task::spawn_local(Rc::clone(&server).serve(socket));
        tokio::time::timeout(Duration::from_secs(40), test(server, resolver))
            .await
            .expect("the test hangs");
    });
}

async fn ask(resolver: &Resolver, host: &str, port: Option<u16>, transport: Option<Transport>) -> Vec<String> {
    let mut random = Random::from_seed([1; 32]);
    let query = Query {
        host,
        port,
        transport,
        allowed: ALL,
    };
    let found = resolver.resolve(&query, &mut || random.next_u64()).await;
    found.iter().map(|(t, a)| format!("{} {a}", t.param())).collect()
}

#[test]
fn what_needs_no_dns_asks_none() {
    run(|server, resolver| async move {
        assert_eq!(
            ask(&resolver, "192.0.2.9", None, Some(Transport::Udp)).await,
            ["udp 192.0.2.9:5060"]
        );
        assert_eq!(ask(&resolver, "192.0.2.9", Some(5), None).await, ["tls 192.0.2.9:5"]);
        assert_eq!(
            ask(&resolver, "[2001:db8::1]", None, Some(Transport::Tls)).await,
            ["tls [2001:db8::1]:5061"]
        );
        assert_eq!(
            ask(&resolver, "fe80::1%lo", Some(7), Some(Transport::Tcp)).await,
            ["tcp [fe80::1%1]:7"]
        );
        let local = ask(&resolver, "LocalHost", None, Some(Transport::Tcp)).await;
        assert!(local.contains(&"tcp 127.0.0.1:5060".to_owned()), "{local:?}");
        assert_eq!(server.asked.get(), 0);
    });
}

#[test]
fn a_port_rules_out_srv() {
    run(|server, resolver| async move {
        server.a("b.example", 1);
        server.srv("_sip._tcp.b.example", 1, 1, "wrong.example");
        assert_eq!(
            ask(&resolver, "b.example", Some(5080), Some(Transport::Tcp)).await,
            ["tcp 192.0.2.1:5080"]
        );
    });
}

#[test]
fn naptr_then_srv_then_addresses_of_both_families() {
    run(|server, resolver| async move {
        server.naptr("b.example", 20, "SIP+D2U", "_sip._udp.b.example");
        server.naptr("b.example", 10, "SIPS+D2T", "_sips._tcp.elsewhere.example");
        server.srv("_sips._tcp.elsewhere.example", 1, 1, "h1.example");
        server.srv("_sip._udp.b.example", 1, 1, "h2.example");
        server.a("h1.example", 1);
        server.add("h1.example", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)));
        server.a("h2.example", 2);
        let mut found = ask(&resolver, "b.example", None, None).await;
        assert_eq!(found.pop().as_deref(), Some("udp 192.0.2.2:5070"));
        // Which family is first depends on the machine's routes.
        found.sort();
        assert_eq!(found, ["tls 192.0.2.1:5070", "tls [2001:db8::1]:5070"]);
        let found = ask(&resolver, "b.example", None, Some(Transport::Udp)).await;
        assert_eq!(found, ["udp 192.0.2.2:5070"], "only what is asked for");
    });
}

#[test]
fn without_naptr_srv_in_order_of_preference_and_priority_gives_the_failover_order() {
    run(|server, resolver| async move {
        server.srv("_sip._udp.b.example", 1, 1, "h3.example");
        server.srv("_sip._tcp.b.example", 20, 1, "h2.example");
        server.srv("_sip._tcp.b.example", 10, 1, "h1.example");
        for n in 1..=3 {
            server.a(&format!("h{n}.example"), n);
        }
        let found = ask(&resolver, "b.example", None, None).await;
        assert_eq!(
            found,
            ["tcp 192.0.2.1:5070", "tcp 192.0.2.2:5070", "udp 192.0.2.3:5070"]
        );
    });
}

#[test]
fn without_srv_addresses_and_the_default_port() {
    run(|server, resolver| async move {
        server.a("b.example", 4);
        assert_eq!(
            ask(&resolver, "b.example", None, Some(Transport::Tls)).await,
            ["tls 192.0.2.4:5061"]
        );
        assert!(ask(&resolver, "nowhere.example", None, None).await.is_empty());
        assert!(ask(&resolver, "not a name!..", None, None).await.is_empty());
    });
}

#[test]
fn a_service_that_is_denied_is_not_looked_for_elsewhere() {
    run(|server, resolver| async move {
        server.a("b.example", 4);
        server.srv("_sip._udp.b.example", 0, 0, "");
        assert!(ask(&resolver, "b.example", None, Some(Transport::Udp)).await.is_empty());
    });
}

#[test]
fn weights_share_the_load_over_many_calls_and_one_question_each() {
    run(|server, resolver| async move {
        server.srv("_sip._udp.b.example", 1, 75, "h1.example");
        server.srv("_sip._udp.b.example", 1, 25, "h2.example");
        server.a("h1.example", 1);
        server.a("h2.example", 2);
        let mut random = Random::from_seed([2; 32]);
        let query = Query {
            host: "b.example",
            port: None,
            transport: Some(Transport::Udp),
            allowed: &[],
        };
        let mut first = 0;
        for _ in 0..2_000 {
            let found = resolver.resolve(&query, &mut || random.next_u64()).await;
            assert_eq!(found.len(), 2);
            first += u32::from(found[0].1.to_string() == "192.0.2.1:5070");
        }
        assert!((1_400..1_600).contains(&first), "{first} of 2000");
        assert_eq!(server.asked.get(), 6, "NAPTR, SRV, and two times A and AAAA");
    });
}

#[test]
fn many_who_ask_at_once_are_one_question() {
    run(|server, resolver| async move {
        server.a("b.example", 1);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let resolver = resolver.clone();
                tokio::task::spawn_local(async move { ask(&resolver, "b.example", Some(1), None).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("an answer").len(), 1);
        }
        assert_eq!(server.asked.get(), 2, "A and AAAA");
    });
}

#[test]
fn when_dns_is_down_what_was_known_is_served_and_then_at_once() {
    run(|server, resolver| async move {
        server.ttl_s.set(1);
        server.a("b.example", 1);
        let known = ask(&resolver, "b.example", Some(1), None).await;
        server.down.set(true);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let started = Instant::now();
        assert_eq!(ask(&resolver, "b.example", Some(1), None).await, known);
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        // The question that was under way fails by its own timeouts; from then on nobody waits.
        let asked = || server.asked.get();
        let mut last = asked();
        loop {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if asked() == last {
                break;
            }
            last = asked();
        }
        let started = Instant::now();
        assert_eq!(ask(&resolver, "b.example", Some(1), None).await, known);
        assert!(started.elapsed() < Duration::from_secs(3));
        server.down.set(false);
        server.zone.borrow_mut().clear();
        server.a("b.example", 2);
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if ask(&resolver, "b.example", Some(1), None).await == ["tls 192.0.2.2:1"] {
                return;
            }
        }
        panic!("the new address is never used");
    });
}
