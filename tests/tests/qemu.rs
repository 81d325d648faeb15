//! The image boots, on both machines, and whatever becomes of it can be read in its memory.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod machine;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use fata_collector::alignment::{Alignment, Axis, How};
use fata_model::objects::Verdict;
use fata_model::stats::Stats;
use fata_wire::shared::{Clock, State};
use machine::Machine;

const MACHINES: [&str; 3] = ["microvm", "microvm,acpi=off", "q35"];
/// Longer than any guest here runs, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn hello_boots_and_ends_on_every_machine_and_its_boot_is_in_the_ring() {
    for name in MACHINES {
        let Some(machine) = Machine::boot(name, "sample=hello", &[]) else { return };
        let ended = machine.wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.console);
        assert!(ended.console.starts_with("hello from a unikernel\nhello from task 1\n"), "{name}: {}", ended.console);
        let ring = ended.memory.ring();
        assert_eq!((ring.state, ring.unfinished), (State::Exited, 0));
        assert_eq!(ring.message, "");
        let mut events = ring.events.iter();
        for expected in ["boot.entry", "boot.memory", "boot.clock", "boot.clock_known", "boot.interrupts", "boot.main"]
        {
            assert!(events.any(|event| event == expected), "{name}: no {expected} in its place in {:?}", ring.events);
        }
        assert!(ring.events.iter().any(|name| name == "task.spawn"), "{name}: {:?}", ring.events);
    }
}

#[test]
fn whatever_kills_the_guest_is_said_on_the_console_and_in_the_sealed_ring() {
    for (crash, code, words) in [
        ("panic", 101, "crash=panic was asked for"),
        ("null", 102, "writing to 0x10, which is the page at 0: a null pointer"),
        ("page-fault", 102, "writing to 0x2000000000, which is not mapped"),
        ("write-text", 102, "which is mapped without that right"),
        ("run-data", 102, "running code at"),
        ("stack-overflow", 102, "the guard page below the stack: the stack is full"),
        ("invalid-instruction", 102, "exception 6, instruction that does not exist"),
    ] {
        let Some(machine) = Machine::boot("microvm", &format!("sample=hello crash={crash}"), &[]) else { return };
        let ended = machine.wait(PATIENCE);
        assert_eq!(ended.code, Some(code), "{crash}: {}", ended.console);
        assert!(ended.console.contains(words), "{crash}: {}", ended.console);
        let ring = ended.memory.ring();
        assert_eq!(ring.state, State::Panicked, "{crash}");
        assert!(ring.message.contains(words), "{crash}: {}", ring.message);
        assert!(ring.events.iter().any(|name| name == "task.spawn"), "{crash}: what came before is there");
    }
}

#[test]
fn a_guest_shows_its_own_log_on_the_serial_port_from_the_level_on_that_was_asked_for() {
    let append = "sample=chatter rounds=20 pause_ms=1 log=debug console=info";
    let Some(machine) = Machine::boot("microvm", append, &[]) else { return };
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.console);
    let lines: Vec<_> = ended.console.lines().collect();
    assert!(
        lines[0].starts_with("the log from info up is shown here; all of the log takes at most "),
        "{}",
        ended.console
    );
    assert!(lines[2].contains("INFO  fata.log: rules"), "what came before the console is there: {}", ended.console);
    let hits: Vec<_> = lines.iter().filter_map(|line| line.split_once(" hits=")?.1.split(' ').next()).collect();
    assert_eq!(hits, (0..20).map(|round| (round * 3).to_string()).collect::<Vec<_>>(), "{}", ended.console);
    assert!(ended.console.contains("INFO  chatter.reader cache: looked up"), "{}", ended.console);
    assert_eq!(ended.console.matches("ERROR").count(), 2, "{}", ended.console);
    assert!(!ended.console.contains("DEBUG"), "{}", ended.console);
    assert!(lines.last().is_some_and(|line| line.ends_with("app: chatter ends")), "{}", ended.console);
}

