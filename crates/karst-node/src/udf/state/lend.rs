//! What the node lends to the objects that scripts use (`lua/`): clocks, the log, modules, and the records of the call.

use std::rc::Rc;

use karst_io::clock;
use mlua::{Lua, LuaString, Table, Value};

use super::super::values::{Kit, Unpackable};
use super::super::{ANSWER_BYTES_MAX, Subject};
use super::{BIN_BYTES_MAX, Now, TIMEOUT, chunk, find};

/// What a value that a stream gives takes beside its bytes.
const VALUE_BYTES: usize = 32;

/// What the node lends to the objects, but for what needs them.
pub(super) fn host(lua: &Lua, now: &Rc<Now>) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.raw_set("timeout", TIMEOUT)?;
    let memory = |lua: &Lua, ()| Ok(lua.used_memory());
    host.raw_set("memory", lua.create_function(memory)?)?;
    let unix_ms = |_: &Lua, ()| Ok(clock::wall_ms());
    host.raw_set("now", lua.create_function(unix_ms)?)?;
    let watched = now.clone();
    let late = move |_: &Lua, ()| Ok(watched.is_late());
    host.raw_set("late", lua.create_function(late)?)?;
    let logger = now.clone();
    let log = move |_: &Lua, (level, text): (i64, LuaString)| {
        logger.log(level, &text.to_string_lossy());
        Ok(())
    };
    host.raw_set("log", lua.create_function(log)?)?;
    let known = now.clone();
    let module = move |lua: &Lua, name: LuaString| {
        let name = name.to_string_lossy();
        let modules = known.modules.borrow();
        match find(&modules, &name) {
            Some(module) => chunk(lua, module),
            None => Err(mlua::Error::RuntimeError(format!(
                "module '{name}' not found"
            ))),
        }
    };
    host.raw_set("module", lua.create_function(module)?)?;
    Ok(host)
}

/// And what needs them.
pub(super) fn values(lua: &Lua, host: &Table, now: &Rc<Now>, kit: &Rc<Kit>) -> mlua::Result<()> {
    let (known, shapes) = (now.clone(), kit.clone());
    let bin = move |lua: &Lua, (at, name): (usize, LuaString)| {
        let shown = known.look(at, |record| {
            let mut bins = record.bins.iter();
            let bin = bins.find(|bin| bin.0 == *name.as_bytes());
            bin.map(|(_, particle, bytes)| shapes.shown(lua, *particle as u8, bytes))
        });
        shown.flatten().unwrap_or(Ok(Value::Nil))
    };
    host.raw_set("bin", lua.create_function(bin)?)?;
    let known = now.clone();
    let names = move |lua: &Lua, at: usize| {
        let names = known.look(at, |record| {
            let names = record.bins.iter().map(|bin| lua.create_string(&bin.0));
            names.collect::<mlua::Result<Vec<_>>>()
        });
        lua.create_sequence_from(names.unwrap_or(Ok(Vec::new()))?)
    };
    host.raw_set("names", lua.create_function(names)?)?;
    let shapes = kit.clone();
    let pack = move |lua: &Lua, value: Value| match shapes.for_bin(&value, BIN_BYTES_MAX) {
        Ok((particle, bytes)) => {
            let packed = [&[particle as u8], &*bytes].concat();
            Ok((Value::String(lua.create_string(packed)?), 0))
        }
        Err(why) => why.code().map(|code| (Value::Nil, code)),
    };
    host.raw_set("pack", lua.create_function(pack)?)?;
    let shapes = kit.clone();
    let size = move |_: &Lua, value: Value| Ok(shapes.packed(&value)?.len());
    host.raw_set("size", lua.create_function(size)?)?;
    let shapes = kit.clone();
    let same = move |_: &Lua, (a, b): (Value, Value)| Ok(shapes.packed(&a)? == shapes.packed(&b)?);
    host.raw_set("same", lua.create_function(same)?)
}

/// And what streams need.
pub(super) fn stream(lua: &Lua, host: &Table, now: &Rc<Now>, kit: &Rc<Kit>) -> mlua::Result<()> {
    let (known, shapes) = (now.clone(), kit.clone());
    let next = move |lua: &Lua, ()| {
        let records = known.records.borrow();
        let at = known.taken.get();
        let Some(subject) = records.get(at) else {
            return Ok(None);
        };
        known.taken.set(at + 1);
        let facts = facts(lua, &shapes, subject, at + 1)?;
        facts.raw_set("fixed", true)?;
        Ok(Some(facts))
    };
    host.raw_set("next", lua.create_function(next)?)?;
    let (known, shapes) = (now.clone(), kit.clone());
    let give = move |_: &Lua, value: Value| {
        let mut given = known.given.borrow_mut();
        let value = match shapes.particle(&value, ANSWER_BYTES_MAX) {
            Ok((0, _)) => return Ok(()), // nothing that a client could be told
            Ok(value) => value,
            Err(Unpackable::Lua(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        given.bytes += value.1.len() + VALUE_BYTES;
        if given.bytes > ANSWER_BYTES_MAX {
            return Err(mlua::Error::RuntimeError(
                "the stream gives too much".into(),
            ));
        }
        given.values.push(value);
        Ok(())
    };
    host.raw_set("give", lua.create_function(give)?)
}

/// What is known of a record, as `lua/record.lua` wants it; `at` is its number among the call's, from 1.
pub(super) fn facts(lua: &Lua, kit: &Kit, subject: &Subject, at: usize) -> mlua::Result<Table> {
    let facts = lua.create_table()?;
    facts.raw_set("at", at)?;
    facts.raw_set("digest", lua.create_string(subject.digest)?)?;
    if !subject.set.is_empty() {
        facts.raw_set("setname", lua.create_string(&subject.set)?)?;
    }
    facts.raw_set("exists", subject.found.is_some())?;
    if let Some(found) = &subject.found {
        facts.raw_set("gen", found.generation)?;
        facts.raw_set("ttl", found.ttl_s)?;
        facts.raw_set("lut", found.update_time_ms)?;
        facts.raw_set("size", found.size_bytes)?;
        if let Some([particle, key @ ..]) = found.key.as_deref() {
            facts.raw_set("key", kit.shown(lua, *particle, key)?)?;
        }
    }
    Ok(facts)
}

impl Kit {
    /// A value as an element, for its size or to be compared.
    fn packed(&self, value: &Value) -> mlua::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self.pack(value, &mut out, BIN_BYTES_MAX, 0) {
            Ok(()) => Ok(out),
            Err(Unpackable::Lua(error)) => Err(error),
            Err(_) => Err(mlua::Error::RuntimeError("it cannot be packed".into())),
        }
    }
}

impl Unpackable {
    /// The result code of a write that is rejected for it.
    fn code(self) -> mlua::Result<u8> {
        match self {
            Unpackable::Type => Ok(12),
            Unpackable::Deep | Unpackable::Collection => Ok(4),
            Unpackable::TooBig => Ok(13),
            Unpackable::GeoJson => Ok(160),
            Unpackable::Lua(error) => Err(error),
        }
    }
}
