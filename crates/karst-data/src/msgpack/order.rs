//! The one order of all elements, across types.
//!
//! nil, false, true, integers, strings, lists, maps, bytes, doubles, GeoJSON, other ext, infinity. A
//! wildcard on either side ends the comparison: what was equal up to it is equal. An integer is never
//! compared with a double by value. Order flags of collections do not count.

use std::cmp::Ordering;

use super::read::{Head, Reader};

/// Orders two elements. Bytes that are no elements compare as equal.
///
/// A NaN is equal to every double, so this is no order to sort by: see `compare_total`.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    if let ([a @ 0..=0x7f], [b @ 0..=0x7f]) = (a, b) {
        return a.cmp(b);
    }
    let doubles = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    let (mut a, mut b) = (Reader { rest: a }, Reader { rest: b });
    compare_element(&mut a, &mut b, doubles).unwrap_or(Ordering::Equal)
}

/// As [`compare`], but a NaN is greater than every other double: what is sorted needs a total order.
pub(crate) fn compare_total(a: &[u8], b: &[u8]) -> Ordering {
    if let ([a @ 0..=0x7f], [b @ 0..=0x7f]) = (a, b) {
        return a.cmp(b);
    }
    let doubles = |a: f64, b: f64| a.partial_cmp(&b).unwrap_or(a.is_nan().cmp(&b.is_nan()));
    let (mut a, mut b) = (Reader { rest: a }, Reader { rest: b });
    compare_element(&mut a, &mut b, doubles).unwrap_or(Ordering::Equal)
}

fn rank(head: &Head<'_>) -> u8 {
    match head {
        Head::Nil => 0,
        Head::Bool(false) => 1,
        Head::Bool(true) => 2,
        Head::Int { .. } => 3,
        Head::Raw([3, ..]) => 4,
        Head::List(_) => 5,
        Head::Map(_) => 6,
        Head::Raw([23, ..]) => 9,
        Head::Raw(_) => 7,
        Head::Double(_) => 8,
        Head::Ext { .. } if head.is_infinity() => 11,
        Head::Ext { .. } => 10,
    }
}

/// `None` when the verdict is "equal" whatever follows: a wildcard, or bytes that are no elements.
fn compare_element(
    a: &mut Reader<'_>,
    b: &mut Reader<'_>,
    doubles: fn(f64, f64) -> Ordering,
) -> Option<Ordering> {
    let (head_a, head_b) = (a.head().ok()?, b.head().ok()?);
    if head_a.is_wildcard() || head_b.is_wildcard() {
        return None;
    }
    Some(match (head_a, head_b) {
        (
            Head::Int {
                value: a,
                wide: wide_a,
            },
            Head::Int {
                value: b,
                wide: wide_b,
            },
        ) => wide_a.cmp(&wide_b).then(a.cmp(&b)),
        (Head::Double(a), Head::Double(b)) => doubles(a, b),
        (Head::Raw(x), Head::Raw(y)) if rank(&head_a) == rank(&head_b) => x.cmp(y),
        (Head::List(count_a), Head::List(count_b)) => {
            let (count_a, count_b) = (skip_flags(a, count_a)?, skip_flags(b, count_b)?);
            compare_elements(a, b, count_a.min(count_b).into(), doubles)?
                .then(count_a.cmp(&count_b))
        }
        (Head::Map(count_a), Head::Map(count_b)) => {
            let (count_a, count_b) = (skip_pair_flags(a, count_a)?, skip_pair_flags(b, count_b)?);
            if count_a != count_b {
                return Some(count_a.cmp(&count_b));
            }
            compare_elements(a, b, u64::from(count_a) * 2, doubles)?
        }
        (
            Head::Ext {
                kind: kind_a,
                content: content_a,
            },
            Head::Ext {
                kind: kind_b,
                content: content_b,
            },
        ) if rank(&head_a) == rank(&head_b) && !head_a.is_infinity() => {
            (kind_a, content_a).cmp(&(kind_b, content_b))
        }
        _ => rank(&head_a).cmp(&rank(&head_b)),
    })
}

fn compare_elements(
    a: &mut Reader<'_>,
    b: &mut Reader<'_>,
    count: u64,
    doubles: fn(f64, f64) -> Ordering,
) -> Option<Ordering> {
    for _ in 0..count {
        match compare_element(a, b, doubles)? {
            Ordering::Equal => {}
            unequal => return Some(unequal),
        }
    }
    Some(Ordering::Equal)
}

/// Steps over a list's flags and returns how many elements follow. A wildcard in front is none.
fn skip_flags(reader: &mut Reader<'_>, count: u32) -> Option<u32> {
    let flagged = super::leading_ext(reader, count).ok()?.is_some();
    Some(count - u32::from(flagged))
}

fn skip_pair_flags(reader: &mut Reader<'_>, count: u32) -> Option<u32> {
    let flagged = super::leading_ext(reader, count).ok()?.is_some();
    if flagged {
        reader.head().ok()?;
    }
    Some(count - u32::from(flagged))
}
