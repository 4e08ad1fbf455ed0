use super::*;

#[test]
fn a_canonical_document_holds_every_state() {
    for state in states() {
        let document = document_of(ENTITY, &state);
        sound(&document);
        assert_eq!(state_of(&document), state, "{}", text(&document));
    }
}

/// decode(encode(s)) is s where the form can hold it, else what the file declares.
#[test]
fn every_state_comes_back_as_the_nearest_that_the_form_holds() {
    let mut cells = 0;
    for (dialect, format, table) in forms() {
        for state in states() {
            let document = document_of(ENTITY, &state);
            let back = through(dialect, format, &document);
            sound(&back);
            let out = dialect.export(format, ENTITY, &document).body.into_owned();
            let label = || format!("{} {format:?} {state:?}\n{}", dialect.name, text(&out));
            assert_eq!(state_of(&back), table.nearest(&state), "{}", label());
            cells += 1;
        }
    }
    assert!(cells > 5000, "{cells}");
}

#[test]
fn nothing_reachable_becomes_offline_and_dnd_stays_busy() {
    for (dialect, format, table) in forms() {
        for cell in Cell::ALL {
            let label = || format!("{} {format:?} {cell:?}", dialect.name);
            let (held, _) = table.held(cell).unwrap_or_else(|| panic!("{}", label()));
            assert!(!cell.is_reachable() || held.is_reachable(), "{}", label());
            assert!(!cell.is_busy() || held.is_busy(), "{}", label());
        }
    }
}

/// A to B and back, again and again, ends after the first round.
#[test]
fn going_to_and_fro_never_drifts() {
    let forms = forms();
    for state in states().into_iter().step_by(13) {
        let document = document_of(ENTITY, &state);
        for (a, fa, _) in &forms {
            let at_a = through(a, *fa, &document);
            for (b, fb, _) in &forms {
                let once = through(b, *fb, &at_a);
                let twice = through(b, *fb, &through(a, *fa, &once));
                let label = || format!("{} {fa:?} {} {fb:?} {state:?}", a.name, b.name);
                assert_eq!(state_of(&twice), state_of(&once), "{}", label());
            }
        }
    }
}

#[test]
fn who_decided_is_told_with_file_and_line() {
    let state = State {
        cell: Cell::Vacation,
        ..State::default()
    };
    let document = document_of(ENTITY, &state);
    let out = dialect("lcs2005").export(Format::Msrtc, ENTITY, &document).why;
    assert!(out.len() == 2 && out.iter().all(|w| w.line > 0), "{out:?}");
    let source = include_str!("../../../../mappings/lcs2005.yaml");
    let line = |at: usize| source.lines().nth(out[at].line as usize - 1).unwrap_or_default();
    assert!(
        line(0).contains("vacation: out-of-office") && line(1).contains("out-of-office: {"),
        "{out:?}"
    );
    assert_eq!(&*out[0].what, "vacation is shown as out-of-office");
    // A row that was inherited names the file it stands in.
    let body = b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:ann@a.example'><tuple id='a'><status>\
                 <basic>open</basic></status></tuple></presence>";
    let read = dialect("cups")
        .import(b"application/pidf+xml", ENTITY, body)
        .expect("is read");
    assert_eq!(&*read.why[0].file, "mappings/rfc.yaml");
}
