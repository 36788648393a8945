//! Calls on HyperLogLog sketches, which count how many different values they have seen, about.
//!
//! ```no_run
//! use karst_client::{Client, Key, Value, WritePolicy, hll};
//!
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! let visitors = Value::list(["ada", "grace"]);
//! let steps = [
//!     hll::add_or_create(visitors, 12, -1).bin("visitors"),
//!     hll::count().bin("visitors"),
//! ];
//! let told = client.operate(&WritePolicy::default(), key, &steps).await?.unwrap();
//! println!("about {:?}", told.bins[1].value.as_int());
//! # Ok(())
//! # }
//! ```

use crate::call::{Call, CallKind, CallPolicy, flags_policy};
use crate::expr::{Expr, Type};
use crate::flags::flags;

mod number {
    pub(super) const INIT: u8 = 0;
    pub(super) const ADD: u8 = 1;
    pub(super) const SET_UNION: u8 = 2;
    pub(super) const REFRESH_COUNT: u8 = 3;
    pub(super) const FOLD: u8 = 4;
    pub(super) const COUNT: u8 = 50;
    pub(super) const UNION: u8 = 51;
    pub(super) const UNION_COUNT: u8 = 52;
    pub(super) const INTERSECT_COUNT: u8 = 53;
    pub(super) const SIMILARITY: u8 = 54;
    pub(super) const DESCRIBE: u8 = 55;
    pub(super) const MAY_CONTAIN: u8 = 56;
}

/// Bits of a sketch that are not told.
const UNTOLD: i64 = -1;

flags! {
    /// When a sketch is not written.
    pub struct HllFlags {
        /// Refuse to change one that is there.
        CREATE_ONLY = 1;
        /// Refuse to make one.
        UPDATE_ONLY = 2;
        /// What is refused changes nothing, instead of failing the whole request.
        NO_FAIL = 4;
        /// A union may make the sketch coarser.
        ALLOW_FOLD = 8;
    }
}

flags_policy!(HllFlags);

fn modify<P: CallPolicy, const N: usize>(number: u8, arguments: [Expr; N]) -> Call<P> {
    Call::with_policy(CallKind::HllModify, number, arguments).giving(Type::Hll)
}

fn read<const N: usize>(number: u8, gives: Type, arguments: [Expr; N]) -> Call {
    Call::with_policy(CallKind::HllRead, number, arguments).giving(gives)
}

/// Makes an empty sketch, or empties one. `index_bits` are 4 to 16: each more halves the error.
/// `minhash_bits` are 0 or 4 to 51: more make [`similarity`] better. -1 leaves them as they are.
pub fn init(index_bits: impl Into<Expr>, minhash_bits: impl Into<Expr>) -> Call<HllFlags> {
    modify(number::INIT, [index_bits.into(), minhash_bits.into()])
}

/// Shows values, a list, to a sketch; answers how many changed it.
pub fn add(values: impl Into<Expr>) -> Call<HllFlags> {
    add_or_create(values, UNTOLD, UNTOLD)
}

/// As [`add`]; makes the sketch as [`init`] does if there is none.
pub fn add_or_create(
    values: impl Into<Expr>,
    index_bits: impl Into<Expr>,
    minhash_bits: impl Into<Expr>,
) -> Call<HllFlags> {
    modify(
        number::ADD,
        [values.into(), index_bits.into(), minhash_bits.into()],
    )
}

/// Shows a sketch everything that others, a list of [`Value::Hll`](crate::Value::Hll), have seen.
pub fn set_union(sketches: impl Into<Expr>) -> Call<HllFlags> {
    modify(number::SET_UNION, [sketches.into()])
}

/// Counts, keeps the count with the sketch, and answers it.
pub fn refresh_count() -> Call {
    modify(number::REFRESH_COUNT, [])
}

/// Makes a sketch without minhash bits coarser.
pub fn fold(index_bits: impl Into<Expr>) -> Call {
    modify(number::FOLD, [index_bits.into()])
}

/// How many different values it has seen, about.
pub fn count() -> Call {
    read(number::COUNT, Type::Int, [])
}

/// A sketch of what it and others have seen.
pub fn union(sketches: impl Into<Expr>) -> Call {
    read(number::UNION, Type::Hll, [sketches.into()])
}

/// How many different values it and others have seen.
pub fn union_count(sketches: impl Into<Expr>) -> Call {
    read(number::UNION_COUNT, Type::Int, [sketches.into()])
}

/// How many different values it and all others have seen.
pub fn intersect_count(sketches: impl Into<Expr>) -> Call {
    read(number::INTERSECT_COUNT, Type::Int, [sketches.into()])
}

/// Which part of what they have seen all have seen: a double from 0 to 1.
pub fn similarity(sketches: impl Into<Expr>) -> Call {
    read(number::SIMILARITY, Type::Float, [sketches.into()])
}

/// Its index bits and minhash bits, as a list.
pub fn describe() -> Call {
    read(number::DESCRIBE, Type::List, [])
}

/// 1 if it may have seen all of these values, a list; 0 if it has not.
pub fn may_contain(values: impl Into<Expr>) -> Call {
    read(number::MAY_CONTAIN, Type::Int, [values.into()])
}
