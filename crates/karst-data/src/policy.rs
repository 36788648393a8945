//! What a command asks of the record it meets: existence and generation.

/// Which state of the record a write accepts, and what becomes of the bins that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exists {
    /// Create it or change its bins.
    #[default]
    Any,
    /// Only create.
    CreateOnly,
    /// Only change an existing record.
    UpdateOnly,
    /// Create it or replace all its bins.
    Replace,
    /// Only replace all bins of an existing record.
    ReplaceOnly,
}

impl Exists {
    /// Whether old bins are discarded.
    pub fn replaces(self) -> bool {
        matches!(self, Exists::Replace | Exists::ReplaceOnly)
    }
}

/// Which generation of the record a write accepts. A missing record has generation 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GenerationRule {
    /// Any.
    #[default]
    Any,
    /// Exactly this one.
    Equal(u32),
    /// Any below this one.
    Below(u32),
}

impl GenerationRule {
    /// Whether a record of this generation is accepted.
    pub fn accepts(self, found: u16) -> bool {
        match self {
            GenerationRule::Any => true,
            GenerationRule::Equal(expected) => expected == u32::from(found),
            GenerationRule::Below(limit) => limit > u32::from(found),
        }
    }
}

/// The generation after one more write; zero is never used.
pub fn next_generation(generation: u16) -> u16 {
    generation.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_wrap_to_one_and_compare_in_full_width() {
        assert_eq!(next_generation(0), 1);
        assert_eq!(next_generation(u16::MAX), 1);
        assert!(GenerationRule::Equal(0).accepts(0));
        assert!(!GenerationRule::Equal(0x1_0001).accepts(1));
        assert!(GenerationRule::Below(5).accepts(4));
        assert!(!GenerationRule::Below(5).accepts(5));
    }
}
