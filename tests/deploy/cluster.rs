//! Three nodes in containers, from the image to the end: what the compose file promises, done.
//!
//! Runs with `KARST_DEPLOY=1` where there are a container engine and `docker-compose`, and says so where it does
//! not. It compiles static binaries first, of the profile that `KARST_DEPLOY_PROFILE` names (`dev`, if it names none):
//! minutes, unless they are there already. Containers, network, volumes and image are removed at the end, whatever
//! came of it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use aerospike::{Bin, Bins, Client, ClientPolicy, Key, ReadPolicy, Value, WritePolicy};
use karst_tests::binary::{karst, repository};
use serde_json::Value as Json;

use crate::files::{path, printed, text};

/// How long the nodes may take to agree on something, on a machine that does other things too.
const AGREE_MAX: Duration = Duration::from_secs(90);

/// How long one record may be out of reach while the cluster finds out that a node is gone.
const REACH_MAX: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(200);

/// Records in each of the two halves.
const RECORDS: usize = 300;

const NAMES: [&str; 3] = ["karst1", "karst2", "karst3"];

/// A running compose project and everything that belongs to it.
struct Project {
    name: String,
    image: String,
    /// Ports on this machine: clients, then admin, node by node.
    ports: [u16; 6],
    began: Instant,
}

impl Project {
    /// Builds the image.
    fn build() -> Project {
        let name = format!("karst-test-{}", std::process::id());
        let project = Project {
            image: format!("{name}:local"),
            name,
            ports: free_ports(),
            began: Instant::now(),
        };
        let profile = std::env::var("KARST_DEPLOY_PROFILE");
        let mut build = Command::new(repository().join("scripts/image"));
        build.args([&project.image, &profile.unwrap_or_else(|_| "dev".into())]);
        ran(&mut build);
        project.say("the image is built, from scratch");
        project
    }

    fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// A `docker-compose` command on it, with these variables besides its own.
    fn compose(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", &self.name]).args(arguments);
        // Where the file's own comment tells people to be.
        command
            .current_dir(path(""))
            .env("KARST_IMAGE", &self.image);
        command.env("KARST_DEVICE_SIZE", "64MiB");
        for node in 0..3 {
            let (client, admin) = (self.ports[node], self.ports[3 + node]);
            command.env(format!("KARST_PORT_{}", node + 1), client.to_string());
            command.env(format!("KARST_ADMIN_PORT_{}", node + 1), admin.to_string());
        }
        command.envs(variables.iter().copied());
        command.output().expect("docker-compose can be run")
    }

    fn up(&self, services: &[&str], variables: &[(&str, &str)]) {
        let arguments = [&["up", "--detach", "--no-build", "--no-deps"], services].concat();
        printed(&self.compose(&arguments, variables));
    }

    fn container(&self, service: &str) -> String {
        let listed = printed(&self.compose(&["ps", "--all", "--quiet", service], &[]));
        let id = listed.trim().to_owned();
        assert!(!id.is_empty(), "{service} has a container");
        id
    }

    /// What the engine says of a container, as a Go template asks for it.
    fn inspect(&self, service: &str, what: &str) -> String {
        let mut command = Command::new("docker");
        command.args(["inspect", "--format", what, &self.container(service)]);
        ran(&mut command).trim().to_owned()
    }

    /// Addresses of the three on their own network.
    fn addresses(&self) -> [String; 3] {
        let what = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        NAMES.map(|name| self.inspect(name, what))
    }

    /// `karst status` of one node, asked from outside; `None` while it does not answer.
    fn status(&self, node: usize) -> Option<Json> {
        let admin = format!("127.0.0.1:{}", self.ports[3 + node]);
        let mut command = Command::new(karst());
        command.args(["--host", &admin, "status", "--json"]);
        let output = command.output().expect("karst can be run");
        let answered = output.status.success();
        answered.then(|| serde_json::from_slice(&output.stdout).expect("karst prints JSON"))
    }

