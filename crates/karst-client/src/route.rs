//! From a key to the node that owns it: the partition map, and how nodes' claims are merged into it.
//!
//! Each node claims its partitions with one bitmap per replica column, column 0 being the master.
//! Merging is pure; the tend task ([`crate::cluster`]) feeds it and publishes the result.
//!
//! Invariants
//!   an entry changes only by a claim whose regime is at least the entry's, or when its node leaves
//!   a claim that is not made removes nothing: the new owner's claim is what moves a partition

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_data::key::{PARTITIONS, PartitionId};
use smallvec::SmallVec;

use crate::policy::Replica;
use crate::pool::Node;

/// Most replica columns kept; servers that announce more are refused as malformed.
const COLUMNS_MAX: usize = 256;

/// Bytes of one bitmap.
const BITMAP_BYTES: usize = PARTITIONS / 8;

/// The replicas of one partition.
#[derive(Clone, Debug, Default)]
struct Entry {
    regime: u32,
    /// By column; `None` where nobody has made a claim.
    replicas: SmallVec<[Option<Arc<Node>>; 3]>,
}

/// The partitions of one namespace.
#[derive(Clone, Debug)]
struct Namespace {
    /// Regimes count from 1 in strong-consistency namespaces and stay 0 in others.
    strong: bool,
    entries: Vec<Entry>,
}

impl Namespace {
    fn new(regime: u32) -> Namespace {
        Namespace {
            strong: regime != 0,
            entries: vec![Entry::default(); PARTITIONS],
        }
    }
}

/// Who owns what, in every namespace. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionMap {
    namespaces: HashMap<String, Arc<Namespace>>,
}

/// Which of a partition's replicas to ask. Of those the wish allows, the first one that is not avoided, has
/// failed this call the least, and suits best.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice<'a> {
    /// The caller's wish.
    pub(crate) replica: Replica,
    /// Whether a strong-consistency namespace insists on the master.
    pub(crate) strong_needs_master: bool,
    /// Where a round over all replicas starts.
    pub(crate) turn: usize,
    /// The client's own racks, the nearest first.
    pub(crate) racks: &'a [u32],
    /// Who failed this call.
    pub(crate) failed: &'a Failed,
    /// The moment for which nodes are judged.
    pub(crate) now: Instant,
}

/// Nodes that failed a call, and how often. After a new map a node that was not asked yet is asked before
/// those: it is the new master, or passes the request on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failed(SmallVec<[(Arc<Node>, u32); 2]>);

impl Failed {
    pub(crate) fn add(&mut self, node: &Arc<Node>) {
        match self
            .0
            .iter_mut()
            .find(|(known, _)| Arc::ptr_eq(known, node))
        {
            Some((_, times)) => *times += 1,
            None => self.0.push((Arc::clone(node), 1)),
        }
    }

    fn times(&self, node: &Arc<Node>) -> u32 {
        let known = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, node));
        known.map_or(0, |(_, times)| *times)
    }
}

/// What one node claims in one namespace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    namespace: String,
    regime: u32,
    /// By column.
    bitmaps: Vec<Vec<u8>>,
}

/// Reads the answer to `replicas`. `None` if it has another form.
pub(crate) fn parse_replicas(text: &str) -> Option<Vec<Claim>> {
    let claims = text.split(';').filter(|claim| !claim.is_empty());
    claims.map(parse_claim).collect()
}

fn parse_claim(text: &str) -> Option<Claim> {
    let (namespace, rest) = text.split_once(':')?;
    let mut parts = rest.split(',');
    let regime = parts.next()?.parse().ok()?;
    let columns: usize = parts.next()?.parse().ok()?;
    let bitmaps: Vec<Vec<u8>> = parts
        .map(|bitmap| BASE64.decode(bitmap).ok())
        .collect::<Option<_>>()?;
    let sound = bitmaps.len() == columns
        && columns <= COLUMNS_MAX
        && bitmaps.iter().all(|bitmap| bitmap.len() == BITMAP_BYTES);
    sound.then(|| Claim {
        namespace: namespace.to_owned(),
        regime,
        bitmaps,
    })
}

