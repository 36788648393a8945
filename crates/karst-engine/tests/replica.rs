//! Two nodes that hold a partition, and what they tell each other, without nodes.

mod plain;

use std::collections::{BTreeMap, BTreeSet};

use karst_cluster::fabric::Listed;
use karst_data::flat::Record;
use karst_data::key::{Digest, PartitionId};
use karst_data::operation::{CommandFlags, Operation};
use karst_data::policy::{Exists, GenerationRule};
use karst_data::time::{Now, Ttl};
use karst_data::value::{ParticleType, Value};
use karst_engine::migrate::adopt::{Adopt, Adopted};
use karst_engine::reconcile::{Difference, How, difference};
use karst_engine::replica::Copied;
use karst_engine::write::{DeleteRequest, Hand, WriteRequest};
use karst_engine::{Namespace, Reason, Step};
use karst_storage::place::DeviceId;
use plain::{World, digest, value};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const BLOCKS: u32 = 64;
const KEYS: u64 = 40;

/// A node whose clock is set by hand.
struct Node {
    world: World,
    regime: u32,
    now_ms: u64,
}

impl Node {
    fn new() -> Node {
        Node {
            world: World::new(BLOCKS, 1),
            regime: 1,
            now_ms: 1_000_000,
        }
    }

    fn hand(&self) -> Hand {
        Hand {
            now: Now::from_epoch_ms(self.now_ms),
            regime: self.regime,
            replicated: true,
            ..self.world.hand(0)
        }
    }

    fn reign(&mut self, regime: u32) {
        self.regime = regime;
        PartitionId::all().for_each(|id| self.world.namespace.reign(id, regime, false));
    }

    fn namespace(&self) -> &Namespace {
        &self.world.namespace
    }

    /// Writes or deletes a key, and returns what other nodes are to have.
    fn change(&self, key: u64, version: Option<u64>) -> Option<Vec<u8>> {
        let step = match version {
            Some(version) => self.write(key, &value(key, version, 40)),
            None => {
                let request = DeleteRequest {
                    digest: digest(key),
                    set: b"demo",
                    key: None,
                    generation: GenerationRule::Any,
                    filter: None,
                };
                let image =
                    |written: Result<karst_engine::write::Written<'_>, _>| written.ok()?.image;
                self.namespace().delete(&self.hand(), &request, None, image)
            }
        };
        match step {
            Step::Done(image) => image,
            Step::Read(_) | Step::Wait => panic!("there is room and nothing to read"),
        }
    }

    fn write(&self, key: u64, value: &[u8]) -> Step<Option<Vec<u8>>> {
        let blob = Value {
            particle: ParticleType::Blob,
            bytes: value.into(),
        };
        let request = WriteRequest {
            digest: digest(key),
            set: b"demo",
            key: None,
            exists: Exists::Replace,
            generation: GenerationRule::Any,
            ttl: Ttl::Never,
            flags: CommandFlags::default(),
            operations: &[Operation::Write(b"v", Some(blob))],
            filter: None,
        };
        self.namespace()
            .write(&self.hand(), &request, None, |written| written.ok()?.image)
    }

    fn take(&self, image: &[u8]) -> Copied {
        let record = Record::parse_unsealed(image).unwrap();
        record.validate().unwrap();
        match self.namespace().take_copy(&self.hand(), &record) {
            Step::Done(copied) => copied,
            Step::Read(_) | Step::Wait => panic!("there is room"),
        }
    }

    /// What readers see.
    fn content(&self) -> BTreeMap<u64, Vec<u8>> {
        let read = |key| match self.world.read(key) {
            Ok(value) => Some((key, value)),
            Err(Reason::NotFound) => None,
            Err(reason) => panic!("key {key}: {reason}"),
        };
        (0..KEYS).filter_map(read).collect()
    }

    fn image(&self, digest: &Digest) -> Vec<u8> {
        let mut fetched = None;
        loop {
            match self.namespace().image(digest, fetched.as_ref()) {
                Step::Done(image) => return image.unwrap().unwrap(),
                Step::Read(read) => fetched = Some(self.world.fetch(read)),
                Step::Wait => panic!("reading does not wait"),
            }
        }
    }

    fn listed(&self, id: PartitionId, range: u8) -> Vec<Listed> {
        let entries = self.namespace().range_entries(id, range);
        let listed = entries.iter().map(karst_engine::reconcile::listed);
        listed.collect()
    }
}

