//! An OTLP receiver that is strict and small, since Debian has no package of one: it takes HTTP requests, and refuses whatever
//! is not the JSON form of `ExportLogsServiceRequest`, checked name by name and type by type. What it counts it has decoded a
//! second time with the types that the OpenTelemetry project makes of its `.proto` files, which know nothing of us. It is stopped, cut off in the
//! middle, and started again; what was counted here is there, in order, and once.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PLENTY, quiet, wait_until};
use fata_reporters::front::{Front, Options};
use fata_reporters::otlp::Otlp;
use fata_reporters::queue::{Bounds, Policy};
use fata_reporters::record::{Field, Record, Span, Value};
use fata_reporters::reporter::Item;
use fata_reporters::time::Time;
use fata_reporters::{Level, Reporter as _};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use serde_json::Value as Json;

/// What the protocol's `.proto` files say of a message's fields: the name, and a check of its value.
type Shape<'a> = &'a [(&'a str, fn(&Json) -> Result<(), String>)];

/// Checks that `json` is an object with fields of `shape` only. The empty message has none of them.
fn object(json: &Json, shape: Shape<'_>) -> Result<(), String> {
    let members = json.as_object().ok_or_else(|| format!("no object: {json}"))?;
    for (name, value) in members {
        let (_, check) = shape.iter().find(|(known, _)| known == name).ok_or_else(|| format!("no field {name}"))?;
        check(value).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

fn list(json: &Json, check: fn(&Json) -> Result<(), String>) -> Result<(), String> {
    json.as_array().ok_or_else(|| format!("no list: {json}"))?.iter().try_for_each(check)
}

fn text(json: &Json) -> Result<(), String> {
    json.as_str().map(|_| ()).ok_or_else(|| format!("no text: {json}"))
}

/// 64-bit integers are texts of decimal digits in the JSON form of protocol buffers.
fn int64(json: &Json) -> Result<(), String> {
    json.as_str().and_then(|text| text.parse::<i64>().ok()).map(|_| ()).ok_or_else(|| format!("no int64: {json}"))
}

fn fixed64(json: &Json) -> Result<(), String> {
    json.as_str().and_then(|text| text.parse::<u64>().ok()).map(|_| ()).ok_or_else(|| format!("no fixed64: {json}"))
}

fn double(json: &Json) -> Result<(), String> {
    let special = ["NaN", "Infinity", "-Infinity"];
    if json.is_number() || json.as_str().is_some_and(|text| special.contains(&text)) {
        return Ok(());
    }
    Err(format!("no double: {json}"))
}

fn boolean(json: &Json) -> Result<(), String> {
    json.as_bool().map(|_| ()).ok_or_else(|| format!("no bool: {json}"))
}

fn severity(json: &Json) -> Result<(), String> {
    json.as_u64().filter(|number| (1..=24).contains(number)).map(|_| ()).ok_or_else(|| format!("no severity: {json}"))
}

fn any_value(json: &Json) -> Result<(), String> {
    let array = |json: &Json| object(json, &[("values", |json| list(json, any_value))]);
    let shape: Shape<'_> = &[
        ("stringValue", text),
        ("boolValue", boolean),
        ("intValue", int64),
        ("doubleValue", double),
        ("arrayValue", array),
    ];
    object(json, shape)?;
    if json.as_object().is_some_and(|members| members.len() == 1) { Ok(()) } else { Err("not one value".into()) }
}

fn attributes(json: &Json) -> Result<(), String> {
    list(json, |json| object(json, &[("key", text), ("value", any_value)]))?;
    let mut keys: Vec<_> = json.as_array().into_iter().flatten().map(|attribute| attribute["key"].as_str()).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    if keys.len() == count { Ok(()) } else { Err("a key is there twice".into()) }
}

fn log_record(json: &Json) -> Result<(), String> {
    object(
        json,
        &[
            ("timeUnixNano", fixed64),
            ("observedTimeUnixNano", fixed64),
            ("severityNumber", severity),
            ("severityText", text),
            ("body", any_value),
            ("attributes", attributes),
        ],
    )
}

fn request(json: &Json) -> Result<(), String> {
    object(json, &[("resourceLogs", |json| list(json, resource_logs))])
}

fn scope_of(json: &Json) -> Result<(), String> {
    object(json, &[("name", text), ("version", text)])
}

fn resource_logs(json: &Json) -> Result<(), String> {
    object(
        json,
        &[
            ("resource", |json| object(json, &[("attributes", attributes)])),
            ("scopeLogs", |json| {
                list(json, |json| object(json, &[("scope", scope_of), ("logRecords", |json| list(json, log_record))]))
            }),
        ],
    )
}

/// The receiver. What it has taken outlives it, as that of a database would.
#[derive(Clone)]
struct Receiver {
    state: Arc<State>,
}

struct State {
    port: u16,
    /// Guest and log record, in the order of their arrival.
    taken: Mutex<Vec<(String, Json)>>,
    /// The same records as OpenTelemetry's own types have them.
    theirs: Mutex<Vec<LogRecord>>,
    complaints: Mutex<Vec<String>>,
    stop: AtomicBool,
    paused: AtomicBool,
    status: AtomicU16,
    /// How many requests to cut off before the answer, and before they were taken.
    cut: AtomicU16,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Receiver {
            state: Arc::new(State {
                port: listener.local_addr().unwrap().port(),
                taken: Mutex::default(),
                theirs: Mutex::default(),
                complaints: Mutex::default(),
                stop: AtomicBool::new(false),
                paused: AtomicBool::new(false),
                status: AtomicU16::new(200),
                cut: AtomicU16::new(0),
            }),
        };
        receiver.serve(listener);
        receiver
    }

    /// Listens again, at the same place.
    fn restart(&self) {
        self.state.stop.store(false, Ordering::Relaxed);
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", self.state.port)) {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < PLENTY, "{error}"),
            }
        };
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let state = self.state.clone();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while !state.stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let state = state.clone();
                        std::thread::spawn(move || while state.one_request(&stream).is_some() {});
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
    }

    /// No more connections, and those there are end.
    fn kill(&self) {
        self.state.stop.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(30));
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/logs", self.state.port)
    }

    /// The numbers of the records that were taken, by OpenTelemetry's own decoder.
    fn their_numbers(&self) -> Vec<u64> {
        let theirs = self.state.theirs.lock().unwrap();
        let number = |record: &LogRecord| {
            let attribute = record.attributes.iter().find(|attribute| attribute.key == "fata.sequence")?;
            match attribute.value.as_ref()?.value {
                Some(any_value::Value::IntValue(number)) => u64::try_from(number).ok(),
                _ => None,
            }
        };
        theirs.iter().filter_map(number).collect()
    }

    /// The numbers of the records that were taken.
    fn numbers(&self) -> Vec<u64> {
        let taken = self.state.taken.lock().unwrap();
        taken
            .iter()
            .filter_map(|(_, record)| attribute(record, "fata.sequence")?["intValue"].as_str()?.parse().ok())
            .collect()
    }
}

