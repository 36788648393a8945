use karst_wire::frame::HEADER_BYTES;
use karst_wire::info::INFO_REPLY_BYTES_MAX;

use super::*;
use crate::counters::{Ending, Op};
use crate::node::{State, now};
use crate::testing::{DISK, TEST, World};

/// What the node answers to a body, without the frame's header.
fn reply(world: &World, session: &mut Session, body: &str) -> String {
    let mut out = b"before".to_vec();
    answer(&world.node, session, body.as_bytes(), &mut out);
    assert!(out.starts_with(b"before"), "what was in the buffer stays");
    let frame = &out[b"before".len()..];
    let mut length = [0; 8];
    length[2..].copy_from_slice(&frame[2..HEADER_BYTES]);
    assert_eq!(frame[..2], [2, 1], "an info frame");
    assert_eq!(
        u64::from_be_bytes(length) as usize,
        frame.len() - HEADER_BYTES
    );
    String::from_utf8(frame[HEADER_BYTES..].to_vec()).unwrap()
}

/// The value of one command asked on a new connection.
pub(super) fn ask(world: &World, command: &str) -> String {
    let reply = reply(world, &mut Session::default(), &format!("{command}\n"));
    let value = reply
        .strip_prefix(&format!("{command}\t"))
        .expect("the echo is exact");
    value.strip_suffix('\n').expect("a line").into()
}

/// The value of `key` among `key=value` pairs with `;` or `:` between them.
pub(super) fn pair<'t>(text: &'t str, key: &str) -> &'t str {
    let mut pairs = text
        .split([';', ':'])
        .filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(found, _)| *found == key);
    found.unwrap_or_else(|| panic!("no {key} in {text}")).1
}

#[test]
fn each_command_is_answered_once_in_order_under_its_own_text() {
    let world = World::serving();
    let body = "node\npartition-generation\nnode:\nno-such;thing=1\nbuild\nignored";
    assert_eq!(
        reply(&world, &mut Session::default(), body),
        "node\tBB9020011AC4202\npartition-generation\t1\nnode:\tBB9020011AC4202\n\
         no-such;thing=1\tERROR:4:unrecognized command\nbuild\t8.1.2.0\n"
    );
}

#[test]
fn an_empty_request_is_answered_with_the_summary() {
    let world = World::serving();
    let reply = reply(&world, &mut Session::default(), "");
    let names: Vec<_> = reply
        .lines()
        .map(|line| line.split_once('\t').unwrap().0)
        .collect();
    assert_eq!(names, SUMMARY);
    assert!(!reply.contains("unrecognized"));
}

#[test]
fn every_command_of_the_help_is_known_once_and_answers_in_one_line() {
    let world = World::serving();
    let help = ask(&world, "help");
    let names: Vec<&str> = help.split(';').collect();
    assert!(
        names.is_sorted_by(|a, b| a < b),
        "a name is listed twice: {help}"
    );
    assert!(names.len() > 80);
    for name in names {
        let value = ask(&world, name);
        assert!(!value.contains('\n'), "{name}: {value}");
        assert_ne!(value, "ERROR:4:unrecognized command", "{name}");
    }
}

#[test]
fn clients_find_what_they_need_to_take_the_node_for_a_whole_cluster() {
    let world = World::serving();
    let all = format!("{}8=", "/".repeat(682));
    for (command, value) in [
        ("partitions", "4096".to_owned()),
        ("peers-generation", "1".into()),
        ("peers-clear-std", "1,3100,[]".into()),
        ("peers-clear-alt", "1,3100,[]".into()),
        ("peers-tls-std", "1,3100,[]".into()),
        ("rebalance-generation", "1".into()),
        ("cluster-name", "prod".into()),
        ("service-clear-std", "10.0.0.1:3100,[fe80::1]:3100".into()),
        ("service", "10.0.0.1:3100;[fe80::1]:3100".into()),
        ("service-clear-alt", "".into()),
        ("service-tls-std", "".into()),
        ("replicas", format!("test:0,1,{all};disk:0,1,{all}")),
        ("replicas:max=1", format!("test:0,1,{all};disk:0,1,{all}")),
        ("replicas-all", format!("test:1,{all};disk:1,{all}")),
        ("replicas-master", format!("test:{all};disk:{all}")),
        ("rack-ids", "test:7;disk:7".into()),
        (
            "racks:",
            "ns=test:rack_7=BB9020011AC4202;ns=disk:rack_7=BB9020011AC4202".into(),
        ),
        ("racks:namespace=test", "rack_7=BB9020011AC4202".into()),
        ("namespaces", "test;disk".into()),
    ] {
        assert_eq!(ask(&world, command), value, "{command}");
    }
    let features = ask(&world, "features");
    for demanded in [
        "pscans",
        "pquery",
        "batch-any",
        "query-show",
        "replicas",
        "peers",
    ] {
        assert!(
            features.split(';').any(|feature| feature == demanded),
            "{demanded}"
        );
    }
}

