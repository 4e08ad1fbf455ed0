//! Tells an unknown authority from a missing intermediate. Without the intermediate nobody can be certain: an issuer that is
//! named like a relative of one of our anchors speaks for a gap. A link to fetch the issuer from does not, since every
//! public authority writes one; it is passed on as advice.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::finding::Finding;
use super::inspect::View;

/// Words in names of authorities that say nothing about whose they are.
const COMMON: [&str; 22] = [
    "authority",
    "bridge",
    "certificate",
    "certification",
    "class",
    "development",
    "ecdsa",
    "global",
    "intermediate",
    "issuing",
    "issuer",
    "local",
    "organization",
    "policy",
    "primary",
    "private",
    "public",
    "root",
    "secure",
    "server",
    "services",
    "signing",
];

/// Why a chain ends at no anchor of the peer.
pub(super) fn no_path(parsed: &[X509Certificate<'_>], view: &View<'_>) -> Finding {
    let Some(top) = top_of(parsed) else {
        return view.error("unknown-ca", "it sent no certificate", "the peer sends its chain");
    };
    let issuer = top.issuer().to_string();
    let roots: Vec<_> = view
        .anchors()
        .iter()
        .filter_map(|d| Some(X509Certificate::from_der(d).ok()?.1))
        .collect();
    let same_name = roots.iter().any(|r| r.subject().to_string() == issuer);
    let sends_root = top.issuer() == top.subject();
    let link = link_to_issuer(top);
    if let Some(root) = roots.iter().find(|r| are_related(top.issuer(), r.subject()))
        && !same_name
        && !sends_root
    {
        let at = link.map_or(String::new(), |l| format!(" (it is published at {l})"));
        return view.error(
            "missing-intermediate",
            format!(
                "the certificate of {issuer} is missing between what the peer sends and its authority {}{at}",
                root.subject()
            ),
            "the peer appends it to the chain it sends; until then add it to `tls.ca`",
        );
    }
    let known = roots
        .iter()
        .map(|r| r.subject().to_string())
        .collect::<Vec<_>>()
        .join("; ");
    let what = if same_name {
        format!("it was issued by an authority named {issuer}, but not by the one we have under this name")
    } else {
        format!("it was issued by {issuer}, we trust this peer only by {known}")
    };
    let fix = "get the authority's certificate from the peer, check its digest, then `trestle cert import PEER FILE`";
    match link.filter(|_| !sends_root) {
        Some(link) => view.error(
            "unknown-ca",
            what,
            format!("{fix}; if {link} turns out to be issued by one we trust, the peer must send it along instead"),
        ),
        None => view.error("unknown-ca", what, fix),
    }
}

/// The certificate of a chain whose issuer is not in it.
fn top_of<'a, 'b>(parsed: &'a [X509Certificate<'b>]) -> Option<&'a X509Certificate<'b>> {
    let mut top = parsed.first()?;
    for _ in 0..parsed.len() {
        let above = |c: &&X509Certificate<'_>| c.subject() == top.issuer() && c.subject() != top.subject();
        match parsed.iter().find(above) {
            Some(above) => top = above,
            None => break,
        }
    }
    Some(top)
}

/// Where the issuer says its own certificate is (RFC 5280 section 4.2.2.1, caIssuers).
fn link_to_issuer(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => access.iter().find_map(|a| match &a.access_location {
                GeneralName::URI(uri) if a.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2" => {
                    Some((*uri).to_owned())
                }
                _ => None,
            }),
            _ => None,
        })
}

/// Whether two authorities seem to be of one house: the same organisation, or a telling word of their common names.
fn are_related(one: &X509Name<'_>, other: &X509Name<'_>) -> bool {
    let organisation = |n: &X509Name<'_>| n.iter_organization().next().map(|o| o.as_slice().to_ascii_lowercase());
    match (organisation(one), organisation(other)) {
        (Some(one), Some(other)) => one == other,
        _ => {
            let theirs = telling_words(other);
            telling_words(one).iter().any(|w| theirs.contains(w))
        }
    }
}

fn telling_words(name: &X509Name<'_>) -> Vec<String> {
    name.iter_common_name()
        .filter_map(|cn| cn.as_str().ok())
        .flat_map(|cn| cn.split(|c: char| !c.is_alphanumeric()))
        .map(str::to_ascii_lowercase)
        .filter(|w| w.len() >= 4 && !COMMON.contains(&w.as_str()))
        .collect()
}
