//! HyperLogLog calls as clients send them.

use std::borrow::Cow;

use super::sketch::{Shape, View};
use super::{Change, Elements, HllModify, HllRead, Reading, Sketches, Wanted};
use crate::call::{Arguments, CallError, WriteFlags};
use crate::packed::{Cursor, Element};

const BASIC: u8 = WriteFlags::CREATE_ONLY | WriteFlags::UPDATE_ONLY | WriteFlags::NO_FAIL;
const ADD: u8 = WriteFlags::CREATE_ONLY | WriteFlags::NO_FAIL;
const UNION: u8 = BASIC | WriteFlags::ALLOW_FOLD;

/// What stands for a part of a shape that the call leaves open.
const UNSPECIFIED: i64 = -1;

/// Most sketches of one request whose intersection is told if they have no minhashes.
const PLAIN_SETS_MAX: usize = 2;

const BITS: CallError = CallError::Parameter("index or minhash bits that no sketch has");

/// Whether a code is that of a call that reads.
pub(crate) fn is_read_code(code: i64) -> bool {
    (50..=56).contains(&code)
}

/// Whether a code is that of a call that changes.
pub(crate) fn is_modify_code(code: i64) -> bool {
    (0..=4).contains(&code)
}

impl<'a> HllRead<'a> {
    /// Parses a call.
    ///
    /// # Errors
    /// [`CallError::Parameter`] alone.
    pub fn parse(payload: &'a [u8]) -> Result<HllRead<'a>, CallError> {
        let (code, mut arguments) = Arguments::open(payload)?;
        let takes = u32::from((51..=54).contains(&code) || code == 56);
        arguments.expect(takes, takes)?;
        let reading = match code {
            50 => Reading::Count,
            51 => Reading::Union(sketches(&mut arguments)?),
            52 => Reading::UnionCount(sketches(&mut arguments)?),
            53 => Reading::IntersectCount(comparable(&mut arguments)?),
            54 => Reading::Similarity(comparable(&mut arguments)?),
            55 => Reading::Describe,
            56 => Reading::MayContain(elements(&mut arguments)?),
            _ => return Err(CallError::Parameter("no HyperLogLog call that reads")),
        };
        arguments.close()?;
        Ok(HllRead(reading))
    }
}

impl<'a> HllModify<'a> {
    /// Parses a call.
    ///
    /// # Errors
    /// [`CallError::Parameter`] alone.
    pub fn parse(payload: &'a [u8]) -> Result<HllModify<'a>, CallError> {
        let (code, mut arguments) = Arguments::open(payload)?;
        let (least, most, allowed) = match code {
            0 => (0, 3, BASIC),
            1 => (1, 4, ADD),
            2 => (1, 2, UNION),
            3 => (0, 0, 0),
            4 => (1, 1, 0),
            _ => return Err(CallError::Parameter("no HyperLogLog call that changes")),
        };
        arguments.expect(least, most)?;
        let kind = match code {
            0 => Change::Init(wanted(&mut arguments)?),
            1 => {
                let elements = elements(&mut arguments)?;
                Change::Add(elements, wanted(&mut arguments)?)
            }
            2 => Change::Union(sketches(&mut arguments)?),
            3 => Change::RefreshCount,
            _ => {
                let bits = arguments.take(Cursor::int)?;
                Change::Fold(index_bits(bits)?)
            }
        };
        let flags = arguments.flags(allowed)?;
        arguments.close()?;
        Ok(HllModify { kind, flags })
    }
}

fn index_bits(bits: i64) -> Result<u8, CallError> {
    if Shape::is_index_bits(bits) {
        Ok(bits as u8)
    } else {
        Err(BITS)
    }
}

fn minhash_bits(bits: i64) -> Result<u8, CallError> {
    if Shape::is_minhash_bits(bits) {
        Ok(bits as u8)
    } else {
        Err(BITS)
    }
}

/// Index bits and minhash bits, each if it is there.
fn wanted(arguments: &mut Arguments<'_>) -> Result<Wanted, CallError> {
    let mut part =
        |check: fn(i64) -> Result<u8, CallError>| match arguments.optional_int(UNSPECIFIED)? {
            UNSPECIFIED => Ok(None),
            bits => check(bits).map(Some),
        };
    let wanted = Wanted {
        index_bits: part(index_bits)?,
        minhash_bits: part(minhash_bits)?,
    };
    match (wanted.index_bits, wanted.minhash_bits) {
        (Some(index), Some(minhash)) if Shape::new(index, minhash).is_none() => Err(BITS),
        _ => Ok(wanted),
    }
}

/// A list of scalars.
fn elements<'a>(arguments: &mut Arguments<'a>) -> Result<Elements<'a>, CallError> {
    arguments.take(|cursor| {
        let count = cursor.list()?;
        let start = *cursor;
        for _ in 0..count {
            match cursor.head()? {
                Element::List(_) | Element::Map(_) | Element::Ext { .. } => return None,
                Element::Nil
                | Element::Bool(_)
                | Element::Int { .. }
                | Element::Double(_)
                | Element::Raw(_) => {}
            }
        }
        let packed = Cow::Borrowed(start.until(cursor));
        Some(Elements { packed, count })
    })
}

/// One sketch or a list of them, at least one.
fn sketches<'a>(arguments: &mut Arguments<'a>) -> Result<Sketches<'a>, CallError> {
    let sketch = |raw: &'a [u8]| {
        let (_, bytes) = raw.split_first()?; // the type byte says nothing
        View::new(bytes).map(|_| Cow::Borrowed(bytes))
    };
    let all = arguments.take(|cursor| match cursor.head()? {
        Element::Raw(raw) => Some(vec![sketch(raw)?]),
        Element::List(count) if count > 0 => (0..count).map(|_| sketch(cursor.raw()?)).collect(),
        _ => None,
    });
    all.map(Sketches)
}

/// Sketches whose intersection with each other and one more can be told.
fn comparable<'a>(arguments: &mut Arguments<'a>) -> Result<Sketches<'a>, CallError> {
    let sketches = sketches(arguments)?;
    let views = sketches.views();
    let first = views.first().map_or(0, |view| view.shape.minhash_bits);
    let alike = first != 0 && views.iter().all(|view| view.shape.minhash_bits == first);
    if views.len() > PLAIN_SETS_MAX && !alike {
        return Err(CallError::Parameter(
            "so many sketches are compared by minhashes alone",
        ));
    }
    drop(views);
    Ok(sketches)
}

impl Elements<'_> {
    /// Each element as it is hashed: in as few bytes as hold it.
    pub(super) fn each(&self, mut visit: impl FnMut(&[u8])) {
        let mut cursor = Cursor::new(&self.packed);
        let mut minimal = Vec::new();
        for _ in 0..self.count {
            let Some(packed) = cursor.element() else {
                return; // they were looked at when the call was parsed
            };
            minimal.clear();
            visit(minimal_form(packed, &mut minimal));
        }
    }
}

/// An element in as few bytes as hold it; floats stay as they are.
fn minimal_form<'b>(packed: &'b [u8], minimal: &'b mut Vec<u8>) -> &'b [u8] {
    match Cursor::new(packed).head() {
        Some(Element::Int { value, wide }) => crate::msgpack::write_int(minimal, value, wide),
        Some(Element::Raw(content)) => {
            crate::msgpack::write_raw_head(minimal, content.len());
            minimal.extend_from_slice(content);
        }
        _ => return packed,
    }
    minimal
}
