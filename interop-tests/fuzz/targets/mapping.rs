//! Any text as a mapping file: no panic, and one that passes the check can be used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::dialect::check::check;
use trestle::dialect::load::{build, parse};
use trestle::dialect::{Dialect, Format, built_in};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let Ok(written) = core::str::from_utf8(text)
        .map_err(drop)
        .and_then(|t| parse(t).map_err(drop))
    else {
        return;
    };
    let base = built_in().get(usize::from(*choice) % built_in().len());
    let Ok(dialect): Result<Dialect, _> = build("x", "x.yaml", &written, base.map(|d| &**d)) else {
        return;
    };
    let faults = check(&dialect);
    for format in Format::ALL {
        let out = dialect.export(
            format,
            "sip:a@a.example",
            b"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='a@b'/>",
        );
        assert!(!faults.is_empty() || !out.media.is_empty());
    }
});
