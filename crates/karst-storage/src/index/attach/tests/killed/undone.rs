//! Every state that the undo of a change can be left in, made by hand.

use super::*;
use crate::index::arena::PAGE_ENTRIES;
use crate::index::entry::ENTRY_WORDS;

type Words = [u64; ENTRY_WORDS];

const PARTITION: PartitionId = PartitionId(1);

/// Where the one entry's slot and its partition's control line lie.
const SLOT_AT: usize = FRONT_BYTES;
const CONTROL_AT: usize = (260 << 10) + 128 * PARTITION.0 as usize;

/// A folder with an index that holds one entry, `old`.
fn with_one(old: &NewEntry) -> tempfile::TempDir {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    directories[PARTITION.index()].insert(old).expect("room");
    folder
}

/// What is attached when the process was killed with this in the slot and this in the undo.
fn attached(folder: &Path, slot: Words, saved: Words, armed: u64) -> Content {
    let region = region(folder);
    // SAFETY: both lie in the backed part of a region that nothing else uses.
    unsafe {
        region.as_ptr().add(SLOT_AT).cast::<Words>().write(slot);
        region.as_ptr().add(CONTROL_AT).cast::<Words>().write(saved);
        region
            .as_ptr()
            .add(CONTROL_AT + 64)
            .cast::<u64>()
            .write(armed);
    }
    drop(region);
    let attached = attach(folder).expect("the header is right");
    assert_eq!(attached.undone(), u32::from(armed != 0));
    let mut found = Content::new();
    let directory = attached.partition(PARTITION, |entry| {
        found.insert(*entry.digest(), entry.to_new());
        Ok(())
    });
    directory.expect("nothing is damaged").validate();
    drop(attached);
    let again = attach(folder).expect("the header is right");
    assert_eq!(again.undone(), 0, "what was undone is not undone twice");
    found
}

/// The words of `new` whose bit is set in `mask`, the others of `old`.
fn mixed(old: Words, new: Words, mask: usize) -> Words {
    std::array::from_fn(|at| {
        if mask >> at & 1 == 1 {
            new[at]
        } else {
            old[at]
        }
    })
}

#[test]
fn a_change_that_was_not_completed_is_undone_whatever_part_of_it_was_there() {
    let old = new_entry(digest(1), 0x1234_5678_9abc_def0);
    let new = new_entry(digest(1), 0x0fed_cba9_8765_4321);
    let one = |entry: &NewEntry| Content::from([(entry.digest, *entry)]);
    let folder = with_one(&old);
    let [was, is] = [&old, &new].map(|entry| Entry::new(entry).words());
    let rubbish = [0x5555_5555_5555_5555; ENTRY_WORDS];
    for copied in 0..=ENTRY_WORDS {
        let saved = mixed(rubbish, was, (1 << copied) - 1);
        assert_eq!(
            attached(folder.path(), was, saved, 0),
            one(&old),
            "{copied} words copied"
        );
    }
    for mask in 0..1 << ENTRY_WORDS {
        let slot = mixed(was, is, mask);
        assert_eq!(
            attached(folder.path(), slot, was, 1),
            one(&old),
            "words {mask:08b} changed"
        );
    }
    assert_eq!(attached(folder.path(), is, was, 0), one(&new), "completed");
}

#[test]
fn half_an_insert_and_half_a_remove_leave_a_vacant_slot() {
    let old = new_entry(digest(1), 3);
    let folder = with_one(&old);
    let is = Entry::new(&new_entry(digest(6), 0x0fed_cba9_8765_4321)).words();
    let no_generation = |words: Words| {
        let mut words = words;
        words[6] &= !0xffff_0000; // bytes 50 and 51
        words
    };
    for before in [[0; ENTRY_WORDS], Entry::new(&old).words()] {
        for mask in 0..1 << ENTRY_WORDS {
            let slot = no_generation(mixed(before, is, mask));
            let found = attached(folder.path(), slot, [0; ENTRY_WORDS], 0);
            assert_eq!(found, Content::new(), "words {mask:08b} written");
        }
    }
}

#[test]
fn an_undo_of_a_slot_that_is_not_there_is_refused() {
    let old = new_entry(digest(1), 3);
    let folder = with_one(&old);
    let arena = attach(folder.path()).expect("right").arena().clone();
    let beyond = u64::from(arena.pages_backed()) * PAGE_ENTRIES as u64;
    drop(arena);
    for slot in [beyond, u64::MAX - 1] {
        let region = region(folder.path());
        // SAFETY: in the backed part of a region that nothing else uses.
        unsafe {
            region
                .as_ptr()
                .add(CONTROL_AT + 64)
                .cast::<u64>()
                .write(slot + 1)
        };
        drop(region);
        let refused = attach(folder.path()).err().expect("no such slot");
        assert!(matches!(refused, Refused::Damaged { .. }), "{refused}");
    }
}

#[test]
#[should_panic(expected = "changed at a time")]
fn an_entry_that_was_forgotten_while_it_changed_is_noticed_at_the_next_change() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    let directory = &mut directories[1];
    let mut entry = directory.insert(&new_entry(digest(1), 1)).expect("room");
    entry.set_generation(9);
    std::mem::forget(entry);
    let entry = directory.get_mut(&digest(1));
    entry.expect("it is there").set_generation(10);
}