/// Reconciles every partition that has a key of two nodes, the first being the primary, as a node does.
fn reconcile(primary: &Node, other: &Node, how: How) -> usize {
    let mut shipped = 0;
    let partitions: BTreeSet<_> = (0..KEYS).map(|key| digest(key).partition().0).collect();
    for id in partitions.into_iter().map(PartitionId) {
        let (mine, theirs) = (
            primary.namespace().range_hashes(id),
            other.namespace().range_hashes(id),
        );
        for range in (0..=255u8).filter(|it| mine[usize::from(*it)] != theirs[usize::from(*it)]) {
            shipped += reconcile_range(primary, other, id, range, how);
        }
        let (mine, theirs) = (
            primary.namespace().range_hashes(id),
            other.namespace().range_hashes(id),
        );
        // Tombstones that the primary does not need stay the difference.
        for range in (0..=255u8).filter(|it| mine[usize::from(*it)] != theirs[usize::from(*it)]) {
            let mine = primary.namespace().range_entries(id, range);
            let left = difference(&mine, &other.listed(id, range), how, false);
            assert_eq!(left, Difference::default(), "partition {id}");
        }
    }
    shipped
}

fn reconcile_range(primary: &Node, other: &Node, id: PartitionId, range: u8, how: How) -> usize {
    let mine = primary.namespace().range_entries(id, range);
    let difference = difference(&mine, &other.listed(id, range), how, false);
    for digest in &difference.pull {
        let image = other.image(digest);
        let record = Record::parse_unsealed(&image).unwrap();
        match primary.namespace().merge(&primary.hand(), &record) {
            Step::Done(Ok(merged)) => {
                let image = merged.image.expect("nobody else writes");
                assert!(matches!(other.take(&image), Copied::Stored(_)));
            }
            other => panic!("{:?}", matches!(other, Step::Wait)),
        }
    }
    for (digest, theirs) in &difference.renew {
        match primary
            .namespace()
            .renew(&primary.hand(), digest, *theirs, None)
        {
            Step::Done(Ok(renewed)) => {
                let image = renewed.image.expect("nobody else writes");
                assert!(matches!(other.take(&image), Copied::Stored(_)));
            }
            Step::Done(Err(reason)) => panic!("{reason}"),
            Step::Read(_) | Step::Wait => panic!("it is in memory"),
        }
    }
    for digest in &difference.bury {
        match primary.namespace().deny(&primary.hand(), digest) {
            Step::Done(Ok(denied)) => {
                let image = denied.image.expect("the primary does not know it");
                assert!(matches!(other.take(&image), Copied::Stored(_)));
            }
            Step::Done(Err(reason)) => panic!("{reason}"),
            Step::Read(_) | Step::Wait => panic!("there is room"),
        }
    }
    for digest in &difference.push {
        assert!(matches!(
            other.take(&primary.image(digest)),
            Copied::Stored(_)
        ));
    }
    difference.pull.len() + difference.renew.len() + difference.push.len() + difference.bury.len()
}

#[test]
fn writes_that_arrive_late_twice_or_out_of_order_leave_what_the_primary_has() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (primary, replica) = (Node::new(), Node::new());
        let mut images = Vec::new();
        for version in 0..60 {
            let key = rng.random_range(0..KEYS);
            let deletes = rng.random_ratio(1, 4);
            images.extend(primary.change(key, (!deletes).then_some(version)));
        }
        let doubled: Vec<_> = images
            .iter()
            .filter(|_| rng.random_ratio(1, 3))
            .cloned()
            .collect();
        images.extend(doubled);
        images.shuffle(&mut rng);
        images.iter().for_each(|image| {
            replica.take(image);
        });
        assert_eq!(replica.content(), primary.content(), "seed {seed}");
        let moved = reconcile(&primary, &replica, How::Impose);
        assert_eq!(moved, 0, "seed {seed}: there was nothing left to tell");
    }
}

