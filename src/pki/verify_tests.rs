use rcgen::ExtendedKeyUsagePurpose;

use super::*;
use crate::pki::testing::{Ca, Issued, Leaf, NOW, now, peer};
use crate::pki::tls::provider;

fn verify(peer: &PeerTrust, issued: &Issued, usage: Usage) -> Result<How, CertProblem> {
    peer.verify(
        &issued.chain,
        now(),
        usage,
        &provider().signature_verification_algorithms,
    )
}

/// The same verdict in both directions.
fn both(peer: &PeerTrust, issued: &Issued) -> Result<How, CertProblem> {
    let verdict = verify(peer, issued, Usage::Client);
    assert_eq!(verdict, verify(peer, issued, Usage::Server));
    verdict
}

#[test]
fn a_chain_to_the_peers_own_anchor_verifies_also_by_an_intermediate() {
    let ca = Ca::new("ca");
    let b = peer(0, "b.example", &[&ca]);
    assert_eq!(both(&b, &ca.issue(Leaf::domain("b.example"))), Ok(How::Chain));
    let middle = ca.intermediate("middle");
    let mut issued = middle.issue(Leaf::domain("b.example"));
    assert_eq!(both(&b, &issued), Ok(How::Chain));
    issued.chain.truncate(1);
    assert_eq!(both(&b, &issued), Err(CertProblem::UnknownIssuer));
}

#[test]
fn each_fault_has_its_own_reason() {
    let (ca, other) = (Ca::new("ca"), Ca::new("ca"));
    let b = peer(0, "b.example", &[&ca]);
    let leaf = || Leaf::domain("b.example");
    assert!(matches!(
        both(&b, &ca.issue(leaf().days(-20, -10))),
        Err(CertProblem::Expired { .. })
    ));
    assert!(matches!(
        both(&b, &ca.issue(leaf().days(10, 20))),
        Err(CertProblem::NotYetValid { .. })
    ));
    assert_eq!(
        both(&b, &other.issue(leaf())),
        Err(CertProblem::Signature),
        "same name, another key"
    );
    assert_eq!(both(&b, &leaf().self_signed()), Err(CertProblem::UnknownIssuer));
    assert_eq!(both(&b, &ca.issue(leaf().authority())), Err(CertProblem::Authority));
    assert_eq!(
        both(&b, &ca.issue(leaf().usage(&[ExtendedKeyUsagePurpose::CodeSigning]))),
        Err(CertProblem::WrongUsage)
    );
    assert!(
        both(&b, &ca.issue(leaf().usage(&[]))).is_ok(),
        "no extended key usage allows everything"
    );
}

#[test]
fn a_server_only_certificate_does_not_verify_for_a_client() {
    let ca = Ca::new("ca");
    let b = peer(0, "b.example", &[&ca]);
    let server = ca.issue(Leaf::domain("b.example").usage(&[ExtendedKeyUsagePurpose::ServerAuth]));
    assert_eq!(verify(&b, &server, Usage::Server), Ok(How::Chain));
    assert_eq!(verify(&b, &server, Usage::Client), Err(CertProblem::WrongUsage));
}

#[test]
fn revocation_counts_for_chains_and_pins() {
    let ca = Ca::new("ca");
    let (bad, good) = (ca.issue(Leaf::domain("b.example")), ca.issue(Leaf::domain("b.example")));
    let mut b = peer(0, "b.example", &[&ca]);
    b.crls.push(Crl::from_der(&ca.revoke(&[&bad])).unwrap());
    assert_eq!(both(&b, &bad), Err(CertProblem::Revoked));
    assert_eq!(both(&b, &good), Ok(How::Chain));
    b.pins = vec![Pin::certificate(&bad.der), Pin::certificate(&good.der)];
    assert_eq!(both(&b, &bad), Err(CertProblem::Revoked));
    assert_eq!(both(&b, &good), Ok(How::Pin));
    let mut stranger = peer(1, "b.example", &[&ca]);
    stranger
        .crls
        .push(Crl::from_der(&Ca::new("ca").revoke(&[&good])).unwrap());
    assert!(
        both(&stranger, &good).is_err(),
        "a list with a wrong signature must not be ignored"
    );
}

