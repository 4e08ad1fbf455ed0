//! Typed readers for header values. Each borrows from the message and is made on demand.

mod event;
mod items;
mod media;
mod name_addr;
mod params;
mod sequence;
mod via;

pub use event::EventHeader;
pub use items::Items;
pub use media::{Accept, MediaType};
pub use name_addr::NameAddr;
pub use params::{Params, unquote};
pub use sequence::{CSeq, number, parse_expires};
pub use via::Via;
pub(crate) use via::host_port;

pub(crate) use crate::sip::message::trim;
