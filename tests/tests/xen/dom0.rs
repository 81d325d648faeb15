//! A real Xen with a real Linux as dom0, in QEMU, booted once for all tests of a run; and that twice, since a dom0 has one
//! processor, and so each of two tests has one (`turns` says which may use which).
//!
//! ```ignore
//! let Some((dom0, _turn)) = with_dom0() else { return };  // boots at the first call
//! assert!(dom0.sh("xl list").contains("Domain-0"));     // any script, run by busybox's shell in dom0; must end with 0
//! let ended = dom0.start("sleep 2; exit 3").wait(Duration::from_secs(10));
//! assert_eq!(ended.code, 3);
//! fs::write(dom0.share().join("a-file"), b"for dom0")?; // is /share/a-file there
//! ```
//! Scripts run beside one another, each in a shell of its own with `/share` as its working directory. A channel tells an agent in dom0 (the end of
//! `init.sh`) which to run; what they print and their ends come back as files in the shared folder. dom0 has `fata`, the bootable
//! image as `/bin/fata-image`, and these tests, which [`these_tests`] runs there. When the test program
//! ends, however it does, QEMU is killed. `FATA_XEN_TIMES=FILE` says what takes how long, and how much of this machine's time.

#![expect(unsafe_code, reason = "asking that QEMU ends with the tests")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::image::{self, Image};

/// How many machines there are. One machine whose dom0 had two processors took twice as much of the host's for all it did.
pub(super) const MACHINES: usize = 2;
const QEMU: &str = "qemu-system-x86_64";
/// dom0's parameters. At an address where it has been run before QEMU need not translate a program anew, so they are the same in each
/// process (`norandmaps`): half of what a process takes. Nobody attacks this machine (`mitigations`), its kernel does not write over
/// itself (`rodata`, a second of its start), its ciphers are none that anybody uses (`notests`, a second), and it has one processor,
/// for which it need not rewrite itself (`noreplace-smp`).
const LINUX: &str = "console=hvc0 quiet panic=-1 norandmaps mitigations=off rodata=off cryptomgr.notests noreplace-smp";
/// Until dom0 is ready. It takes 8 s on a machine that does nothing else, and was seen to take 160 beside twenty compilers.
const BOOT: Duration = Duration::from_secs(400);
/// A script that takes longer has gone wrong.
const SCRIPT: Duration = Duration::from_secs(300);

/// The machine. It lives as long as the test program.
pub(crate) struct Dom0 {
    share: PathBuf,
    agent: Mutex<UnixStream>,
    serial: Arc<Mutex<Vec<u8>>>,
    /// QEMU's process.
    qemu: Arc<AtomicU32>,
    scripts: AtomicU32,
}

/// A script that has been started in dom0.
pub(crate) struct Running<'a> {
    begun: Instant,
    /// What the machine had used by then.
    cpu_before: f64,
    dom0: &'a Dom0,
    number: u32,
    script: String,
}

/// A script that has come to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// What it printed, errors too.
    pub(crate) text: String,
}

/// The machine of this number, of which each has its own Xen and dom0, booted at the first call; `None` in the quick tests, which
/// boot no machine.
///
/// # Panics
/// Says why where it cannot be booted: the tests fail then.
pub(super) fn machine(number: usize) -> Option<&'static Dom0> {
    static BOOTED: [OnceLock<Result<Dom0, String>>; MACHINES] = [const { OnceLock::new() }; MACHINES];
    if fata_tests::skipped::is_quick() {
        return None;
    }
    let boot = || std::panic::catch_unwind(|| Dom0::boot(number)).map_err(|reason| said(&*reason));
    let booted = BOOTED[number].get_or_init(boot);
    Some(booted.as_ref().unwrap_or_else(|reason| panic!("there is no dom0: {reason}")))
}

fn said(reason: &(dyn std::any::Any + Send)) -> String {
    let text = reason.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| reason.downcast_ref().copied()).unwrap_or("a panic without words").to_owned()
}

