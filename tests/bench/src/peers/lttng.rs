//! LTTng-UST, where the machine has it (`liblttng-ust-dev`, `lttng-tools`, a C compiler): a small C program that is compiled
//! for the occasion, traced by a session in LTTng's own overwrite mode, with a ring as long as ours.
//!
//! Uses the session daemon that runs, or starts one and ends it afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use crate::served::Child;

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lttng");

/// A session, and the traced program. What was made is unmade when this is dropped.
pub(super) struct Session {
    /// Ends before the session does.
    pub(super) program: Option<Child>,
    name: String,
    daemon: Option<Process>,
    directory: PathBuf,
}

impl Session {
    /// Compiles the program and starts it in a session of its own.
    pub(super) fn start() -> Result<Self, String> {
        let name = format!("fata-bench-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut session = Session { program: None, name, daemon: None, directory };
        let program = session.compile()?;
        session.daemon = daemon()?;
        let (name, output) = (session.name.clone(), format!("--output={}", session.directory.join("out").display()));
        lttng(&["create", &name, "--snapshot", &output])?;
        let geometry = ["--overwrite", "--num-subbuf=64", "--subbuf-size=64k"];
        lttng(&[&["enable-channel", "--userspace", "--session", &name][..], &geometry, &["ring"]].concat())?;
        lttng(&["enable-event", "--userspace", "--session", &name, "--channel", "ring", "fata_bench:instant"])?;
        lttng(&["start", &name])?;
        session.program = Some(Child::start(&mut Command::new(program))?);
        Ok(session)
    }

    fn compile(&self) -> Result<PathBuf, String> {
        let program = self.directory.join("bench");
        let output = Command::new("cc")
            .args(["-O2", "-I", SOURCES, "-o"])
            .args([program.as_path(), Path::new(SOURCES).join("bench.c").as_path()])
            .args(["-llttng-ust", "-ldl"])
            .output()
            .map_err(|error| format!("no C compiler: {error}"))?;
        if output.status.success() {
            return Ok(program);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().find(|line| line.contains("error")).unwrap_or("the C compiler refuses its program");
        Err(format!("{why} (Debian's packages: liblttng-ust-dev, lttng-tools)"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.program.take());
        let _ = lttng(&["destroy", &self.name]);
        if let Some(mut daemon) = self.daemon.take() {
            // Not killed outright: it ends its consumers.
            let ended = Command::new("kill").arg(daemon.id().to_string()).status();
            if ended.is_ok_and(|status| status.success()) {
                let _ = daemon.wait();
            }
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A session daemon of ours, if none runs.
fn daemon() -> Result<Option<Process>, String> {
    if lttng(&["list"]).is_ok() {
        return Ok(None);
    }
    let daemon = Command::new("lttng-sessiond")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("lttng-sessiond does not start: {error} (Debian's package: lttng-tools)"))?;
    let mut tries = 50;
    while lttng(&["list"]).is_err() && tries > 0 {
        std::thread::sleep(Duration::from_millis(50));
        tries -= 1;
    }
    Ok(Some(daemon))
}

fn lttng(args: &[&str]) -> Result<(), String> {
    let output = Command::new("lttng")
        .arg("--no-sessiond")
        .args(args)
        .output()
        .map_err(|error| format!("lttng does not start: {error} (Debian's package: lttng-tools)"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("lttng {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
