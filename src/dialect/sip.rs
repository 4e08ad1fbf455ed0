//! Habits on the wire, one switch each. All are off in plain SIP.

/// What is different in SIP itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sip {
    /// A watcher that lists `ms-benotify` gets BENOTIFY, which is never answered; BENOTIFY from there is taken.
    pub benotify: bool,
    /// A watcher that lists `ms-piggyback-first-notify` gets the first document in the 200 of its SUBSCRIBE.
    pub piggyback: bool,
    /// A watcher that lists `com.microsoft.autoextend` keeps its subscription as long as notifications arrive.
    pub autoextend: bool,
    /// One SUBSCRIBE may carry many targets (`application/adrl+xml`) and is answered with lists (RFC 4662).
    pub adhoclist: bool,
    /// CSeq within a dialog may be lower than the last one.
    pub cseq_may_fall: bool,
    /// Digest answers may name `(null)` as their URI. Of a registrar's clients only, never of a peer.
    pub digest_uri_null: bool,
    /// Its users keep their contact list and their rights here (`vnd-microsoft-roaming-*`), set them and their state by
    /// SERVICE, and take challenges as from a proxy only. Of a registrar's clients only, never of a peer.
    pub roaming: bool,
    /// The `epid` of From and To belongs to the dialog and is sent back in later requests.
    pub keep_epid: bool,
    /// Its addresses are lines: a document names one by its number, at whatever host of the cluster.
    pub line_subscription: bool,
    /// Option tags in `Proxy-Require` and `Require` that are understood beyond the usual ones, in lower case.
    pub understood: Vec<Box<str>>,
    /// Length in seconds of a subscription that names none; 0 is what `presence.default_expires` says.
    pub subscription_s: u32,
}

impl Sip {
    /// Whether an option tag is understood because of this dialect.
    #[must_use]
    pub fn understands(&self, tag: &[u8]) -> bool {
        if tag.eq_ignore_ascii_case(b"adhoclist") {
            return self.adhoclist;
        }
        self.understood.iter().any(|t| t.as_bytes().eq_ignore_ascii_case(tag))
    }
}