#[test]
fn a_node_that_starts_owns_nothing_and_says_so() {
    let world = World::starting();
    let none = format!("{}A=", "A".repeat(682));
    assert_eq!(ask(&world, "partition-generation"), "-1");
    assert_eq!(
        ask(&world, "replicas"),
        format!("test:0,1,{none};disk:0,1,{none}")
    );
    assert_eq!(ask(&world, "cluster-stable:"), "ERROR:7:unstable cluster");
    world.node.set_state(State::Draining);
    assert_eq!(
        ask(&world, "partition-generation"),
        "1",
        "nobody else could take over"
    );
}

#[test]
fn a_cluster_of_one_is_stable_at_its_size() {
    let world = World::serving();
    let key = "3031323334353639"; // the front of the id of the cluster, and two changes: one node, one map
    for command in [
        "cluster-stable:",
        "cluster-stable:size=1;ignore-migrations=true;namespace=test",
    ] {
        assert_eq!(ask(&world, command), key, "{command}");
    }
    assert_eq!(
        ask(&world, "cluster-stable:size=2"),
        "ERROR:7:cluster not specified size"
    );
    assert_eq!(ask(&world, "cluster-stable:size=x"), "ERROR:4:bad size");
    assert_eq!(
        ask(&world, "cluster-stable:namespace=no"),
        "ERROR:20:namespace not found on node"
    );
}

#[test]
fn a_namespace_tells_what_is_in_it() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    world.put(TEST, "demo", 2);
    world.put(TEST, "", 3);
    world.core().namespaces[TEST].count(Op::Read, Ending::Ok);
    world.node.cores[1].namespaces[TEST].count(Op::Read, Ending::Ok);
    world.core().namespaces[TEST].count(Op::Write, Ending::Overload);
    let text = ask(&world, "namespace/test");
    for (key, value) in [
        ("objects", "3"),
        ("master_objects", "3"),
        ("tombstones", "0"),
        ("stop_writes", "false"),
        ("client_read_success", "2"),
        ("client_write_error", "1"),
        ("client_delete_success", "0"),
        ("replication-factor", "2"),
        ("effective_replication_factor", "1"),
        ("strong-consistency", "false"),
        ("storage-engine", "memory"),
        ("default-ttl", "0"),
        ("nsup-period", "120"),
        ("hwm_breached", "false"),
        ("non_expirable_objects", "3"),
        ("evicted_objects", "0"),
        ("evict_void_time", "0"),
        ("evict-tenths-pct", "5"),
        ("storage-engine.evict-used-pct", "0"),
        ("storage-engine.stop-writes-used-pct", "85"),
        ("stop-writes-sys-memory-pct", "90"),
        ("max-record-size", "32768"),
        ("rack-id", "7"),
        ("data_total_bytes", "4194304"),
        ("migrate_tx_partitions_remaining", "0"),
    ] {
        assert_eq!(pair(&text, key), value, "{key}");
    }
    let used: u64 = pair(&text, "data_used_bytes").parse().unwrap();
    assert!(
        (3 * 56..3 * 256).contains(&used),
        "{used} bytes of three small records"
    );
    assert!(pair(&text, "index_used_bytes").parse::<u64>().unwrap() > 0);
    assert!(!text.contains("single-bin"));
    assert!(!text.ends_with(';'));
    let disk = ask(&world, "namespace/disk");
    assert_eq!(pair(&disk, "default-ttl"), "3600");
    assert_eq!(pair(&disk, "storage-engine"), "device");
    assert_eq!(pair(&disk, "storage-engine.file[0].failed"), "false");
    assert_eq!(ask(&world, "namespace/no"), "type=unknown");
    assert_eq!(ask(&world, "objects"), "3");
    assert_eq!(pair(&ask(&world, "statistics"), "objects"), "3");
}

#[test]
fn a_key_is_listed_once() {
    let world = World::serving();
    for command in [
        "namespace/test",
        "namespace/disk",
        "statistics",
        "get-config:",
        "release",
    ] {
        let text = ask(&world, command);
        let mut keys: Vec<_> = text
            .split(';')
            .map(|pair| pair.split_once('=').unwrap().0)
            .collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count, "{command}");
    }
}

