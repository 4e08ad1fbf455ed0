//! Composition: what several publications of one presentity say together (RFC 4479 section 3.5).
//!
//! One publication passes unchanged. Of several, all tuples and devices stand side by side under ids of their own; one
//! person is chosen: an explicit do-not-disturb before anything set by hand, that before anything automatic, the newest
//! within a class. The result does not depend on the order of the input.

use super::pidf::{self, Basic, Document, Element, Kind};

/// What marks a publication as set by hand. Data, not code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// RPID classes.
    pub manual_classes: Vec<String>,
    /// Tuple ids; `*` stands for any text.
    pub manual_tuples: Vec<String>,
}

/// One live publication.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The body as published.
    pub body: &'a [u8],
    /// The body read.
    pub document: &'a Document,
    /// Order of publishing: a larger number is newer. Unique.
    pub age: u64,
}

/// The composed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Composed<'a> {
    /// The one publication's own bytes.
    Verbatim(&'a [u8]),
    /// Put together from several.
    Built(Vec<u8>),
}

impl Composed<'_> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Verbatim(bytes) => bytes,
            Self::Built(bytes) => bytes,
        }
    }
}

/// Rank of a publication: higher wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Automatic,
    Manual,
    DoNotDisturb,
}

/// Composes the publications of one presentity; `None` when there are none.
#[must_use]
pub fn compose<'a>(entity: &str, publications: &[Publication<'a>], rules: &Rules) -> Option<Composed<'a>> {
    if let [only] = publications {
        return Some(Composed::Verbatim(only.body));
    }
    let mut sorted: Vec<&Publication<'a>> = publications.iter().collect();
    sorted.sort_by_key(|p| core::cmp::Reverse((class(p.document, rules), p.age)));
    let winner = sorted.first()?;
    let mut out = pidf::opening(entity).into_bytes();
    let mut ids: Vec<String> = Vec::new();
    let manual = class(winner.document, rules) > Class::Automatic;
    for publication in &sorted {
        for element in publication
            .document
            .elements
            .iter()
            .filter(|e| matches!(e.kind, Kind::Tuple))
        {
            put(&mut out, publication, element, &mut ids);
        }
    }
    let person = sorted.iter().find_map(|p| find(p, Kind::Person).map(|e| (p, e)));
    // A manual winner without a person says nothing of activities; an automatic person must not speak in its place.
    if let Some((publication, element)) = person.filter(|(p, _)| !manual || p.age == winner.age) {
        put(&mut out, publication, element, &mut ids);
    }
    for kind in [Kind::Device, Kind::Note, Kind::Foreign] {
        for publication in &sorted {
            for element in publication.document.elements.iter().filter(|e| e.kind == kind) {
                put(&mut out, publication, element, &mut ids);
            }
        }
    }
    out.extend_from_slice(b"</presence>\n");
    Some(Composed::Built(out))
}

fn find<'d>(publication: &Publication<'d>, kind: Kind) -> Option<&'d Element> {
    publication.document.elements.iter().find(|e| e.kind == kind)
}

fn put(out: &mut Vec<u8>, publication: &Publication<'_>, element: &Element, ids: &mut Vec<String>) {
    let id = element.id.as_ref().map(|wanted| {
        let mut id = wanted.clone();
        let mut n = 1;
        while ids.contains(&id) {
            n += 1;
            id = format!("{wanted}-{n}");
        }
        ids.push(id.clone());
        id
    });
    pidf::write_element(out, publication.body, publication.document, element, id.as_deref());
    out.push(b'\n');
}

fn class(document: &Document, rules: &Rules) -> Class {
    let manual = document.elements.iter().any(|e| {
        e.class
            .as_ref()
            .is_some_and(|c| rules.manual_classes.iter().any(|m| m.eq_ignore_ascii_case(c)))
            || (e.kind == Kind::Tuple
                && e.id
                    .as_ref()
                    .is_some_and(|id| rules.manual_tuples.iter().any(|pattern| matches(pattern, id))))
    });
    if document.activities().any(|a| a == "dnd") && document.basic() != Some(Basic::Closed) {
        Class::DoNotDisturb
    } else if manual {
        Class::Manual
    } else {
        Class::Automatic
    }
}

