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
    /// Requests within dialogs may come without a branch in Via.
    pub branchless: bool,
    /// Digest answers may name `(null)` as their URI. Of a registrar's clients only, never of a peer.
    pub digest_uri_null: bool,
    /// Its users keep their contact list and their rights here (`vnd-microsoft-roaming-*`), set them and their state by
    /// SERVICE, and take challenges as from a proxy only. Of a registrar's clients only, never of a peer.
    pub roaming: bool,
    /// The `epid` of From and To belongs to the dialog and is sent back in later requests.
    pub keep_epid: bool,
    /// Contact carries the address in `maddr`: it is used, and kept.
    pub contact_maddr: bool,
    /// Its SUBSCRIBEs may name no expiry; then [`subscription_s`](Self::subscription_s) holds.
    pub expires_optional: bool,
    /// Subscriptions are to the primary extension and come from the bridge itself, one for each user.
    pub line_subscription: bool,
    /// It PUBLISHes the state of lines.
    pub publishes_lines: bool,
    /// Watchers of a whole contact list subscribe to `<user>-contacts`.
    pub contact_lists: bool,
    /// Option tags in `Proxy-Require` and `Require` that are understood beyond the usual ones, in lower case.
    pub understood: Vec<Box<str>>,
    /// Length in seconds of a subscription that names none; 0 is what `presence.default_expires` says.
    pub subscription_s: u32,
    /// State that comes back after an outage goes out at no more than so many documents a second; 0 is no pace of its own.
    pub returning_per_s: u32,
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