#[test]
fn a_failed_device_stops_writes_and_says_so() {
    let world = World::serving();
    world.fail_disk();
    let text = ask(&world, "namespace/disk");
    assert_eq!(pair(&text, "stop_writes"), "true");
    assert_eq!(pair(&text, "failed_devices"), "1");
    assert_eq!(pair(&text, "storage-engine.file[0].failed"), "true");
    assert_eq!(pair(&ask(&world, "namespace/test"), "stop_writes"), "false");
}

#[test]
fn sets_are_told_in_every_form_that_tools_ask_for() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    world.put(TEST, "e;v:i\nl", 1);
    world.put(DISK, "other", 1);
    let all = ask(&world, "sets");
    assert!(
        all.starts_with("ns=test:set=demo:objects=1:tombstones=0:data_used_bytes="),
        "{all}"
    );
    assert!(all.contains(";ns=test:set=e?v?i?l:objects=1:"), "{all}");
    assert!(all.contains(";ns=disk:set=other:"), "{all}");
    assert!(all.ends_with(';'));
    assert!(!ask(&world, "sets/test").contains("other"));
    assert!(ask(&world, "sets/test/demo").starts_with("objects=1:"));
    assert_eq!(ask(&world, "sets/test/none"), "");
    assert_eq!(ask(&world, "sets/no"), "ns_type=unknown");
}

#[test]
fn truncated_records_are_gone_at_once_and_the_mark_is_on_disk() {
    let world = World::serving();
    let lut = |offset_ms: u64| {
        let unix_ms = karst_data::time::EPOCH_UNIX_S * 1000 + now().epoch_ms() - offset_ms;
        unix_ms * 1_000_000
    };
    world.put(TEST, "demo", 1);
    let marks = || {
        crate::marks::Marks::load(world.dir.path())
            .unwrap()
            .of("test")
    };
    assert_eq!(ask(&world, "truncate:namespace=test;set=none"), "ok");
    assert!(marks().is_empty(), "a set that never was leaves no mark");
    let past = lut(10);
    assert_eq!(
        ask(
            &world,
            &format!("truncate:namespace=test;set=demo;lut={past}")
        ),
        "ok"
    );
    let mark_ms = past / 1_000_000 - karst_data::time::EPOCH_UNIX_S * 1000;
    assert_eq!(marks(), [("demo".to_owned(), mark_ms)]);
    let text = ask(&world, "sets/test/demo");
    assert_eq!(
        pair(&text, "truncate_lut"),
        (past / 1_000_000 * 1_000_000).to_string()
    );
    assert_eq!(ask(&world, "truncate-undo:namespace=test;set=demo"), "ok");
    assert_eq!(pair(&ask(&world, "sets/test/demo"), "truncate_lut"), "0");
    assert!(marks().is_empty());
    assert_eq!(ask(&world, "truncate-namespace:namespace=test"), "ok");
    assert_ne!(pair(&ask(&world, "namespace/test"), "truncate_lut"), "0");
    assert_eq!(marks().len(), 1);
    assert_eq!(ask(&world, "truncate-namespace-undo:namespace=test"), "ok");
    assert_eq!(pair(&ask(&world, "namespace/test"), "truncate_lut"), "0");
}

#[test]
fn a_truncation_that_cannot_be_kept_does_not_take_effect() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    let folder = world.dir.path().to_owned();
    std::fs::remove_dir_all(&folder).unwrap();
    let answer = ask(&world, "truncate:namespace=test;set=demo");
    assert_eq!(
        answer,
        "ERROR::the truncation mark cannot be written to data_dir"
    );
    assert_eq!(pair(&ask(&world, "sets/test/demo"), "truncate_lut"), "0");
}

#[test]
fn one_request_cannot_wait_for_the_disk_without_end() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    let command = "truncate:namespace=test;set=demo\n";
    let reply = reply(&world, &mut Session::default(), &command.repeat(12));
    let refused = reply
        .matches("ERROR:4:too many truncations in one request")
        .count();
    assert_eq!(refused, 12 - TRUNCATIONS_MAX as usize);
}

