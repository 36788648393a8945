//! A partition that was let go of never comes back from the device, and what is received of it afterwards does:
//! after starts from the device, where the floor and the records are all that is left.

mod plain;

use std::collections::BTreeMap;

use karst_data::flat::Record;
use karst_data::key::{Digest, PartitionId};
use karst_engine::floor::Floor;
use karst_engine::namespace::FIRST_REGIME;
use karst_engine::recover::Intake;
use karst_engine::replica::Copied;
use karst_engine::write::Hand;
use karst_engine::{Reason, Step};
use karst_storage::index::NewEntry;
use karst_storage::log::BlockId;
use karst_storage::place::DeviceId;
use plain::{World, digest, value};

const BLOCKS: u32 = 24;
const VALUE_BYTES: usize = 900;

/// Keys of one partition, and of others.
fn keys(id: PartitionId, count: usize) -> (Vec<u64>, Vec<u64>) {
    let is_in = |key: &u64| digest(*key).partition() == id;
    let inside = (0..).filter(is_in).take(count).collect();
    let outside = (0..).filter(|key| !is_in(key)).take(count).collect();
    (inside, outside)
}

fn the_partition() -> PartitionId {
    digest(1).partition()
}

/// A record of this node as its primary would send it.
fn image(world: &World, key: u64) -> Vec<u8> {
    let mut fetched = None;
    loop {
        match world.namespace.image(&digest(key), fetched.as_ref()) {
            Step::Done(image) => return image.unwrap().expect("it is there"),
            Step::Read(read) => fetched = Some(world.fetch(read)),
            Step::Wait => unreachable!("an image waits for nothing"),
        }
    }
}

fn take(world: &World, image: &[u8], regime: u32) -> Copied {
    let hand = Hand {
        regime,
        ..world.hand(0)
    };
    let record = Record::parse_unsealed(image).unwrap();
    match world.namespace.take_copy(&hand, &record) {
        Step::Done(copied) => copied,
        Step::Read(_) | Step::Wait => panic!("there is room and nothing to read"),
    }
}

fn receive(world: &World, image: &[u8]) {
    let regime = world.namespace.regime(the_partition());
    let copied = take(world, image, regime);
    assert!(matches!(copied, Copied::Stored(_)), "{copied:?}");
}

fn entries(world: &World, id: PartitionId) -> BTreeMap<Digest, NewEntry> {
    let (mut entries, mut found) = (BTreeMap::new(), Vec::new());
    let mut after = None;
    loop {
        after = world.namespace.entry_slice(id, after, &mut found).next;
        entries.extend(found.drain(..).map(|entry| (entry.digest, entry)));
        if after.is_none() {
            return entries;
        }
    }
}

fn live_bytes(world: &World) -> u64 {
    world.namespace.log().device_live_bytes(DeviceId(0))
}

/// Ten records inside and outside of the partition, side by side in the same blocks, and two deleted ones.
fn filled() -> (World, Vec<u64>, Vec<u64>) {
    filled_with(VALUE_BYTES)
}

fn filled_with(value_bytes: usize) -> (World, Vec<u64>, Vec<u64>) {
    let world = World::new(BLOCKS, 1);
    let (inside, outside) = keys(the_partition(), 10);
    for key in inside.iter().zip(&outside).flat_map(|(a, b)| [*a, *b]) {
        world.write(0, key, &value(key, 1, value_bytes)).unwrap();
    }
    world.delete(inside[9]);
    world.delete(outside[9]);
    world.flush(0);
    (world, inside, outside)
}

/// Writes one record until the next block is opened: those before it are full.
fn to_next_block(world: &World) {
    let fills = world.namespace.log().fills();
    let filler = (20_000..).find(|key| digest(*key).partition() != the_partition());
    let filler = filler.expect("there are many");
    for version in 0.. {
        let value = value(filler, version, VALUE_BYTES);
        world.write(0, filler, &value).unwrap();
        if world.namespace.log().fills() > fills {
            break;
        }
    }
    world.flush(0);
}

/// Takes away what an emptied block held.
fn wipe(world: &World, block: BlockId) {
    let (offset, size) = world.namespace.log().block_extent(block);
    world.device.write()[offset as usize..offset as usize + size].fill(0);
}

#[test]
fn after_a_start_there_is_what_was_received_since_the_partition_was_let_go_of_and_nothing_else() {
    let (mut world, inside, outside) = filled();
    let images: Vec<Vec<u8>> = inside[..9].iter().map(|key| image(&world, *key)).collect();
    let (others, live) = (
        entries(&world, digest(outside[0]).partition()),
        live_bytes(&world),
    );
    world.let_go(the_partition());
    let live_of_others = live_bytes(&world);
    assert!(live_of_others < live);
    // It joins again: of what it held some was deleted meanwhile, and the rest is sent as it was.
    world.namespace.reign(the_partition(), 3, false);
    let open = world.namespace.log().fills();
    for image in &images[..4] {
        receive(&world, image);
    }
    world.flush(0);
    assert!(
        world.namespace.log().fills() > open,
        "they lie in a new block"
    );
    let (received, live) = (entries(&world, the_partition()), live_bytes(&world));
    for _ in 0..3 {
        world.start_again(&[]);
        assert_eq!(entries(&world, the_partition()), received);
        assert_eq!(entries(&world, digest(outside[0]).partition()), others);
        assert_eq!(live_bytes(&world), live, "what is void is not live");
        for (number, key) in inside.iter().enumerate() {
            let found = world.read(*key);
            match number < 4 {
                true => assert_eq!(found.unwrap(), value(*key, 1, VALUE_BYTES)),
                false => assert_eq!(found, Err(Reason::NotFound)),
            }
        }
        for key in &outside[..9] {
            assert_eq!(world.read(*key).unwrap(), value(*key, 1, VALUE_BYTES));
        }
    }
}

