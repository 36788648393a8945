//! The seccomp profile: the default of the Docker Engine for a process without capabilities, and io_uring.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::files::{list, string, strings, text};

/// What the profile is for.
const RING: [&str; 3] = ["io_uring_enter", "io_uring_register", "io_uring_setup"];

/// See the file's own first lines.
const DOCKER_DEFAULT: &str = include_str!("docker-default-syscalls.txt");

fn profile() -> Value {
    serde_json::from_str(&text("seccomp.json")).expect("the profile is JSON")
}

fn allowed(profile: &Value) -> Vec<&str> {
    let rules = list(&profile["syscalls"]).iter();
    let rules = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    rules.flat_map(|rule| strings(&rule["names"])).collect()
}

#[test]
fn it_allows_io_uring_and_else_nothing_beyond_the_engines_default() {
    let lines = DOCKER_DEFAULT.lines().filter(|line| !line.starts_with('#'));
    let default: BTreeSet<&str> = lines.flat_map(str::split_whitespace).collect();
    let profile = profile();
    let names = allowed(&profile);
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(distinct.len(), names.len(), "a call is allowed twice");
    let beyond: Vec<&str> = distinct.difference(&default).copied().collect();
    assert_eq!(beyond, RING);
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn what_the_default_binds_to_arguments_is_bound_here() {
    let profile = profile();
    for name in ["clone", "socket"] {
        let rules = list(&profile["syscalls"]).iter();
        let mut rules = rules.filter(|rule| strings(&rule["names"]).contains(&name));
        assert!(
            rules.all(|rule| !list(&rule["args"]).is_empty()),
            "{name} is allowed with any argument"
        );
    }
}

/// Docker alone knows rules that count only with a capability or on an architecture: others ignore the condition and
/// would allow what it guards.
#[test]
fn it_has_no_conditions_that_other_runtimes_do_not_know() {
    const KNOWN: [&str; 5] = ["names", "action", "args", "errnoRet", "comment"];
    let profile = profile();
    let top = profile.as_object().expect("an object").keys();
    assert_eq!(
        top.collect::<Vec<_>>(),
        ["architectures", "defaultAction", "syscalls"]
    );
    for rule in list(&profile["syscalls"]) {
        let keys = rule.as_object().expect("an object").keys();
        for key in keys {
            assert!(
                KNOWN.contains(&key.as_str()),
                "{key} in the rule for {}",
                rule["names"]
            );
        }
        string(&rule["action"]);
    }
}