#[test]
fn what_is_wrong_is_answered_in_the_words_that_clients_expect() {
    let world = World::serving();
    for (command, value) in [
        ("truncate:", "ERROR:20:missing 'namespace'"),
        ("truncate:namespace=test", "ERROR:4:missing 'set'"),
        (
            "truncate:namespace=no;set=demo",
            "ERROR:20:namespace not found on node",
        ),
        (
            "truncate:namespace=test;set=d;lut=99999999999999999999",
            "ERROR:4:bad 'lut'",
        ),
        (
            "truncate:namespace=test;set=d;lut=9999999999999999999",
            "ERROR:4:would truncate in the future",
        ),
        (
            "truncate:namespace=test;set=d;lut=1",
            "ERROR:4:would truncate to 0",
        ),
        (
            "truncate-namespace:namespace=test;set=d",
            "ERROR:4:unexpected set name",
        ),
        ("query-show:id=7", "ERROR:2:job not found"),
        ("query-show:trid=7", "ERROR:2:job not found"),
        ("query-abort:id=7", "ERROR:2:id not active"),
        ("query-abort:trid=x", "ERROR:4:bad id"),
        (
            "jobs:module=query;cmd=abort;trid=1",
            "ERROR:4:unrecognized command",
        ),
        ("bins", "ERROR:4:unrecognized command"),
        ("sindex/test/ix", "ERROR:201:no index"),
        (
            "sindex-stat:namespace=test;indexname=ix",
            "ERROR:201:no index",
        ),
        ("sindex/no", "ns_type=unknown"),
        (
            "udf-put:filename=a.lua;content=x",
            "error=invalid_content_len",
        ),
        ("get-config:context=none", "ERROR:4:invalid context"),
        (
            "get-config:context=namespace;id=no",
            "ERROR:20:namespace not found on node",
        ),
        (
            "get-config:context=namespace",
            "ERROR:20:missing 'namespace'",
        ),
        (
            "set-config:context=namespace;namespace=no;default-ttl=1",
            "ERROR:20:namespace not found on node",
        ),
        ("latencies:hist=none", "ERROR:4:bad hist name"),
        ("latencies:hist={no}-read", "ERROR:4:bad hist name"),
        ("latencies:hist={test}-none", "ERROR:4:bad hist name"),
        (
            "histogram:namespace=test;type=none",
            "ERROR:4:unknown hist name",
        ),
        ("user-agent-set:value=***", "ERROR:4:'value' invalid base64"),
        ("racks:namespace=no", "ERROR:20:namespace not found on node"),
        ("log/1", "ERROR:4:unknown sink"),
    ] {
        assert_eq!(ask(&world, command), value, "{command}");
    }
    for command in [
        "set-config:context=service;proto-fd-max=1",
        "set-config:context=namespace;namespace=test;default-ttl=soon",
        "set-config:context=namespace;namespace=test;default-ttl=99999d",
        "set-config:context=namespace;namespace=test;storage-engine=memory",
        "set-config:context=namespace;namespace=test;nsup-period=1;replication-factor=2",
        "set-config:context=namespace;namespace=test;set=demo;nsup-period=1",
        "set-config:context=namespace;namespace=test;evict-used-pct=101",
        "set-config:context=namespace;namespace=test",
        "config-set:context=network;heartbeat.interval=1",
    ] {
        let value = ask(&world, command);
        assert!(
            value.starts_with("ERROR:4:invalid set-config parameter"),
            "{command}: {value}"
        );
    }
    let create = "sindex-create:namespace=test;indexname=i;";
    for (rest, answer) in [
        ("bin=b;type=numeric;context=kQE=", "ERROR:4:bad 'context'"),
        ("bin=b;type=numeric;context=k", "ERROR:4:bad 'context'"),
        ("bin=b;type=numeric;context=klAA", "ERROR:4:bad 'context'"), // it would make a list
        ("exp=kQE=;type=numeric", "ERROR:4:bad 'exp'"),
        ("exp=k1ECoWE=;type=string", "ERROR:4:'exp' is not of"),
        ("exp=k1ECoWE=;type=geo2dsphere", "ERROR:4:'exp' is not of"),
        (
            "exp=k1ECoWE=;bin=a;type=numeric",
            "ERROR:4:both 'exp' and a bin",
        ),
        (
            "exp=k1ECoWE=;context=khAB;type=numeric",
            "ERROR:4:both 'exp' and 'context'",
        ),
        (
            "exp=k1ECoWE=;indexdata=a,numeric",
            "ERROR:4:both 'exp' and a bin",
        ),
        ("exp=kUM=;type=numeric", "ERROR:4:'exp' depends on the time"),
        (
            "bin=b;type=geo2dsphere;indextype=mapkeys",
            "ERROR:4:no key of a map",
        ),
        ("indextype=set", "ERROR:4:missing 'set'"),
        ("indextype=set;set=", "ERROR:4:missing 'set'"),
        ("indextype=SET;set=demo;bin=b", "ERROR:4:a set index is of"),
        (
            "indextype=set;set=demo;type=numeric",
            "ERROR:4:a set index is of",
        ),
        (
            "indextype=set;set=demo;exp=k1ECoWE=",
            "ERROR:4:a set index is of",
        ),
        ("bin=b", "ERROR:4:"),
        ("bin=b;type=float", "ERROR:4:"),
        ("type=string", "ERROR:4:"),
        ("bin=b;type=string;indexdata=b,string", "ERROR:4:"),
        ("indexdata=b", "ERROR:4:"),
        ("bin=a name of sixteen;type=blob", "ERROR:4:"),
        ("bin=b;type=blob;indextype=tree", "ERROR:4:"),
    ] {
        let value = ask(&world, &format!("{create}{rest}"));
        assert!(value.starts_with(answer), "{rest}: {value}");
    }
}

