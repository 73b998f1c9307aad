//! The memory of whole training steps, each in a process of its own.

use super::program::{Answer, Programs};
use super::record::{Kept, Memory};
use super::times::reason;
use super::works::{Column, Program, Step};
use super::{machine, progress};

/// How many steps a process makes: enough for an allocator to show what it keeps.
const STEPS: usize = 30;

/// Measures a training step in every program.
pub(super) fn row(step: &Step, programs: &mut Programs) -> Memory {
    let kept = Program::ALL.map(|program| {
        programs.end();
        progress(&format!("memory/{}: {}", step.work, program.name()));
        let column = Column { program, variant: "", batch: step.batch, threads: None };
        let kept = match programs.remember(step.work, &column, STEPS) {
            Answer::Held { held_kib, peak_kib, peak_of_steps_kib } => {
                Kept::Memory { held_kib, peak_kib, peak_of_steps_kib }
            }
            other => Kept::Unsupported { unsupported: reason(other) },
        };
        (program.name().to_owned(), kept)
    });
    programs.end();
    Memory { date: machine::date(), commit: machine::commit(), programs: kept.into() }
}
