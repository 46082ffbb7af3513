//! Services that are no targets.

/// Something that is no target, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// The service, or the router of a traefik file.
    pub service: String,
    /// Where it stands.
    pub file: String,
    /// The line.
    pub line: u32,
    /// Why.
    pub reason: String,
}
