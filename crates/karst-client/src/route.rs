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

/// Which of a partition's replicas to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// The caller's wish.
    pub(crate) replica: Replica,
    /// Whether a strong-consistency namespace insists on the master.
    pub(crate) strong_needs_master: bool,
    /// Which attempt this is, from 0.
    pub(crate) attempt: u32,
    /// Where a round over all replicas starts.
    pub(crate) turn: usize,
}

impl Choice {
    /// The master, and after a failure whoever is next: it is the new master or passes the request
    /// on.
    pub(crate) fn master(attempt: u32) -> Choice {
        Choice {
            replica: Replica::Sequence,
            strong_needs_master: true,
            attempt,
            turn: 0,
        }
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

    /// The node to ask for a partition, if anyone owns it.
    pub(crate) fn owner(
        &self,
        namespace: &str,
        partition: PartitionId,
        choice: Choice,
    ) -> Option<&Arc<Node>> {
        let namespace = self.namespaces.get(namespace)?;
        let replicas = &namespace.entries.get(partition.index())?.replicas;
        let mut claimed: SmallVec<[&Arc<Node>; 3]> = replicas.iter().flatten().collect();
        let master_only = namespace.strong && choice.strong_needs_master;
        let at = match choice.replica {
            Replica::Master => 0,
            Replica::Sequence => choice.attempt as usize,
            Replica::Any if master_only => choice.attempt as usize,
            Replica::Any => choice.turn.wrapping_add(choice.attempt as usize),
        };
        match claimed.len() {
            0 => None,
            count => Some(claimed.swap_remove(at % count)),
        }
    }

    /// Merges what `node` claims. Returns the nodes that lost an entry by it: their own claims are
    /// out of date.
    pub(crate) fn merge(&mut self, node: &Arc<Node>, claims: Vec<Claim>) -> Vec<Arc<Node>> {
        let mut losers: Vec<Arc<Node>> = vec![];
        for claim in claims {
            let namespace = self
                .namespaces
                .entry(claim.namespace)
                .or_insert_with(|| Arc::new(Namespace::new(claim.regime)));
            let namespace = Arc::make_mut(namespace);
            for (column, bitmap) in claim.bitmaps.iter().enumerate() {
                for partition in set_bits(bitmap) {
                    let entry = &mut namespace.entries[partition];
                    let Some(loser) = entry.claim(node, column, claim.regime) else {
                        continue;
                    };
                    if !losers.iter().any(|known| Arc::ptr_eq(known, &loser)) {
                        losers.push(loser);
                    }
                }
            }
        }
        losers
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

impl Entry {
    /// Gives a column to `node` and returns who had it before, unless the claim is of an older regime.
    fn claim(&mut self, node: &Arc<Node>, column: usize, regime: u32) -> Option<Arc<Node>> {
        if regime < self.regime {
            return None;
        }
        self.regime = regime;
        if self.replicas.len() <= column {
            self.replicas.resize(column + 1, None);
        }
        let owner = &mut self.replicas[column];
        if owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, node)) {
            return None;
        }
        owner.replace(Arc::clone(node))
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

    use super::*;

    fn node(name: &str) -> Arc<Node> {
        let config = PoolConfig {
            pipes: 1,
            depth: 1,
            connect_timeout: Duration::from_secs(1),
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

    fn owner(map: &PartitionMap, partition: u16, choice: Choice) -> Option<&str> {
        let owner = map.owner("test", PartitionId(partition), choice);
        owner.map(|node| node.name())
    }

    #[test]
    fn the_highest_bit_of_the_first_byte_is_partition_0() {
        assert!(set_bits(&[0x80, 0x01]).eq([0, 15]));
    }

    #[test]
    fn a_claim_moves_a_partition_and_names_who_lost_it() {
        let (a, b) = (node("A"), node("B"));
        let mut map = PartitionMap::default();
        assert!(map.merge(&a, claims(0, 1, 0, 492)).is_empty());
        assert_eq!(owner(&map, 492, Choice::master(0)), Some("A"));
        assert_eq!(owner(&map, 491, Choice::master(0)), None);
        let losers = map.merge(&b, claims(0, 1, 0, 492));
        assert!(Arc::ptr_eq(&losers[0], &a));
        assert_eq!(owner(&map, 492, Choice::master(0)), Some("B"));
        assert!(map.merge(&a, claims(0, 1, 0, 7)).is_empty());
        assert_eq!(owner(&map, 492, Choice::master(0)), Some("B"));
    }

    #[test]
    fn a_claim_of_an_older_regime_changes_nothing() {
        let (a, b) = (node("A"), node("B"));
        let mut map = PartitionMap::default();
        map.merge(&a, claims(5, 1, 0, 1));
        assert!(map.merge(&b, claims(4, 1, 0, 1)).is_empty());
        assert_eq!(owner(&map, 1, Choice::master(0)), Some("A"));
        map.merge(&b, claims(5, 1, 0, 1));
        assert_eq!(owner(&map, 1, Choice::master(0)), Some("B"));
    }

    #[test]
    fn retries_go_to_the_next_replica_and_any_takes_turns() {
        let mut map = PartitionMap::default();
        map.merge(&node("A"), claims(0, 2, 0, 3));
        map.merge(&node("B"), claims(0, 2, 1, 3));
        let choose = |replica, attempt, turn| Choice {
            replica,
            strong_needs_master: true,
            attempt,
            turn,
        };
        assert_eq!(owner(&map, 3, choose(Replica::Master, 1, 1)), Some("A"));
        assert_eq!(owner(&map, 3, choose(Replica::Sequence, 0, 1)), Some("A"));
        assert_eq!(owner(&map, 3, choose(Replica::Sequence, 1, 1)), Some("B"));
        assert_eq!(owner(&map, 3, choose(Replica::Any, 0, 1)), Some("B"));
    }

    #[test]
    fn strong_namespaces_are_read_from_the_master_unless_allowed_otherwise() {
        let mut map = PartitionMap::default();
        map.merge(&node("A"), claims(1, 2, 0, 3));
        map.merge(&node("B"), claims(1, 2, 1, 3));
        let choose = |strong_needs_master| Choice {
            replica: Replica::Any,
            strong_needs_master,
            attempt: 0,
            turn: 1,
        };
        assert_eq!(owner(&map, 3, choose(true)), Some("A"));
        assert_eq!(owner(&map, 3, choose(false)), Some("B"));
    }

    #[test]
    fn a_node_that_left_owns_nothing() {
        let (a, b) = (node("A"), node("B"));
        let mut map = PartitionMap::default();
        map.merge(&a, claims(0, 2, 0, 9));
        map.merge(&b, claims(0, 2, 1, 9));
        assert!(map.owns_any(&a));
        map.remove(&a);
        assert!(!map.owns_any(&a));
        assert_eq!(owner(&map, 9, Choice::master(0)), Some("B"));
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
