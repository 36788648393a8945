//! Strongly consistent namespaces on real nodes: what is lost and what is not, what is refused, and what an operator sees
//! and does.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use karst_data::key::Digest;
use karst_tests::breakable::Breakable;
use karst_tests::server::Server;
use karst_tests::spec::ServerSpec;
use karst_tests::{Connection, Namespace, binary};
use karst_wire::code::ResultCode;
use karst_wire::command;
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;
use karst_wire::response::Answer;
use serde_json::Value;

use crate::data::{records_held, wait_until_held_twice, wait_until_stable};
use crate::group::{all_serve, prepare, seeds, spec};
use crate::load::Load;
use crate::wires::{Wires, apart};

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How long the cluster may take to come to something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Partitions of a namespace.
const ALL: u64 = 4096;

/// How long a raw request waits, in ms.
const TTL_MS: u32 = 400;

/// The namespace `test` of these tests, strongly consistent.
fn strong(spec: ServerSpec) -> ServerSpec {
    spec.each_namespace(|namespace| namespace.set("mode", "\"cp\""))
}

/// Servers that have formed a cluster, and are at rest.
pub(crate) fn formed(change: impl Fn(ServerSpec) -> ServerSpec) -> Vec<Server> {
    let mut servers = prepare(&NAMES);
    for server in &mut servers {
        server.reconfigure(|spec| change(strong(spec)));
        server.start();
    }
    servers.iter_mut().for_each(Server::wait_until_serving);
    settle(&servers);
    servers
}

fn refs(servers: &[Server]) -> Vec<&Server> {
    servers.iter().collect()
}

fn settle(servers: &[Server]) {
    all_serve(&refs(servers), &NAMES);
    wait_until_stable(&refs(servers));
}

