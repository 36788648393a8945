//! Calls on the bits of a blob. Bit 0 is the highest of the first byte; offsets may be negative, from the end.
//!
//! ```no_run
//! use karst_client::{BitsFlags, Client, Expr, Key, WritePolicy, bits};
//!
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! let day = 41;
//! let steps = [
//!     bits::resize(46, Default::default()).policy(BitsFlags::CREATE_ONLY | BitsFlags::NO_FAIL).bin("seen"),
//!     bits::set(day, 1, &[0x80]).bin("seen"),
//!     bits::count(0, 365).bin("seen"),
//! ];
//! client.operate(&WritePolicy::default(), key, &steps).await?;
//! let often = bits::count(0, 365).of(Expr::blob_bin("seen")).gt(100);
//! # Ok(())
//! # }
//! ```

use crate::call::{Call, CallKind, CallPolicy, flags_policy};
use crate::expr::{Expr, Type};
use crate::flags::flags;

mod number {
    pub(super) const RESIZE: u8 = 0;
    pub(super) const INSERT: u8 = 1;
    pub(super) const REMOVE: u8 = 2;
    pub(super) const SET: u8 = 3;
    pub(super) const OR: u8 = 4;
    pub(super) const XOR: u8 = 5;
    pub(super) const AND: u8 = 6;
    pub(super) const NOT: u8 = 7;
    pub(super) const SHIFT_LEFT: u8 = 8;
    pub(super) const SHIFT_RIGHT: u8 = 9;
    pub(super) const ADD: u8 = 10;
    pub(super) const SUBTRACT: u8 = 11;
    pub(super) const SET_INT: u8 = 12;
    pub(super) const GET: u8 = 50;
    pub(super) const COUNT: u8 = 51;
    pub(super) const SCAN_LEFT: u8 = 52;
    pub(super) const SCAN_RIGHT: u8 = 53;
    pub(super) const GET_INT: u8 = 54;
}

/// Flag of [`get_int`]: the number has a sign.
const SIGNED: i64 = 1;

flags! {
    /// When a blob is not written.
    pub struct BitsFlags {
        /// Refuse to change a blob that is there. For [`resize`] and [`insert`].
        CREATE_ONLY = 1;
        /// Refuse to make one.
        UPDATE_ONLY = 2;
        /// What is refused changes nothing, instead of failing the whole request.
        NO_FAIL = 4;
        /// What reaches behind the end is done as far as there are bits.
        PARTIAL = 8;
    }
}

flags_policy!(BitsFlags);

flags! {
    /// How a blob is resized: at its end, both ways, unless these say otherwise.
    pub struct ResizeFlags {
        /// At its beginning.
        FROM_FRONT = 1;
        /// Never smaller.
        GROW_ONLY = 2;
        /// Never larger.
        SHRINK_ONLY = 4;
    }
}

flags! {
    /// How numbers are read and what happens to a sum that has no room: the request fails, unless these say
    /// otherwise.
    pub struct NumberFlags {
        /// They have a sign.
        SIGNED = 1;
        /// It becomes the greatest or least number that has.
        SATURATE = 2;
        /// Its upper bits are lost.
        WRAP = 4;
    }
}

fn modify<P: CallPolicy, const N: usize>(number: u8, arguments: [Expr; N]) -> Call<P> {
    Call::with_policy(CallKind::BitsModify, number, arguments).giving(Type::Blob)
}

fn read<const N: usize>(number: u8, gives: Type, arguments: [Expr; N]) -> Call {
    Call::with_policy(CallKind::BitsRead, number, arguments).giving(gives)
}

/// Makes the blob so many bytes long, filled with zeros.
pub fn resize(bytes: impl Into<Expr>, flags: ResizeFlags) -> Call<BitsFlags> {
    modify(number::RESIZE, [bytes.into()]).with_tail(flags.bits())
}

/// Inserts bytes at an offset in bytes.
pub fn insert(byte_offset: impl Into<Expr>, bytes: impl Into<Expr>) -> Call<BitsFlags> {
    modify(number::INSERT, [byte_offset.into(), bytes.into()])
}

