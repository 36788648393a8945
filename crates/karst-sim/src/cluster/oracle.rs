//! What clients were told, and what may therefore be there in the end.
//!
//! Each key has one writer, which waits for the outcome of one write before it begins the next. So writes of a
//! key are in order, but for those in doubt: such a write may take effect at any time after it was sent, even
//! after one that was acknowledged later.
//!
//! Two writes at the same moment of the coarse clock, carried out by two nodes or by one on an island, are not in
//! order either, since the first may have been merged elsewhere before the second was made: of those one is lost, by
//! the documented rule.

use std::collections::BTreeSet;

/// What a record holds: the number of the write that put it there, or nothing.
pub type Value = Option<u64>;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing is known, or only that it may or may not be there.
    InDoubt,
    /// It is there.
    Acknowledged {
        /// The node that carried it out.
        by: usize,
        /// Its time by the coarse clock.
        update_time_ms: u64,
        /// It went by a map of its own.
        alone: bool,
    },
    /// It was not carried out.
    Refused,
    /// A delete found nothing.
    NotFound,
}

/// A write or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it leaves.
    pub value: Value,
    /// When it was sent.
    pub sent_us: u64,
    /// What its writer was told.
    pub told: Told,
}

/// All that was asked of one key.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Its changes, in the order in which they were sent.
    pub changes: Vec<Change>,
}

impl History {
    /// The last change that was acknowledged.
    pub fn last_acknowledged(&self) -> Option<&Change> {
        let acknowledged = |it: &&Change| matches!(it.told, Told::Acknowledged { .. });
        self.changes.iter().rev().find(acknowledged)
    }

    /// What may be there when everything has come to rest.
    pub fn allowed(&self) -> BTreeSet<Value> {
        let last = self.last_acknowledged();
        let mut allowed = BTreeSet::from([last.and_then(|it| it.value)]);
        for change in &self.changes {
            let counts = match (change.told, last.map(|it| it.told)) {
                (Told::InDoubt, _) => true,
                (
                    Told::Acknowledged {
                        by,
                        update_time_ms,
                        alone,
                    },
                    Some(Told::Acknowledged {
                        by: last_by,
                        update_time_ms: last_ms,
                        alone: last_alone,
                    }),
                ) => update_time_ms == last_ms && (by != last_by || alone || last_alone),
                _ => false,
            };
            if counts {
                allowed.insert(change.value);
            }
        }
        allowed
    }

    /// Whether two islands wrote these at the same moment. They may even have given both the same version: then
    /// nothing tells their copies apart. Known, and not mended yet.
    pub fn collide(&self, one: Value, other: Value) -> bool {
        let alone_at = |value: Value| {
            let change = self.changes.iter().find(|it| it.value == value)?;
            match change.told {
                Told::Acknowledged {
                    update_time_ms,
                    alone: true,
                    ..
                } => Some(update_time_ms),
                _ => None,
            }
        };
        alone_at(one).is_some() && alone_at(one) == alone_at(other)
    }

    /// Whether the last that is known of it is a delete which was acknowledged, and nothing is in doubt.
    pub fn is_surely_deleted(&self) -> bool {
        self.last_acknowledged().is_some() && self.allowed() == BTreeSet::from([None])
    }
}