impl PartitionMap {
    /// Whether a namespace is known.
    pub(crate) fn has(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// Whether a namespace answers reads that ask for the newest from the master alone.
    pub(crate) fn is_strong(&self, namespace: &str) -> bool {
        let namespace = self.namespaces.get(namespace);
        namespace.is_some_and(|namespace| namespace.strong)
    }

    /// The node to ask for a partition, if anyone owns it.
    pub(crate) fn owner(
        &self,
        namespace: &str,
        partition: PartitionId,
        choice: Choice<'_>,
    ) -> Option<&Arc<Node>> {
        let known = self.namespaces.get(namespace)?;
        let replicas = &known.entries.get(partition.index())?.replicas;
        let claimed: SmallVec<[&Arc<Node>; 3]> = replicas.iter().flatten().collect();
        let master_only = known.strong && choice.strong_needs_master;
        let allowed = match choice.replica {
            Replica::Master => claimed.get(..1)?,
            Replica::Sequence | Replica::Any | Replica::PreferRack => &claimed[..],
        };
        let count = allowed.len();
        let suits = |column: usize, node: &Node| match choice.replica {
            _ if master_only => (0, column),
            Replica::Master | Replica::Sequence => (0, column),
            Replica::Any => (0, (column + count - choice.turn % count) % count),
            Replica::PreferRack => (node.rack_rank(namespace, choice.racks), column),
        };
        let ranked = allowed.iter().enumerate().min_by_key(|(column, node)| {
            let shunned = node.is_shunned(choice.now);
            let failed = choice.failed.times(node);
            (shunned, failed, suits(*column, node))
        });
        ranked.map(|(_, node)| *node)
    }

    /// Merges what `node` claims, and says what that changed.
    pub(crate) fn merge(&mut self, node: &Arc<Node>, claims: Vec<Claim>) -> Merged {
        let mut merged = Merged::default();
        for claim in claims {
            let namespace = self
                .namespaces
                .entry(claim.namespace)
                .or_insert_with(|| Arc::new(Namespace::new(claim.regime)));
            let namespace = Arc::make_mut(namespace);
            for (column, bitmap) in claim.bitmaps.iter().enumerate() {
                for partition in set_bits(bitmap) {
                    let entry = &mut namespace.entries[partition];
                    match entry.claim(node, column, claim.regime) {
                        Claimed::Refused | Claimed::Already => {}
                        Claimed::Vacant => merged.changed = true,
                        Claimed::From(loser) => merged.lost(loser),
                    }
                }
            }
        }
        merged
    }

    /// Takes a node out of every entry.
    pub(crate) fn remove(&mut self, node: &Arc<Node>) {
        let is_gone = |owner: &Arc<Node>| Arc::ptr_eq(owner, node);
        for namespace in self.namespaces.values_mut() {
            for entry in &mut Arc::make_mut(namespace).entries {
                let gone = entry.replicas.iter_mut();
                gone.filter(|owner| owner.as_ref().is_some_and(is_gone))
                    .for_each(|owner| *owner = None);
            }
        }
    }

    /// Whether a node owns any partition in any column.
    pub(crate) fn owns_any(&self, node: &Arc<Node>) -> bool {
        let mut entries = self
            .namespaces
            .values()
            .flat_map(|namespace| &namespace.entries);
        entries.any(|entry| {
            let mut owners = entry.replicas.iter().flatten();
            owners.any(|owner| Arc::ptr_eq(owner, node))
        })
    }
}

/// What a merge did.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// An entry has another node than before.
    pub(crate) changed: bool,
    /// The nodes that lost an entry: their own claims are out of date.
    pub(crate) losers: Vec<Arc<Node>>,
}

impl Merged {
    fn lost(&mut self, loser: Arc<Node>) {
        self.changed = true;
        if !self.losers.iter().any(|known| Arc::ptr_eq(known, &loser)) {
            self.losers.push(loser);
        }
    }
}

/// What became of a claim of one column of one partition.
enum Claimed {
    /// It is of an older regime.
    Refused,
    /// It was the node's before.
    Already,
    /// Nobody had it.
    Vacant,
    /// This node had it.
    From(Arc<Node>),
}

impl Entry {
    /// Gives a column to `node`, unless the claim is of an older regime.
    fn claim(&mut self, node: &Arc<Node>, column: usize, regime: u32) -> Claimed {
        if regime < self.regime {
            return Claimed::Refused;
        }
        self.regime = regime;
        if self.replicas.len() <= column {
            self.replicas.resize(column + 1, None);
        }
        let owner = &mut self.replicas[column];
        if owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, node)) {
            return Claimed::Already;
        }
        match owner.replace(Arc::clone(node)) {
            Some(loser) => Claimed::From(loser),
            None => Claimed::Vacant,
        }
    }
}

