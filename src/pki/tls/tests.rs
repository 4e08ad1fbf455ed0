//! Handshakes in memory, both directions.

use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;
use crate::pki::crl::Crl;
use crate::pki::pin::Pin;
use crate::pki::testing::{Ca, Issued, Leaf, peer, raw_san};
use crate::policy::identity::judge;
use crate::sip::net::PeerId;

/// The tests handshake with the real clock, so certificates of these tests are dated around it.
fn today() -> (UnixTime, i64) {
    let now = UnixTime::now();
    (
        now,
        (now.as_secs() as i64 - crate::pki::testing::NOW as i64) / crate::pki::testing::DAY,
    )
}

fn leaf(domain: &str) -> Leaf {
    dated(Leaf::domain(domain))
}

fn dated(leaf: Leaf) -> Leaf {
    let (_, offset) = today();
    leaf.days(offset - 5, offset + 30)
}

/// Runs both ends until neither has anything to say; the errors of client and server.
fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> (Connection, Connection, Vec<rustls::Error>) {
    let name = ServerName::try_from("srv-target.invalid").unwrap();
    let mut client = Connection::from(ClientConnection::new(client, name).unwrap());
    let mut server = Connection::from(ServerConnection::new(server).unwrap());
    let mut errors = Vec::new();
    for _ in 0..8 {
        pass(&mut client, &mut server, &mut errors);
        pass(&mut server, &mut client, &mut errors);
    }
    (client, server, errors)
}

fn pass(from: &mut Connection, to: &mut Connection, errors: &mut Vec<rustls::Error>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).unwrap();
    }
    let mut rest = &wire[..];
    while !rest.is_empty() {
        to.read_tls(&mut rest).unwrap();
        if let Err(e) = to.process_new_packets() {
            errors.push(e);
            return;
        }
    }
}

struct World {
    ours: Issued,
    store: Arc<PeerStore>,
    rejections: Arc<Rejections>,
}

fn world(peer: PeerTrust) -> World {
    World {
        ours: Ca::new("our ca").issue(leaf("a.example")),
        store: Arc::new(PeerStore::new(vec![Arc::new(peer)], &provider())),
        rejections: Arc::default(),
    }
}

impl World {
    fn listener(&self, auth: ClientAuth) -> Arc<ServerConfig> {
        server_config(&self.ours.identity(), &self.store, auth, &self.rejections, provider()).unwrap()
    }

    fn outgoing(&self) -> Arc<ClientConfig> {
        client_config(
            &self.ours.identity(),
            &self.store.peers[0],
            &self.rejections,
            provider(),
        )
        .unwrap()
    }

    /// The peer connects to us with this certificate: the identity, or why not.
    fn incoming_from(&self, theirs: &Issued) -> Result<Identity, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = builder
            .with_root_certificates(roots(&self.ours))
            .with_client_auth_cert(theirs.chain.clone(), theirs.key_der());
        let mut config = config.unwrap();
        config.dangerous().set_certificate_verifier(Arc::new(Anything));
        let (_, server, errors) = shake(Arc::new(config), self.listener(ClientAuth::Require));
        match errors.into_iter().next() {
            Some(e) => Err(e),
            None => Ok(identify(
                server.peer_certificates(),
                &self.store,
                today().0,
                Usage::Client,
            )),
        }
    }

    /// We connect to the peer, which shows this certificate.
    fn outgoing_to(&self, theirs: &Issued) -> Result<Identity, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = builder
            .with_no_client_auth()
            .with_single_cert(theirs.chain.clone(), theirs.key_der())
            .unwrap();
        let (client, _, errors) = shake(self.outgoing(), Arc::new(config));
        match errors.into_iter().next() {
            Some(e) => Err(e),
            None => Ok(identify(
                client.peer_certificates(),
                &self.store,
                today().0,
                Usage::Server,
            )),
        }
    }

    /// What policy says of a peer that came in: by name, after a handshake that went through.
    fn accepts(&self, identity: &Identity) -> bool {
        identity.proves(self.store.peers[0].id, &*self.store.peers[0])
    }

    /// Asserts that neither direction trusts this certificate as the peer's.
    fn refuses(&self, what: &str, theirs: &Issued) {
        let incoming = self.incoming_from(theirs);
        assert!(
            incoming.as_ref().map_or(true, |i| !self.accepts(i)),
            "{what} was accepted coming in"
        );
        assert!(self.outgoing_to(theirs).is_err(), "{what} was accepted going out");
        assert!(!self.rejections.latest().is_empty(), "{what} left no record");
    }
}

