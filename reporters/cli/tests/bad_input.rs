//! Bad input, each kind of it really tried: a sentence that says what is wrong and what to do, an exit code that is not 0,
//! and nothing that was collected before is lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Ends, Place, get, json, text_of};
use fata_wire::shared;

/// A place with a guest that has ended, `hello`, and its trace as a directory and as a stream.
fn recorded(name: &str) -> Place {
    let place = Place::new(name);
    place.guest(&["run", "hello"]).0.wait().unwrap();
    assert!(place.run(&["collect", "hello", "-o", "trace", "--snapshot", "--quiet"]).status.success());
    let stream = place.run(&["collect", "hello", "-o", "-", "--snapshot", "--quiet"]);
    assert!(stream.status.success());
    fs::write(place.0.join("stream"), stream.stdout).unwrap();
    place
}

/// That the command fails with a sentence that holds `words`.
fn refused(output: &Output, words: &str) {
    let said = text_of(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 0 && code != 101), "{:?}: {said}", output.status);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("fata: ") && last.contains(words), "{said:?} does not say {words:?}");
    assert!(!said.contains("panicked"), "{said}");
}

/// Every way to look at a trace.
fn looks() -> Vec<Vec<&'static str>> {
    let mut looks = vec![vec!["stats"], vec!["stats", "--json"], vec!["dump"]];
    if cfg!(feature = "viewer") {
        looks.extend([vec!["view", "--screenshot", "picture.png"], vec!["view"]]);
    }
    looks
}

/// The ring file of the guest that has run in this place.
fn ring(place: &Place) -> std::path::PathBuf {
    let mut files = fs::read_dir(place.0.join("rings")).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "host")).unwrap()
}

#[test]
fn a_trace_without_events_is_refused_by_all_who_show_it() {
    let place = recorded("nothing");
    fs::write(place.0.join("file"), "").unwrap();
    fs::create_dir(place.0.join("directory")).unwrap();
    fs::create_dir(place.0.join("described")).unwrap();
    fs::copy(place.0.join("trace/metadata"), place.0.join("described/metadata")).unwrap();
    fs::create_dir(place.0.join("hollow")).unwrap();
    fs::copy(place.0.join("trace/metadata"), place.0.join("hollow/metadata")).unwrap();
    fs::write(place.0.join("hollow/stream_0"), "").unwrap();
    for look in looks() {
        for (trace, words) in [
            ("file", "fata collect"),
            ("directory", "holds a file named `metadata`"),
            ("described", "not one event"),
            ("hollow", "not one event"),
        ] {
            let output = place.run(&[&look[..], &[trace]].concat());
            refused(&output, words);
            // A dump may say in a comment what was missing.
            let printed = text_of(&output.stdout);
            assert!(printed.lines().all(|line| line.starts_with('#')), "{look:?} {trace} prints {printed}");
        }
    }
    for look in looks() {
        refused(&place.run(&[&look[..], &["-"]].concat()), "standard input is empty");
    }
    assert!(!place.0.join("picture.png").exists());
}

#[test]
fn a_ring_whose_events_were_collected_says_how_to_have_them_again() {
    let place = recorded("collected");
    assert!(place.run(&["collect", "hello", "-o", "first"]).status.success());
    refused(&place.run(&["collect", "hello", "-o", "second"]), "--snapshot");
    // To go on with the same recording is no error, and changes nothing in it.
    let before = json(&place, &["stats", "--json", "first"]);
    assert!(place.run(&["collect", "hello", "-o", "first"]).status.success());
    assert_eq!(json(&place, &["stats", "--json", "first"]), before);
    assert!(place.run(&["collect", "hello", "-o", "third", "--snapshot"]).status.success());
}

#[test]
fn an_empty_ring_is_an_error_of_a_snapshot_and_none_of_a_recording() {
    let place = Place::new("silent");
    let pid = std::process::id();
    let path = place.0.join(format!("rings/silent.{pid}.host"));
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    lay_out(&file);
    // A guest lives for as long as its process has the file mapped.
    let _alive = memmap2::MmapOptions::new().map_raw(&file).unwrap();
    refused(&place.run(&["collect", "silent", "-o", "copied", "--snapshot"]), "is empty");
    if cfg!(feature = "viewer") {
        refused(&place.run(&["view", "silent", "--screenshot", "picture.png"]), "not one event");
    }
    let collected = place.run(&["collect", "silent", "-o", "trace", "--duration", "0.3"]);
    assert!(collected.status.success(), "{}", text_of(&collected.stderr));
    assert!(text_of(&collected.stderr).contains("0 events"), "{}", text_of(&collected.stderr));
}

