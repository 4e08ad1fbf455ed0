use super::*;

#[test]
fn every_file_that_is_compiled_in_reads() {
    let mut all: Vec<Dialect> = Vec::new();
    for (name, text) in FILES {
        let written = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let base = written.extends.as_ref().map(|e| {
            let found = all.iter().find(|d| *d.name == *e.value);
            found.unwrap_or_else(|| panic!("{name} extends {}", e.value)).clone()
        });
        let dialect = build(name, &format!("mappings/{name}.yaml"), &written, base.as_ref())
            .unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert!(dialect.about.len() > 10, "{name}");
        all.push(dialect);
    }
    let built = super::super::built_in();
    let names: Vec<&str> = built.iter().map(|d| &*d.name).collect();
    assert_eq!(names, FILES.map(|(name, _)| name));
    assert!(built[0].is_verbatim() && !built[1].is_verbatim());
}

#[test]
fn an_overlay_says_only_what_differs() {
    let base = super::super::built_in()[1].clone();
    let written = parse("extends: lcs2005\nsip: { benotify: false }\nim: { idle_s: 30 }\n").expect("reads");
    let own = build("ours", "ours.yaml", &written, Some(&base)).expect("is well");
    assert!(!own.sip.benotify && own.sip.piggyback == base.sip.piggyback);
    assert_eq!((own.im.idle_s, own.im.mode), (30, base.im.mode));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let written = parse("presence:\n  formats: [pidf, rtf]\nim: { idle_s: 1, accept: [html] }\n").expect("reads");
    let faults = build("x", "x.yaml", &written, Some(&Dialect::rfc())).expect_err("is wrong");
    let places: Vec<(u32, u32)> = faults.iter().map(|f| (f.line, f.column)).collect();
    assert_eq!(places, [(3, 15), (3, 27), (2, 19)], "{faults:?}");
}
