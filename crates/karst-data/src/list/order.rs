//! Sorting a list, and making it ordered or not.

use std::cmp::Ordering;

use super::List;
use crate::cdt::entries::Entries;
use crate::cdt::range::Span;
use crate::cdt::{CdtError, Done};
use crate::msgpack::{compare_total, write_list_head};

/// Flags of a list's type: ordered, and the index flag that only the reference's storage heeds.
const TYPE_FLAGS: u64 = 0x11;
const ORDERED: u64 = 0x01;

const SORT_DESCENDING: u64 = 1;
const SORT_DROP_DUPLICATES: u64 = 2;

/// Whether a list of this type is ordered.
///
/// # Errors
/// [`CdtError::NotApplicable`] for flags that lists do not have.
pub(super) fn checked(flags: u64) -> Result<bool, CdtError> {
    if flags & !TYPE_FLAGS != 0 {
        return Err(CdtError::NotApplicable("lists have no such type"));
    }
    Ok(flags & ORDERED != 0)
}

pub(super) fn set_type<'v>(
    list: &List<'_, '_>,
    flags: u64,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let ordered = checked(flags)?;
    if ordered == list.ordered {
        return Ok(Done::nothing());
    }
    if ordered {
        write(list, &sorted(list), true, out)?;
    } else {
        write_list_head(out, list.len(), false)?;
        out.extend_from_slice(list.span(0, list.len()));
    }
    Ok(Done::quietly())
}

pub(super) fn sort<'v>(
    list: &List<'_, '_>,
    flags: u64,
    out: &mut Vec<u8>,
) -> Result<Done<'v>, CdtError> {
    let drops = flags & SORT_DROP_DUPLICATES != 0;
    if list.len() <= 1 || (list.ordered && !drops) {
        return Ok(Done::nothing());
    }
    let mut order = sorted(list);
    if drops {
        order.dedup_by(|b, a| {
            let [a, b] = [*a, *b].map(|at| list.element(at as usize));
            compare_total(a, b) == Ordering::Equal
        });
    }
    if flags & SORT_DESCENDING != 0 && !list.ordered {
        order.reverse();
    }
    write(list, &order, list.ordered, out)?;
    Ok(Done::quietly())
}

fn sorted(list: &List<'_, '_>) -> Vec<u32> {
    list.ranked(Span {
        start: 0,
        count: list.len(),
    })
}

fn write(
    list: &List<'_, '_>,
    order: &[u32],
    ordered: bool,
    out: &mut Vec<u8>,
) -> Result<(), CdtError> {
    write_list_head(out, order.len(), ordered)?;
    for at in order {
        out.extend_from_slice(list.element(*at as usize));
    }
    Ok(())
}
