//! A real rsyslog, unprivileged and with its own configuration, at the other end: what is counted here arrives there, in order,
//! while it is stopped, killed and started again.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::rsyslog::Rsyslog;
use common::{PLENTY, quiet, wait_until};
use fata_reporters::front::{Front, Options};
use fata_reporters::queue::{Bounds, Policy};
use fata_reporters::record::{Field, Record, Value};
use fata_reporters::reporter::Item;
use fata_reporters::syslog::{self, Destination, Facility, Form, Syslog};
use fata_reporters::time::Time;
use fata_reporters::{Level, Reporter};

fn front(destination: Destination, form: Form, bounds: Bounds) -> Front {
    let options = syslog::Options { form, facility: Facility::USER };
    let front = Options { bounds, patience: Duration::from_secs(20), trouble: quiet };
    Front::spawn("syslog", Syslog::new(destination, options), front).unwrap()
}

fn blocking() -> Bounds {
    Bounds { policy: Policy::Block, ..Bounds::default() }
}

fn send(front: &Front, number: u64, level: Level) {
    let text = format!("number {number}");
    let fields = [Field { name: "message", value: Value::Str(text.as_bytes()) }];
    let time = Time::wall(1_700_000_000_000_000_000 + i64::try_from(number).unwrap() * 1000);
    front.hand_over(&Item::Record(Record {
        time,
        level,
        sequence: number,
        guest: "http0",
        target: "net.tcp",
        task: "conn-7",
        fields: &fields,
        ..Record::BLANK
    }));
}

#[test]
fn every_part_of_a_message_arrives_over_each_transport_and_in_each_form() {
    let Some(server) = Rsyslog::start() else { return };
    let places = [
        (Destination::udp(&format!("127.0.0.1:{}", server.udp)), Form::Rfc5424),
        (Destination::udp(&format!("127.0.0.1:{}", server.udp)), Form::Rfc3164),
        (Destination::tcp(&format!("127.0.0.1:{}", server.tcp)), Form::Rfc5424),
        (Destination::tcp(&format!("127.0.0.1:{}", server.tcp)), Form::Rfc3164),
        (Destination::unix(server.path("log")), Form::Local),
        (Destination::tls(&format!("localhost:{}", server.tls), Some(&server.path("ca.pem"))).unwrap(), Form::Rfc5424),
    ];
    for (number, (place, form)) in places.into_iter().enumerate() {
        let front = front(place, form, blocking());
        send(&front, number as u64, Level::Warn);
        assert_eq!(front.close(PLENTY).discarded.total(), 0);
        wait_until("the message arrives", || server.numbers().len() == number + 1);
        let line = server.lines().pop().unwrap();
        let parts: Vec<_> = line.splitn(8, '|').collect();
        assert_eq!((parts[0], parts[3], parts[4]), ("12", "net.tcp", "conn-7"), "{line}");
        match form {
            Form::Rfc5424 => {
                assert_eq!(parts[2], "http0", "{line}");
                assert!(parts[1].starts_with("2023-11-14T22:13:20.0000"), "{line}");
                assert_eq!(
                    parts[6],
                    format!("[meta sequenceId=\"{}\"]", (number as u64).wrapping_sub(1) % 0x7fff_ffff + 1)
                );
            }
            Form::Rfc3164 => assert_eq!(parts[2], "http0", "{line}"),
            Form::Local => assert!(parts[7].trim_start().starts_with("http0: "), "{line}"),
        }
    }
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_nothing() {
    let Some(server) = Rsyslog::start() else { return };
    let options = syslog::Options { form: Form::Rfc5424, facility: Facility::USER };
    let item = Item::Record(Record { level: Level::Error, ..Record::BLANK });
    // Signed by somebody else; and of another name.
    for (host, authority) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
        let place = Destination::tls(&format!("{host}:{}", server.tls), Some(&server.path(authority))).unwrap();
        let error = Syslog::new(place, options).report(&item).unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("11|")).count(), 0, "{:?}", server.lines());
}

#[test]
fn a_server_that_is_stopped_in_the_middle_gets_every_message_once_and_in_order_when_it_goes_on() {
    let Some(server) = Rsyslog::start() else { return };
    let destination = [Destination::tcp(&format!("127.0.0.1:{}", server.tcp)), Destination::unix(server.path("log"))];
    let mut expected = Vec::new();
    for (round, place) in destination.into_iter().enumerate() {
        let form = if round < 2 { Form::Rfc5424 } else { Form::Local };
        // Small enough that a stopped server is felt here, not only in the system's own buffers.
        let front = front(place, form, Bounds { bytes: 64 << 10, reserved_bytes: 16 << 10, ..blocking() });
        let count = 40_000;
        std::thread::scope(|scope| {
            scope.spawn(|| (0..count).for_each(|number| send(&front, number, Level::Info)));
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(100));
                server.signal("STOP");
                std::thread::sleep(Duration::from_millis(300));
                server.signal("CONT");
            }
        });
        let account = front.close(PLENTY);
        assert_eq!((account.reported.total(), account.discarded.total()), (count, 0));
        expected.extend(0..count);
        wait_until("all have arrived", || server.numbers().len() >= expected.len());
        assert_eq!(server.numbers(), expected);
    }
}

