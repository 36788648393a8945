//! Expressions: small programs that servers run over a record, to filter commands, compute values and
//! choose what an index holds.
//!
//! Every value is an expression, so values can be written wherever one is asked for. Calls on lists,
//! maps, blobs and sketches become expressions with [`Call::of`](crate::Call::of).
//!
//! ```
//! use karst_client::{Expr, ListReturn, list};
//!
//! // Adults who have a tag that begins behind "m", or have paid.
//! let tags = list::get_by_value_range("m", .., ListReturn::COUNT).of(Expr::list_bin("tags"));
//! let wanted = Expr::int_bin("age").ge(18).and(tags.gt(0).or(Expr::bool_bin("paid")));
//! assert!(!wanted.as_bytes().is_empty());
//! ```
//!
//! A bin that is missing or of another type than was said makes what depends on it *unknown*. A filter
//! that is unknown filters out; [`Expr::any`] is true as soon as one of its parts is.
//!
//! What cannot be put together (an element whose type nobody told) is kept and refused when the
//! expression is sent; nothing is sent then.

mod logic;
mod number;
mod record;

pub use karst_data::expr::Type;
pub use logic::{Cases, RegexFlags};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_data::msgpack::{write_int, write_raw};

use crate::error::{Error, Result};
use crate::value::{Value, encode_list_head, encode_packed};

/// Instruction in front of a list, which would be an instruction itself otherwise.
const QUOTE: u8 = 126;

/// Bytes of a quote in front of its list.
const QUOTE_BYTES: usize = 2;

/// What stands in an expression's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A value as it is.
    Value,
    /// A list behind a quote.
    Quoted,
    /// Something that is computed.
    Computed,
}

/// An expression, as the bytes it travels as.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Expr {
    packed: Vec<u8>,
    form: Form,
    /// Why it cannot be sent.
    fault: Option<&'static str>,
}

impl Expr {
    /// An expression that was packed before, here or by another client. It is sent as it is.
    pub fn from_bytes(packed: Vec<u8>) -> Expr {
        Expr {
            packed,
            form: Form::Computed,
            fault: None,
        }
    }

    /// One from base64, as clients write expressions down.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not base64. Whether the bytes are an expression the server says.
    pub fn from_base64(text: &str) -> Result<Expr> {
        let packed = BASE64.decode(text).map_err(|error| Error::Invalid {
            reason: format!("expression is not base64: {error}"),
        })?;
        Ok(Expr::from_bytes(packed))
    }

    /// Base64 of the bytes it travels as.
    pub fn to_base64(&self) -> String {
        BASE64.encode(&self.packed)
    }

    /// The bytes it travels as.
    pub fn as_bytes(&self) -> &[u8] {
        &self.packed
    }

    /// Why it cannot be sent, if it cannot.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// Its bytes outside of expressions, where lists are not quoted; `None` if it is no value.
    pub(crate) fn as_value_bytes(&self) -> Option<&[u8]> {
        match self.form {
            Form::Value => Some(&self.packed),
            Form::Quoted => Some(&self.packed[QUOTE_BYTES..]),
            Form::Computed => None,
        }
    }

    /// The same, with something that keeps it from being sent.
    pub(crate) fn faulty(mut self, fault: Option<&'static str>) -> Expr {
        self.fault = self.fault.or(fault);
        self
    }

    /// An instruction of its code and its arguments.
    fn of<'a>(code: u8, arguments: impl IntoIterator<Item = Argument<'a>>) -> Expr {
        let mut packed = vec![];
        let mut fault = None;
        let mut count = 1;
        for argument in arguments {
            match argument {
                Argument::Int(number) => write_int(&mut packed, number, false),
                Argument::Name(name) => write_raw(&mut packed, name.as_bytes()),
                Argument::Expr(argument) => {
                    packed.extend_from_slice(&argument.packed);
                    fault = fault.or(argument.fault);
                }
            }
            count += 1;
        }
        let mut head = vec![];
        encode_list_head(count, &mut head);
        write_int(&mut head, code.into(), false);
        packed.splice(0..0, head);
        Expr {
            packed,
            form: Form::Computed,
            fault,
        }
    }

    /// An instruction all of whose arguments are expressions.
    fn of_all(code: u8, arguments: impl IntoIterator<Item = Expr>) -> Expr {
        Expr::of(code, arguments.into_iter().map(Argument::Expr))
    }

    /// What a call (its arguments packed as expressions) on a subject gives. `system` says whose call it is.
    pub(crate) fn call(gives: Type, system: u8, call: Expr, subject: Expr) -> Expr {
        let head = [gives as i64, system.into()].map(Argument::Int);
        let tail = [call, subject].map(Argument::Expr);
        Expr::of(CALL, head.into_iter().chain(tail))
    }
}

/// Calls on lists, maps, blobs and sketches.
const CALL: u8 = 127;

/// An argument of an instruction.
enum Argument<'a> {
    Int(i64),
    Name(&'a str),
    Expr(Expr),
}

impl<T: Into<Value>> From<T> for Expr {
    fn from(value: T) -> Expr {
        let value = value.into();
        let form = match value {
            Value::List(_) => Form::Quoted,
            _ => Form::Value,
        };
        let mut packed = vec![];
        if form == Form::Quoted {
            encode_list_head(QUOTE_BYTES, &mut packed);
            packed.push(QUOTE);
        }
        encode_packed(&value, &mut packed);
        Expr {
            packed,
            form,
            fault: None,
        }
    }
}

#[cfg(test)]
mod tests;