impl Dom0 {
    fn boot(number: usize) -> Self {
        static IMAGE: OnceLock<(PathBuf, Image)> = OnceLock::new();
        let (cache, image) = IMAGE.get_or_init(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
            let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
            let cache = target.join("xen");
            fs::create_dir_all(&cache).unwrap();
            let cache = cache.canonicalize().unwrap();
            let start = Instant::now();
            let image = image::build(&cache);
            println!("measured: packages and dom0's image took {:.1} s", start.elapsed().as_secs_f64());
            remove_shares_of_the_dead(&cache);
            (cache, image)
        });
        // Two test programs may run at the same time.
        let share = cache.join(format!("share-{}-{number}", std::process::id()));
        for folder in ["run", "console"] {
            fs::create_dir_all(share.join(folder)).unwrap();
        }
        let socket = share.join("agent");
        let listener = UnixListener::bind(&socket).unwrap();
        let serial = Arc::new(Mutex::new(Vec::new()));
        let (start, sink) = (Instant::now(), Arc::clone(&serial));
        let qemu = Arc::default();
        {
            let (share, socket, qemu) = (share.clone(), socket.clone(), Arc::clone(&qemu));
            // QEMU dies with the thread that started it, and this one lives as long as the program.
            std::thread::spawn(move || serve(image, &share, &socket, &sink, &qemu));
        }
        listener.set_nonblocking(true).unwrap();
        let agent = loop {
            if let Ok((stream, _)) = listener.accept() {
                break stream;
            }
            let elapsed = start.elapsed();
            assert!(elapsed < Duration::from_secs(60), "QEMU does not start: {}", text_of(&serial));
            std::thread::sleep(Duration::from_millis(10));
        };
        let dom0 = Dom0 { share, agent: Mutex::new(agent), serial, qemu, scripts: AtomicU32::new(0) };
        while !dom0.serial().contains("dom0 is ready") {
            assert!(start.elapsed() < BOOT, "dom0 does not boot; the serial line: {}", dom0.serial());
            std::thread::sleep(Duration::from_millis(20));
        }
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), dom0.cpu_seconds());
        println!("measured: Xen and dom0 were ready after {seconds:.1} s, and {cpu:.1} s of processors");
        dom0
    }

    /// The folder that is `/share` in dom0.
    pub(crate) fn share(&self) -> &Path {
        &self.share
    }

    /// All that Xen, dom0's kernel and guests with the debug port have written.
    pub(crate) fn serial(&self) -> String {
        text_of(&self.serial)
    }

    /// Time of this machine's processors that QEMU has used.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.qemu.load(Ordering::Relaxed))).unwrap_or_default();
        // In hundredths of a second (proc(5)); the name before the third field may hold anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Starts a script.
    pub(crate) fn start(&self, script: &str) -> Running<'_> {
        let number = self.scripts.fetch_add(1, Ordering::Relaxed);
        fs::write(self.share.join(format!("run/{number}.sh")), script).unwrap();
        writeln!(self.agent.lock().unwrap(), "run {number}").unwrap();
        let (begun, cpu_before) = (Instant::now(), self.cpu_seconds());
        Running { begun, cpu_before, dom0: self, number, script: script.to_owned() }
    }

    /// Runs a script and returns what it printed.
    ///
    /// # Panics
    /// Where it does not end with 0, or not at all.
    pub(crate) fn sh(&self, script: &str) -> String {
        let Ended { code, text } = self.start(script).wait(SCRIPT);
        assert_eq!(code, 0, "this script failed in dom0:\n{script}\nand printed:\n{text}");
        text
    }
}

