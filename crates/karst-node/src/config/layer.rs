//! Lays overrides over the file: one tree of values in which every key still knows its origin.
//!
//! The tree is TOML's own, with spans. A span below the file's length is a place in the file; each
//! override owns one position beyond it. So a span alone tells the origin, for serde's errors as
//! well as for our own checks, and no value needs a wrapper.
//!
//! A path names a value by its keys with dots between, elements of arrays by their index:
//! `namespace.0.storage.devices.1.size`. People see `namespace.test.storage.devices[1].size`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::raw::{self, Kind, RawConfig};
use super::{Errors, Inputs};

/// What every variable of ours begins with.
const VARIABLE_PREFIX: &str = "KARST_";

/// Whether an environment variable is meant to override a key: `KARST_<SECTION>__<KEY>`.
pub(super) fn is_override(variable: &str) -> bool {
    variable
        .strip_prefix(VARIABLE_PREFIX)
        .is_some_and(|rest| rest.contains("__"))
}

/// Merges the layers and reads them into the raw structs.
pub(super) fn merge(inputs: &Inputs) -> Result<(RawConfig, Origins), Errors> {
    let overrides = overrides(inputs)?;
    let text = inputs.file.as_ref().map_or("", |(_, text)| text.as_str());
    let mut origins = Origins::new(inputs, &overrides);
    let mut root = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| origins.place(&span));
        let lines = error.message().split('\n').collect::<Vec<_>>().join("; ");
        Errors::one(format!("{}{lines}", place.unwrap_or_default()))
    })?;
    for (at, item) in overrides.iter().enumerate() {
        let position = text.len() + 1 + at;
        item.apply(root.get_mut(), position..position + 1)
            .map_err(|what| Errors::one(format!("{}: {what}", item.origin)))?;
    }
    origins.learn(root.get_ref());
    origins.refuse_unknown_keys()?;
    let config = RawConfig::deserialize(toml::de::Deserializer::from(root))
        .map_err(|error| Errors::one(origins.explain(&error)))?;
    Ok((config, origins))
}

/// One key set from outside the file.
struct Override<'a> {
    /// How an error names it.
    origin: String,
    /// Keys from the root, in lower case except namespace names.
    keys: Vec<String>,
    value: &'a str,
    /// Namespace names are matched without regard to case, as variables are customarily upper case.
    ignore_case: bool,
}

/// Environment first, then `--set`: later ones win.
fn overrides(inputs: &Inputs) -> Result<Vec<Override<'_>>, Errors> {
    let mut environment: Vec<_> = inputs
        .environment
        .iter()
        .filter(|(name, _)| is_override(name))
        .collect();
    environment.sort(); // the order of an environment means nothing; the same one must load the same
    let mut all: Vec<_> = environment
        .into_iter()
        .map(|(name, value)| Override {
            origin: format!("environment {name}"),
            keys: name[VARIABLE_PREFIX.len()..]
                .to_ascii_lowercase()
                .split("__")
                .map(str::to_owned)
                .collect(),
            value,
            ignore_case: true,
        })
        .collect();
    for argument in &inputs.set {
        let Some((key, value)) = argument.split_once('=') else {
            return Err(Errors::one(format!(
                "--set {argument}: write it as SECTION.KEY=VALUE"
            )));
        };
        all.push(Override {
            origin: format!("--set {argument}"),
            keys: key.trim().split('.').map(str::to_owned).collect(),
            value,
            ignore_case: false,
        });
    }
    Ok(all)
}

impl<'a> Override<'a> {
    /// Puts the value into the tree, making the tables on the way.
    fn apply(&self, root: &mut DeTable<'a>, span: Range<usize>) -> Result<(), String> {
        let mut keys = self.keys.iter().map(String::as_str);
        let mut pattern: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let mut table = root;
        if pattern.first() == Some(&"namespace") && pattern.len() > 1 {
            table = self.namespace(table, pattern[1])?;
            pattern[1] = "*";
            keys.nth(1);
        }
        let pattern = pattern.join(".");
        let kind = raw::kind(&pattern).ok_or_else(|| unknown(&pattern))?;
        let value = parse(self.value, kind)?;
        let mut keys = keys.peekable();
        while let Some(key) = keys.next() {
            let key = Spanned::new(span.clone(), Cow::<str>::Owned(key.to_owned()));
            if keys.peek().is_none() {
                table.remove(key.get_ref().as_ref()); // else the old key's span stays
                table.insert(key, respan(value, &span));
                break;
            }
            let slot = table
                .entry(key)
                .or_insert_with(|| Spanned::new(span.clone(), DeValue::Table(DeTable::new())));
            match slot.get_mut() {
                DeValue::Table(next) => table = next,
                other => return Err(format!("cannot be set inside a {}", other.type_str())),
            }
        }
        Ok(())
    }

