//! Tests of the whole path from text to checked values and back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use karst_storage::watermark::Limits;

use super::*;

/// A file with nothing but what has no default.
const SMALLEST: &str = "\
[[namespace]]
name = \"test\"
storage = { engine = \"memory\" }
";

/// Every key, as the documentation shows it.
const FULL: &str = r#"
[node]
name = "n1"
data_dir = "/var/lib/karst"
cores = 4
rack = 7
io = "threads"
index_entries_max = 1000000
shm_dir = "/run/karst"
[log]
level = "warn,karst_node=debug"
format = "json"
[service]
listen = "127.0.0.1:4000"
advertise = ["db1.example.com:3000", "[::1]:3000"]
connections_max = 20
idle_timeout = "90s"
[fabric]
listen = "127.0.0.1:4001"
[admin]
listen = "[::]:4002"
[http]
listen = "127.0.0.1:0"
[cluster]
name = "prod"
seeds = []
bootstrap_expect = 1

[[namespace]]
name = "test"
mode = "ap"
replication_factor = 2
default_ttl = "30d"
max_record_size = "512KiB"
max_ttl = "365d"
apply_ttl_reductions = false
read_touch_percent = 10
sweep_period = "5s"
evict_used_percent = 60
evict_index_percent = 70
evict_tenths_percent = 20
evict_histogram_buckets = 500
stop_writes_used_percent = 80
stop_writes_free_blocks_percent = 3
stop_writes_index_percent = 95
stop_writes_memory_percent = 0
[[namespace.set]]
name = "sessions"
default_ttl = "1h"
read_touch_percent = 80
[[namespace.set]]
name = "kept"
default_ttl = "0"
disable_eviction = true
stop_writes_count = 1000
stop_writes_bytes = "1GiB"
[namespace.storage]
engine = "device"
devices = [ { path = "/dev/nvme0n1" }, { path = "/var/lib/karst/test.dat", size = "4GiB", sector_size = 4096 } ]
write_block = "2MiB"
commit_to_device = true
flush_max = "250ms"
defrag_low_water_percent = 60
compression = "zstd"
compression_level = 9
encryption_key_file = "/etc/karst/test.key"
read_page_cache = true
post_write_cache = "0"

[[namespace]]
name = "cache"
storage = { engine = "memory", size = "64MiB" }
"#;

fn inputs(text: &str) -> Inputs {
    Inputs {
        file: Some((PathBuf::from("karst.toml"), text.to_owned())),
        host_name: "host".to_owned(),
        ..Inputs::default()
    }
}

fn config(text: &str) -> Config {
    from_inputs(&inputs(text)).unwrap_or_else(|errors| panic!("{errors}"))
}

fn with_set(text: &str, set: &[&str]) -> Result<Config, Errors> {
    from_inputs(&Inputs {
        set: set.iter().map(|item| item.to_string()).collect(),
        ..inputs(text)
    })
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Result<Config, Errors> {
    from_inputs(&Inputs {
        environment: variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        ..inputs(text)
    })
}

/// The smallest file after `lines` is refused, and one error line is `expected`.
fn refuses(lines: &str, expected: &str) {
    refuses_file(&format!("{lines}\n{SMALLEST}"), expected);
}

/// A namespace of these lines, then storage of those, is refused with `expected`.
fn refuses_namespace(lines: &str, storage: &str, expected: &str) {
    let text = format!("[[namespace]]\nname = \"test\"\n{lines}\n[namespace.storage]\n{storage}\n");
    refuses_file(&text, expected);
}

fn refuses_file(text: &str, expected: &str) {
    let errors = from_inputs(&inputs(text)).expect_err(expected);
    let hit = errors.lines().iter().any(|line| line.contains(expected));
    assert!(hit, "wanted: {expected}\nfound:  {errors}");
}

#[test]
fn what_is_not_written_has_its_documented_default() {
    let config = config(SMALLEST);
    assert_eq!(config.node.name, "host");
    assert_eq!(config.node.data_dir, Path::new("/var/lib/karst"));
    assert_eq!(config.node.cores, 0);
    assert_eq!(config.node.io, IoChoice::Auto);
    assert_eq!(config.log.level, "info");
    assert_eq!(config.service.listen.to_string(), "0.0.0.0:3000");
    assert_eq!(config.fabric.listen.to_string(), "0.0.0.0:3001");
    assert_eq!(config.admin.listen.to_string(), "0.0.0.0:3002");
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:3003");
    assert_eq!(config.service.connections_max, 15_000);
    assert_eq!(config.service.idle_timeout, None);
    assert_eq!(config.cluster.name, "karst");
    let space = &config.namespaces[0];
    assert_eq!(space.mode, Mode::Ap);
    assert_eq!(space.replication_factor, 2);
    assert_eq!(space.life.default_ttl, None);
    assert_eq!(space.life.max_ttl, Duration::from_secs(315_360_000));
    assert!(space.life.apply_ttl_reductions);
    assert_eq!(space.life.sweep_period, Duration::from_secs(120));
    let limits = Limits {
        stop_used_percent: 85,
        stop_memory_percent: 90,
        ..Limits::default()
    };
    assert_eq!(
        space.life.limits, limits,
        "nothing is evicted unless asked for"
    );
    assert_eq!(space.storage.engine, Engine::Memory { size: 1 << 30 });
    assert_eq!(space.storage.write_block, 1 << 20);
    assert!(!space.storage.commit_to_device);
    assert_eq!(space.storage.flush_max, Duration::from_secs(1));
    assert_eq!(space.storage.defrag_low_water_percent, 50);
    assert_eq!(space.storage.post_write_cache, 64 << 20);
}

#[test]
fn every_key_reaches_its_value() {
    let config = config(FULL);
    assert_eq!(config.node.cores, 4);
    assert_eq!(config.node.rack, 7);
    assert_eq!(config.node.io, IoChoice::Threads);
    assert_eq!(config.node.index_entries_max, Some(1_000_000));
    assert_eq!(
        config.node.shm_dir.as_deref(),
        Some(Path::new("/run/karst"))
    );
    assert_eq!(config.log.level, "warn,karst_node=debug");
    assert_eq!(config.log.format, LogFormat::Json);
    let Advertise::Addresses(addresses) = &config.service.advertise else {
        panic!("{:?}", config.service.advertise);
    };
    let addresses: Vec<_> = addresses.iter().map(HostPort::to_string).collect();
    assert_eq!(addresses, ["db1.example.com:3000", "[::1]:3000"]);
    assert_eq!(config.service.idle_timeout, Some(Duration::from_secs(90)));
    assert_eq!(config.admin.listen.to_string(), "[::]:4002");
    let space = &config.namespaces[0];
    assert_eq!(
        space.life.default_ttl,
        Some(Duration::from_secs(30 * 86_400))
    );
    let life = &space.life;
    assert_eq!(life.max_ttl, Duration::from_secs(365 * 86_400));
    assert!(!life.apply_ttl_reductions);
    assert_eq!(life.read_touch_percent, 10);
    assert_eq!(life.sweep_period, Duration::from_secs(5));
    assert_eq!(
        (life.evict_tenths_percent, life.evict_histogram_buckets),
        (20, 500)
    );
    let limits = Limits {
        evict_used_percent: 60,
        evict_index_percent: 70,
        stop_used_percent: 80,
        stop_free_blocks_percent: 3,
        stop_index_percent: 95,
        stop_memory_percent: 0,
    };
    assert_eq!(life.limits, limits);
    let [sessions, kept] = &life.sets[..] else {
        panic!("{:?}", life.sets);
    };
    assert_eq!(sessions.default_ttl, Some(Duration::from_secs(3600)));
    assert_eq!(sessions.read_touch_percent, Some(80));
    assert_eq!(
        (kept.default_ttl, kept.disable_eviction),
        (Some(Duration::ZERO), true)
    );
    assert_eq!(
        (kept.stop_writes_count, kept.stop_writes_bytes),
        (1000, 1 << 30)
    );
    assert_eq!(space.max_record_size, 512 << 10);
    assert_eq!(
        space.storage.engine,
        Engine::Device {
            devices: vec![
                Device {
                    path: "/dev/nvme0n1".into(),
                    size: None,
                    sector_size: None,
                },
                Device {
                    path: "/var/lib/karst/test.dat".into(),
                    size: Some(4 << 30),
                    sector_size: Some(4096),
                },
            ],
            resident: false,
        }
    );
    assert_eq!(space.storage.compression, Compression::Zstd(9));
    assert_eq!(
        space.storage.encryption_key_file,
        Some("/etc/karst/test.key".into())
    );
    assert!(space.storage.read_page_cache);
    assert_eq!(space.storage.flush_max, Duration::from_millis(250));
    assert_eq!(space.storage.post_write_cache, 0);
    assert_eq!(
        config.namespaces[1].storage.engine,
        Engine::Memory { size: 64 << 20 }
    );
}

#[test]
fn the_printed_configuration_loads_back_to_the_same_one() {
    for text in [SMALLEST, FULL, STRONG] {
        let first = config(text);
        let printed = first.to_toml();
        // The host name and every other default are in the text, so another host changes nothing.
        let back = from_inputs(&Inputs {
            host_name: "elsewhere".to_owned(),
            ..inputs(&printed)
        });
        assert_eq!(back.as_ref(), Ok(&first), "{printed}");
        assert_eq!(back.unwrap().to_toml(), printed);
    }
}

#[test]
fn later_layers_win_over_earlier_ones() {
    let file = format!("[service]\nlisten = \"1.1.1.1:1\"\n{SMALLEST}");
    let listen = |set: &[&str], environment: &[(&str, &str)]| {
        let both = Inputs {
            set: set.iter().map(|item| item.to_string()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            ..inputs(&file)
        };
        from_inputs(&both).unwrap().service.listen.to_string()
    };
    let variable = ("KARST_SERVICE__LISTEN", "2.2.2.2:2");
    assert_eq!(listen(&[], &[]), "1.1.1.1:1");
    assert_eq!(listen(&[], &[variable]), "2.2.2.2:2");
    assert_eq!(
        listen(&["service.listen=3.3.3.3:3"], &[variable]),
        "3.3.3.3:3"
    );
    let twice = ["service.listen=3.3.3.3:3", "service.listen=4.4.4.4:4"];
    assert_eq!(listen(&twice, &[]), "4.4.4.4:4");
}

#[test]
fn overrides_take_the_kind_of_their_key() {
    let config = with_set(
        SMALLEST,
        &[
            "node.name=123",
            "node.cores= 3",
            "log.level=\"debug\"",
            "service.advertise=a:1,b:2",
            "service.idle_timeout=0",
            "cluster.seeds=",
        ],
    )
    .unwrap();
    assert_eq!(config.node.name, "123");
    assert_eq!(config.node.cores, 3);
    assert_eq!(config.log.level, "debug");
    assert!(matches!(&config.service.advertise, Advertise::Addresses(list) if list.len() == 2));
}

#[test]
fn a_namespace_is_set_by_its_name() {
    let config = with_set(
        FULL,
        &[
            "namespace.cache.storage.size=128MiB",
            "namespace.test.replication_factor=1",
            "namespace.test.storage.devices=[{ path = \"/tmp/x\", size = \"16MiB\" }]",
        ],
    )
    .unwrap();
    assert_eq!(
        config.namespaces[1].storage.engine,
        Engine::Memory { size: 128 << 20 }
    );
    assert_eq!(config.namespaces[0].replication_factor, 1);
    assert!(matches!(
        &config.namespaces[0].storage.engine,
        Engine::Device { devices, .. } if devices.len() == 1
    ));
    let upper = [("KARST_NAMESPACE__CACHE__STORAGE__SIZE", "32MiB")];
    let config = with_environment(FULL, &upper).unwrap();
    assert_eq!(
        config.namespaces[1].storage.engine,
        Engine::Memory { size: 32 << 20 }
    );
}

#[test]
fn a_wrong_override_is_named_as_it_was_given() {
    let set = |argument: &str, expected: &str| {
        let errors = with_set(FULL, &[argument]).unwrap_err();
        assert_eq!(errors.lines(), [expected]);
    };
    set(
        "service.listen",
        "--set service.listen: write it as SECTION.KEY=VALUE",
    );
    set(
        "service.listne=1.1.1.1:1",
        "--set service.listne=1.1.1.1:1: there is no key service.listne; did you mean service.listen?",
    );
    set(
        "service.listen=here",
        "--set service.listen=here: service.listen: \"here\" is not IP:PORT; \
         write it like \"0.0.0.0:3000\" or \"[::]:3000\"",
    );
    set(
        "node.cores=many",
        "--set node.cores=many: \"many\" is not a whole number",
    );
    set(
        "namespace.test.storage.read_page_cache=1",
        "--set namespace.test.storage.read_page_cache=1: \"1\" is neither true nor false",
    );
    set(
        "namespace.tset.mode=ap",
        "--set namespace.tset.mode=ap: there is no namespace \"tset\"; there is test, cache",
    );
    set(
        "namespace.test.storage.devices=[{ path = \"/x\", size = 3 }]",
        "--set namespace.test.storage.devices=[{ path = \"/x\", size = 3 }]: \
         namespace.test.storage.devices: invalid type: integer 3, expected a string",
    );
    let errors = with_environment(FULL, &[("KARST_SERVICE__LISTEN", "x")]).unwrap_err();
    assert!(
        errors
            .to_string()
            .starts_with("environment KARST_SERVICE__LISTEN: service.listen: \"x\""),
        "{errors}"
    );
    let errors = with_environment(FULL, &[("KARST_SERVIC__LISTEN", "x")]).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "environment KARST_SERVIC__LISTEN: there is no key servic.listen; \
         did you mean service.listen?"
    );
}

#[test]
fn variables_of_other_programs_are_left_alone() {
    let others = [("KARST_CONFIG", "x"), ("KARSTD", "x"), ("PATH", "__")];
    assert!(with_environment(SMALLEST, &others).is_ok());
}

#[test]
fn an_error_names_file_line_and_key() {
    let at = |text: &str, expected: &str| {
        let errors = from_inputs(&inputs(text)).unwrap_err();
        assert!(
            errors.lines().iter().any(|line| line == expected),
            "wanted: {expected}\nfound:  {errors}"
        );
    };
    at(
        &format!("\n\n[node]\ncolour = 1\n{SMALLEST}"),
        "karst.toml:4: there is no key node.colour",
    );
    at(
        &format!("[servcie]\nlisten = 1\n{SMALLEST}"),
        "karst.toml:1: there is no key servcie; did you mean service?",
    );
    at(
        &format!("[node]\ncores = \"four\"\n{SMALLEST}"),
        "karst.toml:2: node.cores: invalid type: string \"four\", expected i64",
    );
    at(
        &format!("[node]\nname = 1\n{SMALLEST}"),
        "karst.toml:2: node.name: invalid type: integer 1, expected a string",
    );
    at(
        &format!("[service]\nadvertise = 1\n{SMALLEST}"),
        "karst.toml:2: service.advertise: expected \"auto\" or a list such as \
         [\"db1.example.com:3000\"]",
    );
    at(
        "[[namespace]]\nname = \"test\"\nwrite_block = \"1MiB\"\nstorage = { engine = \"memory\" }\n",
        "karst.toml:3: there is no key namespace.NAME.write_block; \
         did you mean namespace.NAME.storage.write_block?",
    );
    at(
        "[[namespace]]\nname = \"test\"\n[namespace.storage]\n\nflush_max = \"soon\"\n\
         devices = [\n  { path = \"/x\" },\n  { path = \"/y\", size = \"big\" },\n]\n",
        "karst.toml:8: namespace.test.storage.devices[1].size: \"big\" is not a size; \
         write it like \"4GiB\" or \"512KiB\"",
    );
    at(
        "[[namespace]]\nstorage = { engine = \"memory\" }\n",
        "karst.toml:1: namespace[0].name: a namespace needs a name",
    );
}

#[test]
fn text_that_is_no_toml_names_its_line() {
    refuses_file("[node]\ncores = \n", "karst.toml:2: ");
    refuses_file("[node]\ncores = 1\ncores = 2\n", "karst.toml:3: ");
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let text = format!("[node]\nio = \"fast\"\nrack = -1\n[log]\nformat = \"xml\"\n{SMALLEST}");
    let errors = from_inputs(&inputs(&text)).unwrap_err();
    assert_eq!(errors.lines().len(), 3, "{errors}");
}

#[test]
fn a_value_out_of_its_range_is_refused() {
    refuses("[node]\ncores = -1", "node.cores: -1 is outside 0 to 1024");
    refuses("[node]\nrack = 1000001", "node.rack: 1000001 is outside");
    refuses("[node]\nindex_entries_max = 0", "node.index_entries_max: 0");
    refuses("[node]\nio = \"dma\"", "\"auto\", \"ring\" or \"threads\"");
    refuses("[node]\nname = \"a b\"", "node.name: \"a b\" is no name");
    refuses("[node]\nname = \"\"", "node.name: \"\" is no name");
    refuses("[node]\ndata_dir = \"\"", "node.data_dir: needs a path");
    refuses("[cluster]\nname = \"a;b\"", "cluster.name: \"a;b\"");
    refuses("[log]\nlevel = \"inof\"", "log.level: \"inof\" is neither");
    refuses("[log]\nlevel = \"a=loud\"", "log.level: \"a=loud\"");
    refuses("[log]\nlevel = \"\"", "log.level: \"\"");
    refuses("[service]\nconnections_max = 0", "0 is outside 1 to");
    refuses("[service]\nidle_timeout = \"9\"", "\"9\" is not a time");
    refuses("[service]\nlisten = \"localhost:1\"", "is not IP:PORT");
    refuses("[service]\nlisten = \"1.1.1.1\"", "is not IP:PORT");
    for wrong in [
        "",
        "host",
        "host:0",
        "host:99999",
        ":1",
        "a b:1",
        "::1:3000",
    ] {
        refuses(
            &format!("[service]\nadvertise = \"{wrong}\""),
            "service.advertise: ",
        );
    }
    refuses("[service]\nadvertise = []", "has no address");
}

#[test]
fn a_namespace_out_of_bounds_is_refused() {
    const MEMORY: &str = "engine = \"memory\"";
    let check = |lines, expected| refuses_namespace(lines, MEMORY, expected);
    check(
        "replication_factor = 0",
        "replication_factor: 0 is outside 1 to 8",
    );
    check(
        "replication_factor = 9",
        "replication_factor: 9 is outside 1 to 8",
    );
    check("mode = \"sc\"", "mode: \"sc\" is not \"ap\"");
    check("default_ttl = \"20y\"", "default_ttl: 7305d");
    check(
        "default_ttl = \"1500ms\"",
        "1500ms is not a whole number of seconds",
    );
    check(
        "max_record_size = \"2MiB\"",
        "2MiB does not fit a write_block of 1MiB",
    );
    check(
        "max_record_size = \"1B\"",
        "max_record_size: 1B is outside 1KiB to 8MiB",
    );
}

#[test]
fn storage_out_of_bounds_is_refused() {
    let memory = |lines: &str, expected| {
        refuses_namespace("", &format!("engine = \"memory\"\n{lines}"), expected);
    };
    memory("write_block = \"32KiB\"", "32KiB is outside 64KiB to 8MiB");
    memory("write_block = \"16MiB\"", "16MiB is outside 64KiB to 8MiB");
    memory(
        "write_block = \"768KiB\"",
        "768KiB is not a power of two; 512KiB and 1MiB are",
    );
    memory("flush_max = \"0\"", "flush_max: 0 is outside 1ms to 1m");
    memory("defrag_low_water_percent = 0", "0 is outside 1 to 99");
    memory("defrag_low_water_percent = 100", "100 is outside 1 to 99");
    memory("size = \"7MiB\"", "size: 7MiB is outside 8MiB to 2TiB");
    memory(
        "size = \"8704KiB\"",
        "8704KiB is not a whole number of write blocks of 1MiB",
    );
    memory("commit_to_device = true", "no device to commit to");
    memory("encryption_key_file = \"/k\"", "no device; give it devices");
    memory("read_page_cache = true", "no device; give it devices");
    memory(
        "compression_level = 3",
        "only compression = \"zstd\" has levels",
    );
    memory(
        "compression = \"zstd\"\ncompression_level = 23",
        "23 is outside 1 to 22",
    );
    memory(
        "compression = \"gzip\"",
        "\"gzip\" is not \"none\", \"lz4\" or \"zstd\"",
    );
    memory(
        "devices = [ { path = \"/x\" } ]\nsize = \"1GiB\"",
        "bounds a memory engine without devices",
    );
    refuses_namespace(
        "",
        "engine = \"disk\"",
        "\"disk\" is not \"device\" or \"memory\"",
    );

    let device = |lines: &str, expected| refuses_namespace("", lines, expected);
    device(
        "",
        "storage.devices: engine = \"device\" needs at least one",
    );
    device(
        "devices = []",
        "storage.devices: engine = \"device\" needs at least one",
    );
    device(
        "devices = [ { size = \"1GiB\" } ]",
        "devices[0].path: needs a path",
    );
    device(
        "devices = [ { path = \"/x\", size = \"3TiB\" } ]",
        "devices[0].size: 3TiB is outside 8MiB to 2TiB",
    );
    device(
        "size = \"1GiB\"\ndevices = [ { path = \"/x\" } ]",
        "storage.size: bounds a memory engine without devices",
    );
    device(
        "devices = [ { path = \"/x\", sector_size = 1024 } ]",
        "devices[0].sector_size: 1024 is neither 512 nor 4096",
    );
    device(
        "devices = [ { path = \"/x\" }, { path = \"/x\" } ]",
        "devices[1].path: /x is already a device of namespace test",
    );
    let many = "{ path = \"/x\" },".repeat(129);
    device(
        &format!("devices = [{many}]"),
        "129 of them; a namespace has at most 128",
    );
}

#[test]
fn a_memory_engine_with_devices_keeps_all_of_them_in_memory() {
    let config = config(
        "[[namespace]]\nname = \"test\"\n[namespace.storage]\nengine = \"memory\"\n\
         devices = [ { path = \"/x\" } ]\ncommit_to_device = true\n",
    );
    let engine = &config.namespaces[0].storage.engine;
    assert!(matches!(engine, Engine::Device { resident: true, .. }));
    assert!(config.to_toml().contains("engine = \"memory\""));
}

const STRONG: &str = "\
[[namespace]]
name = \"sure\"
mode = \"cp\"
replication_factor = 3
min_in_sync = 2
default_ttl = \"0\"
[namespace.storage]
devices = [ { path = \"/x\" } ]
[[namespace]]
name = \"fleeting\"
mode = \"cp\"
[namespace.storage]
engine = \"memory\"
";

#[test]
fn a_strong_namespace_commits_to_its_devices_unless_it_is_told_not_to() {
    let both = config(STRONG);
    let [sure, fleeting] = &both.namespaces[..] else {
        panic!("{:?}", both.namespaces);
    };
    assert_eq!((sure.mode, sure.min_in_sync), (Mode::Cp, 2));
    assert_eq!((fleeting.mode, fleeting.min_in_sync), (Mode::Cp, 1));
    assert!(sure.storage.commit_to_device);
    assert!(!fleeting.storage.commit_to_device);
    let off = format!("{STRONG}\n").replace(
        "{ path = \"/x\" } ]",
        "{ path = \"/x\" } ]\ncommit_to_device = false",
    );
    assert!(!config(&off).namespaces[0].storage.commit_to_device);
    assert!(!config(FULL).namespaces[1].storage.commit_to_device);
}

#[test]
fn what_ends_by_a_clock_is_refused_where_consistency_is_strong() {
    let check = |lines: &str, expected: &str| {
        let lines = format!("mode = \"cp\"\n{lines}");
        refuses_namespace(&lines, "engine = \"memory\"", expected);
    };
    let at = |key: &str| format!("karst.toml:4: namespace.test.{key}: ");
    check("default_ttl = \"1h\"", &at("default_ttl"));
    check("read_touch_percent = 5", &at("read_touch_percent"));
    check("evict_used_percent = 50", &at("evict_used_percent"));
    check("evict_index_percent = 50", &at("evict_index_percent"));
    check(
        "set = [{ name = \"a\", default_ttl = \"1h\" }]",
        "live for ever",
    );
    check(
        "set = [{ name = \"a\", read_touch_percent = 5 }]",
        "no life",
    );
    check("min_in_sync = 0", "0 is outside 1 to 2");
    check("min_in_sync = 3", "it is more than replication_factor, 2");
    refuses_namespace(
        "min_in_sync = 1",
        "engine = \"memory\"",
        "only mode = \"cp\" has it",
    );
}

#[test]
fn a_cluster_is_found_by_the_addresses_of_some_of_its_nodes() {
    let seeds = [("KARST_CLUSTER__SEEDS", "a:3002,[::1]:3002")];
    let config = with_environment(SMALLEST, &seeds).unwrap();
    let seeds: Vec<_> = config
        .cluster
        .seeds
        .iter()
        .map(HostPort::to_string)
        .collect();
    assert_eq!(seeds, ["a:3002", "[::1]:3002"]);
    assert!(!config.cluster.is_alone());
    refuses("[cluster]\nseeds = [\"a\"]", "\"a\" is not HOST:PORT");
    refuses(
        "[cluster]\nbootstrap_expect = 0",
        "cluster.bootstrap_expect: 0 is outside 1 to 7",
    );
    refuses(
        "[cluster]\nsuspect_after = \"10ms\"",
        "cluster.suspect_after: 10ms is outside 300ms to 1m",
    );
}

#[test]
fn namespace_names_are_what_the_protocol_can_carry() {
    let named = |name: &str| {
        let text = format!("[[namespace]]\nname = {name:?}\nstorage = {{ engine = \"memory\" }}\n");
        from_inputs(&inputs(&text))
    };
    for good in ["a", "test-2_$", &"n".repeat(31)] {
        assert!(named(good).is_ok(), "{good}");
    }
    for wrong in [
        "",
        "a b",
        "a;b",
        "a:b",
        "a/b",
        "a=b",
        "a,b",
        "a.b",
        "é",
        &"n".repeat(32),
    ] {
        assert!(named(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn namespaces_are_some_distinct_and_not_too_many() {
    refuses_file(
        "[node]\ncores = 1\n",
        "karst.toml: namespace: there is none",
    );
    refuses_file(
        &SMALLEST.repeat(2),
        "karst.toml:5: namespace.test.name: \"test\" is already the name of [[namespace]] number 1",
    );
    let many: String = (0..33)
        .map(|at| format!("[[namespace]]\nname = \"n{at}\"\nstorage = {{ engine = \"memory\" }}\n"))
        .collect();
    refuses_file(&many, "33 of them; a node has at most 32");
}

#[test]
fn two_doors_cannot_share_an_address_but_may_share_port_zero() {
    refuses(
        "[http]\nlisten = \"127.0.0.1:3000\"",
        "http.listen: 127.0.0.1:3000 is taken by service.listen = \"0.0.0.0:3000\"",
    );
    let zero = "listen = \"127.0.0.1:0\"";
    config(&format!(
        "[http]\n{zero}\n[admin]\n{zero}\n[service]\n{zero}\n{SMALLEST}"
    ));
}

#[test]
fn a_record_limit_of_a_whole_block_means_what_a_block_holds() {
    let text = |limit: &str| {
        format!("[[namespace]]\nname = \"t\"\n{limit}\nstorage = {{ engine = \"memory\" }}\n")
    };
    let room = (1 << 20) - check::BLOCK_HEADER_ROOM;
    let limit = |text: &str| config(text).namespaces[0].max_record_size;
    assert_eq!(limit(&text("max_record_size = \"1MiB\"")), room);
    assert_eq!(limit(&text("")), room);
    assert_eq!(limit(&text("max_record_size = \"128KiB\"")), 128 << 10);
}

#[test]
fn no_bytes_make_loading_panic() {
    // Every prefix of a full file, and the file with each byte replaced by ones that mean something.
    for at in 0..FULL.len() {
        let _ = from_inputs(&inputs(&FULL[..at]));
        for byte in ["[", "\"", "=", ".", "9", "\n", "\u{0}"] {
            let _ = from_inputs(&inputs(&format!(
                "{}{byte}{}",
                &FULL[..at],
                &FULL[at + 1..]
            )));
        }
    }
    for set in [
        "=",
        ".=",
        "namespace=",
        "namespace.=",
        "namespace.test=",
        "node=1",
        "a.b.c=\u{0}",
    ] {
        assert!(with_set(FULL, &[set]).is_err(), "{set}");
    }
    assert!(with_set(&"[".repeat(100_000), &[]).is_err());
    assert!(with_set(&format!("x = {}", "[".repeat(100_000)), &[]).is_err());
}

#[test]
fn a_file_that_is_absent_or_absurd_is_named() {
    let missing = Path::new("/nonexistent/karst.toml");
    let errors = load(Some(missing), &[]).unwrap_err();
    assert!(
        errors.to_string().starts_with("/nonexistent/karst.toml: "),
        "{errors}"
    );
    let errors = load(Some(Path::new("/dev/zero")), &[]).unwrap_err();
    assert!(errors.to_string().contains("larger than"), "{errors}");
}

#[test]
fn lives_and_limits_that_contradict_each_other_are_refused() {
    let check =
        |lines: &str, expected: &str| refuses_namespace(lines, "engine = \"memory\"", expected);
    check(
        "default_ttl = \"2h\"\nmax_ttl = \"1h\"",
        "is more than max_ttl",
    );
    check("max_ttl = \"1500ms\"", "is not a whole number of seconds");
    check("max_ttl = \"4000d\"", "is outside");
    check(
        "evict_used_percent = 85",
        "is not below stop_writes_used_percent",
    );
    check("stop_writes_used_percent = 91", "is outside 1 to 90");
    check("evict_tenths_percent = 0", "is outside");
    check("sweep_period = \"0\"", "is outside");
    check(
        "set = [{ name = \"a\" }, { name = \"a\" }]",
        "is there already",
    );
    check("set = [{ default_ttl = \"1h\" }]", "is no name of a set");
    check("set = [{ name = \"a:b\" }]", "is no name of a set");
    check(
        "max_ttl = \"1h\"\nset = [{ name = \"a\", default_ttl = \"2h\" }]",
        "is more than max_ttl",
    );
    check(
        "set = [{ name = \"a\", ttl = \"2h\" }]",
        "there is no key namespace.NAME.set",
    );
}
