//! Cases that need a process of their own: programs built without probes, and peers with threads of their own.
//!
//! The measuring program writes `EVENTS` on a line to the child's input, and the child answers `NANOS BYTES` (per event; `-`
//! where the bytes are not known) after the round; nothing else runs meanwhile. The child ends when its input does.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, Stdio};

/// One round: nanoseconds per event, and bytes per event where they are known.
pub(crate) type Round = (f64, Option<f64>);

/// A program that does the rounds.
pub(crate) struct Child {
    process: Process,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    bytes: Option<f64>,
}

impl Child {
    /// Starts `command`, which speaks as above.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        let requests = process.stdin.take();
        let answers = process.stdout.take().ok_or("the child has no output")?;
        Ok(Child { process, requests, answers: BufReader::new(answers), bytes: None })
    }

    /// This program again, serving `name`.
    pub(crate) fn own(name: &str) -> Result<Self, String> {
        Self::start(&mut own(name)?)
    }

    /// This program built without probes, serving `name`. Builds it where that has not been done.
    pub(crate) fn unprobed(name: &str) -> Result<Self, String> {
        Self::start(Command::new(unprobed_program()?).args(["--serve", name]))
    }

    /// Nanoseconds per event of a round.
    pub(crate) fn round(&mut self, events: u64) -> Result<f64, String> {
        let requests = self.requests.as_mut().ok_or("the child has no input")?;
        writeln!(requests, "{events}").map_err(|error| format!("the child has gone: {error}"))?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| format!("no answer: {error}"))?;
        let mut words = answer.split_ascii_whitespace();
        let nanos = words.next().and_then(|word| word.parse().ok()).ok_or("the child ended without an answer")?;
        self.bytes = words.next().and_then(|word| word.parse().ok());
        Ok(nanos)
    }

    /// Bytes per event, as the last round said.
    pub(crate) fn bytes(&self) -> Option<f64> {
        self.bytes
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.requests.take());
        let _ = self.process.wait();
    }
}

/// How this program is started to serve `name`.
pub(crate) fn own(name: &str) -> Result<Command, String> {
    let program = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let mut command = Command::new(program);
    command.args(["--serve", name]);
    Ok(command)
}

/// The child's side: does rounds until the input ends.
pub(crate) fn serve(name: &str) -> Result<(), String> {
    let mut round = crate::peers::server(name)?;
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let line = line.map_err(|error| error.to_string())?;
        let events = line.trim().parse().map_err(|_| format!("`{line}` is not a number of events"))?;
        let (nanos, bytes) = round(events)?;
        let bytes = bytes.map_or("-".into(), |bytes| bytes.to_string());
        writeln!(output, "{nanos} {bytes}").and_then(|()| output.flush()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Cargo unites the features of what it builds together, so a program without probes is built by itself.
fn unprobed_program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("this program is in no target directory")?.join("unprobed");
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--no-default-features", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start cargo to build the program without probes: {error}"))?;
    if !built.success() {
        return Err("the program without probes does not build".into());
    }
    Ok(target.join("release").join(own.file_name().unwrap_or_default()))
}
