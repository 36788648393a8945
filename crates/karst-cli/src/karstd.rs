//! The node's binary, for the verbs that run it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// Names the binary when it is not beside ours.
const VARIABLE: &str = "KARSTD";

/// Where `karstd` is: `$KARSTD`, else in the folder of this executable.
pub(crate) fn find() -> Outcome<PathBuf> {
    let own =
        std::env::current_exe().map_err(|error| Failure::failed(format!("where am I? {error}")))?;
    find_from(std::env::var_os(VARIABLE).as_deref(), &own)
}

fn find_from(variable: Option<&OsStr>, own: &Path) -> Outcome<PathBuf> {
    let beside = own.with_file_name("karstd");
    let (path, source) = match variable.filter(|value| !value.is_empty()) {
        Some(value) => (PathBuf::from(value), format!("${VARIABLE}")),
        None => (beside, format!("beside {}", own.display())),
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure::failed(format!(
            "there is no karstd at {} ({source}); set ${VARIABLE} to its path",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn karstd_is_found_by_its_variable_or_beside_us() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("karst");
        let message =
            |outcome: Outcome<PathBuf>| outcome.unwrap_err().message().unwrap().to_owned();
        assert!(message(find_from(None, &own)).contains("beside"));
        let beside = folder.path().join("karstd");
        std::fs::write(&beside, "").unwrap();
        assert_eq!(find_from(None, &own), Ok(beside.clone()));
        assert_eq!(find_from(Some(OsStr::new("")), &own), Ok(beside));
        let elsewhere = folder.path().join("other");
        let missing = find_from(Some(elsewhere.as_os_str()), &own);
        assert!(message(missing).contains("$KARSTD"));
    }
}
