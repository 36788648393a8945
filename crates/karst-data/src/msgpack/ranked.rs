//! Elements in the order of their values.
//!
//! Numbers and the beginnings of texts are taken out of their elements once and sorted as they are; the elements
//! themselves are compared only where those are equal and do not say all.

use std::cmp::Ordering;

use super::{Head, Reader, compare_total};

/// Elements that are ordered as far as they are asked for.
pub(crate) struct Ranked<F> {
    keyed: Vec<Keyed>,
    element: F,
}

/// An element with what decides most comparisons.
#[derive(Clone, Copy)]
struct Keyed {
    /// As much of its value as fits: of one kind greater ones have greater numbers.
    value: u64,
    at: u32,
    kind: Kind,
}

/// Kinds of elements in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nil,
    Bool,
    Int,
    WideInt,
    Text,
    List,
    Map,
    Bytes,
    Double,
    GeoJson,
    Ext,
}

impl Kind {
    /// Whether the number says all of a value.
    fn is_whole(self) -> bool {
        matches!(self, Kind::Bool | Kind::Int | Kind::WideInt | Kind::Double)
    }
}

impl Keyed {
    fn new(element: &[u8], at: u32, common: usize) -> Keyed {
        let (kind, value) = key_of(element, common);
        Keyed { value, at, kind }
    }

    fn key(&self) -> u128 {
        u128::from(self.kind as u8) << 64 | u128::from(self.value)
    }
}

/// How many bytes all texts among some elements begin with alike.
fn common_to_texts<'v>(elements: impl Iterator<Item = &'v [u8]>) -> usize {
    let mut common: Option<&[u8]> = None;
    for element in elements {
        let Ok(Head::Raw([3, text @ ..])) = (Reader { rest: element }).head() else {
            continue;
        };
        let before = common.unwrap_or(text);
        let same = before.iter().zip(text).take_while(|(a, b)| a == b).count();
        common = Some(&before[..same]);
        if same == 0 {
            break;
        }
    }
    common.map_or(0, <[u8]>::len)
}

/// The kind of an element and its number. Of a text the first `common` bytes are those of all others.
fn key_of(element: &[u8], common: usize) -> (Kind, u64) {
    const SIGN: u64 = 1 << 63;
    let beginning = |text: &[u8]| {
        let mut first = [0; 8];
        let count = text.len().min(8);
        first[..count].copy_from_slice(&text[..count]);
        u64::from_be_bytes(first)
    };
    match (Reader { rest: element }).head() {
        Ok(Head::Nil) | Err(_) => (Kind::Nil, 0),
        Ok(Head::Bool(value)) => (Kind::Bool, u64::from(value)),
        Ok(Head::Int { value, wide: false }) => (Kind::Int, value as u64 ^ SIGN),
        Ok(Head::Int { value, wide: true }) => (Kind::WideInt, value as u64),
        Ok(Head::Raw([3, text @ ..])) => (
            Kind::Text,
            beginning(text.get(common..).unwrap_or_default()),
        ),
        Ok(Head::Raw([23, text @ ..])) => (Kind::GeoJson, beginning(text)),
        Ok(Head::Raw(bytes)) => (Kind::Bytes, beginning(bytes)),
        Ok(Head::List(_)) => (Kind::List, 0),
        Ok(Head::Map(_)) => (Kind::Map, 0),
        Ok(Head::Double(value)) if value.is_nan() => (Kind::Double, u64::MAX),
        Ok(Head::Double(value)) => match (value + 0.0).to_bits() {
            negative if negative & SIGN != 0 => (Kind::Double, !negative),
            positive => (Kind::Double, positive | SIGN),
        },
        Ok(Head::Ext { .. }) => (Kind::Ext, 0),
    }
}