fn attribute<'a>(record: &'a Json, key: &str) -> Option<&'a Json> {
    record["attributes"]
        .as_array()?
        .iter()
        .find(|attribute| attribute["key"] == key)
        .map(|attribute| &attribute["value"])
}

impl State {
    fn one_request(&self, mut stream: &TcpStream) -> Option<()> {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
                let length = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                let length: usize = length.parse().unwrap();
                if bytes.len() >= at + 4 + length {
                    assert_eq!(bytes.len(), at + 4 + length, "a request begins before the last was answered");
                    break (head, bytes[at + 4..].to_vec());
                }
            }
            let mut part = [0; 65536];
            match stream.read(&mut part) {
                Ok(0) => return None,
                Ok(read) => bytes.extend_from_slice(&part[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        };
        while self.paused.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.cut.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cut| cut.checked_sub(1)).is_ok() {
            return None;
        }
        let status = self.status.load(Ordering::Relaxed);
        if status == 200 {
            let complaint = self.take(&head, &body).err();
            if let Some(complaint) = complaint {
                self.complaints.lock().unwrap().push(complaint);
            }
        }
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).ok()
    }

    fn take(&self, head: &str, body: &[u8]) -> Result<(), String> {
        if !head.starts_with("POST /v1/logs HTTP/1.1\r\n") || !head.contains("\r\nContent-Type: application/json") {
            return Err(format!("not a request of the protocol: {head}"));
        }
        let json: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        request(&json)?;
        // In the JSON form of protocol buffers what is no number is a text, which their decoder does not take for a double.
        let body = String::from_utf8_lossy(body).replace(r#""doubleValue":""#, r#""stringValue":""#);
        let theirs: ExportLogsServiceRequest = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let theirs = theirs.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        self.theirs.lock().unwrap().extend(theirs.flat_map(|scope| scope.log_records));
        let mut taken = self.taken.lock().unwrap();
        for resource in json["resourceLogs"].as_array().unwrap() {
            let guest =
                attribute(&resource["resource"], "service.name").ok_or("no service.name")?["stringValue"].clone();
            for record in
                resource["scopeLogs"].as_array().unwrap().iter().flat_map(|s| s["logRecords"].as_array().unwrap())
            {
                taken.push((guest.as_str().unwrap().into(), record.clone()));
            }
        }
        Ok(())
    }
}

