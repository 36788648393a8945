//! Several servers that are told of each other.

use std::time::{Duration, Instant};

use karst_tests::server::Server;
use karst_tests::spec::{Namespace, ServerSpec};
use serde_json::Value;

/// How long the nodes of a group may take to agree on something.
const AGREE_MAX: Duration = Duration::from_secs(20);

/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// A node of a group that `expect` nodes form.
pub(crate) fn spec(name: &str, expect: usize) -> ServerSpec {
    ServerSpec::new()
        .set("node", "name", &format!("{name:?}"))
        .set("cluster", "name", "\"test\"")
        .set("cluster", "bootstrap_expect", &expect.to_string())
        .namespace(Namespace::memory("test").size("64MiB"))
}

/// Servers that are not started, each told of all the others.
pub(crate) fn prepare(names: &[&str]) -> Vec<Server> {
    let made = names.iter().map(|name| spec(name, names.len()).prepare());
    let mut servers: Vec<Server> = made.collect();
    let seeds = seeds(&servers);
    for server in &mut servers {
        server.reconfigure(|spec| spec.set("cluster", "seeds", &seeds));
    }
    servers
}

/// Servers that have formed a cluster and serve.
pub(crate) fn formed(names: &[&str]) -> Vec<Server> {
    let mut servers = prepare(names);
    servers.iter_mut().for_each(Server::start);
    servers.iter_mut().for_each(Server::wait_until_serving);
    servers
}

/// The value of `cluster.seeds` that names all of them.
pub(crate) fn seeds(servers: &[Server]) -> String {
    let addresses = servers.iter();
    let addresses: Vec<_> = addresses
        .map(|server| format!("\"{}\"", server.admin()))
        .collect();
    format!("[{}]", addresses.join(", "))
}

/// What one node says of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The cluster's id.
    pub(crate) id: String,
    /// The leader's name; empty for none.
    pub(crate) leader: String,
    /// Changes of the state so far.
    pub(crate) generation: u64,
    /// Each node's name, state and gRPC address, by name.
    pub(crate) nodes: Vec<(String, String, String)>,
}

impl View {
    /// Asks a node.
    pub(crate) fn of(server: &Server) -> View {
        let status = server.karst(&["status", "--json"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let nodes = status["nodes"].as_array().expect("nodes are listed");
        View {
            id: text(&status["cluster"]["id"]),
            leader: text(&status["cluster"]["leader"]),
            generation: status["cluster"]["map_generation"].as_u64().unwrap_or(0),
            nodes: nodes
                .iter()
                .map(|node| {
                    (
                        text(&node["name"]),
                        text(&node["state"]),
                        text(&node["admin"]),
                    )
                })
                .collect(),
        }
    }

    /// Nodes in a state, by name.
    pub(crate) fn nodes_in(&self, state: &str) -> Vec<&str> {
        let nodes = self.nodes.iter().filter(|(_, is, _)| is == state);
        nodes.map(|(name, _, _)| name.as_str()).collect()
    }
}

/// Waits until all say the same, and that pleases; returns it.
pub(crate) fn agree(servers: &[&Server], pleases: impl Fn(&View) -> bool) -> View {
    let deadline = Instant::now() + AGREE_MAX;
    loop {
        let views: Vec<View> = servers.iter().map(|server| View::of(server)).collect();
        let first = &views[0];
        if views.iter().all(|view| view == first) && pleases(first) {
            return first.clone();
        }
        assert!(Instant::now() < deadline, "no agreement: {views:#?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until all of them count exactly these as serving, under one leader.
pub(crate) fn all_serve(servers: &[&Server], names: &[&str]) -> View {
    agree(servers, |view| {
        view.nodes_in("serving") == names && names.contains(&view.leader.as_str())
    })
}

/// Waits until every node says that so many are in the cluster and no partition is on its way.
pub(crate) fn settled(servers: &[&Server]) {
    let deadline = Instant::now() + AGREE_MAX;
    let asked = format!("cluster-stable:size={}", servers.len());
    loop {
        let answers: Vec<String> = servers.iter().map(|server| server.info(&asked)).collect();
        let first = &answers[0];
        if answers.iter().all(|answer| answer == first) && !first.starts_with("ERROR") {
            return;
        }
        assert!(Instant::now() < deadline, "not settled: {answers:?}");
        std::thread::sleep(PAUSE);
    }
}
