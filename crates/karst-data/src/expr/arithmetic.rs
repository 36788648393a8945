//! Numbers: integers wrap, and what has no answer is unknown.

use super::program::{Fold, OfFloat, OfFloats, OfInts, Side};

/// Folds integers from the left. `None` if one is unknown, or if it is divided by zero.
pub(super) fn fold_ints(fold: Fold, mut numbers: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    let first = numbers.next()??;
    let mut rest = numbers.peekable();
    let alone = rest.peek().is_none();
    let mut each = |combine: fn(i64, i64) -> i64, from: i64| {
        rest.by_ref()
            .try_fold(from, |all, next| Some(combine(all, next?)))
    };
    match fold {
        Fold::Add => each(i64::wrapping_add, first),
        Fold::Subtract if alone => Some(first.wrapping_neg()),
        Fold::Subtract => each(i64::wrapping_sub, first),
        Fold::Multiply => each(i64::wrapping_mul, first),
        Fold::Divide if alone => divide(1, first),
        Fold::Divide => divide(first, each(i64::wrapping_mul, 1)?),
        Fold::Min => each(i64::min, first),
        Fold::Max => each(i64::max, first),
        Fold::And => each(|a, b| a & b, first),
        Fold::Or => each(|a, b| a | b, first),
        Fold::Xor => each(|a, b| a ^ b, first),
    }
}

/// Folds doubles from the left. `None` if one is unknown.
pub(super) fn fold_floats(
    fold: Fold,
    mut numbers: impl Iterator<Item = Option<f64>>,
) -> Option<f64> {
    let first = numbers.next()??;
    let mut rest = numbers.peekable();
    let alone = rest.peek().is_none();
    let mut each = |combine: fn(f64, f64) -> f64, from: f64| {
        rest.by_ref()
            .try_fold(from, |all, next| Some(combine(all, next?)))
    };
    match fold {
        Fold::Add => each(|a, b| a + b, first),
        Fold::Subtract if alone => Some(-first),
        Fold::Subtract => each(|a, b| a - b, first),
        Fold::Multiply => each(|a, b| a * b, first),
        Fold::Divide if alone => Some(1.0 / first),
        Fold::Divide => Some(first / each(|a, b| a * b, 1.0)?),
        Fold::Min => each(|a, b| if b < a { b } else { a }, first),
        Fold::Max => each(|a, b| if b > a { b } else { a }, first),
        Fold::And | Fold::Or | Fold::Xor => None, // of integers alone
    }
}

fn divide(dividend: i64, divisor: i64) -> Option<i64> {
    (divisor != 0).then(|| dividend.wrapping_div(divisor))
}

/// What two integers give. Only the low six bits of a shift's count are looked at.
pub(super) fn of_ints(what: OfInts, left: i64, right: i64) -> Option<i64> {
    Some(match what {
        OfInts::Modulo => return (right != 0).then(|| left.wrapping_rem(right)),
        OfInts::ShiftLeft => left.wrapping_shl(right as u32),
        OfInts::ShiftRight => (left as u64).wrapping_shr(right as u32) as i64,
        OfInts::ShiftRightSigned => left.wrapping_shr(right as u32),
    })
}

/// What two doubles give.
pub(super) fn of_floats(what: OfFloats, left: f64, right: f64) -> f64 {
    match what {
        OfFloats::Power => left.powf(right),
        OfFloats::Logarithm => left.ln() / right.ln(),
    }
}

/// A double by itself; to an integer it is somebody else's.
pub(super) fn of_float(what: OfFloat, number: f64) -> f64 {
    match what {
        OfFloat::Absolute => number.abs(),
        OfFloat::Floor => number.floor(),
        OfFloat::Ceil => number.ceil(),
        OfFloat::ToInt => number.trunc(),
    }
}

/// Where the first or last such bit is, counted from the most significant one. -1: nowhere.
pub(super) fn scan(side: Side, number: i64, wanted: bool) -> i64 {
    let ones = if wanted { number } else { !number };
    match (ones, side) {
        (0, _) => -1,
        (ones, Side::Left) => i64::from(ones.leading_zeros()),
        (ones, Side::Right) => 63 - i64::from(ones.trailing_zeros()),
    }
}
