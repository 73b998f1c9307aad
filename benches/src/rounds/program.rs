//! The peers' processes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::record::Introduction;
use super::works::{Column, Program, Row};

/// Where the programs are. A peer without a path is left out.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The folder of this package's binaries.
    pub binaries: PathBuf,
    /// PyTorch's interpreter and the script.
    pub torch: Option<(PathBuf, PathBuf)>,
    /// burn's peer.
    pub burn: Option<PathBuf>,
}

impl Paths {
    fn command(&self, program: Program) -> Option<Command> {
        let binary = |name: &str| {
            let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
            Command::new(self.binaries.join(name))
        };
        match program {
            Program::Ours => {
                let mut command = binary("peer-ours");
                // candle's waiting threads would take the processors from ours.
                command.env("CANDLE_BARRIER_POOL_SPIN_LIMIT", "100");
                Some(command)
            }
            Program::OursPlain => Some(binary("peer-ours-plain")),
            Program::CandleNn => Some(binary("peer-candle-nn")),
            Program::Burn => self.burn.as_ref().map(Command::new),
            Program::Torch => self.torch.as_ref().map(|(python, script)| {
                let mut command = Command::new(python);
                command.arg(script);
                command
            }),
        }
    }
}

/// What a peer answers.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Answer {
    Timed { samples_ms: Vec<f64>, base_ms: Vec<f64> },
    Held { held_kib: u64, peak_kib: u64, peak_of_steps_kib: u64 },
    Unsupported { unsupported: String },
}

/// The running peers, started when they are first asked.
pub(super) struct Programs {
    paths: Paths,
    running: BTreeMap<(Program, Option<usize>), Running>,
}

impl Programs {
    pub(super) fn new(paths: Paths) -> Self {
        Self { paths, running: BTreeMap::new() }
    }

    /// Who the peers are; those that do not start are left out, and say so on the standard error.
    pub(super) fn introductions(&mut self) -> BTreeMap<String, Introduction> {
        let mut introductions = BTreeMap::new();
        for program in Program::ALL {
            if let Ok(running) = self.running(program, None) {
                introductions.insert(program.name().to_owned(), running.introduction.clone());
            }
        }
        introductions
    }

    /// Ends all peers that the row does not need.
    pub(super) fn keep(&mut self, row: &Row) {
        self.running.retain(|(program, threads), _| {
            threads.is_none()
                || row.columns.iter().any(|it| (it.program, it.threads) == (*program, *threads))
        });
    }

    /// Ends all peers.
    pub(super) fn end(&mut self) {
        self.running.clear();
    }

    /// The peers' process ids.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.running.values().map(|running| running.child.id()).collect()
    }

    /// Lets the column's peer do `work` for about `seconds`.
    pub(super) fn time(&mut self, work: &str, column: &Column, seconds: f64) -> Answer {
        let amount = json!(seconds);
        self.ask(work, column, ("seconds", amount))
    }

    /// Lets the column's peer make `steps`.
    pub(super) fn remember(&mut self, work: &str, column: &Column, steps: usize) -> Answer {
        self.ask(work, column, ("steps", json!(steps)))
    }

    fn ask(&mut self, work: &str, column: &Column, (key, amount): (&str, Value)) -> Answer {
        let request = json!({
            "work": work,
            "batch": column.batch,
            "variant": column.variant,
            key: amount,
        });
        let asked =
            self.running(column.program, column.threads).and_then(|running| running.ask(&request));
        asked.unwrap_or_else(|error| {
            // What has ended is started again for the next request.
            self.running.remove(&(column.program, column.threads));
            Answer::Unsupported { unsupported: format!("{error:#}") }
        })
    }

    fn running(&mut self, program: Program, threads: Option<usize>) -> Result<&mut Running> {
        use std::collections::btree_map::Entry;
        match self.running.entry((program, threads)) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(place) => {
                let Some(command) = self.paths.command(program) else {
                    bail!("left out");
                };
                let started = Running::start(command, threads);
                Ok(place.insert(started.with_context(|| format!("starting {}", program.name()))?))
            }
        }
    }
}

