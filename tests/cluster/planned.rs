//! What is done to a cluster on purpose, while an application uses it by the official Python client with the
//! policies that it has if nobody sets any: no request fails, none is answered wrongly.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use karst_tests::server::Server;
use karst_tests::venv;
use serde_json::Value;

use crate::data::{wait_until_held_twice, wait_until_stable};
use crate::group::{all_serve, formed, seeds, spec};
use crate::operate::drain;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long the application runs before and after what happens.
const AROUND: Duration = Duration::from_millis(500);

/// A running `planned.py`.
struct Application {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Application {
    fn start(servers: &[&Server]) -> Application {
        let hosts: Vec<_> = servers.iter().map(|it| it.service().to_string()).collect();
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/planned.py");
        let mut child = Command::new(venv::python())
            .arg(program)
            .env("KARST_HOSTS", hosts.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the environment's python can be run");
        let output = child.stdout.take().expect("its output is piped");
        let mut application = Application {
            child,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        let read = application.output.read_line(&mut line);
        read.expect("its output is UTF-8");
        assert_eq!(line, "ready\n");
        application
    }

    /// Lets it end, and demands that nothing went wrong. Returns how many records there are.
    fn end(mut self, what: &str) -> u64 {
        drop(self.child.stdin.take());
        let mut text = String::new();
        let read = self.output.read_to_string(&mut text);
        read.expect("its output is UTF-8");
        let told: Value = serde_json::from_str(&text).expect("it prints JSON");
        println!("{what}: {told}");
        let count = |field: &str| told[field].as_u64().expect("a number");
        assert!(count("writes") > 0 && count("reads") > 0 && count("deletes") > 0);
        for field in ["errors", "wrong"] {
            assert_eq!(told[field], Value::Array(vec![]), "{what}: {field}");
        }
        count("records")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended by itself, if all went well
        let _ = self.child.wait();
    }
}

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

/// Runs the application while something is done to three nodes, and compares all copies afterwards.
fn is_not_noticed(what: &str, names: &[&str], done: impl FnOnce(&mut Vec<Server>)) {
    let mut servers = formed(&NAMES);
    all_serve(&refs(&servers), &NAMES);
    wait_until_stable(&refs(&servers));
    let application = Application::start(&refs(&servers));
    let began = Instant::now();
    std::thread::sleep(AROUND);
    done(&mut servers);
    std::thread::sleep(AROUND);
    let records = application.end(&format!("{what}, {:?}", began.elapsed()));
    let all = refs(&servers);
    all_serve(&all, names);
    wait_until_stable(&all);
    wait_until_held_twice(&all, records);
}

fn settle(servers: &[Server]) {
    all_serve(&refs(servers), &NAMES);
    wait_until_stable(&refs(servers));
}

fn drained_and_restarted(servers: &mut [Server], at: usize) {
    drain(servers, at);
    servers[at].stop();
    servers[at].restart();
    servers[at].karst(&["drain", NAMES[at], "--undo", "--json"]);
    settle(servers);
}

/// One node; with `KARST_LONG=1` each of them, one after the other.
#[test]
fn the_official_python_client_does_not_notice_nodes_that_are_drained_stopped_and_started_again() {
    let nodes = match std::env::var_os("KARST_LONG") {
        Some(_) => NAMES.len(),
        None => 1,
    };
    let what = format!("drain, stop, start again, {nodes} of three nodes");
    is_not_noticed(&what, &NAMES, |servers| {
        (0..nodes).for_each(|at| drained_and_restarted(servers, at));
    });
}

#[test]
fn the_official_python_client_does_not_notice_a_rolling_restart() {
    is_not_noticed("rolling restart by SIGTERM alone", &NAMES, |servers| {
        for at in 0..NAMES.len() {
            servers[at].stop();
            servers[at].restart();
            settle(servers);
        }
    });
}

#[test]
fn the_official_python_client_does_not_notice_a_node_that_joins() {
    let names = ["a", "b", "c", "d"];
    is_not_noticed("a fourth node", &names, |servers| {
        let joins = spec("d", 3).set("cluster", "seeds", &seeds(servers));
        servers.push(joins.start());
        let all = refs(servers);
        all_serve(&all, &names);
        wait_until_stable(&all);
    });
}
