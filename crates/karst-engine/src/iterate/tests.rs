use std::collections::BTreeSet;
use std::sync::Arc;

use karst_storage::index::{EntryArena, Flags, HashKey, NewEntry};
use karst_storage::place::{DeviceId, Place, Rblocks, Version};

use super::*;

const PARTITION: PartitionId = PartitionId(0x321);

struct Rng(u64);

impl Rng {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Digest `number` of the partition, unlike its neighbours.
fn digest(number: u64) -> Digest {
    let mut rng = Rng(number);
    let mut bytes: [u8; 20] = std::array::from_fn(|_| rng.next() as u8);
    (bytes[0], bytes[1]) = (0x21, bytes[1] & 0xf0 | 0x03);
    assert_eq!(Digest(bytes).partition(), PARTITION);
    Digest(bytes)
}

fn new_directory() -> Directory {
    let arena = Arc::new(EntryArena::new(1 << 16).expect("address space"));
    Directory::new(arena, HashKey([3, 4]), PARTITION)
}

fn insert(directory: &mut Directory, digest: Digest) {
    let new = NewEntry {
        digest,
        place: Place {
            device: DeviceId(0),
            start: Rblocks(1),
            length: Rblocks(1),
        },
        version: Version::default(),
        update_time_ms: 0,
        void_time_s: 0,
        generation: 1,
        set_id: 0,
        flags: Flags::NONE,
    };
    let _ = directory.insert(&new); // it may be there
}

fn step(iterate: &mut Iterate, directory: &Directory) -> Piece {
    iterate.slice(directory);
    iterate.piece()
}

/// Carries an iteration to its end, with something done to the directory between all steps, and begun
/// anew now and then. Returns the pieces.
fn pieces(
    directory: &mut Directory,
    piece_max: usize,
    mut between: impl FnMut(&mut Directory) -> bool,
) -> Vec<Vec<Digest>> {
    let mut iterate = Iterate::new(PARTITION, None, piece_max);
    let mut pieces = vec![];
    while !iterate.done {
        match step(&mut iterate, directory) {
            Piece::Walking => {}
            Piece::Digests(digests) => pieces.push(digests),
            Piece::End => break,
        }
        if between(directory) {
            iterate = Iterate::new(PARTITION, iterate.after(), piece_max);
        }
    }
    pieces
}

#[test]
fn what_stays_comes_once_in_order_and_what_comes_and_goes_at_most_once() {
    for seed in 0..100 {
        let mut rng = Rng(seed);
        let (stays, goes) = (rng.below(900), 1 + rng.below(600));
        let piece_max = 1 + rng.below(400) as usize;
        let mut directory = new_directory();
        (0..stays).for_each(|number| insert(&mut directory, digest(number)));
        let found = pieces(&mut directory, piece_max, |directory| {
            for _ in 0..rng.below(40) {
                let digest = digest(stays + rng.below(goes));
                match rng.below(2) {
                    0 => insert(directory, digest),
                    _ => {
                        directory.remove(&digest);
                    }
                }
            }
            rng.below(10) == 0
        });
        assert!(
            found
                .iter()
                .all(|piece| (1..=piece_max).contains(&piece.len()))
        );
        let found = found.concat();
        assert!(
            found.is_sorted_by(|a, b| a < b),
            "seed {seed}: out of order or twice"
        );
        let found: BTreeSet<_> = found.into_iter().collect();
        let missing = (0..stays).find(|number| !found.contains(&digest(*number)));
        assert_eq!(missing, None, "seed {seed}");
        let known: BTreeSet<_> = (0..stays + goes).map(digest).collect();
        assert!(
            found.is_subset(&known),
            "seed {seed}: a digest that was never there"
        );
    }
}

#[test]
fn an_iteration_goes_on_after_any_digest_whether_or_not_it_is_there() {
    let mut directory = new_directory();
    (0..1_000).for_each(|number| insert(&mut directory, digest(number)));
    let all: BTreeSet<_> = (0..1_000).map(digest).collect();
    for number in 900..1_100 {
        let after = digest(number);
        let mut iterate = Iterate::new(PARTITION, Some(after), 100);
        let piece = loop {
            match step(&mut iterate, &directory) {
                Piece::Walking => {}
                Piece::Digests(digests) => break digests,
                Piece::End => break vec![],
            }
        };
        let expected = all.iter().filter(|digest| **digest > after).take(100);
        assert!(expected.eq(&piece));
    }
}

#[test]
fn no_step_visits_more_than_a_slice_and_no_piece_is_larger_than_asked_for() {
    let mut directory = new_directory();
    (0..10_000).for_each(|number| insert(&mut directory, digest(number)));
    for (asked, largest) in [(1, 1), (7, 7), (usize::MAX, PIECE_DIGESTS_MAX)] {
        let mut iterate = Iterate::new(PARTITION, None, asked);
        let mut steps = 1;
        let piece = loop {
            match step(&mut iterate, &directory) {
                Piece::Walking => steps += 1,
                Piece::Digests(digests) => break digests,
                Piece::End => panic!("there are some"),
            }
        };
        assert_eq!(piece.len(), largest);
        assert!(steps >= 10_000 / SLICE_ENTRIES_MAX, "{steps} steps");
    }
}

#[test]
fn an_empty_partition_ends_at_once() {
    let mut iterate = Iterate::new(PARTITION, None, 1);
    assert_eq!(step(&mut iterate, &new_directory()), Piece::End);
    assert!(iterate.done);
}