/// Makes `file` a ring that nobody has written to yet.
fn lay_out(file: &File) {
    use fata_wire::shared::at;
    let geometry = shared::Geometry::lay_out([7; 16], shared::Platform::Host, 4096, 1, 4, 4096);
    file.set_len(geometry.total_bytes).unwrap();
    let words: [(usize, u64); 11] = [
        (at::TOTAL_BYTES, geometry.total_bytes),
        (at::DESCRIPTION_OFFSET, geometry.description_offset),
        (at::DESCRIPTION_CAPACITY, geometry.description_capacity),
        (at::CONTROL_OFFSET, geometry.control_offset),
        (at::STREAMS_OFFSET, geometry.streams_offset),
        (at::STREAM_COUNT, u64::from(geometry.stream_count) | u64::from(geometry.packets_per_stream) << 32),
        (at::PACKET_BYTES, geometry.packet_bytes.into()),
        (at::CLOCK_HZ, 1_000_000_000),
        (at::PLATFORM, shared::Platform::Host as u64 | (shared::State::Running as u64) << 32),
        (at::VERSION, fata_wire::VERSION.into()),
        (at::MAGIC, shared::STORED_MAGIC),
    ];
    for (offset, word) in words {
        file.write_all_at(&word.to_le_bytes(), offset as u64).unwrap();
    }
    file.write_all_at(&geometry.uuid, at::UUID as u64).unwrap();
}

#[test]
fn foreign_files_are_told_apart_from_traces() {
    let place = recorded("foreign");
    fs::create_dir(place.0.join("other")).unwrap();
    fs::write(place.0.join("other/metadata"), "/* CTF 1.8 */\ntrace { major = 1; minor = 8; };\n").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_fata"), place.0.join("program")).unwrap();
    fs::create_dir(place.0.join("orphan")).unwrap();
    fs::copy(place.0.join("trace/stream_0"), place.0.join("orphan/stream_0")).unwrap();
    for look in looks() {
        for (trace, words) in [
            ("missing", "there is no trace at"),
            ("program", "is not a trace"),
            ("other", "another tracer"),
            ("orphan", "is not a trace"),
            ("orphan/stream_0", "description"),
        ] {
            // A word without a slash could be a guest's name.
            let trace = format!("./{trace}");
            refused(&place.run(&[&look[..], &[&trace]].concat()), words);
        }
    }
    for (guest, words) in [("./program", "no trace ring"), ("./missing", "fata list"), ("./trace", "directory")] {
        refused(&place.run(&["collect", guest, "-o", "x"]), words);
        refused(&place.run(&["collect", "--from-memory", guest, "-o", "x"]), words);
    }
    // What lies in the way is left alone.
    refused(&place.run(&["collect", "hello", "-o", "program", "--snapshot"]), "choose another directory");
    refused(&place.run(&["collect", "hello", "-o", "other", "--snapshot"]), "choose another directory");
    refused(&place.run(&["collect", "hello", "-o", "orphan", "--snapshot"]), "choose another directory");
    assert_eq!(fs::read(place.0.join("program")).unwrap(), fs::read(env!("CARGO_BIN_EXE_fata")).unwrap());
}

/// Every file of a directory, by name, with what it holds.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_recording_that_a_command_does_not_go_on_with_keeps_every_byte() {
    let place = recorded("kept");
    place.guest(&["run", "hello", "--name", "other"]).0.wait().unwrap();
    let (trace, stream) = (place.0.join("trace"), place.0.join("trace/stream_0"));
    let whole = fs::read(&stream).unwrap();
    let commands = [
        &["collect", "other", "-o", "trace"][..],
        &["collect", "other", "-o", "trace", "--snapshot"],
        &["collect", "hello", "other", "-o", "trace"],
        &["serve", "other", "-o", "trace"],
        &["demo", "--headless", "--seconds", "1", "-o", "trace"],
    ];
    // As a collector leaves it that was killed while it wrote its last packet.
    fs::write(&stream, &whole[..whole.len() - 8]).unwrap();
    let before = contents(&trace);
    for command in commands {
        refused(&place.run(command), "choose another directory");
        assert!(contents(&trace) == before, "{command:?} has changed a recording that is not its own");
    }
    // In its middle something else has written to it: not even its own guest goes on with it.
    let mut damaged = whole.clone();
    damaged[fata_wire::packet::HEADER_BYTES..][..4].fill(0x55);
    fs::write(&stream, damaged).unwrap();
    let before = contents(&trace);
    for command in commands.into_iter().chain([&["collect", "hello", "-o", "trace", "--snapshot"][..]]) {
        refused(&place.run(command), "damaged at byte 144");
        assert!(contents(&trace) == before, "{command:?} has changed a damaged recording");
    }
    // What was cut off comes again from a ring that still holds it.
    fs::write(&stream, &whole[..whole.len() - 8]).unwrap();
    assert!(place.run(&["collect", "hello", "-o", "trace", "--snapshot"]).status.success());
    assert_eq!(
        json(&place, &["stats", "--json", "trace"])["events_total"],
        json(&place, &["stats", "--json", "stream"])["events_total"]
    );
}

