//! Adding to a number in a list.

use std::cmp::Ordering;

use super::change::{place, refuse};
use super::{List, WriteFlags};
use crate::cdt::entries::Entries;
use crate::cdt::number::Number;
use crate::cdt::{CdtError, Done};
use crate::msgpack::{compare, write_list_head};

pub(super) fn increment<'v>(
    list: &List<'_, '_>,
    index: i64,
    delta: &[u8],
    flags: WriteFlags,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let delta = Number::delta(delta)?;
    let len = list.len();
    let Some(at) = place(index, len, flags)? else {
        return Ok(Done::nothing());
    };
    let is_there = at < len;
    let sum = if is_there {
        Number::of(list.element(at))?.plus(delta)
    } else {
        delta
    };
    let packed = sum.packed();
    if !list.ordered {
        list.splice(at, usize::from(is_there), &[&packed], out)?;
        return Ok(Done::changed(sum.answer()));
    }
    if at > len {
        return Err(CdtError::NotApplicable("an ordered list has no gaps"));
    }
    let is_equal =
        |other: usize| other != at && compare(list.element(other), &packed) == Ordering::Equal;
    if flags.unique() && list.may_compare_all(&packed) && (0..len).any(is_equal) {
        return refuse(flags, CdtError::ElementExists).map(|()| Done::nothing());
    }
    if is_there {
        list.move_to_its_place(at, &packed, out)?;
    } else {
        list.splice(list.place_of(&packed), 0, &[&packed], out)?;
    }
    Ok(Done::changed(sum.answer()))
}

impl List<'_, '_> {
    /// Writes an ordered list with one element changed, which is put where it belongs now.
    pub(crate) fn move_to_its_place(
        &self,
        from: usize,
        changed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CdtError> {
        let to = self.place_of_changed(from, changed);
        write_list_head(out, self.len(), true)?;
        let (low, high) = (from.min(to), from.max(to));
        out.extend_from_slice(self.span(0, low));
        if to <= from {
            out.extend_from_slice(changed);
            out.extend_from_slice(self.span(low, from));
            out.extend_from_slice(self.span(from + 1, self.len()));
        } else {
            out.extend_from_slice(self.span(from + 1, high));
            out.extend_from_slice(changed);
            out.extend_from_slice(self.span(high, self.len()));
        }
        Ok(())
    }

    /// Before which element a changed one goes. The old one does not count, and where it is it stays if
    /// the order allows it.
    fn place_of_changed(&self, from: usize, changed: &[u8]) -> usize {
        let fits =
            |at: usize, sides: [Ordering; 2]| sides.contains(&compare(self.element(at), changed));
        let not_above = [Ordering::Less, Ordering::Equal];
        let not_below = [Ordering::Equal, Ordering::Greater];
        let fits_below = from == 0 || fits(from - 1, not_above);
        let fits_above = from + 1 == self.len() || fits(from + 1, not_below);
        if fits_below && fits_above {
            return from;
        }
        let below = |at: usize| at != from && !fits(at, [Ordering::Greater; 2]);
        if fits_below {
            // It belongs farther up: everything up to it is not above.
            return crate::cdt::entries::partition_point(self.len(), |at| at <= from || below(at));
        }
        crate::cdt::entries::partition_point(from, below)
    }
}
