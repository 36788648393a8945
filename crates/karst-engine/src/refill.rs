//! A node that is filled anew because a device of it failed.
//!
//! Records on a failed device are still in the index, may be readable, and are gone at some later time. Where others hold a
//! strongly consistent partition, the node says that it has lost it and comes back as one that joins. By what its index
//! says it would then lack nothing. So it lets go of what lies on failed devices before it tells what it holds: all of that is
//! sent again, and comes to other devices.
//!
//! Nothing is lost by that: of a partition that a node joins it is the last to know anything. What a start finds on the device
//! after all is replaced in the same way, since the node says again that it has lost something.

use std::ops::ControlFlow;

use karst_data::key::PartitionId;
use karst_storage::index::{Fate, NewEntry};

use crate::namespace::Namespace;
use crate::walk::SLICE_ENTRIES_MAX;

impl Namespace {
    /// Lets go of what of a partition lies on failed devices, if this node joins the partition and it is strongly
    /// consistent. Returns how many entries went.
    pub fn let_go_of_failed(&self, id: PartitionId) -> usize {
        if !self.config().strong || !self.log().any_device_failed() {
            return 0;
        }
        let (mut after, mut count) = (None, 0);
        loop {
            let mut partition = self.partition(id);
            if !partition.tenure.joins() {
                return count; // with what it holds it counts
            }
            let (mut gone, mut visited) = (Vec::<NewEntry>::new(), 0);
            after = partition.directory.walk_mut(after, &mut |entry| {
                visited += 1;
                let fate = match self.log().device_failed(entry.place().device) {
                    true => Fate::Remove,
                    false => Fate::Keep,
                };
                if fate == Fate::Remove {
                    gone.push(entry.to_new());
                }
                match visited >= SLICE_ENTRIES_MAX {
                    true => ControlFlow::Break(fate),
                    false => ControlFlow::Continue(fate),
                }
            });
            for entry in &gone {
                self.uncount(&mut partition, entry);
                self.log().release(entry.place);
            }
            partition.parts.note(gone.len());
            count += gone.len();
            if after.is_none() {
                return count;
            }
        }
    }
}
