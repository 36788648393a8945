//! A node that is filled anew because a device of it failed, or because of damage that its start found.
//!
//! Records on a failed device are still in the index, may be readable, and are gone at some later time. Where others hold a
//! strongly consistent partition, the node says that it has lost it and comes back as one that joins. By what its index
//! says it would then lack nothing. So it lets go of what lies on failed devices before it tells what it holds: all of that is
//! sent again, and comes to other devices. The same holds of a record of which a start found only the header sound: the index knows
//! of it, so that no older state passes for it, and by that it would seem to be here.
//!
//! Nothing is lost by that: of a partition that a node joins it is the last to know anything. What a start finds on the device
//! after all is replaced in the same way, since the node says again that it has lost something.

use std::ops::ControlFlow;

use karst_data::key::PartitionId;
use karst_storage::index::{Fate, Flags, NewEntry};

use crate::namespace::Namespace;
use crate::walk::SLICE_ENTRIES_MAX;

impl Namespace {
    /// Lets go of what of a partition lies on failed devices, or is known to be damaged, if this node joins the partition
    /// and it is strongly consistent. Returns how many entries went.
    pub fn let_go_of_failed(&self, id: PartitionId) -> usize {
        if !self.config().strong {
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
                let is_damaged = entry.flags().contains(Flags::DAMAGED);
                let fate = match is_damaged || self.log().device_failed(entry.place().device) {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use karst_cluster::map::{Regime, Role};
    use karst_cluster::node::NodeId;
    use karst_cluster::view::{Quorums, Share};
    use karst_data::flat::{Facts, Meta, SetName};
    use karst_data::key::Digest;
    use karst_storage::index::{EntryArena, HashKey};
    use karst_storage::log::{DeviceGeometry, Log, LogConfig};
    use karst_storage::place::{DeviceId, Place, Rblocks, Version};

    use super::*;
    use crate::NamespaceConfig;
    use crate::migrate::answer::{put_hashes, read_hashes};
    use crate::recover::Intake;

    const ID: PartitionId = PartitionId(0);

    fn namespace() -> Namespace {
        let log = Log::new(LogConfig {
            on_devices: false,
            block_bytes: 64 << 10,
            devices: vec![DeviceGeometry {
                number: 0,
                blocks: 64,
                sector_bytes: 512,
            }],
            cores: 1,
            cache_bytes: 0,
            defrag_low_water_percent: 50,
        });
        let config = NamespaceConfig {
            name: "test".into(),
            default_ttl_s: 0,
            record_bytes_max: 60 << 10,
            commit_to_device: true,
            flush_ms_max: 1000,
            strong: true,
        };
        let arena = Arc::new(EntryArena::new(1 << 12).unwrap());
        Namespace::new(config, log.unwrap(), arena, HashKey([3, 4]))
    }

    fn share(role: Role) -> Share {
        Share {
            regime: Regime(5),
            role,
            apart: false,
            primary: Some(NodeId(2)),
            followers: Box::default(),
            quorums: Some(Quorums {
                in_sync: Box::new([NodeId(2)]),
                prior: Box::default(),
                activated: Regime(5),
                can_confirm: true,
                knows: role == Role::Replica,
                stands: true,
                processes: Box::default(),
            }),
        }
    }

    fn facts(number: u8) -> Facts {
        let mut digest = [0; 20];
        digest[19] = number;
        let version = Version {
            regime: 4,
            sequence: number.into(),
        };
        Facts {
            meta: Meta {
                tombstone: false,
                void_time_s: 0,
                ..Meta::tombstone(Digest(digest), version.pack(), 7, 0)
            },
            set: SetName::default(),
            stores_key: false,
        }
    }

    /// What a start has found: one record that is sound, and the header of one.
    fn started() -> Namespace {
        let namespace = namespace();
        let mut intake = Intake::new(&namespace);
        let place = |number: u64| Place {
            device: DeviceId(0),
            start: Rblocks((64 << 10) / 16 + 16 * number),
            length: Rblocks(16),
        };
        intake.take(place(1), &facts(1)).unwrap();
        intake.take_damaged(place(2), &facts(2)).unwrap();
        intake.finish().unwrap();
        namespace
    }

    fn held(namespace: &Namespace) -> u64 {
        let mut hashes = Vec::new();
        put_hashes(namespace, ID, &mut hashes);
        read_hashes(&hashes).unwrap().1
    }

    #[test]
    fn who_is_filled_does_not_pass_for_having_what_a_start_found_damaged() {
        let joins = started();
        joins.learn(ID, &share(Role::Joining));
        assert_eq!(held(&joins), 1);
    }

    #[test]
    fn who_is_in_sync_keeps_what_is_damaged_so_that_no_older_state_passes_for_it() {
        let in_sync = started();
        in_sync.learn(ID, &share(Role::Replica));
        assert_eq!(held(&in_sync), 2);
    }
}
