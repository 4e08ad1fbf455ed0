//! What a line at a telephone system says of a person: presence bodies of such a system, reduced to the state of the line.
//!
//! Written for people: a phone that rings is idle, one that is closed without a word says nothing at all (it is not
//! plugged in, or may not be watched), and one that is closed and busy is in use, as publish trunks write it.

use core::fmt;

use super::pidf::{self, Basic, Document, NS_DATA_MODEL, NS_RPID, NS_TRESTLE};
use super::rules::Rules;
use super::xml::escape;
use crate::sip::uri::Aor;

/// The state of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LineState {
    /// Nothing is known: the source does not count.
    #[default]
    Unknown,
    /// Registered and free; ringing as well.
    Idle,
    /// In use.
    OnThePhone,
    /// The phone is set to do-not-disturb.
    Dnd,
}

impl LineState {
    /// Reads the state off a document of the line.
    #[must_use]
    pub fn of(document: &Document, rules: &Rules) -> Self {
        let says = |words: &[&str]| document.activities().any(|a| words.contains(&a));
        if says(&["dnd", "do-not-disturb"]) || rules.says_dnd(document) {
            Self::Dnd
        } else if says(&["on-the-phone", "busy"]) {
            Self::OnThePhone
        } else if document.basic() == Some(Basic::Open) {
            Self::Idle
        } else {
            Self::Unknown
        }
    }

    /// The line as a source of a person's presence: a document about that person.
    #[must_use]
    pub fn render(self, entity: &str, line: &Aor) -> Vec<u8> {
        let activities = match self {
            Self::Unknown | Self::Idle => String::new(),
            Self::OnThePhone => person(line, "<r:on-the-phone/>"),
            Self::Dnd => person(line, &format!("<r:busy/><t:dnd xmlns:t=\"{NS_TRESTLE}\"/>")),
        };
        let basic = match self {
            Self::Unknown => "",
            _ => "<basic>open</basic>",
        };
        format!(
            "{}<tuple id=\"line-{}\"><status>{basic}</status><contact priority=\"0.8\">{}</contact></tuple>\n{activities}\
             </presence>\n",
            pidf::opening(entity),
            id(line),
            escape(&line.to_uri()),
        )
        .into_bytes()
    }
}

fn person(line: &Aor, activities: &str) -> String {
    format!(
        "<dm:person xmlns:dm=\"{NS_DATA_MODEL}\" id=\"line-{}-p\"><r:activities xmlns:r=\"{NS_RPID}\">{activities}\
         </r:activities></dm:person>\n",
        id(line)
    )
}

/// A line's number as it may stand in an id (an `NCName`).
fn id(line: &Aor) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    line.user().chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

impl fmt::Display for LineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Idle => "idle",
            Self::OnThePhone => "on-the-phone",
            Self::Dnd => "dnd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAFT: &str = "urn:ietf:params:xml:ns:pidf:status:rpid";
    const VENDOR: &str = "urn:cisco:params:xml:ns:pidf:rpid";

    fn state(body: &str) -> LineState {
        let document = Document::parse(body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
        LineState::of(&document, &Rules::default())
    }

    /// Each row of what telephone systems say, in each namespace, in the person, in the tuple and in both.
    #[test]
    fn every_way_to_say_it() {
        let rows = [
            ("open", "", LineState::Idle),
            ("open", "on-the-phone", LineState::OnThePhone),
            ("open", "busy", LineState::OnThePhone),
            ("closed", "on-the-phone", LineState::OnThePhone),
            ("closed", "busy", LineState::OnThePhone),
            ("open", "alerting", LineState::Idle),
            ("open", "dnd", LineState::Dnd),
            ("closed", "", LineState::Unknown),
        ];
        for (basic, activity, wanted) in rows {
            for namespace in [NS_RPID, DRAFT, VENDOR] {
                let said = match activity {
                    "" => String::new(),
                    word => format!("<e:activities><e:{word}/></e:activities>"),
                };
                for (person, tuple) in [(&*said, ""), ("", &*said), (&*said, &*said)] {
                    let body = format!(
                        "<presence xmlns='{}' entity='sip:4711@ccm.example' xmlns:e='{namespace}' xmlns:dm='{NS_DATA_MODEL}'>\
                         <dm:person><status><basic>{basic}</basic></status>{person}</dm:person><tuple id='cmp-4711-9'><status>\
                         <basic>{basic}</basic>{tuple}</status></tuple></presence>",
                        pidf::NS_PIDF
                    );
                    assert_eq!(state(&body), wanted, "{body}");
                }
            }
        }
    }

    #[test]
    fn what_is_rendered_reads_back() {
        let line = Aor::new("47<11", "ccm.example");
        for wanted in [
            LineState::Unknown,
            LineState::Idle,
            LineState::OnThePhone,
            LineState::Dnd,
        ] {
            let body = wanted.render("sip:alice@a.example", &line);
            let text = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(state(&text), wanted, "{text}");
            assert!(!text.contains(DRAFT) && !text.contains(VENDOR), "{text}");
        }
    }

    #[test]
    fn a_lost_source_says_nothing() {
        let lost = String::from_utf8_lossy(&pidf::unknown("sip:4711@ccm.example")).into_owned();
        assert_eq!(state(&lost), LineState::Unknown);
    }
}
