//! Secondary indexes: made, dropped and listed.
//!
//! What there is to be is agreed on by the cluster; every node then builds its own part, and says here how far it
//! is. Clients wait until all nodes say 100 percent.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_cluster::sindex::{OTHER_DEFINITION, Sindex, TOO_MANY};
use karst_cluster::state::Command;
use karst_data::bin::NAME_BYTES_MAX as BIN_BYTES_MAX;
use karst_data::key::{NAMESPACE_BYTES_MAX, SET_BYTES_MAX};
use karst_data::sindex::{Definition, Kind, NAME_BYTES_MAX, Source};
use karst_engine::sindex::Named;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::truncate::count;
use super::{Answer, Asked, Entry, agreed, entry, made, no_namespace, printable, refused, text};
use crate::node::{NamespaceState, Node};

pub(super) const COMMANDS: &[Entry] = &[
    entry("sindex", listed_or_stat),
    entry("sindex-list", list),
    entry("sindex-exists", exists),
    entry("sindex-stat", stat),
    entry("sindex-create", |asked| {
        created(asked).and_then(|_| agreed_to(asked))
    }),
    entry("sindex-delete", |asked| {
        dropped(asked).and_then(|_| agreed_to(asked))
    }),
];

/// Longest text of what an index is of, in either manner, and longest context and expression in base64: every
/// node keeps all of them, in its log and in memory.
const TEXT_BYTES_MAX: usize = 4096;

/// Under which code a client is told why the cluster did not make an index.
pub(super) fn refusal(why: &str) -> ResultCode {
    match why {
        OTHER_DEFINITION => ResultCode::SindexFound,
        TOO_MANY => ResultCode::SindexMaxCount,
        _ => ResultCode::Unknown,
    }
}

/// What `sindex-create` asks the cluster to agree to.
pub(super) fn created(asked: &Asked<'_>) -> Result<Command, InfoError> {
    let params = asked.params();
    let namespace = namespace(asked)?;
    let set = params.text("set", SET_BYTES_MAX)?.unwrap_or_default();
    let name = params.require("indexname", NAME_BYTES_MAX)?;
    let kept = name.chars().chain(set.chars());
    if kept.clone().any(char::is_control) {
        return Err(wrong("bad 'indexname' or 'set'"));
    }
    let definition = match params.text("indextype", TEXT_BYTES_MAX)? {
        Some(named) if named.eq_ignore_ascii_case("set") => of_set(asked, set)?,
        named => of_values(asked, set, source(named)?)?,
    };
    Ok(Command::CreateSindex(Sindex {
        namespace: namespace.config.name.clone(),
        name: name.into(),
        definition,
    }))
}

/// An index of which records there are in a set.
fn of_set(asked: &Asked<'_>, set: &str) -> Result<Definition, InfoError> {
    let params = asked.params();
    let of_values = ["bin", "type", "indexdata", "context", "exp"];
    if set.is_empty() {
        return Err(wrong("missing 'set'"));
    }
    if of_values.iter().any(|name| params.get(name).is_some()) {
        return Err(wrong("a set index is of a set alone"));
    }
    Ok(Definition::of_set(set))
}

/// An index of values in records.
fn of_values(asked: &Asked<'_>, set: &str, source: Source) -> Result<Definition, InfoError> {
    let context = decoded(asked, "context", "bad 'context'")?;
    let expression = decoded(asked, "exp", "bad 'exp'")?;
    let (bin, kind) = bin_and_kind(asked, !expression.is_empty())?;
    if !expression.is_empty() && !context.is_empty() {
        return Err(wrong("both 'exp' and 'context'"));
    }
    let definition = Definition {
        set: set.into(),
        bin,
        kind,
        source,
        context,
        expression,
    };
    definition.extractor().map_err(|undefinable| {
        let message = undefinable.to_string();
        InfoError::new(ResultCode::Parameter, message)
    })?;
    Ok(definition)
}

