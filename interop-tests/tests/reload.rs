//! Reload on the running bridge: what did not change goes on, what lost its ground ends, a bad file changes nothing.

#[path = "reload/listeners.rs"]
mod listeners;
#[path = "reload/live.rs"]
mod live;
#[path = "reload/mappings.rs"]
mod mappings;
#[path = "reload/names.rs"]
mod names;
#[path = "reload/site.rs"]
mod site;
#[path = "reload/trust.rs"]
mod trust;
