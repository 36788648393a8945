//! Values of bins, arguments and answers as scripts see them, and back.
//!
//! A list, a map, bytes and GeoJSON are tables with a metatable that tells which, and their content under a key
//! that no script can make (`lua/values.lua` says how it lies there). A script can break what it gets hold of:
//! whatever is found in a table is looked at and never trusted.

use std::cell::Cell;
use std::ffi::c_void;

use karst_data::geo;
use karst_data::msgpack::{self, Head, InvalidCollection, Reader, leading_ext};
use karst_data::value::{ParticleType, Value as Stored, ValueError};
use mlua::{LightUserData, Lua, Table, Value};

/// Deepest nesting of what is packed or unpacked.
const DEPTH_MAX: usize = msgpack::DEPTH_MAX;

/// Why a value cannot be packed.
#[derive(Debug)]
pub(super) enum Unpackable {
    /// It is of no type that can be stored.
    Type,
    /// It nests too deeply, or holds itself.
    Deep,
    /// It has too many bytes.
    TooBig,
    /// It is GeoJSON that is none.
    GeoJson,
    /// A collection that cannot be stored.
    Collection,
    /// Lua says no: memory has run out.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Unpackable {
    fn from(error: mlua::Error) -> Unpackable {
        Unpackable::Lua(error)
    }
}

/// What a script is told of bytes that are no packed value.
pub(super) fn malformed(InvalidCollection(_): InvalidCollection) -> mlua::Error {
    mlua::Error::RuntimeError("malformed value".into())
}

/// What tells the objects apart.
pub(super) struct Kit {
    pub(super) nil: Table,
    pub(super) list: Table,
    pub(super) map: Table,
    pub(super) bytes: Table,
    pub(super) geo_json: Table,
    /// Gives the content of bytes, which may lie there in two forms.
    pub(super) content: mlua::Function,
    /// Whether the call's time is over.
    pub(super) late: Box<dyn Fn() -> bool>,
    /// Elements that were packed so far.
    pub(super) packed: Cell<u32>,
}

/// Elements that are packed between two looks at the clock: small things that hold each other many times over may
/// be very many.
const ELEMENTS: u32 = 1024;

/// What kind of object a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Object {
    Nil,
    List,
    Map,
    Bytes,
    GeoJson,
    Other,
}

/// The key under which objects keep their content.
pub(super) fn key() -> LightUserData {
    LightUserData(std::ptr::without_provenance_mut::<c_void>(0x6b))
}

impl Kit {
    fn object(&self, table: &Table) -> Object {
        if table.to_pointer() == self.nil.to_pointer() {
            return Object::Nil;
        }
        let Some(metatable) = table.metatable() else {
            return Object::Other;
        };
        let kinds = [
            (&self.list, Object::List),
            (&self.map, Object::Map),
            (&self.bytes, Object::Bytes),
            (&self.geo_json, Object::GeoJson),
        ];
        let at = metatable.to_pointer();
        let kind = kinds.iter().find(|(kind, _)| kind.to_pointer() == at);
        kind.map_or(Object::Other, |(_, object)| *object)
    }

    fn made(&self, lua: &Lua, metatable: &Table, content: Table) -> mlua::Result<Value> {
        let object = lua.create_table_with_capacity(0, 1)?;
        object.raw_set(key(), content)?;
        object.set_metatable(Some(metatable.clone()))?;
        Ok(Value::Table(object))
    }

    fn text(&self, lua: &Lua, kind: &Table, text: &[u8]) -> mlua::Result<Value> {
        let content = lua.create_table_with_capacity(0, 1)?;
        content.raw_set("s", lua.create_string(text)?)?;
        self.made(lua, kind, content)
    }

