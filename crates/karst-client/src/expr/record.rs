//! What is known of the record: its bins, its key, its metadata; and of the element that a path has come to.

use karst_data::expr::Type;
use karst_wire::particle;

use super::{Argument, Expr};

mod code {
    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const DIGEST_MODULO: u8 = 64;
    pub(super) const LAST_UPDATE: u8 = 66;
    pub(super) const SINCE_UPDATE: u8 = 67;
    pub(super) const VOID_TIME: u8 = 68;
    pub(super) const TTL: u8 = 69;
    pub(super) const SET_NAME: u8 = 70;
    pub(super) const KEY_EXISTS: u8 = 71;
    pub(super) const IS_TOMBSTONE: u8 = 72;
    pub(super) const RECORD_SIZE: u8 = 74;
    pub(super) const KEY: u8 = 80;
    pub(super) const BIN: u8 = 81;
    pub(super) const BIN_TYPE: u8 = 82;
    pub(super) const REMOVE: u8 = 100;
    pub(super) const BUILT_IN: u8 = 122;
}

/// What there is to know of an element on a path, by its number.
mod item {
    pub(super) const KEY: i64 = 0;
    pub(super) const VALUE: i64 = 1;
    pub(super) const INDEX: i64 = 2;
}

/// Bins by their type.
impl Expr {
    /// The value of a bin of this type; unknown if it is missing or of another one.
    pub fn bin(of: Type, name: &str) -> Expr {
        Expr::of(code::BIN, [Argument::Int(of as i64), Argument::Name(name)])
    }

    /// The integer in a bin.
    pub fn int_bin(name: &str) -> Expr {
        Expr::bin(Type::Int, name)
    }

    /// The double in a bin.
    pub fn float_bin(name: &str) -> Expr {
        Expr::bin(Type::Float, name)
    }

    /// The truth value in a bin.
    pub fn bool_bin(name: &str) -> Expr {
        Expr::bin(Type::Bool, name)
    }

    /// The text in a bin.
    pub fn string_bin(name: &str) -> Expr {
        Expr::bin(Type::String, name)
    }

    /// The bytes in a bin.
    pub fn blob_bin(name: &str) -> Expr {
        Expr::bin(Type::Blob, name)
    }

    /// The list in a bin.
    pub fn list_bin(name: &str) -> Expr {
        Expr::bin(Type::List, name)
    }

    /// The map in a bin.
    pub fn map_bin(name: &str) -> Expr {
        Expr::bin(Type::Map, name)
    }

    /// The GeoJSON in a bin.
    pub fn geo_bin(name: &str) -> Expr {
        Expr::bin(Type::GeoJson, name)
    }

    /// The sketch in a bin.
    pub fn hll_bin(name: &str) -> Expr {
        Expr::bin(Type::Hll, name)
    }

    /// The particle type of a bin's value as an integer, 0 if there is no such bin.
    pub fn bin_type(name: &str) -> Expr {
        Expr::of(code::BIN_TYPE, [Argument::Name(name)])
    }

    /// Whether there is such a bin.
    pub fn bin_exists(name: &str) -> Expr {
        Expr::bin_type(name).ne(particle::NULL)
    }
}

/// Key and metadata. Filters of these alone are decided without reading the record.
impl Expr {
    /// The user key that is stored with the record: an integer, text or a blob. Unknown if none of this type
    /// is.
    pub fn key(of: Type) -> Expr {
        Expr::of(code::KEY, [Argument::Int(of as i64)])
    }

    /// Whether the user key is stored with the record.
    pub fn key_exists() -> Expr {
        Expr::of(code::KEY_EXISTS, [])
    }

    /// The name of its set; empty for none.
    pub fn set_name() -> Expr {
        Expr::of(code::SET_NAME, [])
    }

    /// Its size as stored, in bytes.
    pub fn record_size() -> Expr {
        Expr::of(code::RECORD_SIZE, [])
    }

    /// When it was written last, in nanoseconds of Unix time.
    pub fn last_update() -> Expr {
        Expr::of(code::LAST_UPDATE, [])
    }

    /// Milliseconds since it was written last.
    pub fn since_update() -> Expr {
        Expr::of(code::SINCE_UPDATE, [])
    }

    /// When it expires, in nanoseconds of Unix time; -1 for never.
    pub fn void_time() -> Expr {
        Expr::of(code::VOID_TIME, [])
    }

    /// Seconds until it expires; -1 for never.
    pub fn ttl() -> Expr {
        Expr::of(code::TTL, [])
    }

    /// Whether it is a tombstone, which only replication ever sees.
    pub fn is_tombstone() -> Expr {
        Expr::of(code::IS_TOMBSTONE, [])
    }

    /// A number from 0 up to `modulo` that depends on the record's digest: a sample, when compared.
    pub fn digest_modulo(modulo: i32) -> Expr {
        Expr::of(code::DIGEST_MODULO, [Argument::Int(modulo.into())])
    }

    /// What is never known: as a branch, it makes the whole unknown.
    pub fn unknown() -> Expr {
        Expr::of(code::UNKNOWN, [])
    }
}

/// The element that a [path](crate::path) has come to.
impl Expr {
    /// Its value; unknown if it is of another type.
    pub fn item_value(of: Type) -> Expr {
        Expr::item(of, item::VALUE)
    }

    /// Its key in a map; unknown if it is of another type.
    pub fn item_key(of: Type) -> Expr {
        Expr::item(of, item::KEY)
    }

    /// Its index in a list.
    pub fn item_index() -> Expr {
        Expr::item(Type::Int, item::INDEX)
    }

    fn item(of: Type, part: i64) -> Expr {
        Expr::of(code::BUILT_IN, [of as i64, part].map(Argument::Int))
    }

    /// As what becomes of an element: it is removed.
    pub fn remove_item() -> Expr {
        Expr::of(code::REMOVE, [])
    }
}
