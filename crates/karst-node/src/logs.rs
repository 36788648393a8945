//! The log: where its lines go, and which of them. There is one in a process.

use std::io::IsTerminal;
use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// How lines are chosen, and by what since when.
static CHOICE: OnceLock<Choice> = OnceLock::new();

struct Choice {
    filter: Mutex<String>,
    choose: Choose,
}

type Choose = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Why another filter was not taken.
#[derive(Debug, thiserror::Error)]
#[error("the log takes no other filter")]
pub struct NotTaken;

/// Starts the log of the process, unless it has one.
pub fn start(config: &Log) {
    let filter = EnvFilter::try_new(filters(&config.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    let (started, choose): (bool, Choose) = match config.format {
        LogFormat::Text => {
            let logs = logs.with_target(false).with_filter_reloading();
            let handle = logs.reload_handle();
            let choose = move |filter: EnvFilter| handle.reload(filter).is_ok();
            (logs.try_init().is_ok(), Box::new(choose))
        }
        LogFormat::Json => {
            let logs = logs.json().with_filter_reloading();
            let handle = logs.reload_handle();
            let choose = move |filter: EnvFilter| handle.reload(filter).is_ok();
            (logs.try_init().is_ok(), Box::new(choose))
        }
    };
    if started {
        let filter = Mutex::new(config.level.clone());
        let _ = CHOICE.set(Choice { filter, choose }); // whoever started the log is the first
    }
}

/// The filter that is in force; that of the configuration if there is no log.
pub fn filter(config: &Log) -> String {
    let choice = CHOICE.get();
    choice.map_or_else(
        || config.level.clone(),
        |choice| choice.filter.lock().clone(),
    )
}

/// Chooses lines by another filter from now on.
///
/// # Errors
/// When there is no log, or it is no filter.
pub fn set_filter(filter: &str) -> Result<(), NotTaken> {
    let choice = CHOICE.get().ok_or(NotTaken)?;
    let made = EnvFilter::try_new(filters(filter)).map_err(|_| NotTaken)?;
    let mut kept = choice.filter.lock();
    if !(choice.choose)(made) {
        return Err(NotTaken);
    }
    filter.clone_into(&mut kept);
    Ok(())
}

/// The filters of the log. openraft says each step of an election at the level of our own few lines: it is
/// heard from `warn` on, unless the configuration names it.
fn filters(level: &str) -> String {
    match level {
        "off" | "error" => level.to_owned(),
        named if named.contains("openraft") => named.to_owned(),
        others => format!("openraft=warn,{others}"),
    }
}
