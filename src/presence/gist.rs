//! The gist of a presence document: what is left of it behind any peer, however little that peer can say.

use core::fmt;

use serde::Serialize;

use super::pidf::{Basic, Document, Kind};

/// What a person is, in the words that every dialect has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gist {
    /// Nothing is known.
    #[default]
    Unknown,
    /// Not there.
    Offline,
    /// There, but not at hand.
    Away,
    /// There.
    Available,
    /// There, and not to be disturbed for whatever reason.
    Busy,
}

const BUSY: [&str; 8] = [
    "busy",
    "on-the-phone",
    "dnd",
    "do-not-disturb",
    "meeting",
    "appointment",
    "presentation",
    "performance",
];
const AWAY: [&str; 9] = [
    "away",
    "idle",
    "breakfast",
    "dinner",
    "lunch",
    "meal",
    "permanent-absence",
    "sleeping",
    "vacation",
];

impl Gist {
    /// The gist of a document: of its persons' activities, else of its tuples', else of its basic status.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let of = |kind| {
            let said = move |words: &[&str]| {
                let mut inside = document.of_kind(kind).flat_map(|e| &e.inside).filter(|i| i.activity);
                inside.any(|i| words.contains(&&*i.name.local))
            };
            match () {
                () if said(&BUSY) => Some(Self::Busy),
                () if said(&AWAY) => Some(Self::Away),
                () => None,
            }
        };
        match (document.basic(), of(Kind::Person).or_else(|| of(Kind::Tuple))) {
            (Some(Basic::Closed), Some(Self::Away) | None) => Self::Offline,
            (_, Some(said)) => said,
            (Some(Basic::Open), None) => Self::Available,
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Gist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Offline => "offline",
            Self::Away => "away",
            Self::Available => "available",
            Self::Busy => "busy",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_kind_of_document() {
        let of = |basic: &str, activity: &str| {
            let basic = match basic {
                "" => String::new(),
                word => format!("<basic>{word}</basic>"),
            };
            let said = match activity {
                "" => String::new(),
                word => format!("<r:activities><r:{word}/></r:activities>"),
            };
            let body = format!(
                "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
                 xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='sip:a@x'><tuple id='t'><status>{basic}</status></tuple>\
                 <dm:person id='p'>{said}</dm:person></presence>"
            );
            Document::parse(body.as_bytes()).map(|d| Gist::of(&d))
        };
        let rows = [
            ("open", "", Gist::Available),
            ("open", "busy", Gist::Busy),
            ("open", "on-the-phone", Gist::Busy),
            ("closed", "busy", Gist::Busy),
            ("open", "away", Gist::Away),
            ("closed", "away", Gist::Offline),
            ("closed", "", Gist::Offline),
            ("", "unknown", Gist::Unknown),
            ("", "", Gist::Unknown),
            ("open", "steering", Gist::Available),
        ];
        for (basic, activity, wanted) in rows {
            assert_eq!(of(basic, activity), Ok(wanted), "{basic} {activity}");
        }
    }
}
