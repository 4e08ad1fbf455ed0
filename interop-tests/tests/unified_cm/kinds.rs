//! The two kinds of servers.

use interop_tests::emulators::site::Setup;
use interop_tests::emulators::{cups, unified_cm};

pub(crate) fn trunk() -> Setup {
    Setup::new("unified-cm", unified_cm::HABITS)
}

pub(crate) fn presence_server() -> Setup {
    Setup::new("cups", cups::HABITS)
}
