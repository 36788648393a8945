//! Putting pairs into a map.

use super::{Map, Spot, WriteFlags, head};
use crate::cdt::answer::Answer;
use crate::cdt::entries::Entries;
use crate::cdt::number::Number;
use crate::cdt::{CdtError, Done};
use crate::msgpack::{FLAG_MAP_KEY_ORDERED, FLAGS_MAP, write_map_head};
use crate::work::to_find;

/// Flags of a map's type: its order, and the index flag that only the reference's storage heeds.
const TYPE_FLAGS: u64 = 0x13;

pub(super) fn set_type<'v>(
    before: Option<&[u8]>,
    flags: u64,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    if flags & !TYPE_FLAGS != 0 {
        return Err(CdtError::NotApplicable("maps have no such type"));
    }
    let flags = match flags as u8 & FLAGS_MAP {
        flags if flags & FLAG_MAP_KEY_ORDERED == 0 => 0, // value order alone means nothing
        flags => flags,
    };
    let Some(packed) = before else {
        write_map_head(out, 0, flags)?;
        return Ok(Done::quietly());
    };
    let head = head(packed)?;
    if head.flags == flags {
        return Ok(Done::nothing());
    }
    write_map_head(out, head.count, flags)?;
    out.extend_from_slice(&packed[head.from..]);
    Ok(Done::quietly())
}

/// Why a key may not be written.
fn violation(flags: WriteFlags, is_there: bool) -> Option<CdtError> {
    if is_there && flags.has(WriteFlags::CREATE_ONLY) {
        return Some(CdtError::ElementExists);
    }
    if !is_there && flags.has(WriteFlags::UPDATE_ONLY) {
        return Some(CdtError::ElementNotFound);
    }
    None
}

pub(super) fn put<'v>(
    spot: &Spot<'_>,
    key: &[u8],
    value: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let is_there = spot.value().is_some();
    match violation(flags, is_there) {
        Some(_) if flags.no_fail() => return Ok(Done::unchanged(Answer::count(spot.len()))),
        Some(error) => return Err(error),
        None => {}
    }
    spot.write(key, value, out)?;
    Ok(Done::counting(spot.len() + usize::from(!is_there)))
}

pub(super) fn put_items<'v>(
    map: &Map<'_, '_>,
    items: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let items = Map::of(items, map.work)?;
    let mut admitted = Vec::with_capacity(items.len()); // pair of the request, and where it goes
    let mut from = 0;
    let work = map.work();
    for at in 0..items.len() {
        work.spend(to_find(items.key(at), map.len()))?;
        let position = map.position_from(from, items.key(at));
        from = position.unwrap_or_else(|at| at);
        match violation(flags, position.is_ok()) {
            None => admitted.push((at, position)),
            Some(_) if flags.partial() => {}
            Some(_) if flags.no_fail() => return Ok(Done::unchanged(Answer::count(map.len()))),
            Some(error) => return Err(error),
        }
    }
    let created = admitted.iter().filter(|(_, at)| at.is_err()).count();
    if admitted.is_empty() {
        return Ok(Done::unchanged(Answer::count(map.len())));
    }
    write_map_head(out, map.len() + created, map.flags)?;
    let mut from = 0;
    for (pair, position) in admitted {
        let at = position.unwrap_or_else(|at| at);
        out.extend_from_slice(map.span(from, at));
        out.extend_from_slice(items.pair(pair));
        from = at + usize::from(position.is_ok());
    }
    out.extend_from_slice(map.span(from, map.len()));
    Ok(Done::counting(map.len() + created))
}

pub(super) fn increment<'v>(
    spot: &Spot<'_>,
    key: &[u8],
    delta: &[u8],
    down: bool,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let delta = Number::delta(delta)?;
    let delta = if down { delta.negated() } else { delta };
    let sum = match spot.value() {
        Some(value) => Number::of(value)?.plus(delta),
        None => delta,
    };
    spot.write(key, &sum.packed(), out)?;
    Ok(Done::changed(sum.answer()))
}
