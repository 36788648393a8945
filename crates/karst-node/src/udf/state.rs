//! One Lua state with its limits: made once, kept by a thread, used for one call after the other.
//!
//! Bounds: [`MEMORY_BYTES_MAX`] of memory; a call's deadline, looked at every `INSTRUCTIONS` instructions and
//! wherever an error could be caught; `LOG_LINES_MAX` lines for the log a call.
//!
//! What a script leaves in global variables may be there at the next call and may be not, as in the reference.

mod lend;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_cluster::modules::{Module, Modules};
use karst_data::msgpack::{Head, Reader};
use karst_data::value::ParticleType;
use karst_io::clock;
use mlua::chunk::ChunkMode;
use mlua::{
    Function, HookTriggers, Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value, VmState,
};

use super::values::{self, Kit, Unpackable, malformed};
use super::{
    ANSWER_BYTES_MAX, Aggregated, Aggregation, Call, Change, Ended, Faulty, Returned, Snapshot,
    Subject,
};

/// Most memory of one state.
pub const MEMORY_BYTES_MAX: usize = 128 << 20;

/// A state that has more than this when a call has ended is not used again.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Instructions between two looks at the clock: some ten microseconds.
const INSTRUCTIONS: u32 = 10_000;

/// Lines that one call may write to the node's log, and their length.
const LOG_LINES_MAX: u32 = 100;
const LOG_LINE_BYTES_MAX: usize = 1024;

/// Most arguments of a call: Lua's own limit of a call's values is a few times as large.
const ARGUMENTS_MAX: u32 = 1000;

/// More references to Lua's values than are held at a time: arguments, names of bins, and some for each level of
/// nesting.
const REFERENCES: usize = 8192;

/// Largest value of a bin that a script may make: no record is larger.
const BIN_BYTES_MAX: usize = karst_data::flat::PAYLOAD_BYTES_MAX;

/// Most bins of a record that functions are called with.
pub const BINS_MAX: usize = 512;

/// A packed list of nothing.
const NO_ARGUMENTS: &[u8] = &[0x90];

/// What a call that took too long ends with.
pub const TIMEOUT: &str = "UDF Execution Timeout";

/// What a call of a module that cannot be loaded ends with.
const NOT_LOADED: &[u8] = b"UDF: Execution Error 1";

/// What the functions that Lua calls have to know of the call under way.
struct Now {
    deadline_us: Cell<u64>,
    log_lines: Cell<u32>,
    module: RefCell<String>,
    modules: RefCell<Modules>,
    /// The records that the call has to do with.
    records: RefCell<Arc<[Subject]>>,
    /// How many of them a stream has taken.
    taken: Cell<usize>,
    /// What a stream has given.
    given: RefCell<Given>,
}

/// What a stream has given so far.
#[derive(Default)]
struct Given {
    values: Vec<(u8, Vec<u8>)>,
    bytes: usize,
}

impl Now {
    fn new(modules: &Modules, stem: &str, deadline_us: u64) -> Rc<Now> {
        Rc::new(Now {
            deadline_us: Cell::new(deadline_us),
            log_lines: Cell::new(0),
            module: RefCell::new(stem.to_owned()),
            modules: RefCell::new(modules.clone()),
            records: RefCell::new(Arc::from([])),
            taken: Cell::new(0),
            given: RefCell::default(),
        })
    }

    /// A call begins, with these records.
    fn begin(&self, records: Arc<[Subject]>, deadline_us: u64) {
        self.deadline_us.set(deadline_us);
        self.log_lines.set(0);
        self.taken.set(0);
        *self.records.borrow_mut() = records;
    }

    /// It has ended: nothing of it stays.
    fn end(&self) -> Given {
        *self.records.borrow_mut() = Arc::from([]);
        self.given.take()
    }

