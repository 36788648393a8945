//! `revive`: partitions of a strongly consistent namespace that nobody can serve go on with what is left of them.
//!
//! What that may cost is said first, and it is done only if somebody who has read that agrees.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use karst_proto::admin::{self as proto, PartitionState};

use crate::admin::Admin;
use crate::args::Revive;
use crate::failure::{Failure, Outcome};
use crate::render::{human, output};
use crate::view::{Revival, ReviveGroup};

/// Pause between two looks at whether they are served.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// `karst revive`
pub(super) async fn run(host: &str, json: bool, args: &Revive) -> Outcome {
    let mut admin = Admin::connect(host).await?;
    let started = Instant::now();
    let mut revival = Revival {
        namespace: args.namespace.clone(),
        groups: groups(admin.revive(&args.namespace, false, args.empty).await?),
        done: false,
        seconds: 0.0,
    };
    if !json {
        output::line(&said(&revival, args.empty))?;
    }
    if revival.groups.is_empty() {
        return if json { output::json(&revival) } else { Ok(()) };
    }
    if revived(&revival.groups, args.empty).is_empty() {
        if json {
            output::json(&revival)?;
        }
        return Err(Failure::failed(
            "nothing was changed: nothing is left of any of them",
        ));
    }
    if !args.yes && (json || !confirmed()) {
        if json {
            output::json(&revival)?;
        }
        return Err(Failure::failed(
            "nothing was changed; to revive them without being asked, give --yes",
        ));
    }
    // What is told now is what was agreed to: it may be less than what was read above.
    revival.groups = groups(admin.revive(&args.namespace, true, args.empty).await?);
    wait(&mut admin, &revival, args, started).await?;
    revival.done = true;
    revival.seconds = started.elapsed().as_secs_f64();
    match json {
        true => output::json(&revival),
        false => output::line(&format!(
            "{} served again after {:.1} s",
            human::plural(
                revived(&revival.groups, args.empty).len() as u64,
                "partition"
            ),
            revival.seconds
        )),
    }
}

fn groups(answer: proto::ReviveResponse) -> Vec<ReviveGroup> {
    answer.groups.into_iter().map(ReviveGroup::from).collect()
}

/// The partitions that are revived: those of which something is left, or all.
fn revived(groups: &[ReviveGroup], empty: bool) -> BTreeSet<u32> {
    let some = groups
        .iter()
        .filter(|group| empty || !group.left.is_empty());
    some.flat_map(|group| group.partitions.iter().copied())
        .collect()
}

/// What is wrong, and what a revival would come to.
fn said(revival: &Revival, empty: bool) -> String {
    let name = &revival.namespace;
    if revival.groups.is_empty() {
        return format!(
            "every partition of {name} is served, or will be as it is: there is nothing to revive"
        );
    }
    let lines = revival.groups.iter().map(|group| said_of(group, empty));
    lines.collect::<Vec<_>>().join("\n")
}

fn said_of(group: &ReviveGroup, empty: bool) -> String {
    let state = if group.dead { "dead" } else { "unavailable" };
    let mut why = Vec::new();
    if !group.away.is_empty() {
        why.push(format!("{} away", group.away.join(" ")));
    }
    if !group.lost.is_empty() {
        why.push(format!("{} lost what was confirmed", group.lost.join(" ")));
    }
    let mut text = format!(
        "{} {state}: {}",
        human::plural(group.partitions.len() as u64, "partition"),
        if why.is_empty() {
            "nobody holds them".into()
        } else {
            why.join(", ")
        },
    );
    if group.left.is_empty() {
        text.push_str(match empty {
            true => "\n  nobody who is alive holds anything of them: they would begin anew, empty",
            false => {
                "\n  nobody who is alive holds anything of them: they stay as they are, unless --empty is given"
            }
        });
        return text;
    }
    text.push_str(&format!(
        "\n  they would go on with what {} have",
        group.left.join(" ")
    ));
    text.push_str(&match (group.away.as_slice(), group.lost.as_slice()) {
        ([], _) => "; what only those had who lost it is lost for good".to_owned(),
        (away, []) => format!(
            "; writes that only {} confirmed would be lost",
            away.join(" ")
        ),
        (away, lost) => format!(
            "; writes that only {} confirmed would be lost, and what only {} had is",
            away.join(" "),
            lost.join(" ")
        ),
    });
    text
}

/// Asks on a terminal; without one there is nobody to ask.
fn confirmed() -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    eprint!("Give that up? Type the word revive: ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && answer.trim() == "revive"
}

/// Waits until they are served.
async fn wait(admin: &mut Admin, revival: &Revival, args: &Revive, started: Instant) -> Outcome {
    let revived = revived(&revival.groups, args.empty);
    loop {
        let map = admin.map(&revival.namespace, None).await?;
        let waits = |it: &&proto::Owners| revived.contains(&it.number) && !is_served(it.state());
        let left = map.partitions.iter().filter(waits).count();
        if left == 0 {
            return Ok(());
        }
        if started.elapsed() >= args.timeout {
            return Err(Failure::failed(format!(
                "{left} of {} revived partitions are not served after {:.1} s; they go on recovering",
                revived.len(),
                started.elapsed().as_secs_f64()
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_served(state: PartitionState) -> bool {
    match state {
        PartitionState::Settled | PartitionState::Migrating => true,
        PartitionState::Unspecified
        | PartitionState::Unserved
        | PartitionState::Recovering
        | PartitionState::Unavailable
        | PartitionState::Dead => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(dead: bool, away: &[&str], lost: &[&str], left: &[&str]) -> ReviveGroup {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        ReviveGroup {
            partitions: vec![3, 9],
            dead,
            away: names(away),
            lost: names(lost),
            left: names(left),
        }
    }

    #[test]
    fn what_may_be_lost_is_said_with_the_nodes_that_had_it() {
        let check =
            |group: ReviveGroup, expected: &str| assert_eq!(said_of(&group, false), expected);
        check(
            group(false, &["n2"], &[], &["n1", "n3"]),
            "2 partitions unavailable: n2 away\n  they would go on with what n1 n3 have; writes that only n2 \
             confirmed would be lost",
        );
        check(
            group(true, &[], &["n1", "n2"], &["n1", "n2"]),
            "2 partitions dead: n1 n2 lost what was confirmed\n  they would go on with what n1 n2 have; what only \
             those had who lost it is lost for good",
        );
        check(
            group(false, &["n1", "n2"], &[], &[]),
            "2 partitions unavailable: n1 n2 away\n  nobody who is alive holds anything of them: they stay as \
             they are, unless --empty is given",
        );
        let both = [
            group(true, &[], &["n1"], &["n1"]),
            group(false, &["n1"], &[], &[]),
        ];
        assert_eq!(revived(&both[..1], false).len(), 2);
        assert!(revived(&both[1..], false).is_empty());
        assert_eq!(revived(&both[1..], true).len(), 2);
        let anew = said_of(&both[1], true);
        assert!(anew.ends_with("they would begin anew, empty"), "{anew}");
    }
}