#[test]
fn a_node_that_ends_while_it_lets_go_finds_nothing_of_the_partition_again() {
    let (mut world, inside, _) = filled();
    let id = the_partition();
    assert!(world.namespace.begin_leaving(id, FIRST_REGIME));
    // Before the note is kept nothing has gone, and a node that ends here has let go of nothing.
    assert_eq!(world.floors.get(&id), None);
    let before = entries(&world, id);
    world.start_again(&[]);
    assert_eq!(entries(&world, id), before);
    // From then on all of it is void, however much has been dropped.
    world.floors.insert(id, Floor::Leaving);
    world.start_again(&[]);
    assert_eq!(world.namespace.floor(id), Some(Floor::Leaving));
    assert!(entries(&world, id).is_empty());
    let image = {
        let (other, ..) = filled();
        image(&other, inside[0])
    };
    assert!(
        matches!(take(&world, &image, FIRST_REGIME), Copied::Stale),
        "it takes part in nothing before a floor is kept"
    );
    world.drop_all(id);
    let floor = world.namespace.next_floor();
    world.floors.insert(id, Floor::Fill(floor));
    world.namespace.end_leaving(id, floor);
    receive(&world, &image);
    world.flush(0);
    world.start_again(&[]);
    assert_eq!(entries(&world, id).len(), 1);
    assert!(world.read(inside[0]).is_ok());
}

#[test]
fn another_regime_is_in_force_only_when_nothing_is_left_that_could_be_taken_for_its_state() {
    let (world, inside, _) = filled();
    let (id, namespace) = (the_partition(), &world.namespace);
    let image = image(&world, inside[0]);
    namespace.reign(id, 3, false);
    assert!(!namespace.begin_leaving(id, 2), "the map has moved on");
    assert!(namespace.begin_leaving(id, 3));
    assert!(!namespace.begin_leaving(id, 3), "it is under way");
    namespace.reign(id, 4, false);
    namespace.reign(id, 5, false);
    assert_eq!(namespace.regime(id), 3);
    assert!(matches!(take(&world, &image, 5), Copied::Early));
    assert!(matches!(take(&world, &image, 3), Copied::Stale));
    world.drop_all(id);
    namespace.end_leaving(id, namespace.next_floor());
    assert_eq!(namespace.regime(id), 5);
    assert!(matches!(take(&world, &image, 5), Copied::Stored(_)));
}

#[test]
fn defrag_lifts_nothing_above_the_floor_that_was_let_go_of_and_drops_nothing_below_that_was_not() {
    // So small that what is moved leaves room in the block that defrag fills.
    let (mut world, inside, outside) = filled_with(300);
    let id = the_partition();
    let images: Vec<Vec<u8>> = inside[..9].iter().map(|key| image(&world, *key)).collect();
    to_next_block(&world);
    let full = |world: &World| -> Vec<BlockId> {
        let blocks = (0..BLOCKS).map(|block| BlockId {
            device: DeviceId(0),
            block,
        });
        let log = world.namespace.log();
        let is_full = |id: &BlockId| log.is_full(*id, log.fill_of(*id));
        blocks.filter(is_full).collect()
    };
    // Defrag has an open block when the partition begins to leave, and moves some of it on the way.
    let first = full(&world)[0];
    assert!(world.namespace.begin_leaving(id, FIRST_REGIME));
    world.floors.insert(id, Floor::Leaving);
    let job = world.namespace.log().move_block(first).unwrap();
    assert!(world.empty(0, job));
    world.drop_all(id);
    let floor = world.namespace.next_floor();
    world.floors.insert(id, Floor::Fill(floor));
    world.namespace.end_leaving(id, floor);
    world.flush(0);
    // What is received since is moved too, once from a block of its own.
    for image in &images[..4] {
        receive(&world, image);
    }
    to_next_block(&world);
    for block in full(&world) {
        let job = world.namespace.log().move_block(block).unwrap();
        assert!(world.empty(0, job));
        world.flush(0);
        wipe(&world, block); // it may be filled anew: what was moved is all there is
    }
    let received = entries(&world, id);
    assert_eq!(received.len(), 4);
    for entry in received.values() {
        let log = world.namespace.log();
        assert!(log.fill_of(log.block_of(entry.place)) >= floor);
        assert!(entry.flags.moves() > 0);
    }
    world.start_again(&[]);
    assert_eq!(entries(&world, id), received);
    for (number, key) in inside.iter().enumerate() {
        assert_eq!(world.read(*key).is_ok(), number < 4);
    }
    assert!(outside[..9].iter().all(|key| world.read(*key).is_ok()));
}

#[test]
fn entries_that_a_checkpoint_remembers_are_void_below_the_floor_as_well() {
    let (mut world, inside, _) = filled();
    let id = the_partition();
    let remembered: Vec<NewEntry> = entries(&world, id).into_values().collect();
    let kept = image(&world, inside[0]);
    world.let_go(id);
    receive(&world, &kept);
    world.flush(0);
    let received = entries(&world, id);
    for at_once in [false, true] {
        world.start_again(&[]);
        let live = live_bytes(&world);
        let mut intake = Intake::new(&world.namespace);
        match at_once {
            true => intake.take_partition(id, &remembered).unwrap(),
            false => remembered
                .iter()
                .for_each(|entry| intake.take_entry(*entry).unwrap()),
        }
        intake.finish().unwrap();
        assert_eq!(entries(&world, id), received);
        assert_eq!(live_bytes(&world), live);
    }
}
