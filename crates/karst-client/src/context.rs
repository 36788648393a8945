//! Paths to a list or map inside others.

use karst_data::msgpack::write_int;

use crate::expr::{Expr, Type};
use crate::list::ListOrder;
use crate::map::MapOrder;
use crate::value::{Value, encode_list_head, encode_packed};

/// The protocol's numbers of steps.
mod id {
    pub(super) const EXPRESSION: u32 = 0x04;
    /// Bits of steps into a list, and into a map.
    pub(super) const LIST: u32 = 0x10;
    pub(super) const MAP: u32 = 0x20;
    pub(super) const LIST_INDEX: u32 = 0x10;
    pub(super) const LIST_RANK: u32 = 0x11;
    pub(super) const LIST_VALUE: u32 = 0x13;
    pub(super) const MAP_INDEX: u32 = 0x20;
    pub(super) const MAP_RANK: u32 = 0x21;
    pub(super) const MAP_KEY: u32 = 0x22;
    pub(super) const MAP_VALUE: u32 = 0x23;
    pub(super) const MAP_KEYS: u32 = 0x2a;
    /// Also of what the step before has found.
    pub(super) const AND: u32 = 0x200;
}

/// One step of a path: to an element of the list or map that the steps before it have come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    id: u32,
    packed: Vec<u8>,
    fault: Option<&'static str>,
}

impl Context {
    fn to(id: u32, value: impl Into<Value>) -> Context {
        let mut packed = vec![];
        encode_packed(&value.into(), &mut packed);
        Context {
            id,
            packed,
            fault: None,
        }
    }

    /// The element of a list at an index; negative counts from the end.
    pub fn list_index(index: i64) -> Context {
        Context::to(id::LIST_INDEX, index)
    }

    /// The element of a list that is greater than so many; negative counts from the greatest.
    pub fn list_rank(rank: i64) -> Context {
        Context::to(id::LIST_RANK, rank)
    }

    /// The first element of a list that is this.
    pub fn list_value(value: impl Into<Value>) -> Context {
        Context::to(id::LIST_VALUE, value)
    }

    /// The value of a map at an index in the order of its keys; negative counts from the end.
    pub fn map_index(index: i64) -> Context {
        Context::to(id::MAP_INDEX, index)
    }

    /// The value of a map that is greater than so many; negative counts from the greatest.
    pub fn map_rank(rank: i64) -> Context {
        Context::to(id::MAP_RANK, rank)
    }

    /// The value of a key of a map.
    pub fn map_key(key: impl Into<Value>) -> Context {
        Context::to(id::MAP_KEY, key)
    }

    /// The first value of a map that is this.
    pub fn map_value(value: impl Into<Value>) -> Context {
        Context::to(id::MAP_VALUE, value)
    }

    /// As [`Context::list_index`]; a write makes the list that this is an index of, in this order, if it is
    /// missing, and the element too. `pad` fills with nil up to the index.
    pub fn list_index_create(index: i64, order: ListOrder, pad: bool) -> Context {
        let step = Context::list_index(index);
        Context {
            id: step.id | order.creates(pad),
            ..step
        }
    }

    /// As [`Context::map_key`]; a write makes the map that this is a key of, in this order, if it is missing,
    /// and the key too.
    pub fn map_key_create(key: impl Into<Value>, order: MapOrder) -> Context {
        let step = Context::map_key(key);
        Context {
            id: step.id | order.creates(),
            ..step
        }
    }
}

/// Steps to many elements, for [`path`](crate::path) only.
impl Context {
    /// Every element.
    pub fn all_children() -> Context {
        Context::matching(true)
    }

    /// Every element of which this is true, see [`Expr::item_value`].
    pub fn matching(condition: impl Into<Expr>) -> Context {
        let condition = condition.into();
        Context {
            id: id::EXPRESSION,
            packed: condition.as_bytes().to_vec(),
            fault: condition.fault(),
        }
    }

    /// The values of these keys of a map.
    pub fn map_keys<K: Into<Value>>(keys: impl IntoIterator<Item = K>) -> Context {
        Context::to(id::MAP_KEYS, Value::list(keys))
    }

    /// Of the elements that the step before has found, those of which this is true. Behind a step that is no
    /// condition itself.
    pub fn also(condition: impl Into<Expr>) -> Context {
        let step = Context::matching(condition);
        Context {
            id: id::AND | id::EXPRESSION,
            ..step
        }
    }
}

impl Context {
    /// The type of what it is a step into, as far as the step says.
    pub(crate) fn container(&self) -> Option<Type> {
        match (self.id & id::LIST != 0, self.id & id::MAP != 0) {
            (true, false) => Some(Type::List),
            (false, true) => Some(Type::Map),
            _ => None,
        }
    }
}

/// Appends a path. `creates` are bits of what its last step is to create.
pub(crate) fn pack(path: &[Context], creates: u32, out: &mut Vec<u8>) {
    encode_list_head(2 * path.len(), out);
    for (place, step) in path.iter().enumerate() {
        let creates = match place + 1 == path.len() {
            true => creates,
            false => 0,
        };
        write_int(out, (step.id | creates).into(), false);
        out.extend_from_slice(&step.packed);
    }
}

/// Why a path cannot be sent, if it cannot.
pub(crate) fn fault(path: &[Context]) -> Option<&'static str> {
    path.iter().find_map(|step| step.fault)
}