/// The numbers of the bits that are set, the highest bit of the first byte being 0.
fn set_bits(bitmap: &[u8]) -> impl Iterator<Item = usize> {
    bitmap.iter().enumerate().flat_map(|(index, byte)| {
        let set = (0..8).filter(move |bit| byte & (0x80 >> bit) != 0);
        set.map(move |bit| index * 8 + bit)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::pool::PoolConfig;
    use crate::pool::pipe::Refused;

    use super::*;

    fn node(name: &str) -> Arc<Node> {
        let config = PoolConfig {
            pipes: 1,
            depth: 1,
            connect_timeout: Duration::from_secs(1),
            errors_max: 2,
            error_window: Duration::from_secs(1000),
        };
        Arc::new(Node::new(name.into(), ([127, 0, 0, 1], 1).into(), config))
    }

    /// Claims of partition `partition` in `column` of `columns`.
    fn claims(regime: u32, columns: usize, column: usize, partition: usize) -> Vec<Claim> {
        let mut bitmaps = vec![vec![0; BITMAP_BYTES]; columns];
        bitmaps[column][partition / 8] = 0x80 >> (partition % 8);
        let bitmaps: Vec<String> = bitmaps.iter().map(|bits| BASE64.encode(bits)).collect();
        let text = format!("test:{regime},{columns},{}", bitmaps.join(","));
        parse_replicas(&text).unwrap()
    }

    /// Whom a call asks that wishes for `replica`, after these nodes failed it.
    fn asked(
        map: &PartitionMap,
        partition: u16,
        replica: Replica,
        turn: usize,
        failures: &[&Arc<Node>],
    ) -> Option<String> {
        let mut failed = Failed::default();
        failures.iter().for_each(|node| failed.add(node));
        let choice = Choice {
            replica,
            strong_needs_master: true,
            turn,
            racks: &[2, 1],
            failed: &failed,
            now: Instant::now(),
        };
        let owner = map.owner("test", PartitionId(partition), choice);
        owner.map(|node| node.name().to_owned())
    }

    fn master(map: &PartitionMap, partition: u16) -> Option<String> {
        asked(map, partition, Replica::Sequence, 0, &[])
    }

    fn is(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    /// A map in which the nodes have the columns of partition 3 in this order.
    fn row(regime: u32, nodes: &[&Arc<Node>]) -> PartitionMap {
        let mut map = PartitionMap::default();
        for (column, node) in nodes.iter().enumerate() {
            map.merge(node, claims(regime, nodes.len(), column, 3));
        }
        map
    }

    #[test]
    fn the_highest_bit_of_the_first_byte_is_partition_0() {
        assert!(set_bits(&[0x80, 0x01]).eq([0, 15]));
    }

    #[test]
    fn a_claim_moves_a_partition_and_names_who_lost_it() {
        let (a, b) = (node("A"), node("B"));
        let mut map = PartitionMap::default();
        let first = map.merge(&a, claims(0, 1, 0, 492));
        assert!(first.changed && first.losers.is_empty());
        assert_eq!(master(&map, 492), is("A"));
        assert_eq!(master(&map, 491), None);
        let moved = map.merge(&b, claims(0, 1, 0, 492));
        assert!(moved.changed && Arc::ptr_eq(&moved.losers[0], &a));
        assert_eq!(master(&map, 492), is("B"));
        assert!(!map.merge(&b, claims(0, 1, 0, 492)).changed);
        assert!(map.merge(&a, claims(0, 1, 0, 7)).losers.is_empty());
        assert_eq!(master(&map, 492), is("B"));
    }

    #[test]
    fn a_claim_of_an_older_regime_changes_nothing() {
        let (a, b) = (node("A"), node("B"));
        let mut map = PartitionMap::default();
        map.merge(&a, claims(5, 1, 0, 1));
        assert!(!map.merge(&b, claims(4, 1, 0, 1)).changed);
        assert_eq!(master(&map, 1), is("A"));
        map.merge(&b, claims(5, 1, 0, 1));
        assert_eq!(master(&map, 1), is("B"));
    }

    #[test]
    fn retries_go_to_replicas_that_have_not_failed_and_any_takes_turns() {
        let (a, b) = (node("A"), node("B"));
        let map = row(0, &[&a, &b]);
        let ask = |replica, turn, failed: &[&Arc<Node>]| asked(&map, 3, replica, turn, failed);
        assert_eq!(ask(Replica::Master, 1, &[&a]), is("A"));
        assert_eq!(ask(Replica::Sequence, 1, &[]), is("A"));
        assert_eq!(ask(Replica::Sequence, 1, &[&a]), is("B"));
        assert_eq!(ask(Replica::Sequence, 1, &[&a, &b]), is("A"));
        assert_eq!(ask(Replica::Any, 0, &[]), is("A"));
        assert_eq!(ask(Replica::Any, 1, &[]), is("B"));
        assert_eq!(ask(Replica::Any, 1, &[&b]), is("A"));
        assert_eq!(ask(Replica::Any, usize::MAX, &[]), is("B"));
    }

    #[test]
    fn a_new_master_is_asked_before_the_replica_whose_turn_it_would_have_been() {
        let (a, b, c) = (node("A"), node("B"), node("C"));
        let mut map = row(0, &[&a, &b]);
        map.merge(&c, claims(0, 2, 0, 3));
        assert_eq!(asked(&map, 3, Replica::Sequence, 0, &[&a]), is("C"));
    }

    #[test]
    fn a_node_that_is_down_or_strained_is_asked_only_if_there_is_no_other() {
        let (a, b) = (node("A"), node("B"));
        let map = row(0, &[&a, &b]);
        a.set_down(true);
        assert_eq!(master(&map, 3), is("B"));
        assert_eq!(asked(&map, 3, Replica::Master, 0, &[]), is("A"));
        a.set_down(false);
        assert_eq!(master(&map, 3), is("A"));
        let strain = a.refused(Refused::NoRoom, Instant::now());
        a.note(&strain);
        assert_eq!(master(&map, 3), is("A"));
        a.note(&strain);
        assert_eq!(master(&map, 3), is("B"));
        b.set_down(true);
        assert_eq!(master(&map, 3), is("A")); // one as bad as the other
    }

    #[test]
    fn the_nearest_rack_is_preferred_and_others_are_better_than_nothing() {
        let (a, b, c) = (node("A"), node("B"), node("C"));
        let map = row(0, &[&a, &b, &c]);
        let ask = |failed: &[&Arc<Node>]| asked(&map, 3, Replica::PreferRack, 0, failed);
        assert_eq!(ask(&[]), is("A")); // nobody has said where it is
        for (node, rack) in [(&a, 9), (&b, 1), (&c, 2)] {
            node.set_racks([("test".to_owned(), rack)].into());
        }
        assert_eq!(ask(&[]), is("C"));
        assert_eq!(ask(&[&c]), is("B"));
        assert_eq!(ask(&[&c, &b]), is("A"));
    }

    #[test]
    fn strong_namespaces_are_read_from_the_master_unless_allowed_otherwise() {
        let (a, b) = (node("A"), node("B"));
        let map = row(1, &[&a, &b]);
        assert!(map.is_strong("test"));
        assert_eq!(asked(&map, 3, Replica::Any, 1, &[]), is("A"));
        let failed = Failed::default();
        let relaxed = Choice {
            replica: Replica::Any,
            strong_needs_master: false,
            turn: 1,
            racks: &[],
            failed: &failed,
            now: Instant::now(),
        };
        let owner = map.owner("test", PartitionId(3), relaxed);
        assert_eq!(owner.unwrap().name(), "B");
    }

    #[test]
    fn a_node_that_left_owns_nothing() {
        let (a, b) = (node("A"), node("B"));
        let mut map = row(0, &[&a, &b]);
        assert!(map.owns_any(&a));
        map.remove(&a);
        assert!(!map.owns_any(&a));
        assert_eq!(master(&map, 3), is("B"));
    }

    #[test]
    fn claims_of_another_form_are_refused() {
        let short = BASE64.encode([0; BITMAP_BYTES - 1]);
        for text in [
            "test".to_owned(),
            "test:x,1,".to_owned(),
            "test:0,1,not base64".to_owned(),
            format!("test:0,1,{short}"),
            format!("test:0,2,{}", BASE64.encode([0; BITMAP_BYTES])),
        ] {
            assert_eq!(parse_replicas(&text), None, "{text}");
        }
        assert_eq!(parse_replicas(""), Some(vec![]));
    }
}