    /// Looks at a record by its number, from 1, as it was found.
    fn look<R>(&self, at: usize, look: impl FnOnce(&Snapshot) -> R) -> Option<R> {
        let records = self.records.borrow();
        let found = records.get(at.wrapping_sub(1))?.found.as_ref();
        found.map(look)
    }

    fn is_late(&self) -> bool {
        clock::monotonic_us() >= self.deadline_us.get()
    }

    fn log(&self, level: i64, text: &str) {
        let lines = self.log_lines.get() + 1;
        self.log_lines.set(lines);
        let module = self.module.borrow();
        match lines {
            ..=LOG_LINES_MAX => {}
            more if more == LOG_LINES_MAX + 1 => {
                return tracing::warn!(
                    module = *module,
                    "a function logs too much: the rest is left out"
                );
            }
            _ => return,
        }
        let end = text.floor_char_boundary(LOG_LINE_BYTES_MAX);
        let text = &text[..end];
        match level {
            ..=1 => tracing::warn!(module = *module, "{text}"),
            2 => tracing::info!(module = *module, "{text}"),
            3 => tracing::debug!(module = *module, "{text}"),
            4.. => tracing::trace!(module = *module, "{text}"),
        }
    }
}

/// See [the module](self).
pub struct State {
    lua: Lua,
    now: Rc<Now>,
    kit: Rc<Kit>,
    enter: Function,
    call: Function,
    /// Makes a stream.
    stream: Function,
    /// Gives what comes out of one.
    drain: Function,
}

