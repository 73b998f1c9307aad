//! Where and when it is measured.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use super::record::Machine;
use super::{Paths, Plan};

/// This machine.
pub(super) fn machine() -> Machine {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        processor: field(&information, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
        processors: std::thread::available_parallelism().map_or(1, Into::into),
        instructions: instructions(field(&information, "flags").unwrap_or_default()).to_owned(),
        system: format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned(),
        rustc: said(Command::new("rustc").arg("--version")),
    }
}

/// The moment, in UTC.
pub(super) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The repository's commit, with a `+` where files differ from it.
pub(super) fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let git = |arguments: &[&str]| said(Command::new("git").args(["-C", folder]).args(arguments));
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    // What is measured is written into docs.
    let changed = git(&["status", "--porcelain", "--", ":/", ":(top,exclude)docs"]);
    let mark = if changed.is_empty() { "" } else { "+" };
    format!("{commit}{mark}")
}

/// The command that measures so.
pub(super) fn command(plan: &Plan, paths: &Paths) -> String {
    let mut command = "cargo xtask bench --peers".to_owned();
    let peers = [("torch", paths.torch.is_none()), ("burn", paths.burn.is_none())];
    let without: Vec<&str> = peers.iter().filter(|(_, out)| *out).map(|(name, _)| *name).collect();
    if !without.is_empty() {
        command += &format!(" --without {}", without.join(","));
    }
    if !plan.only.is_empty() {
        command += &format!(" --only {}", plan.only.join(","));
    }
    command + &format!(" --rounds {} --seconds {}", plan.rounds, plan.seconds)
}

/// What a program says, in one line; nothing where it cannot.
fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().trim().to_owned()
}

/// The first value of this name in `/proc/cpuinfo`.
fn field<'a>(information: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = information.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()))
}

/// The widest vector instructions among a processor's flags.
fn instructions(flags: &str) -> &'static str {
    let has = |flag| flags.split_whitespace().any(|it| it == flag);
    if has("avx512f") {
        "AVX-512"
    } else if has("avx2") {
        "AVX2"
    } else if cfg!(target_arch = "aarch64") {
        "NEON"
    } else {
        "the baseline's"
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::{Paths, command, field, instructions};

    #[test]
    fn the_processor_is_read_from_the_systems_file() {
        let information = "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nmodel name\t: C\n";
        assert_eq!(field(information, "model name"), Some("A: B"));
        assert_eq!(field(information, "model"), None);
        assert_eq!(instructions(field(information, "flags").unwrap()), "AVX-512");
        assert_eq!(instructions("fpu avx2 avx512_bf16"), "AVX2");
    }

    #[test]
    fn the_command_is_what_was_asked_for() {
        let mut plan = Plan { only: vec![], rounds: 7, seconds: 0.4, retries: 4 };
        let mut paths = Paths {
            binaries: "".into(),
            torch: Some(("python".into(), "peer.py".into())),
            burn: Some("burn".into()),
        };
        assert_eq!(command(&plan, &paths), "cargo xtask bench --peers --rounds 7 --seconds 0.4");
        paths.torch = None;
        let expected = "cargo xtask bench --peers --without torch --rounds 7 --seconds 0.4";
        assert_eq!(command(&plan, &paths), expected);
        paths.torch = Some(("python".into(), "peer.py".into()));
        plan.only = vec!["mlp".to_owned(), "conv".to_owned()];
        assert_eq!(
            command(&plan, &paths),
            "cargo xtask bench --peers --only mlp,conv --rounds 7 --seconds 0.4"
        );
    }
}
