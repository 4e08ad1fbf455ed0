//! What is known of the wire, row by row.

use super::*;
use Cell::{
    Available, Away, BeRightBack, Busy, Dnd, Idle, Meeting, Offline, OnThePhone, OutOfOffice, OutToLunch, Unknown,
    Vacation,
};

const PIDF: &str = "application/pidf+xml";
const NS: &str = "xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
                  xmlns:e='urn:ietf:params:xml:ns:pidf:status:rpid' xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' \
                  xmlns:ce='urn:cisco:params:xml:ns:pidf:rpid' xmlns:sc='urn:ietf:params:xml:ns:pidf:servcaps' \
                  xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status'";

fn read(name: &str, media: &str, body: &str) -> State {
    let back = dialect(name).import(media.as_bytes(), ENTITY, body.as_bytes());
    let back = back.unwrap_or_else(|e| panic!("{e:?}\n{body}"));
    sound(&back.pidf);
    for private in ["<e:", "<ce:", "<ep:", "<sc:", "status:rpid\""] {
        assert!(
            !text(&back.pidf).contains(private),
            "{private} goes on: {}",
            text(&back.pidf)
        );
    }
    state_of(&back.pidf)
}

fn pidf(inside: &str) -> String {
    format!("<presence {NS} entity='{ENTITY}'>{inside}</presence>")
}

fn shown(name: &str, format: Format, cell: Cell) -> String {
    let state = State {
        cell,
        ..State::default()
    }
    .normal();
    text(&dialect(name).export(format, ENTITY, &document_of(ENTITY, &state)).body)
}

/// The aggregates as a real client of the time renders them; idle and lunch are told from away, which they are not there.
#[test]
fn aggregates_of_availability_and_activity() {
    let body = |avail: u32, act: u32, state: Option<u32>| {
        let states = state.map_or_else(String::new, |n| {
            format!("<userInfo><states><state avail=\"{n}\"/></states></userInfo>")
        });
        format!(
            "<presentity uri=\"ann@a.example\" xmlns:m=\"http://schemas.microsoft.com/2002/09/sip/presence\"><m:availability \
             m:aggregate=\"{avail}\"/><activity aggregate=\"{act}\"/>{states}</presentity>"
        )
    };
    let table = [
        (0, 400, None, Offline),
        (99, 600, None, Offline),
        (100, 400, None, Available),
        (200, 400, None, Available),
        (300, 400, None, Available),
        (300, 800, None, Available),
        (300, 0, None, Away),
        (300, 100, None, Away),
        (300, 150, None, OutToLunch),
        (300, 200, None, Idle),
        (300, 700, None, Away),
        (300, 300, None, BeRightBack),
        (300, 500, None, OnThePhone),
        (300, 600, None, Busy),
        (300, 400, Some(3500), Available),
        (300, 400, Some(4500), Idle),
        (300, 400, Some(6500), Busy),
        (300, 400, Some(7500), Busy),
        (300, 400, Some(9500), Dnd),
        (300, 400, Some(12500), BeRightBack),
        (300, 400, Some(15500), Away),
        (300, 400, Some(18500), Offline),
        (300, 600, Some(3500), Busy),
        (300, 600, Some(9500), Dnd),
        (4_000_000_000, 999, Some(3500), Available),
    ];
    for (avail, act, state, cell) in table {
        for name in ["lcs2005", "ocs2007"] {
            let got = read(name, "text/xml+msrtc.pidf", &body(avail, act, state));
            assert_eq!(got.cell, cell, "{avail} {act} {state:?}");
        }
    }
    let far = body(300, 400, None)
        .replace("300", "99999999999999999999")
        .replace("400", "-7");
    assert_eq!(read("lcs2005", "text/xml+msrtc.pidf", &far).cell, Available);
}

#[test]
fn what_stands_beside_the_aggregates() {
    let body = "<presentity uri='ann@a.example'><availability aggregate='300'/><activity aggregate='100'/><displayName \
                displayName='Ann'/><userInfo><note>In Rome</note><oof/><states><state avail='15500' set='manual'>away</state>\
                </states></userInfo></presentity>";
    let state = read("lcs2005", "text/xml+msrtc.pidf", body);
    assert_eq!(
        (state.cell, state.manual, state.out_of_office),
        (OutOfOffice, true, true)
    );
    assert_eq!(
        (state.note.as_deref(), state.display_name.as_deref()),
        (Some("In Rome"), Some("Ann"))
    );
}

