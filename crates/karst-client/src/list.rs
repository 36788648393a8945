//! Calls on lists: append to, look into and remove from a list in a bin, or in an expression.
//!
//! An *index* counts from 0, negative from the end; a *rank* is an index in the order of the values. Counts
//! and ends of intervals may be `..` for "to the end". What an element is compared with may hold
//! [`Value::Wildcard`].
//!
//! ```no_run
//! use karst_client::{Client, Key, ListReturn, WritePolicy, list};
//!
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! let steps = [
//!     list::append_items(["b", "c"]).bin("tags"),
//!     list::get_by_index(-1, ListReturn::VALUE).bin("tags"),
//!     list::remove_by_value("a", ListReturn::COUNT).bin("tags"),
//! ];
//! let told = client.operate(&WritePolicy::default(), key, &steps).await?.unwrap();
//! assert_eq!(told.bins[1].value.as_str(), Some("c"));
//! # Ok(())
//! # }
//! ```

use crate::call::{
    Bound, Call, CallKind, CallPolicy, Picks, flags_policy, from_place, interval, relative,
    returns, sealed,
};
use crate::expr::{Expr, Type};
use crate::flags::flags;
use crate::value::Value;

mod number {
    pub(super) const SET_TYPE: u8 = 0;
    pub(super) const APPEND: u8 = 1;
    pub(super) const APPEND_ITEMS: u8 = 2;
    pub(super) const INSERT: u8 = 3;
    pub(super) const INSERT_ITEMS: u8 = 4;
    pub(super) const POP: u8 = 5;
    pub(super) const POP_RANGE: u8 = 6;
    pub(super) const SET: u8 = 9;
    pub(super) const TRIM: u8 = 10;
    pub(super) const CLEAR: u8 = 11;
    pub(super) const INCREMENT: u8 = 12;
    pub(super) const SORT: u8 = 13;
    pub(super) const SIZE: u8 = 16;
    pub(super) const GET_BY_INDEX: u8 = 19;
    pub(super) const GET_BY_RANK: u8 = 21;
    pub(super) const GET_BY_VALUE: u8 = 22;
    pub(super) const GET_BY_VALUES: u8 = 23;
    pub(super) const GET_BY_INDEX_RANGE: u8 = 24;
    pub(super) const GET_BY_VALUE_RANGE: u8 = 25;
    pub(super) const GET_BY_RANK_RANGE: u8 = 26;
    pub(super) const GET_NEAR_VALUE: u8 = 27;
    pub(super) const REMOVE_BY_INDEX: u8 = 32;
    pub(super) const REMOVE_BY_RANK: u8 = 34;
    pub(super) const REMOVE_BY_VALUE: u8 = 35;
    pub(super) const REMOVE_BY_VALUES: u8 = 36;
    pub(super) const REMOVE_BY_INDEX_RANGE: u8 = 37;
    pub(super) const REMOVE_BY_VALUE_RANGE: u8 = 38;
    pub(super) const REMOVE_BY_RANK_RANGE: u8 = 39;
    pub(super) const REMOVE_NEAR_VALUE: u8 = 40;
}

returns! {
    /// What a call on a list answers of the elements it found. Calls that find many answer lists.
    pub struct ListReturn {
        /// Nothing.
        NONE = 0;
        /// Indexes.
        INDEX = 1;
        /// Indexes, counted from the end.
        REVERSE_INDEX = 2;
        /// Ranks.
        RANK = 3;
        /// Ranks, counted from the greatest.
        REVERSE_RANK = 4;
        /// How many there are.
        COUNT = 5;
        /// The elements themselves.
        VALUE = 7;
        /// First index and count.
        INDEX_RANGE = 9;
        /// First index from the end and count.
        REVERSE_INDEX_RANGE = 10;
        /// First rank and count.
        RANK_RANGE = 11;
        /// First rank from the greatest and count.
        REVERSE_RANK_RANGE = 12;
        /// Whether there is any.
        EXISTS = 13;
    }
}

flags! {
    /// How a list is written.
    pub struct ListFlags {
        /// Refuse what the list holds already.
        UNIQUE = 1;
        /// Refuse to insert behind the end.
        BOUNDED = 2;
        /// What is refused changes nothing, instead of failing the whole request.
        NO_FAIL = 4;
        /// With [`ListFlags::NO_FAIL`], of many values only those that are refused are left out.
        PARTIAL = 8;
    }
}

flags_policy!(ListFlags);

flags! {
    /// How a list is sorted.
    pub struct SortFlags {
        /// The greatest first.
        DESCENDING = 1;
        /// Of equal ones, only one stays.
        DROP_DUPLICATES = 2;
    }
}

/// The order a list keeps its elements in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListOrder {
    /// As they were put.
    #[default]
    Unordered,
    /// By value.
    Ordered,
}

