//! What is not this owner's complete index is refused, and says why; what is not sound is damaged.

use super::*;
use crate::index::arena::PAGE_BYTES;

type Mismatch = (&'static str, fn(&mut Owner<'static>));

#[test]
fn an_index_of_another_owner_is_refused_and_says_whose_it_is() {
    let folder = folder();
    drop(created(folder.path()));
    let mismatches: [Mismatch; 4] = [
        ("another boot", |owner| owner.boot_id[3] ^= 1),
        ("another cluster", |owner| owner.cluster_id[15] ^= 1),
        ("another namespace", |owner| owner.namespace = b"tes"),
        ("another hash key", |owner| owner.key.0[1] ^= 1),
    ];
    for (reason, change) in mismatches {
        let mut owner = OWNER;
        change(&mut owner);
        let refused = EntryArena::attach(region(folder.path()), ENTRIES_MAX, &owner, SESSION);
        let refused = refused.err().expect(reason).to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    assert!(attach(folder.path()).is_ok(), "a refusal changes nothing");
}

#[test]
fn an_index_of_another_session_or_one_that_was_being_built_is_refused() {
    let folder = folder();
    let arena = created(folder.path());
    let attach_for =
        |session| EntryArena::attach(region(folder.path()), ENTRIES_MAX, &OWNER, session).err();
    arena.set_state(State::Stopped);
    drop(arena);
    assert_eq!(attach_for(SESSION), None);
    for expected in [0, SESSION - 1, SESSION + 1] {
        let found = SESSION;
        assert_eq!(
            attach_for(expected),
            Some(Refused::Session { found, expected })
        );
    }
    attach(folder.path())
        .expect("right")
        .arena()
        .set_state(State::Building);
    assert_eq!(attach_for(SESSION), Some(Refused::Building));
    let arena = EntryArena::create(region(folder.path()), ENTRIES_MAX, &OWNER).expect("memory");
    arena.set_session(SESSION);
    drop(arena);
    assert_eq!(attach_for(SESSION), Some(Refused::Building));
}

#[test]
fn memory_that_holds_no_index_is_refused() {
    let folder = folder();
    assert_eq!(attach(folder.path()).err(), Some(Refused::Empty));
    region(folder.path()).back(4096).expect("memory");
    let refused = attach(folder.path()).err().expect("too short");
    assert!(matches!(refused, Refused::Damaged { .. }), "{refused}");
    region(folder.path()).back(FRONT_BYTES).expect("memory");
    let refused = attach(folder.path()).err().expect("zeros").to_string();
    assert!(refused.contains("another layout"), "{refused}");
}

/// Changes bytes of the region behind the arena's back.
fn poke(folder: &Path, at: usize, change: impl FnOnce(&mut [u8; 64])) {
    let region = region(folder);
    assert!(at + 64 <= region.backed_bytes());
    // SAFETY: backed, and nothing else uses the region.
    change(unsafe { region.as_ptr().add(at).cast().as_mut() });
}

#[test]
fn another_layout_is_refused_whichever_of_its_three_numbers_differs() {
    for at in [0, 8, 16] {
        let folder = folder();
        drop(created(folder.path()));
        poke(folder.path(), 0, |header| header[at] ^= 1);
        let refused = attach(folder.path()).err().expect("another layout");
        assert!(matches!(refused, Refused::Layout { .. }), "{refused}");
    }
}

#[test]
fn no_byte_of_the_header_can_be_anything_that_crashes_who_reads_it() {
    let folder = folder();
    created(folder.path()).add_name(1, b"a");
    for at in 0..128 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut was = 0;
            let line = at & !63;
            poke(folder.path(), line, |line| {
                was = std::mem::replace(&mut line[at & 63], value)
            });
            if let Ok(attached) = attach(folder.path()) {
                assert!(attached.arena().names().len() <= 1);
            }
            poke(folder.path(), line, |line| line[at & 63] = was);
        }
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    for broken in [[0, 0], [64, 0], [1, b'b']] {
        let folder = folder();
        let arena = created(folder.path());
        arena.add_name(1, b"a");
        arena.add_name(2, b"b");
        drop(arena);
        poke(folder.path(), 4096 + 64, |name| {
            name[..2].copy_from_slice(&broken)
        });
        let refused = attach(folder.path()).err().expect("a broken name");
        assert!(matches!(refused, Refused::Damaged { .. }), "{refused}");
    }
}