#[test]
fn numbers_of_2007_and_their_tokens() {
    let body = |number: &str, token: &str| {
        format!(
            "<categories xmlns='http://schemas.microsoft.com/2006/09/sip/categories' uri='{ENTITY}'><category name='state' \
             instance='1'><state xmlns='http://schemas.microsoft.com/2006/09/sip/state' \
             xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='aggregateState'><availability>{number}\
             </availability><activity token='{token}'/></state></category></categories>"
        )
    };
    let table = [
        ("3000", "", Available),
        ("4499", "", Available),
        ("4500", "", Idle),
        ("5999", "", Idle),
        ("6000", "", Busy),
        ("7499", "", Busy),
        ("8999", "", Busy),
        ("9000", "", Dnd),
        ("11999", "", Dnd),
        ("12000", "", BeRightBack),
        ("14999", "", BeRightBack),
        ("15000", "", Away),
        ("17999", "", Away),
        ("18000", "", Offline),
        ("99999999999", "", Offline),
        ("2999", "", Unknown),
        ("-1", "", Unknown),
        ("much", "", Unknown),
        ("6500", "on-the-phone", OnThePhone),
        ("6500", "in-a-conference", OnThePhone),
        ("6500", "in-a-meeting", Meeting),
        ("6500", "in-presentation", Meeting),
        ("6500", "urgent-interruptions-only", Dnd),
        ("6500", "never-heard-of", Busy),
        ("15500", "out-of-office", OutOfOffice),
        ("15500", "off-work", OutOfOffice),
    ];
    for (number, token, cell) in table {
        let state = read(
            "ocs2007",
            "application/msrtc-event-categories+xml",
            &body(number, token),
        );
        assert_eq!(state.cell, cell, "{number} {token}");
    }
    for cell in Cell::ALL {
        let body = shown("ocs2007", Format::Categories, cell);
        let number = body.split("<availability>").nth(1).and_then(|r| r.split('<').next());
        assert!(
            number.and_then(|n| n.parse().ok()).is_some_and(|n: u32| n >= 3000),
            "{body}"
        );
    }
}

#[test]
fn the_text_in_the_status_of_the_first_tuple() {
    let tuple = |basic: &str, word: &str| {
        let activity = match word {
            "" => String::new(),
            word => format!("<ep:activities><ep:activity>{word}</ep:activity></ep:activities>"),
        };
        format!("<tuple id='t'><status><basic>{basic}</basic>{activity}</status></tuple>")
    };
    for (inside, cell) in [
        (tuple("closed", ""), Offline),
        (tuple("open", ""), Available),
        (tuple("open", "active"), Available),
        (tuple("open", "busy"), Busy),
        (tuple("open", "away"), Away),
        (tuple("open", "on-the-phone"), OnThePhone),
        (tuple("open", "idle"), Idle),
        (tuple("open", "do-not-disturb"), Dnd),
        (tuple("closed", "") + &tuple("open", ""), Offline),
        (tuple("open", "") + &tuple("closed", ""), Available),
    ] {
        assert_eq!(read("lcs2005", PIDF, &pidf(&inside)).cell, cell, "{inside}");
    }
}

#[test]
fn both_forms_go_out_in_one_tuple_with_the_right_basic() {
    for (cell, word, element) in [
        (Busy, "busy", "<r:busy/>"),
        (OnThePhone, "busy", "<r:on-the-phone/><r:busy/>"),
        (Dnd, "busy", "<r:other>do-not-disturb</r:other>"),
        (Meeting, "busy", "<r:meeting/><r:busy/>"),
        (OutToLunch, "away", "<r:meal/><r:away/>"),
        (Idle, "away", "<r:user-input>idle</r:user-input>"),
        (BeRightBack, "away", "<r:other>be-right-back</r:other>"),
        (Vacation, "away", "<r:vacation/>"),
        (Available, "active", ""),
    ] {
        let body = shown("lcs2005", Format::PidfText, cell);
        let text = "<basic>open</basic><ep:activities xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\">";
        assert!(body.contains(text), "{body}");
        assert!(
            body.contains(&format!("<ep:activity>{word}</ep:activity>")) && body.contains(element),
            "{body}"
        );
    }
    assert!(!shown("lcs2005", Format::PidfText, Offline).contains("activities"));
    let two = pidf(
        "<tuple id='a'><status><basic>closed</basic></status></tuple><tuple id='b'><status><basic>open</basic></status></tuple>",
    );
    let body = text(&dialect("lcs2005").export(Format::PidfText, ENTITY, two.as_bytes()).body);
    assert!(
        body.matches("<tuple").count() == 1 && body.contains("<basic>open</basic>"),
        "{body}"
    );
}

