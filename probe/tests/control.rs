//! What a host writes into the control page, and what the guest makes of it. In a program of its own: callsites are global.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(unsafe_code, reason = "the test writes the control page as a host does: words of shared memory")]

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use fata_probe::control::{Reply, answer, is_asked, poll, serve};
use fata_probe::instant;
use fata_probe::region::{Config, Region};
use fata_wire::request::{MAX_TEXT_BYTES, REQUEST, Slip, TEXT};

/// The host's end of one region.
struct Host {
    region: &'static Region,
    sequence: u32,
}

impl Host {
    fn control(&self, offset: usize) -> &AtomicU64 {
        let control = usize::try_from(self.region.geometry().control_offset).unwrap();
        // SAFETY: the control page lies in the region, which lives for ever and is only accessed atomically.
        unsafe { AtomicU64::from_ptr(self.region.memory().add(control + offset).cast()) }
    }

    fn send(&mut self, text: &[u8], len_bytes: u32) {
        self.sequence += 1;
        for (i, chunk) in text.chunks(8).enumerate().take(MAX_TEXT_BYTES / 8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.control(REQUEST + TEXT + 8 * i).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.control(REQUEST).store(Slip { sequence: self.sequence, len_bytes }.pack(), Ordering::Release);
    }

    fn reply(&self) -> Option<String> {
        let copy = self.region.copy();
        let reply = &copy[usize::try_from(self.region.geometry().reply_offset).unwrap()..];
        let slip = Slip::unpack(fata_wire::u64_at(reply, 0));
        (slip.sequence == self.sequence)
            .then(|| String::from_utf8(reply[TEXT..TEXT + slip.text_len().unwrap()].to_vec()).unwrap())
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(line.as_bytes(), u32::try_from(line.len()).unwrap());
        assert!(is_asked());
        poll();
        serve(answer);
        assert!(!is_asked());
        self.reply().unwrap()
    }

    /// Whether an event of the category `test` is recorded now.
    fn records(&mut self) -> bool {
        let before = self.recorded();
        instant!("test.event");
        let after = self.recorded();
        after > before
    }

    fn recorded(&mut self) -> u64 {
        let dump = self.ask("dump");
        let line = dump.lines().find(|line| line.starts_with("stream 0: ")).unwrap();
        line.split(' ').nth(2).unwrap().parse().unwrap()
    }
}

#[test]
fn a_request_is_done_and_answered_and_one_that_makes_no_sense_is_told_so() {
    let region = Region::in_memory(&Config { name: "control", packet_bytes: 4096, ..Config::default() }).unwrap();
    region.attach(0).unwrap().forever();
    let mut host = Host { region, sequence: 0 };
    assert!(!is_asked());
    serve(|_, _| panic!("nobody has asked"));

    assert_eq!(host.ask("ping"), "ok");
    assert!(host.ask("what?").starts_with("error: there is no request \"what?\"; the requests are ping,"));
    assert!(host.ask("enable nothing").starts_with("error: this guest has no category \"nothing\"; it has "));
    assert!(host.ask("level loud").starts_with("error: "));

    // Each in turn takes away the events of this test, and gives them back.
    assert!(host.records());
    for (off, on) in
        [("stop", "start"), ("freeze", "start"), ("disable test", "enable test"), ("level error", "level info")]
    {
        assert!(host.ask(off).starts_with("ok"), "{off}");
        assert!(!host.records(), "{off}");
        assert!(host.ask(on).starts_with("ok"), "{on}");
        assert!(host.records(), "{on}");
    }
    host.ask("stop");
    assert_eq!(host.ask("mark lost"), "error: nothing is recorded: `start` first");
    host.ask("start");
    assert_eq!(host.ask("mark found at last"), "ok: marked");
    assert!(region.copy().windows(13).any(|window| window == b"found at last"));
    assert!(
        !region.copy()[usize::try_from(region.geometry().streams_offset).unwrap()..]
            .windows(4)
            .any(|window| window == b"lost")
    );

    // A collector that comes and goes takes over the page, and the request holds.
    host.ask("disable test");
    let page = fata_wire::shared::control::CATEGORIES;
    host.control(page).store(u64::MAX, Ordering::Relaxed);
    host.control(fata_wire::shared::control::LEVEL).store(3, Ordering::Relaxed);
    host.control(0).store(1 | 1 << 32, Ordering::Release);
    poll();
    assert!(!host.records());
    assert!(host.ask("dump").starts_with("ok: recording, discard, up to "));

    // Whatever a host writes, the guest answers with text and goes on.
    for (text, len) in [(&b"\xff\xfe"[..], 2), (&[b'x'; 1000], 1000), (b"", u32::MAX), (b"", 0), (b"ping", 1001)] {
        host.send(text, len);
        serve(answer);
        assert!(host.reply().unwrap().starts_with("error: "), "{text:?} {len}");
    }
    // A number that was answered is not answered again, and number 0 is nobody's.
    host.control(REQUEST).store(Slip { sequence: 0, len_bytes: 4 }.pack(), Ordering::Release);
    serve(|_, _| panic!("nobody has asked"));
    let long = "x".repeat(5000);
    host.send(b"ping", 4);
    serve(|_, reply| write!(reply, "{long}").unwrap());
    assert!(host.reply().unwrap().ends_with("x…"));
}

#[test]
fn a_reply_begins_with_ok_or_error_whatever_the_line() {
    for line in ["", " ", "mark", "mode x", "level", "ping pong", "\u{0}", "enable \u{1f980}"] {
        let mut reply = Reply::new();
        answer(line, &mut reply);
        assert!(reply.text().starts_with("error: "), "{line:?}: {}", reply.text());
    }
}
