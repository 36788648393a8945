//! Calls on many elements of nested lists and maps at once, chosen by paths with conditions.
//!
//! ```no_run
//! use karst_client::expr::Type;
//! use karst_client::{Client, Context, Expr, Key, Unknown, WritePolicy, path};
//!
//! # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
//! // The prices of all books, and a tenth off those over 20.
//! let prices = || [Context::map_key("books"), Context::all_children(), Context::map_key("price")];
//! let price = || Expr::item_value(Type::Float);
//! let dear = prices().into_iter().chain([Context::also(price().gt(20.0))]);
//! let steps = [
//!     path::select(prices(), path::Select::VALUES, Unknown::Fails).bin("shop"),
//!     path::modify(dear, price() * 0.9, Unknown::Fails).bin("shop"),
//! ];
//! client.operate(&WritePolicy::default(), key, &steps).await?;
//! # Ok(())
//! # }
//! ```

use crate::call::{Call, CallKind};
use crate::context::Context;
use crate::expr::{Expr, Type};

/// What is answered of the elements that paths have come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select(u32);

impl Select {
    /// The whole, with only what was selected in it.
    pub const TREE: Select = Select(0);
    /// A list of the elements.
    pub const VALUES: Select = Select(1);
    /// A list of their keys in maps.
    pub const KEYS: Select = Select(2);
    /// A list of keys and elements in turn.
    pub const PAIRS: Select = Select(3);
}

/// Flag of what changes elements.
const APPLY: u32 = 4;

/// What happens where an expression is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The request fails.
    Fails,
    /// The element is passed over.
    PassedOver,
}

impl Unknown {
    fn flag(self) -> u32 {
        match self {
            Unknown::Fails => 0,
            Unknown::PassedOver => 0x10,
        }
    }
}

/// Selects elements. In an expression, the type of a [`Select::TREE`] has to be told with
/// [`Call::gives`].
pub fn select(paths: impl IntoIterator<Item = Context>, select: Select, unknown: Unknown) -> Call {
    let flags = select.0 | unknown.flag();
    let call = Call::selecting(CallKind::CdtRead, paths, flags, None);
    match select {
        Select::TREE => call,
        _ => call.giving(Type::List),
    }
}

/// Has elements become what an expression of each gives, see [`Expr::item_value`]; those that become
/// [`Expr::remove_item`] are removed. In an expression, the type of the whole has to be told with
/// [`Call::gives`].
pub fn modify(
    paths: impl IntoIterator<Item = Context>,
    becomes: impl Into<Expr>,
    unknown: Unknown,
) -> Call {
    let flags = APPLY | unknown.flag();
    Call::selecting(CallKind::CdtModify, paths, flags, Some(becomes.into()))
}
