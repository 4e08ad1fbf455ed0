//! Trestle: a federation and interoperability bridge for presence and instant messages.
//!
//! The crate is a house of floors; a room may use what lies below it, never what lies above. `ARCHITECTURE.md`
//! is the map. Floors 0 to 3 (everything but [`transport`], [`store`], [`admin`], [`pki`], [`cli`] and [`app`])
//! have no sockets, tasks or clocks.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod engine;
pub mod event;
pub mod im;
pub mod pki;
pub mod policy;
pub mod presence;
pub mod probe;
pub mod sip;
pub mod store;
pub mod transport;
