//! Letting go of a partition, for good: what is left of it on the devices must never count again.
//!
//! A partition that others hold leaves the index at once, but its bytes stay on the devices until defrag comes
//! by. By then its records may have been deleted in the cluster, and the deletes forgotten. So a partition that
//! was let go of has a *floor*: what of it lies in blocks of earlier fills is void, and recovery leaves it
//! out. Fills order blocks in time, and records that are received again are kept from earlier blocks
//! ([`karst_storage::log::Log::append_from`]), also when defrag moves them.
//!
//! ```text
//! begin_leaving   if the regime is still that which said so. Nothing is taken any more, and another
//!                 regime waits
//!   (kept)        it is noted on disk that the partition is being let go of: all of it is void
//! drop_slice ..   entry by entry; defrag may move what is left meanwhile
//!   floor         the log's next fill: all that was ever appended of the partition lies below it
//!   (kept)        the floor is noted on disk in that note's stead
//! end_leaving     the regime that came meanwhile is in force
//! ```
//!
//! What is kept is the caller's: the engine touches no files. Invariants
//!   no entry of a partition leaves the index this way before the note is kept: an index that outlives the
//!   process, or a checkpoint, lacks nothing that a scan would bring back
//!   nothing is received under another regime before the floor is kept: so nothing that counts is below it
//!   an entry of the index lies at or above its partition's floor, which only rises
//!
//! So there is no way back once `begin_leaving` said yes: what was left in the index half way would be no
//! state that anybody ever held, and what had gone would return at a later start.
//!
//! A node that ends half way finds the note at its start: it leaves all of the partition out, drops what an
//! index that outlived the process still has, and keeps a floor before it takes part in anything.

use std::ops::ControlFlow;

use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};
use karst_storage::index::{Fate, NewEntry, WalkCursor};
use karst_storage::place::Place;

use crate::namespace::{Namespace, Partition};
use crate::walk::SLICE_ENTRIES_MAX;

/// What of a partition on the devices is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// What lies in fills below this one.
    Fill(u64),
    /// Everything: it is being let go of.
    Leaving,
}

/// A partition is being let go of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leaving {
    /// What is in force afterwards, if the map has moved on.
    pub(crate) next_reign: Option<(u32, bool)>,
}

/// What a slice of a drop did.
#[derive(Clone, Copy, Debug)]
pub struct Dropped {
    /// Entries that went.
    pub entries: usize,
    /// Where the next slice begins; `None` when nothing is left.
    pub next: Option<WalkCursor>,
}

impl Namespace {
    /// Says, before anything is recovered, what of a partition is void. The log goes on behind its floor even
    /// if no block bears witness that it had come so far, or the devices were emptied since.
    pub fn set_floor(&self, id: PartitionId, floor: Floor) {
        let mut partition = self.partition(id);
        match floor {
            Floor::Fill(fill) => {
                partition.floor = fill;
                self.log.raise_fills(fill);
            }
            Floor::Leaving => partition.leaving = Some(Leaving::default()),
        }
    }

    /// What of a partition is void, if anything is.
    pub fn floor(&self, id: PartitionId) -> Option<Floor> {
        let partition = self.partition(id);
        match partition.leaving {
            Some(_) => Some(Floor::Leaving),
            None => (partition.floor != 0).then_some(Floor::Fill(partition.floor)),
        }
    }

    /// Begins to let go of a partition that this node has nothing to do with any more, if it is still under
    /// this regime.
    pub fn begin_leaving(&self, id: PartitionId, regime: u32) -> bool {
        let mut partition = self.partition(id);
        let begins = partition.is_under(regime);
        if begins {
            partition.leaving = Some(Leaving::default());
        }
        begins
    }

    /// Drops part of a partition that is being let go of, from a point of the walk's order on. Nothing comes
    /// to it meanwhile, so a walk drops all of it.
    ///
    /// # Panics
    /// When it is not being let go of.
    pub fn drop_slice(&self, id: PartitionId, after: Option<WalkCursor>) -> Dropped {
        let mut gone: Vec<NewEntry> = Vec::new();
        let mut partition = self.partition(id);
        assert!(partition.leaving.is_some());
        let next = partition.directory.walk_mut(after, &mut |entry| {
            gone.push(entry.to_new());
            match gone.len() >= SLICE_ENTRIES_MAX {
                true => ControlFlow::Break(Fate::Remove),
                false => ControlFlow::Continue(Fate::Remove),
            }
        });
        for entry in &gone {
            self.uncount(&mut partition, entry);
            self.log.release(entry.place);
        }
        if next.is_none() {
            partition.parts.clear();
        }
        Dropped {
            entries: gone.len(),
            next,
        }
    }

    /// The floor of a partition that has been dropped: all that was ever appended of it lies below. 0 where
    /// nothing outlives the index.
    pub fn next_floor(&self) -> u64 {
        match self.log.config().on_devices {
            true => self.log.next_fill(),
            false => 0,
        }
    }

    /// Ends letting go of a partition. Its floor is kept by now, wherever this node ends.
    ///
    /// # Panics
    /// When it is not being let go of, or something of it is left.
    pub fn end_leaving(&self, id: PartitionId, floor: u64) {
        let mut partition = self.partition(id);
        let leaving = partition.leaving.take().expect("it is being let go of");
        assert!(partition.directory.is_empty());
        assert!(floor >= partition.floor);
        assert!(floor <= self.log.next_fill());
        partition.floor = floor;
        if let Some(reign) = leaving.next_reign {
            (partition.regime, partition.apart) = reign;
        }
    }

    /// Whether what was found at a place is left of a time before its partition was let go of.
    pub(crate) fn is_void(&self, partition: &Partition, place: Place) -> bool {
        if partition.floor == 0 && partition.leaving.is_none() {
            return false; // nearly always
        }
        let fill = self.log.fill_of(self.log.block_of(place));
        let void = partition.leaving.is_some() || fill < partition.floor;
        void && !is_planted(Mutation::TakesInWhatWasLetGo)
    }
}

impl Partition {
    /// Whether what was decided under this regime is to be carried out.
    pub(crate) fn is_under(&self, regime: u32) -> bool {
        self.regime == regime && self.leaving.is_none()
    }
}
