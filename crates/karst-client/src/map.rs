//! Calls on maps: put into, look into and remove from a map in a bin, or in an expression.
//!
//! Keys are integers, text or blobs. An *index* counts in the order of the keys, negative from the end; a
//! *rank* in the order of the values. Counts and ends of intervals may be `..` for "to the end".
//!
//! ```no_run
//! use karst_client::{Client, Key, MapReturn, WritePolicy, map};
//!
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! let steps = [
//!     map::put("apples", 3).bin("stock"),
//!     map::increment("pears", 2).bin("stock"),
//!     map::get_by_rank_range(-2, .., MapReturn::KEY).bin("stock"), // the two there are most of
//! ];
//! let told = client.operate(&WritePolicy::default(), key, &steps).await?.unwrap();
//! println!("{:?}", told.bins[2].value.as_list());
//! # Ok(())
//! # }
//! ```

use crate::call::{
    Bound, Call, CallKind, CallPolicy, Picks, from_place, interval, relative, returns, sealed,
};
use crate::expr::{Expr, Type};
use crate::flags::flags;

mod number {
    pub(super) const SET_TYPE: u8 = 64;
    pub(super) const PUT: u8 = 67;
    pub(super) const PUT_ITEMS: u8 = 68;
    pub(super) const INCREMENT: u8 = 73;
    pub(super) const DECREMENT: u8 = 74;
    pub(super) const CLEAR: u8 = 75;
    pub(super) const REMOVE_BY_KEY: u8 = 76;
    pub(super) const REMOVE_BY_INDEX: u8 = 77;
    pub(super) const REMOVE_BY_RANK: u8 = 79;
    pub(super) const REMOVE_BY_KEYS: u8 = 81;
    pub(super) const REMOVE_BY_VALUE: u8 = 82;
    pub(super) const REMOVE_BY_VALUES: u8 = 83;
    pub(super) const REMOVE_BY_KEY_RANGE: u8 = 84;
    pub(super) const REMOVE_BY_INDEX_RANGE: u8 = 85;
    pub(super) const REMOVE_BY_VALUE_RANGE: u8 = 86;
    pub(super) const REMOVE_BY_RANK_RANGE: u8 = 87;
    pub(super) const REMOVE_NEAR_KEY: u8 = 88;
    pub(super) const REMOVE_NEAR_VALUE: u8 = 89;
    pub(super) const SIZE: u8 = 96;
    pub(super) const GET_BY_KEY: u8 = 97;
    pub(super) const GET_BY_INDEX: u8 = 98;
    pub(super) const GET_BY_RANK: u8 = 100;
    pub(super) const GET_BY_VALUE: u8 = 102;
    pub(super) const GET_BY_KEY_RANGE: u8 = 103;
    pub(super) const GET_BY_INDEX_RANGE: u8 = 104;
    pub(super) const GET_BY_VALUE_RANGE: u8 = 105;
    pub(super) const GET_BY_RANK_RANGE: u8 = 106;
    pub(super) const GET_BY_KEYS: u8 = 107;
    pub(super) const GET_BY_VALUES: u8 = 108;
    pub(super) const GET_NEAR_KEY: u8 = 109;
    pub(super) const GET_NEAR_VALUE: u8 = 110;
}

returns! {
    /// What a call on a map answers of the pairs it found. Calls that find many answer lists or maps.
    pub struct MapReturn {
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
        /// The keys.
        KEY = 6;
        /// The values.
        VALUE = 7;
        /// A map of the pairs, in the order they were found in.
        PAIRS = 8;
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
        /// A map of the pairs, unordered.
        UNORDERED_MAP = 16;
        /// A map of the pairs, ordered by key.
        ORDERED_MAP = 17;
    }
}

flags! {
    /// How a map is written.
    pub struct MapFlags {
        /// Refuse keys that the map has.
        CREATE_ONLY = 1;
        /// Refuse keys that the map does not have.
        UPDATE_ONLY = 2;
        /// What is refused changes nothing, instead of failing the whole request.
        NO_FAIL = 4;
        /// With [`MapFlags::NO_FAIL`], of many pairs only those that are refused are left out.
        PARTIAL = 8;
    }
}

/// The order a map keeps its pairs in. Whichever it is, indexes count keys in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapOrder {
    /// None.
    Unordered,
    /// By key.
    #[default]
    Key,
    /// By key, and the values too for what looks for ranks.
    KeyAndValue,
}

