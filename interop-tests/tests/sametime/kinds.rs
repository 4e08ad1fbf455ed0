//! The two generations.

use interop_tests::emulators::site::Setup;
use interop_tests::emulators::{sametime, sametime_legacy};

pub(crate) fn newer() -> Setup {
    Setup::new("sametime75", sametime::HABITS)
}

pub(crate) fn legacy() -> Setup {
    Setup::new("sametime-legacy", sametime_legacy::HABITS)
}