    /// The table of the namespace of this name.
    fn namespace<'t>(
        &self,
        root: &'t mut DeTable<'a>,
        name: &str,
    ) -> Result<&'t mut DeTable<'a>, String> {
        let known = namespace_names(root);
        let at = known.iter().position(|known| match self.ignore_case {
            true => known.eq_ignore_ascii_case(name),
            false => known == name,
        });
        root.get_mut("namespace")
            .and_then(|spaces| match spaces.get_mut() {
                DeValue::Array(spaces) => spaces.get_mut(at?),
                _ => None,
            })
            .and_then(|space| match space.get_mut() {
                DeValue::Table(space) => Some(space),
                _ => None,
            })
            .ok_or_else(|| match known.is_empty() {
                true => format!("the file has no [[namespace]] called \"{name}\", nor any other"),
                false => format!(
                    "there is no namespace \"{name}\"; there is {}",
                    known.join(", ")
                ),
            })
    }
}

/// The `name` of every `[[namespace]]`, empty where it has none.
fn namespace_names(root: &DeTable<'_>) -> Vec<String> {
    let spaces = root.get("namespace").and_then(|v| v.get_ref().as_array());
    let name = |space: &Spanned<DeValue<'_>>| {
        let name = space.get_ref().as_table()?.get("name")?;
        Some(name.get_ref().as_str()?.to_owned())
    };
    spaces
        .into_iter()
        .flat_map(|spaces| spaces.iter())
        .map(|space| name(space).unwrap_or_default())
        .collect()
}

/// The text of an override as a value of the kind its key takes.
fn parse(text: &str, kind: Kind) -> Result<DeValue<'_>, String> {
    let toml = || {
        DeValue::parse(text.trim())
            .map(Spanned::into_inner)
            .map_err(|error| format!("\"{text}\" is not a TOML value: {}", error.message()))
    };
    match kind {
        Kind::Text if text.starts_with('"') => toml(),
        Kind::Text => Ok(DeValue::String(Cow::Borrowed(text))),
        Kind::Number => toml()
            .ok()
            .filter(DeValue::is_integer)
            .ok_or_else(|| format!("\"{text}\" is not a whole number")),
        Kind::Switch => match text.trim() {
            "true" => Ok(DeValue::Boolean(true)),
            "false" => Ok(DeValue::Boolean(false)),
            _ => Err(format!("\"{text}\" is neither true nor false")),
        },
        Kind::List if !text.trim_start().starts_with('[') => {
            let mut items = DeArray::new();
            for item in text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
            {
                items.push(Spanned::new(0..0, DeValue::String(Cow::Borrowed(item))));
            }
            Ok(DeValue::Array(items))
        }
        Kind::List | Kind::Toml => toml(),
    }
}

/// Gives a value and all inside it one span.
fn respan<'a>(value: DeValue<'a>, span: &Range<usize>) -> Spanned<DeValue<'a>> {
    let value = match value {
        DeValue::Array(items) => {
            let mut respanned = DeArray::new();
            for item in items {
                respanned.push(respan(item.into_inner(), span));
            }
            DeValue::Array(respanned)
        }
        DeValue::Table(entries) => {
            let mut respanned = DeTable::new();
            for (key, value) in entries {
                let key = Spanned::new(span.clone(), key.into_inner());
                respanned.insert(key, respan(value.into_inner(), span));
            }
            DeValue::Table(respanned)
        }
        scalar => scalar,
    };
    Spanned::new(span.clone(), value)
}

fn unknown(pattern: &str) -> String {
    let shown = |pattern: &str| pattern.replace("namespace.*", "namespace.NAME");
    let hint = raw::nearest(pattern)
        .map(|near| format!("; did you mean {}?", shown(&near)))
        .unwrap_or_default();
    format!("there is no key {}{hint}", shown(pattern))
}

/// Where every value of the merged tree was written.
pub(super) struct Origins {
    /// How the file is named in errors.
    file: String,
    /// Offsets at which the file's lines end.
    line_ends: Vec<usize>,
    file_bytes: usize,
    /// The origin of each override, by its position beyond the file.
    overrides: Vec<String>,
    /// Of every path: the key's span and the value's.
    spans: BTreeMap<String, (Range<usize>, Range<usize>)>,
    /// For display: the names of namespaces by their index.
    namespaces: Vec<String>,
}