#[test]
fn two_nodes_that_wrote_apart_come_to_hold_the_later_state_of_every_record() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut nodes = [Node::new(), Node::new()];
        for version in 0..40 {
            let key = rng.random_range(0..KEYS);
            if let Some(image) = nodes[0].change(key, Some(version)) {
                nodes[1].take(&image);
            }
        }
        // Apart: each goes on under the regime that it knows, or under a later one.
        let ahead = rng.random_range(0..2);
        nodes[ahead].reign(2);
        let mut latest = nodes[0].content();
        for version in 100..160 {
            let at = rng.random_range(0..2);
            nodes[at].now_ms = 1_000_000 + version;
            let key = rng.random_range(0..KEYS);
            let deletes = rng.random_ratio(1, 4);
            let changed = nodes[at].change(key, (!deletes).then_some(version));
            match (changed, deletes) {
                (Some(_), false) => latest.insert(key, value(key, version, 40)),
                (Some(_), true) => latest.remove(&key),
                (None, _) => None,
            };
        }
        nodes.iter_mut().for_each(|node| node.reign(3));
        let [primary, other] = &nodes;
        reconcile(primary, other, How::Merge);
        assert_eq!(primary.content(), latest, "seed {seed}");
        assert_eq!(other.content(), latest, "seed {seed}");
        assert_eq!(reconcile(primary, other, How::Merge), 0, "seed {seed}");
    }
}

#[test]
fn a_delete_and_what_is_written_after_it_outweigh_what_they_follow_within_the_same_millisecond() {
    for ends_alive in [false, true] {
        let mut nodes = [Node::new(), Node::new()];
        let older: Vec<_> = (1..=5)
            .filter_map(|it| nodes[0].change(1, Some(it)))
            .collect();
        older.iter().for_each(|image| {
            nodes[1].take(image);
        });
        nodes[0].change(1, None); // the other one does not hear of it
        if ends_alive {
            nodes[0].change(1, Some(6));
        }
        nodes.iter_mut().for_each(|node| node.reign(2));
        let left = nodes[0].content();
        assert_eq!(left.len(), usize::from(ends_alive));
        let [knows, does_not] = &nodes;
        reconcile(does_not, knows, How::Merge);
        assert_eq!(does_not.content(), left);
        assert_eq!(knows.content(), left);
    }
}

#[test]
fn who_is_given_a_partition_remembers_what_was_deleted_from_it() {
    let (primary, joins) = (Node::new(), Node::new());
    primary.change(1, Some(1)).unwrap();
    let comes_back = Node::new();
    comes_back.take(&primary.image(&digest(1)));
    primary.change(1, None).unwrap();
    reconcile(&primary, &joins, How::Impose);
    let id = digest(1).partition();
    assert_eq!(joins.namespace().partition_counts(id), (0, 1));
    assert_eq!(
        joins.namespace().digests_of(id),
        primary.namespace().digests_of(id)
    );
    reconcile(&joins, &comes_back, How::Merge);
    assert_eq!(joins.content(), BTreeMap::new());
    assert_eq!(comes_back.content(), BTreeMap::new());
}

#[test]
fn a_delete_that_only_one_node_remembers_wins_over_a_record_that_only_another_one_has() {
    // The one that is to merge them has nothing of that range, as the one that remembers has no record there.
    let (mut remembers, keeps) = (Node::new(), Node::new());
    let image = keeps.change(1, Some(1)).unwrap();
    remembers.take(&image);
    remembers.now_ms += 5;
    remembers.change(1, None).unwrap();
    for order in [[&remembers, &keeps], [&keeps, &remembers]] {
        let mut primary = Node::new();
        primary.reign(2);
        for node in order {
            let (id, range) = (digest(1).partition(), digest(1).0[2]);
            let hashes = |node: &Node| node.namespace().range_hashes(id)[usize::from(range)];
            assert_ne!(hashes(&primary), hashes(node));
            let mine = primary.namespace().range_entries(id, range);
            for digest in difference(&mine, &node.listed(id, range), How::Merge, false).pull {
                let image = node.image(&digest);
                let record = Record::parse_unsealed(&image).unwrap();
                assert!(matches!(
                    primary.namespace().merge(&primary.hand(), &record),
                    Step::Done(Ok(_))
                ));
            }
        }
        assert_eq!(primary.content(), BTreeMap::new());
    }
}

#[test]
fn a_node_that_is_apart_keeps_what_outweighs_a_write_that_merging_with_another_one_made() {
    let (mut primary, mut apart, keeps) = (Node::new(), Node::new(), Node::new());
    let old = keeps.change(1, Some(1)).unwrap();
    apart.take(&old);
    apart.now_ms += 5;
    apart.change(1, None).unwrap();
    primary.reign(2);
    apart.reign(2);
    apart.world.namespace.reign(digest(1).partition(), 2, true);
    let merged = |image: &[u8]| {
        let record = Record::parse_unsealed(image).unwrap();
        match primary.namespace().merge(&primary.hand(), &record) {
            Step::Done(Ok(merged)) => merged.image,
            Step::Done(Err(_)) | Step::Read(_) | Step::Wait => panic!("there is room"),
        }
    };
    assert!(matches!(apart.take(&merged(&old).unwrap()), Copied::Known));
    let delete = merged(&apart.image(&digest(1))).unwrap();
    assert!(matches!(apart.take(&delete), Copied::Stored(_)));
    assert_eq!(apart.content(), BTreeMap::new());
    assert_eq!(primary.content(), BTreeMap::new());
}