#[test]
fn rows_of_the_mapping_of_2005() {
    for (cell, avail, act, number) in [
        (Offline, 0, 0, 18500),
        (Available, 300, 400, 3500),
        (Idle, 300, 200, 5000),
        (Away, 300, 100, 15500),
        (OutToLunch, 300, 150, 15500),
        (BeRightBack, 300, 300, 12500),
        (OnThePhone, 300, 500, 6500),
        (Busy, 300, 600, 6500),
        (Dnd, 300, 600, 9500),
        (Meeting, 300, 600, 6500),
        (OutOfOffice, 300, 100, 15500),
        (Vacation, 300, 100, 15500),
    ] {
        let body = shown("lcs2005", Format::Msrtc, cell);
        assert!(body.contains(&format!("<availability aggregate=\"{avail}\"")), "{body}");
        assert!(body.contains(&format!("<activity aggregate=\"{act}\"")), "{body}");
        assert!(body.contains(&format!("avail=\"{number}\"")), "{body}");
        assert_eq!(
            body.contains("<oof/>"),
            matches!(cell, OutOfOffice | Vacation),
            "{body}"
        );
        assert!(body.contains("uri=\"ann@a.example\""), "{body}");
    }
}

/// The precedence of activities that stand together, and what other words come to.
#[test]
fn activities_to_cells() {
    for (words, cell) in [
        ("busy on-the-phone", OnThePhone),
        ("busy away", Busy),
        ("meeting away", Meeting),
        ("appointment", Meeting),
        ("presentation", Meeting),
        ("meal", OutToLunch),
        ("travel", Away),
        ("holiday", Vacation),
        ("sleeping", Away),
        ("in-transit", Away),
        ("other", Away),
        ("unknown", Available),
        ("juggling", Available),
    ] {
        let inside: String = words.split(' ').map(|w| format!("<r:{w}/>")).collect();
        let body = pidf(&format!(
            "<tuple id='a'><status><basic>open</basic></status></tuple><dm:person id='p'><r:activities>{inside}\
             </r:activities></dm:person>"
        ));
        assert_eq!(state_of(body.as_bytes()).cell, cell, "{words}");
        assert_eq!(read("lcs2005", PIDF, &body).cell, cell, "{words}");
    }
}

/// Lines of a telephone system: all namespaces, in the person, in the tuple, in both.
#[test]
fn lines_on_a_trunk() {
    for (basic, word, cell) in [
        ("open", "", Available),
        ("open", "on-the-phone", OnThePhone),
        ("closed", "on-the-phone", OnThePhone),
        ("closed", "busy", OnThePhone),
        ("open", "busy", Busy),
        ("open", "alerting", Available),
        ("open", "dnd", Dnd),
        ("closed", "dnd", Dnd),
        ("closed", "", Unknown),
    ] {
        for prefix in ["e", "r", "ce"] {
            let activities = match word {
                "" => String::new(),
                word => format!("<{prefix}:activities><{prefix}:{word}/></{prefix}:activities>"),
            };
            let status = format!("<status><basic>{basic}</basic>");
            let person = |a: &str| format!("<dm:person>{status}</status>{a}</dm:person>");
            let tuple = |a: &str| {
                format!(
                    "<tuple id='cmp-4711-9'>{status}{a}</status><sc:servcaps><sc:audio>true</sc:audio></sc:servcaps><contact \
                     priority='0.8'>sip:4711@ccm.a.example:5060</contact><timestamp>2026-03-02T08:15:00Z</timestamp></tuple>"
                )
            };
            for inside in [
                person(&activities) + &tuple(""),
                person("") + &tuple(&activities),
                person(&activities) + &tuple(&activities),
                tuple(&activities),
            ] {
                let label = format!("{basic} {word} {prefix}\n{inside}");
                let body = pidf(&inside);
                let state = read("unified-cm", PIDF, &body);
                assert_eq!(state.cell, cell, "{label}");
                assert_eq!(state.capabilities.audio, cell.is_reachable(), "{label}");
                assert_eq!(
                    read("unified-cm", "application/cpim-pidf+xml", &body).cell,
                    cell,
                    "{label}"
                );
                assert_eq!(read("cups", PIDF, &body).cell, cell, "{label}");
            }
        }
    }
}

/// What comes in is never what goes out: neither the drafts' namespaces nor a maker's own.
#[test]
fn quirks_end_at_the_edge() {
    let body = pidf(
        "<dm:person><status><basic>open</basic></status><e:activities><e:on-the-phone/></e:activities></dm:person>\
         <tuple id='cmp-1'><contact priority='0.8'>sip:1@c.example</contact><status><basic>open</basic><e:activities>\
         <e:on-the-phone/></e:activities></status><x:own xmlns:x='urn:own' k='&lt;'>kept</x:own></tuple>",
    );
    let back = dialect("unified-cm")
        .import(PIDF.as_bytes(), ENTITY, body.as_bytes())
        .expect("is read");
    sound(&back.pidf);
    let out = text(&back.pidf);
    assert!(out.contains("k='&lt;'>kept</x:own>"), "{out}");
    assert!(!out.contains("x:own k"), "its namespace is its own: {out}");
    assert!(
        !out.contains("pidf:status:rpid\"><e:") && !out.contains("<e:activities"),
        "{out}"
    );
    assert!(out.contains("<contact priority=\"0.8\">"), "{out}");
    assert!(
        back.why.iter().any(|w| w.what.contains("a person has no id")),
        "{:?}",
        back.why
    );
    let bare =
        format!("<presence entity='{ENTITY}'><tuple id='a'><status><basic>open</basic></status></tuple></presence>");
    assert_eq!(read("cups", PIDF, &bare).cell, Available);
    let inner = format!(
        "<p:presence xmlns:p='urn:ietf:params:xml:ns:pidf' entity='{ENTITY}'><p:tuple id='a'><status><basic>closed</basic>\
         </status></p:tuple></p:presence>"
    );
    assert_eq!(read("sametime75", PIDF, &inner).cell, Offline);
}