#[test]
fn a_guest_logs_from_its_first_instruction_and_changes_its_rules_while_it_runs() {
    let append = "sample=chatter rounds=100000 pause_ms=2 log=info,store:error console=error";
    let Some(machine) = Machine::boot("microvm", append, &[]) else { return };
    let logs_of = |wanted: &str| machine.ring().logs.iter().filter(|log| *log == wanted).count();
    let wait_for = |wanted: &str| {
        let begun = Instant::now();
        while logs_of(wanted) == 0 {
            assert!(begun.elapsed() < PATIENCE, "no {wanted:?} in {:?}", machine.ring().logs);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    machine.wait_for("giving up", PATIENCE);
    let before = machine.ring().logs;
    // The platform says what rules hold before there is a heap, a clock, or an interrupt.
    assert_eq!(before[0], "info fata.log");
    assert!(before.contains(&"app app".to_owned()) && before.contains(&"info cache".to_owned()), "{before:?}");
    assert!(!before.iter().any(|log| log.starts_with("debug") || log.starts_with("trace")), "{before:?}");

    assert_eq!(machine.ask("level net:loud").split(':').next(), Some("error"));
    assert_eq!(machine.ask("level store=debug"), "ok: *:info store:debug");
    wait_for("debug store");
    assert_eq!(logs_of("trace store"), 0);
    let answer = machine.ask("level *:off,store:off,later::target=debug");
    assert!(answer.starts_with("ok: *:off store:off later::target:debug; nobody logs as"), "{answer}");
    // Both are rings: once the rules hold, nothing is added.
    let then = machine.ring().logs.len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(machine.ring().logs.len(), then);
}

#[test]
fn rules_that_do_not_parse_are_told_by_word_and_column() {
    let Some(machine) = Machine::boot("microvm", "sample=hello log=info,net:loud", &[]) else { return };
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(100), "{}", ended.console);
    assert!(ended.console.contains("log=info,net:loud: column 10: \"loud\" is no level"), "{}", ended.console);
}

#[test]
fn a_guest_that_cannot_start_says_why_and_fails() {
    for (append, words) in [
        ("", "no sample was chosen: boot with sample=NAME, where NAME is one of hello"),
        ("sample=nonsense", "there is no sample `nonsense`"),
        ("sample=hello ring_mib=much", "the boot parameter `ring_mib=much` is not a number"),
        ("sample=hello ring_mib=512", "does not fit the guest's memory: give it more with -m, or set ring_mib="),
        ("sample=hello tsc_hz=1", "no clock"),
    ] {
        let Some(machine) = Machine::boot("microvm", append, &[]) else { return };
        let ended = machine.wait(PATIENCE);
        assert_eq!(ended.code, Some(100), "{append}: {}", ended.console);
        assert!(ended.console.contains(words), "{append}: {}", ended.console);
    }
}

#[test]
fn the_clock_runs_at_the_rate_that_was_passed_or_within_a_thousandth_of_the_hosts() {
    let Some(machine) = Machine::boot("q35", "sample=hello tsc_hz=2222222222", &[]) else { return };
    assert_eq!(machine.wait(PATIENCE).memory.ring().clock.hz, 2_222_222_222);
    // What the emulation gives the guest is the host's counter.
    let (ticks, start) = (fata_probe::ticks(), std::time::Instant::now());
    let Some(machine) = Machine::boot("q35", "sample=hello", &[]) else { return };
    let clock = machine.wait(PATIENCE).memory.ring().clock;
    let guest_hz = clock.hz;
    let host_hz = u128::from(fata_probe::ticks() - ticks) * 1_000_000_000 / start.elapsed().as_nanos();
    let error_ppm = (i128::from(guest_hz) - host_hz as i128) * 1_000_000 / host_hz as i128;
    assert!(error_ppm.abs() < 1000, "guest {guest_hz}, host {host_hz}");
    // The emulator takes a hundred times as long to translate a probe as to run it: that is no event's cost.
    let (read, probe) = (clock.clock_cost_picos, clock.probe_cost_picos);
    assert!(read < probe && probe < 20 * read, "a reading of the clock takes {read} ps, an event {probe} ps");
}

#[test]
fn http_is_served_through_virtio_on_every_machine_and_faster_than_a_tick() {
    // A device of 4 GiB makes the firmware put the registers of all devices beyond what is mapped at first.
    let far = ["-object", "memory-backend-ram,id=far,size=4G", "-device", "ivshmem-plain,memdev=far"];
    for (name, device, others) in [
        ("microvm", "virtio-net-device", &[][..]),
        ("microvm,acpi=off", "virtio-net-device", &[]),
        ("q35", "virtio-net-pci", &[]),
        ("q35", "virtio-net-pci", &far),
    ] {
        // Somebody may take the port until QEMU does; a test that is that unlucky fails and says so.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let netdev = format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80");
        let device = format!("{device},netdev=net");
        let more = [others, &["-netdev", &netdev, "-device", &device]].concat();
        let Some(machine) = Machine::boot(name, "sample=http requests=50", &more) else { return };
        machine.wait_for("listening on port 80", PATIENCE);
        let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut fastest = Duration::MAX;
        for request in 0..50 {
            let start = Instant::now();
            connection.write_all(b"GET /health HTTP/1.1\r\nHost: guest\r\n\r\n").unwrap();
            let mut answer = [0; 4096];
            let len = connection.read(&mut answer).unwrap();
            assert!(answer[..len].starts_with(b"HTTP/1.1 200 OK\r\n"), "{name}: request {request}: {len} bytes");
            fastest = fastest.min(start.elapsed());
        }
        assert!(fastest < Duration::from_millis(10), "{name}: the fastest of 50 answers took {fastest:?}");
        drop(connection);
        let ended = machine.wait(PATIENCE);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.console);
        let ring = ended.memory.ring();
        for event in
            ["boot.net", "virtio.rx_queue", "boot.net_up", "virtio.tx_queue", "net.rx", "net.tx", "http.request"]
        {
            assert!(ring.events.iter().any(|name| name == event), "{name}: no {event}");
        }
    }
}

