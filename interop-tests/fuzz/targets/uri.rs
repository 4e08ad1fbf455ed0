//! Any bytes as a URI: no panic; it equals itself; an address-of-record survives being written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::sip::uri::{Aor, Uri, digits};

fuzz_target!(|data: &[u8]| {
    let Ok(uri) = Uri::parse(data) else { return };
    assert!(uri.equals(&uri), "a URI equals itself");
    let _ = digits(&uri);
    let _ = uri.transport();
    let Some(aor) = Aor::from_uri(&uri) else { return };
    let written = aor.to_uri();
    let again = Uri::parse(written.as_bytes()).ok().and_then(|uri| Aor::from_uri(&uri));
    assert_eq!(again.as_ref(), Some(&aor), "{written}");
    assert!(!written.contains(['\r', '\n', ' ', '>']), "{written:?}");
});