/// On files, of which writes are answered before they are durable.
fn on_files(files: usize) -> impl Fn(ServerSpec) -> ServerSpec {
    move |spec| {
        let namespace = Namespace::device("test")
            .files(files)
            .size("16MiB")
            .storage("write_block", "\"128KiB\"")
            .storage("commit_to_device", "false");
        strong(spec.each_namespace(|_| namespace.clone()))
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Partitions by how they stand.
fn standings(server: &Server) -> BTreeMap<String, u64> {
    let status = server.karst(&["status", "--json"]);
    let counts = status["namespaces"][0]["partitions"].as_object();
    let counts = counts.expect("they are counted").iter();
    counts
        .map(|(state, count)| (state.clone(), count.as_u64().expect("a number")))
        .collect()
}

fn alarms(server: &Server) -> String {
    server.karst(&["status", "--json"])["alarms"].to_string()
}

/// The numbers of partitions that are in a state.
fn partitions_in(server: &Server, state: &str) -> Vec<u16> {
    let map = server.karst(&["partitions", "--json"]);
    let all = map.as_array().expect("a list");
    let some = all.iter().filter(|it| it["state"] == state);
    some.map(|it| it["number"].as_u64().expect("a number") as u16)
        .collect()
}

/// Waits until partitions stand in a way.
fn wait_until_counted(
    server: &Server,
    what: &str,
    pleases: impl Fn(&BTreeMap<String, u64>) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let standings = standings(server);
        if pleases(&standings) {
            return;
        }
        if Instant::now() >= deadline {
            let map = server.karst(&["partitions", "--json"]);
            let all = map.as_array().expect("a list").iter();
            let waits = |it: &&Value| it["state"] == "recovering" || it["state"] == "unavailable";
            let some: Vec<_> = all.filter(waits).take(3).collect();
            panic!("{what}: {standings:?}, as {some:#?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The node of these that leads a partition.
fn leader_of(servers: &[Server], asked: usize, partition: u16) -> &Server {
    let number = partition.to_string();
    let one = servers[asked].karst(&["partitions", "--id", &number, "--json"]);
    let at = NAMES.iter().position(|name| one["in_sync"][0] == *name);
    &servers[at.expect("somebody leads it")]
}

/// Waits until all is served, and a node that was lost is in sync with nothing.
fn wait_until_served_without(server: &Server, name: &str) {
    wait_until("all is served by the others", || {
        let map = server.karst(&["partitions", "--json"]);
        let all = map.as_array().expect("a list");
        let is_without = |it: &Value| {
            let in_sync = it["in_sync"].as_array().expect("a list");
            !in_sync.contains(&Value::from(name))
        };
        all.iter().all(is_without) && standings(server)["active"] == ALL
    });
}

/// What `karst` says, whether it succeeds or not.
fn karst(server: &Server, arguments: &[&str]) -> Output {
    let admin = server.admin().to_string();
    let mut command = Command::new(binary::karst());
    let output = command.args(["--host", &admin]).args(arguments).output();
    output.expect("karst can be run")
}

/// A digest of a partition.
fn digest(partition: u16) -> Digest {
    let mut digest = [0x5a; Digest::BYTES];
    digest[..2].copy_from_slice(&partition.to_le_bytes());
    Digest(digest)
}

/// The code with which a node answers a request about a record of a partition, and the bin if it is read.
fn ask(server: &Server, partition: u16, value: Option<&[u8]>) -> (ResultCode, Vec<u8>) {
    let header = MessageHeader {
        transaction_ttl: TTL_MS,
        info1: match value {
            Some(_) => Info1::default(),
            None => Info1::READ | Info1::GET_ALL,
        },
        info2: match value {
            Some(_) => Info2::WRITE,
            None => Info2::default(),
        },
        ..MessageHeader::default()
    };
    let mut request = Vec::new();
    let written = command::message(&mut request, header, |body| {
        body.namespace("test");
        body.digest(&digest(partition));
        if let Some(value) = value {
            body.op(OpCode::Write, particle::BLOB, "v", value);
        }
    });
    written.expect("it is within the protocol's limits");
    let mut connection: Connection = server.connect();
    connection.send(&request).expect("it is connected");
    let frame = connection.read_frame().expect("an answer");
    let frame = frame.expect("an answer");
    let answer = Answer::single(&frame.body).expect("one message");
    let bin = answer.ops().next().map(|bin| bin.value.to_vec());
    let code = answer.code().expect("a documented result code");
    (code, bin.unwrap_or_default())
}

fn put(server: &Server, partition: u16, value: &[u8]) -> ResultCode {
    ask(server, partition, Some(value)).0
}

fn get(server: &Server, partition: u16) -> (ResultCode, Vec<u8>) {
    ask(server, partition, None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_a_node_is_killed_and_what_it_led_is_served_again() {
    let mut servers = formed(|spec| spec);
    let mut load = Load::writing(&refs(&servers), 4, 5).await;
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    servers[0].kill9();
    let killed = Instant::now();
    tokio::task::block_in_place(|| {
        wait_until_served_without(&servers[1], "a");
    });
    println!("all is served again after {:?}", killed.elapsed());
    load.end(running).await;
    let others = [&servers[1], &servers[2]];
    load.check(&others).await;
    tokio::task::block_in_place(|| {
        servers[0].restart();
        settle(&servers);
    });
    let records = load.check(&refs(&servers)).await;
    wait_until_held_twice(&refs(&servers), records);
    println!(
        "{} acknowledged, {} in doubt, longest silence {:?}",
        load.tally.acknowledged, load.tally.failed, load.tally.silence
    );
    assert_eq!(
        servers[0].info("replicas").split(',').next(),
        servers[1].info("replicas").split(',').next()
    );
    load.close().await;
}

#[test]
fn partitions_that_lost_their_memory_are_dead_until_they_are_revived() {
    let mut servers = formed(|spec| spec);
    let lost = partitions_of(&servers[2], &["a", "b"]);
    let kept = partitions_of(&servers[2], &["a", "c"]);
    let codes = [lost[0], kept[0]].map(|partition| put(&servers[2], partition, b"before"));
    assert_eq!(codes, [ResultCode::Ok; 2]);
    let nothing = karst(&servers[2], &["revive", "test", "--yes"]);
    assert!(nothing.status.success(), "{nothing:?}");
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("nothing to revive"));
    // Where both were in sync nobody is left who knows.
    servers[..2].iter_mut().for_each(Server::kill9);
    servers[..2].iter_mut().for_each(Server::start);
    servers[..2].iter_mut().for_each(Server::wait_until_serving);
    all_serve(&refs(&servers), &NAMES);
    wait_until_counted(
        &servers[2],
        "some are dead and all others served",
        |standings| standings["dead"] > 0 && standings["dead"] + standings["active"] == ALL,
    );
    let dead = partitions_in(&servers[2], "dead");
    assert_eq!(dead, lost);
    assert_eq!(get(&servers[2], dead[0]).0, ResultCode::Unavailable);
    assert_eq!(put(&servers[0], dead[0], b"x"), ResultCode::Unavailable);
    assert_eq!(
        get(&servers[0], kept[0]),
        (ResultCode::Ok, b"before".to_vec())
    );
    let text = alarms(&servers[2]);
    assert!(text.contains("partitions are dead: a b lost"), "{text}");
    assert!(text.contains("`karst revive test`"), "{text}");
    let one = servers[2].karst(&["partitions", "--id", &dead[0].to_string(), "--json"]);
    assert_eq!(one["lost"].as_array().map(Vec::len), Some(2), "{one}");
    let unasked = karst(&servers[2], &["revive", "test"]);
    assert_eq!(unasked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&unasked.stdout);
    let expected = format!(
        "{} partitions dead: a b lost what was confirmed",
        human(dead.len())
    );
    assert!(said.starts_with(&expected), "{said}");
    assert_eq!(standings(&servers[2])["dead"], dead.len() as u64);
    let revived = servers[2].karst(&["revive", "test", "--yes", "--json"]);
    assert_eq!(revived["done"], true, "{revived}");
    assert_eq!(revived["groups"][0]["partitions"], serde_json::json!(dead));
    assert_eq!(standings(&servers[2])["dead"], 0);
    assert_eq!(get(&servers[2], dead[0]).0, ResultCode::NotFound);
    assert_eq!(put(&servers[2], dead[0], b"after"), ResultCode::Ok);
    settle(&servers);
    assert_eq!(
        get(&servers[0], dead[0]),
        (ResultCode::Ok, b"after".to_vec())
    );
}

/// 1234 as `1,234`.
fn human(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

/// The partitions that exactly these nodes hold, in any order.
fn partitions_of(server: &Server, names: &[&str]) -> Vec<u16> {
    let map = server.karst(&["partitions", "--json"]);
    let all = map.as_array().expect("a list");
    let holds = |it: &&Value| {
        let in_sync = it["in_sync"].as_array().expect("a list");
        in_sync.len() == names.len()
            && names
                .iter()
                .all(|name| in_sync.contains(&Value::from(*name)))
    };
    let some = all.iter().filter(holds);
    some.map(|it| it["number"].as_u64().expect("a number") as u16)
        .collect()
}

#[test]
fn a_node_whose_namespace_has_another_mode_is_refused() {
    let servers = [spec("a", 1).start()];
    let stranger = strong(spec("b", 1)).set("cluster", "seeds", &seeds(&servers));
    let (status, stranger) = stranger.start_to_exit();
    assert_eq!(status.code(), Some(1));
    let why = "namespace test has mode \"ap\" in this cluster, and \"cp\" at this node";
    assert!(stranger.log().contains(why), "{}", stranger.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_device_was_emptied_says_so_and_is_filled() {
    let mut servers = formed(on_files(1));
    let mut load = Load::writing(&refs(&servers), 2, 9).await;
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.end(running).await;
    let records = load.check(&refs(&servers)).await;
    tokio::task::block_in_place(|| {
        servers[2].stop();
        std::fs::remove_file(servers[2].file("test", 0)).expect("it is there");
        servers[2].forget_memory();
        servers[2].forget_checkpoints();
        servers[2].restart();
        settle(&servers);
    });
    let log = servers[2].log();
    assert!(
        log.contains("this node may lack records that it had confirmed"),
        "{log}"
    );
    assert!(records_held(&servers[2]) > 0);
    wait_until_held_twice(&refs(&servers), records);
    assert_eq!(load.check(&refs(&servers)).await, records);
    load.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_which_a_device_fails_is_filled_anew_on_another_one() {
    let mut servers = formed(on_files(2));
    servers[2].stop();
    let device = Breakable::instead_of(&servers[2], "test", 1);
    servers[2].restart();
    settle(&servers);
    let mut load = Load::writing(&refs(&servers), 2, 10).await;
    let running = load.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    device.fail_writes();
    tokio::task::block_in_place(|| {
        let lost = "this node may lack records that it had confirmed";
        wait_until("the failure is told", || servers[2].log().contains(lost));
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.end(running).await;
    tokio::task::block_in_place(|| settle(&servers));
    let records = load.check(&refs(&servers)).await;
    wait_until_held_twice(&refs(&servers), records);
    let namespaces = servers[2].karst(&["namespaces", "--json"]);
    let failed = &namespaces[0]["devices"][1];
    assert!(!failed["failure"].is_null(), "{failed}");
    load.close().await;
}

#[test]
fn writes_are_refused_while_fewer_copies_are_complete_than_are_asked_for() {
    let mut servers = formed(|spec| {
        spec.each_namespace(|it| it.set("replication_factor", "3").set("min_in_sync", "3"))
    });
    assert_eq!(put(&servers[1], 7, b"1"), ResultCode::Ok);
    servers[0].kill9();
    wait_until_served_without(&servers[1], "a");
    let leader = leader_of(&servers, 1, 7);
    assert_eq!(put(leader, 7, b"2"), ResultCode::Unavailable);
    assert_eq!(get(&servers[1], 7), (ResultCode::Ok, b"1".to_vec()));
    let text = alarms(&servers[1]);
    assert!(
        text.contains("fewer complete copies than min_in_sync, 3"),
        "{text}"
    );
    servers[0].restart();
    settle(&servers);
    assert_eq!(put(&servers[1], 7, b"3"), ResultCode::Ok);
}

#[test]
fn a_primary_that_is_parted_answers_no_read_once_others_lead() {
    apart(|| {
        let wires = Wires::new(&NAMES);
        let mut servers = wires.prepared(NAMES.len());
        for server in &mut servers {
            server.reconfigure(strong);
            server.start();
        }
        servers.iter_mut().for_each(Server::wait_until_serving);
        settle(&servers);
        let led = servers[0].karst(&["partitions", "--json"]);
        let led = led.as_array().expect("a list").iter();
        let mut led = led.filter(|it| it["in_sync"][0] == "a");
        let led = led.next().expect("it leads some");
        let partition = led["number"].as_u64().expect("a number") as u16;
        assert_eq!(put(&servers[0], partition, b"1"), ResultCode::Ok);
        assert_eq!(get(&servers[0], partition), (ResultCode::Ok, b"1".to_vec()));
        wires.part(&[&[0], &[1, 2]]);
        wait_until("another one leads", || {
            put(&servers[1], partition, b"2") == ResultCode::Ok
        });
        let until = Instant::now() + Duration::from_secs(5); // beyond when an available namespace goes on alone
        while Instant::now() < until {
            let (code, value) = get(&servers[0], partition);
            assert!(code != ResultCode::Ok, "it answered {value:?}");
            assert!(put(&servers[0], partition, b"3") != ResultCode::Ok);
        }
        wires.heal();
        wait_until("it answers again", || {
            get(&servers[0], partition) == (ResultCode::Ok, b"2".to_vec())
        });
    });
}
