//! The configuration: as written, as resolved, as changed.
//!
//! [`load()`] reads `bridge.yaml` with its includes and secrets, and is the only part that does I/O. Everything else is
//! pure: [`written`] (the YAML types), [`resolve`](mod@resolve) (to a [`Snapshot`](crate::policy::Snapshot)), [`plan`](mod@plan)
//! (what a reload changes), [`schema`](mod@schema) (for editors).

pub mod at;
pub mod error;
pub mod keys;
pub mod load;
pub mod mappings;
pub mod plan;
pub mod resolve;
pub mod schema;
mod value;
pub mod written;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{Problem, Problems, Warning};
pub use load::{Loaded, Machine, World, load, load_from};
pub use plan::{Plan, plan};
pub use schema::schema;
