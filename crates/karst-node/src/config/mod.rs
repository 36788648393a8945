//! The node's configuration: layers of text on one side, checked values on the other.
//!
//! ```text
//! file ---------+
//! environment --+-> layer: one tree, every key with its origin -> raw: serde -> check -> Config
//! --set --------+                                                                          |
//!                              the same text format again <- print <-----------------------+
//! ```
//!
//! Later layers win: defaults, then the file, then `KARST_*` variables, then `--set`. Code outside
//! this folder sees only [`Config`]; its values have been checked and can be relied on.
//!
//! Invariants
//!   a key that nobody reads is an error, never ignored; so is a value that asks for what this
//!   version does not have
//!   every error names the key and where it was written: file and line, variable, or argument
//!   what [`Config::to_toml`] prints loads back to an equal [`Config`]
//!
//! Loading opens no device and creates nothing: whether a path exists is the business of boot.

mod check;
mod checked;
mod layer;
mod live;
mod print;
mod quantity;
mod raw;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

pub use checked::{
    Advertise, Cluster, Compression, Config, Device, Door, Engine, HostPort, IoChoice, Life, Log,
    LogFormat, Mode, Namespace, Node, Service, SetLife, Storage,
};
pub use live::{LifeChange, SetChange};

/// Largest configuration file that is read, in bytes: far above any real one, far below what hurts.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything a configuration is made from, so that loading itself is a pure function.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Path and text of the configuration file.
    pub file: Option<(PathBuf, String)>,
    /// The process environment; variables that are not `KARST_<SECTION>__<KEY>` are skipped.
    pub environment: Vec<(String, String)>,
    /// Arguments of `--set`, each `SECTION.KEY=VALUE`, in order; later ones win.
    pub set: Vec<String>,
    /// Names the node when nothing else does.
    pub host_name: String,
}

/// Loads the configuration of this process: `path`, its environment, then `set`.
///
/// # Errors
///
/// Every problem found, each with the key and where it was written.
pub fn load(path: Option<&Path>, set: &[String]) -> Result<Config, Errors> {
    let file = path
        .map(|path| Ok((path.to_owned(), read_file(path)?)))
        .transpose()?;
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| layer::is_override(name))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(Errors::one(format!(
                "environment {name}: the value is not UTF-8"
            ))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    from_inputs(&Inputs {
        file,
        environment,
        set: set.to_vec(),
        host_name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    })
}

/// Merges and checks the layers. Pure: equal inputs give equal results.
///
/// # Errors
///
/// Every problem found, each with the key and where it was written.
pub fn from_inputs(inputs: &Inputs) -> Result<Config, Errors> {
    let (raw, origins) = layer::merge(inputs)?;
    check::check(&raw, &origins, &inputs.host_name)
}

fn read_file(path: &Path) -> Result<String, Errors> {
    use std::io::Read as _;
    let refuse = |what: String| Errors::one(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(refuse(format!(
            "larger than {FILE_BYTES_MAX} bytes, which is no configuration file"
        )));
    }
    Ok(text)
}

/// What is wrong with a configuration, one line a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Errors {
    lines: Vec<String>,
}

impl Errors {
    fn one(line: String) -> Errors {
        Errors { lines: vec![line] }
    }

    /// Each problem as one line: where it was written, the key, what is wrong and what would be right.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}
