//! Queries and changes in the background, over nodes that fail in the middle.

use std::collections::BTreeSet;
use std::time::Duration;

use karst_client::{
    BackgroundPolicy, Client, Error, Expr, ListReturn, Lookup, Operation, Query, ResultCode,
    ScanCursor, ScanPolicy, Udf, list,
};

use crate::fake::{Fake, Fault};
use crate::{bin, client, key, lone_fake};

async fn fill(client: &Client, count: i64) {
    for number in 0..count {
        client.put(&key(number), bin(number)).await.unwrap();
    }
}

fn by_index() -> Query {
    Query::new("test", "demo").by(Lookup::range("a", 0..1000))
}

#[tokio::test]
async fn a_query_cut_off_goes_on_behind_the_value_it_stopped_at() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    fill(&client, 100).await;
    fake.fail_next([Fault::CutScan(30), Fault::Close, Fault::CutScan(30)]);
    let mut found = client.query(&by_index(), ScanPolicy::default()).unwrap();
    let mut seen = BTreeSet::new();
    while let Some(record) = found.next().await {
        assert!(seen.insert(*record.unwrap().key.digest()));
    }
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn pages_of_a_query_add_up_to_the_whole() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    fill(&client, 100).await;
    let policy = ScanPolicy::default().with_records_max(16);
    let (mut cursor, mut seen) = (ScanCursor::all(), BTreeSet::new());
    for _ in 0..20 {
        let mut page = client
            .query_from(&by_index(), policy.clone(), cursor)
            .unwrap();
        while let Some(record) = page.next().await {
            assert!(seen.insert(*record.unwrap().key.digest()));
        }
        cursor = ScanCursor::from_bytes(&page.cursor().to_bytes()).unwrap();
    }
    assert!(cursor.is_done());
    assert_eq!(seen.len(), 100);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_and_not_sent() {
    let fake = lone_fake().await;
    let client = client(&fake).await;
    let nothing = Query::new("test", "demo").by(Lookup::range("a", 5..5));
    let refused = client.query(&nothing, ScanPolicy::default());
    assert!(matches!(refused.err(), Some(Error::Invalid { .. })));
    let untold = list::get_by_index(0, ListReturn::VALUE).of(Expr::list_bin("l"));
    let policy = ScanPolicy::default().with_filter(untold.gt(1));
    let mut scan = client.scan("test", "demo", policy).unwrap();
    let refused = scan.next().await.unwrap();
    assert!(matches!(refused, Err(Error::Command(_))), "{refused:?}");
    assert!(scan.next().await.is_none());
}

#[tokio::test]
async fn a_change_in_the_background_is_told_to_every_node_and_waited_for() {
    let fakes = Fake::cluster(&["A", "B", "C"]).await;
    let client = client(&fakes[0]).await;
    let steps = [Operation::add("n", 1)];
    let policy = BackgroundPolicy::default();
    let job = client
        .background_operate(&by_index(), &policy, &steps)
        .await
        .unwrap();
    assert!(fakes.iter().all(|fake| fake.jobs() == 1));
    assert_eq!(job.progress().await.unwrap(), 50.0);
    job.wait(Duration::from_secs(5)).await.unwrap();
    let whole = Query::new("test", "");
    let call = Udf::new("counters", "raise").arg("visits");
    let job = client
        .background_execute(&whole, &policy, &call)
        .await
        .unwrap();
    assert!(fakes.iter().all(|fake| fake.jobs() == 2));
    job.abort().await.unwrap();
    assert!(fakes.iter().all(|fake| fake.jobs() == 1));
    job.wait(Duration::from_secs(5)).await.unwrap(); // nobody knows it any more
}

#[tokio::test]
async fn a_node_that_refuses_a_change_has_those_that_began_stop_and_leaves_it_in_doubt() {
    let fakes = Fake::cluster(&["A", "B"]).await;
    let client = client(&fakes[0]).await;
    fakes[1].fail_next([Fault::Code(ResultCode::Forbidden)]);
    let refused = client
        .background_operate(
            &Query::new("test", "demo"),
            &BackgroundPolicy::default(),
            &[Operation::delete()],
        )
        .await;
    let error = refused.unwrap_err();
    assert_eq!(error.code(), Some(ResultCode::Forbidden));
    assert!(error.in_doubt(), "{error}");
    assert_eq!(fakes[0].jobs(), 0);
}
