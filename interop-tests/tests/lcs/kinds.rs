//! The two kinds of servers.

use interop_tests::emulators::site::Setup;
use interop_tests::emulators::{lcs, ocs};

pub(crate) fn live() -> Setup {
    Setup::new("lcs2005", lcs::HABITS)
}

pub(crate) fn office() -> Setup {
    Setup::new("ocs2007", ocs::HABITS)
}