#[test]
fn a_directory_that_somebody_records_into_is_no_other_collectors_until_that_one_is_gone_however_it_went() {
    let place = recorded("locked");
    let _guest = place.guest(&["run", "lost-wakeup"]);
    place.wait_until_listed("running");
    let collect = ["collect", "lost-wakeup", "-o", "shared"];
    let mut first = Ends(place.fata(&collect).stderr(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while length(&place.0.join("shared/stream_0")) == 0 {
        assert!(Instant::now() < deadline, "nothing is collected");
        std::thread::sleep(Duration::from_millis(20));
    }
    refused(&place.run(&["collect", "hello", "-o", "shared", "--snapshot"]), "being recorded into");
    refused(&place.run(&["demo", "--headless", "-o", "shared"]), "being recorded into");
    // To read it meanwhile is nobody's business but the reader's.
    assert!(place.run(&["stats", "shared"]).status.success());
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    let next = place.run(&[&collect[..], &["--duration", "0.1"]].concat());
    assert!(next.status.success(), "{}", text_of(&next.stderr));
}

#[test]
fn a_trace_or_ring_of_another_version_says_so() {
    let place = recorded("version");
    let replace = |bytes: &mut Vec<u8>, from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to);
    };
    let version = format!("/* fata version {}", fata_wire::VERSION >> 16);
    for file in ["trace/metadata", "stream"] {
        let path = place.0.join(file);
        let mut bytes = fs::read(&path).unwrap();
        replace(&mut bytes, version.as_bytes(), b"/* fata version 9");
        fs::write(&path, bytes).unwrap();
    }
    for look in looks() {
        refused(&place.run(&[&look[..], &["./trace"]].concat()), "version");
        refused(&place.run(&[&look[..], &["./stream"]].concat()), "version");
    }
    let ring = OpenOptions::new().write(true).open(ring(&place)).unwrap();
    ring.write_all_at(&(9u32 << 16).to_le_bytes(), shared::at::VERSION as u64).unwrap();
    refused(&place.run(&["collect", "hello", "-o", "x"]), "format version 9.0");
    let list = text_of(&place.run(&["list"]).stdout);
    assert!(list.contains("unreadable") && list.contains("9.0"), "{list}");
}

#[test]
fn a_guest_without_a_ring_is_told_from_one_that_nobody_knows() {
    let place = Place::new("unprobed");
    fs::write(place.0.join("rings/plain.1.qemu"), [0; 65536]).unwrap();
    refused(&place.run(&["collect", "plain", "-o", "x"]), "feature `profiling`");
    refused(&place.run(&["collect", "nobody", "-o", "x"]), "there are plain.1");
    fs::remove_file(place.0.join("rings/plain.1.qemu")).unwrap();
    refused(&place.run(&["collect", "nobody", "-o", "x"]), "feature `profiling`");
}

