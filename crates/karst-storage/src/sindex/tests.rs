use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn digest(number: u8) -> Digest {
    Digest([number; Digest::BYTES])
}

fn stamp(sequence: u64) -> Stamp {
    Stamp::of(Version {
        regime: 1,
        sequence,
    })
}

fn item(value: i64, number: u8, sequence: u64) -> Item {
    Item {
        value,
        digest: digest(number),
        stamp: stamp(sequence),
    }
}

fn all(ordered: &Ordered, from: From) -> Vec<Item> {
    let mut items = Vec::new();
    ordered.walk(from, &mut |item| {
        items.push(*item);
        ControlFlow::Continue(())
    });
    items
}

fn check(ordered: &Ordered, model: &BTreeMap<Position, Stamp>) {
    assert_eq!(ordered.len(), model.len());
    let items = all(ordered, From::Value(i64::MIN));
    let items = items.iter().map(|item| (item.position(), item.stamp));
    assert!(items.eq(model.iter().map(|(position, stamp)| (*position, *stamp))));
    let runs = ordered.runs.iter().map(run::Run::memory_bytes);
    assert_eq!(ordered.run_bytes, runs.sum::<usize>());
    for run in &ordered.runs {
        assert!((1..=run::ITEMS_MAX).contains(&run.len()));
    }
}

#[derive(Clone, Debug)]
enum Change {
    Put(i64, u8, u64),
    Remove(i64, u8, u64),
    /// What bears a stamp of this parity goes, so many items at a time.
    Sweep(u64, usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let (value, number, sequence) = (-20i64..20, 0u8..40, 0u64..4);
    let change = prop_oneof![
        8 => (value.clone(), number.clone(), sequence.clone()).prop_map(|(v, n, s)| Change::Put(v, n, s)),
        3 => (value, number, sequence).prop_map(|(v, n, s)| Change::Remove(v, n, s)),
        1 => (0u64..2, 1usize..300).prop_map(|(parity, most)| Change::Sweep(parity, most)),
    ];
    prop::collection::vec(change, 0..2500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_holds_what_a_plain_ordered_map_holds(changes in changes()) {
        let (mut ordered, mut model) = (Ordered::default(), BTreeMap::new());
        for change in changes {
            match change {
                Change::Put(value, number, sequence) => {
                    let item = item(value, number, sequence);
                    let is_new = model.insert(item.position(), item.stamp).is_none();
                    prop_assert_eq!(ordered.put(item), is_new);
                }
                Change::Remove(value, number, sequence) => {
                    let position = (value, digest(number));
                    let is_there = model.get(&position) == Some(&stamp(sequence));
                    if is_there {
                        model.remove(&position);
                    }
                    prop_assert_eq!(ordered.remove(&position, stamp(sequence)), is_there);
                }
                Change::Sweep(parity, most) => {
                    let keep = |stamp: Stamp| u64::from(stamp.0) % 2 != parity;
                    let mut behind = None;
                    loop {
                        behind = ordered.retain(behind, most, &mut |item| keep(item.stamp));
                        if behind.is_none() {
                            break;
                        }
                    }
                    model.retain(|_, stamp| keep(*stamp));
                }
            }
        }
        check(&ordered, &model);
        for (position, _) in model.iter().step_by(7) {
            let behind: Vec<_> = all(&ordered, From::Behind(*position)).iter().map(Item::position).collect();
            let expected: Vec<_> = model.keys().filter(|it| *it > position).copied().collect();
            prop_assert_eq!(behind, expected);
        }
    }
}

#[test]
fn a_walk_goes_on_behind_an_item_that_is_gone() {
    let mut ordered = Ordered::default();
    assert!((0..200).all(|number| ordered.put(item(5, number, 0))));
    assert!(ordered.remove(&(5, digest(100)), stamp(0)));
    let rest = all(&ordered, From::Behind((5, digest(100))));
    assert_eq!(rest.first().map(|item| item.digest), Some(digest(101)));
    assert_eq!(rest.len(), 99);
    assert!(all(&ordered, From::Value(6)).is_empty());
}

#[test]
fn a_stale_writer_takes_nothing_out_that_a_later_one_put_in() {
    let mut ordered = Ordered::default();
    assert!(ordered.put(item(5, 1, 10)));
    assert!(!ordered.put(item(5, 1, 11)));
    assert!(!ordered.remove(&(5, digest(1)), stamp(10)));
    assert_eq!(ordered.len(), 1);
}

#[test]
fn an_item_costs_little_more_than_its_32_bytes_in_whatever_order_they_came() {
    for factor in [1u64, 0x9e37_79b9_7f4a_7c15, u64::MAX] {
        let mut ordered = Ordered::default();
        for number in 0..20_000u64 {
            ordered.put(item(number.wrapping_mul(factor) as i64, 1, number));
        }
        let each = ordered.memory_bytes() as f64 / ordered.len() as f64;
        assert!(
            (32.0..37.0).contains(&each),
            "{each} bytes with factor {factor:#x}"
        );
    }
}
