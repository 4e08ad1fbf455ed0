//! Who wins, what stays, and that the order of the input means nothing.

use proptest::prelude::*;

use super::*;
use crate::presence::{Mark, XmlError};

fn body(id: &str, basic: &str, activity: &str, class: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:a@x'><tuple id='{id}'><status><basic>{basic}</basic></status>\
         <r:class>{class}</r:class><note>n {id}</note></tuple><dm:person id='p'><r:activities><r:{activity}/></r:activities>\
         </dm:person></presence>"
    )
}

fn rules() -> Rules {
    let class = |class: &str| Mark {
        class: Some(class.into()),
        ..Mark::default()
    };
    let tuple = |tuple: &str| Mark {
        tuple: Some(tuple.into()),
        ..Mark::default()
    };
    let both = Mark {
        class: Some("shown".into()),
        tuple: None,
        dialect: Some("other".into()),
    };
    Rules {
        manual: vec![class("manual"), tuple("hand-*"), both],
        dnd: vec![tuple("quiet-*")],
        dnd_elements: vec!["dnd".into(), "{urn:own}silence".into()],
        ignore_lone_phone: false,
    }
}

/// Composes bodies in the order of their age; a dialect may stand before a body, with a bar behind it.
fn run<T: AsRef<str>>(bodies: &[T]) -> Result<String, XmlError> {
    let split = |b: &T| -> (String, String) {
        match b.as_ref().split_once('|') {
            Some((dialect, body)) => (dialect.into(), body.into()),
            None => ("rfc".into(), b.as_ref().into()),
        }
    };
    let bodies: Vec<(String, String)> = bodies.iter().map(split).collect();
    let documents = bodies
        .iter()
        .map(|(_, b)| Document::parse(b.as_bytes()))
        .collect::<Result<Vec<_>, _>>()?;
    let list: Vec<Publication<'_>> = bodies
        .iter()
        .zip(&documents)
        .enumerate()
        .map(|(n, ((dialect, b), document))| Publication {
            body: b.as_bytes(),
            document,
            age: n as u64,
            dialect,
            phone: None,
        })
        .collect();
    let composed = compose("sip:a@x", &list, &rules()).map(|c| c.as_bytes().to_vec());
    let mut turned = list.clone();
    turned.reverse();
    let again = compose("sip:a@x", &turned, &rules()).map(|c| c.as_bytes().to_vec());
    assert_eq!(composed, again, "the order of the input means something");
    Ok(String::from_utf8_lossy(&composed.unwrap_or_default()).into_owned())
}

fn activities(text: &str) -> Result<Vec<String>, XmlError> {
    Ok(Document::parse(text.as_bytes())?
        .activities()
        .map(str::to_string)
        .collect())
}

