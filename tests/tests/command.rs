//! The command and a machine, as a person has them: `run --platform qemu`, `list`, `collect` and `stats`, with Debian's `curl` and
//! `wrk` at the guest's port.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod machine;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fata_tests::image;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that `wrk` keeps at once.
const CONNECTIONS: u64 = 16;

/// A ring directory of its own, and everything in it.
struct Place(tempfile::TempDir);

/// A command that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.terminate();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Asks it to end, as Ctrl-C would: `fata run` takes its machine along.
    fn terminate(&self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
    }
}

impl Place {
    /// `None`, said aloud, where no machine can be booted.
    fn new() -> Option<Self> {
        machine::is_possible().then(|| Place(tempfile::tempdir().unwrap()))
    }

    fn fata(&self, args: &[&str]) -> Command {
        let mut command = Command::new(image::slim_fata());
        command.args(args).current_dir(&self.0).env("FATA_DIR", self.0.path().join("rings")).stdin(Stdio::null());
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.fata(args).output().unwrap()
    }

    /// What a command that must succeed prints.
    fn printed(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A guest under QEMU, as soon as it has written `words` on its console.
    fn boot(&self, image: &Path, args: &[&str], words: &str) -> (Running, BufReader<ChildStdout>) {
        let image = image.to_str().unwrap();
        let args = [&["run", "--platform", "qemu", "--image", image], args].concat();
        let mut guest = Running(self.fata(&args).stdout(Stdio::piped()).spawn().unwrap());
        let mut console = BufReader::new(guest.0.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(console.read_line(&mut line).unwrap() > 0, "the machine ended before it said {words:?}");
        }
        (guest, console)
    }

    fn wait_until_listed(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.printed(&["list"]);
            if list.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "no {words:?} in {list}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a program of the distribution prints; `None`, said aloud, where it is not installed.
fn program(name: &str, args: &[&str]) -> Option<String> {
    match Command::new(name).args(args).output() {
        Ok(output) => {
            assert!(output.status.success(), "{name} {args:?}: {}", text(&output.stderr));
            Some(text(&output.stdout) + &text(&output.stderr))
        }
        Err(error) => {
            fata_tests::skipped::skipped(&format!("{name} cannot be run: {error}"));
            None
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn curl_and_wrk_are_served_while_the_guest_is_traced_and_every_answer_is_a_span_that_has_ended() {
    let Some(place) = Place::new() else { return };
    let port = free_port();
    let (_guest, _console) =
        place.boot(image::image(), &["http", "--publish", &format!("{port}:80")], "listening on port 80");
    let mut collecting =
        Running(place.fata(&["collect", "http", "-o", "trace"]).stderr(Stdio::piped()).spawn().unwrap());
    place.wait_until_listed("collected by");

    let site = format!("http://127.0.0.1:{port}");
    let mut answered = 0;
    for (path, times) in [("/", 20), ("/big", 3), ("/slow", 2), ("/health", 5)] {
        // Over one connection each, which is kept.
        let asked = format!("{site}{path}");
        let mut args = vec!["-sS", "-m", "30", "-w", "%{http_code}\n"];
        args.extend(["-o", "/dev/null", &asked].repeat(times));
        let Some(codes) = program("curl", &args) else { return };
        assert_eq!(codes, "200\n".repeat(times), "{path}");
        answered += times as u64;
    }
    let (connections, page) = (format!("-c{CONNECTIONS}"), format!("{site}/"));
    let Some(said) = program("wrk", &["-t1", "-d3s", &connections, &page]) else { return };
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    let by_wrk: u64 = said.split_once(" requests in ").unwrap().0.rsplit([' ', '\n']).next().unwrap().parse().unwrap();
    answered += by_wrk;
    // What wrk has left unread is answered all the same, and its connections end.
    std::thread::sleep(Duration::from_secs(1));
    collecting.terminate();
    assert!(collecting.0.wait().unwrap().success());

    let stats: serde_json::Value = serde_json::from_str(&place.printed(&["stats", "--json", "trace"])).unwrap();
    let callsites = stats["callsites"].as_array().unwrap();
    let spans = |name: &str| {
        let site = callsites.iter().find(|site| site["name"] == name).unwrap();
        assert_eq!(site["open"], 0, "{site}");
        site["count"].as_u64().unwrap()
    };
    let (requests, responses) = (spans("http.request"), spans("http.respond"));
    println!("measured: curl and wrk count {answered} answers; {responses} were given, in {requests} spans");
    // When its time is over, wrk hangs up on what is under way: at most one request per connection.
    assert!((answered..=answered + CONNECTIONS).contains(&responses), "{responses} answers, {answered} were received");
    // wrk tries the address first, by a connection that it closes without a word.
    assert!((responses..=responses + 1).contains(&requests), "{requests} spans of {responses} requests");
    assert!(by_wrk > 100, "{said}");
    // An interrupt that comes while the ring changes packets cannot record, and that is counted; nothing else may be missing.
    let discarded = ["full", "too_big", "overwritten", "refused"].map(|cause| stats["discarded"][cause].as_u64());
    assert_eq!((discarded, &stats["missing_packets"]), ([Some(0); 4], &0.into()), "{}", stats["discarded"]);
    let trace = place.0.path().join("trace");
    let Some(events) = program("babeltrace2", &[trace.to_str().unwrap()]) else { return };
    assert_eq!(
        Some(events.lines().filter(|line| line.starts_with('[')).count() as u64),
        stats["events_total"].as_u64()
    );
}

#[test]
fn a_machine_ends_with_its_guests_code_and_its_ring_can_be_read_afterwards() {
    let Some(place) = Place::new() else { return };
    let image = image::image().to_str().unwrap();
    let hello = place.output(&["run", "--platform", "qemu", "--image", image, "hello"]);
    assert_eq!(hello.status.code(), Some(0), "{}", text(&hello.stderr));
    assert!(text(&hello.stdout).starts_with("hello from a unikernel"), "{}", text(&hello.stdout));
    // An ELF of one's own is told by its path.
    let crashed = place.output(&["run", image, "--name", "own", "sample=hello", "crash=panic"]);
    assert_eq!(crashed.status.code(), Some(101), "{}", text(&crashed.stderr));
    let list = place.printed(&["list"]);
    let row = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("hello.").contains("qemu") && row("hello.").contains("exited"), "{list}");
    assert!(row("own.").contains("panicked") && row("own.").contains("crash=panic was asked for"), "{list}");
    for guest in ["hello", "own"] {
        assert!(place.output(&["collect", guest, "-o", guest]).status.success());
        let stats: serde_json::Value = serde_json::from_str(&place.printed(&["stats", "--json", guest])).unwrap();
        assert!(stats["callsites"].as_array().unwrap().iter().any(|site| site["name"] == "boot.entry"), "{guest}");
    }
}

#[test]
fn a_machine_whose_guest_was_built_without_profiling_is_told_by_the_feature_it_lacks() {
    let Some(place) = Place::new() else { return };
    let port = free_port();
    let (_guest, _console) =
        place.boot(image::plain_image(), &["http", "--publish", &format!("{port}:80")], "listening on port 80");
    // It serves as any other.
    let Some(code) =
        program("curl", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://127.0.0.1:{port}/")])
    else {
        return;
    };
    assert_eq!(code, "200");
    for args in
        [&["collect", "http", "-o", "x"][..], &["collect", "http", "-o", "x", "--snapshot"], &["ctl", "http", "ping"]]
    {
        let output = place.output(args);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains("feature `profiling`"), "{args:?}: {said}");
    }
    let list = place.printed(&["list"]);
    assert!(list.contains("unreadable") && list.contains("feature `profiling`"), "{list}");
}
