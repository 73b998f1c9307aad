//! The record as a page: tables between two marks of a Markdown file.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Result, bail};

use super::record::{Cell, Measured, Record, Times};
use super::statistics::{Ratio, ratio};
use super::works::{
    BATCHES, COMPILED, FUSED, Kind, MEMORY, Program, Row, STEPS, TWO_THREADS, Target, rows,
};

const BEGIN: &str = "<!-- figures: begin -->\n";
const END: &str = "<!-- figures: end -->\n";

/// A page with nothing but the place for the figures.
pub(super) const EMPTY: &str = "# Speed\n\n<!-- figures: begin -->\n<!-- figures: end -->\n";

/// What stands there before anything was measured.
#[cfg(test)]
pub(super) const NOTHING: &str = "Nothing has been measured yet.\n\n";

/// The page with the record's figures.
pub(super) fn filled(page: &str, record: &Record) -> Result<String> {
    with(page, &figures(record)?)
}

/// The page with this between the marks.
pub(super) fn with(page: &str, figures: &str) -> Result<String> {
    let parts = page.split_once(BEGIN);
    let Some((before, (_, after))) =
        parts.and_then(|(before, rest)| Some((before, rest.split_once(END)?)))
    else {
        bail!("the page lacks the lines {BEGIN:?} and {END:?}");
    };
    Ok(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

fn figures(record: &Record) -> Result<String> {
    let mut out = String::new();
    origin(&mut out, record)?;
    programs(&mut out, record)?;
    batches(&mut out, record)?;
    threads(&mut out, record)?;
    memory(&mut out, record)?;
    missing(&mut out, record)?;
    Ok(out)
}

/// The record's rows of a kind, in the order of the table.
fn measured(record: &Record, kind: Kind) -> Vec<(Row, &Measured)> {
    let rows = rows().into_iter().filter(|row| row.kind == kind);
    rows.filter_map(|row| Some((row.clone(), record.rows.get(&row.name)?))).collect()
}

fn origin(out: &mut String, record: &Record) -> Result<()> {
    let machine = &record.machine;
    writeln!(
        out,
        "{}, {} processors, {}; {}; {}.",
        machine.processor, machine.processors, machine.instructions, machine.system, machine.rustc
    )?;
    let moments = || {
        let rows = record.rows.values().map(|row| (row.date.as_str(), row.commit.as_str()));
        rows.chain(record.memory.values().map(|row| (row.date.as_str(), row.commit.as_str())))
    };
    let days: BTreeSet<&str> =
        moments().map(|(date, _)| date.split('T').next().unwrap_or(date)).collect();
    let commits: BTreeSet<&str> = moments().map(|(_, commit)| commit).collect();
    let join = |parts: BTreeSet<&str>| parts.into_iter().collect::<Vec<_>>().join(", ");
    writeln!(out, "Measured {} at {}, last with\n", join(days), join(commits))?;
    writeln!(out, "    {}\n", record.command)?;
    writeln!(out, "| program | version | threads | settings |\n|---|---|---|---|")?;
    for program in record.programs.values() {
        let settings = program.settings.iter().map(|(name, value)| format!("{name}: {value}"));
        let settings = settings.collect::<Vec<_>>().join("; ");
        writeln!(
            out,
            "| {} | {} | {} | {settings} |",
            program.name, program.version, program.threads
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn programs(out: &mut String, record: &Record) -> Result<()> {
    writeln!(out, "## Times\n")?;
    writeln!(
        out,
        "Milliseconds: the median, for ours also the 10th and 90th percentile. The ratios are medians \
         over the rounds, with the least and the greatest; behind them what we ask of ourselves: \
         \"within 1, aim 0.6\" is below the bound of 1 and not yet at the aim of 0.6. A dash is a time that was not \
         taken; the name in brackets is the row's for `--only`.\n"
    )?;
    writeln!(
        out,
        "| work | ours | PyTorch | best PyTorch | candle-nn | burn | ours / PyTorch | ours / best |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    let mut busy = false;
    for (row, measured) in measured(record, Kind::Programs) {
        busy |= measured.busy;
        writeln!(out, "{}", program_row(&row, measured))?;
    }
    if busy {
        writeln!(out, "\n† The machine was busy with something else in every attempt at a round.")?;
    }
    writeln!(out)?;
    Ok(())
}

fn program_row(row: &Row, measured: &Measured) -> String {
    let times = |name: &str| measured.columns.get(name).and_then(Cell::times);
    let has = |program: Program| row.columns.iter().any(|column| column.program == program);
    let cell = |program: Program| match times(program.name()) {
        Some(times) => milliseconds(times.median),
        None if has(program) => "–".to_owned(),
        None => String::new(),
    };
    let ours = times(row.columns[0].program.name());
    let torch = times(Program::Torch.name());
    let best = [FUSED, COMPILED]
        .iter()
        .filter_map(|variant| Some((*variant, times(&format!("torch+{variant}"))?)))
        .min_by(|a, b| a.1.median.total_cmp(&b.1.median));
    let cells = [
        format!("{} (`{}`){}", row.title, row.name, if measured.busy { " †" } else { "" }),
        ours.map_or_else(|| "–".to_owned(), spread),
        cell(Program::Torch),
        best.map_or_else(String::new, |(variant, best)| {
            format!("{} ({variant})", milliseconds(best.median))
        }),
        cell(Program::CandleNn),
        cell(Program::Burn),
        compared(ours, torch, row.torch),
        compared(ours, best.map(|(_, best)| best), row.best),
    ];
    table_row(&cells)
}

fn batches(out: &mut String, record: &Record) -> Result<()> {
    let rows = measured(record, Kind::Batches);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Sizes of the batch\n")?;
    writeln!(out, "Milliseconds a step, in brackets microseconds a sample.\n")?;
    let sizes = BATCHES.map(|batch| batch.to_string()).join(" | ");
    writeln!(out, "| step | by | {sizes} |\n|---|---|{}", "---|".repeat(BATCHES.len()))?;
    for (row, measured) in rows {
        for (program, name) in [(Program::Ours, "ours"), (Program::Torch, "PyTorch")] {
            let mut cells = vec![row.title.clone(), name.to_owned()];
            cells.extend(BATCHES.map(|batch| {
                let column = measured.columns.get(&format!("{}/{batch}", program.name()));
                column.and_then(Cell::times).map_or_else(
                    || "–".to_owned(),
                    |times| {
                        let each = times.median * 1e3 / batch as f64;
                        format!("{} ({})", milliseconds(times.median), significant(each))
                    },
                )
            }));
            writeln!(out, "{}", table_row(&cells))?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn threads(out: &mut String, record: &Record) -> Result<()> {
    let rows = measured(record, Kind::Threads);
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Threads\n")?;
    writeln!(
        out,
        "Milliseconds a step with one thread and with two, and how many times faster two are; we want \
         at least {TWO_THREADS}.\n"
    )?;
    writeln!(out, "| step | ours: 1 | 2 | faster | PyTorch: 1 | 2 | faster |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (row, measured) in rows {
        let mut cells = vec![row.title.clone()];
        for program in [Program::Ours, Program::Torch] {
            let times = [1, 2].map(|threads| {
                let column = measured.columns.get(&format!("{}@{threads}", program.name()));
                column.and_then(Cell::times)
            });
            cells.extend(times.map(|times| {
                times.map_or_else(|| "–".to_owned(), |times| milliseconds(times.median))
            }));
            let faster = times[0].zip(times[1]).and_then(|(one, two)| ratio(one, two));
            cells.push(faster.map_or_else(String::new, of_rounds));
        }
        writeln!(out, "{}", table_row(&cells))?;
    }
    writeln!(out)?;
    Ok(())
}

fn memory(out: &mut String, record: &Record) -> Result<()> {
    if record.memory.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Memory\n")?;
    writeln!(
        out,
        "MiB: the peak of a process that trains, and how far its peak rises above what it held before \
         the first step.\n"
    )?;
    let programs =
        [Program::Ours, Program::OursPlain, Program::Torch, Program::CandleNn, Program::Burn];
    writeln!(
        out,
        "| step | ours | ours, nothing set | PyTorch | candle-nn | burn | ours / PyTorch: process | above |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for step in &STEPS {
        let Some(memory) = record.memory.get(step.work) else {
            continue;
        };
        let peaks = |program: Program| memory.programs.get(program.name())?.peaks();
        let mut cells = vec![step.title.to_owned()];
        cells.extend(programs.map(|program| {
            peaks(program).map_or_else(
                || "–".to_owned(),
                |[process, above]| format!("{}, {}", mebibytes(process), mebibytes(above)),
            )
        }));
        for (at, target) in MEMORY.iter().enumerate() {
            let both = peaks(Program::Ours).zip(peaks(Program::Torch));
            cells.push(both.map_or_else(String::new, |(ours, torch)| {
                let ratio = ours[at] as f64 / torch[at] as f64;
                format!("{ratio:.2}, {}", judged(ratio, *target))
            }));
        }
        writeln!(out, "{}", table_row(&cells))?;
    }
    writeln!(out)?;
    Ok(())
}

/// Why there are cells without a figure.
fn missing(out: &mut String, record: &Record) -> Result<()> {
    let mut reasons = BTreeSet::new();
    for row in rows() {
        let Some(measured) = record.rows.get(&row.name) else {
            continue;
        };
        for (column, cell) in &measured.columns {
            if let Cell::Unsupported { unsupported } = cell {
                let program = column.split(['/', '@']).next().unwrap_or(column);
                reasons.insert((row.work, program, unsupported.as_str()));
            }
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Not measured\n")?;
    for (work, program, reason) in reasons {
        // The rest of a compiler's message helps nobody here.
        let reason = reason.lines().next().unwrap_or_default();
        writeln!(out, "- `{work}`, {program}: {reason}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn table_row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |", cells.join(" | "))
}

fn spread(times: &Times) -> String {
    let [median, p10, p90] = [times.median, times.p10, times.p90].map(milliseconds);
    format!("{median} [{p10}–{p90}]")
}

/// The ratio of the times and whether it is what we want.
fn compared(ours: Option<&Times>, theirs: Option<&Times>, target: Option<Target>) -> String {
    let Some(ratio) = ours.zip(theirs).and_then(|(ours, theirs)| ratio(ours, theirs)) else {
        return String::new();
    };
    let text = of_rounds(ratio);
    target.map_or(text.clone(), |target| format!("{text}, {}", judged(ratio.median, target)))
}

fn of_rounds(ratio: Ratio) -> String {
    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
}

fn judged(ratio: f64, target: Target) -> String {
    let Target { at_most, aim } = target;
    if ratio <= aim {
        format!("aim {aim} reached")
    } else if ratio <= at_most {
        format!("within {at_most}, aim {aim}")
    } else {
        format!("**above {at_most}**, aim {aim}")
    }
}

fn milliseconds(value: f64) -> String {
    significant(value)
}

/// Three significant digits, at most four after the point.
fn significant(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

fn mebibytes(kib: u64) -> String {
    significant(kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::fixture;
    use super::super::works::Target;
    use super::{EMPTY, figures, filled, judged, significant, with};

    #[test]
    fn figures_replace_what_is_between_the_marks() {
        let page = "a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nb\n";
        let new = with(page, "new\n").unwrap();
        assert_eq!(new, "a\n<!-- figures: begin -->\n\nnew\n<!-- figures: end -->\nb\n");
        assert_eq!(with(&new, "new\n").unwrap(), new);
        assert!(with("a\n<!-- figures: end -->\n", "").is_err());
        assert!(filled(EMPTY, &fixture()).is_ok());
    }

    #[test]
    fn every_part_of_a_record_is_shown() {
        let text = figures(&fixture()).unwrap();
        let shows = |line: &str| assert!(text.lines().any(|it| it == line), "{line}\n\n{text}");
        shows("A processor, 2 processors, AVX2; linux 6.1; rustc 1.95.0.");
        shows("Measured 2026-01-02, 2026-01-03 at abc1234, abc1234+, last with");
        shows("| PyTorch | 2.15.0 | 2 | allocator: its own |");
        // 2/4, 2.2/4 and 2.6/4 against the default, 2/2.5 and so on against the fused one.
        shows(
            "| MLP 784-512-512-10 with batch norm, batch 128 (`mlp`) † | 2.20 [2.00–2.60] | 4.00 | 2.50 (fused) | 13.7 | – | 0.55 (0.50–0.65), within 0.65, aim 0.5 | 0.88 (0.80–1.04), **above 0.85**, aim 0.7 |",
        );
        shows(
            "| matrix product 256 (`gemm_256`) | 0.147 [0.140–0.150] | 0.107 |  | – | – | 1.37 (1.37–1.37), **above 1.3**, aim 1 |  |",
        );
        shows("† The machine was busy with something else in every attempt at a round.");
        shows("| MLP 784-512-512-10 with batch norm | ours | 1.00 (31.2) | – | – | – | – |");
        shows(
            "| MLP 784-512-512-10 with batch norm, batch 128 | 3.60 | 2.00 | 1.80 (1.80–1.80) | 6.00 | – |  |",
        );
        shows(
            "| MLP 784-512-512-10 with batch norm, batch 128 | 48.8, 9.77 | – | 488, 19.5 | – | – | 0.10, aim 0.1 reached | 0.50, aim 0.7 reached |",
        );
        shows("- `mlp`, torch+compiled: no C++ compiler");
    }

    #[test]
    fn a_ratio_is_judged() {
        let target = Target { at_most: 0.65, aim: 0.5 };
        assert_eq!(judged(0.5, target), "aim 0.5 reached");
        assert_eq!(judged(0.65, target), "within 0.65, aim 0.5");
        assert_eq!(judged(0.66, target), "**above 0.65**, aim 0.5");
    }

    #[test]
    fn figures_have_three_digits() {
        let values = [123.4, 12.34, 1.234, 0.1234, 0.01234, -0.01];
        assert_eq!(values.map(significant), ["123", "12.3", "1.23", "0.123", "0.0123", "-0.0100"]);
    }
}
