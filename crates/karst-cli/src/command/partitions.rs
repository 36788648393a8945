//! `partitions`: who serves which, as a grid; one in full; what the asked node holds of each.

use std::time::Duration;

use crate::admin::Admin;
use crate::args::{GridBy, Partitions};
use crate::failure::{Failure, Outcome};
use crate::render::{self, grid, output, table};
use crate::view::{Held, OnePartition, Owners, Partition, Served};

/// Time over which it is counted how often partitions are asked for.
const HEAT_TIME: Duration = Duration::from_secs(1);

/// Partitions of a namespace.
const PARTITIONS: u32 = 4096;

/// `karst partitions`
pub(super) async fn run(host: &str, json: bool, args: &Partitions) -> Outcome {
    let mut admin = Admin::connect(host).await?;
    if args.contents {
        let found = contents(&mut admin, &args.namespace, args.id).await?;
        return match json {
            true => output::json(&found),
            false => output::line(&table::partition_contents(&found)),
        };
    }
    if let Some(id) = args.id {
        let found = one(&mut admin, &args.namespace, id).await?;
        return match json {
            true => output::json(&found),
            false => output::line(&table::one_partition(&found)),
        };
    }
    let map = admin.map(&args.namespace, None).await?;
    let owners = map.partitions.iter();
    let owners: Vec<Owners> = owners.map(|it| Owners::of(it, &map.nodes)).collect();
    if json {
        let contents = contents(&mut admin, &args.namespace, None).await?;
        return output::json(&together(owners, contents));
    }
    let colours = render::colours();
    output::line(&match args.by {
        GridBy::State => grid::by_state(&owners, colours),
        GridBy::Owner => grid::by_owner(&owners, &map.nodes, colours),
        GridBy::Records => {
            let contents = contents(&mut admin, &args.namespace, None).await?;
            let records: Vec<u64> = contents.iter().map(|it| it.records).collect();
            grid::by_records(&records, colours)
        }
        GridBy::Heat => grid::by_heat(&heat(&mut admin, &args.namespace).await?, colours),
    })
}

/// Requests for each partition within a second, over all nodes that answer.
async fn heat(admin: &mut Admin, namespace: &str) -> Outcome<Vec<u64>> {
    let mut nodes = Vec::new();
    for node in admin.nodes().await? {
        if let Ok(mut node) = Admin::connect(&admin.admin_address(&node)?).await
            && let Ok(before) = node.heat(namespace).await
        {
            nodes.push((node, before));
        }
    }
    tokio::time::sleep(HEAT_TIME).await;
    let mut heat = vec![0; PARTITIONS as usize];
    for (mut node, before) in nodes {
        if let Ok(after) = node.heat(namespace).await {
            let grown = after.iter().zip(&before);
            // A node that restarted in between has counted from 0.
            let grown = grown.map(|(after, before)| after.saturating_sub(*before));
            heat.iter_mut()
                .zip(grown)
                .for_each(|(all, of_node)| *all += of_node);
        }
    }
    Ok(heat)
}

/// What the asked node holds.
async fn contents(
    admin: &mut Admin,
    namespace: &str,
    only: Option<u32>,
) -> Outcome<Vec<Partition>> {
    let mut found = Vec::new();
    let (mut next, end) = only.map_or((0, PARTITIONS), |only| (only, only + 1));
    while next < end {
        let some = admin.partitions(namespace, next, end - next).await?;
        next = some.last().map_or(end, |last| last.number + 1);
        found.extend(some.into_iter().map(Partition::from));
    }
    Ok(found)
}

fn together(owners: Vec<Owners>, contents: Vec<Partition>) -> Vec<Served> {
    let each = owners.into_iter().zip(contents);
    let served = each.map(|(owners, contents)| Served {
        owners,
        records: contents.records,
        tombstones: contents.tombstones,
        fingerprint: contents.fingerprint,
    });
    served.collect()
}

/// One partition with what every node holds of it, as far as they answer.
async fn one(admin: &mut Admin, namespace: &str, id: u32) -> Outcome<OnePartition> {
    let map = admin.map(namespace, Some(id)).await?;
    let missing = || Failure::failed(format!("there is no partition {id}"));
    let owners = map.partitions.first().ok_or_else(missing)?;
    let owners = Owners::of(owners, &map.nodes);
    let mut nodes = Vec::new();
    for node in admin.nodes().await? {
        let held = held(&admin.admin_address(&node)?, namespace, id).await;
        let role = owners.role(&node.name);
        nodes.push(match held {
            Ok(held) => Held {
                node: node.name,
                role,
                records: Some(held.records),
                tombstones: Some(held.tombstones),
                fingerprint: Some(held.fingerprint),
                failure: None,
            },
            Err(failure) => Held {
                node: node.name,
                role,
                records: None,
                tombstones: None,
                fingerprint: None,
                failure: failure.message().map(str::to_owned),
            },
        });
    }
    Ok(OnePartition { owners, nodes })
}

/// What one node holds of a partition.
async fn held(address: &str, namespace: &str, id: u32) -> Outcome<Partition> {
    let mut admin = Admin::connect(address).await?;
    let found = contents(&mut admin, namespace, Some(id)).await?;
    let silent = || Failure::failed("it tells nothing of the partition");
    found.into_iter().next().ok_or_else(silent)
}
