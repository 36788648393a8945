//! What the balancer promises, over many sets of nodes drawn from seeds. `KARST_SEED` repeats one,
//! `KARST_SEEDS` runs more or fewer.

mod seeds;

use std::collections::{BTreeMap, BTreeSet};

use karst_cluster::balance::balance;
use karst_cluster::node::NodeId;
use karst_data::key::PARTITIONS;

use seeds::{Rng, seeds};

type Racks = BTreeMap<NodeId, u32>;
type Rows = Vec<Vec<NodeId>>;

fn nodes(rng: &mut Rng, count: usize, racks: usize) -> Racks {
    let mut nodes = Racks::new();
    while nodes.len() < count {
        // Some clusters number their nodes, others draw ids: both must be spread well.
        let id = match nodes.len() % 2 {
            0 => rng.next(),
            _ => nodes.len() as u64,
        };
        nodes.insert(NodeId(id), rng.below(racks) as u32);
    }
    nodes
}

/// How often each node comes in the columns of the rows that are asked for.
fn counts(racks: &Racks, rows: &Rows, columns: std::ops::Range<usize>) -> BTreeMap<NodeId, usize> {
    let mut counts: BTreeMap<NodeId, usize> = racks.keys().map(|node| (*node, 0)).collect();
    for node in rows.iter().flat_map(|row| &row[columns.clone()]) {
        *counts.get_mut(node).expect("a node that takes part") += 1;
    }
    counts
}

fn within_one(counts: &BTreeMap<NodeId, usize>) -> bool {
    let most = counts.values().max().unwrap_or(&0);
    let least = counts.values().min().unwrap_or(&0);
    most - least <= 1
}

fn distinct_racks(racks: &Racks, row: &[NodeId]) -> usize {
    row.iter()
        .map(|node| racks[node])
        .collect::<BTreeSet<_>>()
        .len()
}

/// Every row has as many nodes, all distinct, and as many racks as it can.
fn check_rows(seed: u64, racks: &Racks, factor: u8, rows: &Rows) {
    let width = usize::from(factor).min(racks.len());
    let racks_most = racks.values().collect::<BTreeSet<_>>().len().min(width);
    assert_eq!(rows.len(), PARTITIONS);
    for (partition, row) in rows.iter().enumerate() {
        let distinct: BTreeSet<_> = row.iter().collect();
        let place = format!("seed {seed}, partition {partition}: {row:?}");
        assert_eq!(row.len(), width, "{place}");
        assert_eq!(distinct.len(), width, "{place}");
        assert_eq!(distinct_racks(racks, row), racks_most, "{place}");
    }
}

/// No chain of moves, of which each is allowed, would bring a copy to a node that has two fewer.
fn check_fair(what: &str, counts: &BTreeMap<NodeId, usize>, moves: &BTreeSet<(NodeId, NodeId)>) {
    for (start, copies) in counts {
        let mut reached = BTreeSet::from([*start]);
        let mut edge = vec![*start];
        while let Some(from) = edge.pop() {
            let next = moves.range((from, NodeId(0))..=(from, NodeId(u64::MAX)));
            edge.extend(next.map(|(_, to)| *to).filter(|to| reached.insert(*to)));
        }
        let least = reached.iter().map(|node| counts[node]).min();
        assert!(
            least >= Some(copies - (*copies).min(1)),
            "{what}: {counts:?}"
        );
    }
}

/// The moves of one copy that keep a row as good as it is.
fn moves_of_copies(racks: &Racks, rows: &Rows) -> BTreeSet<(NodeId, NodeId)> {
    let mut moves = BTreeSet::new();
    for row in rows {
        for (at, from) in row.iter().enumerate() {
            for to in racks.keys().filter(|to| !row.contains(to)) {
                let mut moved = row.clone();
                moved[at] = *to;
                if distinct_racks(racks, &moved) == distinct_racks(racks, row) {
                    moves.insert((*from, *to));
                }
            }
        }
    }
    moves
}

#[test]
fn without_racks_every_column_is_equal_to_within_one() {
    for seed in seeds(30) {
        let mut rng = Rng::from_seed(seed);
        let (count, factor) = (1 + rng.below(20), 1 + rng.below(4) as u8);
        let racks = nodes(&mut rng, count, 1);
        let rows = balance(&racks, factor);
        check_rows(seed, &racks, factor, &rows);
        let width = rows[0].len();
        assert!(within_one(&counts(&racks, &rows, 0..width)), "seed {seed}");
        for column in 0..width {
            let counts = counts(&racks, &rows, column..column + 1);
            assert!(within_one(&counts), "seed {seed}, {column}: {counts:?}");
        }
    }
}

#[test]
fn with_racks_rows_span_them_and_are_as_equal_as_they_allow() {
    for seed in seeds(30) {
        let mut rng = Rng::from_seed(seed);
        let (count, factor) = (1 + rng.below(12), 1 + rng.below(4) as u8);
        let spread = 1 + rng.below(5);
        let racks = nodes(&mut rng, count, spread);
        let rows = balance(&racks, factor);
        check_rows(seed, &racks, factor, &rows);
        let copies = counts(&racks, &rows, 0..rows[0].len());
        let what = format!("seed {seed}, factor {factor}, racks {racks:?}");
        check_fair(&what, &copies, &moves_of_copies(&racks, &rows));
        let pairs = rows
            .iter()
            .flat_map(|row| row.iter().map(|to| (row[0], *to)));
        let moves = pairs.filter(|(from, to)| from != to).collect();
        check_fair(&what, &counts(&racks, &rows, 0..1), &moves);
    }
}

