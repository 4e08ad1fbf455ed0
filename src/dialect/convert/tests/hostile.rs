//! What nobody should send.

use proptest::prelude::*;

use super::*;

fn fate(name: &str, media: &str, body: &[u8]) -> (u16, String) {
    match dialect(name).import(media.as_bytes(), ENTITY, body) {
        Ok(read) => (200, text(&read.pidf)),
        Err(e) => (e.status, e.what.into()),
    }
}

#[test]
fn a_body_that_is_something_else_is_named() {
    let msrtc = b"<presentity uri='a@b'><availability aggregate='300'/></presentity>";
    let pidf =
        b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'><tuple id='a'><status/></tuple></presence>";
    for (name, media, body, status, says) in [
        (
            "lcs2005",
            "application/pidf+xml",
            &msrtc[..],
            400,
            "says it is application/pidf+xml and holds a presentity",
        ),
        (
            "lcs2005",
            "text/xml+msrtc.pidf",
            pidf,
            400,
            "says it is text/xml+msrtc.pidf and holds PIDF",
        ),
        (
            "ocs2007",
            "application/msrtc-event-categories+xml",
            msrtc,
            400,
            "holds a presentity as in msrtc.pidf",
        ),
        (
            "lcs2005",
            "application/xpidf+xml",
            b"<html/>",
            400,
            "holds no presence document that is known",
        ),
        ("lcs2005", "application/pidf+xml", b"  ", 400, "the body is empty"),
        (
            "unified-cm",
            "text/xml+msrtc.pidf",
            msrtc,
            415,
            "a peer of dialect unified-cm sends no presence as",
        ),
        ("rfc", "text/plain", b"hello", 415, "`text/plain`"),
        ("lcs2005", "application/pidf+xml", b"{\"a\":1}", 400, ""),
    ] {
        let (got, what) = fate(name, media, body);
        assert!(got == status && what.contains(says), "{name} {media}: {got} {what}");
    }
    let evil = b"<!DOCTYPE presence [<!ENTITY a 'b'>]><presence><presentity uri='x'/>&a;</presence>";
    assert_eq!(fate("lcs2005", "application/xpidf+xml", evil).0, 400);
    assert_eq!(fate("lcs2005", "application/pidf+xml", &vec![b'x'; 300_000]).0, 413);
}

/// What passes untouched is what a strict reader takes.
#[test]
fn a_root_without_entity_is_written_anew_and_control_characters_are_refused() {
    let body = |root: &str| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf'{root}><tuple id='a'><status><basic>open</basic></status></tuple></presence>"
        )
    };
    for name in ["lcs2005", "cups", "sametime75"] {
        let (status, pidf) = fate(name, "application/pidf+xml", body("").as_bytes());
        assert_eq!(status, 200, "{pidf}");
        sound(pidf.as_bytes());
        assert!(
            pidf.contains(ENTITY) && state_of(pidf.as_bytes()).cell == Cell::Available,
            "{pidf}"
        );
        let (status, what) = fate(name, "application/pidf+xml", body(" a\u{0}b='c'").as_bytes());
        assert!(
            status == 400 && what.contains("a character that XML cannot hold"),
            "{what}"
        );
    }
}

#[test]
fn ten_thousand_tuples() {
    let body = |tuple: &str| {
        let all = tuple.repeat(10_000);
        format!("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{ENTITY}'>{all}</presence>")
    };
    let short = body("<tuple id='a'/>");
    for name in ["lcs2005", "cups", "sametime75"] {
        let (status, pidf) = fate(name, "application/pidf+xml", short.as_bytes());
        assert_eq!(status, 200, "{pidf}");
        sound(pidf.as_bytes());
        assert!(pidf.len() < 32 * 1024 && state_of(pidf.as_bytes()).cell == Cell::Unknown);
    }
    let long = body("<tuple id='a'><status><basic>open</basic></status></tuple>");
    assert!(matches!(
        fate("cups", "application/pidf+xml", long.as_bytes()).0,
        400 | 413
    ));
}

