//! Shared pieces of the interop suite: launchers for real peers and small test clients.
