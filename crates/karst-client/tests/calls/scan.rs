//! Scans over nodes that fail in the middle.

use std::collections::BTreeSet;

use karst_client::{
    Bins, Client, Digest, Error, PartitionId, ResultCode, RetryPolicy, Scan, ScanCursor, ScanPolicy,
};

use crate::fake::{Fake, Fault};
use crate::{bin, client, key, lone_fake};

async fn fill(client: &Client, count: i64) {
    for number in 0..count {
        client.put(&key(number), bin(number)).await.unwrap();
    }
}

/// Everything a scan returns; a record returned twice is a failure.
async fn collect(scan: &mut Scan) -> BTreeSet<Digest> {
    let mut seen = BTreeSet::new();
    while let Some(record) = scan.next().await {
        let digest = *record.unwrap().key.digest();
        assert!(seen.insert(digest), "{digest} came twice");
    }
    seen
}

fn all(count: i64) -> BTreeSet<Digest> {
    (0..count).map(|number| *key(number).digest()).collect()
}

#[tokio::test]
async fn a_scan_returns_every_record_of_every_node_once() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    fill(&client, 200).await;
    let mut scan = client.scan("test", "demo", ScanPolicy::default()).unwrap();
    assert_eq!(collect(&mut scan).await, all(200));
    assert!(scan.cursor().is_done());
    let mut other = client.scan("test", "other", ScanPolicy::default()).unwrap();
    assert!(collect(&mut other).await.is_empty());
}

#[tokio::test]
async fn a_scan_cut_off_goes_on_where_it_stopped() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    fake.fail_next([Fault::CutScan(30), Fault::Close, Fault::CutScan(30)]);
    let mut scan = client.scan("test", "demo", ScanPolicy::default()).unwrap();
    assert_eq!(collect(&mut scan).await, all(100));
    assert!(scan.cursor().is_done());
}

#[tokio::test]
async fn a_partition_that_could_not_be_read_is_asked_for_again() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    let partition = key(0).partition().0;
    fake.fail_next([
        Fault::Unread(partition),
        Fault::Code(ResultCode::Unavailable),
    ]);
    let mut scan = client.scan("test", "demo", ScanPolicy::default()).unwrap();
    assert_eq!(collect(&mut scan).await, all(100));
}

#[tokio::test]
async fn a_scan_that_gives_up_says_so_and_its_cursor_has_the_rest() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    fake.fail_next([Fault::CutScan(40), Fault::Close]);
    let policy = ScanPolicy::default().with_retry(RetryPolicy {
        retries_max: 1,
        ..RetryPolicy::default()
    });
    let mut scan = client.scan("test", "demo", policy.clone()).unwrap();
    let mut seen = BTreeSet::new();
    let error = loop {
        match scan.next().await.unwrap() {
            Ok(record) => assert!(seen.insert(*record.key.digest())),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::ScanIncomplete { .. }), "{error}");
    assert!(scan.next().await.is_none());
    let cursor = ScanCursor::from_bytes(&scan.cursor().to_bytes()).unwrap();
    let mut rest = client.scan_from("test", "demo", policy, cursor).unwrap();
    let rest = collect(&mut rest).await;
    assert!(seen.is_disjoint(&rest));
    assert_eq!(seen.len(), 40);
    assert_eq!(&seen | &rest, all(100));
}

#[tokio::test]
async fn pages_of_a_scan_add_up_to_the_whole() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    fill(&client, 100).await;
    let policy = ScanPolicy::default().with_records_max(16);
    let (mut cursor, mut seen, mut pages) = (ScanCursor::all(), BTreeSet::new(), 0);
    while !cursor.is_done() {
        let mut scan = client
            .scan_from("test", "demo", policy.clone(), cursor)
            .unwrap();
        let page = collect(&mut scan).await;
        assert!(page.len() <= 16);
        assert!(seen.is_disjoint(&page));
        seen.extend(page);
        cursor = scan.cursor().clone();
        pages += 1;
        assert!(pages <= 20, "pages without end");
    }
    assert_eq!(seen, all(100));
}

#[tokio::test]
async fn the_cursor_counts_only_what_was_taken() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 50).await;
    let mut scan = client.scan("test", "demo", ScanPolicy::default()).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..10 {
        seen.insert(*scan.next().await.unwrap().unwrap().key.digest());
    }
    let cursor = scan.cursor().clone();
    drop(scan); // forty records are in its queue
    let mut rest = client
        .scan_from("test", "demo", ScanPolicy::default(), cursor)
        .unwrap();
    let rest = collect(&mut rest).await;
    assert!(seen.is_disjoint(&rest));
    assert_eq!(&seen | &rest, all(50));
}

#[tokio::test]
async fn a_scan_of_some_partitions_stays_in_them() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    let wanted = ScanCursor::of((0..2048).map(PartitionId));
    let policy = ScanPolicy::default().with_bins(Bins::None);
    let mut scan = client.scan_from("test", "demo", policy, wanted).unwrap();
    let seen = collect(&mut scan).await;
    let expected = all(100)
        .into_iter()
        .filter(|digest| digest.partition().0 < 2048);
    assert_eq!(seen, expected.collect());
}

#[tokio::test]
async fn a_slow_reader_of_a_scan_loses_nothing() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    let policy = ScanPolicy {
        buffer_records: 1,
        ..ScanPolicy::default()
    };
    let mut scan = client.scan("test", "demo", policy).unwrap();
    let mut seen = BTreeSet::new();
    while let Some(record) = scan.next().await {
        seen.insert(*record.unwrap().key.digest());
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, all(100));
}