#[test]
fn unknown_activities_and_foreign_xml_go_on_where_the_form_has_room() {
    let body = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' xmlns:y='urn:y' entity='{ENTITY}'><tuple id='a'><status><basic>open</basic>\
         </status><y:deep><y:er k='1'/></y:deep></tuple><dm:person id='p'><r:activities><r:busy/><r:tv/><y:juggling/>\
         </r:activities><r:mood><r:happy/></r:mood><y:here/></dm:person><dm:device id='d'><dm:deviceID>urn:x:1</dm:deviceID>\
         </dm:device><y:root/></presence>"
    );
    for (name, format) in [("lcs2005", Format::PidfText), ("sametime75", Format::Pidf)] {
        let out = dialect(name).export(format, ENTITY, body.as_bytes());
        let out = text(&out.body);
        for kept in [
            "juggling",
            "<r:tv/>",
            "<y:er k='1'/>",
            "<r:happy/>",
            "<y:here",
            "urn:x:1",
            "<y:root",
        ] {
            assert!(out.contains(kept), "{name}: {kept} is lost\n{out}");
        }
        let back = dialect(name)
            .import(b"application/pidf+xml", ENTITY, out.as_bytes())
            .expect("is read");
        sound(&back.pidf);
        assert!(text(&back.pidf).contains("juggling") && state_of(&back.pidf).cell == Cell::Busy);
    }
    let rfc = dialect("rfc").export(Format::Pidf, ENTITY, body.as_bytes());
    assert!(matches!(rfc.body, Cow::Borrowed(_)));
    let cups = dialect("cups").export(Format::CpimPidf, ENTITY, body.as_bytes());
    assert!(
        matches!(cups.body, Cow::Borrowed(_)),
        "what needs no change is not written anew"
    );
}

#[test]
fn a_form_that_is_not_written_becomes_pidf_and_what_cannot_be_read_is_unknown() {
    let out = dialect("unified-cm").export(Format::Msrtc, ENTITY, b"");
    assert_eq!(out.media, "application/pidf+xml");
    let out = dialect("lcs2005").export(Format::Msrtc, ENTITY, b"rubbish");
    assert!(text(&out.body).contains("<availability aggregate=\"0\""));
}

fn any_state() -> impl Strategy<Value = State> {
    let texts = (
        any::<String>(),
        any::<Option<String>>(),
        any::<bool>(),
        0..Cell::ALL.len(),
    );
    texts.prop_map(|(note, display_name, manual, cell)| {
        State {
            cell: Cell::ALL[cell],
            manual,
            note: Some(note),
            display_name,
            ..State::default()
        }
        .normal()
    })
}

