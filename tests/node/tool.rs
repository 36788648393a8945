//! The tool `karst` on data: queries, secondary indexes, functions.

use std::process::{Command, Output};

use karst_tests::{Namespace, Server, ServerSpec, binary};
use serde_json::{Value, json};

fn karst(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::karst());
    command.args(["--host", &server.admin().to_string()]);
    command.args(arguments).output().expect("karst can be run")
}

/// The JSON lines that it prints.
fn lines(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let output = karst(server, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("lines are JSON")
}

/// What is said when it fails.
fn refusal(server: &Server, arguments: &[&str], code: i32) -> String {
    let output = karst(server, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

fn names(mut found: Vec<Value>) -> Vec<String> {
    found.sort_by_key(|line| line["name"].to_string());
    let name = |line: &Value| line["name"].as_str().expect("all have a name").to_owned();
    found.iter().map(name).collect()
}

#[test]
fn the_tool_queries_by_conditions_and_by_indexes() {
    let server = ServerSpec::new()
        .namespace(Namespace::memory("test"))
        .start();
    let people = [
        ("ada", "36", "[\"math\",\"verse\"]"),
        ("bob", "17", "[\"math\"]"),
        ("cyd", "52.5", "[]"),
    ];
    for (name, age, tags) in people {
        let bins = [("name", name), ("age", age), ("tags", tags)];
        let bins = bins.map(|(bin, value)| format!("{bin}={value}"));
        let mut arguments = vec!["put", "--set", "users", name];
        arguments.extend(bins.iter().map(String::as_str));
        assert!(karst(&server, &arguments).status.success());
    }
    let query = |conditions: &[&str]| {
        let head = ["query", "--set", "users"];
        names(lines(&server, &[&head, conditions].concat()))
    };
    assert_eq!(query(&[]), ["ada", "bob", "cyd"]);
    assert_eq!(query(&["age>=18"]), ["ada", "cyd"]);
    assert_eq!(query(&["age>=18", "name!=cyd"]), ["ada"]);
    assert_eq!(query(&["age=52.5"]), ["cyd"]);
    assert_eq!(query(&["age=null"]), [""; 0]);

    let create = ["index", "create", "--set", "users", "--json"];
    let by_age = server.karst(&[&create[..], &["by_age", "--bin", "age"]].concat());
    assert_eq!(by_age, json!({ "created": true, "built": true }));
    let of_tags = [
        "by_tag",
        "--bin",
        "tags",
        "--type",
        "string",
        "--elements",
        "list",
    ];
    server.karst(&[&create[..], &of_tags].concat());
    assert_eq!(query(&["--index", "by_age", "age>=18"]), ["ada"]); // doubles are in no index
    assert_eq!(query(&["--index", "by_age", "age<99", "name=bob"]), ["bob"]);
    assert_eq!(query(&["--index", "by_tag", "tags=math"]), ["ada", "bob"]);
    let head = ["query", "--set", "users", "--index"];
    refusal(&server, &[&head[..], &["by_age", "name=ada"]].concat(), 2);
    refusal(&server, &[&head[..], &["nobody", "age>1"]].concat(), 1);

    let listed = server.karst(&["index", "list", "--json"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    let shown = server.karst(&["index", "show", "by_tag", "--json"]);
    assert_eq!(shown["elements"], "list");
    let nodes = shown["nodes"].as_object().expect("an object of nodes");
    assert!(nodes.values().all(|node| node["load_pct"] == "100"));
    let table = karst(&server, &["index", "show", "by_tag"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("100%"));
    server.karst(&["index", "drop", "by_tag", "--json"]);
    let said = refusal(&server, &["index", "drop", "by_tag"], 1);
    assert!(said.contains("no index by_tag"), "{said}");
}

#[test]
fn the_tool_keeps_modules_and_runs_functions() {
    let server = ServerSpec::new()
        .namespace(Namespace::memory("test"))
        .start();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("sums.lua");
    std::fs::write(&file, "function sum(rec, a, b) return a + b end\n").expect("it takes files");
    let file = file.to_str().expect("a plain path");
    let put = server.karst(&["udf", "put", file, "--json"]);
    assert_eq!(put, json!({ "registered": "sums.lua" }));
    let listed = server.karst(&["udf", "list", "--json"]);
    assert_eq!(listed[0]["name"], "sums.lua");
    let shown = karst(&server, &["udf", "show", "sums.lua"]);
    assert!(shown.stdout.starts_with(b"function sum"));
    let sum = lines(&server, &["udf", "apply", "key", "sums", "sum", "40", "2"]);
    assert_eq!(sum, [json!(42)]);
    let failed = refusal(&server, &["udf", "apply", "key", "sums", "none"], 1);
    assert!(failed.contains("function not found"), "{failed}");
    server.karst(&["udf", "remove", "sums.lua", "--json"]);
    refusal(&server, &["udf", "show", "sums.lua"], 1);
}