impl<'v, F: Fn(usize) -> &'v [u8]> Ranked<F> {
    /// Elements by index. There are no wildcards among them.
    pub(crate) fn of(len: usize, element: F) -> Ranked<F> {
        let common = common_to_texts((0..len).map(&element));
        let keyed = (0..len).map(|at| Keyed::new(element(at), at as u32, common));
        Ranked {
            keyed: keyed.collect(),
            element,
        }
    }

    /// The indexes of so many elements from a rank on, in the order of ranks; of equal elements the one with the
    /// lower index comes first.
    pub(crate) fn into_ranks(self, start: usize, count: usize) -> Vec<u32> {
        let Ranked { mut keyed, element } = self;
        let order = |a: &Keyed, b: &Keyed| match a.key().cmp(&b.key()) {
            Ordering::Equal if !a.kind.is_whole() => {
                let [one, other] = [a, b].map(|keyed| element(keyed.at as usize));
                compare_total(one, other).then(a.at.cmp(&b.at))
            }
            Ordering::Equal => a.at.cmp(&b.at),
            unequal => unequal,
        };
        // Only what is asked for is sorted: the rest is put before and behind it.
        if start > 0 {
            keyed.select_nth_unstable_by(start, order);
        }
        let wanted = &mut keyed[start..];
        if count < wanted.len() {
            wanted.select_nth_unstable_by(count, order);
        }
        let wanted = &mut wanted[..count];
        wanted.sort_unstable_by(order);
        wanted.iter().map(|keyed| keyed.at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_what_they_tell_apart_as_the_elements_are_ordered() {
        let doubles = [
            f64::NEG_INFINITY,
            -1.5,
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            2.5,
            f64::INFINITY,
            f64::NAN,
            -f64::NAN,
        ];
        let mut elements: Vec<Vec<u8>> = doubles
            .iter()
            .map(|double| [&[0xcb][..], &double.to_be_bytes()].concat())
            .collect();
        elements.extend([
            vec![0xc0],
            vec![0xc2],
            vec![0xc3],
            vec![5],
            vec![0xff],
            [&[0xd3][..], &i64::MIN.to_be_bytes()].concat(),
            [&[0xcf][..], &i64::MAX.to_be_bytes()].concat(),
            [&[0xcf][..], &u64::MAX.to_be_bytes()].concat(),
            vec![0xa1, 3],
            vec![0xa2, 3, 0],
            vec![0xa2, 3, b'a'],
            vec![
                0xaa, 3, b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'b',
            ],
            vec![
                0xaa, 3, b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'a', b'c',
            ],
            vec![0xa2, 4, b'a'],
            vec![0xa2, 23, b'a'],
            vec![0xa1, 99],
            vec![0x90],
            vec![0x91, 1],
            vec![0x80],
            vec![0x81, 1, 1],
        ]);
        for a in &elements {
            for b in &elements {
                let (key_a, key_b) = (Keyed::new(a, 0, 0), Keyed::new(b, 0, 0));
                let found = match key_a.key().cmp(&key_b.key()) {
                    Ordering::Equal if !key_a.kind.is_whole() => compare_total(a, b),
                    decided => decided,
                };
                assert_eq!(found, compare_total(a, b), "{a:x?} {b:x?}");
            }
        }
    }

    #[test]
    fn texts_that_begin_alike_are_told_apart_behind_that() {
        let texts = [
            "user:0004",
            "user:0001",
            "user:",
            "user:0003",
            "user:00031",
            "user:0001",
        ];
        let mut elements: Vec<Vec<u8>> = Vec::new();
        for text in texts {
            let mut packed = Vec::new();
            crate::msgpack::write_typed(&mut packed, 3, text.as_bytes());
            elements.push(packed);
        }
        elements.push(vec![7]);
        let common = common_to_texts(elements.iter().map(Vec::as_slice));
        assert_eq!(common, "user:".len());
        let ranked = Ranked::of(elements.len(), |at| &elements[at]);
        assert_eq!(ranked.into_ranks(0, 7), [6, 2, 1, 5, 3, 4, 0]);
    }
}