    /// The value of a bin, or of a key, as scripts see it.
    pub(super) fn shown(&self, lua: &Lua, particle: u8, bytes: &[u8]) -> mlua::Result<Value> {
        let number = || <[u8; 8]>::try_from(bytes).ok();
        Ok(match ParticleType::from_wire(particle) {
            None => Value::Nil,
            Some(ParticleType::Integer) => {
                number().map_or(Value::Nil, |it| Value::Integer(i64::from_be_bytes(it)))
            }
            Some(ParticleType::Float) => {
                number().map_or(Value::Nil, |it| Value::Number(f64::from_be_bytes(it)))
            }
            Some(ParticleType::Bool) => Value::Boolean(bytes == [1]),
            Some(ParticleType::String) => Value::String(lua.create_string(bytes)?),
            Some(ParticleType::List | ParticleType::Map) => {
                self.unpack(lua, &mut Reader { rest: bytes }, 0)?
            }
            Some(ParticleType::GeoJson) => self.text(
                lua,
                &self.geo_json,
                geo::split(bytes).map_or(&[][..], |(_, text)| text),
            )?,
            Some(
                ParticleType::Blob
                | ParticleType::JavaBlob
                | ParticleType::CsharpBlob
                | ParticleType::PythonBlob
                | ParticleType::RubyBlob
                | ParticleType::PhpBlob
                | ParticleType::ErlangBlob
                | ParticleType::Vector
                | ParticleType::Hll,
            ) => self.text(lua, &self.bytes, bytes)?,
        })
    }

    /// The next packed element.
    pub(super) fn unpack(
        &self,
        lua: &Lua,
        reader: &mut Reader<'_>,
        depth: usize,
    ) -> mlua::Result<Value> {
        if depth > DEPTH_MAX {
            return Err(malformed(InvalidCollection("it nests too deeply")));
        }
        Ok(match reader.head().map_err(malformed)? {
            Head::Nil | Head::Ext { .. } | Head::Raw([]) => Value::Nil,
            Head::Bool(value) => Value::Boolean(value),
            Head::Int { value, .. } => Value::Integer(value),
            Head::Double(value) => Value::Number(value),
            Head::Raw([3, text @ ..]) => Value::String(lua.create_string(text)?),
            Head::Raw([23, text @ ..]) => self.text(lua, &self.geo_json, text)?,
            Head::Raw([_, bytes @ ..]) => self.text(lua, &self.bytes, bytes)?,
            Head::List(count) => self.unpack_list(lua, reader, count, depth)?,
            Head::Map(count) => self.unpack_map(lua, reader, count, depth)?,
        })
    }

    fn unpack_list(
        &self,
        lua: &Lua,
        reader: &mut Reader<'_>,
        count: u32,
        depth: usize,
    ) -> mlua::Result<Value> {
        let flags = leading_ext(reader, count).map_err(malformed)?;
        let count = count - u32::from(flags.is_some());
        let elements = lua.create_table()?; // a count may be a lie
        for at in 1..=count {
            match self.unpack(lua, reader, depth + 1)? {
                Value::Nil => elements.raw_set(at, &self.nil)?,
                value => elements.raw_set(at, value)?,
            }
        }
        let content = lua.create_table_with_capacity(0, 2)?;
        content.raw_set("t", elements)?;
        content.raw_set("n", count)?;
        self.made(lua, &self.list, content)
    }

    fn unpack_map(
        &self,
        lua: &Lua,
        reader: &mut Reader<'_>,
        count: u32,
        depth: usize,
    ) -> mlua::Result<Value> {
        let flags = leading_ext(reader, count).map_err(malformed)?;
        if flags.is_some() {
            reader.head().map_err(malformed)?;
        }
        let (flags, count) = (flags.unwrap_or(0), count - u32::from(flags.is_some()));
        let [values, keys, places] = [
            lua.create_table()?,
            lua.create_table()?,
            lua.create_table()?,
        ];
        let mut taken = 0;
        for _ in 0..count {
            let key = self.unpack(lua, reader, depth + 1)?;
            let value = self.unpack(lua, reader, depth + 1)?;
            let plain = self.plain_key(lua, &key)?;
            let known = plain.is_nil() || !places.raw_get::<Value>(&plain)?.is_nil();
            if known {
                continue; // a key that is none, or comes twice
            }
            taken += 1;
            keys.raw_set(taken, key)?;
            places.raw_set(&plain, taken)?;
            match value {
                Value::Nil => values.raw_set(plain, &self.nil)?,
                value => values.raw_set(plain, value)?,
            }
        }
        let content = lua.create_table_with_capacity(0, 6)?;
        content.raw_set("v", values)?;
        content.raw_set("k", keys)?;
        content.raw_set("p", places)?;
        for (name, number) in [("n", taken), ("m", taken), ("f", i64::from(flags & 3))] {
            content.raw_set(name, number)?;
        }
        self.made(lua, &self.map, content)
    }