#[test]
fn a_trace_cut_at_every_byte_is_read_up_to_the_cut_or_refused_in_a_sentence() {
    let place = recorded("cut");
    let looked = |trace: &str, cut: usize| {
        let output = place.run(&["stats", trace]);
        let said = text_of(&output.stderr) + &text_of(&output.stdout);
        assert!(!said.is_empty() && !said.contains("panicked"), "cut at {cut}: {said}");
        assert!(output.status.success() || text_of(&output.stderr).starts_with("fata: "), "cut at {cut}: {said}");
        output.status.success()
    };
    // The model's own tests cut at every byte; the command is tried at some.
    let stream = fs::read(place.0.join("stream")).unwrap();
    let mut good = 0;
    for cut in (0..stream.len()).step_by(stream.len() / 40 + 1) {
        fs::write(place.0.join("stream"), &stream[..cut]).unwrap();
        good += u32::from(looked("stream", cut));
    }
    assert!(good > 0, "no cut stream can be read");
    for (file, must) in [("trace/metadata", false), ("trace/stream_0", true)] {
        let path = place.0.join(file);
        let whole = fs::read(&path).unwrap();
        let mut good = 0;
        for cut in (0..whole.len()).step_by(whole.len() / 12 + 1) {
            fs::write(&path, &whole[..cut]).unwrap();
            good += u32::from(looked("trace", cut));
        }
        assert!(good > 0 || !must, "no trace with a cut {file} can be read");
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn ports_and_sockets_in_use_are_named() {
    let place = Place::new("ports");
    let _guest = place.guest(&["run", "lost-wakeup"]);
    place.wait_until_listed("running");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refused(&place.run(&["run", "http", "--publish", &format!("{port}:80")]), "in use");
    refused(&place.run(&["serve", "lost-wakeup", "--tcp", &format!("127.0.0.1:{port}")]), "in use");
    refused(&place.run(&["serve", "lost-wakeup", "--tcp", "0.0.0.0:0"]), "loopback");
    let _listens = UnixListener::bind(place.0.join("taken.sock")).unwrap();
    refused(&place.run(&["serve", "lost-wakeup", "--socket", "taken.sock"]), "in use");
    // The guest that none of them could serve is in nobody's hands.
    assert!(place.run(&["collect", "lost-wakeup", "-o", "x", "--duration", "0.1"]).status.success());
}

/// `fata ARGS` where no file may be longer than `blocks` times 512 or 1024 bytes, as the shell has it.
fn limited(place: &Place, blocks: u32, args: &str) -> Output {
    let fata = env!("CARGO_BIN_EXE_fata");
    Command::new("sh")
        .args(["-c", &format!("ulimit -f {blocks}; exec {fata} {args}")])
        .current_dir(&place.0)
        .env("FATA_DIR", place.0.join("rings"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_and_a_limit_on_files_are_a_sentence_and_what_was_collected_stays() {
    let place = Place::new("full");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _guest = place.guest(&["run", "http", "--name", "web", "--publish", &format!("{port}:80")]);
    place.wait_until_listed("running");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !get(port) {
        assert!(Instant::now() < deadline);
    }
    // A file that may not grow: SIGXFSZ would end a program that does not know of it.
    let collecting = std::thread::scope(|scope| {
        let collecting = scope.spawn(|| limited(&place, 400, "collect web -o trace --duration 20"));
        while !collecting.is_finished() {
            get(port);
        }
        collecting.join().unwrap()
    });
    refused(&collecting, "no space left");
    let stats = json(&place, &["stats", "--json", "trace"]);
    assert!(stats["events_total"].as_u64().unwrap() > 0);
    refused(&limited(&place, 1, "run hello"), "FATA_DIR");
    // A full disk behind standard output.
    for args in [
        &["collect", "web", "-o", "-", "--snapshot"][..],
        &["stats", "trace"],
        &["stats", "--json", "trace"],
        &["dump", "trace"],
        &["list"],
        &["list", "--json"],
        &["completions", "bash"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        refused(
            &place.fata(args).stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap(),
            "no space left",
        );
    }
    // Nobody can read what is said there; that is no reason not to do it.
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = place.fata(&["collect", "web", "-o", "copy", "--snapshot"]).stderr(full).status().unwrap();
    assert!(status.success());
    assert!(json(&place, &["stats", "--json", "copy"])["events_total"].as_u64().unwrap() > 0);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = recorded("enough");
    for args in [
        &["dump", "trace"][..],
        &["stats", "trace"],
        &["list"],
        &["completions", "bash"],
        &["collect", "hello", "-o", "-", "--snapshot"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            place.fata(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text_of(&output.stderr));
        assert!(!text_of(&output.stderr).contains("panicked"), "{}", text_of(&output.stderr));
    }
}

#[test]
fn a_viewer_that_reads_too_slowly_loses_its_own_packets_and_is_told() {
    let place = Place::new("slow");
    let _guest = place.guest(&["run", "churn", "rounds=1000000", "rest_micros=0"]);
    place.wait_until_listed("running");
    let mut serving = Ends(
        place
            .fata(&["serve", "churn", "--socket", "serve.sock", "-o", "trace", "--level", "trace"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let socket = place.0.join("serve.sock");
    let deadline = Instant::now() + Duration::from_secs(60);
    let slow = loop {
        match UnixStream::connect(&socket) {
            Ok(slow) => break slow,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // More than its queue and the socket hold.
    while length(&place.0.join("trace/stream_0")) < 8 << 20 {
        assert!(Instant::now() < deadline, "churn says too little: {}", length(&place.0.join("trace/stream_0")));
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(&serving);
    let mut said = String::new();
    serving.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("fata: ") && last.contains("packets were left out for viewers that read too slowly"),
        "{said}"
    );
    assert!(last.contains("the recording has all"), "{said}");
    assert_eq!(serving.0.wait().unwrap().code(), Some(1), "{said}");
    drop(slow);
    // The recording beside it lacks nothing.
    let stats = json(&place, &["stats", "--json", "trace"]);
    assert_eq!(stats["missing_packets"].as_u64(), Some(0));
}

fn length(path: &Path) -> u64 {
    File::open(path).and_then(|file| file.metadata()).map_or(0, |metadata| metadata.len())
}

fn terminate(process: &Ends) {
    let status = Command::new("kill").arg(process.0.id().to_string()).status().unwrap();
    assert!(status.success());
}