fn roots(_: &Issued) -> rustls::RootCertStore {
    rustls::RootCertStore::empty()
}

/// The other end's verifier: it is not what these tests look at.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn the_right_certificate_is_let_in_both_ways() {
    let ca = Ca::new("ca");
    let world = world(peer(0, "b.example", &[&ca]));
    let theirs = ca.issue(leaf("b.example"));
    let identity = world.incoming_from(&theirs).unwrap();
    assert!(world.accepts(&identity));
    assert!(identity.speaks_for(PeerId(0), &*world.store.peers[0], "b.example"));
    assert!(world.accepts(&world.outgoing_to(&theirs).unwrap()));
    assert!(world.rejections.latest().is_empty());
}

#[test]
fn hostile_certificates_are_refused_both_ways() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let bad = ca.issue(leaf("b.example"));
    let mut b = peer(0, "b.example", &[&ca]);
    b.crls.push(Crl::from_der(&ca.revoke(&[&bad])).unwrap());
    let world = world(b);
    let (_, today) = today();
    world.refuses("revoked", &bad);
    world.refuses(
        "other SAN, right CN",
        &ca.issue(dated(Leaf::new("b.example").dns("evil.example"))),
    );
    world.refuses("expired", &ca.issue(leaf("b.example").days(today - 20, today - 10)));
    world.refuses("future", &ca.issue(leaf("b.example").days(today + 10, today + 20)));
    world.refuses("other authority", &other.issue(leaf("b.example")));
    world.refuses("self-signed", &leaf("b.example").self_signed());
    world.refuses("wildcard", &ca.issue(dated(Leaf::new("*.example").dns("*.example"))));
    let nul = raw_san(&[(2, b"b.example\0.evil.example")]);
    world.refuses("NUL in SAN", &ca.issue(dated(Leaf::new("b.example").raw(nul))));
    let nul = raw_san(&[(6, b"sip:b.example\0.evil.example"), (2, b"b.example")]);
    world.refuses("NUL in URI", &ca.issue(dated(Leaf::new("b.example").raw(nul))));
    world.refuses(
        "wrong EKU",
        &ca.issue(leaf("b.example").usage(&[ExtendedKeyUsagePurpose::CodeSigning])),
    );
    world.refuses("other domain", &ca.issue(leaf("c.example")));
    world.refuses(
        "user certificate",
        &ca.issue(dated(Leaf::new("alice").uri("sip:alice@b.example"))),
    );
    world.refuses("CN only", &ca.issue(dated(Leaf::new("b.example"))));
}

#[test]
fn the_alert_fits_the_fault() {
    use rustls::CertificateError as C;
    let ca = Ca::new("ca");
    let world = world(peer(0, "b.example", &[&ca]));
    let (_, today) = today();
    let refusal = |issued: &Issued| match world.incoming_from(issued) {
        Err(rustls::Error::InvalidCertificate(e)) => rustls::AlertDescription::from(e),
        other => panic!("{other:?}"),
    };
    let expired = ca.issue(leaf("b.example").days(today - 20, today - 10));
    assert_eq!(refusal(&expired), C::Expired.into());
    assert_eq!(
        refusal(&Ca::new("other").issue(leaf("b.example"))),
        rustls::AlertDescription::UnknownCA
    );
    let latest = world.rejections.latest().pop().unwrap();
    assert!(latest.to_string().contains("b.example") && latest.problem == crate::pki::CertProblem::UnknownIssuer);
}