/// Removes so many bytes at an offset in bytes.
pub fn remove(byte_offset: impl Into<Expr>, byte_count: impl Into<Expr>) -> Call<BitsFlags> {
    modify(number::REMOVE, [byte_offset.into(), byte_count.into()])
}

/// Sets bits to those that `bytes` begins with.
pub fn set(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    bytes: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::SET, [offset.into(), count.into(), bytes.into()])
}

/// Sets the bits that `bytes` has.
pub fn or(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    bytes: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::OR, [offset.into(), count.into(), bytes.into()])
}

/// Turns over the bits that `bytes` has.
pub fn xor(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    bytes: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::XOR, [offset.into(), count.into(), bytes.into()])
}

/// Clears the bits that `bytes` does not have.
pub fn and(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    bytes: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::AND, [offset.into(), count.into(), bytes.into()])
}

/// Turns bits over.
pub fn not(offset: impl Into<Expr>, count: impl Into<Expr>) -> Call<BitsFlags> {
    modify(number::NOT, [offset.into(), count.into()])
}

/// Moves bits to the left within `count` of them, zeros from the right.
pub fn shift_left(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    by: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::SHIFT_LEFT, [offset.into(), count.into(), by.into()])
}

/// Moves bits to the right within `count` of them, zeros from the left.
pub fn shift_right(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    by: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(
        number::SHIFT_RIGHT,
        [offset.into(), count.into(), by.into()],
    )
}

/// Adds to the number of up to 64 bits at an offset.
pub fn add(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    value: impl Into<Expr>,
    flags: NumberFlags,
) -> Call<BitsFlags> {
    let arguments = [offset.into(), count.into(), value.into()];
    modify(number::ADD, arguments).with_tail(flags.bits())
}

/// Subtracts from the number of up to 64 bits at an offset.
pub fn subtract(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    value: impl Into<Expr>,
    flags: NumberFlags,
) -> Call<BitsFlags> {
    let arguments = [offset.into(), count.into(), value.into()];
    modify(number::SUBTRACT, arguments).with_tail(flags.bits())
}

/// Sets the number of up to 64 bits at an offset.
pub fn set_int(
    offset: impl Into<Expr>,
    count: impl Into<Expr>,
    value: impl Into<Expr>,
) -> Call<BitsFlags> {
    modify(number::SET_INT, [offset.into(), count.into(), value.into()])
}

/// Bits, as a blob that begins with them.
pub fn get(offset: impl Into<Expr>, count: impl Into<Expr>) -> Call {
    read(number::GET, Type::Blob, [offset.into(), count.into()])
}

/// How many bits are set.
pub fn count(offset: impl Into<Expr>, count: impl Into<Expr>) -> Call {
    read(number::COUNT, Type::Int, [offset.into(), count.into()])
}

/// Place of the first bit that is as said, from `offset`; -1 if none is.
pub fn first(offset: impl Into<Expr>, count: impl Into<Expr>, is: impl Into<Expr>) -> Call {
    let arguments = [offset.into(), count.into(), is.into()];
    read(number::SCAN_LEFT, Type::Int, arguments)
}

/// Place of the last bit that is as said, from `offset`; -1 if none is.
pub fn last(offset: impl Into<Expr>, count: impl Into<Expr>, is: impl Into<Expr>) -> Call {
    let arguments = [offset.into(), count.into(), is.into()];
    read(number::SCAN_RIGHT, Type::Int, arguments)
}

/// The number of up to 64 bits at an offset, with a sign or without.
pub fn get_int(offset: impl Into<Expr>, count: impl Into<Expr>, signed: bool) -> Call {
    let arguments = [offset.into(), count.into()].into_iter();
    let flag = signed.then(|| Expr::from(SIGNED));
    let arguments = arguments.chain(flag);
    Call::with_policy(CallKind::BitsRead, number::GET_INT, arguments).giving(Type::Int)
}