    /// Waits until what a node says of the cluster pleases; returns it.
    fn until(&self, node: usize, what: &str, pleases: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + AGREE_MAX;
        loop {
            let status = self.status(node);
            if let Some(status) = status.as_ref().filter(|status| pleases(status)) {
                return status.clone();
            }
            assert!(Instant::now() < deadline, "{what}: {status:#?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until a node counts just these as serving, under a leader.
    fn until_serving(&self, node: usize, names: &[&str]) -> Json {
        self.until(node, "all serve", |status| {
            serving(status) == names && status["cluster"]["leader"] != ""
        })
    }

    /// Waits until a node knows the others at the addresses that they have.
    fn until_found(&self, node: usize) -> Json {
        let now = self.addresses();
        let others = (0..3).filter(|other| *other != node);
        let others: Vec<_> = others
            .map(|other| (NAMES[other], format!("{}:3002", now[other])))
            .collect();
        self.until(node, "all are found", |status| {
            let found = others.iter();
            let mut found = found.map(|(name, at)| of_node(status, name, "admin") == at);
            serving(status) == NAMES && found.all(|found| found)
        })
    }

    fn until_healthy(&self) {
        let deadline = Instant::now() + AGREE_MAX;
        let healthy = |name: &str| self.inspect(name, "{{.State.Health.Status}}") == "healthy";
        while !NAMES.into_iter().all(healthy) {
            assert!(
                Instant::now() < deadline,
                "the engine calls them not healthy"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// What `karst` prints, outside.
    fn karst(&self, node: usize, arguments: &[&str]) -> String {
        let admin = format!("127.0.0.1:{}", self.ports[3 + node]);
        let mut command = Command::new(karst());
        ran(command.args(["--host", &admin]).args(arguments))
    }

    /// Prints what an operator would see.
    fn show_nodes(&self, node: usize) {
        println!("{}", self.karst(node, &["nodes"]));
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.compose(&["logs", "--no-color", "--tail", "40"], &[]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let ended = self.compose(&["down", "--volumes", "--timeout", "20"], &[]);
        eprintln!("{}", String::from_utf8_lossy(&ended.stderr));
        // It may not have been built.
        let _ = Command::new("docker")
            .args(["image", "rm", &self.image])
            .output();
    }
}

/// Six ports that were free a moment ago.
fn free_ports() -> [u16; 6] {
    let held: [TcpListener; 6] = std::array::from_fn(|_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has free ports")
    });
    held.map(|listener| listener.local_addr().expect("it is bound").port())
}

/// What a command printed that has to succeed.
fn ran(command: &mut Command) -> String {
    printed(&command.output().expect("it can be run"))
}

/// Names of the nodes that serve, in order.
fn serving(status: &Json) -> Vec<&str> {
    let nodes = status["nodes"].as_array().expect("nodes are listed").iter();
    let serving = nodes.filter(|node| node["state"] == "serving");
    let mut names: Vec<&str> = serving.filter_map(|node| node["name"].as_str()).collect();
    names.sort_unstable();
    names
}

/// A member of what `karst status` says of a node.
fn of_node<'a>(status: &'a Json, name: &str, member: &str) -> &'a Json {
    let nodes = status["nodes"].as_array().expect("nodes are listed");
    let node = nodes.iter().find(|node| node["name"] == name);
    &node.expect("the node is listed")[member]
}

/// The official client, outside of the network of the nodes.
struct Outside(Client);

impl Outside {
    /// Connects to one node; it learns of the others from that one.
    async fn connect(project: &Project, node: usize) -> Outside {
        let seed = format!("127.0.0.1:{}", project.ports[node]);
        let client = Client::new(&ClientPolicy::default(), &seed).await;
        Outside(client.expect("a client outside connects"))
    }

    async fn until_it_knows(&self, nodes: usize) {
        let deadline = Instant::now() + REACH_MAX;
        while self.0.node_names().len() != nodes {
            let known = self.0.node_names();
            assert!(Instant::now() < deadline, "{known:?}, and not {nodes}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes records, each until it is written; says how often it was tried in vain.
    async fn write(&self, half: &str) -> usize {
        let mut failures = 0;
        for number in 0..RECORDS {
            let bins = [Bin::new("n", Value::Int(number as i64))];
            let deadline = Instant::now() + REACH_MAX;
            while let Err(error) = self
                .0
                .put(&WritePolicy::default(), &key(half, number), &bins)
                .await
            {
                assert!(Instant::now() < deadline, "{half} {number}: {error}");
                failures += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
        failures
    }

    /// Reads them all back, each until it is read; one that is found to be missing is lost.
    async fn read(&self, half: &str) -> usize {
        let mut failures = 0;
        for number in 0..RECORDS {
            let deadline = Instant::now() + REACH_MAX;
            let record = loop {
                let key = key(half, number);
                match self.0.get(&ReadPolicy::default(), &key, Bins::All).await {
                    Ok(record) => break record,
                    Err(error) => {
                        assert!(Instant::now() < deadline, "{half} {number}: {error}");
                        failures += 1;
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            assert_eq!(record.bins.get("n"), Some(&Value::Int(number as i64)));
        }
        failures
    }
}

fn key(half: &str, number: usize) -> Key {
    Key::new("test", half, Value::Int(number as i64)).expect("a type that keys may have")
}

/// The shipped profile without what it is shipped for.
fn profile_without_io_uring(folder: &Path) -> String {
    let mut profile: Json = serde_json::from_str(&text("seccomp.json")).expect("it is JSON");
    let rules = profile["syscalls"].as_array_mut().expect("rules");
    let before = rules.len();
    rules.retain(|rule| !rule["names"].to_string().contains("io_uring"));
    assert!(rules.len() < before);
    let file = folder.join("seccomp.json");
    std::fs::write(&file, profile.to_string()).expect("the folder takes files");
    file.to_str().expect("its path is text").to_owned()
}

/// Why this is left out here, if it is.
fn left_out() -> Option<String> {
    if std::env::var_os("KARST_DEPLOY").is_none_or(|value| value != "1") {
        return Some("KARST_DEPLOY is not 1".into());
    }
    let mut missing = String::new();
    for (program, argument) in [("docker", "info"), ("docker-compose", "version")] {
        let output = Command::new(program).arg(argument).output();
        if !output.is_ok_and(|output| output.status.success()) {
            write!(missing, "`{program} {argument}` does not succeed; ").expect("text grows");
        }
    }
    (!missing.is_empty()).then_some(missing)
}

#[tokio::test]
async fn three_nodes_in_containers_serve_a_client_outside_and_outlive_one_of_them() {
    if let Some(why) = left_out() {
        println!("left out: three nodes in containers: {why}");
        return;
    }
    let project = Project::build();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");

    project.up(&[], &[]);
    let formed = project.until_serving(0, &NAMES);
    project.until_healthy();
    project.say("three nodes are one cluster, and healthy");
    project.show_nodes(0);
    assert_eq!(of_node(&formed, "karst1", "io")["queue"], "io_uring");

    let client = Outside::connect(&project, 0).await;
    client.until_it_knows(3).await;
    client.write("before").await;
    client.read("before").await;
    project.karst(0, &["put", "typed", "n=1"]);
    assert!(project.karst(1, &["get", "typed"]).contains("n  1"));
    project.say("a client outside has written and read through published ports");

    let before = of_node(&formed, "karst3", "id").clone();
    ran(Command::new("docker").args(["kill", &project.container("karst3")]));
    let (reads, writes) = (client.read("before").await, client.write("after").await);
    client.read("after").await;
    project.say(&format!(
        "karst3 is killed; reads and writes go on ({reads} and {writes} tries in vain meanwhile)"
    ));
    project.until_serving(0, &NAMES[..2]);
    project.show_nodes(0);

    ran(Command::new("docker").args(["rm", &project.container("karst3")]));
    let without = profile_without_io_uring(folder.path());
    project.up(&["karst3"], &[("KARST_SECCOMP", &without)]);
    let replaced = project.until_serving(2, &NAMES);
    assert_eq!(of_node(&replaced, "karst3", "id"), &before);
    assert_eq!(of_node(&replaced, "karst3", "io")["queue"], "threads");
    project.until_serving(0, &NAMES);
    project.say("a new container with its volume is the same node, this time without io_uring");

    let fresh = Outside::connect(&project, 2).await;
    fresh.until_it_knows(3).await;
    for half in ["before", "after"] {
        fresh.read(half).await;
    }
    project.say("a new client reads everything");
    project.until_found(0); // it counted as serving before it was given its part to be filled with
    project.show_nodes(0);

    let addresses = project.addresses();
    printed(&project.compose(&["stop"], &[]));
    for name in NAMES {
        assert_eq!(project.inspect(name, "{{.State.ExitCode}}"), "0", "{name}");
    }
    project.say("told to stop, all end with exit code 0");

    exchange_addresses(&project, addresses);
    for (node, name) in NAMES.iter().enumerate() {
        let moved = project.until_found(node);
        assert_eq!(of_node(&moved, name, "id"), of_node(&formed, name, "id"));
    }
    project.say("all are the same nodes at addresses that were another's before");
    project.show_nodes(0);
    let last = Outside::connect(&project, 1).await;
    last.until_it_knows(3).await;
    for half in ["before", "after"] {
        last.read(half).await;
    }
    project.say("a client reads everything once more");
}

/// Makes the containers anew, each with the address that another one had: what pods live through at the worst.
fn exchange_addresses(project: &Project, before: [String; 3]) {
    printed(&project.compose(&["rm", "--force"], &[])); // network and volumes stay
    let mut order = [0, 1, 2];
    order.sort_by_key(|node| before[*node].parse::<Ipv4Addr>().expect("an address"));
    order.rotate_left(1); // a network hands out its lowest free address
    for node in order {
        project.up(&[NAMES[node]], &[]);
    }
    let after = project.addresses();
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before, after);
    }
    println!("          {before:?} became {after:?}");
}
