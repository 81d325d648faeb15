//! A real systemd-journald in a mount namespace of its own, where a directory of the test is `/run`: what is counted here is in
//! the journal, in order, while the journal is stopped, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::skipped::skipped;
use common::{PLENTY, quiet, wait_until};
use fata_reporters::front::{Front, Options};
use fata_reporters::journald::Journald;
use fata_reporters::queue::{Bounds, Policy};
use fata_reporters::record::{Field, Record, Value};
use fata_reporters::reporter::Item;
use fata_reporters::{Level, Reporter as _};

const DAEMON: &str = "/lib/systemd/systemd-journald";

struct Journal {
    dir: tempfile::TempDir,
    process: Option<Child>,
}

impl Journal {
    /// `None` where journald cannot be run, which a run with CI=true does not accept.
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("systemd/journald.conf.d")).unwrap();
        std::fs::create_dir_all(dir.path().join("log")).unwrap();
        let configuration = "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nReadKMsg=no\nAudit=no\n\
                             ForwardToSyslog=no\nForwardToWall=no\nSyncIntervalSec=1s\nRuntimeMaxUse=200M\n";
        std::fs::write(dir.path().join("systemd/journald.conf.d/test.conf"), configuration).unwrap();
        let mut journal = Journal { dir, process: None };
        if !Path::new(DAEMON).exists() || !journal.run() {
            skipped("systemd-journald is not installed, or may have no mount namespace");
            return None;
        }
        Some(journal)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("systemd/journal/socket")
    }

    /// Starts journald; `false` where it ends at once.
    fn run(&mut self) -> bool {
        let _ = std::fs::remove_file(self.socket());
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let script = "mount --bind \"$1\" /run && exec \"$2\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(self.dir.path()).arg(DAEMON);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !self.socket().exists() {
            if child.try_wait().unwrap().is_some() || start.elapsed() > PLENTY {
                let _ = child.kill();
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.process = Some(child);
        true
    }

    fn signal(&self, name: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(id).status().unwrap().success());
    }

    fn kill(&mut self) {
        self.signal("KILL");
        self.process.take().unwrap().wait().unwrap();
    }

    /// The entries in the journal that are ours, in its order.
    fn entries(&self) -> Vec<serde_json::Value> {
        let output = Command::new("journalctl")
            .args(["--quiet", "--merge", "--output=json", "--all", "--directory"])
            .arg(self.dir.path().join("log/journal"))
            .arg("SYSLOG_IDENTIFIER=net.tcp")
            .arg("+")
            .arg("SYSLOG_IDENTIFIER=fata.reporters")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn numbers(&self) -> Vec<u64> {
        self.entries().iter().filter_map(|entry| entry["FATA_SEQUENCE"].as_str()?.parse().ok()).collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn front(journal: &Journal) -> Front {
    let bounds = Bounds { bytes: 64 << 10, reserved_bytes: 16 << 10, item_bytes: 8 << 10, policy: Policy::Block };
    let options = Options { bounds, patience: Duration::from_secs(20), trouble: quiet };
    Front::spawn("journald", Journald::new(&journal.socket()), options).unwrap()
}

fn send(front: &Front, sequence: u64) {
    let fields = [Field { name: "message", value: Value::Str(b"number") }];
    let record = Record { sequence, guest: "http0", target: "net.tcp", fields: &fields, ..Record::BLANK };
    front.hand_over(&Item::Record(record));
}

#[test]
fn every_part_of_a_record_is_in_the_journal_even_a_megabyte_of_it() {
    let Some(journal) = Journal::start() else { return };
    let text = vec![b'x'; 1 << 20];
    let fields = [
        Field { name: "message", value: Value::Str(b"two\nlines") },
        Field { name: "peer", value: Value::Str(b"10.0.0.2") },
        Field { name: "long", value: Value::Str(&text) },
    ];
    let record = Record {
        level: Level::Error,
        guest: "http0",
        target: "net.tcp",
        task: "conn-7",
        file: "src/net.rs",
        line: 42,
        sequence: 9,
        fields: &fields,
        ..Record::BLANK
    };
    // Twice: as it is, too long for a datagram, and cut by a front.
    Journald::new(&journal.socket()).report(&Item::Record(record)).unwrap();
    let front = front(&journal);
    front.hand_over(&Item::Record(record));
    assert_eq!(front.close(PLENTY).reported.total(), 1);
    wait_until("both are in the journal", || journal.numbers().len() == 2);
    let entries = journal.entries();
    for entry in &entries {
        let known = [
            ("PRIORITY", "3"),
            ("FATA_GUEST", "http0"),
            ("FATA_TASK", "conn-7"),
            ("CODE_LINE", "42"),
            ("F_PEER", "10.0.0.2"),
        ];
        for (name, value) in known {
            assert_eq!(entry[name], value, "{name}");
        }
        assert_eq!(entry["F_MESSAGE"], "two\nlines");
    }
    assert_eq!(entries[0]["F_LONG"].as_str().unwrap().len(), 1 << 20);
    assert!(entries[1]["F_LONG"].as_str().unwrap().ends_with("(cut: 1048576 bytes)"));
}

#[test]
fn a_journal_that_is_stopped_gets_every_entry_once_and_in_order_and_a_killed_one_all_but_those_in_its_socket() {
    let Some(mut journal) = Journal::start() else { return };
    let front_before = front(&journal);
    let count = 5000;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|number| send(&front_before, number)));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(50));
            journal.signal("STOP");
            std::thread::sleep(Duration::from_millis(200));
            journal.signal("CONT");
        }
    });
    let account = front_before.close(PLENTY);
    assert_eq!((account.reported.total(), account.discarded.total()), (count, 0));
    wait_until("all are in the journal", || journal.numbers().len() as u64 >= count);
    assert_eq!(journal.numbers(), (0..count).collect::<Vec<_>>());

    let front_after = front(&journal);
    let kills = 2;
    std::thread::scope(|scope| {
        scope.spawn(|| (count..2 * count - 1).for_each(|number| send(&front_after, number)));
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(100));
            journal.kill();
            assert!(journal.run());
        }
    });
    // To one that lives: what all others may be lost in is the socket of one that was killed.
    send(&front_after, 2 * count - 1);
    assert_eq!(front_after.close(PLENTY).reported.total(), count);
    wait_until("the last is in the journal", || journal.numbers().last() == Some(&(2 * count - 1)));
    let numbers = journal.numbers();
    assert!(numbers.is_sorted_by(|a, b| a < b), "not in order, or twice");
    let missing = 2 * count - numbers.len() as u64;
    let queue: u64 = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap().trim().parse().unwrap();
    println!(
        "measured: {missing} of {count} entries lost with a journald that was killed {kills} times (its socket holds {queue})"
    );
    // Those in its socket, and the one that it had in its hands.
    assert!(missing <= kills * (queue + 2), "{missing}");
}
