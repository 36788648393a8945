//! What the house is built like, as failing tests instead of memories: which crate may use which, where
//! `unsafe` and tokio live, what lies at the top of the repository, what must not be committed.
//!
//! Looks at the files that git tracks or would track, and at `cargo metadata`; changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use karst_tests::binary::repository;
use serde_json::Value;

/// Which of our crates a crate may use, in tests too. One that is not listed has no place yet.
const STAIRS: &[(&str, &[&str])] = &[
    ("karst-data", &[]),
    ("karst-io", &[]),
    ("karst-proto", &[]),
    ("karst-wire", &["karst-data"]),
    ("karst-cluster", &["karst-data"]),
    ("karst-storage", &["karst-data", "karst-io"]),
    (
        "karst-engine",
        &["karst-data", "karst-io", "karst-storage", "karst-cluster"],
    ),
    (
        "karst-sim",
        &[
            "karst-data",
            "karst-io",
            "karst-storage",
            "karst-cluster",
            "karst-engine",
        ],
    ),
    (
        "karst-node",
        &[
            "karst-data",
            "karst-io",
            "karst-storage",
            "karst-cluster",
            "karst-engine",
            "karst-wire",
            "karst-proto",
        ],
    ),
    ("karst-client", &["karst-data", "karst-wire"]),
    ("karst-cli", &["karst-client", "karst-data", "karst-proto"]),
];

/// The package of tests knocks on every room.
const TESTS: &str = "karst-tests";

/// Crates that may have a runtime of their own.
const WITH_TOKIO: &[&str] = &["karst-node", "karst-client", "karst-cli", TESTS];

/// The one that may wait for its ring on somebody else's, if that one asks for it.
const WITH_OPTIONAL_TOKIO: &str = "karst-io";

/// Where `unsafe` may be written.
const UNSAFE_HOMES: &[&str] = &["crates/karst-io/", "crates/karst-storage/src/index/"];

/// This file, which quotes what it looks for.
const THIS: &str = "tests/tidy.rs";

/// What may lie at the top of the repository, beside dotfiles that configure tools.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "crates",
    "deploy",
    "docs",
    "proto",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "tests",
];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Where the crates that we use come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The packages of the workspace, by name, with their declared dependencies.
fn packages() -> BTreeMap<String, Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(repository())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let list = metadata["packages"]
        .as_array()
        .expect("packages are a list")
        .clone();
    list.into_iter()
        .map(|package| (string(&package["name"]), package))
        .collect()
}

fn dependencies(package: &Value) -> &[Value] {
    package["dependencies"]
        .as_array()
        .expect("dependencies are a list")
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Every file that is tracked, or would be if it were added, by its path from the root.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(repository())
        .output()
        .expect("git can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let here = |path: &&str| repository().join(path).is_file(); // it may be deleted but not yet staged
    text.split_terminator('\0')
        .filter(here)
        .map(str::to_owned)
        .collect()
}

/// The text of a file; `None` for one that is not text.
fn text(path: &str) -> Option<String> {
    let bytes = fs::read(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(bytes).ok()
}

/// Every line of every file whose path is `wanted`, without what matches nothing: `path:line: text`.
fn lines_where(wanted: impl Fn(&str) -> bool, wrong: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| wanted(path)) {
        for (number, line) in text(&path).unwrap_or_default().lines().enumerate() {
            if wrong(&path, line) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn none(found: Vec<String>, why: &str) {
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

/// A line without its comment. Good enough for lines that hold no `//` in a string before code.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether a line of code opens an unsafe block, function, trait, impl, extern or attribute.
fn opens_unsafe(line: &str) -> bool {
    const OPENED: [&str; 6] = ["{", "fn ", "impl", "trait ", "extern", "("];
    let code = code(line);
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].trim_start();
        let is_a_word = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_');
        is_a_word && (after.is_empty() || OPENED.iter().any(|opened| after.starts_with(opened)))
    })
}

#[test]
fn crates_use_only_what_their_own_stairs_lead_down_to() {
    let stairs: BTreeMap<&str, &[&str]> = STAIRS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, package) in packages().iter().filter(|(name, _)| *name != TESTS) {
        let Some(allowed) = stairs.get(name.as_str()) else {
            wrong.push(format!("{name} has no place in the table"));
            continue;
        };
        for used in dependencies(package)
            .iter()
            .map(|used| string(&used["name"]))
        {
            if used.starts_with("karst-") && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}"));
            }
        }
    }
    none(
        wrong,
        "docs/architecture.md draws the stairs; these do not follow them",
    );
}

#[test]
fn the_table_of_stairs_leads_only_down() {
    for (at, (name, allowed)) in STAIRS.iter().enumerate() {
        for used in *allowed {
            let below = STAIRS.iter().position(|(other, _)| other == used);
            assert!(
                below.is_some_and(|below| below < at),
                "{name} may use {used}, which is not below it"
            );
        }
    }
}

#[test]
fn only_doors_and_the_client_have_a_runtime() {
    let mut wrong = Vec::new();
    for (name, package) in packages() {
        for used in dependencies(&package)
            .iter()
            .filter(|used| is_runtime(&string(&used["name"])))
        {
            let lent = name == WITH_OPTIONAL_TOKIO && used["optional"] == true;
            if !lent && !WITH_TOKIO.contains(&name.as_str()) {
                wrong.push(format!("{name} uses {}", string(&used["name"])));
            }
        }
    }
    none(
        wrong,
        "a crate that decides must not be able to wait, spawn or open a socket",
    );
}

