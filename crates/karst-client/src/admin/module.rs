//! Modules of user-defined functions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Goal, Task, pairs};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::key::check_text;

/// A module that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdfModule {
    /// Name of its file, such as `counters.lua`.
    pub file: String,
    /// A fingerprint of it; equal on nodes that hold the same.
    pub hash: String,
}

/// The modules of an answer to `udf-list`.
pub(super) fn listed(answer: &str) -> impl Iterator<Item = UdfModule> + '_ {
    answer.split(';').filter_map(|item| {
        let mut pairs = pairs(item, ',');
        Some(UdfModule {
            file: pairs.remove("filename")?,
            hash: pairs.remove("hash").unwrap_or_default(),
        })
    })
}

impl Client {
    /// Registers a module of Lua functions under the name of a file, such as `counters.lua`, replacing what had
    /// the name. The server loads it first and refuses one that cannot be loaded.
    ///
    /// # Errors
    /// [`Error::Invalid`] for names the protocol cannot carry; [`Error::Info`] with what the server refused, of
    /// a module that cannot be loaded file, line and message.
    pub async fn register_udf(&self, file: &str, source: &[u8]) -> Result<Task> {
        check_file(file)?;
        let content = BASE64.encode(source);
        let command = format!(
            "udf-put:filename={file};content={content};content-len={};udf-type=LUA",
            content.len()
        );
        let told = self.ask_any(&command).await;
        told.map_err(|error| explained(error, file))?;
        Ok(self.task(Goal::ModuleThere { file: file.into() }))
    }

    /// Removes a module; that it is not there is no error.
    ///
    /// # Errors
    /// As [`Client::register_udf`].
    pub async fn remove_udf(&self, file: &str) -> Result<Task> {
        check_file(file)?;
        self.ask_any(&format!("udf-remove:filename={file}")).await?;
        Ok(self.task(Goal::ModuleGone { file: file.into() }))
    }

    fn task(&self, goal: Goal) -> Task {
        let client = self.clone();
        Task { client, goal }
    }

    /// The modules that are registered, as one node knows them.
    ///
    /// # Errors
    /// Those of info commands.
    pub async fn udfs(&self) -> Result<Vec<UdfModule>> {
        let list = self.ask_any("udf-list").await?;
        Ok(listed(&list).collect())
    }

    /// The source of a module; `None` if there is none of the name.
    ///
    /// # Errors
    /// Those of info commands.
    pub async fn udf_source(&self, file: &str) -> Result<Option<Vec<u8>>> {
        check_file(file)?;
        let command = format!("udf-get:filename={file}");
        let answer = match self.ask_any(&command).await {
            Ok(answer) => answer,
            Err(Error::Info { message, .. }) if message == "not_found" => return Ok(None),
            Err(error) => return Err(error),
        };
        let content = pairs(&answer, ';').remove("content").unwrap_or_default();
        let source = BASE64.decode(&content).map_err(|_| Error::Info {
            command,
            code: 1,
            message: "its content is not base64".to_owned(),
        })?;
        Ok(Some(source))
    }
}

fn check_file(file: &str) -> Result<()> {
    check_text(&[file])?;
    match file.contains(',') || file.is_empty() {
        false => Ok(()),
        true => Err(Error::Invalid {
            reason: format!("file name {file:?} is empty or holds a comma"),
        }),
    }
}

/// The error of a module that cannot be loaded, in words: the server packs them. The command is cut short, for
/// it holds the whole module.
fn explained(error: Error, file: &str) -> Error {
    let Error::Info { code, message, .. } = error else {
        return error;
    };
    let command = format!("udf-put:filename={file}");
    let told = pairs(&message, ';');
    let unpacked = told.get("message").and_then(|text| {
        let bytes = BASE64.decode(text).ok()?;
        let line = told.get("line").map(String::as_str).unwrap_or("?");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some(format!("{file}:{line}: {text}"))
    });
    let message = unpacked.unwrap_or(message);
    Error::Info {
        command,
        code,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_module_was_refused_is_told_in_words() {
        let packed = BASE64.encode("'end' expected near <eof>");
        let error = Error::Info {
            command: "udf-put:...".into(),
            code: 1,
            message: format!("compile_error;file=a.lua;line=3;message={packed}"),
        };
        let Error::Info { message, .. } = explained(error, "a.lua") else {
            panic!("another error");
        };
        assert_eq!(message, "a.lua:3: 'end' expected near <eof>");
    }

    #[test]
    fn a_list_of_modules_is_read() {
        let list = "filename=a.lua,hash=0a,type=LUA;filename=b.lua,hash=0b,type=LUA;";
        let files: Vec<_> = listed(list).map(|module| module.file).collect();
        assert_eq!(files, ["a.lua", "b.lua"]);
        assert_eq!(listed("").count(), 0);
    }
}
