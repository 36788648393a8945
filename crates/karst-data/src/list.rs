//! Operations on lists, worked on the packed form.
//!
//! An operation begins with an index of where the elements begin, reads or compares only what it is
//! about, and copies whole stretches of unchanged elements into the new list. An ordered list ascends;
//! positions in it are found by halving. The index of a list is never stored.

use std::cmp::Ordering;

use crate::cdt::answer::Answer;
use crate::cdt::entries::{Entries, partition_point};
use crate::cdt::offsets::{Offsets, scan};
use crate::cdt::selection::{Packed, Selection, Subject};
use crate::cdt::{CdtError, Done};
use crate::msgpack::{FLAG_LIST_ORDERED, Head, Reader, compare, leading_ext, write_list_head};

mod change;
mod increment;
mod order;

/// Longest list that may be made by padding, and so its highest index.
const INDEX_MAX: i64 = (1 << 31) - 1;

/// One operation on a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ListCall<'a> {
    SetType(u64),
    Append {
        value: Packed<'a>,
        order: u64,
        flags: WriteFlags,
    },
    AppendItems {
        items: Packed<'a>,
        order: u64,
        flags: WriteFlags,
    },
    Insert {
        index: i64,
        value: Packed<'a>,
        flags: WriteFlags,
    },
    InsertItems {
        index: i64,
        items: Packed<'a>,
        flags: WriteFlags,
    },
    Set {
        index: i64,
        value: Packed<'a>,
        flags: WriteFlags,
    },
    Trim {
        index: i64,
        count: u64,
    },
    Clear,
    Increment {
        index: i64,
        delta: Packed<'a>,
        order: u64,
        flags: WriteFlags,
    },
    Sort(u64),
    Size,
    Get(Selection<'a>),
    Remove(Selection<'a>),
}

/// What a write to a list may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteFlags(pub(crate) u64);

impl WriteFlags {
    /// No value twice.
    fn unique(self) -> bool {
        self.0 & 1 != 0
    }

    /// Nothing beyond the end.
    fn bounded(self) -> bool {
        self.0 & 2 != 0
    }

    /// What is not allowed is left undone instead of refused.
    fn no_fail(self) -> bool {
        self.0 & 4 != 0
    }

    /// Of many values, those that are not allowed are left out.
    fn partial(self) -> bool {
        self.0 & 8 != 0 && self.no_fail()
    }
}

impl ListCall<'_> {
    /// Whether it leaves the list as it is.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, ListCall::Size | ListCall::Get(_))
    }

    /// Reads from a list.
    pub(crate) fn read<'v>(&self, packed: &'v [u8]) -> Result<Answer<'v>, CdtError> {
        match self {
            ListCall::Size => Ok(Answer::count(head(packed)?.count)),
            ListCall::Get(selection) => List::of(packed)?.get(selection),
            ListCall::SetType(_)
            | ListCall::Append { .. }
            | ListCall::AppendItems { .. }
            | ListCall::Insert { .. }
            | ListCall::InsertItems { .. }
            | ListCall::Set { .. }
            | ListCall::Trim { .. }
            | ListCall::Clear
            | ListCall::Increment { .. }
            | ListCall::Sort(_)
            | ListCall::Remove(_) => Err(CdtError::Parameter("a write among reads")),
        }
    }

    /// Changes a list, or makes one where there is none. The new list is appended to `out` if
    /// [`Done::changed`] says so; whatever was appended otherwise, or before an error, means nothing.
    pub(crate) fn modify<'v>(
        &self,
        before: Option<&'v [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Done<'v>, CdtError> {
        let Some(packed) = before else {
            return self.begin(out);
        };
        match self {
            ListCall::SetType(flags) => order::set_type(&List::of(packed)?, *flags, out),
            ListCall::Append { value, flags, .. } => change::append(packed, value, *flags, out),
            ListCall::AppendItems { items, flags, .. } => {
                change::append_items(&List::of(packed)?, items, *flags, out)
            }
            ListCall::Insert {
                index,
                value,
                flags,
            } => change::insert(&List::of(packed)?, *index, value, *flags, out),
            ListCall::InsertItems {
                index,
                items,
                flags,
            } => change::insert_items(&List::of(packed)?, *index, items, *flags, out),
            ListCall::Set {
                index,
                value,
                flags,
            } => change::set(&List::of(packed)?, *index, value, *flags, out),
            ListCall::Trim { index, count } => {
                change::trim(&List::of(packed)?, *index, *count, out)
            }
            ListCall::Clear => {
                write_list_head(out, 0, head(packed)?.ordered)?;
                Ok(Done::quietly())
            }
            ListCall::Increment {
                index,
                delta,
                flags,
                ..
            } => increment::increment(&List::of(packed)?, *index, delta, *flags, out),
            ListCall::Sort(flags) => order::sort(&List::of(packed)?, *flags, out),
            ListCall::Remove(selection) => List::of(packed)?.remove(selection, out),
            ListCall::Size | ListCall::Get(_) => Err(CdtError::Parameter("a read among writes")),
        }
    }

    /// Works on a list that does not exist.
    fn begin<'v>(&self, out: &mut Vec<u8>) -> Result<Done<'v>, CdtError> {
        match self {
            ListCall::SetType(flags) => {
                let ordered = order::checked(*flags)?;
                write_list_head(out, 0, ordered)?;
                Ok(Done::quietly())
            }
            ListCall::Append { value, order, .. } => {
                write_list_head(out, 1, is_ordered(*order))?;
                out.extend_from_slice(value);
                Ok(Done::counting(1))
            }
            ListCall::AppendItems {
                items,
                order,
                flags,
            } => change::append_items(&List::none(is_ordered(*order)), items, *flags, out),
            ListCall::Insert {
                index,
                value,
                flags,
            } => change::insert(&List::none(false), *index, value, *flags, out),
            ListCall::InsertItems {
                index,
                items,
                flags,
            } => change::insert_items(&List::none(false), *index, items, *flags, out),
            ListCall::Set {
                index,
                value,
                flags,
            } => change::set(&List::none(false), *index, value, *flags, out),
            ListCall::Increment {
                index,
                delta,
                order,
                flags,
            } => {
                let none = List::none(is_ordered(*order));
                increment::increment(&none, *index, delta, *flags, out)
            }
            ListCall::Sort(_) => Err(CdtError::Incompatible),
            ListCall::Trim { .. } | ListCall::Clear | ListCall::Remove(_) => Ok(Done::nothing()),
            ListCall::Size | ListCall::Get(_) => Err(CdtError::Parameter("a read among writes")),
        }
    }
}

