//! Trunks of peers on the running bridge: whose connections are used, how their traffic is marked, what is too much.

#[path = "trunks/backend.rs"]
mod backend;
#[path = "trunks/dscp.rs"]
mod dscp;
#[path = "trunks/limits.rs"]
mod limits;
#[path = "trunks/promises.rs"]
mod promises;
#[path = "trunks/reuse.rs"]
mod reuse;
#[path = "trunks/sips.rs"]
mod sips;
#[path = "trunks/site.rs"]
mod site;
