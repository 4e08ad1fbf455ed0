//! Reads the names of a certificate (RFC 5280 section 4.2.1.6, RFC 5922 section 7.1) into `policy::identity::CertNames`.
//!
//! Judges nothing: which name counts is decided there. A name with control characters (NUL above all) or outside ASCII
//! is dropped and noted, so that no later comparison can be cut short by it.

use core::net::IpAddr;

use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::policy::identity::{CertNames, DroppedName, NameKind};

/// The bytes are no X.509 certificate. Peer fault or a wrong file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a readable X.509 certificate")]
pub struct NotACertificate;

/// The names of a certificate (DER).
///
/// # Errors
/// [`NotACertificate`] when it cannot be parsed or carries two subjectAltName extensions.
pub fn names_of(der: &[u8]) -> Result<CertNames, NotACertificate> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| NotACertificate)?;
    if !rest.is_empty() {
        return Err(NotACertificate);
    }
    let mut names = CertNames::default();
    for extension in certificate.extensions() {
        if extension.oid != x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        if names.has_san {
            return Err(NotACertificate);
        }
        names.has_san = true;
        if let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() {
            san.general_names.iter().for_each(|n| alternative(&mut names, n));
        } else {
            drop_name(
                &mut names,
                NameKind::SipUri,
                extension.value,
                "the subjectAltName cannot be read",
            );
        }
    }
    if let Some(attribute) = certificate.subject().iter_common_name().last() {
        common_name(&mut names, attribute.attr_value().data);
    }
    Ok(names)
}

/// The names of a certificate of which only the common name is known.
#[must_use]
pub fn only_common_name(raw: &[u8]) -> CertNames {
    let mut names = CertNames::default();
    common_name(&mut names, raw);
    names
}

fn common_name(names: &mut CertNames, raw: &[u8]) {
    match clean(raw, b' ') {
        Ok(name) => names.common_name = Some(name),
        Err(why) => drop_name(names, NameKind::CommonName, raw, why),
    }
}

fn alternative(names: &mut CertNames, name: &GeneralName<'_>) {
    match name {
        GeneralName::DNSName(text) => dns(names, text.as_bytes()),
        GeneralName::Invalid(tag, raw) if tag.0 == 2 => dns(names, raw),
        GeneralName::URI(text) => uri(names, text.as_bytes()),
        GeneralName::Invalid(tag, raw) if tag.0 == 6 => uri(names, raw),
        GeneralName::IPAddress(raw) => {
            if let Ok(four) = <[u8; 4]>::try_from(*raw) {
                names.ips.push(IpAddr::from(four));
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(*raw) {
                names.ips.push(IpAddr::from(sixteen));
            }
        }
        _ => {}
    }
}

fn dns(names: &mut CertNames, raw: &[u8]) {
    match clean(raw, b'!') {
        Ok(name) => names.dns.push(name),
        Err(why) => drop_name(names, NameKind::Dns, raw, why),
    }
}

/// Takes the host part of a `sip:` URI without a user part; port, parameters and headers do not matter.
fn uri(names: &mut CertNames, raw: &[u8]) {
    let Some((_, rest)) = raw
        .split_at_checked(4)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"sip:"))
    else {
        return;
    };
    if rest.contains(&b'@') {
        return drop_name(
            names,
            NameKind::User,
            raw,
            "it names a user, not a domain (RFC 5922 section 7.1)",
        );
    }
    let end = rest
        .iter()
        .position(|b| matches!(b, b':' | b';' | b'?' | b'/'))
        .unwrap_or(rest.len());
    match clean(raw, b'!').and_then(|_| clean(rest.get(..end).unwrap_or_default(), b'!')) {
        Ok(host) => names.sip_uris.push(host),
        Err(why) => drop_name(names, NameKind::SipUri, raw, why),
    }
}

/// The name in lower case without a trailing dot, if all of it is ASCII from `lowest` to `~`.
fn clean(raw: &[u8], lowest: u8) -> Result<Box<str>, &'static str> {
    if raw.iter().any(|b| b.is_ascii_control()) {
        return Err("it contains control characters");
    }
    if !raw.iter().all(|b| (lowest..=b'~').contains(b)) {
        return Err("it contains characters that no host name has");
    }
    let text = raw.strip_suffix(b".").unwrap_or(raw).to_ascii_lowercase();
    match String::from_utf8(text) {
        Ok(text) if !text.is_empty() => Ok(text.into()),
        _ => Err("it is empty"),
    }
}

/// Text out of other people's certificates, fit for a terminal or a log line: control and direction characters are
/// replaced.
#[must_use]
pub fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

fn drop_name(names: &mut CertNames, kind: NameKind, raw: &[u8], why: &'static str) {
    let shown = raw
        .iter()
        .take(128)
        .copied()
        .flat_map(core::ascii::escape_default)
        .map(char::from)
        .collect::<String>();
    names.dropped.push(DroppedName {
        kind,
        shown: shown.into(),
        why,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{Ca, Leaf, raw_san};

    fn names(leaf: Leaf) -> CertNames {
        names_of(&Ca::new("ca").issue(leaf).der).unwrap()
    }

    #[test]
    fn takes_sip_hosts_dns_names_addresses_and_the_common_name() {
        let found = names(
            Leaf::new("Host.B.example")
                .dns("B.Example")
                .uri("SIP:b.example:5061;x=y")
                .ip("192.0.2.1"),
        );
        assert_eq!(found.sip_uris, [Box::from("b.example")]);
        assert_eq!(found.dns, [Box::from("b.example")]);
        assert_eq!(found.common_name.as_deref(), Some("host.b.example"));
        assert_eq!(found.ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        assert!(found.has_san && found.dropped.is_empty());
    }

    #[test]
    fn user_uris_and_other_schemes_name_no_domain() {
        let found = names(
            Leaf::new("x")
                .uri("sip:alice@b.example")
                .uri("sips:b.example")
                .uri("https://b.example"),
        );
        assert!(found.sip_uris.is_empty());
        assert_eq!(
            found.dropped.iter().map(|d| d.kind).collect::<Vec<_>>(),
            [NameKind::User]
        );
        assert_eq!(found.identities().0, NameKind::Dns);
    }

    #[test]
    fn a_nul_drops_the_name_and_is_shown_escaped() {
        let found = names(Leaf::new("x").raw(raw_san(&[(2, b"b.example\0.evil.example"), (6, b"sip:b.example\0")])));
        assert!(found.dns.is_empty() && found.sip_uris.is_empty() && found.has_san);
        assert_eq!(&*found.dropped[0].shown, "b.example\\x00.evil.example");
        assert_eq!(found.dropped[1].kind, NameKind::SipUri);
    }

    #[test]
    fn other_alphabets_are_dropped() {
        let found = names(Leaf::new("x").raw(raw_san(&[(2, "ｂ.example".as_bytes()), (2, b"\xff\xfe"), (2, b"")])));
        assert!(found.dns.is_empty());
        assert_eq!(found.dropped.len(), 3);
    }

    #[test]
    fn nothing_printable_steers_a_terminal() {
        assert_eq!(
            printable("CN=a\u{1b}[2J\r\n\u{202e}é"),
            "CN=a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}é"
        );
    }

    #[test]
    fn garbage_is_no_certificate() {
        assert_eq!(names_of(b""), Err(NotACertificate));
        assert_eq!(names_of(b"\x30\x82\xff\xff"), Err(NotACertificate));
        let mut der = Ca::new("ca").issue(Leaf::new("x")).der.to_vec();
        der.push(0);
        assert_eq!(names_of(&der), Err(NotACertificate));
    }
}