#[test]
fn a_write_that_was_decided_under_an_older_regime_changes_nothing() {
    let mut node = Node::new();
    node.change(1, Some(1)).unwrap();
    let other = Node::new();
    let late = other.change(2, Some(2)).unwrap();
    node.reign(5);
    node.regime = 1;
    assert!(matches!(node.write(1, b"late"), Step::Wait));
    assert!(matches!(node.take(&late), Copied::Stale));
    assert_eq!(node.content(), BTreeMap::from([(1, value(1, 1, 40))]));
}

#[test]
fn who_joins_with_what_is_left_of_earlier_days_comes_to_hold_what_the_primary_holds() {
    for seed in 0..100 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut nodes = [Node::new(), Node::new()];
        nodes[1].now_ms += rng.random_range(1..100);
        for node in &nodes {
            for version in 0..40 {
                let key = rng.random_range(0..KEYS);
                let deletes = rng.random_ratio(1, 4);
                node.change(key, (!deletes).then_some(version));
            }
        }
        let ahead = rng.random_range(0..2);
        nodes[ahead].reign(2);
        nodes[ahead].now_ms += 500;
        nodes[ahead].change(1, Some(77));
        nodes.iter_mut().for_each(|node| node.reign(3));
        let [primary, other] = &nodes;
        let before = primary.content();
        reconcile(primary, other, How::Impose);
        assert_eq!(primary.content(), before, "seed {seed}");
        assert_eq!(other.content(), before, "seed {seed}");
        assert_eq!(reconcile(primary, other, How::Impose), 0, "seed {seed}");
    }
}

#[test]
fn a_partition_is_let_go_only_under_the_regime_that_said_so() {
    let mut node = Node::new();
    for key in 0..KEYS {
        node.change(key, Some(1));
    }
    let id = digest(1).partition();
    node.reign(4);
    assert!(!node.namespace().begin_leaving(id, 3));
    assert_eq!(node.content().len() as u64, KEYS);
    PartitionId::all().for_each(|id| node.world.let_go(id));
    assert!(node.content().is_empty());
    assert_eq!(node.namespace().report().records, 0);
    let log = node.namespace().log();
    assert_eq!(log.device_live_bytes(DeviceId(0)), 0);
}

#[test]
fn a_write_that_is_handed_over_is_sent_on_whether_it_came_here_already_or_not() {
    for came in [false, true] {
        let (former, mut primary) = (Node::new(), Node::new());
        let image = former.change(1, Some(1)).unwrap();
        if came {
            primary.take(&image);
        }
        primary.reign(2);
        let id = digest(1).partition();
        let write = Adopt::TakeOver(image);
        let adopted = write.attempt(primary.namespace(), id, &primary.hand(), None);
        let Adopted::Stored(stored) = adopted else {
            panic!("{adopted:?}");
        };
        let follower = Node::new();
        follower.world.namespace.reign(id, 2, false);
        let image = stored.image.expect("others may lack it");
        let hand = primary.hand();
        let record = Record::parse_unsealed(&image).unwrap();
        let taken = follower.namespace().take_copy(&hand, &record);
        assert!(matches!(taken, Step::Done(Copied::Stored(_))));
        assert_eq!(follower.content(), primary.content());
    }
}

#[test]
fn that_a_primary_does_not_know_of_a_record_does_not_undo_it_for_who_has_it() {
    let (mut knows, mut stands_in, mut joins) = (Node::new(), Node::new(), Node::new());
    let image = knows.change(1, Some(1)).unwrap();
    joins.take(&image);
    for node in [&mut knows, &mut stands_in, &mut joins] {
        node.reign(2);
    }
    stands_in.now_ms += 50;
    reconcile(&stands_in, &joins, How::Impose);
    assert_eq!(joins.content(), BTreeMap::new());
    reconcile(&stands_in, &knows, How::Merge);
    assert_eq!(stands_in.content(), knows.content());
    assert_eq!(knows.content(), BTreeMap::from([(1, value(1, 1, 40))]));
}
