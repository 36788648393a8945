//! Comparing, combining and choosing.

use super::{Argument, Expr};
use crate::flags::flags;

mod code {
    pub(super) const EQUAL: u8 = 1;
    pub(super) const UNEQUAL: u8 = 2;
    pub(super) const GREATER: u8 = 3;
    pub(super) const GREATER_OR_EQUAL: u8 = 4;
    pub(super) const LESS: u8 = 5;
    pub(super) const LESS_OR_EQUAL: u8 = 6;
    pub(super) const MATCHES: u8 = 7;
    pub(super) const GEO: u8 = 8;
    pub(super) const IN_LIST: u8 = 9;
    pub(super) const AND: u8 = 16;
    pub(super) const OR: u8 = 17;
    pub(super) const NOT: u8 = 18;
    pub(super) const EXCLUSIVE: u8 = 19;
    pub(super) const MAP_KEYS: u8 = 101;
    pub(super) const MAP_VALUES: u8 = 102;
    pub(super) const COND: u8 = 123;
    pub(super) const VARIABLE: u8 = 124;
    pub(super) const DEFINE: u8 = 125;
}

flags! {
    /// How a pattern is read.
    pub struct RegexFlags {
        /// POSIX extended syntax instead of basic.
        EXTENDED = 1;
        /// Upper and lower case are the same.
        IGNORE_CASE = 2;
        /// A line break ends what `.` and `$` see.
        NEWLINE = 4;
    }
}

/// Comparisons, of two values of one type. They order as servers do; integers and doubles are of two types.
impl Expr {
    /// Whether both are the same.
    pub fn eq(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::EQUAL, other)
    }

    /// Whether they differ.
    pub fn ne(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::UNEQUAL, other)
    }

    /// Whether this is greater.
    pub fn gt(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::GREATER, other)
    }

    /// Whether this is greater or the same.
    pub fn ge(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::GREATER_OR_EQUAL, other)
    }

    /// Whether this is less.
    pub fn lt(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::LESS, other)
    }

    /// Whether this is less or the same.
    pub fn le(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::LESS_OR_EQUAL, other)
    }

    fn compare(self, code: u8, other: impl Into<Expr>) -> Expr {
        Expr::of_all(code, [self, other.into()])
    }

    /// Whether text holds what a POSIX pattern describes.
    pub fn matches(self, pattern: &str, flags: RegexFlags) -> Expr {
        let flags = Argument::Int(flags.bits().into());
        let arguments = [flags, Argument::Name(pattern), Argument::Expr(self)];
        Expr::of(code::MATCHES, arguments)
    }

    /// Whether one of two GeoJSON values is a point and lies within the other, a region.
    pub fn geo_compare(self, other: impl Into<Expr>) -> Expr {
        self.compare(code::GEO, other)
    }

    /// Whether a list holds it.
    pub fn is_in(self, list: impl Into<Expr>) -> Expr {
        self.compare(code::IN_LIST, list)
    }

    /// The keys of a map as a list.
    pub fn map_keys(self) -> Expr {
        Expr::of_all(code::MAP_KEYS, [self])
    }

    /// The values of a map as a list, in the order of the keys.
    pub fn map_values(self) -> Expr {
        Expr::of_all(code::MAP_VALUES, [self])
    }
}

/// Truth values.
impl Expr {
    /// Whether both are true.
    pub fn and(self, other: impl Into<Expr>) -> Expr {
        Expr::all([self, other.into()])
    }

    /// Whether one is true, or both.
    pub fn or(self, other: impl Into<Expr>) -> Expr {
        Expr::any([self, other.into()])
    }

    /// Whether all are true; true of none.
    pub fn all(parts: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::combined(code::AND, parts, true)
    }

    /// Whether any is true; false of none.
    pub fn any(parts: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::combined(code::OR, parts, false)
    }

    /// Whether exactly one is true.
    pub fn exactly_one(parts: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::combined(code::EXCLUSIVE, parts, false)
    }

    /// The protocol combines at least two; one is itself.
    fn combined(code: u8, parts: impl IntoIterator<Item = Expr>, of_none: bool) -> Expr {
        let mut parts: Vec<Expr> = parts.into_iter().collect();
        match parts.len() {
            0 => of_none.into(),
            1 => parts.remove(0),
            _ => Expr::of_all(code, parts),
        }
    }
}

impl std::ops::Not for Expr {
    type Output = Expr;

    /// Whether it is false.
    fn not(self) -> Expr {
        Expr::of_all(code::NOT, [self])
    }
}

/// Choices and names.
impl Expr {
    /// This value where the condition holds; see [`Cases`].
    pub fn when(condition: impl Into<Expr>, value: impl Into<Expr>) -> Cases {
        Cases(vec![]).when(condition, value)
    }

    /// What `scope` gives with names for values. A definition may use the ones before it; [`Expr::variable`]
    /// stands for a value.
    ///
    /// ```
    /// use karst_client::Expr;
    ///
    /// let area = Expr::int_bin("w") * Expr::int_bin("h");
    /// let scope = Expr::variable("area").gt(10).and(Expr::variable("area").lt(20));
    /// let between = Expr::define([("area", area)], scope);
    /// # assert!(!between.as_bytes().is_empty());
    /// ```
    pub fn define<'a>(
        definitions: impl IntoIterator<Item = (&'a str, Expr)>,
        scope: impl Into<Expr>,
    ) -> Expr {
        let definitions = definitions.into_iter();
        let named = definitions.flat_map(|(name, value)| {
            let pair: [Argument<'a>; 2] = [Argument::Name(name), Argument::Expr(value)];
            pair
        });
        let scope = Argument::Expr(scope.into());
        Expr::of(code::DEFINE, named.chain([scope]))
    }

    /// The value of a name.
    pub fn variable(name: &str) -> Expr {
        Expr::of(code::VARIABLE, [Argument::Name(name)])
    }
}

/// Conditions and their values, the first that holds counts.
///
/// ```
/// use karst_client::Expr;
///
/// let age = || Expr::int_bin("age");
/// let fare = Expr::when(age().lt(6), 0).when(age().lt(15), 50).otherwise(100);
/// # assert!(!fare.as_bytes().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Cases(Vec<Expr>);

impl Cases {
    /// Else this value, where this condition holds.
    pub fn when(mut self, condition: impl Into<Expr>, value: impl Into<Expr>) -> Cases {
        self.0.extend([condition.into(), value.into()]);
        self
    }

    /// Else this value. All are of one type, or unknown.
    pub fn otherwise(mut self, value: impl Into<Expr>) -> Expr {
        self.0.push(value.into());
        Expr::of_all(code::COND, self.0)
    }
}
