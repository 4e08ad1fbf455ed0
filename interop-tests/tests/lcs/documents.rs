//! Every type of document it may send, and every range of its numbers, as a plain watcher sees them.

use interop_tests::Outcome;
use interop_tests::agent::Agent;
use interop_tests::emulators::site::{BOB, Setup, Site, sees};
use interop_tests::watch::Watch;

use super::kinds::{live, office};

/// Sends each document in one subscription and waits until it is seen; a plain state between shows that each arrived.
fn sweep(setup: Setup, documents: &[(String, &str, String)]) -> Outcome {
    let site = Site::start(setup)?;
    let mut carol = site.user("carol")?;
    let watch = carol.watch(&format!("sip:{BOB}"), 600)?;
    site.peer.watched(BOB)?;
    let mut before = "offline";
    for (kind, seen, body) in documents {
        let between = [
            ("on-the-phone", "on-the-phone"),
            ("out-to-lunch", "meal"),
            ("idle", "idle"),
        ];
        let other = between.into_iter().find(|(_, w)| w != seen && *w != before);
        let (word, other) = other.ok_or("three is enough")?;
        site.peer.set(BOB, word)?;
        arrives(&site, &mut carol, &watch, other, "a state between")?;
        let bytes = site
            .peer
            .with(|i| i.notify_raw(BOB, kind, body.as_bytes()))
            .ok_or("nobody watches bob")?;
        site.peer.send(&bytes)?;
        arrives(&site, &mut carol, &watch, seen, body)?;
        before = seen;
    }
    site.peer.judge()
}

fn arrives(site: &Site, carol: &mut Agent, watch: &Watch, word: &str, body: &str) -> Outcome {
    sees(carol, watch, word).map_err(|e| site.explain(&format!("{body}: {e}")))?;
    Ok(())
}

fn msrtc(availability: u32, activity: u32, state: Option<u32>) -> String {
    let states = state.map_or(String::new(), |n| {
        format!("<userInfo><states><state avail=\"{n}\" set=\"manual\">x</state></states></userInfo>")
    });
    format!(
        "<presentity xmlns=\"http://schemas.microsoft.com/09/2002/sip/presence\" uri=\"{BOB}\"><availability \
         aggregate=\"{availability}\" description=\"\"/><activity aggregate=\"{activity}\" description=\"\"/>{states}</presentity>"
    )
}

#[test]
fn every_range_of_the_two_aggregates() -> Outcome {
    let cases = [
        (0, 400, None, "offline"),
        (99, 600, None, "offline"),
        (100, 400, None, "available"),
        (200, 400, None, "available"),
        (300, 400, None, "available"),
        (999, 499, None, "available"),
        (300, 800, None, "available"),
        (300, 100, None, "away"),
        (300, 149, None, "away"),
        (300, 150, None, "meal"),
        (300, 200, None, "idle"),
        (300, 299, None, "idle"),
        (300, 300, None, "away"),
        (300, 500, None, "on-the-phone"),
        (300, 600, None, "busy"),
        (300, 699, None, "busy"),
        (300, 700, None, "away"),
        // A state raises what the aggregates say, and never lowers it.
        (300, 400, Some(3500), "available"),
        (300, 400, Some(4500), "idle"),
        (300, 400, Some(6500), "busy"),
        (300, 400, Some(7500), "busy"),
        (300, 400, Some(9500), "dnd"),
        (300, 400, Some(12_500), "away"),
        (300, 400, Some(15_500), "away"),
        (300, 400, Some(18_500), "offline"),
        (300, 600, Some(3500), "busy"),
    ];
    let all: Vec<_> = cases
        .iter()
        .map(|(a, b, s, seen)| ("text/xml+msrtc.pidf".to_string(), *seen, msrtc(*a, *b, *s)))
        .collect();
    sweep(live(), &all)
}

#[test]
fn every_range_of_the_categories() -> Outcome {
    let cases = [
        (3000, "", "available"),
        (4499, "", "available"),
        (4500, "", "idle"),
        (6000, "", "busy"),
        (6500, "on-the-phone", "on-the-phone"),
        (6500, "in-a-meeting", "meeting"),
        (7500, "", "busy"),
        (9000, "", "dnd"),
        (11_999, "", "dnd"),
        (12_000, "", "away"),
        (15_000, "", "away"),
        (18_000, "", "offline"),
        (99_999, "", "offline"),
    ];
    let all: Vec<_> = cases
        .iter()
        .map(|(number, token, seen)| {
            let activity = if token.is_empty() {
                String::new()
            } else {
                format!("<activity token=\"{token}\"/>")
            };
            let body = format!(
                "<categories xmlns=\"http://schemas.microsoft.com/2006/09/sip/categories\" uri=\"sip:{BOB}\"><category \
                 name=\"state\" instance=\"0\"><state xmlns=\"http://schemas.microsoft.com/2006/09/sip/state\">\
                 <availability>{number}</availability>{activity}</state></category></categories>"
            );
            ("application/msrtc-event-categories+xml".to_string(), *seen, body)
        })
        .collect();
    sweep(office(), &all)
}

#[test]
fn xpidf_and_the_text_of_the_first_tuple() -> Outcome {
    let xpidf = |status: &str, sub: &str| {
        format!(
            "<presence><presentity uri=\"sip:{BOB};method=SUBSCRIBE\"/><atom id=\"1001\"><address uri=\"sip:{BOB}\" \
             priority=\"0.800000\"><status status=\"{status}\"/><msnsubstatus substatus=\"{sub}\"/></address></atom></presence>"
        )
    };
    let pidf = |basic: &str, activity: &str, second: &str| {
        format!(
            "<p:presence xmlns:p=\"urn:ietf:params:xml:ns:pidf\" xmlns:ep=\"urn:ietf:params:xml:ns:pidf:status:rpid-status\" \
             entity=\"sip:{BOB}\"><p:tuple id=\"a\"><p:status><p:basic>{basic}</p:basic><ep:activities><ep:activity>{activity}\
             </ep:activity></ep:activities></p:status></p:tuple><p:tuple id=\"b\"><p:status><p:basic>{second}</p:basic>\
             </p:status></p:tuple></p:presence>"
        )
    };
    let (x, p) = ("application/xpidf+xml", "application/pidf+xml; charset=UTF-8");
    let all = [
        (x, "available", xpidf("open", "online")),
        (x, "away", xpidf("inuse", "away")),
        (x, "idle", xpidf("inuse", "idle")),
        (x, "on-the-phone", xpidf("inuse", "onthephone")),
        (x, "meal", xpidf("inuse", "outtolunch")),
        (x, "busy", xpidf("inuse", "busy")),
        (x, "offline", xpidf("closed", "offline")),
        (p, "busy", pidf("open", "busy", "closed")),
        (p, "away", pidf("open", "away", "closed")),
        (p, "available", pidf("open", "active", "closed")),
        (p, "offline", pidf("closed", "busy", "open")),
    ]
    .map(|(kind, seen, body)| (kind.to_string(), seen, body));
    sweep(live(), &all)
}
