//! Arithmetic. Integers wrap around; an integer divided by zero is unknown. Both sides are of one type.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use super::Expr;

mod code {
    pub(super) const ADD: u8 = 20;
    pub(super) const SUBTRACT: u8 = 21;
    pub(super) const MULTIPLY: u8 = 22;
    pub(super) const DIVIDE: u8 = 23;
    pub(super) const POWER: u8 = 24;
    pub(super) const LOGARITHM: u8 = 25;
    pub(super) const MODULO: u8 = 26;
    pub(super) const ABSOLUTE: u8 = 27;
    pub(super) const FLOOR: u8 = 28;
    pub(super) const CEIL: u8 = 29;
    pub(super) const TO_INT: u8 = 30;
    pub(super) const TO_FLOAT: u8 = 31;
    pub(super) const BIT_AND: u8 = 32;
    pub(super) const BIT_OR: u8 = 33;
    pub(super) const BIT_XOR: u8 = 34;
    pub(super) const BIT_NOT: u8 = 35;
    pub(super) const SHIFT_LEFT: u8 = 36;
    pub(super) const SHIFT_RIGHT: u8 = 37;
    pub(super) const SHIFT_RIGHT_SIGNED: u8 = 38;
    pub(super) const BIT_COUNT: u8 = 39;
    pub(super) const SCAN_LEFT: u8 = 40;
    pub(super) const SCAN_RIGHT: u8 = 41;
    pub(super) const MIN: u8 = 50;
    pub(super) const MAX: u8 = 51;
}

/// An operator of two numbers.
macro_rules! operator {
    ($($name:ident, $method:ident, $code:ident;)+) => {
        $(impl<T: Into<Expr>> $name<T> for Expr {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                Expr::of_all(code::$code, [self, other.into()])
            }
        })+
    };
}

operator! {
    Add, add, ADD;
    Sub, sub, SUBTRACT;
    Mul, mul, MULTIPLY;
    Div, div, DIVIDE;
    Rem, rem, MODULO;
}

impl Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        Expr::of_all(code::SUBTRACT, [self])
    }
}

/// Numbers of either type, or doubles.
impl Expr {
    /// The least of numbers; at least one.
    pub fn least(numbers: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::of_all(code::MIN, numbers)
    }

    /// The greatest of numbers; at least one.
    pub fn greatest(numbers: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::of_all(code::MAX, numbers)
    }

    /// Without its sign.
    pub fn abs(self) -> Expr {
        Expr::of_all(code::ABSOLUTE, [self])
    }

    /// A double to the power of another.
    pub fn pow(self, exponent: impl Into<Expr>) -> Expr {
        Expr::of_all(code::POWER, [self, exponent.into()])
    }

    /// The logarithm of a double to a base.
    pub fn log(self, base: impl Into<Expr>) -> Expr {
        Expr::of_all(code::LOGARITHM, [self, base.into()])
    }

    /// A double rounded down.
    pub fn floor(self) -> Expr {
        Expr::of_all(code::FLOOR, [self])
    }

    /// A double rounded up.
    pub fn ceil(self) -> Expr {
        Expr::of_all(code::CEIL, [self])
    }

    /// A double as an integer, its fraction cut off.
    pub fn to_int(self) -> Expr {
        Expr::of_all(code::TO_INT, [self])
    }

    /// An integer as a double.
    pub fn to_float(self) -> Expr {
        Expr::of_all(code::TO_FLOAT, [self])
    }
}

/// Bits of integers.
impl Expr {
    /// Bits that both have.
    pub fn bit_and(self, other: impl Into<Expr>) -> Expr {
        Expr::of_all(code::BIT_AND, [self, other.into()])
    }

    /// Bits that one has, or both.
    pub fn bit_or(self, other: impl Into<Expr>) -> Expr {
        Expr::of_all(code::BIT_OR, [self, other.into()])
    }

    /// Bits that exactly one has.
    pub fn bit_xor(self, other: impl Into<Expr>) -> Expr {
        Expr::of_all(code::BIT_XOR, [self, other.into()])
    }

    /// Every bit turned over.
    pub fn bit_not(self) -> Expr {
        Expr::of_all(code::BIT_NOT, [self])
    }

    /// Moved left by so many bits.
    pub fn shift_left(self, bits: impl Into<Expr>) -> Expr {
        Expr::of_all(code::SHIFT_LEFT, [self, bits.into()])
    }

    /// Moved right by so many bits, zeros from the left.
    pub fn shift_right(self, bits: impl Into<Expr>) -> Expr {
        Expr::of_all(code::SHIFT_RIGHT, [self, bits.into()])
    }

    /// Moved right by so many bits, keeping its sign.
    pub fn shift_right_signed(self, bits: impl Into<Expr>) -> Expr {
        Expr::of_all(code::SHIFT_RIGHT_SIGNED, [self, bits.into()])
    }

    /// How many bits are set.
    pub fn bit_count(self) -> Expr {
        Expr::of_all(code::BIT_COUNT, [self])
    }

    /// Place of the first bit from the left that is as said, 0 for the highest; -1 if none is.
    pub fn first_bit(self, is: impl Into<Expr>) -> Expr {
        Expr::of_all(code::SCAN_LEFT, [self, is.into()])
    }

    /// Place of the last bit from the left that is as said, 63 for the lowest; -1 if none is.
    pub fn last_bit(self, is: impl Into<Expr>) -> Expr {
        Expr::of_all(code::SCAN_RIGHT, [self, is.into()])
    }
}
