//! MessagePack one element at a time: how calls and expressions read it.
//!
//! Nothing is allocated, and no claimed count is believed: whoever loops over one takes an element each
//! time, and that fails where the bytes end. [`Cursor::element`] steps over nested collections without
//! recursion.

use std::cmp::Ordering;

pub(crate) use crate::msgpack::Head as Element;
use crate::msgpack::{DEPTH_MAX, Reader};

/// The kind byte of wildcard and infinity.
const EXT_SPECIAL: u8 = 0xff;

/// The bit of a map's flags that says that its keys are in order.
const FLAG_KEY_ORDERED: u8 = 1;

/// Reads elements from the front of a slice. Of what is no element it tells nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a>(Reader<'a>);

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor(Reader { rest: bytes })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.rest.is_empty()
    }

    /// The bytes between this place and a later one.
    pub(crate) fn until(&self, later: &Cursor<'a>) -> &'a [u8] {
        &self.0.rest[..self.0.rest.len() - later.0.rest.len()]
    }

    /// The next element's head. Of collections the elements follow.
    pub(crate) fn head(&mut self) -> Option<Element<'a>> {
        self.0.head().ok()
    }

    /// An integer; one above `i64::MAX` comes as its two's complement.
    pub(crate) fn int(&mut self) -> Option<i64> {
        match self.head()? {
            Element::Int { value, .. } => Some(value),
            _ => None,
        }
    }

    /// An integer that is not negative and at most `most`.
    pub(crate) fn uint(&mut self, most: u64) -> Option<u64> {
        match self.head()? {
            Element::Int { value, wide: false } => {
                u64::try_from(value).ok().filter(|value| *value <= most)
            }
            _ => None,
        }
    }

    pub(crate) fn bool(&mut self) -> Option<bool> {
        match self.head()? {
            Element::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A string or blob, with whatever its first byte is.
    pub(crate) fn raw(&mut self) -> Option<&'a [u8]> {
        match self.head()? {
            Element::Raw(content) => Some(content),
            _ => None,
        }
    }

    /// A list's count of elements, which follow.
    pub(crate) fn list(&mut self) -> Option<u32> {
        match self.head()? {
            Element::List(count) => Some(count),
            _ => None,
        }
    }

    /// The bytes of the next whole element.
    pub(crate) fn element(&mut self) -> Option<&'a [u8]> {
        self.0.element().ok()
    }

    /// Takes a collection's flags, which are its first element or pair, and returns them and how many
    /// elements or pairs follow. Without flags they are zero.
    pub(crate) fn flags(&mut self, head: Element<'a>) -> Option<(u8, u32)> {
        let (count, is_map) = match head {
            Element::List(count) => (count, false),
            Element::Map(count) => (count, true),
            _ => return None,
        };
        let mut ahead = *self;
        match ahead.head() {
            Some(Element::Ext { kind, .. }) if count > 0 && kind != EXT_SPECIAL => {
                if is_map {
                    ahead.head()?;
                }
                *self = ahead;
                Some((kind, count - 1))
            }
            _ => Some((0, count)),
        }
    }
}

/// Where elements of this kind stand in the order across kinds.
fn rank(element: &Element<'_>) -> u8 {
    match element {
        Element::Nil => 0,
        Element::Bool(false) => 1,
        Element::Bool(true) => 2,
        Element::Int { .. } => 3,
        Element::Raw([3, ..]) => 4,
        Element::List(_) => 5,
        Element::Map(_) => 6,
        Element::Raw([23, ..]) => 9,
        Element::Raw(_) => 7,
        Element::Double(_) => 8,
        Element::Ext { .. } if element.is_infinity() => 11,
        Element::Ext { .. } => 10,
    }
}

/// Why two elements have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incomparable {
    /// A map with entries whose keys are not said to be in order was met.
    Unordered,
    /// The bytes are no elements, or nest too deeply.
    Malformed,
}

/// How maps without the flag for ordered keys are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maps {
    /// They have no order.
    Flagged,
    /// By their entries as they are packed.
    Packed,
}

/// What a comparison has found so far.
enum Step {
    Equal,
    /// A wildcard was met: all is equal, whatever else follows.
    Wild,
    Unequal(Ordering),
}

/// Orders two packed elements.
pub(crate) fn compare(a: &[u8], b: &[u8], maps: Maps) -> Result<Ordering, Incomparable> {
    match step(&mut Cursor::new(a), &mut Cursor::new(b), maps, 0)? {
        Step::Equal | Step::Wild => Ok(Ordering::Equal),
        Step::Unequal(ordering) => Ok(ordering),
    }
}

fn step(
    a: &mut Cursor<'_>,
    b: &mut Cursor<'_>,
    maps: Maps,
    depth: usize,
) -> Result<Step, Incomparable> {
    if depth > DEPTH_MAX + 1 {
        return Err(Incomparable::Malformed);
    }
    let (mut ahead_a, mut ahead_b) = (*a, *b);
    let (Some(head_a), Some(head_b)) = (ahead_a.head(), ahead_b.head()) else {
        return Err(Incomparable::Malformed);
    };
    if head_a.is_wildcard() || head_b.is_wildcard() {
        return Ok(Step::Wild);
    }
    (*a, *b) = (ahead_a, ahead_b);
    let ordering = match (head_a, head_b) {
        (
            Element::Int { value, wide },
            Element::Int {
                value: other,
                wide: other_wide,
            },
        ) => wide.cmp(&other_wide).then(value.cmp(&other)),
        (Element::Double(x), Element::Double(y)) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
        (Element::Raw(x), Element::Raw(y)) if rank(&head_a) == rank(&head_b) => x.cmp(y),
        (Element::List(_), Element::List(_)) => return lists(a, b, (head_a, head_b), maps, depth),
        (Element::Map(_), Element::Map(_)) => return pairs(a, b, (head_a, head_b), maps, depth),
        _ => rank(&head_a).cmp(&rank(&head_b)),
    };
    Ok(unless_equal(ordering))
}

