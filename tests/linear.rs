//! Reading what is hostile takes time in proportion to its length. Each case is as large as a body may be and, read in
//! quadratic time, would take minutes; what is allowed is a thousand times what it takes.
//!
//! Here and not beside the readers, because they have no clock.

use std::time::Instant;

use trestle::dialect::{Dialect, Format, built_in};
use trestle::im::html::to_text;
use trestle::presence::Document;
use trestle::presence::pidf::NS_TRESTLE;

const ENTITY: &str = "sip:ann@a.example";

fn dialect(name: &str) -> &'static Dialect {
    let found = built_in().iter().find(|d| *d.name == *name);
    found.unwrap_or_else(|| panic!("no dialect {name}"))
}

/// A document of this many declarations on each of so many nested elements, with this inside.
fn declared(deep: usize, wide: usize, inside: &str) -> String {
    let mut out =
        String::from("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:ann@a.example'><tuple id='t'>");
    for level in 0..deep {
        out.push_str("<status");
        for n in 0..wide {
            out.push_str(&format!(" xmlns:p{level}x{n}='u{n}'"));
        }
        out.push('>');
    }
    let tail = "</status>".repeat(deep) + "</tuple></presence>";
    let room = 256 * 1024 - out.len() - tail.len();
    out.push_str(&inside.repeat(room / inside.len()));
    out + &tail
}

#[test]
fn many_namespaces_take_no_time() {
    let own = "<o:out-of-office xmlns:o='urn:trestle:params:xml:ns:presence'/>";
    let own = own.replace("urn:trestle:params:xml:ns:presence", NS_TRESTLE);
    for (deep, inside) in [
        (40, own.as_str()),
        (40, "<q:b/>"),
        (2, own.as_str()),
        (1, "<x xmlns='u'/>"),
    ] {
        let document = declared(deep, 100, inside);
        let began = Instant::now();
        let _ = Document::parse(document.as_bytes());
        let _ = dialect("unified-cm").import(b"application/pidf+xml", ENTITY, document.as_bytes());
        let _ = dialect("lcs2005").export(Format::PidfText, ENTITY, document.as_bytes());
        assert!(began.elapsed().as_secs() < 5, "{deep} {inside}: {:?}", began.elapsed());
    }
}

#[test]
fn what_never_ends_takes_no_longer() {
    let began = Instant::now();
    for unit in ["<a", "<a '>'", "<a'", "<a \">\"", "<style>", "&#", "<!--", "<img alt="] {
        let _ = to_text(&unit.repeat(256 * 1024 / unit.len()));
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