impl ListOrder {
    fn number(self) -> u32 {
        match self {
            ListOrder::Unordered => 0,
            ListOrder::Ordered => 1,
        }
    }

    /// Bits of a step of a path that make such a list.
    pub(crate) fn creates(self, pad: bool) -> u32 {
        match (self, pad) {
            (ListOrder::Unordered, false) => 0x40,
            (ListOrder::Unordered, true) => 0x80,
            (ListOrder::Ordered, _) => 0xc0,
        }
    }
}

/// How elements are added: the order of the list if it has to be made, and what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListPolicy {
    /// Order of a list that is made.
    pub order: ListOrder,
    /// What is refused.
    pub flags: ListFlags,
}

impl ListPolicy {
    /// With this order of a list that is made.
    #[must_use]
    pub fn with_order(mut self, order: ListOrder) -> ListPolicy {
        self.order = order;
        self
    }

    /// With these flags.
    #[must_use]
    pub fn with_flags(mut self, flags: ListFlags) -> ListPolicy {
        self.flags = flags;
        self
    }
}

impl sealed::Sealed for ListPolicy {}

impl CallPolicy for ListPolicy {
    fn numbers(&self) -> impl IntoIterator<Item = u32> {
        [self.order.number(), self.flags.bits()]
    }
}

/// A call that changes the list; as an expression it gives the changed one.
fn modify<P: CallPolicy>(number: u8, arguments: impl IntoIterator<Item = Expr>) -> Call<P> {
    Call::with_policy(CallKind::CdtModify, number, arguments).giving(Type::List)
}

fn get(number: u8, picks: Picks, returns: ListReturn, arguments: Vec<Expr>) -> Call {
    Call::picking(CallKind::CdtRead, number, picks, returns.bits(), arguments)
}

fn take(number: u8, picks: Picks, returns: ListReturn, arguments: Vec<Expr>) -> Call {
    let (kind, returns) = (CallKind::CdtModify, returns.bits());
    Call::picking(kind, number, picks, returns, arguments).giving(Type::List)
}

/// Makes a list of this order, unless there is one. With a path, `pad` lets its last step be an index behind
/// the end of its list, which is filled with nil.
pub fn create(order: ListOrder, pad: bool) -> Call {
    set_order(order).creating(order.creates(pad))
}

/// Has a list keep this order from now on.
pub fn set_order(order: ListOrder) -> Call {
    modify(number::SET_TYPE, [order.number().into()])
}

/// Adds a value at the end, or where it belongs in an ordered list; answers the new size.
pub fn append(value: impl Into<Expr>) -> Call<ListPolicy> {
    modify(number::APPEND, [value.into()])
}

/// Adds values as [`append`] does; answers the new size.
pub fn append_items<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Call<ListPolicy> {
    modify(number::APPEND_ITEMS, [Value::list(values).into()])
}

/// Adds a value in front of an index of an unordered list; answers the new size.
pub fn insert(index: impl Into<Expr>, value: impl Into<Expr>) -> Call<ListFlags> {
    modify(number::INSERT, [index.into(), value.into()])
}

/// Adds values in front of an index of an unordered list; answers the new size.
pub fn insert_items<V: Into<Value>>(
    index: impl Into<Expr>,
    values: impl IntoIterator<Item = V>,
) -> Call<ListFlags> {
    modify(
        number::INSERT_ITEMS,
        [index.into(), Value::list(values).into()],
    )
}

/// Replaces the element at an index of an unordered list.
pub fn set(index: impl Into<Expr>, value: impl Into<Expr>) -> Call<ListFlags> {
    modify(number::SET, [index.into(), value.into()])
}

/// Adds to the number at an index; answers the sum.
pub fn increment(index: impl Into<Expr>, delta: impl Into<Expr>) -> Call<ListPolicy> {
    modify(number::INCREMENT, [index.into(), delta.into()])
}

/// Removes the element at an index and answers it.
pub fn pop(index: impl Into<Expr>) -> Call {
    modify(number::POP, [index.into()])
}

/// Removes elements from an index on and answers them.
pub fn pop_range(index: impl Into<Expr>, count: impl Into<Bound>) -> Call {
    modify(number::POP_RANGE, from_place(index, count))
}