    /// What a key is in Lua's own tables; nil if it cannot be one there.
    fn plain_key(&self, lua: &Lua, key: &Value) -> mlua::Result<Value> {
        Ok(match key {
            Value::Number(number) if number.is_nan() => Value::Nil,
            Value::Integer(_) | Value::Number(_) | Value::String(_) | Value::Boolean(_) => {
                key.clone()
            }
            Value::Table(table) if self.object(table) == Object::Bytes => {
                let content = self.content.call::<mlua::LuaString>(table)?;
                let plain = [b"\0bytes\0", &*content.as_bytes()].concat();
                Value::String(lua.create_string(plain)?)
            }
            _ => Value::Nil,
        })
    }

    /// Appends a value as an element.
    pub(super) fn pack(
        &self,
        value: &Value,
        out: &mut Vec<u8>,
        bytes_max: usize,
        depth: usize,
    ) -> Result<(), Unpackable> {
        if depth > DEPTH_MAX {
            return Err(Unpackable::Deep);
        }
        if out.len() > bytes_max {
            return Err(Unpackable::TooBig);
        }
        self.packed.set(self.packed.get().wrapping_add(1));
        if self.packed.get().is_multiple_of(ELEMENTS) && (self.late)() {
            return Err(mlua::Error::RuntimeError(super::state::TIMEOUT.into()).into());
        }
        match value {
            Value::Nil => out.push(0xc0),
            Value::Boolean(value) => out.push(0xc2 + u8::from(*value)),
            Value::Integer(value) => msgpack::write_int(out, *value, false),
            Value::Number(value) => msgpack::write_double(out, *value),
            Value::String(text) => msgpack::write_typed(out, 3, until_nul(&text.as_bytes())),
            Value::Table(table) => match self.object(table) {
                Object::Nil => out.push(0xc0),
                Object::List => self.pack_list(&content(table)?, out, bytes_max, depth)?,
                Object::Map => self.pack_map(&content(table)?, out, bytes_max, depth)?,
                Object::Bytes => {
                    let content = self.content.call::<mlua::LuaString>(table)?;
                    msgpack::write_typed(out, 4, &content.as_bytes());
                }
                Object::GeoJson => {
                    let text = content(table)?.raw_get::<mlua::LuaString>("s")?;
                    msgpack::write_typed(out, 23, &text.as_bytes());
                }
                Object::Other => return Err(Unpackable::Type),
            },
            _ => return Err(Unpackable::Type),
        }
        Ok(())
    }

    fn pack_list(
        &self,
        content: &Table,
        out: &mut Vec<u8>,
        bytes_max: usize,
        depth: usize,
    ) -> Result<(), Unpackable> {
        let elements = content.raw_get::<Table>("t")?;
        let count = count(content, bytes_max)?;
        msgpack::write_list_count(out, count);
        for at in 1..=count {
            let element = elements.raw_get::<Value>(at)?;
            self.pack(&element, out, bytes_max, depth + 1)?;
        }
        Ok(())
    }

    fn pack_map(
        &self,
        content: &Table,
        out: &mut Vec<u8>,
        bytes_max: usize,
        depth: usize,
    ) -> Result<(), Unpackable> {
        let (keys, values) = (
            content.raw_get::<Table>("k")?,
            content.raw_get::<Table>("v")?,
        );
        let flags = content.raw_get::<u8>("f").unwrap_or(0) & 3;
        let removed =
            |key: &Value| matches!(key, Value::Table(table) if self.object(table) == Object::Nil);
        let mut count = 0;
        for at in 1..=keys.raw_len() {
            count += usize::from(!removed(&keys.raw_get::<Value>(at)?));
        }
        msgpack::write_map_head(out, count, flags).map_err(|_| Unpackable::TooBig)?;
        let start = out.len();
        let mut entries = Vec::new(); // where each begins and ends in `out`
        for at in 1..=keys.raw_len() {
            let key = keys.raw_get::<Value>(at)?;
            if removed(&key) {
                continue;
            }
            let begin = out.len();
            self.pack(&key, out, bytes_max, depth + 1)?;
            self.pack(&self.value_of(&values, &key)?, out, bytes_max, depth + 1)?;
            entries.push((begin - start, out.len() - start));
        }
        if flags & 1 != 0 {
            let unsorted = out.split_off(start);
            let entry = |(begin, end): &(usize, usize)| &unsorted[*begin..*end];
            entries.sort_by(|a, b| msgpack::compare(entry(a), entry(b))); // by the key, which comes first
            entries.iter().for_each(|it| out.extend(entry(it)));
        }
        Ok(())
    }