impl State {
    /// A state in which a module is loaded, by then.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn load(modules: &Modules, module: &Module, deadline_us: u64) -> Result<State, Faulty> {
        let now = Now::new(modules, stem_of(&module.file), deadline_us);
        let state = State::bare(now).map_err(|error| Faulty {
            line: 0,
            message: text_of(&error),
        })?;
        let loaded = chunk(&state.lua, module).and_then(|chunk| chunk.call::<()>(()));
        match loaded {
            Ok(()) => Ok(state),
            Err(error) => Err(Faulty::of(&text_of(&error))),
        }
    }

    /// A state with nothing but what every script has.
    fn bare(now: Rc<Now>) -> mlua::Result<State> {
        let libraries = StdLib::COROUTINE
            | StdLib::TABLE
            | StdLib::STRING
            | StdLib::UTF8
            | StdLib::MATH
            | StdLib::OS;
        let options = LuaOptions::new().catch_rust_panics(false);
        let lua = Lua::new_with(libraries, options)?;
        make_room(&lua)?;
        lua.set_memory_limit(MEMORY_BYTES_MAX)?;
        let host = lend::host(&lua, &now)?;
        let key = values::key();
        let file = |name: &str, text: &'static str| lua.load(text).set_name(format!("@{name}"));
        let (raw, objects): (Table, Table) =
            file("sandbox", include_str!("lua/sandbox.lua")).call((&host, key))?;
        let shapes: Table =
            file("values", include_str!("lua/values.lua")).call((&host, key, &raw, objects))?;
        let given = (&host, key, &raw, &shapes);
        file("bytes", include_str!("lua/bytes.lua")).call::<()>(given)?;
        let enter = file("record", include_str!("lua/record.lua")).call::<Function>(given)?;
        let call = file("call", include_str!("lua/call.lua")).call((&host, key, &raw))?;
        let (stream, drain) = file("stream", include_str!("lua/stream.lua"))
            .call((&host, key, &raw, &shapes, &enter))?;
        let watched = now.clone();
        let kit = Rc::new(Kit {
            late: Box::new(move || watched.is_late()),
            packed: Cell::new(0),
            nil: shapes.raw_get("NIL")?,
            list: shapes.raw_get("List")?,
            map: shapes.raw_get("Map")?,
            bytes: shapes.raw_get("Bytes")?,
            geo_json: shapes.raw_get("GeoJSON")?,
            content: raw.raw_get("content")?,
        });
        lend::values(&lua, &host, &now, &kit)?;
        lend::stream(&lua, &host, &now, &kit)?;
        let watched = now.clone();
        let triggers = HookTriggers::new().every_nth_instruction(INSTRUCTIONS);
        lua.set_global_hook(triggers, move |_, _| match watched.is_late() {
            true => Err(mlua::Error::RuntimeError(TIMEOUT.into())),
            false => Ok(VmState::Continue),
        })?;
        Ok(State {
            lua,
            now,
            kit,
            enter,
            call,
            stream,
            drain,
        })
    }

    /// Calls a function with a record.
    pub fn run(&self, call: Call, deadline_us: u64) -> Ended {
        let records: Arc<[Subject]> = Arc::from([call.record]);
        self.now.begin(records.clone(), deadline_us);
        let ended = self.run_within(&call.function, &call.arguments, &records[0]);
        self.now.end();
        match ended {
            Ok(ended) => ended,
            Err(error) => Ended::Failed(text_of(&error).into_bytes()),
        }
    }

    /// Calls a function with a stream of records.
    pub fn aggregate(&self, aggregation: &Aggregation, deadline_us: u64) -> Aggregated {
        self.now.begin(aggregation.records.clone(), deadline_us);
        let drained = self.drain(&aggregation.function, &aggregation.arguments);
        let given = self.now.end();
        match drained {
            Ok(Ok(())) => Ok(given.values),
            Ok(Err(why)) => Err(why),
            Err(error) => Err(text_of(&error).into_bytes()),
        }
    }

    fn drain(&self, name: &str, arguments: &[u8]) -> mlua::Result<Result<(), Vec<u8>>> {
        let stream: Value = self.stream.call(())?;
        let name = Value::String(self.lua.create_string(name)?);
        let stream = match self.call(name, stream, arguments)? {
            Ok(stream) => stream,
            Err(why) => return Ok(Err(why)),
        };
        let drain = Value::Function(self.drain.clone());
        let drained = self.call(drain, stream, NO_ARGUMENTS)?;
        Ok(drained.map(drop))
    }

    /// Calls a function, by its name or itself: what it returns, or why it does not.
    fn call(
        &self,
        function: Value,
        first: Value,
        arguments: &[u8],
    ) -> mlua::Result<Result<Value, Vec<u8>>> {
        let mut given = MultiValue::from_iter([function, first]);
        self.arguments(arguments, &mut given)?;
        let (ok, value): (bool, Value) = self.call.call(given)?;
        Ok(match (ok, &value) {
            (true, _) => Ok(value),
            (false, Value::String(message)) => Err(message.as_bytes().to_vec()),
            (false, _) => Err(Vec::new()),
        })
    }

    fn run_within(&self, name: &str, arguments: &[u8], subject: &Subject) -> mlua::Result<Ended> {
        let facts = lend::facts(&self.lua, &self.kit, subject, 1)?;
        let record: Value = self.enter.call(&facts)?;
        let name = Value::String(self.lua.create_string(name)?);
        let value = match self.call(name, record, arguments)? {
            Ok(value) => value,
            Err(why) => return Ok(Ended::Failed(why)),
        };
        let value = match self.kit.particle(&value, ANSWER_BYTES_MAX) {
            Ok(value) => value,
            Err(Unpackable::Lua(error)) => return Err(error),
            Err(_) => (0, Vec::new()),
        };
        Ok(Ended::Returned(Returned {
            value,
            rejected: Some(facts.raw_get::<u8>("code")?).filter(|code| *code != 0),
            change: self.change(&facts)?,
        }))
    }

    fn arguments(&self, packed: &[u8], given: &mut MultiValue) -> mlua::Result<()> {
        let mut reader = Reader { rest: packed };
        let Head::List(count @ ..=ARGUMENTS_MAX) = reader.head().map_err(malformed)? else {
            return Err(mlua::Error::RuntimeError(
                "the arguments are no list".into(),
            ));
        };
        for _ in 0..count {
            given.push_back(self.kit.unpack(&self.lua, &mut reader, 1)?);
        }
        Ok(())
    }

    /// What the function did to the record.
    fn change(&self, facts: &Table) -> mlua::Result<Option<Change>> {
        if !facts.raw_get::<bool>("written")? {
            return Ok(None);
        }
        let mut change = Change {
            wiped: facts.raw_get("wiped")?,
            ttl: facts.raw_get("life")?,
            drops_key: facts.raw_get::<Option<bool>>("drop_key")?.unwrap_or(false),
            bins: Vec::new(),
        };
        let image = facts.raw_get::<Table>("image")?;
        image.for_each(|name: LuaString, value: Value| {
            let value = match &value {
                Value::String(packed) => match &*packed.as_bytes() {
                    [particle, bytes @ ..] => {
                        ParticleType::from_wire(*particle).map(|it| (it, bytes.to_vec()))
                    }
                    [] => None,
                },
                _ => None,
            };
            change.bins.push((name.as_bytes().to_vec(), value));
            Ok(())
        })?;
        change.bins.sort_unstable_by(|a, b| a.0.cmp(&b.0)); // the order of a Lua table is chance
        Ok(Some(change))
    }

    /// Whether another call may use it: it has given back what it took.
    pub fn is_fit(&self) -> bool {
        if self.lua.used_memory() > KEPT_BYTES_MAX {
            let collected = self.lua.gc_collect();
            return collected.is_ok() && self.lua.used_memory() <= KEPT_BYTES_MAX;
        }
        true
    }
}