#[test]
fn the_authority_of_peer_b_cannot_issue_the_name_of_peer_a() {
    let (ca_b, ca_c) = (Ca::new("ca b"), Ca::new("ca c"));
    let forged = ca_c.issue(leaf("b.example"));
    let mut world = world(peer(0, "b.example", &[&ca_b]));
    let peers = vec![
        Arc::clone(&world.store.peers[0]),
        Arc::new(peer(1, "c.example", &[&ca_c])),
    ];
    world.store = Arc::new(PeerStore::new(peers, &provider()));
    let identity = world.incoming_from(&forged).unwrap();
    assert_eq!(identity.anchored(), [PeerId(1)]);
    assert!(
        judge(identity.names().unwrap(), &*world.store.peers[0]).is_ok(),
        "the name alone would do"
    );
    assert!(world.store.peers.iter().all(|p| !identity.proves(p.id, &**p)));
    assert!(
        world
            .store
            .peers
            .iter()
            .all(|p| !identity.speaks_for(p.id, &**p, "b.example"))
    );
    assert!(world.outgoing_to(&forged).is_err());
}

#[test]
fn a_pinned_certificate_needs_neither_authority_nor_name() {
    let own = dated(Leaf::new("old box")).self_signed();
    let mut b = peer(0, "b.example", &[]);
    b.pins.push(Pin::certificate(&own.der));
    let world = world(b);
    assert!(world.accepts(&world.incoming_from(&own).unwrap()));
    assert!(world.accepts(&world.outgoing_to(&own).unwrap()));
    world.refuses("another key", &dated(Leaf::new("old box")).self_signed());
}

#[test]
fn possession_of_a_pinned_key_is_proved() {
    let own = dated(Leaf::new("old box")).self_signed();
    let thief = Issued {
        key: rcgen::KeyPair::generate().unwrap(),
        ..dated(Leaf::new("thief")).self_signed()
    };
    let mut b = peer(0, "b.example", &[]);
    b.pins.push(Pin::certificate(&own.der));
    let world = world(b);
    let signing = provider().key_provider.load_private_key(thief.key_der()).unwrap();
    let stolen = Arc::new(SingleCertAndKey::from(rustls::sign::CertifiedKey::new(
        own.chain.clone(),
        signing,
    )));
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let server = builder.with_no_client_auth().with_cert_resolver(stolen);
    assert!(!shake(world.outgoing(), Arc::new(server)).2.is_empty());
}

#[test]
fn no_certificate_is_let_in_only_where_it_is_merely_requested() {
    let world = world(peer(0, "b.example", &[&Ca::new("ca")]));
    let bare = || {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything));
        Arc::new(builder.with_no_client_auth())
    };
    let (_, server, errors) = shake(bare(), world.listener(ClientAuth::Request));
    assert!(errors.is_empty());
    assert!(!identify(server.peer_certificates(), &world.store, today().0, Usage::Client).is_named());
    assert!(!shake(bare(), world.listener(ClientAuth::Require)).2.is_empty());
    assert!(shake(bare(), world.listener(ClientAuth::None)).2.is_empty());
}

#[test]
fn nothing_is_resumed() {
    let ca = Ca::new("ca");
    let world = world(peer(0, "b.example", &[&ca]));
    let theirs = ca.issue(leaf("b.example"));
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anything));
    let client = Arc::new(
        builder
            .with_client_auth_cert(theirs.chain.clone(), theirs.key_der())
            .unwrap(),
    );
    let listener = world.listener(ClientAuth::Require);
    for _ in 0..2 {
        let (client, _, errors) = shake(Arc::clone(&client), Arc::clone(&listener));
        assert!(errors.is_empty());
        assert_ne!(client.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
        let Connection::Client(client) = client else {
            unreachable!()
        };
        assert_eq!(client.tls13_tickets_received(), 0);
    }
}
