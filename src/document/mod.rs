//! Leek documents: what an event becomes before it is posted.

/// Whether an event that Leek itself would drop is mended where its meaning is clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// Mend what can be mended, and count each repair.
    #[default]
    Tolerant,
    /// Exactly as Leek's own agent, less its crashes.
    Strict,
}
