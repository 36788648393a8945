//! The elements of a stored list or map that stand at its top, one after the other.
//!
//! For those who only look for values in a collection, such as a secondary index. What an element that is a
//! collection itself holds is stepped over. Bytes that are no stored collection have no elements from where they
//! cease to be one.

use std::ops::ControlFlow;

use super::{Head, Reader, Result, leading_ext};

/// Whether an element is a list's, or which part of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Of a list.
    Element,
    /// Of a map's pair.
    Key,
    /// Of a map's pair.
    Value,
}

/// An element that can stand for itself; others are [`Element::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// An integer that fits.
    Integer(i64),
    /// A string's bytes.
    Text(&'a [u8]),
    /// A blob's bytes.
    Blob(&'a [u8]),
    /// GeoJSON. In a collection it has no cells, and nobody has checked it.
    GeoJson {
        /// The cells that it is stored with.
        cells: &'a [[u8; 8]],
        /// Its text.
        text: &'a [u8],
    },
    /// Anything else.
    Other,
}

/// Visits the elements until `see` breaks.
pub fn each_element(bytes: &[u8], mut see: impl FnMut(Part, Element<'_>) -> ControlFlow<()>) {
    let _ = visit(&mut Reader { rest: bytes }, &mut see);
}

fn visit(
    reader: &mut Reader<'_>,
    see: &mut dyn FnMut(Part, Element<'_>) -> ControlFlow<()>,
) -> Result<()> {
    match reader.head()? {
        Head::List(count) => {
            for _ in 0..skip_flags(reader, count)? {
                if see(Part::Element, take(reader)?).is_break() {
                    break;
                }
            }
        }
        Head::Map(count) => {
            for _ in 0..skip_pair_flags(reader, count)? {
                if see(Part::Key, take(reader)?).is_break()
                    || see(Part::Value, take(reader)?).is_break()
                {
                    break;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes one element, with all that it holds, off the front.
fn take<'a>(reader: &mut Reader<'a>) -> Result<Element<'a>> {
    let head = reader.head()?;
    let mut left = held(&head);
    while left > 0 {
        left = left - 1 + held(&reader.head()?);
    }
    Ok(match head {
        Head::Int { value, wide: false } => Element::Integer(value),
        Head::Raw([3, text @ ..]) => Element::Text(text),
        Head::Raw([4, blob @ ..]) => Element::Blob(blob),
        Head::Raw([23, text @ ..]) => Element::GeoJson { cells: &[], text },
        _ => Element::Other,
    })
}

/// How many elements follow a head before the element ends.
fn held(head: &Head<'_>) -> u64 {
    match head {
        Head::List(count) => u64::from(*count),
        Head::Map(count) => u64::from(*count) * 2,
        _ => 0,
    }
}

/// Takes the order flags of a list off the front, and tells how many elements follow.
fn skip_flags(reader: &mut Reader<'_>, count: u32) -> Result<u32> {
    Ok(count - u32::from(leading_ext(reader, count)?.is_some()))
}

/// The same of a map, whose flags are a pair.
fn skip_pair_flags(reader: &mut Reader<'_>, count: u32) -> Result<u32> {
    let flagged = leading_ext(reader, count)?.is_some();
    if flagged {
        reader.head()?;
    }
    Ok(count - u32::from(flagged))
}
