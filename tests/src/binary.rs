//! Where the programs under test are. They are built beforehand, by `cargo build --workspace`: a test
//! that builds would measure something else than what was built.

use std::path::{Path, PathBuf};

/// The `karstd` to test: the environment's `KARSTD`, else the one of the profile that this test was
/// built in.
///
/// # Panics
/// When there is none, with what to do about it.
pub fn karstd() -> PathBuf {
    find("karstd", "KARSTD")
}

/// The `karst` to test: the environment's `KARST`, else the one of this test's profile.
///
/// # Panics
/// When there is none, with what to do about it.
pub fn karst() -> PathBuf {
    find("karst", "KARST")
}

fn find(program: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{variable} names {}, which is no file",
            path.display()
        );
        return path;
    }
    let path = profile_folder().join(program);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace` first, or set {variable}",
        path.display()
    );
    path
}

/// The folder of the profile, such as `target/debug`: cargo puts tests into its `deps`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let deps = test.parent().expect("a test lies in a folder");
    match deps.file_name().is_some_and(|name| name == "deps") {
        true => deps
            .parent()
            .expect("`deps` lies in a profile's folder")
            .to_owned(),
        false => deps.to_owned(),
    }
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in the repository")
}
