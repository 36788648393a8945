//! What becomes of a cluster whose leader, or all of it, goes away.

use std::time::Instant;

use karst_tests::server::Server;

use crate::group::{agree, all_serve, formed};

#[test]
fn another_node_leads_when_the_leader_is_killed_and_it_catches_up_when_it_is_back() {
    let names = ["a", "b", "c"];
    let mut servers = formed(&names);
    let all: Vec<&Server> = servers.iter().collect();
    let before = all_serve(&all, &names);
    let lost = names.iter().position(|name| *name == before.leader);
    let lost = lost.expect("one of them leads");
    let killed = Instant::now();
    servers[lost].kill9();
    let rest = |servers: &[Server]| -> Vec<usize> {
        (0..servers.len()).filter(|at| *at != lost).collect()
    };
    let left: Vec<&Server> = rest(&servers).into_iter().map(|at| &servers[at]).collect();
    let after = agree(&left, |view| {
        view.leader != before.leader
            && !view.leader.is_empty()
            && view.nodes_in("unreachable") == [names[lost]]
    });
    println!("given up after {:?}", killed.elapsed());
    assert_eq!(after.id, before.id);
    servers[lost].restart();
    let all: Vec<&Server> = servers.iter().collect();
    let healed = all_serve(&all, &names);
    assert!(healed.generation > after.generation);
}

#[test]
fn a_cluster_that_was_stopped_as_a_whole_goes_on_where_it_was() {
    let names = ["a", "b", "c"];
    let mut servers = formed(&names);
    let all: Vec<&Server> = servers.iter().collect();
    let before = all_serve(&all, &names);
    servers.iter_mut().for_each(Server::kill9);
    servers.iter_mut().for_each(Server::start);
    servers.iter_mut().for_each(Server::wait_until_serving);
    let all: Vec<&Server> = servers.iter().collect();
    let after = all_serve(&all, &names);
    assert_eq!(after.id, before.id);
    assert!(after.generation >= before.generation);
    servers.iter_mut().for_each(Server::stop);
}