#[test]
fn an_index_is_listed_once_it_is_in_force_and_readable_once_it_is_built() {
    use karst_data::sindex::{Definition, Kind, Source};
    let world = World::serving();
    let engine = &world.node.namespaces[0].engine;
    let definition = Definition::of_bin("demo", "tags", Kind::Text, Source::List);
    engine.set_sindexes(&[("ix".into(), definition)]);
    let listed = "ns=test:indexname=ix:set=demo:bin=tags:type=string:indextype=list:context=null:exp=null:state=";
    for command in [
        "sindex",
        "sindex/test",
        "sindex-list:",
        "sindex-list:namespace=test",
        "sindex-list:ns=test",
    ] {
        assert_eq!(ask(&world, command), format!("{listed}WO"), "{command}");
    }
    assert_eq!(ask(&world, "sindex-list:namespace=disk"), "");
    assert_eq!(ask(&world, "sindex-exists:ns=test;indexname=ix"), "true");
    assert_eq!(pair(&ask(&world, "sindex/test/ix"), "load_pct"), "0");
    for id in karst_data::key::PartitionId::all() {
        let build = engine.begin_build(id).unwrap();
        assert!(engine.build_slice(&build, None).digests.is_empty());
        engine.end_build(&build);
    }
    let stat = ask(&world, "sindex-stat:namespace=test;indexname=ix");
    assert_eq!(pair(&stat, "load_pct"), "100");
    assert_eq!(pair(&stat, "entries"), "0");
    assert_eq!(ask(&world, "sindex-list:"), format!("{listed}RW"));
}

#[test]
fn a_set_index_is_told_of_among_the_others_and_with_its_set() {
    use karst_data::sindex::{Definition, Kind, Source};
    let world = World::serving();
    let engine = &world.node.namespaces[0].engine;
    engine.sets().find_or_make(b"demo").unwrap();
    let by_age = Definition::of_bin("demo", "age", Kind::Numeric, Source::Bin);
    engine.set_sindexes(&[("by_age".into(), by_age.clone())]);
    let set = ask(&world, "sets/test/demo");
    assert_eq!(pair(&set, "enable-index"), "false");
    assert_eq!(pair(&set, "index_populating"), "false");
    engine.set_sindexes(&[
        ("by_age".into(), by_age),
        ("ix".into(), Definition::of_set("demo")),
    ]);
    let set = ask(&world, "sets/test/demo");
    assert_eq!(pair(&set, "enable-index"), "true");
    assert_eq!(pair(&set, "index_populating"), "true");
    assert_eq!(pair(&set, "sindexes"), "1", "those of values");
    let listed = "ns=test:indexname=ix:set=demo:indextype=set:state=";
    assert!(ask(&world, "sindex-list:").ends_with(&format!(";{listed}WO")));
    for id in karst_data::key::PartitionId::all() {
        engine.end_build(&engine.begin_build(id).unwrap());
    }
    assert!(ask(&world, "sindex-list:").ends_with(&format!(";{listed}RW")));
    assert_eq!(
        ask(&world, "sindex-stat:namespace=test;indexname=ix"),
        "entries=0;used_bytes=0;load_pct=100;load_time=0;stat_gc_recs=0"
    );
    assert_eq!(
        pair(&ask(&world, "sets/test/demo"), "index_populating"),
        "false"
    );
    let namespace = ask(&world, "namespace/test");
    assert_eq!(pair(&namespace, "set_index_used_bytes"), "0");
}

