//! Old TLS through a trusted terminator: the files of `config/peers/lcs2005-haproxy/` with a real HAProxy, and OpenSSL as the
//! server that speaks nothing newer; then terminators that are none, or misbehave.

#[path = "terminator/header.rs"]
mod header;
#[path = "terminator/hostile.rs"]
mod hostile;
#[path = "terminator/place.rs"]
mod place;
#[path = "terminator/recipe.rs"]
mod recipe;