#[test]
fn an_idle_guest_uses_no_cpu_and_its_ring_can_be_read_meanwhile() {
    for name in ["microvm", "q35"] {
        let device = if name == "q35" { "virtio-net-pci,netdev=net" } else { "virtio-net-device,netdev=net" };
        let more = ["-netdev", "user,id=net", "-device", device];
        let Some(machine) = Machine::boot(name, "sample=http", &more) else { return };
        machine.wait_for("listening on port 80", PATIENCE);
        std::thread::sleep(Duration::from_millis(500));
        let (used, since) = (machine.cpu_time(), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let percent = 100.0 * (machine.cpu_time() - used).as_secs_f64() / since.elapsed().as_secs_f64();
        println!("measured: an idle {name} guest uses {percent:.1} % of a core");
        assert!(percent < 3.0, "{name}: {percent} %");
        assert_eq!(machine.ring().state, State::Running);
    }
}

#[test]
fn an_idle_machine_does_what_it_is_asked_within_a_tick_or_two() {
    let more = ["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"];
    let Some(machine) = Machine::boot("microvm", "sample=http", &more) else { return };
    machine.wait_for("listening on port 80", PATIENCE);
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        let answer = machine.ask("ping");
        slowest = slowest.max(asked.elapsed());
        assert!(answer.starts_with("ok: up "), "{answer}");
    }
    println!("measured: the slowest of 20 answers of an idle machine took {slowest:?}");
    assert!(machine.ask("mark as a test does") == "ok: marked");
    assert!(machine.ask("disable virtio").starts_with("ok: "));
    assert!(machine.ask("dump").contains(" -virtio"));
    assert!(machine.ask("level loud").starts_with("error: "));
    assert!(machine.ring().events.iter().any(|name| name == "fata.mark"));
}

#[test]
fn two_askings_of_a_machines_clock_agree_within_what_each_leaves_open() {
    let more = ["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net"];
    let Some(machine) = Machine::boot("microvm", "sample=http", &more) else { return };
    machine.wait_for("listening on port 80", PATIENCE);
    // An axis of its own each: what they have in common is the counter alone.
    let asked = [(), ()].map(|()| {
        let axis = Axis::measure();
        let alignment = Alignment::of(&machine.guest(), &axis);
        assert!(matches!(alignment.how, How::Asked(times) if times > 3), "{alignment}");
        println!("measured: {alignment}");
        let clock = alignment.clock(&Clock::default());
        // What the counter reads when the guest's clock reads 0, by way of the time of day.
        let since = i128::from(clock.anchor_ticks) * 1_000_000_000 / i128::from(clock.hz);
        (i128::from(clock.anchor_unix_nanos) - since, i128::from(alignment.error_nanos))
    });
    let [(first, first_error), (second, second_error)] = asked;
    // The two axes take the time of day from the system's clock, each once, and the frequency from 50 ms.
    let allowed = first_error + second_error + 1_000_000;
    assert!((first - second).abs() <= allowed, "{} ns apart, {allowed} ns allowed", first - second);
    assert!(first_error < 30_000_000, "{first_error} ns: an idle guest answers within a tick");
}

#[test]
fn churn_goes_through_its_phases_on_a_machine_and_the_heap_says_what_that_cost() {
    let Some(machine) = Machine::boot("microvm", "sample=churn mib=4 rest_micros=50", &[]) else { return };
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.console);
    let stats = Stats::of(&ended.memory.trace());
    for phase in ["churn.grow", "churn.replace", "churn.punch_holes", "churn.free"] {
        let span = stats.callsites.iter().find(|callsite| callsite.name == phase);
        assert!(span.is_some_and(|span| (span.count, span.open) == (1, 0) && span.total_ns > 0), "{phase}: {span:?}");
    }
    let counter = |name: &str| stats.counters.iter().find(|counter| counter.name.starts_with(name));
    let held = counter("churn.held").unwrap();
    const MIB: f64 = 1_048_576.0;
    assert!(held.max > 3.0 * MIB && held.min < MIB, "{held:?}");
    assert!(counter("heap.live").unwrap().max > 3.0 * MIB, "{:?}", stats.counters);
    assert!(stats.callsites.iter().any(|callsite| callsite.name == "heap.refill"), "{:?}", stats.callsites);
}