/// What `sindex-delete` asks the cluster to agree to.
pub(super) fn dropped(asked: &Asked<'_>) -> Result<Command, InfoError> {
    let namespace = namespace(asked)?;
    let name = asked.params().require("indexname", NAME_BYTES_MAX)?;
    Ok(Command::DropSindex {
        namespace: namespace.config.name.clone(),
        name: name.into(),
    })
}

fn agreed_to(asked: &Asked<'_>) -> Answer {
    count(asked)?;
    agreed::next(asked)?;
    text("ok")
}

/// The namespace that a command names, in today's manner or the older one.
fn namespace<'a>(asked: &Asked<'a>) -> Result<&'a NamespaceState, InfoError> {
    let params = asked.params();
    let name = match params.text("ns", NAMESPACE_BYTES_MAX) {
        Ok(Some(name)) => name,
        Ok(None) => params.require("namespace", NAMESPACE_BYTES_MAX)?,
        Err(error) => return Err(InfoError::new(ResultCode::Namespace, error.message)),
    };
    let found = asked.node.namespace(name.as_bytes());
    found.map(|(_, it)| it).ok_or_else(no_namespace)
}

fn source(named: Option<&str>) -> Result<Source, InfoError> {
    match named.unwrap_or("default").to_ascii_lowercase().as_str() {
        "default" | "none" => Ok(Source::Bin),
        "list" => Ok(Source::List),
        "mapkeys" => Ok(Source::MapKeys),
        "mapvalues" => Ok(Source::MapValues),
        _ => Err(wrong("bad 'indextype'")),
    }
}

/// A parameter in base64, as clients spell it; empty if there is none.
fn decoded(asked: &Asked<'_>, name: &str, malformed: &'static str) -> Result<Vec<u8>, InfoError> {
    let Some(text) = asked.params().text(name, TEXT_BYTES_MAX)? else {
        return Ok(Vec::new());
    };
    match BASE64.decode(text) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        Ok(_) | Err(_) => Err(wrong(malformed)),
    }
}

/// `bin=` and `type=`, or both in `indexdata=`; `type=` alone for an expression.
fn bin_and_kind(asked: &Asked<'_>, computed: bool) -> Result<(String, Kind), InfoError> {
    let params = asked.params();
    let data = params.text("indexdata", TEXT_BYTES_MAX)?;
    let kind = params.text("type", TEXT_BYTES_MAX)?;
    let names_bin = data.is_some() || params.get("bin").is_some();
    if computed && names_bin {
        return Err(wrong("both 'exp' and a bin"));
    }
    let (bin, kind) = match (data, kind) {
        (Some(_), Some(_)) => return Err(wrong("both 'indexdata' and 'type'")),
        (None, None) => return Err(wrong("missing 'type'")),
        (Some(data), None) => {
            let both = data.split_once(',');
            both.ok_or_else(|| wrong("bad 'indexdata'"))?
        }
        (None, Some(kind)) if computed => ("", kind),
        (None, Some(kind)) => (params.require("bin", TEXT_BYTES_MAX)?, kind),
    };
    if bin.is_empty() != computed || bin.len() > BIN_BYTES_MAX || bin.chars().any(char::is_control)
    {
        return Err(wrong("bad bin name"));
    }
    let kind = match kind.to_ascii_lowercase().as_str() {
        "numeric" => Kind::Numeric,
        "string" => Kind::Text,
        "blob" => Kind::Blob,
        "geo2dsphere" => Kind::Geo,
        _ => return Err(wrong("bad 'type'")),
    };
    Ok((bin.to_owned(), kind))
}

fn exists(asked: &mut Asked<'_>) -> Answer {
    let namespace = namespace(asked)?;
    let name = asked.params().require("indexname", NAME_BYTES_MAX)?;
    match namespace.engine.sindex_named(name.as_bytes()) {
        Some(_) => text("true"),
        None => text("false"),
    }
}