#[test]
fn racks_of_one_size_are_equal_to_within_one() {
    for (sides, each, factor) in [
        (2, 2, 2),
        (3, 2, 2),
        (3, 3, 3),
        (2, 3, 3),
        (4, 2, 2),
        (5, 1, 3),
    ] {
        let node = |at: u32| (NodeId(u64::from(at) + 1), at % sides);
        let racks: Racks = (0..sides * each).map(node).collect();
        let rows = balance(&racks, factor);
        check_rows(0, &racks, factor, &rows);
        assert!(within_one(&counts(&racks, &rows, 0..rows[0].len())));
        for column in 0..rows[0].len() {
            assert!(within_one(&counts(&racks, &rows, column..column + 1)));
        }
    }
}

/// Copies that are new on a node, by whether it is this one.
fn moved(before: &Rows, after: &Rows, node: NodeId) -> (usize, usize) {
    let (mut to_node, mut between_others) = (0, 0);
    for (before, after) in before.iter().zip(after) {
        for new in after.iter().filter(|new| !before.contains(new)) {
            match *new == node {
                true => to_node += 1,
                // What the node itself held must go somewhere when it leaves.
                false if !before.contains(&node) => between_others += 1,
                false => {}
            }
        }
    }
    (to_node, between_others)
}

fn check_movement(seed: u64, count: usize, factor: u8) {
    let mut rng = Rng::from_seed(seed);
    let fewer = nodes(&mut rng, count, 1);
    let node = NodeId(rng.next());
    let mut more = fewer.clone();
    more.insert(node, 0);
    let (before, after) = (balance(&fewer, factor), balance(&more, factor));
    let copies = PARTITIONS * usize::from(factor).min(count + 1);
    let slack = copies.isqrt() * 3 / 2;

    let (to_node, between_others) = moved(&before, &after, node);
    let what = format!("seed {seed}: {count} nodes, factor {factor}");
    assert!(to_node <= copies.div_ceil(count + 1), "{what}: {to_node}");
    assert!(
        between_others <= slack,
        "{what}: {between_others} > {slack}"
    );

    let (_, between_others) = moved(&after, &before, node);
    assert!(
        between_others <= slack,
        "{what}: {between_others} > {slack}"
    );
}

#[test]
fn a_node_that_comes_or_goes_moves_its_share_and_hardly_more() {
    for seed in seeds(30) {
        let mut rng = Rng::from_seed(seed + 1_000_000);
        check_movement(seed, 1 + rng.below(20), 1 + rng.below(3) as u8);
    }
}

#[test]
fn hardly_more_moves_in_a_large_cluster_either() {
    check_movement(1, 100, 2);
}

#[test]
fn the_order_of_nodes_and_what_was_before_mean_nothing() {
    let mut rng = Rng::from_seed(3);
    let racks = nodes(&mut rng, 7, 3);
    let backwards: Racks = racks.clone().into_iter().rev().collect();
    let rows = balance(&racks, 2);
    assert_eq!(balance(&backwards, 2), rows);
    // A node goes and comes back.
    let mut fewer = racks.clone();
    fewer.pop_first();
    assert_ne!(balance(&fewer, 2), rows);
    assert_eq!(balance(&racks, 2), rows);
}

#[test]
fn rows_are_those_of_earlier_versions() {
    // Two versions in one cluster that disagree would move data to and fro with each new leader.
    let racks: Racks = (1..=5).map(|id| (NodeId(id), (id % 3) as u32)).collect();
    let rows = balance(&racks, 2);
    let print = |hash: u64, node: &NodeId| hash.wrapping_mul(1_000_003).wrapping_add(node.0);
    let found = rows.iter().flatten().fold(0, print);
    assert_eq!(found, 2_839_028_966_057_699_859, "the rows have changed");
}

#[test]
fn nobody_gets_nothing() {
    assert!(balance(&Racks::new(), 2).iter().all(Vec::is_empty));
    let one = Racks::from([(NodeId(7), 0)]);
    assert!(balance(&one, 0).iter().all(Vec::is_empty));
    assert!(balance(&one, 255).iter().all(|row| *row == [NodeId(7)]));
}

/// `cargo test --release -p karst-cluster --test balance -- --ignored --nocapture` prints times.
#[test]
#[ignore = "prints times, promises nothing"]
#[allow(clippy::disallowed_methods)] // a time is what is asked for
fn how_long_it_takes() {
    for (count, factor) in [
        (3, 2),
        (8, 2),
        (16, 3),
        (32, 3),
        (64, 3),
        (128, 2),
        (128, 3),
        (256, 3),
    ] {
        for spread in [1, 3] {
            let racks = nodes(&mut Rng::from_seed(1), count, spread);
            let start = std::time::Instant::now();
            let rows = balance(&racks, factor);
            let took = start.elapsed();
            println!("{count} nodes on {spread} racks, factor {factor}: {took:?}");
            check_rows(1, &racks, factor, &rows);
        }
    }
}