/// Keeps only `count` elements from an index on; answers how many were removed.
pub fn trim(index: impl Into<Expr>, count: impl Into<Expr>) -> Call {
    modify(number::TRIM, [index.into(), count.into()])
}

/// Removes all elements.
pub fn clear() -> Call {
    modify(number::CLEAR, [])
}

/// Sorts the elements, once.
pub fn sort(flags: SortFlags) -> Call {
    modify(number::SORT, [flags.bits().into()])
}

/// How many elements there are.
pub fn size() -> Call {
    Call::with_policy(CallKind::CdtRead, number::SIZE, []).giving(Type::Int)
}

/// The element at an index.
pub fn get_by_index(index: impl Into<Expr>, returns: ListReturn) -> Call {
    get(
        number::GET_BY_INDEX,
        Picks::One,
        returns,
        vec![index.into()],
    )
}

/// Elements from an index on.
pub fn get_by_index_range(
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = from_place(index, count);
    get(number::GET_BY_INDEX_RANGE, Picks::Many, returns, arguments)
}

/// The element of a rank.
pub fn get_by_rank(rank: impl Into<Expr>, returns: ListReturn) -> Call {
    get(number::GET_BY_RANK, Picks::One, returns, vec![rank.into()])
}

/// Elements from a rank on.
pub fn get_by_rank_range(
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = from_place(rank, count);
    get(number::GET_BY_RANK_RANGE, Picks::Many, returns, arguments)
}

/// All elements that are this.
pub fn get_by_value(value: impl Into<Expr>, returns: ListReturn) -> Call {
    get(
        number::GET_BY_VALUE,
        Picks::Many,
        returns,
        vec![value.into()],
    )
}

/// All elements that are one of these; see [`Value::list`].
pub fn get_by_values(values: impl Into<Expr>, returns: ListReturn) -> Call {
    get(
        number::GET_BY_VALUES,
        Picks::Many,
        returns,
        vec![values.into()],
    )
}

/// Elements from `begin` up to `end`, which is not among them.
pub fn get_by_value_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = interval(begin, end);
    get(number::GET_BY_VALUE_RANGE, Picks::Many, returns, arguments)
}

/// Elements from so many ranks behind where a value is, or would be; negative for ahead of it.
pub fn get_near_value(
    value: impl Into<Expr>,
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = relative(value, rank, count);
    get(number::GET_NEAR_VALUE, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_index`] finds.
pub fn remove_by_index(index: impl Into<Expr>, returns: ListReturn) -> Call {
    take(
        number::REMOVE_BY_INDEX,
        Picks::One,
        returns,
        vec![index.into()],
    )
}

/// Removes what [`get_by_index_range`] finds.
pub fn remove_by_index_range(
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = from_place(index, count);
    take(
        number::REMOVE_BY_INDEX_RANGE,
        Picks::Many,
        returns,
        arguments,
    )
}

/// Removes what [`get_by_rank`] finds.
pub fn remove_by_rank(rank: impl Into<Expr>, returns: ListReturn) -> Call {
    take(
        number::REMOVE_BY_RANK,
        Picks::One,
        returns,
        vec![rank.into()],
    )
}

/// Removes what [`get_by_rank_range`] finds.
pub fn remove_by_rank_range(
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = from_place(rank, count);
    take(
        number::REMOVE_BY_RANK_RANGE,
        Picks::Many,
        returns,
        arguments,
    )
}

/// Removes what [`get_by_value`] finds.
pub fn remove_by_value(value: impl Into<Expr>, returns: ListReturn) -> Call {
    take(
        number::REMOVE_BY_VALUE,
        Picks::Many,
        returns,
        vec![value.into()],
    )
}

/// Removes what [`get_by_values`] finds.
pub fn remove_by_values(values: impl Into<Expr>, returns: ListReturn) -> Call {
    take(
        number::REMOVE_BY_VALUES,
        Picks::Many,
        returns,
        vec![values.into()],
    )
}

/// Removes what [`get_by_value_range`] finds.
pub fn remove_by_value_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = interval(begin, end);
    take(
        number::REMOVE_BY_VALUE_RANGE,
        Picks::Many,
        returns,
        arguments,
    )
}

/// Removes what [`get_near_value`] finds.
pub fn remove_near_value(
    value: impl Into<Expr>,
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: ListReturn,
) -> Call {
    let arguments = relative(value, rank, count);
    take(number::REMOVE_NEAR_VALUE, Picks::Many, returns, arguments)
}