#[test]
fn a_context_and_an_expression_are_listed_as_clients_spell_them() {
    use karst_data::sindex::{Definition, Kind, Source};
    let world = World::serving();
    let engine = &world.node.namespaces[0].engine;
    let within = Definition {
        context: vec![0x92, 0x10, 1],
        ..Definition::of_bin("", "m", Kind::Numeric, Source::Bin)
    };
    let computed = Definition {
        expression: vec![0x93, 81, 2, 0xa1, b'a'],
        ..Definition::of_bin("", "", Kind::Numeric, Source::Bin)
    };
    let unreadable = Definition {
        context: vec![0xc1],
        ..within.clone()
    };
    engine.set_sindexes(&[
        ("c".into(), within),
        ("e".into(), computed),
        ("x".into(), unreadable),
    ]);
    assert_eq!(
        ask(&world, "sindex-list:"),
        "ns=test:indexname=c:set=null:bin=m:type=numeric:indextype=default:context=khAB:exp=null:state=WO;\
         ns=test:indexname=e:set=null:bin=null:type=numeric:indextype=default:context=null:exp=k1ECoWE=:state=WO;\
         ns=test:indexname=x:set=null:bin=m:type=numeric:indextype=default:context=wQ==:exp=null:state=ERROR"
    );
}

#[test]
fn what_does_not_exist_is_listed_as_nothing() {
    let world = World::serving();
    for command in [
        "query-show",
        "sindex-list:",
        "udf-list",
        "services",
        "health-outliers",
    ] {
        assert_eq!(ask(&world, command), "", "{command}");
    }
    assert_eq!(
        ask(&world, "sindex-exists:namespace=test;indexname=ix"),
        "false"
    );
}

#[test]
fn the_configuration_is_told_by_context() {
    let world = World::serving();
    let service = ask(&world, "get-config:context=service");
    assert_eq!(pair(&service, "cluster-name"), "prod");
    let network = ask(&world, "get-config:context=network");
    assert_eq!(pair(&network, "service.port"), "3100");
    assert_eq!(ask(&world, "get-config:"), format!("{service};{network}"));
    assert_eq!(ask(&world, "config-get:"), format!("{service};{network}"));
    let today = ask(&world, "get-config:context=namespace;namespace=disk");
    assert_eq!(pair(&today, "default-ttl"), "3600");
    assert_eq!(ask(&world, "get-config:context=namespace;id=disk"), today);
}

#[test]
fn the_level_of_the_log_changes() {
    let world = World::serving();
    crate::logs::start(&world.node.config.log);
    assert_eq!(ask(&world, "log/0"), "karst:INFO");
    assert_eq!(ask(&world, "log-set:id=0;karst=DEBUG"), "ok");
    assert_eq!(ask(&world, "log/0/karst"), "karst:DEBUG");
    assert_eq!(ask(&world, "set-log:id=0;any=info"), "ok");
    assert_eq!(ask(&world, "log/0"), "karst:INFO");
    for wrong in ["id=1;karst=info", "karst=info", "id=0;karst=loud", "id=0"] {
        let answer = ask(&world, &format!("log-set:{wrong}"));
        assert!(answer.starts_with("ERROR:4:bad parameter"), "{answer}");
    }
}

#[test]
fn settings_hold_from_the_moment_they_are_changed() {
    let world = World::serving();
    let test = &world.node.namespaces[TEST];
    let set = |change: &str| {
        let command = format!("set-config:context=namespace;namespace=test;{change}");
        ask(&world, &command)
    };
    let settings = || ask(&world, "get-config:context=namespace;namespace=test");
    assert_eq!(set("default-ttl=2h;nsup-period=7;id=x"), "ok");
    assert_eq!(pair(&settings(), "default-ttl"), "7200");
    assert_eq!(pair(&settings(), "nsup-period"), "7");
    assert_eq!(test.engine.default_ttl_s(0), 7200);
    assert_eq!(set("storage-engine.stop-writes-used-pct=40"), "ok");
    assert_eq!(test.limits().stop_used_percent, 40);
    let refused = set("default-ttl=1;stop-writes-used-pct=0");
    assert!(refused.starts_with("ERROR:4:"), "{refused}");
    assert_eq!(test.engine.default_ttl_s(0), 7200, "all or nothing");

    let elsewhere = set("set=demo;enable-index=true");
    assert!(elsewhere.starts_with("ERROR:4:") && elsewhere.contains("sindex-create"));
    assert_eq!(set("set=demo;default-ttl=60;stop-writes-count=5"), "ok");
    world.put(TEST, "demo", 1);
    let demo = ask(&world, "sets/test/demo");
    assert_eq!(pair(&demo, "default-ttl"), "60");
    assert_eq!(pair(&demo, "stop-writes-count"), "5");
    assert_eq!(set("set=demo;default-ttl=-1"), "ok");
    let demo = ask(&world, "sets/test/demo");
    assert_eq!(pair(&demo, "default-ttl"), "-1", "for ever");
    assert_eq!(pair(&demo, "objects"), "1", "what was counted stays");
    assert_eq!(set("set=demo;default-ttl=0"), "ok");
    let demo = ask(&world, "sets/test/demo");
    assert_eq!(pair(&demo, "default-ttl"), "0", "the namespace's");

    let world = World::strong();
    let ends = ask(
        &world,
        "set-config:context=namespace;namespace=test;default-ttl=1",
    );
    assert!(ends.contains("live for ever"), "{ends}");
}