impl Origins {
    /// Of values that were written nowhere.
    pub(super) fn nowhere() -> Origins {
        Origins::new(&Inputs::default(), &[])
    }

    fn new(inputs: &Inputs, overrides: &[Override<'_>]) -> Origins {
        let (file, text) = match &inputs.file {
            Some((path, text)) => (path.display().to_string(), text.as_str()),
            None => (String::new(), ""),
        };
        Origins {
            file,
            line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
            file_bytes: text.len(),
            overrides: overrides.iter().map(|item| item.origin.clone()).collect(),
            spans: BTreeMap::new(),
            namespaces: Vec::new(),
        }
    }

    /// Notes the spans of a whole tree.
    fn learn(&mut self, root: &DeTable<'_>) {
        self.namespaces = namespace_names(root);
        self.learn_table(root, "");
    }

    fn learn_table(&mut self, table: &DeTable<'_>, path: &str) {
        for (key, value) in table {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key.get_ref());
            self.learn_value(path, key.span(), value);
        }
    }

    fn learn_value(&mut self, path: String, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.learn_table(table, &path),
            DeValue::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.learn_value(format!("{path}.{at}"), item.span(), item);
                }
            }
            _ => {}
        }
        self.spans.insert(path, (key, value.span()));
    }

    /// Every path must be a key, lead to one, or be an element of a list. Of an unknown table only
    /// the table itself is named.
    fn refuse_unknown_keys(&self) -> Result<(), Errors> {
        let known = |pattern: &str| raw::leads_to_key(pattern) || raw::is_list_element(pattern);
        let lines: Vec<_> = self
            .spans
            .iter()
            .map(|(path, (key, _))| (pattern_of(path), key))
            .filter(|(pattern, _)| !known(pattern))
            .filter(|(pattern, _)| pattern.rsplit_once('.').is_none_or(|(up, _)| known(up)))
            .map(|(pattern, key)| format!("{}{}", self.place(key), unknown(&pattern)))
            .collect();
        match lines.is_empty() {
            true => Ok(()),
            false => Err(Errors { lines }),
        }
    }

    /// An error of serde as a line of ours.
    fn explain(&self, error: &toml::de::Error) -> String {
        let span = error.span().unwrap_or_default();
        let holds = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        // The deepest path is the one whose span is the narrowest.
        let path = self
            .spans
            .iter()
            .flat_map(|(path, (key, value))| [(path, key), (path, value)])
            .filter(|(_, range)| holds(range))
            .min_by_key(|(_, range)| range.len())
            .map(|(path, _)| format!("{}: ", self.shown(path)));
        let message = error.message().replace('`', "");
        format!("{}{}{message}", self.place(&span), path.unwrap_or_default())
    }

    /// Where a span was written, as the start of an error line.
    fn place(&self, span: &Range<usize>) -> String {
        if let Some(at) = span.start.checked_sub(self.file_bytes + 1)
            && let Some(origin) = self.overrides.get(at)
        {
            return format!("{origin}: ");
        }
        let line = 1 + self.line_ends.partition_point(|end| *end < span.start);
        format!("{}:{line}: ", self.file)
    }

    /// An error line about `path`. What was never written is named by what would hold it.
    pub(super) fn line(&self, path: &str, what: &str) -> String {
        let mut written = path;
        let place = loop {
            if let Some((key, _)) = self.spans.get(written) {
                break self.place(key);
            }
            match written.rsplit_once('.') {
                Some((parent, _)) => written = parent,
                None if self.file.is_empty() => break String::new(),
                None => break format!("{}: ", self.file),
            }
        };
        format!("{place}{}: {what}", self.shown(path))
    }

    /// A path as people write it.
    fn shown(&self, path: &str) -> String {
        let mut shown = String::new();
        let mut previous = "";
        for key in path.split('.') {
            let name = key
                .parse()
                .ok()
                .and_then(|at: usize| self.namespaces.get(at));
            match (previous, name) {
                ("namespace", Some(name)) if !name.is_empty() => {
                    shown.push_str(&format!(".{name}"))
                }
                _ if !previous.is_empty() && key.parse::<usize>().is_ok() => {
                    shown.push_str(&format!("[{key}]"));
                }
                ("", _) => shown.push_str(key),
                _ => shown.push_str(&format!(".{key}")),
            }
            previous = key;
        }
        shown
    }
}

/// A path in the notation of the list of keys.
fn pattern_of(path: &str) -> String {
    let keys: Vec<&str> = path
        .split('.')
        .map(|key| match key.bytes().all(|byte| byte.is_ascii_digit()) {
            true => "*",
            false => key,
        })
        .collect();
    keys.join(".")
}