fn front(receiver: &Receiver, policy: Policy) -> Front {
    let bounds = Bounds { bytes: 64 << 10, reserved_bytes: 16 << 10, item_bytes: 8 << 10, policy };
    let options = Options { bounds, patience: Duration::from_secs(20), trouble: quiet };
    Front::spawn("otlp", Otlp::new(&receiver.url(), None).unwrap(), options).unwrap()
}

fn send(front: &Front, sequence: u64, level: Level) {
    let fields = [Field { name: "message", value: Value::Str(b"number") }];
    let guest = if sequence.is_multiple_of(7) { "http1" } else { "http0" };
    front.hand_over(&Item::Record(Record { sequence, level, guest, fields: &fields, ..Record::BLANK }));
}

#[test]
fn every_part_of_a_record_arrives_in_the_form_of_the_protocol_whatever_is_in_it() {
    let receiver = Receiver::start();
    let evil = "quote \" backslash \\ newline \n escape \x1b \u{202e}";
    let fields = [
        Field { name: "message", value: Value::Str(evil.as_bytes()) },
        Field { name: "u", value: Value::U64(u64::MAX) },
        Field { name: "i", value: Value::I64(i64::MIN) },
        Field { name: "f", value: Value::F64(1.5) },
        Field { name: "nan", value: Value::F64(f64::NAN) },
        Field { name: "inf", value: Value::F64(f64::NEG_INFINITY) },
        Field { name: "b", value: Value::Bool(true) },
        Field { name: "b", value: Value::Bool(false) },
        Field { name: evil, value: Value::Str(b"broken \xff") },
    ];
    let spans = [Span { name: evil, fields: &fields }, Span { name: "inner", fields: &[] }];
    let record = Record {
        time: Time::wall(1_700_000_000_000_000_001),
        level: Level::Warn,
        guest: evil,
        target: evil,
        task: evil,
        file: "src/x.rs",
        line: 4,
        spans: &spans,
        fields: &fields,
        late: true,
        ..Record::BLANK
    };
    let mut loss = fata_reporters::Loss::new(fata_reporters::loss::Cause::Full, evil, Time::wall(0));
    loss.add(Level::Error, 10, Time::wall(0));
    let front = front(&receiver, Policy::Block);
    front.hand_over(&Item::Record(record));
    front.hand_over(&Item::Loss(loss));
    let account = front.close(PLENTY);
    assert_eq!((account.reported.total(), account.unconfirmed), (1, 0));
    assert_eq!(*receiver.state.complaints.lock().unwrap(), Vec::<String>::new());
    let taken = receiver.state.taken.lock().unwrap();
    let (guest, record) = &taken[0];
    assert_eq!(guest, evil);
    assert_eq!(record["body"]["stringValue"], evil);
    let theirs = &receiver.state.theirs.lock().unwrap()[0];
    assert_eq!((theirs.time_unix_nano, theirs.severity_number), (1_700_000_000_000_000_001, 13));
    let said = theirs.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(said, Some(any_value::Value::StringValue(evil.into())));
    assert_eq!(theirs.attributes.len(), record["attributes"].as_array().unwrap().len());
    assert_eq!((&record["timeUnixNano"], &record["severityNumber"]), (&"1700000000000000001".into(), &13.into()));
    assert_eq!(attribute(record, "u").unwrap()["stringValue"], u64::MAX.to_string());
    assert_eq!(attribute(record, "i").unwrap()["intValue"], i64::MIN.to_string());
    assert_eq!(attribute(record, "b").unwrap()["boolValue"], true);
    assert_eq!(attribute(record, "fata.spans").unwrap()["arrayValue"]["values"].as_array().unwrap().len(), 2);
    assert_eq!(attribute(&taken[1].1, "fata.discarded").unwrap()["intValue"], "1");
}