/// Makes room for as many references to Lua's values as are ever held: mlua cannot say no when there is none, and
/// there would be none for want of memory.
fn make_room(lua: &Lua) -> mlua::Result<()> {
    let value = lua.create_table()?;
    drop(vec![value; REFERENCES]);
    Ok(())
}

/// A module's text as a function that runs it.
fn chunk(lua: &Lua, module: &Module) -> mlua::Result<Function> {
    let text = BASE64.decode(module.text.as_bytes());
    let text = text.map_err(|error| mlua::Error::RuntimeError(error.to_string()))?;
    lua.load(text)
        .set_name(format!("@{}", module.file))
        .set_mode(ChunkMode::Text)
        .into_function()
}

impl Faulty {
    /// Takes a message of Lua, `file:line: what`, apart.
    fn of(text: &str) -> Faulty {
        let mut parts = text.splitn(3, ':');
        let placed = (
            parts.next(),
            parts.next().map(|line| line.trim().parse()),
            parts.next(),
        );
        match placed {
            (Some(_), Some(Ok(line)), Some(message)) => Faulty {
                line,
                message: message.trim().to_owned(),
            },
            _ => Faulty {
                line: 0,
                message: text.to_owned(),
            },
        }
    }
}

/// The name by which a file's module is called.
pub fn stem_of(file: &str) -> &str {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem)
}

/// The module of this name.
pub fn find<'m>(modules: &'m Modules, name: &str) -> Option<&'m Module> {
    let lua = modules.get(&format!("{name}.lua"));
    lua.or_else(|| modules.iter().find(|module| stem_of(&module.file) == name))
}

/// What a call ends with whose module cannot be loaded.
pub(super) fn not_loaded(why: Option<&Faulty>) -> Vec<u8> {
    match why {
        Some(why) if why.message.contains(TIMEOUT) => TIMEOUT.into(),
        Some(_) | None => NOT_LOADED.into(),
    }
}

/// The message of an error as Lua knows it, without what surrounds it.
fn text_of(error: &mlua::Error) -> String {
    match error {
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
            text_of(cause)
        }
        mlua::Error::RuntimeError(text)
        | mlua::Error::MemoryError(text)
        | mlua::Error::SyntaxError { message: text, .. } => {
            let end = text.find("\nstack traceback:").unwrap_or(text.len());
            text[..end].to_owned()
        }
        other => other.to_string(),
    }
}
