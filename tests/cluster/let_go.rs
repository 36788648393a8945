//! What a node had for a while and others hold again is not there any more, wherever a start looks for it.

use aerospike::{Bin, Value, WritePolicy};
use karst_tests::server::Server;
use karst_tests::spec::{Namespace, ServerSpec};

use crate::data::{records_held, wait_until_held_twice, wait_until_stable};
use crate::group::{all_serve, seeds};
use crate::load::{client, key};

const KEYS: i64 = 300;

fn on_devices(names: &[&str]) -> Vec<Server> {
    let namespace = || {
        let namespace = Namespace::device("test").size("64MiB");
        namespace.storage("commit_to_device", "true")
    };
    let spec = |name: &str| {
        ServerSpec::new()
            .set("node", "name", &format!("{name:?}"))
            .set("cluster", "name", "\"test\"")
            .set("cluster", "bootstrap_expect", &names.len().to_string())
            .namespace(namespace())
    };
    let mut servers: Vec<Server> = names.iter().map(|name| spec(name).prepare()).collect();
    let seeds = seeds(&servers);
    for server in &mut servers {
        server.reconfigure(|spec| spec.set("cluster", "seeds", &seeds));
    }
    servers.iter_mut().for_each(Server::start);
    servers.iter_mut().for_each(Server::wait_until_serving);
    servers
}

/// Records that a node's last start found.
fn recovered(server: &Server) -> u64 {
    let log = server.log();
    let lines = log.lines().rev();
    let mut found = lines.filter(|line| line.contains("recovered") && line.contains("records="));
    let line = found.next().expect("a start says what it found");
    assert!(line.contains("from=\"scan\""), "{line}");
    let (_, rest) = line.split_once(" records=").expect("it was just seen");
    let digits = rest.split(' ').next().unwrap_or_default();
    digits.parse().expect("a number of records")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_let_go_of_is_not_found_on_its_devices_again() {
    let names = ["a", "b", "c"];
    let mut servers = on_devices(&names);
    let all: Vec<&Server> = servers.iter().collect();
    all_serve(&all, &names);
    wait_until_stable(&all);
    let writer = client(&all).await;
    for number in 0..KEYS {
        let bins = [Bin::new("v", Value::Int(number))];
        let policy = WritePolicy::default();
        let written = writer.put(&policy, &key(number), &bins).await;
        written.expect("a put succeeds");
    }
    writer.close().await.expect("the client closes");
    tokio::task::block_in_place(|| {
        // While one is away the others hold everything; when it is back they let go of a part.
        servers[2].kill9();
        let rest: Vec<&Server> = servers[..2].iter().collect();
        all_serve(&rest, &names[..2]);
        wait_until_stable(&rest);
        wait_until_held_twice(&rest, KEYS as u64);
        servers[2].restart();
        let all: Vec<&Server> = servers.iter().collect();
        all_serve(&all, &names);
        wait_until_stable(&all);
        wait_until_held_twice(&all, KEYS as u64);
        let held = records_held(&servers[0]);
        assert!(held < KEYS as u64);
        servers[0].kill9();
        servers[0].forget_memory();
        servers[0].forget_checkpoints();
        servers[0].restart();
        assert_eq!(recovered(&servers[0]), held);
        let all: Vec<&Server> = servers.iter().collect();
        all_serve(&all, &names);
        wait_until_stable(&all);
        wait_until_held_twice(&all, KEYS as u64);
    });
}
