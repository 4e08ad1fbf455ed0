//! Event notification (RFC 6665) and publication (RFC 3903), as pure state: packages, entity tags, pacing, the
//! subscriber's side of one subscription. Dialogs and transactions belong to the engine.

pub mod list;
pub mod pacing;
pub mod package;
pub mod publication;
pub mod subscriber;
pub mod subscription_state;

pub use pacing::Pacing;
pub use package::{ALLOW_EVENTS, Package};
pub use publication::{Publications, Refusal};
pub use subscriber::Subscriber;
pub use subscription_state::{Reason, SubscriptionState};
