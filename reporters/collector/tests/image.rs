//! Post-mortem: a ring is found in an image of memory by its signature alone, wherever its pages are, and read to its last
//! committed word.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

#[cfg(test)]
mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::skipped::{is_quick, skipped};
use common::{TempDir, read_dir, small};
use fata_collector::sink::directory::{DirectorySink, Options as DirOptions};
use fata_collector::source::{Guest, SourceError};
use fata_collector::{Collector, End, Options};
use fata_probe::instant;
use fata_probe::region::Region;
use fata_wire::shared::{SharedError, State};

const EVENTS: u64 = 1000;

/// The memory of a guest that has recorded a thousand events and goes on.
fn ring() -> Vec<u8> {
    let region = Region::in_memory(&fata_probe::region::Config { name: "dead", ..small(16) }).unwrap();
    region.set_running(&common::CLOCK);
    let attached = region.attach(0).unwrap();
    for i in 0..EVENTS {
        instant!("image.event", i = i);
    }
    let bytes = region.copy();
    drop(attached);
    bytes
}

/// What `fata collect --from-memory` does.
fn collect(image: &Path, out: &Path) -> Result<(Guest, End), SourceError> {
    let guest = Guest::in_image(image)?;
    let mut sink = DirectorySink::open(out, DirOptions::default()).unwrap();
    let options = Options { snapshot: true, ..Options::default() };
    let end = Collector::attach(&guest, &options, &[]).unwrap().run(&mut sink, &mut |_| true).unwrap();
    Ok((guest, end))
}

fn assert_all_events(image: &Path, dir: &TempDir) {
    let out = dir.join("trace");
    let (guest, end) = collect(image, &out).unwrap();
    assert_eq!((guest.name.as_str(), end), ("dead", End::Image(State::Running, 0)));
    let read = read_dir(&out);
    assert_eq!(read.values, (0..EVENTS).collect::<Vec<_>>());
    assert_eq!((read.unfinished, read.discarded_in_all()), (0, 0));
    std::fs::remove_dir_all(out).unwrap();
}

/// Pages that look like a ring's first and are none: the signature alone, and a copy of a whole header page.
fn decoys(ring: &[u8]) -> Vec<u8> {
    let mut decoys = vec![0x5a; 4096];
    let mut signature = ring[..8].to_vec();
    signature.resize(4096, 0x33);
    decoys.extend(signature);
    decoys.extend(&ring[..4096]);
    decoys.extend(vec![0; ring.len()]);
    decoys
}

#[test]
fn a_ring_is_found_in_raw_memory_behind_pages_that_only_look_like_one() {
    let dir = TempDir::new("image-raw");
    let (image, ring) = (dir.join("image"), ring());
    let mut bytes = decoys(&ring);
    bytes.extend(&ring);
    bytes.extend([0xa5; 10_000]);
    std::fs::write(&image, bytes).unwrap();
    assert_all_events(&image, &dir);
}

#[test]
fn an_image_that_ends_within_the_ring_is_refused_and_says_why() {
    let dir = TempDir::new("image-cut");
    let (image, ring) = (dir.join("image"), ring());
    std::fs::write(&image, &ring[..ring.len() - 4096]).unwrap();
    assert!(matches!(
        collect(&image, &dir.join("trace")),
        Err(SourceError::Ring { source: SharedError::BadGeometry("total length"), .. })
    ));
    std::fs::write(&image, [0; 12345]).unwrap();
    assert!(matches!(
        collect(&image, &dir.join("trace")),
        Err(SourceError::Ring { source: SharedError::NotARing, .. })
    ));
}

/// An ELF core of these segments: physical address, virtual address, contents.
fn core(segments: &[(u64, u64, &[u8])], align: usize) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[16] = 4;
    elf[18] = 62;
    elf[32..40].copy_from_slice(&64u64.to_le_bytes());
    elf[54] = 56;
    elf[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
    let mut at = 64 + segments.len() * 56;
    let mut contents = Vec::new();
    for (physical, virt, bytes) in segments {
        let pad = at.next_multiple_of(align) - at;
        contents.extend(vec![0xee; pad]);
        at += pad;
        let mut header = 1u32.to_le_bytes().to_vec();
        header.extend(7u32.to_le_bytes());
        for word in [at as u64, *virt, *physical, bytes.len() as u64, bytes.len() as u64, 1] {
            header.extend(word.to_le_bytes());
        }
        elf.extend(header);
        contents.extend(*bytes);
        at += bytes.len();
    }
    elf.extend(contents);
    elf
}