fn stat(asked: &mut Asked<'_>) -> Answer {
    let namespace = namespace(asked)?;
    let name = asked.params().require("indexname", NAME_BYTES_MAX)?;
    stat_of(namespace, name)
}

fn stat_of(namespace: &NamespaceState, name: &str) -> Answer {
    let engine = &namespace.engine;
    let Some(Named { index, .. }) = engine.sindex_named(name.as_bytes()) else {
        return refused(ResultCode::SindexNotFound, "no index");
    };
    let report = index.report();
    let by_value = match index.is_of_set() {
        true => "",
        false => "entries_per_bval=1;entries_per_rec=1;",
    };
    made(format!(
        "entries={};used_bytes={};{by_value}load_pct={};load_time={};stat_gc_recs={}",
        report.items,
        report.bytes,
        index.built_percent(),
        index.build_ms.load(Ordering::Relaxed) / 1000,
        index.swept(),
    ))
}

/// The older manner: all indexes, those of a namespace, or the state of one.
fn listed_or_stat(asked: &mut Asked<'_>) -> Answer {
    let mut arguments = asked.command.arguments();
    let (namespace, name) = (arguments.next(), arguments.next());
    let Some(namespace) = namespace.filter(|it| !it.is_empty()) else {
        return list(asked);
    };
    let Some((_, namespace)) = asked.node.namespace(namespace.as_bytes()) else {
        return text("ns_type=unknown");
    };
    match name {
        Some(name) => stat_of(namespace, name),
        None => made(items(std::iter::once(namespace))),
    }
}

fn list(asked: &mut Asked<'_>) -> Answer {
    let params = asked.params();
    let node: &Node = asked.node;
    match params.get("ns").or(params.get("namespace")) {
        Some(_) => made(items(std::iter::once(namespace(asked)?))),
        None => made(items(node.namespaces.iter())),
    }
}

fn items<'n>(namespaces: impl Iterator<Item = &'n NamespaceState>) -> String {
    let of = |namespace: &NamespaceState| {
        let sindexes = namespace.engine.sindexes();
        let item = |named: &Named| item(&namespace.config.name, named);
        sindexes.iter().map(item).collect::<Vec<_>>()
    };
    namespaces.flat_map(of).collect::<Vec<_>>().join(";")
}

fn item(namespace: &str, named: &Named) -> String {
    let Definition {
        set,
        bin,
        kind,
        source,
        context,
        expression,
    } = &named.index.definition;
    let or_null = |name: &String| match name.as_str() {
        "" => "null".into(),
        name => printable(name.as_bytes()),
    };
    let encoded = |bytes: &Vec<u8>| match bytes.is_empty() {
        true => "null".into(),
        false => BASE64.encode(bytes),
    };
    let state = match &named.index.extractor {
        None => "ERROR", // another version made it
        Some(_) if named.index.is_built() => "RW",
        Some(_) => "WO",
    };
    let name = printable(named.name.as_bytes());
    let kind = match kind {
        Kind::Set => {
            let set = printable(set.as_bytes());
            return format!(
                "ns={namespace}:indexname={name}:set={set}:indextype=set:state={state}"
            );
        }
        Kind::Numeric => "numeric",
        Kind::Text => "string",
        Kind::Blob => "blob",
        Kind::Geo => "geo2dsphere",
    };
    let source = match source {
        Source::Bin => "default",
        Source::List => "list",
        Source::MapKeys => "mapkeys",
        Source::MapValues => "mapvalues",
    };
    format!(
        "ns={namespace}:indexname={name}:set={}:bin={}:type={kind}:indextype={source}:context={}:exp={}:state={state}",
        or_null(set),
        or_null(bin),
        encoded(context),
        encoded(expression),
    )
}

fn wrong(message: &'static str) -> InfoError {
    InfoError::new(ResultCode::Parameter, message)
}
