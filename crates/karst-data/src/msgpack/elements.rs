//! The elements of a stored list or map that stand at its top, one after the other.
//!
//! For those who only look for values in a collection, such as a secondary index. What an element that is a
//! collection itself holds is stepped over. Bytes that are no stored collection have no elements from where they
//! cease to be one. Who has no time for all of them goes on later from a [`Place`].

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

impl<'a> Element<'a> {
    /// The element at the front of some bytes; nothing, of bytes that are none.
    pub fn first_of(bytes: &'a [u8]) -> Element<'a> {
        take(&mut Reader { rest: bytes }).unwrap_or(Element::Other)
    }
}

/// Where a walk over the elements of a collection has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The next element, in bytes from the collection's start.
    at: usize,
    /// Elements to come, keys and values counted apart.
    left: u64,
    next: Part,
}

/// The elements of a collection.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    /// Bytes of the whole collection.
    bytes: usize,
    left: u64,
    next: Part,
}

impl<'a> Elements<'a> {
    /// Those of a packed list or map.
    pub fn of(bytes: &'a [u8]) -> Elements<'a> {
        let mut reader = Reader { rest: bytes };
        let (left, next) = begin(&mut reader).unwrap_or((0, Part::Element));
        Elements {
            reader,
            bytes: bytes.len(),
            left,
            next,
        }
    }

    /// Those that are left behind a place in the same collection.
    pub fn resumed(bytes: &'a [u8], place: Place) -> Elements<'a> {
        Elements {
            reader: Reader {
                rest: bytes.get(place.at..).unwrap_or_default(),
            },
            bytes: bytes.len(),
            left: place.left,
            next: place.next,
        }
    }

    /// Where the next element stands.
    pub fn place(&self) -> Place {
        Place {
            at: self.bytes - self.reader.rest.len(),
            left: self.left,
            next: self.next,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Part, Element<'a>);

    fn next(&mut self) -> Option<(Part, Element<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let Ok(element) = take(&mut self.reader) else {
            self.left = 0;
            return None;
        };
        let part = self.next;
        self.next = match part {
            Part::Element => Part::Element,
            Part::Key => Part::Value,
            Part::Value => Part::Key,
        };
        Some((part, element))
    }
}

/// Takes a collection's head and flags off the front. Tells how many elements follow, and what the first is.
fn begin(reader: &mut Reader<'_>) -> Result<(u64, Part)> {
    Ok(match reader.head()? {
        Head::List(count) => {
            let flagged = leading_ext(reader, count)?.is_some();
            (u64::from(count) - u64::from(flagged), Part::Element)
        }
        Head::Map(count) => {
            let flagged = leading_ext(reader, count)?.is_some();
            if flagged {
                reader.head()?; // the flags of a map are a pair
            }
            (2 * (u64::from(count) - u64::from(flagged)), Part::Key)
        }
        _ => (0, Part::Element),
    })
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