#[test]
fn the_table_of_precedence() -> Result<(), XmlError> {
    let phone = body("phone", "open", "on-the-phone", "auto");
    let hand = body("hand-1", "open", "away", "auto");
    let class = body("x", "open", "meeting", "Manual");
    let dnd = body("d", "open", "dnd", "auto");
    let own = body("o", "open", "other", "").replace("<r:other/>", "<s:silence xmlns:s='urn:own'/>");
    let stranger = body("o", "open", "other", "").replace("<r:other/>", "<s:silence xmlns:s='urn:strange'/>");
    let closed_dnd = body("d", "closed", "dnd", "auto");
    let shut = body("laptop", "closed", "sleeping", "auto");
    let table: [(&str, Vec<&str>, &str); 10] = [
        ("by hand over automatic", vec![&hand, &phone], "away"),
        ("by hand through a class, in any case", vec![&class, &phone], "meeting"),
        ("the newest by hand", vec![&hand, &class, &phone], "meeting"),
        ("dnd over by hand", vec![&dnd, &hand, &phone], "dnd"),
        ("dnd also when closed", vec![&closed_dnd, &hand], "dnd"),
        ("dnd by the name of its element", vec![&own, &hand], "silence"),
        ("of that namespace only", vec![&stranger, &hand], "away"),
        (
            "the newest automatic",
            vec![&phone, &body("b", "open", "busy", "")],
            "busy",
        ),
        ("open over closed among automatic", vec![&phone, &shut], "on-the-phone"),
        (
            "closed by hand over all",
            vec![&phone, &shut.replace("auto", "manual")],
            "sleeping",
        ),
    ]
    .map(|(name, list, wanted)| (name, list.into_iter().map(|s| &*s.to_string().leak()).collect(), wanted));
    for (name, bodies, wanted) in table {
        assert_eq!(
            activities(&run(&bodies)?)?.first().map(String::as_str),
            Some(wanted),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn a_dialect_marks_a_publication_where_all_fields_fit() -> Result<(), XmlError> {
    let phone = body("phone", "open", "on-the-phone", "auto");
    let shown = body("s", "open", "away", "shown");
    let first = |bodies: &[&str]| -> Result<String, XmlError> { Ok(activities(&run(bodies)?)?.remove(0)) };
    assert_eq!(first(&[&format!("other|{shown}"), &phone])?, "away");
    assert_eq!(
        first(&[&shown, &phone])?,
        "on-the-phone",
        "published in another dialect"
    );
    assert_eq!(
        first(&[&format!("other|{}", shown.replace("shown", "x")), &phone])?,
        "on-the-phone"
    );
    Ok(())
}

#[test]
fn one_publication_passes_byte_for_byte_and_who_hides_by_hand_shows_nothing_else() -> Result<(), XmlError> {
    let phone = body("phone", "open", "on-the-phone", "auto");
    let hidden = body("hand-1", "closed", "away", "");
    assert_eq!(run(std::slice::from_ref(&phone))?, phone);
    assert_eq!(run(&[&hidden, &phone])?, hidden);
    Ok(())
}

#[test]
fn a_publication_that_is_marked_dnd_says_so_to_everybody() -> Result<(), XmlError> {
    let quiet = body("quiet-1", "open", "away", "auto").replace("</dm:person>", "<dm:note>shh</dm:note></dm:person>");
    for bodies in [
        vec![quiet.clone()],
        vec![quiet, body("phone", "open", "meeting", "manual")],
    ] {
        let text = run(&bodies)?;
        assert_eq!(activities(&text)?, ["busy", "dnd"]);
        assert!(text.contains("shh"));
    }
    Ok(())
}

#[test]
fn tuples_that_must_be_understood_and_are_not_pass_without_conclusions() -> Result<(), XmlError> {
    let opaque = body("hand-1", "open", "busy", "manual").replace(
        "<note>n hand-1</note>",
        "<x:odd xmlns:x='urn:x' mustUnderstand='1'/><note>n</note>",
    );
    let document = Document::parse(opaque.as_bytes())?;
    assert_eq!(document.basic(), None);
    let text = run(&[&opaque, &body("t", "closed", "away", "")])?;
    assert!(text.contains("<x:odd xmlns:x='urn:x' mustUnderstand='1'/>"));
    assert_eq!(Document::parse(text.as_bytes())?.basic(), Some(Basic::Closed));
    // What is understood may be marked without harm.
    let known = body("t", "open", "busy", "a").replace("<r:class>", "<r:class mustUnderstand='true'>");
    assert_eq!(Document::parse(known.as_bytes())?.basic(), Some(Basic::Open));
    Ok(())
}

#[test]
fn foreign_xml_of_all_is_kept_and_what_is_the_same_stands_once() -> Result<(), XmlError> {
    let with = |text: &str, own: &str| {
        text.replace(
            "</dm:person>",
            &format!("<x:{own} xmlns:x='urn:x'/><dm:note>{own}</dm:note></dm:person><note>same</note>"),
        )
        .replace("</presence>", "<y:root xmlns:y='urn:y'/></presence>")
    };
    let (old, new) = (body("a", "open", "away", ""), body("b", "open", "busy", ""));
    let automatic = run(&[with(&old, "one"), with(&new, "two")])?;
    for text in [
        "<x:one ",
        "<x:two ",
        "<dm:note",
        "one</dm:note>",
        "two</dm:note>",
        "<tuple",
        "n a",
        "n b",
    ] {
        assert!(automatic.contains(text), "{text} in {automatic}");
    }
    assert_eq!(activities(&automatic)?, ["busy"]);
    assert_eq!(automatic.matches("<y:root").count(), 1);
    assert_eq!(automatic.matches(">same<").count(), 1);
    // Beside a state by hand, others keep their foreign XML and not their word.
    let hand = run(&[with(&old.replace("'a'", "'hand-1'"), "one"), with(&new, "two")])?;
    assert!(hand.contains("<x:two ") && !hand.contains("two</dm:note>"), "{hand}");
    let no_person = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@x'><tuple id='hand-2'><status><basic>open\
                     </basic></status></tuple></presence>";
    assert_eq!(
        activities(&run(&[no_person, &new])?)?,
        [""; 0],
        "nobody speaks in its place"
    );
    // PIDF wants notes behind tuples and before everything else.
    let (tuple, note) = (automatic.rfind("</tuple>"), automatic.find("<note"));
    let last = automatic.rfind("<note");
    assert!(
        note.is_some() && last < automatic.find("<dm:person") && tuple < last,
        "{automatic}"
    );
    Ok(())
}

#[test]
fn prefixes_mean_what_they_are_declared_to() -> Result<(), XmlError> {
    let odd = "<pr:presence xmlns:pr='urn:ietf:params:xml:ns:pidf' xmlns='urn:other' entity='sip:a@x'><tuple id='no'>\
               <basic>open</basic></tuple><pr:tuple id='yes'><pr:status><pr:basic>closed</pr:basic></pr:status></pr:tuple>\
               </pr:presence>";
    let document = Document::parse(odd.as_bytes())?;
    assert_eq!(document.of_kind(Kind::Foreign).count(), 1);
    assert_eq!(document.basic(), Some(Basic::Closed));
    let stranger =
        body("a", "open", "busy", "").replace("xmlns:r='urn:ietf:params:xml:ns:pidf:rpid'", "xmlns:r='urn:x'");
    assert_eq!(activities(&stranger)?, [""; 0], "a stranger's activities are not RPID");
    assert!(Document::parse(b"<p:presence xmlns:q='urn:ietf:params:xml:ns:pidf' entity='sip:a@x'/>").is_err());
    let renamed = run(&[odd, &odd.replace("id='yes'", "uid='yes' id = \"yes\"")])?;
    assert!(
        renamed.contains("uid='yes' id = \"yes-2\"") || renamed.contains("uid='yes' id = \"yes\""),
        "{renamed}"
    );
    assert_eq!(Document::parse(renamed.as_bytes())?.of_kind(Kind::Tuple).count(), 2);
    Ok(())
}

#[test]
fn namespaces_cannot_blow_a_document_up() {
    let many: String = (0..120)
        .map(|n| format!(" xmlns:p{n}='urn:{}'", "x".repeat(100)))
        .collect();
    let tuples: String = (0..1000)
        .map(|n| format!("<tuple id='{n}'><status/></tuple>"))
        .collect();
    let text = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@x'{many}>{tuples}</presence>");
    assert_eq!(
        Document::parse(text.as_bytes()).map(drop).map_err(|e| e.status),
        Err(413)
    );
}

proptest! {
    #[test]
    fn order_means_nothing_and_the_result_is_sound(
        picks in proptest::collection::vec((0usize..5, 0usize..2, 0usize..4, 0usize..2), 2..6),
    ) {
        let bodies: Vec<String> = picks.iter().map(|(id, basic, act, class)| {
            body(["t", "u", "hand-1", "v", "quiet-1"][*id], ["open", "closed"][*basic], ["busy", "away", "dnd", "meal"][*act], ["auto", "manual"][*class])
        }).collect();
        let text = run(&bodies).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let d = Document::parse(text.as_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert!(d.of_kind(Kind::Person).count() <= 1);
        let mut ids: Vec<_> = d.elements.iter().filter_map(|e| e.id.clone()).collect();
        let n = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), n);
        let dnd = picks.iter().any(|(id, _, act, _)| *act == 2 || *id == 4);
        prop_assert!(!dnd || d.activities().any(|a| a == "dnd"), "do-not-disturb is never weakened");
    }
}