#[test]
fn lists_of_a_presence_server() {
    let phone = "<tuple id='cmp-17-3sip:17@c.example'><status><basic>open</basic></status></tuple>";
    let client = |basic: &str, input: &str| {
        format!("<tuple id='cisco-upc'><status><basic>{basic}</basic></status><user-input>{input}</user-input></tuple>")
    };
    let person = |word: &str| format!("<dm:person id='ann'><r:activities><ce:{word}/></r:activities></dm:person>");
    let nobody = "<tuple id='default'><status><basic>closed</basic></status></tuple>";
    for (inside, cell) in [
        (person("available") + phone, Available),
        (person("available") + &client("open", "active") + phone, Available),
        (person("available") + &client("open", "idle") + phone, Idle),
        (person("away") + &client("open", "active"), Away),
        (person("busy") + &client("open", "active"), Busy),
        (person("dnd") + &client("open", "active"), Dnd),
        (person("vacation") + &client("open", "active"), Vacation),
        (person("unavailable") + nobody, Offline),
        (person("unavailable") + phone, Unknown),
        (phone.replace("open", "closed"), Unknown),
    ] {
        assert_eq!(read("cups", PIDF, &pidf(&inside)).cell, cell, "{inside}");
    }
    let mut strict = dialect("cups").clone();
    strict.presence.lone_phone_available = false;
    let body = pidf(phone);
    let back = strict
        .import(PIDF.as_bytes(), ENTITY, body.as_bytes())
        .expect("is read");
    assert_eq!(state_of(&back.pidf).cell, Unknown);
}

#[test]
fn a_gateway_of_the_drafts_says_it_in_the_note() {
    let body = |basic: &str, note: &str| {
        format!(
            "<presence xmlns=\"urn:ietf:params:xml:ns:cpim-pidf\" entity=\"{ENTITY}\"><tuple id=\"i\"><status><basic>{basic}\
             </basic></status><note>{note}</note></tuple></presence>"
        )
    };
    for (basic, note, cell, rest) in [
        ("open", "Away from desk", Away, None),
        ("open", "AWAY - In Rome", Away, Some("In Rome")),
        ("open", "In Rome", Available, Some("In Rome")),
        ("open", "Do not disturb", Dnd, None),
        ("open", "Available - Away", Available, Some("Away")),
        ("closed", "Away", Offline, Some("Away")),
    ] {
        let state = read("sametime-legacy", "application/cpim-pidf+xml", &body(basic, note));
        assert_eq!((state.cell, state.note.as_deref()), (cell, rest), "{note}");
    }
    assert!(shown("sametime-legacy", Format::CpimPidf, Dnd).contains("<note>Do not disturb</note>"));
    assert!(!shown("sametime-legacy", Format::CpimPidf, Dnd).contains("rpid"));
    for (cell, word) in [(Busy, "Busy"), (OnThePhone, "On the phone")] {
        let body = shown("sametime75", Format::Pidf, cell);
        assert!(body.contains(word) && !body.contains("r:busy"), "{body}");
    }
}

#[test]
fn substatus_and_its_doctype() {
    let body = |status: &str, sub: &str| {
        format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">\n\
             <presence><presentity uri=\"{ENTITY};method=SUBSCRIBE\"/><atom id=\"1\"><address uri=\"{ENTITY}\" priority=\"0.2\">\
             <status status=\"closed\"/></address><address uri=\"{ENTITY}\" priority=\"0.8\"><status status=\"{status}\"/>{sub}\
             </address></atom></presence>"
        )
    };
    for (status, sub, cell) in [
        ("open", "<msnsubstatus substatus=\"online\"/>", Available),
        ("open", "<msnsubstatus substatus=\"berightback\"/>", BeRightBack),
        ("inuse", "<msnsubstatus substatus=\"onthephone\"/>", OnThePhone),
        ("inuse", "", Busy),
        ("open", "", Available),
        ("closed", "", Offline),
    ] {
        let state = read("lcs2005", "application/xpidf+xml", &body(status, sub));
        assert_eq!(state.cell, cell, "{status} {sub}");
    }
}