fn unless_equal(ordering: Ordering) -> Step {
    match ordering {
        Ordering::Equal => Step::Equal,
        unequal => Step::Unequal(unequal),
    }
}

fn lists<'a, 'b>(
    a: &mut Cursor<'a>,
    b: &mut Cursor<'b>,
    heads: (Element<'a>, Element<'b>),
    maps: Maps,
    depth: usize,
) -> Result<Step, Incomparable> {
    let (_, count_a) = a.flags(heads.0).ok_or(Incomparable::Malformed)?;
    let (_, count_b) = b.flags(heads.1).ok_or(Incomparable::Malformed)?;
    for _ in 0..count_a.min(count_b) {
        match step(a, b, maps, depth + 1)? {
            Step::Equal => {}
            decided => return Ok(decided),
        }
    }
    Ok(unless_equal(count_a.cmp(&count_b)))
}

fn pairs<'a, 'b>(
    a: &mut Cursor<'a>,
    b: &mut Cursor<'b>,
    heads: (Element<'a>, Element<'b>),
    maps: Maps,
    depth: usize,
) -> Result<Step, Incomparable> {
    let (flags_a, count_a) = a.flags(heads.0).ok_or(Incomparable::Malformed)?;
    let (flags_b, count_b) = b.flags(heads.1).ok_or(Incomparable::Malformed)?;
    let unordered = |flags: u8, count| count > 0 && flags & FLAG_KEY_ORDERED == 0;
    if maps == Maps::Flagged && (unordered(flags_a, count_a) || unordered(flags_b, count_b)) {
        return Err(Incomparable::Unordered);
    }
    if count_a != count_b {
        return Ok(Step::Unequal(count_a.cmp(&count_b)));
    }
    for _ in 0..u64::from(count_a) * 2 {
        match step(a, b, maps, depth + 1)? {
            Step::Equal => {}
            decided => return Ok(decided),
        }
    }
    Ok(Step::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_as_few_bytes_as_they_can_and_read_back() {
        for value in [
            0,
            1,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            1 << 32,
            i64::MAX,
            -1,
            -32,
            -33,
            -128,
        ]
        .into_iter()
        .chain([-129, -32_768, -32_769, -(1 << 31), -(1 << 31) - 1, i64::MIN])
        {
            let mut out = Vec::new();
            crate::msgpack::write_int(&mut out, value, false);
            let canonical = [&[0x91][..], &out].concat();
            let normal = crate::msgpack::normalise(&canonical, crate::msgpack::Collection::List);
            assert_eq!(&*normal.unwrap(), &canonical[..], "{value}");
            assert_eq!(Cursor::new(&out).int(), Some(value));
        }
    }

    #[test]
    fn a_wildcard_ends_a_comparison_and_unflagged_maps_have_no_order() {
        let flagged = |a: &[u8], b: &[u8]| compare(a, b, Maps::Flagged);
        let wild = [0x92, 1, 0xd4, 0xff, 0];
        assert_eq!(flagged(&wild, &[0x93, 1, 2, 3]), Ok(Ordering::Equal));
        assert_eq!(flagged(&wild, &[0x91, 1]), Ok(Ordering::Greater));
        assert_eq!(flagged(&wild, &[0x92, 2, 2]), Ok(Ordering::Less));
        assert_eq!(flagged(&[0x80], &[0x80]), Ok(Ordering::Equal));
        assert_eq!(
            flagged(&[0x81, 1, 1], &[0x80]),
            Err(Incomparable::Unordered)
        );
        assert_eq!(
            compare(&[0x81, 1, 1], &[0x80], Maps::Packed),
            Ok(Ordering::Greater)
        );
        let ordered = [0x82, 0xc7, 0, 1, 0xc0, 1, 1];
        assert_eq!(flagged(&ordered, &ordered), Ok(Ordering::Equal));
        let inside = [0x92, 1, 0x81, 1, 1];
        assert_eq!(flagged(&inside, &[0x92, 2, 1]), Ok(Ordering::Less));
        assert_eq!(flagged(&inside, &inside), Err(Incomparable::Unordered));
        assert_eq!(
            flagged(&[0x91; 300], &[0x91; 300]),
            Err(Incomparable::Malformed)
        );
    }

    #[test]
    fn a_claimed_count_ends_where_the_bytes_end() {
        assert_eq!(
            Cursor::new(&[0xdf, 0xff, 0xff, 0xff, 0xff, 1]).element(),
            None
        );
        assert_eq!(
            Cursor::new(&[0x92, 1, 0x91, 2, 7]).element(),
            Some(&[0x92, 1, 0x91, 2][..])
        );
    }
}