const WORDS: &str = "[a-z][a-z-]{0,11}|busy|away|dnd|meal|on-the-phone|other|unknown|vacation";
const NAMESPACES: [&str; 4] = [
    "urn:ietf:params:xml:ns:pidf:rpid",
    "urn:ietf:params:xml:ns:pidf:status:rpid",
    "urn:cisco:params:xml:ns:pidf:rpid",
    "urn:own",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_comes_back(state in any_state(), words in "(Away|Busy|Available|Do not disturb|-| - |x| ){0,6}") {
        for note in [state.note.clone(), Some(words)] {
            let state = State { note, ..state.clone() }.normal();
            let document = document_of(ENTITY, &state);
            prop_assert_eq!(&state_of(&document), &state);
            for (dialect, format, table) in forms() {
                let back = through(dialect, format, &document);
                prop_assert_eq!(state_of(&back), table.nearest(&state), "{} {:?}", dialect.name, format);
            }
        }
    }

    #[test]
    fn any_activities_are_read_and_written_soundly(
        words in proptest::collection::vec(WORDS, 0..6),
        open in any::<bool>(),
        ns in 0..NAMESPACES.len(),
    ) {
        let inside: String = words.iter().map(|w| format!("<q:{w}/>")).collect();
        let basic = if open { "open" } else { "closed" };
        let body = format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{ENTITY}'><tuple id='a'><status><basic>{basic}</basic>\
             </status></tuple><dm:person xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' id='p'><r:activities \
             xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' xmlns:q='{}'>{inside}</r:activities></dm:person></presence>",
            NAMESPACES[ns]
        );
        let hidden = words.iter().any(|w| w == "unavailable" || w == "invisible");
        for (dialect, format, _) in forms() {
            if let Ok(read) = dialect.import(format.media_type().as_bytes(), ENTITY, body.as_bytes()) {
                let state = state_of(&read.pidf);
                prop_assert!(!open || hidden || state.cell != Cell::Offline);
                let out = through(dialect, format, &read.pidf);
                let again = through(dialect, format, &out);
                prop_assert_eq!(state_of(&again), state_of(&out));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (dialect, format, _) in forms() {
            if let Err(e) = dialect.import(format.media_type().as_bytes(), ENTITY, &body) {
                prop_assert!(matches!(e.status, 400 | 413 | 415));
            }
            let shown = dialect.export(format, ENTITY, &body);
            prop_assert!(!shown.media.is_empty());
        }
    }
}

/// Whom a document names decides what becomes of it: the same user in other words is written in ours, another is refused.
#[test]
fn a_document_is_about_whom_it_is_for() {
    let pidf = |entity: &str| {
        format!(
            "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='{entity}'><tuple id='t'><status><basic>open</basic>\
             </status></tuple></presence>"
        )
    };
    let msrtc = |uri: &str| {
        format!("<presentity uri='{uri}'><availability aggregate='300'/><activity aggregate='400'/></presentity>")
    };
    let xpidf = |uri: &str| {
        format!(
            "<presence><presentity uri='{uri};method=SUBSCRIBE'/><atom id='1'><address uri='{uri}' priority='0.8'>\
             <status status='open'/></address></atom></presence>"
        )
    };
    let categories =
        |uri: &str| format!("<categories xmlns='http://schemas.microsoft.com/2006/09/sip/categories' uri='{uri}'/>");
    let (user, host) = ENTITY.trim_start_matches("sip:").split_once('@').unwrap_or_default();
    let same = [
        ENTITY.to_owned(),
        format!("{user}@{host}"),
        format!("pres:{user}@{host}"),
        format!("SIP:{}@{}:5061;transport=tcp", user.to_uppercase(), host.to_uppercase()),
        String::new(),
    ];
    let other = [
        format!("sip:mallory@{host}"),
        format!("pres:{user}@elsewhere.example"),
        format!("mallory@{host}"),
        "tel:+4930123456".to_owned(),
    ];
    type Form<'f> = (&'static str, &'f dyn Fn(&str) -> String, &'static str);
    let forms: [Form<'_>; 4] = [
        ("lcs2005", &pidf, "application/pidf+xml"),
        ("lcs2005", &msrtc, "text/xml+msrtc.pidf"),
        ("lcs2005", &xpidf, "application/xpidf+xml"),
        ("ocs2007", &categories, "application/msrtc-event-categories+xml"),
    ];
    for (name, body, media) in forms {
        for written in &same {
            let body = body(written);
            match dialect(name).import(media.as_bytes(), ENTITY, body.as_bytes()) {
                Ok(read) => assert!(
                    text(&read.pidf).contains(&format!("entity=\"{ENTITY}\"")) || written == ENTITY,
                    "{body}"
                ),
                Err(e) => panic!("{body}: {e:?}"),
            }
        }
        for written in &other {
            let body = body(written);
            assert_eq!(fate(name, media, body.as_bytes()).0, 400, "{written} as {media}");
            let read = dialect(name).import_whoever(media.as_bytes(), ENTITY, body.as_bytes());
            assert!(read.is_ok_and(|r| r.named.is_some_and(|n| n.starts_with(written.as_str()))));
        }
    }
    // A line is its number, at whatever host of the cluster.
    let elsewhere = pidf(&format!("sip:{user}@node7.invalid"));
    let media = b"application/pidf+xml";
    assert!(
        dialect("unified-cm")
            .import(media, ENTITY, elsewhere.as_bytes())
            .is_ok()
    );
    assert!(
        dialect("unified-cm")
            .import(media, ENTITY, pidf(&format!("sip:4712@{host}")).as_bytes())
            .is_err()
    );
    assert!(dialect("cups").import(media, ENTITY, elsewhere.as_bytes()).is_err());
    assert!(
        dialect("unified-cm")
            .import(media, "sip:4711@b.example", pidf("tel:4711").as_bytes())
            .is_ok()
    );
}

#[test]
fn a_document_does_not_grow_on_its_way() {
    let long = "u".repeat(150 * 1024);
    let words: String = (0..40).map(|n| format!("<a:w{n}/>")).collect();
    let activities = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:a='{long}' entity='sip:ann@a.example'><tuple id='t'><status>\
         <basic>open</basic></status></tuple><dm:person id='p' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'>\
         <r:activities xmlns:r='urn:ietf:params:xml:ns:pidf:rpid'>{words}</r:activities></dm:person></presence>"
    );
    let tuples: String = (0..64).map(|n| format!("<tuple id='t{n}'><status/></tuple>")).collect();
    let noted = format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:ann@a.example'>{tuples}<note>{}</note></presence>",
        "&amp;".repeat(8000)
    );
    for document in [activities, noted] {
        for (dialect, format, _) in forms() {
            let shown = dialect.export(format, ENTITY, document.as_bytes());
            assert!(
                shown.body.len() < 512 * 1024,
                "{} {format:?}: {}",
                dialect.name,
                shown.body.len()
            );
        }
        for dialect in built_in() {
            if let Ok(imported) = dialect.import(b"application/pidf+xml", ENTITY, document.as_bytes()) {
                assert!(
                    imported.pidf.len() < 512 * 1024,
                    "{}: {}",
                    dialect.name,
                    imported.pidf.len()
                );
            }
        }
    }
}
