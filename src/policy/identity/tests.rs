use super::*;

#[derive(Default)]
struct Peer {
    domains: &'static [&'static str],
    hosts: &'static [&'static str],
    cn: bool,
}

impl Trust for Peer {
    fn has_domain(&self, domain: &str) -> bool {
        self.domains.iter().any(|d| same_name(d, domain))
    }
    fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|d| same_name(d, host))
    }
    fn allow_cn(&self) -> bool {
        self.cn
    }
}

fn list(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|n| Box::from(*n)).collect()
}

fn names(sip: &[&str], dns: &[&str], cn: Option<&str>) -> CertNames {
    CertNames {
        sip_uris: list(sip),
        dns: list(dns),
        common_name: cn.map(Box::from),
        has_san: !sip.is_empty() || !dns.is_empty(),
        ..CertNames::default()
    }
}

const B: Peer = Peer {
    domains: &["b.example"],
    hosts: &[],
    cn: false,
};
const B_HOST: Peer = Peer {
    domains: &["b.example"],
    hosts: &["lcs.b.example"],
    cn: false,
};
const B_CN: Peer = Peer {
    domains: &["b.example"],
    hosts: &["lcs.b.example"],
    cn: true,
};

#[test]
fn a_sip_uri_name_comes_first_and_shuts_dns_names_out() {
    let both = names(&["b.example"], &["other.example"], None);
    assert_eq!(
        judge(&both, &B),
        Ok(Match {
            kind: NameKind::SipUri,
            by: MatchedBy::Domain,
            name: "b.example"
        })
    );
    let other = names(&["other.example"], &["b.example"], None);
    assert_eq!(
        judge(&other, &B),
        Err(NameProblem::DnsBesideSipUri {
            name: "b.example".into()
        })
    );
}

#[test]
fn a_malformed_sip_uri_name_still_shuts_dns_names_out() {
    let mut hostile = names(&[], &["b.example"], None);
    assert!(judge(&hostile, &B).is_ok());
    hostile.dropped.push(DroppedName {
        kind: NameKind::SipUri,
        shown: "sip:b\\0".into(),
        why: "control character",
    });
    assert!(judge(&hostile, &B).is_err());
}

#[test]
fn case_and_a_trailing_dot_do_not_matter() {
    assert!(judge(&names(&[], &["B.Example."], None), &B).is_ok());
    assert!(judge(&names(&[], &["b.example.."], None), &B).is_err());
    assert!(judge(&names(&[], &["xb.example"], None), &B).is_err());
    assert!(judge(&names(&[], &["sub.b.example"], None), &B).is_err());
}

#[test]
fn wildcards_never_match() {
    let wild = names(&[], &["*.example"], None);
    assert_eq!(
        judge(&wild, &B),
        Err(NameProblem::Wildcard {
            name: "*.example".into()
        })
    );
    let literal = Peer {
        domains: &["*.example"],
        hosts: &["*.example"],
        cn: true,
    };
    assert!(judge(&wild, &literal).is_err());
    assert!(!grants(&wild, &literal, "*.example"));
}

#[test]
fn the_common_name_needs_allow_cn_and_no_san_at_all() {
    let only = names(&[], &[], Some("b.example"));
    assert_eq!(
        judge(&only, &B),
        Err(NameProblem::CommonNameOnly {
            name: "b.example".into()
        })
    );
    assert_eq!(judge(&only, &B_CN).map(|m| m.kind), Ok(NameKind::CommonName));
    let mut beside = names(&[], &["evil.example"], Some("b.example"));
    assert!(matches!(
        judge(&beside, &B_CN),
        Err(NameProblem::CommonNameBesideSan { .. })
    ));
    beside.dns.clear();
    assert!(
        judge(&beside, &B_CN).is_err(),
        "an e-mail address alone is a subjectAltName too"
    );
}

#[test]
fn a_host_in_tls_names_stands_for_all_domains_of_the_peer() {
    let host = names(&[], &["lcs.b.example"], None);
    assert!(judge(&host, &B).is_err());
    assert_eq!(judge(&host, &B_HOST).map(|m| m.by), Ok(MatchedBy::Host));
    assert!(grants(&host, &B_HOST, "b.example"));
    assert!(!grants(&host, &B_HOST, "a.example"));
}

#[test]
fn a_certificate_for_one_domain_does_not_speak_for_the_other() {
    let peer = Peer {
        domains: &["b.example", "c.example"],
        hosts: &[],
        cn: false,
    };
    let one = names(&["c.example"], &[], None);
    assert!(judge(&one, &peer).is_ok());
    assert!(grants(&one, &peer, "C.example."));
    assert!(!grants(&one, &peer, "b.example"));
    assert!(
        !grants(&names(&["a.example"], &[], None), &peer, "a.example"),
        "the YAML must grant it too"
    );
}

#[test]
fn an_identity_counts_only_for_peers_it_is_anchored_at() {
    let (a, b) = (PeerId(0), PeerId(1));
    let mut identity = Identity::TlsPeer {
        names: names(&["b.example"], &[], None),
        anchored: vec![a],
        pinned: vec![],
        chain: Arc::from([]),
    };
    assert!(!identity.proves(b, &B), "issued by another peer's authority");
    assert!(!identity.speaks_for(b, &B, "b.example"));
    if let Identity::TlsPeer { anchored, .. } = &mut identity {
        anchored.push(b);
    }
    assert!(identity.proves(b, &B) && identity.speaks_for(b, &B, "b.example"));
    assert!(!Identity::no_tls("plain").proves(b, &B));
}

#[test]
fn an_assumed_peer_speaks_for_its_domains_only() {
    let identity = Identity::assumed(PeerId(1), [Box::from("b.example")]);
    assert!(identity.speaks_for(PeerId(1), &B, "b.example") && identity.carries("b.example"));
    assert!(!identity.speaks_for(PeerId(1), &B, "a.example"));
}

#[test]
fn a_pinned_certificate_needs_no_name() {
    let peer = PeerId(3);
    let identity = Identity::TlsPeer {
        names: names(&[], &[], Some("old box")),
        anchored: vec![peer],
        pinned: vec![peer],
        chain: Arc::from([]),
    };
    assert!(identity.proves(peer, &B) && identity.speaks_for(peer, &B, "b.example"));
    assert!(!identity.speaks_for(peer, &B, "a.example"));
    assert!(!identity.proves(PeerId(4), &B));
}