impl Running<'_> {
    /// What the script has printed so far.
    pub(crate) fn text(&self) -> String {
        let bytes = fs::read(self.file("out")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.file("rc").exists()
    }

    /// Asks the script, or the program in whose place it has put itself, to end (`SIGTERM`), which takes dom0 no process.
    pub(crate) fn kill(&self) {
        writeln!(self.dom0.agent.lock().unwrap(), "kill {}", self.number).unwrap();
    }

    /// Waits for the script's end.
    pub(crate) fn wait(self, at_most: Duration) -> Ended {
        let start = Instant::now();
        let code = loop {
            // The file is there before what it says.
            if let Some(code) =
                fs::read_to_string(self.file("rc")).ok().as_deref().and_then(|code| code.strip_suffix('\n'))
            {
                break code.parse().unwrap();
            }
            assert!(
                start.elapsed() < at_most,
                "this script does not end in dom0:\n{}\nand has printed:\n{}\nthe serial line:\n{}",
                self.script,
                self.text(),
                self.dom0.serial()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        self.keep_time();
        Ended { code, text: self.text() }
    }

    /// Adds a line to the file that `FATA_XEN_TIMES` names: when the script began, how long it took, what its machine had used by
    /// then and when it ended, of which test it is, and what it was.
    fn keep_time(&self) {
        static ZERO: OnceLock<Instant> = OnceLock::new();
        let Some(path) = std::env::var_os("FATA_XEN_TIMES") else { return };
        let since = self.begun.duration_since(*ZERO.get_or_init(|| self.begun)).as_secs_f64();
        let (took, before, after) = (self.begun.elapsed().as_secs_f64(), self.cpu_before, self.dom0.cpu_seconds());
        let (thread, script) = (std::thread::current(), self.script.replace('\n', "; "));
        let test = thread.name().unwrap_or("?");
        let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
        file.write_all(format!("{since:.3} {took:.3} {before:.2} {after:.2} {test} {script}\n").as_bytes()).unwrap();
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dom0.share.join(format!("run/{}.{extension}", self.number))
    }
}

/// The command line that runs one of these tests, which is otherwise left out, in dom0.
pub(crate) fn these_tests(test: &str) -> String {
    format!("these-tests --exact --ignored {test}")
}

fn remove_shares_of_the_dead(cache: &Path) {
    for entry in fs::read_dir(cache).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let owner = name.strip_prefix("share-").and_then(|owner| owner.split('-').next());
        if owner.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another test program may be about to do the same.
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn text_of(serial: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&serial.lock().unwrap()).replace('\r', "")
}

/// Runs QEMU and keeps what it says, until the program ends.
fn serve(image: &Image, share: &Path, socket: &Path, serial: &Mutex<Vec<u8>>, process: &AtomicU32) {
    let mut qemu = match start(image, share, socket) {
        Ok(qemu) => qemu,
        Err(error) => {
            let sentence = format!("{QEMU} does not start: {error} (package qemu-system-x86)");
            serial.lock().unwrap().extend(sentence.bytes());
            return;
        }
    };
    process.store(qemu.id(), Ordering::Relaxed);
    let errors = qemu.stderr.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| keep(errors, serial));
        keep(qemu.stdout.take().unwrap(), serial);
    });
    let status = qemu.wait();
    serial.lock().unwrap().extend(format!("\nQEMU has ended: {status:?}\n").bytes());
}

fn keep(mut from: impl Read, serial: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        serial.lock().unwrap().extend(&bytes[..len]);
    }
}

/// The measured command line: of all that QEMU emulates, the part that Xen and a PVH guest run on. (`+npt`: Debian's Xen has no
/// shadow paging; `+rdrand`: dom0 would wait seconds for chance; no processor with `smap` or `mwait`, which break on it;
/// `bootscrub=off`: the memory is new, and to write zeros over it takes two seconds.)
///
/// Guests run on processor 1, and dom0 on processor 0. Where a guest runs on processor 0, QEMU (7.2, and later ones too) kills
/// it now and then: every `fxrstor`, on whichever processor, clears a bit in the `hflags2` of the *first* one
/// (`cpu_clear_ignne`), by a load and a store and without a lock. If the first processor enters or leaves a guest in between,
/// what it noted there is undone. After VMRUN the bit for nested paging is then missing, so that the guest's page tables are
/// looked for at wrong addresses, and the first instruction, behind `vmmcall` or `hlt`, is a triple fault; after #VMEXIT it is
/// still set, Xen itself faults by the guest's tables, and its own registers are written over the guest's. (Seen by a
/// watchpoint on `hflags2`. With four busy guests on both processors it takes a minute or two.)
fn start(image: &Image, share: &Path, socket: &Path) -> std::io::Result<Child> {
    let Image { xen, kernel, initramfs } = image;
    let modules = format!("{} {LINUX},{}", kernel.display(), initramfs.display());
    let mut qemu = Command::new(QEMU);
    qemu.args(["-M", "q35", "-accel", "tcg", "-cpu", "qemu64,+svm,+npt,+rdrand", "-m", "1024", "-smp", "2"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-monitor", "none"])
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(xen)
        .args(["-append", "console=com1 com1=115200,8n1 dom0_mem=384M,max:384M dom0_max_vcpus=1 dom0_vcpus_pin bootscrub=off loglvl=warning guest_loglvl=all"])
        .args(["-initrd", &modules])
        .args(["-virtfs", &format!("local,path={},mount_tag=share,security_model=none,id=share", share.display())])
        .args(["-device", "virtio-serial-pci", "-chardev", &format!("socket,id=agent,path={}", socket.display())])
        .args(["-device", "virtserialport,chardev=agent,name=agent"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec, only a system call that touches no memory.
    unsafe {
        qemu.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    };
    qemu.spawn()
}
