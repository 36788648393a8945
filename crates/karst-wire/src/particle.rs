//! Particle type bytes: what kind of value an operation or a key carries.
//!
//! Only the numbers; which of them may be stored, and how their bytes are checked, is decided where
//! values are understood.

/// No value; in a write it removes the bin.
pub const NULL: u8 = 0;
/// Signed integer; 1, 2, 4 or 8 bytes in a write, always 8 in an answer.
pub const INTEGER: u8 = 1;
/// IEEE 754 double, 8 bytes.
pub const FLOAT: u8 = 2;
/// Text, by convention UTF-8.
pub const STRING: u8 = 3;
/// Bytes.
pub const BLOB: u8 = 4;
/// Bytes serialised by Java.
pub const JAVA_BLOB: u8 = 7;
/// Bytes serialised by C#.
pub const CSHARP_BLOB: u8 = 8;
/// Bytes serialised by Python.
pub const PYTHON_BLOB: u8 = 9;
/// Bytes serialised by Ruby.
pub const RUBY_BLOB: u8 = 10;
/// Bytes serialised by PHP.
pub const PHP_BLOB: u8 = 11;
/// Bytes serialised by Erlang.
pub const ERLANG_BLOB: u8 = 12;
/// A vector, opaque bytes.
pub const VECTOR: u8 = 16;
/// One byte, 0 or 1.
pub const BOOL: u8 = 17;
/// A HyperLogLog sketch.
pub const HLL: u8 = 18;
/// A map, msgpack.
pub const MAP: u8 = 19;
/// A list, msgpack.
pub const LIST: u8 = 20;
/// u8 flags, u16 count of cells, that many u64 cell ids, then GeoJSON text.
pub const GEOJSON: u8 = 23;