/// A peer's process. It ends when its input does.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    introduction: Introduction,
}

impl Running {
    fn start(mut command: Command, threads: Option<usize>) -> Result<Self> {
        if let Some(threads) = threads {
            let variables =
                ["PEER_THREADS", "RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS"];
            command.envs(variables.map(|variable| (variable, threads.to_string())));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let introduction = Introduction::default();
        let mut running = Self { child, input, output, introduction };
        let line = running.line()?;
        running.introduction =
            serde_json::from_str(&line).with_context(|| format!("it began with {line:?}"))?;
        Ok(running)
    }

    fn ask(&mut self, request: &Value) -> Result<Answer> {
        let input = self.input.as_mut().context("no input")?;
        // Where the peer has ended, its output says so better.
        writeln!(input, "{request}").and_then(|()| input.flush()).unwrap_or_default();
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("it answered {line:?}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("it ended ({})", self.child.wait()?);
        }
        Ok(line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.input = None;
        // Whoever is at work does not hear that the input has ended.
        self.child.kill().and_then(|()| self.child.wait()).map(drop).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::json;

    use super::{Answer, Running};

    /// A peer that is this shell script after its introduction.
    #[cfg(unix)]
    fn shell(script: &str) -> anyhow::Result<Running> {
        let mut command = Command::new("sh");
        let introduction = r#"{"name": "sh", "version": "1", "threads": 2, "settings": {}}"#;
        command.arg("-c").arg(format!("echo '{introduction}'; {script}"));
        Running::start(command, Some(3))
    }

    #[test]
    fn answers_are_told_apart() {
        let parse = |text: &str| serde_json::from_str::<Answer>(text);
        assert_eq!(
            parse(r#"{"samples_ms": [1.5], "base_ms": []}"#).unwrap(),
            Answer::Timed { samples_ms: vec![1.5], base_ms: vec![] }
        );
        assert_eq!(
            parse(r#"{"held_kib": 1, "peak_kib": 3, "peak_of_steps_kib": 2}"#).unwrap(),
            Answer::Held { held_kib: 1, peak_kib: 3, peak_of_steps_kib: 2 }
        );
        assert_eq!(
            parse(r#"{"unsupported": "no"}"#).unwrap(),
            Answer::Unsupported { unsupported: "no".to_owned() }
        );
        assert!(parse(r#"{"samples_ms": [1.5]}"#).is_err());
        assert!(parse(r#"{"samples_ms": ["a"], "base_ms": []}"#).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_is_asked_and_told_its_threads() {
        let mut peer = shell(
            r#"read -r request; echo "{\"unsupported\": \"$PEER_THREADS $RAYON_NUM_THREADS ${#request}\"}""#,
        )
        .unwrap();
        assert_eq!(peer.introduction.name, "sh");
        assert_eq!(
            peer.ask(&json!({"work": "a"})).unwrap(),
            Answer::Unsupported { unsupported: "3 3 12".to_owned() }
        );
        let error = peer.ask(&json!({})).unwrap_err();
        assert!(error.to_string().starts_with("it ended"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_that_speaks_something_else_is_an_error() {
        let error = shell("echo hello; read -r request").unwrap().ask(&json!({})).unwrap_err();
        assert!(format!("{error:#}").contains(r#"it answered "hello\n""#), "{error:#}");
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello"]);
        let error = Running::start(command, None).err().unwrap();
        assert!(format!("{error:#}").contains(r#"it began with "hello\n""#), "{error:#}");
        assert!(Running::start(Command::new("/no/such/program"), None).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_peer_that_is_dropped_at_work_ends() {
        let start = std::time::Instant::now();
        drop(shell("sleep 60").unwrap());
        assert!(start.elapsed().as_secs() < 30);
    }
}