fn is_runtime(name: &str) -> bool {
    ["tokio", "async-std", "smol", "mio"].contains(&name) || name.starts_with("tokio-")
}

#[test]
fn folders_are_named_as_their_crates_and_say_what_is_inside() {
    for (name, package) in packages() {
        let manifest = string(&package["manifest_path"]);
        let folder = Path::new(&manifest)
            .parent()
            .and_then(Path::file_name)
            .expect("a folder");
        assert!(
            name == TESTS || *folder == *name,
            "{name} lies in {manifest}"
        );
        let last = name.trim_start_matches("karst-");
        assert!(
            !EMPTY_NAMES.contains(&last),
            "{name}: name it after what it does"
        );
    }
}

#[test]
fn every_package_takes_the_lints_of_the_workspace() {
    let manifest =
        |path: &&String| path.ends_with("/Cargo.toml") && !path.starts_with("tests/fuzz/");
    for path in files().iter().filter(manifest) {
        let manifest: toml::Table = text(path).expect("text").parse().expect("TOML");
        let takes = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        assert_eq!(
            takes.and_then(toml::Value::as_bool),
            Some(true),
            "{path}: add `[lints] workspace = true`"
        );
    }
}

#[test]
fn unsafe_is_written_only_where_it_may_be() {
    let at_home = |path: &str| UNSAFE_HOMES.iter().any(|home| path.starts_with(home));
    let elsewhere = |path: &str| is_rust(path) && path != THIS && !at_home(path);
    let found = lines_where(elsewhere, |_, line| opens_unsafe(line));
    none(
        found,
        &format!("`unsafe` belongs into {UNSAFE_HOMES:?} alone"),
    );
}

#[test]
fn unsafe_is_recognised_in_code_and_not_in_prose() {
    for line in [
        "unsafe { f() }",
        "    let x = unsafe { f() };",
        "unsafe impl Send for X {}",
        "pub unsafe fn f() {}",
        "#[unsafe(no_mangle)]",
        "unsafe extern \"C\" {}",
        "let x = unsafe",
    ] {
        assert!(opens_unsafe(line), "{line}");
    }
    for line in [
        "// unsafe { f() }",
        "//! unsafe fn",
        "#![forbid(unsafe_code)]",
        "unsafe_op_in_unsafe_fn = 1",
    ] {
        assert!(!opens_unsafe(line), "{line}");
    }
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let manifest = text("Cargo.toml").expect("the root manifest is text");
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("dependencies are listed");
    let section = section.split("\n[").next().expect("a first part");
    let listed = section
        .lines()
        .filter(|line| line.contains('=') && !line.starts_with('#'));
    let theirs = listed.filter(|line| !line.starts_with("karst-"));
    let reason = |line: &&str| {
        line.rsplit_once(" # ")
            .is_some_and(|(_, reason)| reason.len() > 10)
    };
    let silent = theirs
        .filter(|line| !reason(line))
        .map(str::to_owned)
        .collect();
    none(
        silent,
        "add the reason behind the dependency, ` # like this`",
    );
}

#[test]
fn the_root_manifest_lists_every_dependency_once_for_all() {
    let mut wrong = Vec::new();
    for path in files()
        .iter()
        .filter(|path| path.starts_with("crates/") && path.ends_with("/Cargo.toml"))
    {
        let manifest: toml::Table = text(path).expect("text").parse().expect("TOML");
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(toml::Value::as_table);
            for (name, used) in table.into_iter().flatten() {
                if used.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    wrong.push(format!("{path}: {name}"));
                }
            }
        }
    }
    none(
        wrong,
        "versions are chosen in the root manifest, with their reason; take them with `.workspace = true`",
    );
}

#[test]
fn the_top_of_the_repository_fits_one_screen() {
    let top: BTreeSet<_> = files()
        .iter()
        .map(|path| path.split('/').next().unwrap_or_default().to_owned())
        .collect();
    let strangers = top
        .into_iter()
        .filter(|entry| !entry.starts_with('.') && !TOP.contains(&entry.as_str()));
    none(
        strangers.collect(),
        "these have no place at the top of the repository",
    );
}

#[test]
fn nothing_of_the_machine_that_built_it_is_committed() {
    // Put together here, so that this file does not find itself.
    let traces = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["artif", "actory"],
        ["/tmp/", "k1"],
    ]
    .map(|parts| parts.concat());
    let found = lines_where(
        |_| true,
        |_, line| traces.iter().any(|trace| line.contains(trace.as_str())),
    );
    none(
        found,
        "paths and hosts of one machine mean nothing on another",
    );
}

#[test]
fn crates_come_from_the_public_registry() {
    let lock = text("Cargo.lock").expect("the lock file is text");
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let strange = sources
        .filter(|source| source.trim_matches('"') != REGISTRY)
        .map(str::to_owned);
    none(strange.collect(), "every dependency comes from crates.io");
}

#[test]
fn nothing_is_left_to_be_done_at_run_time() {
    let stubs =
        [["to", "do!("], ["unimple", "mented!("], ["db", "g!("]].map(|parts| parts.concat());
    let found = lines_where(is_rust, |_, line| {
        stubs.iter().any(|stub| code(line).contains(stub.as_str()))
    });
    none(found, "finish these or take them out");
}

#[test]
fn every_channel_has_a_bound() {
    let unbounded = ["unbounded_", "channel("].concat();
    let crates = |path: &str| is_rust(path) && path.starts_with("crates/");
    let found = lines_where(crates, |_, line| code(line).contains(unbounded.as_str()));
    none(found, "a channel without a bound grows until memory ends");
}
