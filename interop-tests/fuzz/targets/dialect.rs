//! Any bytes as a presence document of any dialect in any form: no panic, bounded work, and what is taken is sound inside and
//! does not drift when it goes out and comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::dialect::{Format, built_in, state_of};
use trestle::presence::pidf::Document;

const ENTITY: &str = "sip:a@a.example";

fuzz_target!(|data: &[u8]| {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let forms = Format::ALL.len();
    let choice = usize::from(*choice);
    let format = Format::ALL[choice % forms];
    let Some(dialect) = built_in().get(choice / forms % built_in().len()) else {
        return;
    };
    let Ok(first) = dialect.import(format.media_type().as_bytes(), ENTITY, body) else {
        return;
    };
    if dialect.is_verbatim() {
        assert_eq!(&*first.pidf, body);
        return;
    }
    assert!(
        Document::parse(&first.pidf).is_ok(),
        "what is taken is PIDF: {}",
        String::from_utf8_lossy(&first.pidf)
    );
    for format in Format::ALL {
        let through = |document: &[u8]| {
            let out = dialect.export(format, ENTITY, document);
            let back = dialect.import(out.media.as_bytes(), ENTITY, &out.body);
            back.map(|b| b.pidf.into_owned()).expect("what is written is read")
        };
        let once = through(&first.pidf);
        let twice = through(&once);
        assert_eq!(state_of(&once), state_of(&twice), "{} {format:?}", dialect.name);
    }
});
