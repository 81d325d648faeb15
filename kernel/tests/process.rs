//! A guest as a process of its own, seen from outside: how it starts, how it ends, and what its ring holds afterwards.
//!
//! Each test starts this program again with the one test `guest_process`, which becomes the guest.
#![cfg(feature = "profiling")]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[expect(dead_code, reason = "this test runs guests in processes, not on its thread")]
mod recorded;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use fata_kernel::{LocalBoxFuture, Main, heap, platform};
use fata_probe::instant;
use fata_wire::shared::{Geometry, MESSAGE_BYTES, PAGE_BYTES, State, Status, at, text_at};

#[global_allocator]
static ALLOCATOR: fata_kernel::heap::Allocator = fata_kernel::heap::Allocator;

const PROGRAMS: [(&str, Main); 6] = [
    ("ends", |guest| boxed(async move { guest.log("good bye") })),
    ("panics", |_| boxed(async { panic!("on purpose, in the guest") })),
    ("faults", |_| boxed(async { touch_nothing() })),
    ("waits", |_| {
        boxed(async {
            instant!("test.waiting");
            std::future::pending::<()>().await;
        })
    }),
    ("shares", |_| boxed(share_memory_with_threads())),
    ("allocates", |_| boxed(allocate_in_phases())),
];

fn boxed(future: impl Future<Output = ()> + 'static) -> LocalBoxFuture {
    Box::pin(future)
}

#[test]
#[ignore = "becomes a guest; the other tests start it"]
fn guest_process() {
    let (Ok(name), Ok(args)) = (env::var("TEST_GUEST"), env::var("TEST_ARGS")) else { return };
    let (name, main) = PROGRAMS.into_iter().find(|(program, _)| *program == name).unwrap();
    platform::boot::start(name, &args, main);
}

/// Its ring directory goes with it.
struct Guest {
    command: Command,
    directory: PathBuf,
}

