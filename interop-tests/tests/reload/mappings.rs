//! A mapping file that is changed while the bridge runs.

use std::path::Path;
use std::time::Duration;

use interop_tests::Outcome;
use interop_tests::agent::PATIENCE;
use interop_tests::emulators::bodies::pidf;
use interop_tests::net::Family;
use interop_tests::trestle::Trestle;
use interop_tests::wire::Request;

use super::site::Site;

const ALICE: &str = "sip:alice@a.example";
const QUIET: Duration = Duration::from_millis(500);

/// A dialect of our own, whose old text for a meeting is this.
fn write(dir: &Path, meeting: &str) -> Outcome {
    let text = format!(
        "about: Ours\nextends: lcs2005\npresence:\n  tables:\n    pidf-text:\n      write:\n        \
         meeting: {{ basic: open, activities: [meeting, busy], text: {meeting} }}\n"
    );
    std::fs::create_dir_all(dir.join("mappings"))?;
    Ok(std::fs::write(dir.join("mappings/ours.yaml"), text)?)
}

/// Whoever sees a dialect that has changed sees the new rendering at once; others hear nothing. A file that is wrong
/// changes nothing.
#[test]
fn a_changed_mapping_is_shown_to_those_who_see_it() -> Outcome {
    let rest = |b: &super::site::Far, c: &super::site::Far| {
        format!(
            "mappings: {{ dir: mappings }}\nnotify: {{ min_interval: 0s }}\npeers:\n{}{}",
            b.settings("    dialect: ours\n"),
            c.settings("")
        )
    };
    let site = Site::start_by(Family::V4, rest, |dir, ports| {
        write(dir, "busy")?;
        Trestle::start(dir, ports)
    })?;
    let (mut bob, mut carl, mut alice) = (site.bob()?, site.carl()?, site.user("alice")?);
    let body = pidf("alice@a.example", "open", "<r:meeting/>", "", "");
    let publish = Request::new("PUBLISH", ALICE)
        .with("Event", "presence")
        .body("application/pidf+xml", body);
    assert_eq!(alice.ask(&publish)?.status(), 200);
    let theirs = bob.watch(ALICE, 600)?;
    bob.notified(&theirs, "active", ">busy<")?;
    let plain = carl.watch(ALICE, 600)?;
    carl.notified(&plain, "active", "meeting")?;

    write(site.dir(), "in-a-meeting")?;
    let plan = site.reload()?;
    assert!(plan.contains("ours"), "{plan}");
    bob.notified(&theirs, "active", ">in-a-meeting<")?;
    carl.expect_none("NOTIFY for a plain watcher", QUIET, |m| plain.owns(m))?;

    // A file that is wrong is refused with its place, and what was shown stays.
    write(site.dir(), "[]")?;
    let problem = site.refused()?;
    assert!(problem.contains("ours.yaml:"), "{problem}");
    bob.expect_none("NOTIFY of a bad file", QUIET, |m| theirs.owns(m))?;
    write(site.dir(), "busy")?;
    assert!(site.reload()?.contains("ours"));
    bob.expect("the old rendering", PATIENCE, |m| {
        theirs.owns(m) && m.text().contains(">busy<")
    })?;
    Ok(())
}