#[test]
fn a_server_that_is_down_and_comes_back_is_told_how_many_messages_there_were_meanwhile_and_all_sums_agree() {
    let Some(mut server) = Rsyslog::start() else { return };
    let bounds = Bounds { bytes: 32 << 10, reserved_bytes: 8 << 10, policy: Policy::KeepOldest, ..Bounds::default() };
    let front = front(Destination::tcp(&format!("127.0.0.1:{}", server.tcp)), Form::Rfc5424, bounds);
    (0..10).for_each(|number| send(&front, number, Level::Info));
    wait_until("the first have arrived", || server.numbers().len() == 10);
    server.end("TERM");
    (10..5000).for_each(|number| send(&front, number, if number % 500 == 0 { Level::Error } else { Level::Debug }));
    server.run();
    wait_until("messages are taken again", || front.account().reported.total() > 20);
    send(&front, 5000, Level::Info);
    let account = front.close(PLENTY);
    wait_until("the last has arrived", || server.numbers().last() == Some(&5000));
    let numbers = server.numbers();
    assert!(numbers.is_sorted_by(|a, b| a < b), "not in order, or twice");
    assert_eq!(numbers.len() as u64, account.reported.total());
    assert_eq!(account.produced.total(), account.reported.total() + account.discarded.total());
    assert!(account.discarded.total() > 1000);
    assert_eq!(account.discarded.of(Level::Error), 0, "errors have a share that the flood cannot take");
    // The losses that arrived sum to those that were counted, and stand in the place of what is missing.
    let told: u64 = server
        .lines()
        .iter()
        .filter_map(|line| line.split_once("|discarded ")?.1.split(' ').next()?.replace(',', "").parse::<u64>().ok())
        .sum();
    assert_eq!(told, account.discarded.total());
    assert!(server.lines().iter().any(|line| line.contains("the connection was lost")), "{:?}", server.lines());
}

#[test]
fn a_server_that_is_killed_again_and_again_gets_messages_in_order_and_none_twice() {
    let Some(mut server) = Rsyslog::start() else { return };
    let front = front(Destination::tcp(&format!("127.0.0.1:{}", server.tcp)), Form::Rfc5424, blocking());
    let stop = AtomicBool::new(false);
    let produced = std::thread::scope(|scope| {
        let (stop, front) = (&stop, &front);
        let producer = scope.spawn(move || {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                send(front, number, Level::Info);
                number += 1;
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            number
        });
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(150));
            server.end("KILL");
            server.run();
        }
        std::thread::sleep(Duration::from_millis(150));
        stop.store(true, Ordering::Relaxed);
        producer.join().unwrap()
    });
    let account = front.close(PLENTY);
    assert_eq!((account.produced.total(), account.reported.total()), (produced, produced));
    wait_until("the last has arrived", || server.numbers().last() == Some(&(produced - 1)));
    let numbers = server.numbers();
    assert!(numbers.is_sorted_by(|a, b| a < b), "not in order, or twice");
    // What a killed server had received and not written is lost, and nobody can count it; each time it is said.
    let said = server.lines().iter().filter(|line| line.contains("the connection was lost")).count();
    println!(
        "measured: {} of {produced} messages written by an rsyslog that was killed 4 times, {said} notices",
        numbers.len()
    );
    assert!((3..=4).contains(&said), "{said}");
}

#[test]
fn nobody_listening_to_datagrams_is_noticed_and_told() {
    let Some(mut server) = Rsyslog::start() else { return };
    let mut reporter = Syslog::new(
        Destination::udp(&format!("127.0.0.1:{}", server.udp)),
        syslog::Options { form: Form::Rfc5424, facility: Facility::USER },
    );
    server.end("KILL");
    let item = Item::Record(Record { time: Time::wall(5), level: Level::Warn, ..Record::BLANK });
    wait_until("the answer comes back", || reporter.report(&item).is_err());
    server.run();
    wait_until("it is taken again", || reporter.report(&item).is_ok());
    wait_until("the loss is told", || server.lines().iter().any(|line| line.contains("discarded 1 record (1 WARN")));
}