    fn value_of(&self, values: &Table, key: &Value) -> Result<Value, Unpackable> {
        if let Value::Table(table) = key
            && self.object(table) == Object::Bytes
        {
            let content = self.content.call::<mlua::LuaString>(table)?;
            return Ok(values.raw_get([b"\0bytes\0", &*content.as_bytes()].concat())?);
        }
        Ok(values.raw_get(key)?)
    }

    /// A value with its type, as an answer or for a bin. Type 0 for what is nothing that a client could be told.
    pub(super) fn particle(
        &self,
        value: &Value,
        bytes_max: usize,
    ) -> Result<(u8, Vec<u8>), Unpackable> {
        let mut out = Vec::new();
        let particle = match value {
            Value::Boolean(value) => {
                out.push(u8::from(*value));
                ParticleType::Bool
            }
            Value::Integer(value) => {
                out.extend(value.to_be_bytes());
                ParticleType::Integer
            }
            Value::Number(value) => {
                out.extend(value.to_be_bytes());
                ParticleType::Float
            }
            Value::String(text) => {
                out.extend(until_nul(&text.as_bytes()));
                ParticleType::String
            }
            Value::Table(table) => match self.object(table) {
                Object::List | Object::Map => {
                    self.pack(value, &mut out, bytes_max, 0)?;
                    match self.object(table) {
                        Object::List => ParticleType::List,
                        _ => ParticleType::Map,
                    }
                }
                Object::Bytes => {
                    let content = self.content.call::<mlua::LuaString>(table)?;
                    out.extend(&*content.as_bytes());
                    ParticleType::Blob
                }
                Object::GeoJson => {
                    let text = content(table)?.raw_get::<mlua::LuaString>("s")?;
                    out.extend([0, 0, 0]);
                    out.extend(&*text.as_bytes());
                    ParticleType::GeoJson
                }
                Object::Nil | Object::Other => return Ok((0, out)),
            },
            _ => return Ok((0, out)),
        };
        if out.len() > bytes_max {
            return Err(Unpackable::TooBig);
        }
        Ok((particle as u8, out))
    }

    /// A value in the form in which a bin stores it.
    pub(super) fn for_bin(
        &self,
        value: &Value,
        bytes_max: usize,
    ) -> Result<super::Packed, Unpackable> {
        let (particle, bytes) = self.particle(value, bytes_max)?;
        match Stored::from_wire(particle, &bytes) {
            Ok(Some(stored)) => Ok((stored.particle, stored.bytes.into_owned())),
            Ok(None) | Err(ValueError::Type(_) | ValueError::Malformed { .. }) => {
                Err(Unpackable::Type)
            }
            Err(ValueError::GeoJson) => Err(Unpackable::GeoJson),
            Err(ValueError::Collection(_)) => Err(Unpackable::Collection),
        }
    }
}

fn content(object: &Table) -> Result<Table, Unpackable> {
    Ok(object.raw_get::<Table>(key())?)
}

/// How many elements a list says that it has. Each takes a byte at least.
fn count(content: &Table, bytes_max: usize) -> Result<u32, Unpackable> {
    let count = content.raw_get::<u32>("n")?;
    match count as usize > bytes_max {
        true => Err(Unpackable::TooBig),
        false => Ok(count),
    }
}

/// Text ends where a client written in C would see its end.
fn until_nul(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0);
    &text[..end.unwrap_or(text.len())]
}