#[test]
fn a_receiver_that_is_paused_cut_off_killed_and_started_again_has_every_record_once_and_in_order() {
    let receiver = Receiver::start();
    let front = front(&receiver, Policy::Block);
    let count = 20_000;
    std::thread::scope(|scope| {
        scope.spawn(|| (0..count).for_each(|number| send(&front, number, Level::Info)));
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(50));
            receiver.state.paused.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
            receiver.state.paused.store(false, Ordering::Relaxed);
            receiver.state.cut.store(2, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            receiver.kill();
            std::thread::sleep(Duration::from_millis(50));
            receiver.restart();
            receiver.state.status.store(503, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(50));
            receiver.state.status.store(200, Ordering::Relaxed);
        }
    });
    let account = front.close(PLENTY);
    assert_eq!((account.reported.total(), account.discarded.total(), account.unconfirmed), (count, 0, 0));
    assert_eq!(receiver.numbers(), (0..count).collect::<Vec<_>>());
    assert_eq!(receiver.their_numbers(), (0..count).collect::<Vec<_>>());
    assert_eq!(*receiver.state.complaints.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn records_that_a_receiver_refuses_for_good_are_told_to_it_as_a_loss_when_it_takes_some_again() {
    let receiver = Receiver::start();
    receiver.state.status.store(400, Ordering::Relaxed);
    let mut reporter = Otlp::new(&receiver.url(), None).unwrap();
    let record = |sequence| Item::Record(Record { sequence, level: Level::Error, ..Record::BLANK });
    (0..5).for_each(|sequence| reporter.report(&record(sequence)).unwrap());
    let refused = fata_reporters::reporter::finish(&mut reporter, PLENTY).unwrap_err().to_string();
    assert!(refused.contains("answers 400"), "{refused}");
    receiver.state.status.store(200, Ordering::Relaxed);
    reporter.report(&record(5)).unwrap();
    fata_reporters::reporter::finish(&mut reporter, PLENTY).unwrap();
    let taken = receiver.state.taken.lock().unwrap();
    let told: Vec<_> = taken.iter().filter_map(|(_, record)| attribute(record, "fata.discarded")).collect();
    assert_eq!((told.len(), &told[0]["intValue"]), (1, &"5".into()));
}

#[test]
fn a_receiver_that_is_down_costs_what_the_policy_says_and_the_sums_agree() {
    let receiver = Receiver::start();
    receiver.kill();
    let front = front(&receiver, Policy::KeepNewest);
    let count = 100_000;
    (0..count).for_each(|number| send(&front, number, if number % 1000 == 0 { Level::Error } else { Level::Debug }));
    receiver.restart();
    wait_until("it is taken again", || !receiver.numbers().is_empty());
    let account = front.close(PLENTY);
    let sum = account.reported.total() + account.discarded.total();
    assert_eq!((account.produced.total(), sum, account.unconfirmed), (count, count, 0));
    let numbers = receiver.numbers();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert_eq!(numbers.len() as u64, account.reported.total());
    assert_eq!(account.discarded.of(Level::Error), 0);
    let taken = receiver.state.taken.lock().unwrap();
    let told: u64 = taken
        .iter()
        .filter_map(|(_, record)| attribute(record, "fata.discarded")?["intValue"].as_str()?.parse::<u64>().ok())
        .sum();
    assert_eq!(told, account.discarded.total());
}
