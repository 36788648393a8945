//! Modules of user-defined functions: put, listed, got, removed. Errors have a form of their own, `error=...`.
//!
//! A module is loaded once where it is put, on a thread for functions, before the cluster is asked to take it: one
//! that cannot be loaded is refused.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use karst_cluster::modules::{FILE_BYTES_MAX, Module};
use karst_cluster::state::Command;
use karst_data::key::{Digest, KeyBytes};
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::{Answer, Asked, Entry, agreed, entry, made, text, truncate};
use crate::node::Node;
use crate::udf::NotRun;

/// Most bytes of a module's text.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Longest time that a module may take to be loaded when it is put.
const LOAD_MAX: Duration = Duration::from_secs(1);

pub(super) const COMMANDS: &[Entry] = &[
    entry("udf-list", list),
    entry("udf-get", get),
    entry("udf-put", |asked| match module(asked) {
        Ok(_) => agreed_to(asked),
        Err(error) => made(error.message),
    }),
    entry("udf-remove", |asked| match removed(asked) {
        Ok(_) => agreed_to(asked),
        Err(error) => made(error.message),
    }),
    entry("udf-clear-cache", |_| text("ok")), // states are kept by what they were made from
];

/// An answer in the form that these commands have.
fn wrong(message: &'static str) -> InfoError {
    InfoError::new(ResultCode::Parameter, message)
}

fn agreed_to(asked: &Asked<'_>) -> Answer {
    let agreed = truncate::count(asked).and_then(|()| agreed::next(asked));
    match agreed {
        Ok(()) => text("ok"),
        Err(error) if error.code == ResultCode::UdfExecution => made(error.message),
        Err(error) if error.code == ResultCode::Timeout => text("error=timeout"),
        Err(error) => made(format!("error={}", error.message)),
    }
}

/// What `udf-put` asks the cluster to change.
pub(super) fn put(asked: &Asked<'_>) -> Result<Command, InfoError> {
    module(asked).map(Command::PutModule)
}

/// What `udf-remove` asks it to change.
pub(super) fn removed(asked: &Asked<'_>) -> Result<Command, InfoError> {
    file(asked).map(|file| Command::RemoveModule(file.to_owned()))
}

fn file<'a>(asked: &Asked<'a>) -> Result<&'a str, InfoError> {
    let file = asked.params().get("filename").unwrap_or_default();
    let file = std::str::from_utf8(file).map_err(|_| wrong("error=invalid_filename"))?;
    let plain = |letter: char| !letter.is_control() && !matches!(letter, ',' | '=' | '/');
    match file.is_empty() || file.len() > FILE_BYTES_MAX || !file.chars().all(plain) {
        true => Err(wrong("error=invalid_filename")),
        false => Ok(file),
    }
}

fn module(asked: &Asked<'_>) -> Result<Module, InfoError> {
    let params = asked.params();
    let file = file(asked)?;
    let dot = file.find('.');
    if dot.is_none() || file.starts_with('.') || file.ends_with('.') {
        return Err(wrong("error=invalid_filename"));
    }
    let length = params.get("content-len").unwrap_or_default();
    let length = std::str::from_utf8(length)
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    let length = length.filter(|length| *length > 0 && length % 4 == 0);
    let length = length.ok_or_else(|| wrong("error=invalid_content_len"))?;
    let kind = params.get("udf-type").filter(|kind| !kind.is_empty());
    if kind.is_some_and(|kind| kind != b"LUA") {
        return Err(wrong("error=invalid_udf_type"));
    }
    // What is put is base64, whose `=` at the end belong to the value.
    let content = params.get("content").unwrap_or_default();
    if content.len() != length {
        return Err(wrong("error=invalid_content"));
    }
    if length > TEXT_BYTES_MAX.div_ceil(3) * 4 {
        return Err(wrong("error=invalid_udf_content_len,>1M"));
    }
    let decoded = BASE64.decode(content);
    let decoded = decoded.map_err(|_| wrong("error=invalid_base64_content"))?;
    if decoded.len() > TEXT_BYTES_MAX {
        return Err(wrong("error=invalid_udf_content_len,>1M"));
    }
    let named = [file.as_bytes(), &[0], &*decoded].concat();
    Ok(Module {
        file: file.to_owned(),
        hash: Digest::of(b"LUA", KeyBytes::Blob(&named)).to_string(),
        text: String::from_utf8_lossy(content).into_owned().into(), // base64 is text
    })
}

/// Loads a module that is to be put, as a call would.
///
/// # Errors
/// What to answer if it cannot be loaded.
pub(super) async fn check(node: &Node, module: &Module) -> Result<(), InfoError> {
    let modules = node.cluster.snapshot().modules.clone();
    let checked = node
        .functions
        .check(modules, module.clone(), LOAD_MAX)
        .await;
    let faulty = match checked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(faulty)) => faulty,
        Err(NotRun::Busy | NotRun::Late) => {
            return Err(InfoError::new(
                ResultCode::Timeout,
                "it was not loaded in time",
            ));
        }
    };
    let (file, line, message) = (&module.file, faulty.line, BASE64.encode(faulty.message));
    Err(InfoError::new(
        ResultCode::UdfExecution,
        format!("error=compile_error;file={file};line={line};message={message}"),
    ))
}

fn list(asked: &mut Asked<'_>) -> Answer {
    let state = asked.node.cluster.snapshot();
    let mut list = String::new();
    for Module { file, hash, .. } in state.modules.iter() {
        // Writing to a string does not fail.
        let _ = write!(list, "filename={file},hash={hash},type=LUA;");
    }
    made(list)
}

fn get(asked: &mut Asked<'_>) -> Answer {
    let state = asked.node.cluster.snapshot();
    let Ok(file) = file(asked) else {
        return text("error=not_found");
    };
    match state.modules.get(file) {
        None => text("error=not_found"),
        Some(module) if module.text.is_empty() => text("error=empty"),
        Some(module) => made(format!("type=LUA;content={};", &*module.text)),
    }
}
