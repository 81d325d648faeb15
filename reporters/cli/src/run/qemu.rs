//! A guest as a virtual machine: QEMU as a child, whose memory is a file of the ring directory.
//!
//! The file is made before QEMU starts and named after its process once that is known. When QEMU has ended, all of it but
//! the ring is given back, so that what a dead guest recorded can still be read.
#![expect(unsafe_code, reason = "one system call between fork and exec: the child is to end with its parent")]

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fata_collector::source;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::{Args, Publish};
use crate::output::say;
use crate::signals::Stop;

/// The program, and the package of Debian and Ubuntu that holds it.
const QEMU: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
/// How long QEMU may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(3);
/// The clock is compared with the operating system's for so long.
const CALIBRATION: Duration = Duration::from_millis(50);

/// That QEMU can be started.
///
/// # Errors
/// Which package is missing.
pub(crate) fn require_qemu() -> anyhow::Result<()> {
    match Command::new(QEMU).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{QEMU} is not installed: install the package {PACKAGE}, or choose `--platform host`")
        }
        Err(error) => Err(error).with_context(|| format!("cannot start {QEMU}")),
        Ok(_) => Ok(()),
    }
}

/// Boots the image that `build` has or makes, and is its console until it ends. With `sample`, the image is asked to run that
/// one.
///
/// To make an image takes minutes: whatever else is missing is said before.
pub(super) fn run(
    args: &Args,
    build: impl FnOnce() -> anyhow::Result<PathBuf>,
    default_name: &str,
    sample: Option<&str>,
) -> anyhow::Result<ExitCode> {
    if args.machine != "microvm" && args.machine != "q35" {
        bail!("there is no machine {:?}: choose microvm or q35", args.machine);
    }
    require_qemu()?;
    let name = args.guest_name(default_name);
    let publish = args.publish.iter().map(|publish| publish.with_free_port()).collect::<anyhow::Result<Vec<_>>>()?;
    for publish in &publish {
        say!("Publishing port {} of the guest on 127.0.0.1:{}.", publish.guest, publish.host);
    }
    let dir = source::make_ring_dir().context("no place for the guest's memory")?;
    let image = build()?;
    let stop = Stop::listen().context("cannot listen to signals")?;
    let starting = dir.join(format!(".{name}.{}.starting", std::process::id()));
    let memory = std::fs::File::create_new(&starting).and_then(|file| file.set_len(args.memory));
    memory.with_context(|| format!("cannot make the guest's memory {}", starting.display()))?;
    let append = command_line(args, &name, sample);
    let child =
        Command::new(QEMU).args(arguments(args, &image, &starting, &publish, &append)).end_with_parent().spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            let _ = std::fs::remove_file(&starting);
            return Err(error).with_context(|| format!("cannot start {QEMU}"));
        }
    };
    let path = dir.join(format!("{name}.{}.qemu", child.id()));
    wait_for_mapping(&mut child, &starting)?;
    std::fs::rename(&starting, &path).context("cannot name the guest's memory")?;
    let (pid, ports) = (child.id(), publish.iter().map(|publish| publish.host).collect());
    std::thread::spawn(move || super::backlog::lengthen(pid, ports));
    let status = wait(&mut child, &stop)?;
    // Without a ring the memory is of no use to anybody.
    if source::qemu::keep_ring(&path).is_err() {
        let _ = std::fs::remove_file(&path);
    }
    exit_code(status, &stop)
}

/// Waits until QEMU has mapped the file: one that is renamed earlier would be made anew, and the guest's memory would have
/// no name. A QEMU that ends before is the business of [`wait`].
fn wait_for_mapping(child: &mut Child, memory: &Path) -> anyhow::Result<()> {
    let inode = std::fs::metadata(memory).context("the guest's memory is gone")?.ino();
    while !source::process::is_alive(child.id(), inode) && child.try_wait().context("cannot wait for QEMU")?.is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What the guest is told.
fn command_line(args: &Args, name: &str, sample: Option<&str>) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(sample.map(|sample| format!("sample={sample}")));
    words.push(format!("name={name}"));
    words.push(format!("tsc_hz={}", ticks_per_second()));
    words.extend(args.parameters.iter().cloned());
    words.join(" ")
}

fn arguments(args: &Args, image: &Path, memory: &Path, publish: &[Publish], append: &str) -> Vec<OsString> {
    let microvm = args.machine == "microvm";
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    add(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-accel", "tcg", "-smp", "1"]);
    add(&["-machine", &format!("{},memory-backend=ram", args.machine)]);
    add(&["-m", &format!("{}M", args.memory.div_ceil(1 << 20))]);
    add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
    add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    let forwards: Vec<_> =
        publish.iter().map(|publish| format!(",hostfwd=tcp:127.0.0.1:{}-:{}", publish.host, publish.guest)).collect();
    add(&["-netdev", &format!("user,id=net{}", forwards.concat())]);
    add(&["-device", if microvm { "virtio-net-device,netdev=net" } else { "virtio-net-pci,netdev=net" }]);
    add(&["-append", append]);
    // A comma in a path would end the option.
    let memory = memory.display().to_string().replace(',', ",,");
    add(&["-object", &format!("memory-backend-file,id=ram,share=on,size={},mem-path={memory}", args.memory)]);
    all.push("-kernel".into());
    all.push(image.into());
    all
}

/// Waits for QEMU, and ends it when somebody asks us to end.
fn wait(child: &mut Child, stop: &Stop) -> anyhow::Result<ExitStatus> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for QEMU")? {
            return Ok(status);
        }
        match asked {
            None if stop.is_asked() => {
                asked = Some(Instant::now());
                if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    // It may have ended in this moment: the next look tells.
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
            Some(since) if since.elapsed() > PATIENCE => child.kill().context("cannot end QEMU")?,
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The guest's exit code out of QEMU's: `isa-debug-exit` makes `2 * code + 1` of it.
fn exit_code(status: ExitStatus, stop: &Stop) -> anyhow::Result<ExitCode> {
    match status.code() {
        Some(code) if code % 2 == 1 => Ok(ExitCode::from(u8::try_from(code / 2).unwrap_or(u8::MAX))),
        _ if stop.is_asked() => Ok(ExitCode::from(130)),
        Some(0) => bail!("the guest switched its machine off or reset it, as a triple fault does"),
        _ => bail!("QEMU ended with {status}: what it says stands above"),
    }
}

/// How fast the clock is that the guest records with: what the host has measured over a longer time than the guest takes.
fn ticks_per_second() -> u64 {
    let (time, ticks) = (Instant::now(), fata_probe::ticks());
    std::thread::sleep(CALIBRATION);
    let (elapsed, ticks) = (time.elapsed(), fata_probe::ticks().wrapping_sub(ticks));
    u64::try_from(u128::from(ticks) * 1_000_000_000 / elapsed.as_nanos().max(1)).unwrap_or(0)
}

/// For children that must not outlive this program.
pub(crate) trait EndWithParent {
    /// The child is killed when the thread that started it ends, however that comes.
    fn end_with_parent(&mut self) -> &mut Self;
}

impl EndWithParent for Command {
    fn end_with_parent(&mut self) -> &mut Self {
        // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed: it
        // makes one system call and allocates nothing.
        unsafe { self.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::TERM))?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_machine_ticks_between_a_megahertz_and_a_hundred_gigahertz() {
        let hz = ticks_per_second();
        assert!((1_000_000..100_000_000_000).contains(&hz), "{hz}");
    }
}
