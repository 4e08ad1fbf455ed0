use super::*;
use crate::config::load_from;
use crate::config::tests::Memory;

const BASE: &str = "domains: [a.example]\nmappings: { dir: maps }\npeers:\n  - { name: b, domains: [b.example], transport: udp, addresses: [192.0.2.1], dialect: ";

fn load(dialect: &str, files: &[(&str, &str)]) -> Result<crate::config::Loaded, String> {
    let main = format!("{BASE}{dialect} }}\n");
    let mut all = vec![("bridge.yaml", main.as_str())];
    all.extend_from_slice(files);
    load_from(Path::new("bridge.yaml"), &Memory::with(&all)).map_err(|p| p.to_string())
}

#[test]
fn files_add_replace_and_extend() {
    let files = [
        ("maps/a-ours.yaml", "extends: z-base\nim: { idle_s: 77 }\n"),
        ("maps/z-base.yaml", "extends: lcs2005\nsip: { benotify: false }\n"),
        ("maps/cups.yaml", "extends: cups\nabout: Ours of a kind\n"),
        ("maps/dialplan.yaml", "dial: []\n"),
        ("maps/notes.txt", "text"),
    ];
    let loaded = load("a-ours", &files).expect("fit");
    let s = &loaded.snapshot;
    let peer = &s.peers[0];
    let d = s.dialect(peer.dialect).expect("there");
    assert_eq!(
        (&*d.name, d.im.idle_s, d.sip.benotify, d.sip.piggyback),
        ("a-ours", 77, false, true)
    );
    assert_eq!((&*s.dialects[0].name, s.dialects.len()), ("rfc", built_in().len() + 2));
    let cups = s.dialects.iter().find(|d| &*d.name == "cups").expect("there");
    assert_eq!(
        (&*cups.about, &*cups.presence.phone_tuples[0]),
        ("Ours of a kind", "cmp-*")
    );
    assert_eq!(loaded.files.len(), 5, "{:?}", loaded.files);
}

#[test]
fn what_is_wrong_has_its_file_line_and_column() {
    let table = [
        (
            "lcs2004",
            ("maps/x.yaml", ""),
            "bridge.yaml:4:",
            "did you mean `lcs2005`? known: rfc, lcs2005",
        ),
        (
            "rfc",
            ("maps/x.yaml", "sip: { benotfy: true }"),
            "maps/x.yaml:1:8",
            "did you mean `benotify`?",
        ),
        (
            "rfc",
            ("maps/x.yaml", "extends: lcs"),
            "maps/x.yaml:1:10",
            "known: rfc, lcs2005",
        ),
        (
            "rfc",
            ("maps/rfc.yaml", "about: mine"),
            "maps/rfc.yaml:1:1",
            "`extends: rfc`",
        ),
        (
            "rfc",
            ("maps/x.yaml", "presence:\n  formats: [rtf]"),
            "maps/x.yaml:2:13",
            "known: pidf, pidf-text",
        ),
    ];
    for (dialect, file, place, help) in table {
        let text = load(dialect, &[file]).expect_err(place);
        assert!(text.contains(place) && text.contains(help), "{text}");
    }
    let ring = [("maps/x.yaml", "extends: y"), ("maps/y.yaml", "extends: x")];
    let text = load("rfc", &ring).expect_err("a ring");
    assert!(text.contains("maps/x.yaml:1:10") && text.contains("circle"), "{text}");
}

#[test]
fn every_key_is_explained() {
    const README: &str = include_str!("../../../mappings/README.md");
    let keys = crate::config::keys::keys_of::<Written>();
    assert!(keys.len() > 100, "{}", keys.len());
    for key in keys {
        let name = key.path.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
        assert!(
            README.contains(&format!("`{name}`")),
            "{} is not in the README",
            key.path
        );
        assert!(key.meaning.ends_with('.'), "{key:?}");
    }
}

/// The example of the text does what it says.
#[test]
fn the_example_is_well() {
    const README: &str = include_str!("../../../mappings/README.md");
    let from = README.find("    # ours.yaml").unwrap_or_default();
    let text: String = README[from..]
        .lines()
        .take_while(|l| l.starts_with("    "))
        .map(|l| format!("{}\n", &l[4..]))
        .collect();
    let loaded = load("ours", &[("maps/ours.yaml", &text)]).expect("fit");
    let ours = loaded
        .snapshot
        .dialects
        .iter()
        .find(|d| &*d.name == "ours")
        .expect("there");
    let table = ours.presence.tables[crate::dialect::Format::Msrtc as usize]
        .as_ref()
        .expect("a table");
    let held = table
        .held(crate::dialect::state::Cell::OutToLunch)
        .map(|(cell, _)| cell);
    assert_eq!(
        (held, ours.sip.benotify),
        (Some(crate::dialect::state::Cell::Away), false)
    );
}