#[test]
fn a_pin_is_exact_and_dates_still_count() {
    let ca = Ca::new("ca");
    let mut b = peer(0, "b.example", &[&ca]);
    let own = Leaf::new("old box").self_signed();
    b.pins = vec![Pin::key(&own.der).unwrap()];
    assert_eq!(both(&b, &own), Ok(How::Pin));
    assert_eq!(
        both(&b, &Leaf::new("old box").self_signed()),
        Err(CertProblem::NotPinned)
    );
    assert_eq!(
        both(&b, &ca.issue(Leaf::domain("b.example"))),
        Err(CertProblem::NotPinned),
        "pins are all that counts"
    );
    let old = Leaf::new("x").days(-20, -10).self_signed();
    let young = Leaf::new("x").days(10, 20).self_signed();
    b.pins = vec![Pin::certificate(&old.der), Pin::certificate(&young.der)];
    assert!(matches!(both(&b, &old), Err(CertProblem::Expired { .. })));
    assert!(matches!(both(&b, &young), Err(CertProblem::NotYetValid { .. })));
}

#[test]
fn the_store_anchors_a_chain_only_at_peers_whose_own_authority_issued_it() {
    let (ca_a, ca_b) = (Ca::new("ca a"), Ca::new("ca b"));
    let provider = provider();
    let peers = vec![
        Arc::new(peer(0, "a.example", &[&ca_a])),
        Arc::new(peer(1, "b.example", &[&ca_b])),
    ];
    let store = PeerStore::new(peers, &provider);
    let forged = ca_b.issue(Leaf::domain("a.example"));
    assert_eq!(store.anchored(&forged.chain, now(), Usage::Client), [PeerId(1)]);
    let stranger = Ca::new("ca c").issue(Leaf::domain("a.example"));
    assert_eq!(store.anchored(&stranger.chain, now(), Usage::Client), []);
    assert_eq!(
        store.verify_any(&stranger.chain, now(), Usage::Client).map(drop),
        Err(CertProblem::UnknownIssuer)
    );
    assert_eq!(
        store.verify_any(&[], now(), Usage::Client).map(drop),
        Err(CertProblem::Missing)
    );
    let expired = ca_b.issue(Leaf::domain("b.example").days(-9, -8));
    assert!(matches!(
        store.verify_any(&expired.chain, now(), Usage::Client).map(drop),
        Err(CertProblem::Expired { .. })
    ));
}

#[test]
fn a_peer_without_anchors_verifies_nothing() {
    let b = peer(0, "b.example", &[]);
    assert!(!b.can_verify());
    assert_eq!(
        both(&b, &Ca::new("ca").issue(Leaf::domain("b.example"))),
        Err(CertProblem::UnknownIssuer)
    );
    let garbage = [CertificateDer::from(b"garbage".as_slice())];
    let algorithms = provider().signature_verification_algorithms;
    assert_eq!(
        b.verify(&garbage, now(), Usage::Client, &algorithms),
        Err(CertProblem::Malformed)
    );
}

#[test]
fn a_stranger_does_not_choose_how_much_is_verified() {
    let ca = Ca::new("ca");
    let b = peer(0, "b.example", &[&ca]);
    let mut issued = ca.issue(Leaf::domain("b.example"));
    issued.chain.extend((0..8).map(|_| ca.der.clone()));
    assert_eq!(both(&b, &issued), Ok(How::Chain));
    issued.chain.push(ca.der.clone());
    assert!(matches!(both(&b, &issued), Err(CertProblem::Other(_))));
}

#[test]
fn dates_are_shown_as_days() {
    assert_eq!(day(NOW as i64), "2026-02-01");
    assert_eq!(day(i64::MAX), "at an impossible date");
}
