//! Event packages the bridge serves (RFC 6665 section 7.2). A package that is not listed gets 489.

/// The value of Allow-Events.
pub const ALLOW_EVENTS: &str = "presence";

/// A package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// RFC 3856.
    Presence,
}

impl Package {
    /// Finds a package by its name; case counts (RFC 6665 section 8.2.1).
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        (name == b"presence").then_some(Self::Presence)
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_counts() {
        assert_eq!(
            (Package::from_name(b"Presence"), Package::from_name(b"dialog")),
            (None, None)
        );
    }
}