/// Whether a list is made ordered. Combinations that mean nothing are taken for none.
fn is_ordered(order: u64) -> bool {
    matches!(order, 0x01 | 0x11)
}

/// The head of a packed list.
pub(crate) struct ListHead {
    /// Elements, without the flags.
    pub(crate) count: usize,
    pub(crate) ordered: bool,
    /// Where the first element begins.
    pub(crate) from: usize,
}

/// Reads a list's head.
pub(crate) fn head(packed: &[u8]) -> Result<ListHead, CdtError> {
    let mut reader = Reader { rest: packed };
    let Ok(Head::List(count)) = reader.head() else {
        return Err(CdtError::Damaged("no list where one was stored"));
    };
    let flags = leading_ext(&mut reader, count)?;
    Ok(ListHead {
        count: count as usize - usize::from(flags.is_some()),
        ordered: flags.is_some_and(|flags| flags & FLAG_LIST_ORDERED != 0),
        from: packed.len() - reader.rest.len(),
    })
}

/// A list with the index of its elements.
pub(crate) struct List<'v> {
    packed: &'v [u8],
    at: Offsets,
    pub(crate) ordered: bool,
}

impl<'v> List<'v> {
    /// Indexes a packed list.
    pub(crate) fn of(packed: &'v [u8]) -> Result<List<'v>, CdtError> {
        let head = head(packed)?;
        Ok(List {
            packed,
            at: scan(packed, head.from, head.count)?,
            ordered: head.ordered,
        })
    }

    /// A list without elements.
    pub(crate) fn none(ordered: bool) -> List<'v> {
        List {
            packed: &[],
            at: Offsets::from_slice(&[0]),
            ordered,
        }
    }

    /// Where an element begins; for the one after the last, where the list ends.
    pub(crate) fn start(&self, at: usize) -> usize {
        self.at[at] as usize
    }

    /// One element.
    pub(crate) fn element(&self, at: usize) -> &'v [u8] {
        self.span(at, at + 1)
    }

    pub(crate) fn packed(&self) -> &'v [u8] {
        self.packed
    }

    /// Where a value goes in an ordered list: behind those equal to it.
    pub(crate) fn place_of(&self, value: &[u8]) -> usize {
        partition_point(self.len(), |at| {
            compare(self.element(at), value) != Ordering::Greater
        })
    }
}

impl<'v> Entries<'v> for List<'v> {
    fn len(&self) -> usize {
        self.at.len() - 1
    }

    fn value(&self, at: usize) -> &'v [u8] {
        self.element(at)
    }

    fn key(&self, _: usize) -> &'v [u8] {
        &[]
    }

    fn pair(&self, _: usize) -> &'v [u8] {
        &[]
    }

    fn is_map(&self) -> bool {
        false
    }

    fn span(&self, from: usize, to: usize) -> &'v [u8] {
        &self.packed[self.start(from)..self.start(to)]
    }

    fn subject(&self) -> Subject {
        if self.ordered {
            Subject::OrderedList
        } else {
            Subject::List
        }
    }

    fn write_head(&self, out: &mut Vec<u8>, count: usize) -> Result<(), CdtError> {
        write_list_head(out, count, self.ordered)?;
        Ok(())
    }

    fn is_sorted(&self) -> bool {
        self.ordered
    }
}
