//! The command line.

use karst_data::mutation::Mutation;
use karst_sim::cluster::setup::{Consistency, Wanted};

pub(crate) const HELP: &str = "\
The real storage engine over made-up devices, in one thread per seed.

karst-sim [--seeds N] [--cluster N] [--every-cut N] [--media N] [--mutations N] [--seed S] [--minutes M]

  --seeds N       lives cut at random points (1000 if nothing else is asked for)
  --cluster N     lives of a whole cluster, its links and its clients
  --cluster-mode  ap or cp: only such clusters
  --cluster-seconds S
                  faults and requests go on for so many seconds of a cluster's own time (2 to 20 if not given)
  --every-cut N   lives of which each device write is cut: before, during, after
  --media N       at least so many faults on durable data
  --mutations N   plants each known-wrong behaviour and looks for it in N lives
                  (needs a build with `--features mutations`)
  --seed S        the first seed, 0 if not given; each failure names its own
  --minutes M     random lives, or clusters, for so long, however many that are
  --plant NAME    plants one known-wrong behaviour
  --tell          prints what happens, for one seed

Exits with 1 if a promise was broken.
";

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) seeds: Option<u64>,
    pub(crate) cluster: Option<u64>,
    pub(crate) every_cut: Option<u64>,
    pub(crate) media: Option<u64>,
    pub(crate) mutations: Option<u64>,
    pub(crate) first: u64,
    pub(crate) minutes: Option<u64>,
    pub(crate) plant: Option<Mutation>,
    pub(crate) tell: bool,
    pub(crate) wanted: Wanted,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Asked {
    Run(Arguments),
    Help,
}

impl Arguments {
    /// Reads the words behind the program's name.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut arguments = Arguments::default();
        let mut words = words;
        while let Some(word) = words.next() {
            let mut next = || words.next().ok_or(format!("{word} needs a value"));
            let mut number = || {
                let value = next()?;
                value
                    .parse()
                    .map_err(|_| format!("{word}: {value:?} is not a number"))
            };
            match word.as_str() {
                "--seeds" => arguments.seeds = Some(number()?),
                "--cluster" => arguments.cluster = Some(number()?),
                "--cluster-seconds" => arguments.wanted.seconds = Some(number()?),
                "--every-cut" => arguments.every_cut = Some(number()?),
                "--media" => arguments.media = Some(number()?),
                "--mutations" => arguments.mutations = Some(number()?),
                "--seed" => arguments.first = number()?,
                "--minutes" => arguments.minutes = Some(number()?),
                "--plant" => arguments.plant = Some(named(&next()?)?),
                "--cluster-mode" => arguments.wanted.consistency = Some(mode(&next()?)?),
                "--tell" => arguments.tell = true,
                "--help" | "-h" => return Ok(Asked::Help),
                _ => return Err(format!("unknown argument {word:?}")),
            }
        }
        let Arguments {
            cluster,
            every_cut,
            media,
            mutations,
            ..
        } = arguments;
        let timed = arguments.minutes.is_some() && cluster.is_none();
        let asked = [cluster, every_cut, media, mutations];
        if timed || asked.iter().all(Option::is_none) {
            arguments.seeds.get_or_insert(1000);
        }
        Ok(Asked::Run(arguments))
    }
}

fn mode(name: &str) -> Result<Consistency, String> {
    match name {
        "ap" => Ok(Consistency::Available),
        "cp" => Ok(Consistency::Strong),
        _ => Err(format!("{name:?} is neither ap nor cp")),
    }
}

fn named(name: &str) -> Result<Mutation, String> {
    let found = Mutation::ALL
        .into_iter()
        .find(|mutation| format!("{mutation:?}") == name);
    found.ok_or_else(|| format!("{name:?} is none of {:?}", Mutation::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_asked_for_is_done_and_nothing_else() {
        let run = |arguments| Ok(Asked::Run(arguments));
        let seeds = |seeds| Arguments {
            seeds: Some(seeds),
            ..Arguments::default()
        };
        assert_eq!(parse(""), run(seeds(1000)));
        assert_eq!(
            parse("--seeds 7 --seed 3"),
            run(Arguments {
                first: 3,
                ..seeds(7)
            })
        );
        let media = Arguments {
            media: Some(9),
            ..Arguments::default()
        };
        assert_eq!(parse("--media 9"), run(media));
        let cluster = Arguments {
            cluster: Some(5),
            wanted: Wanted {
                consistency: Some(Consistency::Strong),
                seconds: Some(60),
            },
            ..Arguments::default()
        };
        assert_eq!(
            parse("--cluster 5 --cluster-mode cp --cluster-seconds 60"),
            run(cluster)
        );
        assert_eq!(parse("--help"), Ok(Asked::Help));
        for wrong in ["--seeds", "--seeds x", "--sneeze", "--plant Weed"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
