//! One row: the peers take turns.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use super::busy::Watch;
use super::program::{Answer, Programs};
use super::record::{Cell, Measured};
use super::statistics::{Samples, times};
use super::works::{Column, Row};
use super::{Plan, machine, progress};

/// Between two turns: until the threads of the last peer sleep.
const PAUSE: Duration = Duration::from_millis(30);

/// Measures a row.
pub(super) fn row(
    row: &Row,
    plan: &Plan,
    programs: &mut Programs,
    watch: &mut Watch,
) -> Result<Measured> {
    programs.keep(row);
    let mut turns = Turns::new(row, programs);
    let mut busy = false;
    for round in 0..plan.rounds {
        let mut attempt = 0;
        let samples = loop {
            attempt += 1;
            progress(&format!("{}: round {} of {}", row.name, round + 1, plan.rounds));
            let running = watch.begin(programs.ids());
            let samples = turns.round(round, |column| {
                sleep(PAUSE);
                programs.time(row.work, column, plan.seconds)
            });
            let Some(why) = watch.end(&running) else {
                break samples;
            };
            if attempt > plan.retries {
                busy = true;
                break samples;
            }
            progress(&format!("{}: {why}; again in {} s", row.name, 1 << attempt));
            sleep(Duration::from_secs(1 << attempt));
        };
        turns.take(samples);
    }
    let (date, commit) = (machine::date(), machine::commit());
    Ok(Measured { date, commit, busy, columns: turns.cells(row) })
}

/// The columns that are measured and what came of it.
struct Turns {
    columns: Vec<Turn>,
}

struct Turn {
    column: Column,
    rounds: Vec<Samples>,
    unsupported: Option<String>,
}

impl Turns {
    /// Lets every peer build the work and call it a few times.
    fn new(row: &Row, programs: &mut Programs) -> Self {
        let columns = row.columns.iter().map(|column| {
            progress(&format!("{}: {} begins", row.name, column.name(row.kind)));
            let unsupported = match programs.time(row.work, column, 0.1) {
                Answer::Timed { .. } => None,
                other => Some(reason(other)),
            };
            Turn { column: *column, rounds: Vec::new(), unsupported }
        });
        Self { columns: columns.collect() }
    }

    /// The samples of one round in the order of the columns. Each round begins with another column.
    fn round(&mut self, round: usize, mut time: impl FnMut(&Column) -> Answer) -> Vec<Samples> {
        let count = self.columns.len();
        let mut samples = vec![Samples::default(); count];
        for place in (0..count).map(|turn| (turn + round) % count) {
            let turn = &mut self.columns[place];
            if turn.unsupported.is_some() {
                continue;
            }
            match time(&turn.column) {
                Answer::Timed { samples_ms: run, base_ms: base } if !run.is_empty() => {
                    samples[place] = Samples { run, base };
                }
                other => turn.unsupported = Some(reason(other)),
            }
        }
        samples
    }

    fn take(&mut self, samples: Vec<Samples>) {
        for (turn, samples) in self.columns.iter_mut().zip(samples) {
            turn.rounds.push(samples);
        }
    }

    fn cells(self, row: &Row) -> BTreeMap<String, Cell> {
        let cells = self.columns.into_iter().map(|turn| {
            let cell = match turn.unsupported {
                None => Cell::Times(times(&turn.rounds)),
                Some(unsupported) => Cell::Unsupported { unsupported },
            };
            (turn.column.name(row.kind), cell)
        });
        cells.collect()
    }
}

/// Why an answer holds no times.
pub(super) fn reason(answer: Answer) -> String {
    match answer {
        Answer::Unsupported { unsupported } => unsupported,
        Answer::Timed { .. } | Answer::Held { .. } => "it answered another question".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Cell;
    use super::super::works::{Program, rows};
    use super::{Answer, Turn, Turns};

    fn turns(row: &str) -> (Turns, super::Row) {
        let row = rows().into_iter().find(|it| it.name == row).unwrap();
        let columns = row.columns.iter().map(|column| Turn {
            column: *column,
            rounds: Vec::new(),
            unsupported: None,
        });
        (Turns { columns: columns.collect() }, row)
    }

    #[test]
    fn each_round_begins_with_another_column() {
        let (mut turns, row) = turns("batch/mlp");
        let mut asked = Vec::new();
        for round in 0..row.columns.len() {
            let samples = turns.round(round, |column| {
                asked.push(column.name(row.kind));
                Answer::Timed { samples_ms: vec![column.batch as f64], base_ms: vec![] }
            });
            turns.take(samples);
        }
        assert_eq!(asked[..2], ["ours/32", "torch/32"]);
        assert_eq!(asked[10..12], ["torch/32", "ours/64"]);
        assert_eq!(asked[19], "ours/32");
        let cells = turns.cells(&row);
        assert_eq!(cells["torch/512"].times().unwrap().rounds, [512.0; 10]);
    }

    #[test]
    fn a_peer_that_cannot_is_not_asked_again() {
        let (mut turns, row) = turns("mlp");
        let mut asked = 0;
        for round in 0..3 {
            let samples = turns.round(round, |column| {
                if column.program == Program::Burn {
                    asked += 1;
                    return Answer::Unsupported { unsupported: "no".to_owned() };
                }
                Answer::Timed { samples_ms: vec![1.0], base_ms: vec![] }
            });
            turns.take(samples);
        }
        assert_eq!(asked, 1);
        let cells = turns.cells(&row);
        assert_eq!(cells["burn"], Cell::Unsupported { unsupported: "no".to_owned() });
        assert_eq!(cells["ours"].times().unwrap().samples, 3);
    }
}