#[test]
fn latencies_are_percents_beyond_powers_of_two_of_a_microsecond() {
    let world = World::serving();
    let look = |at_s: u64| {
        let ever = crate::core::latencies::ever(&world.node);
        world.node.latencies.end(at_s * 1_000_000, ever);
    };
    let read = &world.core().namespaces[TEST].latency[Op::Read as usize];
    read.record(5000, 3); // before the slice
    look(100);
    assert_eq!(
        ask(&world, "latencies:hist={test}-read"),
        "{test}-read:",
        "no slice has ended"
    );
    read.record(0, 1); // below every threshold
    read.record(1, 1); // at the first
    read.record(300, 2); // at 256 us, column 8
    look(110);
    let text = ask(&world, "latencies:hist={test}-read");
    let columns: Vec<_> = text
        .strip_prefix("{test}-read:usec,")
        .unwrap()
        .split(',')
        .collect();
    assert_eq!(columns.len(), 18, "a rate and 17 thresholds");
    assert_eq!(columns[0], "0.4", "four in ten seconds");
    assert_eq!(columns[1..4], ["75.00", "50.00", "50.00"]);
    assert_eq!(columns[9..11], ["50.00", "0.00"]);
    assert_eq!(ask(&world, "latencies:hist={test}-write"), "{test}-write:");
    assert_eq!(
        ask(&world, "latencies:hist={test}-benchmarks-read"),
        "{test}-benchmarks-read:"
    );
    let all = ask(&world, "latencies:");
    assert!(all.starts_with("batch-index:;{test}-read:usec,"), "{all}");
    assert_eq!(all.split(';').count(), 1 + 2 * 8);
    look(120);
    let idle = ask(&world, "latencies:hist={test}-read");
    let zeros = ["0.00"; 17].join(",");
    assert_eq!(idle, format!("{{test}}-read:usec,0.0,{zeros}"));
}

#[test]
fn a_user_agent_counts_from_its_introduction_to_the_end_of_its_connection() {
    let world = World::serving();
    let agent = "MSxydXN0LTIuMS4wLG5vdC1zZXQ=";
    let introduce = format!("user-agent-set:value={agent}\n");
    let mut session = Session::default();
    assert!(reply(&world, &mut session, &introduce).ends_with("\tok\n"));
    assert!(reply(&world, &mut session, &introduce).ends_with("\tERROR:4:already set\n"));
    assert_eq!(
        ask(&world, "user-agents"),
        format!("user-agent={agent}:count=1;")
    );
    session.end(&world.node);
    assert_eq!(ask(&world, "user-agents"), "");
    let long = format!("user-agent-set:value={}", "A".repeat(88));
    assert_eq!(ask(&world, &long), "ERROR:4:'value' value too long");
}

#[test]
fn more_commands_than_any_client_sends_are_cut_off_with_a_word() {
    let world = World::serving();
    let reply = reply(
        &world,
        &mut Session::default(),
        &"node\n".repeat(COMMANDS_MAX + 5),
    );
    assert_eq!(
        reply
            .lines()
            .filter(|line| line.starts_with("node\t"))
            .count(),
        COMMANDS_MAX
    );
    assert!(reply.ends_with("ERROR:4:too many commands\n"));
}

#[test]
fn answers_beyond_the_largest_reply_become_one_line() {
    let world = World::serving();
    let text = "x".repeat(INFO_REPLY_BYTES_MAX / 4);
    let reply = reply(
        &world,
        &mut Session::default(),
        &format!("{text}\n").repeat(5),
    );
    assert_eq!(reply, "ERROR:4:the answers exceed the largest reply\n");
}