#[test]
fn the_wakeup_that_is_lost_on_a_machine_names_its_promise() {
    let Some(machine) = Machine::boot("microvm", "sample=lost-wakeup", &[]) else { return };
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.console);
    assert!(ended.console.contains("no address after 500 ms"), "{}", ended.console);
    let unresolved: Vec<_> =
        ended.memory.trace().unresolved().into_iter().map(|lost| (lost.name, lost.kind, lost.verdict)).collect();
    let expected = [
        ("arp.reply".to_owned(), "sync.condition".to_owned(), Verdict::SignalLost),
        ("arp.address".to_owned(), "sync.promise".to_owned(), Verdict::NeverResolved),
    ];
    assert_eq!(unresolved, expected);
}

#[test]
fn a_machine_asks_a_server_on_this_host_over_ipv6() {
    const REQUESTS: usize = 20;
    let Ok(server) = TcpListener::bind("[::1]:0") else {
        return fata_tests::skipped::skipped("this host has no IPv6");
    };
    let port = server.local_addr().unwrap().port();
    // QEMU's user network stands for this host at fec0::2.
    let append = format!("sample=fetch from=fec0::2 port={port} requests={REQUESTS}");
    let more = ["-netdev", "user,id=net,ipv6=on", "-device", "virtio-net-device,netdev=net"];
    let Some(machine) = Machine::boot("microvm", &append, &more) else { return };
    server.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    let mut client = loop {
        if let Ok((client, _)) = server.accept() {
            break client;
        }
        assert!(begun.elapsed() < PATIENCE, "the guest does not come: {}", machine.console());
        std::thread::sleep(Duration::from_millis(5));
    };
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for request in 0..REQUESTS {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            asked.push(byte[0]);
        }
        assert!(asked.starts_with(b"GET / HTTP/1.1\r\n"), "request {request}: {asked:?}");
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.console);
    assert!(ended.console.contains(&format!("fetch: {REQUESTS} answers from fec0::2")), "{}", ended.console);
    let stats = Stats::of(&ended.memory.trace());
    let request = stats.callsites.iter().find(|callsite| callsite.name == "fetch.request").unwrap();
    assert_eq!((request.count, request.open), (REQUESTS as u64, 0));
    assert!(stats.callsites.iter().any(|callsite| callsite.name == "net.rx" && callsite.count >= REQUESTS as u64));
}

#[test]
fn datagrams_are_echoed_through_virtio() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let netdev = format!("user,id=net,hostfwd=udp:127.0.0.1:{port}-:7,hostfwd=tcp:127.0.0.1:{port}-:7");
    let more = ["-netdev", &netdev, "-device", "virtio-net-device,netdev=net"];
    let Some(machine) = Machine::boot("microvm", "sample=echo", &more) else { return };
    machine.wait_for("listening on port 7", PATIENCE);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    for (round, len) in (0_u8..12).zip([1, 100, 1400].into_iter().cycle()) {
        let sent: Vec<u8> = (0..=u8::MAX).cycle().skip(round.into()).take(len).collect();
        let mut received = [0; 2048];
        // A datagram may be lost; what comes back of one that was given up is another round's.
        let echoed = (0..20).any(|_| {
            socket.send(&sent).unwrap();
            (0..2).any(|_| socket.recv(&mut received).is_ok_and(|len| received[..len] == sent))
        });
        assert!(echoed, "{len} bytes do not come back");
    }
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"the same port").unwrap();
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = String::new();
    connection.read_to_string(&mut back).unwrap();
    assert_eq!(back, "the same port");
    let events = machine.ring().events;
    let count = |wanted: &str| events.iter().filter(|name| *name == wanted).count();
    assert!(
        count("echo.datagram") >= 2 * 12 && count("echo.bytes") >= 2,
        "{} {}",
        count("echo.datagram"),
        count("echo.bytes")
    );
    assert!(count("net.rx") >= 12 && count("net.tx") >= 12, "{} {}", count("net.rx"), count("net.tx"));
}

#[test]
fn an_image_without_profiling_boots_and_has_no_ring() {
    let Some(machine) = Machine::boot_plain("microvm", "sample=hello", &[]) else { return };
    let ended = machine.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{}", ended.console);
    assert!(!ended.memory.has_ring());
}