#[test]
fn the_pieces_of_a_ring_in_a_core_are_put_together_by_their_addresses_however_they_lie_in_the_file() {
    let dir = TempDir::new("image-pieces");
    let (image, ring) = (dir.join("core"), ring());
    let decoys = decoys(&ring);
    let (first, rest) = ring.split_at(4096 * 3);
    let (second, third) = rest.split_at(4096 * 11);
    let at = |len: usize| 0x7f00_0000_0000 + len as u64;
    for align in [1, 4096] {
        // By virtual address, as a process core; the physical ones are all zero.
        let virt = core(
            &[
                (0, at(first.len() + second.len()), third),
                (0, 0x1000, &decoys),
                (0, at(first.len()), second),
                (0, at(0), first),
            ],
            align,
        );
        std::fs::write(&image, virt).unwrap();
        assert_all_events(&image, &dir);
        // By physical address, as a machine with paging on: the virtual ones are elsewhere.
        let physical = core(
            &[(0x10_0000, 0xffff_8000_0000, first), (0x10_3000, 0xffff_0000_0000, rest), (0, 0x1000, &decoys)],
            align,
        );
        std::fs::write(&image, physical).unwrap();
        assert_all_events(&image, &dir);
    }
}

#[test]
fn the_pages_of_a_xen_core_are_put_together_by_their_numbers() {
    let dir = TempDir::new("image-xen");
    let (image, ring) = (dir.join("core"), ring());
    // Sections: none, names, pages, their numbers; the pages in reverse.
    let names = b"\0.shstrtab\0.xen_pages\0.xen_pfn\0";
    let pages: Vec<u8> = ring.rchunks(4096).flatten().copied().collect();
    let numbers: Vec<u8> = (0..ring.len() as u64 / 4096).rev().flat_map(|i| (i + 77).to_le_bytes()).collect();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    elf[16] = 4;
    elf[40..48].copy_from_slice(&64u64.to_le_bytes());
    elf[58] = 64;
    elf[60] = 4;
    elf[62] = 1;
    let mut at = 64 + 4 * 64;
    elf.resize(at, 0);
    for (i, (name, bytes)) in [(1u32, &names[..]), (11, &pages), (22, &numbers)].into_iter().enumerate() {
        let section = 64 + (i + 1) * 64;
        elf[section..section + 4].copy_from_slice(&name.to_le_bytes());
        elf[section + 24..section + 32].copy_from_slice(&(at as u64).to_le_bytes());
        elf[section + 32..section + 40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        elf.extend(bytes);
        at += bytes.len();
    }
    std::fs::write(&image, elf).unwrap();
    assert_all_events(&image, &dir);
}

#[test]
fn no_byte_of_a_cores_headers_can_lead_the_reader_astray() {
    let dir = TempDir::new("image-damage");
    let (image, ring) = (dir.join("core"), ring());
    let whole = core(&[(0, 0x1000, &ring[..8192]), (0, 0x3000, &ring[8192..])], 4096);
    std::fs::write(&image, &whole).unwrap();
    let file = File::options().write(true).open(&image).unwrap();
    for at in 0..64 + 2 * 56 {
        for value in [0, 0x7f, 0xff] {
            file.write_all_at(&[value], at).unwrap();
            // Found or refused; what matters is that it returns, and takes no memory that the file does not have.
            if let Err(error) = Guest::in_image(&image) {
                assert!(!error.to_string().is_empty());
            }
        }
        file.write_all_at(&whole[usize::try_from(at).unwrap()..][..1], at).unwrap();
    }
    assert_all_events(&image, &dir);
}

#[test]
fn a_core_that_has_the_same_memory_at_every_address_is_not_read_as_often() {
    let dir = TempDir::new("image-aliases");
    let image = dir.join("core");
    // All of the file, 65,000 times: 240 GB.
    let segments = 65_000;
    let mut elf = core(&vec![(0, 0, &[][..]); segments], 1);
    let len = elf.len() as u64;
    for segment in elf[64..].chunks_mut(56) {
        segment[8..16].fill(0);
        segment[32..40].copy_from_slice(&len.to_le_bytes());
    }
    std::fs::write(&image, elf).unwrap();
    let started = Instant::now();
    assert!(matches!(Guest::in_image(&image), Err(SourceError::Ring { source: SharedError::NotARing, .. })));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Ends a process with its test.
struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In the child: a guest in ordinary memory, which says when it has recorded, and waits.
#[test]
fn a_guest_process_for_the_core_test() {
    if std::env::var_os("FATA_TEST_CORE_CHILD").is_none() {
        return;
    }
    let region = Region::in_memory(&fata_probe::region::Config { name: "dead", ..small(16) }).unwrap();
    region.set_running(&common::CLOCK);
    let _attached = region.attach(0).unwrap();
    for i in 0..EVENTS {
        instant!("image.event", i = i);
    }
    eprintln!("recorded");
    std::thread::sleep(Duration::from_secs(60));
}

fn is_missing(program: &str) -> bool {
    let missing = Command::new(program).arg("--version").output().is_err();
    if missing {
        skipped(&format!("{program} is not installed"));
    }
    missing
}

#[test]
fn a_ring_is_found_in_the_core_of_a_process() {
    if is_missing("gdb") {
        return;
    }
    let dir = TempDir::new("image-core");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_guest_process_for_the_core_test", "--nocapture"])
        .env("FATA_TEST_CORE_CHILD", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Kill(child);
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "recorded"));
    let image = dir.join("core");
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-p", &child.0.id().to_string(), "-ex"])
        .arg(format!("generate-core-file {}", image.display()))
        .output()
        .unwrap();
    if !image.is_file() {
        // A container may forbid one process to look into another.
        let said = String::from_utf8_lossy(&output.stderr);
        return skipped(&format!("gdb cannot attach to a process here: {}", said.trim()));
    }
    assert_all_events(&image, &dir);
}

/// One command to QEMU's monitor, and its answer.
fn monitor(socket: &mut UnixStream, command: &str) -> String {
    socket.write_all(command.as_bytes()).unwrap();
    let (mut answer, mut byte) = (String::new(), [0]);
    while !(answer.contains("\"return\"") || answer.contains("\"error\"")) || !answer.ends_with('\n') {
        socket.read_exact(&mut byte).unwrap();
        answer.push(char::from(byte[0]));
    }
    answer
}

#[test]
fn a_ring_is_found_in_what_qemu_dumps_of_a_guests_memory() {
    if is_quick() || is_missing("qemu-system-x86_64") {
        return;
    }
    let dir = TempDir::new("image-qemu");
    let ring = ring();
    // A machine that has not begun to run, with a ring in its memory.
    let (ram, socket) = (dir.join("ram"), dir.join("qmp"));
    let ram_file = File::create(&ram).unwrap();
    ram_file.set_len(64 << 20).unwrap();
    ram_file.write_all_at(&ring, 0x123_4000).unwrap();
    let child = Command::new("qemu-system-x86_64")
        .args(["-machine", "q35,memory-backend=ram", "-m", "64M", "-display", "none", "-nodefaults", "-S"])
        .arg("-object")
        .arg(format!("memory-backend-file,id=ram,size=64M,share=on,mem-path={}", ram.display()))
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let _child = Kill(child);
    let started = Instant::now();
    let mut qmp = loop {
        match UnixStream::connect(&socket) {
            Ok(qmp) => break qmp,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    qmp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    monitor(&mut qmp, r#"{"execute":"qmp_capabilities"}"#);
    let (elf, raw) = (dir.join("elf"), dir.join("raw"));
    let answer = monitor(
        &mut qmp,
        &format!(
            r#"{{"execute":"dump-guest-memory","arguments":{{"paging":false,"protocol":"file:{}"}}}}"#,
            elf.display()
        ),
    );
    assert!(answer.contains("return"), "{answer}");
    assert_all_events(&elf, &dir);
    let answer = monitor(
        &mut qmp,
        &format!(
            r#"{{"execute":"pmemsave","arguments":{{"val":4096,"size":67104768,"filename":"{}"}}}}"#,
            raw.display()
        ),
    );
    assert!(answer.contains("return"), "{answer}");
    assert_all_events(&raw, &dir);
}
