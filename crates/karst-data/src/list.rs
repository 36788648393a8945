//! Operations on lists, worked on the packed form.
//!
//! An operation begins with an index of where the elements begin, reads or compares only what it is
//! about, and copies whole stretches of unchanged elements into the new list. An ordered list ascends;
//! positions in it are found by halving. The index of a list is never stored.

use std::cmp::Ordering;

use crate::cdt::answer::{Answer, Telling};
use crate::cdt::entries::{Entries, partition_point};
use crate::cdt::offsets::{Offsets, Walker, scan};
use crate::cdt::range::position;
use crate::cdt::selection::{Packed, Selection, Selector, Subject, owned};
use crate::cdt::{CdtError, Done};
use crate::msgpack::{FLAG_LIST_ORDERED, Head, Reader, compare, leading_ext, write_list_head};
use crate::work::Work;

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
    /// The same call, kept without its request.
    pub(crate) fn into_owned(self) -> ListCall<'static> {
        match self {
            ListCall::SetType(flags) => ListCall::SetType(flags),
            ListCall::Append {
                value,
                order,
                flags,
            } => ListCall::Append {
                value: owned(value),
                order,
                flags,
            },
            ListCall::AppendItems {
                items,
                order,
                flags,
            } => ListCall::AppendItems {
                items: owned(items),
                order,
                flags,
            },
            ListCall::Insert {
                index,
                value,
                flags,
            } => ListCall::Insert {
                index,
                value: owned(value),
                flags,
            },
            ListCall::InsertItems {
                index,
                items,
                flags,
            } => ListCall::InsertItems {
                index,
                items: owned(items),
                flags,
            },
            ListCall::Set {
                index,
                value,
                flags,
            } => ListCall::Set {
                index,
                value: owned(value),
                flags,
            },
            ListCall::Trim { index, count } => ListCall::Trim { index, count },
            ListCall::Clear => ListCall::Clear,
            ListCall::Increment {
                index,
                delta,
                order,
                flags,
            } => ListCall::Increment {
                index,
                delta: owned(delta),
                order,
                flags,
            },
            ListCall::Sort(flags) => ListCall::Sort(flags),
            ListCall::Size => ListCall::Size,
            ListCall::Get(selection) => ListCall::Get(selection.into_owned()),
            ListCall::Remove(selection) => ListCall::Remove(selection.into_owned()),
        }
    }

    /// Whether it leaves the list as it is.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, ListCall::Size | ListCall::Get(_))
    }

    /// Reads from a list.
    pub(crate) fn read<'v>(&self, packed: &'v [u8], work: &Work) -> Result<Answer<'v>, CdtError> {
        match self {
            ListCall::Size => Ok(Answer::count(head(packed)?.count)),
            ListCall::Get(selection) => match one_index(packed, selection)? {
                Some(at) => element_at(packed, at, work).map(Answer::Element),
                None => List::of(packed, work)?.get(selection),
            },
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
        work: &Work,
        out: &mut Vec<u8>,
    ) -> Result<Done<'v>, CdtError> {
        let Some(packed) = before else {
            return self.begin(work, out);
        };
        match self {
            ListCall::SetType(flags) => order::set_type(&List::of(packed, work)?, *flags, out),
            ListCall::Append { value, flags, .. } => {
                change::append(packed, value, *flags, work, out)
            }
            ListCall::AppendItems { items, flags, .. } => {
                change::append_items(&List::of(packed, work)?, items, *flags, out)
            }
            ListCall::Insert {
                index,
                value,
                flags,
            } => change::insert(&List::of(packed, work)?, *index, value, *flags, out),
            ListCall::InsertItems {
                index,
                items,
                flags,
            } => change::insert_items(&List::of(packed, work)?, *index, items, *flags, out),
            ListCall::Set {
                index,
                value,
                flags,
            } => change::set(&List::of(packed, work)?, *index, value, *flags, out),
            ListCall::Trim { index, count } => {
                change::trim(&List::of(packed, work)?, *index, *count, out)
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
            } => increment::increment(&List::of(packed, work)?, *index, delta, *flags, out),
            ListCall::Sort(flags) => order::sort(&List::of(packed, work)?, *flags, out),
            ListCall::Remove(selection) => List::of(packed, work)?.remove(selection, out),
            ListCall::Size | ListCall::Get(_) => Err(CdtError::Parameter("a read among writes")),
        }
    }

    /// Works on a list that does not exist.
    fn begin<'v>(&self, work: &Work, out: &mut Vec<u8>) -> Result<Done<'v>, CdtError> {
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
            } => change::append_items(&List::none(is_ordered(*order), work), items, *flags, out),
            ListCall::Insert {
                index,
                value,
                flags,
            } => change::insert(&List::none(false, work), *index, value, *flags, out),
            ListCall::InsertItems {
                index,
                items,
                flags,
            } => change::insert_items(&List::none(false, work), *index, items, *flags, out),
            ListCall::Set {
                index,
                value,
                flags,
            } => change::set(&List::none(false, work), *index, value, *flags, out),
            ListCall::Increment {
                index,
                delta,
                order,
                flags,
            } => {
                let none = List::none(is_ordered(*order), work);
                increment::increment(&none, *index, delta, *flags, out)
            }
            ListCall::Sort(_) => Err(CdtError::Incompatible),
            ListCall::Trim { .. } | ListCall::Clear | ListCall::Remove(_) => Ok(Done::nothing()),
            ListCall::Size | ListCall::Get(_) => Err(CdtError::Parameter("a read among writes")),
        }
    }
}

/// The index whose value a selection asks for, if that is all it asks for and there is one.
fn one_index(packed: &[u8], selection: &Selection<'_>) -> Result<Option<usize>, CdtError> {
    let Selector::Index(index) = selection.selector else {
        return Ok(None);
    };
    if selection.telling(Subject::List) != Ok(Telling::Value) {
        return Ok(None);
    }
    Ok(position(index, head(packed)?.count))
}

/// The element of an index that exists, found without an index of all the others.
fn element_at<'v>(packed: &'v [u8], at: usize, work: &Work) -> Result<&'v [u8], CdtError> {
    work.spend(10 + at as u64)?;
    let mut walker = Walker::new(packed, head(packed)?.from);
    walker.skip(at)?;
    let start = walker.at();
    walker.step()?;
    Ok(&packed[start..walker.at()])
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
pub(crate) struct List<'v, 'w> {
    packed: &'v [u8],
    at: Offsets,
    pub(crate) ordered: bool,
    pub(crate) work: &'w Work,
}

impl<'v, 'w> List<'v, 'w> {
    /// Indexes a packed list.
    pub(crate) fn of(packed: &'v [u8], work: &'w Work) -> Result<List<'v, 'w>, CdtError> {
        let head = head(packed)?;
        Ok(List {
            packed,
            at: scan(packed, head.from, head.count, work)?,
            ordered: head.ordered,
            work,
        })
    }

    /// A list without elements.
    pub(crate) fn none(ordered: bool, work: &'w Work) -> List<'v, 'w> {
        List {
            packed: &[],
            at: Offsets::from_slice(&[0]),
            ordered,
            work,
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

impl<'v> Entries<'v> for List<'v, '_> {
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

    fn work(&self) -> &Work {
        self.work
    }
}