impl Guest {
    fn new(program: &str, args: &str) -> Self {
        let directory = env::temp_dir().join(format!("fata-process-{}-{program}-{}", std::process::id(), args.len()));
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["guest_process", "--exact", "--ignored", "--nocapture"])
            .env("TEST_GUEST", program)
            .env("TEST_ARGS", args)
            .env("FATA_DIR", &directory)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Guest { command, directory }
    }

    fn run(&mut self) -> Output {
        self.command.output().unwrap()
    }

    /// From now on the guest is started by the program `starter`.
    fn start_by(&mut self, starter: &str, args: &[&str]) {
        let mut command = Command::new(starter);
        command.args(args).arg(self.command.get_program()).args(self.command.get_args());
        for (key, value) in self.command.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.command = command;
    }

    /// Starts the guest `waits`, and returns when it does.
    fn start_waiting(&mut self) -> Child {
        let child = self.command.spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while !self.ring().is_some_and(|ring| {
            ring.first_chunk().is_some_and(|page| Geometry::parse(page, ring.len() as u64).is_ok())
                && recorded::read(&ring).iter().any(|event| event == "test.waiting")
        }) {
            assert!(Instant::now() < patience, "the guest does not wait");
            thread::sleep(Duration::from_millis(10));
        }
        child
    }

    /// The ring's memory, once there is one.
    fn ring(&self) -> Option<Vec<u8>> {
        let file = fs::read_dir(&self.directory).ok()?.next()?.ok()?;
        assert!(file.file_name().to_str().unwrap().ends_with(".host"));
        fs::read(file.path()).ok()
    }

    fn status(&self) -> (Status, String) {
        let ring = self.ring().unwrap();
        let page: &[u8; PAGE_BYTES] = ring.first_chunk().unwrap();
        let geometry = Geometry::parse(page, ring.len() as u64).unwrap();
        let message = String::from_utf8_lossy(text_at(page, at::MESSAGE, MESSAGE_BYTES)).into_owned();
        (Status::parse(page, &geometry), message)
    }

    fn events(&self) -> Vec<String> {
        recorded::read(&self.ring().unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_guest_that_ends_leaves_a_sealed_ring_with_its_boot_and_its_clock() {
    let mut guest = Guest::new("ends", "");
    let output = guest.run();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("good bye\n"));
    let (status, message) = guest.status();
    assert_eq!((status.state, message.as_str()), (State::Exited, ""));
    assert!((100_000_000..10_000_000_000).contains(&status.clock.hz), "{} Hz", status.clock.hz);
    let events = guest.events();
    let position = |name: &str| {
        events.iter().position(|event| event.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {events:?}"))
    };
    let order = ["boot.entry", "boot.memory", "boot.memory end", "boot.clock", "boot.main", "spawn 1", "done 1"];
    assert!(order.map(position).is_sorted(), "{events:?}");
}

#[test]
fn a_panic_ends_the_guest_with_where_and_why_in_the_ring() {
    let mut guest = Guest::new("panics", "");
    let output = guest.run();
    assert_eq!(output.status.code(), Some(101));
    let (status, message) = guest.status();
    assert_eq!(status.state, State::Panicked);
    for text in [message.as_str(), &String::from_utf8_lossy(&output.stderr)] {
        assert!(text.contains("on purpose, in the guest") && text.contains("process.rs"), "{text}");
    }
    assert_eq!(guest.events().last().map(String::as_str), Some("poll 1"));
}

#[test]
fn what_a_killed_guest_had_recorded_is_there() {
    let mut guest = Guest::new("waits", "");
    let mut child = guest.start_waiting();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(guest.status().0.state, State::Running);
    assert_eq!(guest.status().0.pid, u64::from(child.id()));
    assert!(guest.events().contains(&"test.waiting".to_owned()));
}

#[test]
fn a_guest_that_is_asked_to_end_seals_its_ring_and_says_who_asked() {
    for (number, name, words) in [
        (15, "TERM", "SIGTERM asked it to end"),
        (2, "INT", "SIGINT (Ctrl-C) asked it to end"),
        (1, "HUP", "SIGHUP: its terminal has gone"),
    ] {
        let mut guest = Guest::new("waits", &format!("signal={name}"));
        // Who runs the tests in the background of a script ignores SIGINT, and so would the guest.
        guest.start_by("env", &["--default-signal=TERM,INT,HUP"]);
        let mut child = guest.start_waiting();
        assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "it ends as it would without us");
        let (status, message) = guest.status();
        assert_eq!((status.state, message.as_str()), (State::Exited, words));
        assert!(guest.events().contains(&"test.waiting".to_owned()));
    }
}

#[test]
fn a_guest_whose_starter_ignores_a_signal_lives_on() {
    let mut guest = Guest::new("waits", "ignored=1");
    guest.start_by("sh", &["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    let mut child = guest.start_waiting();
    assert!(Command::new("kill").args(["-s", "HUP", &child.id().to_string()]).status().unwrap().success());
    thread::sleep(Duration::from_millis(100));
    assert_eq!(child.try_wait().unwrap(), None);
    assert_eq!(guest.status().0.state, State::Running);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_guest_cannot_start_with_is_a_sentence_and_the_code_100() {
    let mut guest = Guest::new("ends", "ring_mib=many");
    let output = guest.run();
    assert_eq!(output.status.code(), Some(100));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("the boot parameter `ring_mib=many` is not a number"), "{text}");

    let mut guest = Guest::new("ends", "no directory");
    fs::write(&guest.directory, "a file").unwrap();
    let output = guest.run();
    fs::remove_file(&guest.directory).unwrap();
    assert_eq!(output.status.code(), Some(100));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no trace ring can be made in") && text.contains("set FATA_DIR"), "{text}");
}

/// Reads the memory at address 8, where there is none.
fn touch_nothing() {
    #![expect(unsafe_code, reason = "the fault is what is tested")]
    // SAFETY: deliberately not: the process ends here.
    unsafe { core::ptr::without_provenance::<u64>(8).read_volatile() };
}

#[test]
fn a_fault_seals_the_ring_before_it_ends_the_guest() {
    let mut guest = Guest::new("faults", "");
    assert_eq!(guest.run().status.signal(), Some(11));
    let (status, message) = guest.status();
    assert_eq!(status.state, State::Panicked);
    assert_eq!(message, "SIGSEGV, an access to memory that is not there or not allowed; address 0x8");
    assert_eq!(guest.events().last().map(String::as_str), Some("poll 1"));
}

/// Blocks cross to other threads and back, in both directions, while both allocate.
async fn share_memory_with_threads() {
    for round in 0..50_u8 {
        let ours: Vec<Vec<u8>> = (1..200_usize).map(|len| vec![round; len * 7]).collect();
        let live = heap::levels().live_bytes;
        assert!(live >= ours.iter().map(Vec::len).sum());
        let theirs = thread::spawn(move || {
            let mut grown = ours;
            for block in &mut grown {
                // Longer, by a thread that is not the guest: moves to the other allocator.
                block.extend_from_within(..);
            }
            let copies = grown.clone();
            drop(grown);
            copies
        });
        let theirs = theirs.join().unwrap();
        assert!(theirs.iter().flatten().all(|&byte| byte == round));
        drop(theirs);
        assert!(heap::levels().live_bytes < live, "what the thread freed has not come back");
    }
}

#[test]
fn memory_goes_back_to_where_it_came_from_whoever_frees_it() {
    let output = Guest::new("shares", "").run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every slow phase of the heap, which has 4 MiB.
async fn allocate_in_phases() {
    instant!("test.long_block");
    drop(Vec::<u8>::with_capacity(2 << 20));
    instant!("test.short_blocks");
    let short: Vec<Box<[u8; 100]>> = (0..100).map(|_| Box::new([1; 100])).collect();
    drop(short);
    instant!("test.too_long_block");
    assert!(Vec::<u8>::new().try_reserve_exact(64 << 20).is_err());
    instant!("test.trim");
    heap::trim();
    instant!("test.end");
}

#[test]
fn every_slow_phase_of_the_heap_is_a_span_with_its_cause() {
    let mut guest = Guest::new("allocates", "heap_mib=4");
    let output = guest.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let events = guest.events();
    let between = |from: &str, to: &str| {
        let phase: Vec<_> = events.iter().map(String::as_str).skip_while(|event| *event != from).collect();
        phase.into_iter().take_while(|event| *event != to).map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |phase: &[String], span: &str| {
        let begin = phase.iter().position(|event| event.starts_with(span));
        let name = span.split(' ').next().unwrap();
        let end = phase.iter().rposition(|event| *event == format!("{name} end"));
        assert!(begin.is_some() && begin < end, "no {span} in {phase:?}");
    };
    let phase = between("test.long_block", "test.short_blocks");
    has(&phase, "heap.grow \"no block is long enough\"");
    has(&phase, "heap.trim \"mostly free\"");
    assert!(phase.iter().any(|event| event.starts_with("heap.live ")), "{phase:?}");
    let phase = between("test.short_blocks", "test.too_long_block");
    has(&phase, "heap.refill \"cache empty\" 120");
    has(&phase, "heap.flush \"cache full\" 120");
    let phase = between("test.too_long_block", "test.trim");
    has(&phase, "heap.coalesce \"no block is long enough\" 67108864");
    assert!(phase.iter().any(|event| event.starts_with("heap.oom ")), "{phase:?}");
    has(&between("test.trim", "test.end"), "heap.trim \"asked for\"");
    let report = between("test.end", "");
    for counter in ["heap.peak ", "heap.largest_free ", "heap.fragmentation ", "heap.size "] {
        assert!(report.iter().any(|event| event.starts_with(counter)), "no {counter} in {report:?}");
    }
}
