//! Waiting for a queue in a tokio runtime.

use std::sync::Arc;
use std::time::Duration;

use karst_io::wait::EventFd;
use karst_io::{Queue, QueueChoice};
use tokio::time::timeout;

use crate::{BLOCK, device, marked, read, write};

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
}

#[test]
fn a_runtime_wakes_for_every_turn_of_completions() {
    const BLOCKS: usize = 16;
    for choice in [QueueChoice::Auto, QueueChoice::Threads] {
        let folder = tempfile::tempdir().unwrap();
        let devices = [device(folder.path(), BLOCKS)];
        let (mut queue, _) = Queue::probe(choice, 32, &devices).unwrap();
        let source = marked(BLOCKS);
        block_on(async {
            let event = EventFd::new(queue.event_fd()).unwrap();
            for round in 0..200 {
                let block = round % BLOCKS;
                queue
                    .submit(0, write(&source, block, round % 10 == 0))
                    .unwrap();
                queue.submit(1, read(block, 1)).unwrap();
                queue.flush().unwrap();
                let mut completions = Vec::new();
                while queue.in_flight() > 0 {
                    let signalled = timeout(Duration::from_secs(20), event.readable()).await;
                    signalled.expect("a wake-up was lost").unwrap();
                    queue.reap(&mut completions);
                }
                assert_eq!(completions.len(), 2);
                assert!(
                    completions
                        .iter()
                        .all(|completion| completion.outcome == Ok(()))
                );
            }
        });
    }
}

#[test]
fn without_completions_the_wait_stays_asleep() {
    let folder = tempfile::tempdir().unwrap();
    let devices = [Arc::clone(&device(folder.path(), 1))];
    let (queue, _) = Queue::probe(QueueChoice::Auto, 4, &devices).unwrap();
    assert_eq!(devices[0].size_bytes(), BLOCK as u64);
    block_on(async {
        let event = EventFd::new(queue.event_fd()).unwrap();
        assert!(
            timeout(Duration::from_millis(50), event.readable())
                .await
                .is_err()
        );
    });
}