impl MapOrder {
    fn number(self) -> u32 {
        match self {
            MapOrder::Unordered => 0,
            MapOrder::Key => 1,
            MapOrder::KeyAndValue => 3,
        }
    }

    /// Bits of a step of a path that make such a map.
    pub(crate) fn creates(self) -> u32 {
        match self {
            MapOrder::Unordered => 0x40,
            MapOrder::Key => 0x80,
            MapOrder::KeyAndValue => 0xc0,
        }
    }
}

impl sealed::Sealed for MapOrder {}

impl CallPolicy for MapOrder {
    fn numbers(&self) -> impl IntoIterator<Item = u32> {
        [self.number()]
    }
}

/// How pairs are put: the order of the map if it has to be made, by key by default, and what is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapPolicy {
    /// Order of a map that is made.
    pub order: MapOrder,
    /// What is refused.
    pub flags: MapFlags,
}

impl MapPolicy {
    /// With this order of a map that is made.
    #[must_use]
    pub fn with_order(mut self, order: MapOrder) -> MapPolicy {
        self.order = order;
        self
    }

    /// With these flags.
    #[must_use]
    pub fn with_flags(mut self, flags: MapFlags) -> MapPolicy {
        self.flags = flags;
        self
    }
}

impl sealed::Sealed for MapPolicy {}

impl CallPolicy for MapPolicy {
    fn numbers(&self) -> impl IntoIterator<Item = u32> {
        let flags = Some(self.flags.bits()).filter(|flags| *flags != 0); // as official clients do
        [self.order.number()].into_iter().chain(flags)
    }
}

/// A call that changes the map; as an expression it gives the changed one.
fn modify<P: CallPolicy>(number: u8, arguments: impl IntoIterator<Item = Expr>) -> Call<P> {
    Call::with_policy(CallKind::CdtModify, number, arguments).giving(Type::Map)
}

fn get(number: u8, picks: Picks, returns: MapReturn, arguments: Vec<Expr>) -> Call {
    Call::picking(CallKind::CdtRead, number, picks, returns.bits(), arguments)
}

fn take(number: u8, picks: Picks, returns: MapReturn, arguments: Vec<Expr>) -> Call {
    let (kind, returns) = (CallKind::CdtModify, returns.bits());
    Call::picking(kind, number, picks, returns, arguments).giving(Type::Map)
}

/// Makes a map of this order, unless there is one.
pub fn create(order: MapOrder) -> Call {
    set_order(order).creating(order.creates())
}

/// Has a map keep this order from now on.
pub fn set_order(order: MapOrder) -> Call {
    modify(number::SET_TYPE, [order.number().into()])
}

/// Sets a key; answers the new size.
pub fn put(key: impl Into<Expr>, value: impl Into<Expr>) -> Call<MapPolicy> {
    modify(number::PUT, [key.into(), value.into()])
}

/// Sets the keys of a map, see [`Value::map`](crate::Value::map); answers the new size.
pub fn put_items(pairs: impl Into<Expr>) -> Call<MapPolicy> {
    modify(number::PUT_ITEMS, [pairs.into()])
}

/// Adds to the number of a key, which counts as 0 if it is missing; answers the sum.
pub fn increment(key: impl Into<Expr>, delta: impl Into<Expr>) -> Call<MapOrder> {
    modify(number::INCREMENT, [key.into(), delta.into()])
}

/// Subtracts from the number of a key, which counts as 0 if it is missing; answers the difference.
pub fn decrement(key: impl Into<Expr>, delta: impl Into<Expr>) -> Call<MapOrder> {
    modify(number::DECREMENT, [key.into(), delta.into()])
}

/// Removes all pairs.
pub fn clear() -> Call {
    modify(number::CLEAR, [])
}

/// How many pairs there are.
pub fn size() -> Call {
    Call::with_policy(CallKind::CdtRead, number::SIZE, []).giving(Type::Int)
}

/// The pair of a key.
pub fn get_by_key(key: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![key.into()];
    get(number::GET_BY_KEY, Picks::One, returns, arguments)
}

