use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::testing::{DISK, TEST, World};

/// Samples by name and labels, as a scraper sees them, and the declared type of each family.
struct Scraped {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

/// Reads OpenMetrics text as strictly as is of use: heads come before samples, nothing comes twice.
fn parse(text: &str) -> Scraped {
    let mut scraped = Scraped {
        samples: BTreeMap::new(),
        types: BTreeMap::new(),
    };
    let mut helped = BTreeSet::new();
    let body = text.strip_suffix("# EOF\n").expect("the text is whole");
    for line in body.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            let (keyword, rest) = head.split_once(' ').unwrap();
            let (name, what) = rest.split_once(' ').unwrap();
            match keyword {
                "TYPE" => {
                    let again = scraped.types.insert(name.into(), what.into());
                    assert_eq!(again, None, "{name} is declared twice");
                }
                "HELP" => assert!(helped.insert(name.to_owned())),
                "UNIT" => assert!(name.ends_with(what), "{name} ends in its unit"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
        let stems = suffixes.map(|suffix| name.strip_suffix(suffix).unwrap_or_default());
        let family = stems.iter().find(|stem| scraped.types.contains_key(**stem));
        assert!(helped.contains(*family.expect(line)), "{line}");
        let again = scraped
            .samples
            .insert(sample.into(), value.parse().expect(line));
        assert_eq!(again, None, "{sample} comes twice");
    }
    scraped
}

impl Scraped {
    fn get(&self, sample: &str) -> f64 {
        *self
            .samples
            .get(sample)
            .unwrap_or_else(|| panic!("no {sample} in {:#?}", self.samples))
    }
}

#[test]
fn what_was_counted_is_scraped_under_the_names_of_the_contract() {
    let world = World::serving();
    world.put(TEST, "demo", 1);
    world.put(DISK, "demo", 1);
    for core in &world.node.cores {
        core.namespaces[TEST].count(Op::Read, Ending::NotFound);
        core.namespaces[TEST].latency[Op::Read as usize].record(3, 1);
        core.namespaces[DISK].device_reads.add(2);
        core.namespaces[DISK].device_read_us.add(500);
    }
    world.core().connections.add(5);
    let scraped = parse(&render(&world.node));
    for (sample, value) in [
        (
            r#"karst_client_requests_total{namespace="test",op="read",result="not_found"}"#,
            2.0,
        ),
        (
            r#"karst_client_requests_total{namespace="test",op="read",result="ok"}"#,
            0.0,
        ),
        (
            r#"karst_request_seconds_count{namespace="test",op="read"}"#,
            2.0,
        ),
        (
            r#"karst_request_seconds_sum{namespace="test",op="read"}"#,
            6e-6,
        ),
        (r#"karst_records{namespace="test"}"#, 1.0),
        (r#"karst_records{namespace="disk"}"#, 1.0),
        (r#"karst_tombstones{namespace="test"}"#, 0.0),
        (r#"karst_stop_writes{namespace="test"}"#, 0.0),
        (r#"karst_log_total_bytes{namespace="test"}"#, 4194304.0),
        (r#"karst_device_read_total{namespace="disk"}"#, 4.0),
        (r#"karst_device_read_seconds_count{namespace="disk"}"#, 4.0),
        (r#"karst_device_read_seconds_sum{namespace="disk"}"#, 1e-3),
        (r#"karst_device_write_total{namespace="disk"}"#, 0.0),
        (r#"karst_defrag_blocks_total{namespace="disk"}"#, 0.0),
        (r#"karst_expired_records_total{namespace="test"}"#, 0.0),
        (r#"karst_connections{core="0"}"#, 5.0),
        (r#"karst_connections{core="1"}"#, 0.0),
        (
            "karst_migration_partitions_remaining{namespace=\"test\"}",
            0.0,
        ),
        (
            "karst_partitions{namespace=\"test\",role=\"primary\"}",
            4096.0,
        ),
        ("karst_serving", 1.0),
    ] {
        assert_eq!(scraped.get(sample), value, "{sample}");
    }
    assert!(scraped.get(r#"karst_index_bytes{namespace="test"}"#) > 0.0);
    let path = world.dir.path().join("disk.dat");
    let device = |name: &str| format!("{name}{{namespace=\"disk\",device=\"{}\"}}", path.display());
    let blocks_bytes = (crate::testing::DISK_BYTES - (64 << 10)) as f64;
    assert_eq!(
        scraped.get(&device("karst_device_total_bytes")),
        blocks_bytes
    );
    assert!(scraped.get(&device("karst_device_used_bytes")) > 0.0);
    assert_eq!(scraped.get(&device("karst_device_failed")), 0.0);
    assert_eq!(scraped.types["karst_request_seconds"], "histogram");
    assert_eq!(scraped.types["karst_client_requests"], "counter");
}

#[test]
fn a_histogram_grows_from_bound_to_bound_and_ends_with_everything() {
    let world = World::serving();
    let latency = &world.core().namespaces[TEST].latency[Op::Write as usize];
    for us in [0, 1, 3, 1_000, u64::MAX >> 1] {
        latency.record(us, 1);
    }
    let text = render(&world.node);
    let of_write = r#",namespace="test",op="write"}"#;
    let buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("karst_request_seconds_bucket{le=\""))
        .filter(|line| line.contains(of_write))
        .map(|line| {
            let (bound, rest) = line.split_once('"').unwrap();
            let bound = bound.replace("+Inf", "inf").parse().unwrap();
            (bound, rest.rsplit_once(' ').unwrap().1.parse().unwrap())
        })
        .collect();
    assert_eq!(buckets.len(), LATENCY_BUCKETS);
    assert!(
        buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1),
        "{buckets:?}"
    );
    assert_eq!(buckets[..3], [(1e-6, 1.0), (2e-6, 2.0), (4e-6, 3.0)]);
    assert_eq!(buckets[LATENCY_BUCKETS - 1], (f64::INFINITY, 5.0));
}

#[test]
fn a_failed_device_shows() {
    let world = World::serving();
    world.fail_disk();
    let scraped = parse(&render(&world.node));
    assert_eq!(scraped.get(r#"karst_stop_writes{namespace="disk"}"#), 1.0);
    let failed = scraped
        .samples
        .iter()
        .find(|(name, _)| name.starts_with("karst_device_failed{"));
    assert_eq!(failed.unwrap().1, &1.0);
}

#[test]
fn a_strong_namespace_tells_how_its_partitions_stand_and_how_reads_are_confirmed() {
    let world = World::strong();
    world.core().namespaces[TEST].lease_reads.add(3);
    world.node.cores[1].namespaces[TEST].quorum_reads.add(2);
    let scraped = parse(&render(&world.node));
    let of = |name: &str| scraped.get(&format!("{name}{{namespace=\"test\"}}"));
    assert_eq!(of("karst_lease_reads_total"), 3.0);
    assert_eq!(of("karst_quorum_reads_total"), 2.0);
    assert_eq!(
        (of("karst_in_flight_writes"), of("karst_stuck_writes")),
        (0.0, 0.0)
    );
    assert_eq!(scraped.get("karst_lease_remaining_seconds"), 0.0);
    let standing = |name: &str, state: &str| {
        let labels = format!("namespace=\"{name}\",state=\"{state}\"");
        scraped.get(&format!("karst_cluster_partitions{{{labels}}}"))
    };
    assert_eq!(standing("test", "active"), 4096.0);
    assert_eq!(
        (standing("disk", "active"), standing("test", "dead")),
        (4096.0, 0.0)
    );
    let available = parse(&render(&World::serving().node));
    assert!(
        !available
            .samples
            .keys()
            .any(|name| name.starts_with("karst_lease"))
    );
}
