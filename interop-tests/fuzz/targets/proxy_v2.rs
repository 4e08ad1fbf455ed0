//! Anything where a trusted terminator's PROXY protocol header is expected: it is judged the same whatever pieces it comes
//! in, and never takes more than there is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trestle::transport::proxy_protocol::{MAX_HEADER, parse};

fuzz_target!(|data: &[u8]| {
    let whole = parse(data, Some(0xe1));
    if let Ok(Some((_, end))) = &whole {
        assert!(*end <= data.len() && *end <= MAX_HEADER);
        assert_eq!(parse(&data[..*end], Some(0xe1)), whole, "what follows is none of its business");
        for cut in 0..(*end).min(200) {
            assert_eq!(parse(&data[..cut], Some(0xe1)), Ok(None));
        }
    }
});