/// The pairs of these keys; see [`Value::list`](crate::Value::list).
pub fn get_by_keys(keys: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![keys.into()];
    get(number::GET_BY_KEYS, Picks::Many, returns, arguments)
}

/// Pairs with keys from `begin` up to `end`, which is not among them.
pub fn get_by_key_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = interval(begin, end);
    get(number::GET_BY_KEY_RANGE, Picks::Many, returns, arguments)
}

/// Pairs from so many indexes behind where a key is, or would be; negative for ahead of it.
pub fn get_near_key(
    key: impl Into<Expr>,
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = relative(key, index, count);
    get(number::GET_NEAR_KEY, Picks::Many, returns, arguments)
}

/// The pair at an index.
pub fn get_by_index(index: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![index.into()];
    get(number::GET_BY_INDEX, Picks::One, returns, arguments)
}

/// Pairs from an index on.
pub fn get_by_index_range(
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = from_place(index, count);
    get(number::GET_BY_INDEX_RANGE, Picks::Many, returns, arguments)
}

/// The pair of a rank.
pub fn get_by_rank(rank: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![rank.into()];
    get(number::GET_BY_RANK, Picks::One, returns, arguments)
}

/// Pairs from a rank on.
pub fn get_by_rank_range(
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = from_place(rank, count);
    get(number::GET_BY_RANK_RANGE, Picks::Many, returns, arguments)
}

/// All pairs with this value.
pub fn get_by_value(value: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![value.into()];
    get(number::GET_BY_VALUE, Picks::Many, returns, arguments)
}

/// All pairs with one of these values; see [`Value::list`](crate::Value::list).
pub fn get_by_values(values: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![values.into()];
    get(number::GET_BY_VALUES, Picks::Many, returns, arguments)
}

/// Pairs with values from `begin` up to `end`, which is not among them.
pub fn get_by_value_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = interval(begin, end);
    get(number::GET_BY_VALUE_RANGE, Picks::Many, returns, arguments)
}

/// Pairs from so many ranks behind where a value is, or would be; negative for ahead of it.
pub fn get_near_value(
    value: impl Into<Expr>,
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = relative(value, rank, count);
    get(number::GET_NEAR_VALUE, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_key`] finds.
pub fn remove_by_key(key: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![key.into()];
    take(number::REMOVE_BY_KEY, Picks::One, returns, arguments)
}

/// Removes what [`get_by_keys`] finds.
pub fn remove_by_keys(keys: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![keys.into()];
    take(number::REMOVE_BY_KEYS, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_key_range`] finds.
pub fn remove_by_key_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = interval(begin, end);
    take(number::REMOVE_BY_KEY_RANGE, Picks::Many, returns, arguments)
}

/// Removes what [`get_near_key`] finds.
pub fn remove_near_key(
    key: impl Into<Expr>,
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
) -> Call {
    let arguments = relative(key, index, count);
    take(number::REMOVE_NEAR_KEY, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_index`] finds.
pub fn remove_by_index(index: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![index.into()];
    take(number::REMOVE_BY_INDEX, Picks::One, returns, arguments)
}

/// Removes what [`get_by_index_range`] finds.
pub fn remove_by_index_range(
    index: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
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
pub fn remove_by_rank(rank: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![rank.into()];
    take(number::REMOVE_BY_RANK, Picks::One, returns, arguments)
}

/// Removes what [`get_by_rank_range`] finds.
pub fn remove_by_rank_range(
    rank: impl Into<Expr>,
    count: impl Into<Bound>,
    returns: MapReturn,
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
pub fn remove_by_value(value: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![value.into()];
    take(number::REMOVE_BY_VALUE, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_values`] finds.
pub fn remove_by_values(values: impl Into<Expr>, returns: MapReturn) -> Call {
    let arguments = vec![values.into()];
    take(number::REMOVE_BY_VALUES, Picks::Many, returns, arguments)
}

/// Removes what [`get_by_value_range`] finds.
pub fn remove_by_value_range(
    begin: impl Into<Bound>,
    end: impl Into<Bound>,
    returns: MapReturn,
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
    returns: MapReturn,
) -> Call {
    let arguments = relative(value, rank, count);
    take(number::REMOVE_NEAR_VALUE, Picks::Many, returns, arguments)
}