#[test]
fn bytes_that_are_no_text_are_echoed_and_refused() {
    let world = World::serving();
    let mut out = Vec::new();
    let body = b"\xff\xfe:\0=\x80;set=\n\nnamespace/\xff\nsets/\xff/\xff\ntruncate:namespace=\xff;set=\xff\n";
    answer(&world.node, &mut Session::default(), body, &mut out);
    let lines: Vec<_> = out[HEADER_BYTES..].split(|byte| *byte == b'\n').collect();
    let expected: [&[u8]; 6] = [
        b"\xff\xfe:\0=\x80;set=\tERROR:4:unrecognized command",
        b"\tERROR:4:unrecognized command",
        b"namespace/\xff\ttype=unknown",
        b"sets/\xff/\xff\t", // an argument that is no text reads as none, and there is no set yet
        b"truncate:namespace=\xff;set=\xff\tERROR:20:'namespace' value is not text",
        b"",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn an_eviction_is_told_kept_and_taken_back() {
    let world = World::serving();
    world.put(DISK, "demo", 1); // lives for an hour
    assert_eq!(
        pair(&ask(&world, "namespace/disk"), "non_expirable_objects"),
        "0"
    );
    assert_eq!(ask(&world, "eviction-reset:namespace=disk;ttl=3000"), "ok");
    let text = ask(&world, "namespace/disk");
    let ttl: u32 = pair(&text, "evict_ttl").parse().unwrap();
    assert!((2998..=3000).contains(&ttl), "{ttl}");
    assert_eq!(world.node.marks.evictions.of("disk").len(), 1);
    assert!(world.is_there(DISK, "demo", 1), "it lives longer");
    assert_eq!(ask(&world, "eviction-reset:namespace=disk;ttl=3700"), "ok");
    assert!(!world.is_there(DISK, "demo", 1));
    assert_eq!(ask(&world, "eviction-reset:namespace=disk"), "ok");
    assert!(world.is_there(DISK, "demo", 1), "it was not swept yet");
    assert_eq!(pair(&ask(&world, "namespace/disk"), "evict_void_time"), "0");
    assert!(ask(&world, "eviction-reset:namespace=no").starts_with("ERROR:20"));
    assert!(ask(&world, "eviction-reset:namespace=disk;ttl=-1").starts_with("ERROR:4"));
}

#[test]
fn histograms_are_told_once_they_were_made() {
    let world = World::serving();
    assert_eq!(ask(&world, "histogram:namespace=test;type=ttl"), "");
    assert_eq!(ask(&world, "histogram:namespace=test;type=object-size"), "");
    let linear = "histogram:namespace=test;type=object-size-linear";
    assert_eq!(ask(&world, linear), "", "not walked yet");
    assert_eq!(
        ask(&world, "histogram:namespace=test;type=none"),
        "ERROR:4:unknown hist name"
    );
}

#[test]
fn a_watch_ends_when_a_generation_is_another_than_the_one_known() {
    let world = World::serving();
    let watch = |text: &str| Watch::of(format!("{text}\n").as_bytes()).unwrap();
    let now = ask(&world, "karst-map-watch");
    assert_eq!(now, "partitions=1;peers=1");
    let known = watch(&format!("karst-map-watch:{now};timeout=250"));
    assert_eq!(known.timeout.as_millis(), 250);
    assert!(!known.is_over(&world.node));
    for news in [
        "karst-map-watch",
        "karst-map-watch:timeout=9",
        "karst-map-watch:partitions=1",
        "karst-map-watch:partitions=0;peers=1",
        "karst-map-watch:partitions=1;peers=7",
        "karst-map-watch:partitions=-1;peers=1",
    ] {
        assert!(watch(news).is_over(&world.node), "{news}");
    }
    let endless = watch("karst-map-watch:timeout=9999999999");
    assert_eq!(endless.timeout.as_secs(), 60);
}

#[test]
fn a_watch_waits_only_as_the_one_command_of_its_request() {
    for body in [
        "",
        "node\n",
        "karst-map-watch:timeout=1",
        "node\nkarst-map-watch:timeout=1\n",
        "karst-map-watch:timeout=soon\n",
        "karst-map-watch:peers=-1\n",
    ] {
        assert_eq!(Watch::of(body.as_bytes()), None, "{body:?}");
    }
    let world = World::serving();
    let refused = ask(&world, "karst-map-watch:timeout=soon");
    assert_eq!(refused, "ERROR:4:bad timeout");
}

#[test]
fn a_map_is_never_told_under_a_generation_that_is_newer_than_it() {
    let world = World::serving();
    let memo = Memo::new(&world.node, None);
    let told = world.node.sights.generation_for_clients();
    let newer = {
        let mut state = (*world.node.sights.now().state).clone();
        let id = world.node.id;
        state.generation += 1;
        state.apply(karst_cluster::state::Command::Stop(id));
        std::sync::Arc::new(state)
    };
    let engines = world.node.namespaces.iter().map(|it| &it.engine);
    world
        .node
        .sights
        .put_into_force(newer, &engines.collect::<Vec<_>>());
    assert!(world.node.sights.generation_for_clients() > told);
    assert_eq!(memo.partition_generation, told as i64, "clients ask again");
}