/// A pattern with `*` for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            let Some(rest) = text.strip_prefix(head) else {
                return false;
            };
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| matches(tail, &rest[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::XmlError;
    use proptest::prelude::*;

    fn body(id: &str, basic: &str, activity: &str, class: &str) -> String {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
             xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:a@x'><tuple id='{id}'><status><basic>{basic}</basic></status>\
             <r:class>{class}</r:class><note>n {id}</note></tuple><dm:person id='p'><r:activities><r:{activity}/></r:activities>\
             </dm:person></presence>"
        )
    }

    fn run(bodies: &[String]) -> Result<Vec<u8>, XmlError> {
        let documents = bodies
            .iter()
            .map(|b| Document::parse(b.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let list: Vec<Publication<'_>> = bodies
            .iter()
            .zip(&documents)
            .map(|(b, document)| Publication {
                body: b.as_bytes(),
                document,
                age: u64::from(b.len() as u32),
            })
            .collect();
        let rules = Rules {
            manual_classes: vec!["manual".into()],
            manual_tuples: vec!["hand-*".into()],
        };
        Ok(compose("sip:a@x", &list, &rules)
            .map(|c| c.as_bytes().to_vec())
            .unwrap_or_default())
    }

    #[test]
    fn by_hand_beats_automatic_and_dnd_beats_all() -> Result<(), XmlError> {
        let phone = body("phone", "open", "on-the-phone", "auto");
        let hand = body("hand-1", "open", "away", "auto");
        let dnd = body("d", "open", "dnd", "auto");
        let first = |bytes: &[u8]| Document::parse(bytes).map(|d| d.activities().next().map(str::to_string));
        assert_eq!(first(&run(&[phone.clone(), hand.clone()])?)?.as_deref(), Some("away"));
        assert_eq!(first(&run(&[hand, dnd, phone.clone()])?)?.as_deref(), Some("dnd"));
        assert_eq!(
            run(std::slice::from_ref(&phone))?,
            phone.as_bytes(),
            "one publication passes byte for byte"
        );
        Ok(())
    }

    proptest! {
        #[test]
        fn order_means_nothing_and_the_result_is_sound(
            picks in proptest::collection::vec((0usize..4, 0usize..2, 0usize..4, 0usize..2), 2..6), turn in 0usize..6,
        ) {
            let bodies: Vec<String> = picks.iter().enumerate().map(|(n, (id, basic, act, class))| {
                let pad = " ".repeat(n);
                body(["t", "u", "hand-1", "v"][*id], ["open", "closed"][*basic], ["busy", "away", "dnd", "meal"][*act], ["auto", "manual"][*class]) + &pad
            }).collect();
            // Ages are the lengths; make them unique.
            let bodies: Vec<String> = bodies.iter().enumerate().map(|(n, b)| format!("{b}{}", " ".repeat(100 * n))).collect();
            let mut turned = bodies.clone();
            turned.rotate_left(turn % bodies.len());
            let (a, b) = (run(&bodies).map_err(|e| TestCaseError::fail(e.to_string()))?, run(&turned).map_err(|e| TestCaseError::fail(e.to_string()))?);
            prop_assert_eq!(&a, &b);
            let d = Document::parse(&a).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(d.elements.iter().filter(|e| e.kind == Kind::Person).count() <= 1);
            let mut ids: Vec<_> = d.elements.iter().filter_map(|e| e.id.clone()).collect();
            let n = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), n);
            let dnd = picks.iter().any(|(_, basic, act, _)| *basic == 0 && *act == 2);
            prop_assert!(!dnd || d.activities().next() == Some("dnd"), "do-not-disturb is never weakened");
        }
    }
}
