//! What is told of content types.

use clap::Parser as _;

use super::super::explain;
use super::super::tests::Cli;

const CONFIG: &str = "\
domains: [a.example]
users: [{aor: alice@a.example, password: {plain: x}}]
peers:
  - {name: lcs, domains: [b.example], transport: tcp, addresses: [192.0.2.1], dialect: lcs2005, publishes: [alice@a.example]}
  - {name: old, domains: [c.example], transport: tcp, addresses: [192.0.2.2], dialect: sametime-legacy}
  - {name: ucm, domains: [d.example], transport: tcp, addresses: [192.0.2.3], dialect: unified-cm, publishes: [alice@a.example]}
";

fn ask(words: &str, more: &[&str]) -> String {
    let snapshot = crate::config::tests::snapshot(CONFIG);
    let words = words.split(' ').chain(more.iter().copied());
    let args = Cli::try_parse_from(core::iter::once("explain").chain(words)).expect("a question");
    let (text, _) = explain(&snapshot, &args.args).expect("an answer");
    text.split_once("\n\n")
        .map_or(text.clone(), |(_, rest)| rest.to_owned())
}

/// Each line that is said names a line of a mapping file which really says it.
fn lines_are_right(text: &str) {
    let mut seen = 0;
    for word in text.split_whitespace().filter(|w| w.starts_with("mappings/")) {
        let Some((file, line)) = word.split_once(':') else {
            continue;
        };
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let whole = std::fs::read_to_string(path).expect("a mapping file");
        let line: usize = line.parse().expect("a number");
        let found = whole.lines().nth(line - 1).unwrap_or_default();
        let keys = ["formats:", "verbatim:", "mode:", "accept:", "cpim:", "{ is:", ": {"];
        assert!(keys.iter().any(|k| found.contains(k)), "{word}: {found}");
        seen += 1;
    }
    assert!(seen > 0, "no line is named:\n{text}");
}

#[test]
fn a_watcher_hears_which_accept_and_which_line_decided() {
    let lcs = "--from sip:bob@b.example --to sip:alice@a.example --peer lcs --method SUBSCRIBE --event presence";
    let accepts = [
        "--accept",
        "text/plain",
        "--accept",
        "application/xpidf+xml, text/xml+msrtc.pidf",
    ];
    let text = ask(lcs, &accepts);
    assert!(
        text.contains("notify  text/xml+msrtc.pidf  mappings/lcs2005.yaml:")
            && text
                .contains("format msrtc of lcs2005: the first that is liked best, by Accept line 2 `application/xpidf"),
        "{text}"
    );
    lines_are_right(&text);
    let less = ask(
        lcs,
        &["--accept", "application/xpidf+xml;q=0.5, application/pidf+xml;q=0.25"],
    );
    assert!(
        less.contains("notify  application/xpidf+xml") && less.contains("q=0.500"),
        "{less}"
    );
    let none = ask(lcs, &["--accept", "application/nothing"]);
    assert!(
        none.contains("406 Not Acceptable") && none.contains("no Accept line takes"),
        "{none}"
    );
    let plain = ask(lcs, &[]);
    assert!(plain.contains("without Accept it is PIDF"), "{plain}");
}

#[test]
fn a_user_hears_what_a_peer_is_asked() {
    let text = ask(
        "--from sip:alice@a.example --user alice@a.example --method SUBSCRIBE --event presence --to sip:bob@b.example",
        &["--accept", "application/pidf+xml"],
    );
    assert!(
        text.contains("ask     text/xml+msrtc.pidf, application/pidf+xml, application/xpidf+xml")
            && text.contains("notify  application/pidf+xml")
            && text.contains("format pidf of rfc"),
        "{text}"
    );
    lines_are_right(&text);
}

#[test]
fn a_message_says_its_way_and_its_type() {
    let alice = "--from sip:alice@a.example --user alice@a.example --method MESSAGE";
    let html = ["--content-type", "text/html"];
    for (to, more, wanted) in [
        (
            "bob@b.example",
            &html[..],
            &[
                "way      session",
                "peer lcs speaks lcs2005; refused with 405",
                "message  text/html",
            ][..],
        ),
        (
            "bob@c.example",
            &html,
            &[
                "way      pager",
                "message  message/cpim",
                "sametime-legacy wraps messages",
            ],
        ),
        (
            "bob@d.example",
            &html,
            &[
                "way      pager",
                "message  text/plain",
                "unified-cm does not show text/html: reduced",
            ],
        ),
        (
            "bob@d.example",
            &["--content-type", "image/png"],
            &["message  415", "holds no text"],
        ),
        (
            "bob@c.example",
            &["--content-type", "message/cpim"],
            &["message  message/cpim"],
        ),
    ] {
        let text = ask(&format!("{alice} --to sip:{to}"), more);
        for part in wanted {
            assert!(text.contains(part), "{to} {more:?}: no {part:?} in\n{text}");
        }
        if !text.contains("415") {
            lines_are_right(&text);
        }
    }
    let alike = ask(&format!("{alice} --to sip:alice@a.example"), &html);
    assert!(
        alike.contains("pager, text/html") && alike.contains("passes as it is: the sender speaks rfc"),
        "{alike}"
    );
}

#[test]
fn a_body_is_read_and_its_lines_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_string_lossy().into_owned();
    let document = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@a.example\"><tuple id=\"cmp-1\"><status>\
        <basic>closed</basic><e:activities xmlns:e=\"urn:ietf:params:xml:ns:pidf:status:rpid\"><e:busy/></e:activities></status>\
        </tuple></presence>";
    std::fs::write(&path, document).expect("written");
    let words =
        "--from sip:4711@d.example --to sip:alice@a.example --peer ucm --method PUBLISH --event presence --body";
    let text = ask(words, &[&path]);
    assert!(
        text.contains("read   application/pidf+xml")
            && text.contains("mappings/unified-cm.yaml:")
            && text.contains("read as on-the-phone")
            && text.contains("state  on-the-phone"),
        "{text}"
    );
    lines_are_right(&text);
    let notify = "--from sip:bob@b.example --to sip:alice@a.example --peer lcs --method NOTIFY --event presence --body";
    let text = ask(notify, &[&path, "--content-type", "text/xml+msrtc.pidf", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["spoken"][0]["value"], "text/xml+msrtc.pidf", "{text}");
    assert_eq!(json["spoken"][0]["file"], "mappings/lcs2005.yaml", "{text}");
    assert!(
        json["spoken"][1]["because"]
            .as_str()
            .is_some_and(|b| b.contains("holds")),
        "{text}"
    );
    let other = ask(words, &[&path, "--content-type", "text/xml+msrtc.pidf"]);
    assert!(other.contains("415 Unsupported Media Type"), "{other}");
    let gone = [words, "/nowhere/at/all"].join(" ");
    let args = Cli::try_parse_from(core::iter::once("explain").chain(gone.split(' '))).expect("a question");
    let error = explain(&crate::config::tests::snapshot(CONFIG), &args.args).expect_err("no such file");
    assert!(error.starts_with("--body: /nowhere/at/all"), "{error}");
}
