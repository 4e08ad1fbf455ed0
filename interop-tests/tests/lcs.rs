//! Live Communications Server 2005 and Office Communications Server 2007 as federated servers, emulated, with the recipes
//! of `config/peers/lcs2005` and `ocs2007`: over TCP and mutual TLS, on IPv4 and IPv6.

#[path = "lcs/documents.rs"]
mod documents;
#[path = "lcs/kinds.rs"]
mod kinds;
#[path = "lcs/lists.rs"]
mod lists;
#[path = "lcs/oddities.rs"]
mod oddities;
#[path = "lcs/presence.rs"]
mod presence;
#[path = "lcs/refusals.rs"]
mod refusals;
#[path = "lcs/restart.rs"]
mod restart;
#[path = "lcs/strict.rs"]
mod strict;
#[path = "lcs/talk.rs"]
mod talk;