#[test]
fn every_changed_bit_of_an_entry_but_its_link_is_noticed() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    directories[1]
        .insert(&new_entry(digest(1), 2)) // generation 3: no bit alone makes it 0
        .expect("room");
    drop(directories);
    for at in (0..64).filter(|at| !(40..44).contains(at)) {
        for bit in 0..8 {
            poke(folder.path(), FRONT_BYTES, |entry| entry[at] ^= 1 << bit);
            let attached = attach(folder.path()).expect("the header is right");
            let damaged =
                PartitionId::all().find_map(|id| attached.partition(id, |_| Ok(())).err());
            assert!(damaged.is_some(), "byte {at}, bit {bit}");
            drop(attached);
            poke(folder.path(), FRONT_BYTES, |entry| entry[at] ^= 1 << bit);
        }
    }
    poke(folder.path(), FRONT_BYTES, |entry| entry[40..44].fill(0xff));
    let (_, content) = all_of(&attach(folder.path()).expect("right")).expect("links are made anew");
    assert_eq!(content.len(), 1);
}

fn damage(folder: &Path) -> Damaged {
    all_of(&attach(folder).expect("the header is right"))
        .err()
        .expect("damage")
}

#[test]
fn a_digest_that_is_there_twice_is_noticed() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    for number in [1, 6] {
        directories[1]
            .insert(&new_entry(digest(number), number))
            .expect("room");
    }
    drop(directories);
    let mut first = [0; 64];
    poke(folder.path(), FRONT_BYTES, |entry| first = *entry);
    poke(folder.path(), FRONT_BYTES + 64, |entry| *entry = first);
    let attached = attach(folder.path()).expect("the header is right");
    let damaged = attached
        .partition(PartitionId(1), |_| Ok(()))
        .err()
        .expect("damage");
    assert_eq!(
        (damaged.partition, damaged.digest),
        (PartitionId(1), digest(1))
    );
    assert!(damaged.to_string().contains("twice"), "{damaged}");
}

#[test]
fn an_entry_in_another_partitions_page_is_noticed() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    for number in [1, 2] {
        directories[number]
            .insert(&new_entry(digest(number as u64), 9))
            .expect("room");
    }
    drop(directories);
    let mut entry = [0; 64];
    poke(folder.path(), FRONT_BYTES + PAGE_BYTES, |second| {
        entry = *second
    });
    poke(folder.path(), FRONT_BYTES + 64, |stranger| {
        *stranger = entry
    });
    assert_eq!(damage(folder.path()).partition, PartitionId(1));
}

#[test]
fn what_the_visitor_finds_wrong_is_damage() {
    let folder = folder();
    let mut directories = directories(&created(folder.path()));
    directories[1]
        .insert(&new_entry(digest(1), 1))
        .expect("room");
    drop(directories);
    let attached = attach(folder.path()).expect("right");
    let damaged = attached.partition(PartitionId(1), |_| Err("no such set"));
    assert_eq!(damaged.err().expect("damage").what, "no such set");
}

#[test]
#[should_panic(expected = "attached once")]
fn a_partition_is_attached_once() {
    let folder = folder();
    drop(created(folder.path()));
    let attached = attach(folder.path()).expect("right");
    drop(attached.partition(PartitionId(1), |_| Ok(())));
    drop(attached.partition(PartitionId(1), |_| Ok(())));
}
