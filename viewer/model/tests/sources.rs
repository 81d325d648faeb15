//! Traces from directories, files and pipes: whole, cut, foreign, and as babeltrace2 reads them.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

#[path = "../../../tests/src/skipped.rs"]
mod skipped;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fata_model::dump::dump;
use fata_model::ingest::{Ingest, Limits};
use fata_model::live::{Loader, Progress};
use fata_model::packets::{StreamWriter, UUID};
use fata_model::source::{self, Ahead, Chunk, OpenError};
use fata_model::synthetic::Synthetic;
use fata_wire::event::{EventId, FIRST_CALLSITE, LEDGER, UNFINISHED};
use fata_wire::log::{MORE_SPANS, TOLD_SPANS};
use fata_wire::packet::metadata_packet;
use skipped::skipped;

/// A directory of its own for each test.
fn directory(test: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fata-model-{test}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn small() -> Synthetic {
    Synthetic { spans: 400, tasks: 3, packet_bytes: 4096, seed: 2 }
}

/// The trace as one stream: metadata packet, then event packets.
fn stream(synthetic: &Synthetic) -> Vec<u8> {
    let metadata = synthetic.metadata();
    let mut bytes = metadata_packet::header(UUID, metadata.len()).to_vec();
    bytes.extend(metadata.as_bytes());
    synthetic.packets(|packet| {
        bytes.extend(packet);
        true
    });
    bytes
}

fn load_bytes(bytes: &[u8]) -> Result<fata_model::trace::Trace, OpenError> {
    let mut ingest = Ingest::new(Limits::default());
    source::read_into(&mut source::from_read("the pipe", std::io::Cursor::new(bytes.to_vec()))?, &mut ingest)?;
    Ok(ingest.finish())
}

#[test]
fn a_directory_a_stream_file_and_a_pipe_hold_the_same_trace() {
    let path = directory("same");
    small().write_directory(&path).unwrap();
    let file = path.join("recording");
    let bytes = stream(&small());
    fs::write(&file, &bytes).unwrap();
    let from_pipe = load_bytes(&bytes).unwrap().stats();
    assert_eq!(source::load(&file, Limits::default()).unwrap().stats(), from_pipe);
    fs::remove_file(&file).unwrap();
    for path in [path.clone(), path.join("metadata"), path.join("stream_0")] {
        assert_eq!(source::load(&path, Limits::default()).unwrap().stats(), from_pipe, "{}", path.display());
    }
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn who_looked_ahead_reads_the_same_from_the_begin() {
    let path = directory("ahead");
    small().write_directory(&path).unwrap();
    let bytes = stream(&small());
    let whole = load_bytes(&bytes).unwrap().stats();
    for mut reader in
        [source::open(&path).unwrap(), source::from_read("the pipe", std::io::Cursor::new(bytes.clone())).unwrap()]
    {
        assert_eq!(reader.look_ahead().unwrap(), Ahead::Event);
        let mut ingest = Ingest::new(Limits::default());
        source::read_into(&mut reader, &mut ingest).unwrap();
        assert_eq!(ingest.finish().stats(), whole, "{}", reader.name());
    }
    // No further than to the first event: the rest of a pipe may be long in coming.
    let first = metadata_packet::HEADER_BYTES + small().metadata().len() + 4096;
    let (read, mut write) = std::io::pipe().unwrap();
    write.write_all(&bytes[..first]).unwrap();
    assert_eq!(source::from_read("open pipe", read).unwrap().look_ahead().unwrap(), Ahead::Event);
    // Without an event there is an end, and what was there before it comes all the same.
    let described = &bytes[..first - 4096];
    let mut reader = source::from_read("no event", std::io::Cursor::new(described.to_vec())).unwrap();
    assert_eq!(reader.look_ahead().unwrap(), Ahead::Nothing { discarded: 0 });
    assert!(matches!(reader.next_chunk().unwrap(), Some(Chunk::Metadata(text)) if text == small().metadata()));
    assert_eq!(reader.next_chunk().unwrap(), None);
    assert!(matches!(
        source::from_read("text", std::io::Cursor::new("not a trace at all")).unwrap().look_ahead(),
        Err(OpenError::Foreign(_))
    ));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_stream_cut_at_any_byte_is_read_up_to_the_cut() {
    let synthetic = Synthetic { spans: 60, tasks: 2, packet_bytes: 4096, seed: 2 };
    let bytes = stream(&synthetic);
    let whole = load_bytes(&bytes).unwrap();
    let metadata_end = metadata_packet::HEADER_BYTES + synthetic.metadata().len();
    let mut most = 0;
    for cut in 0..bytes.len() {
        match load_bytes(&bytes[..cut]) {
            Ok(trace) => {
                assert!(trace.events_total() <= whole.events_total());
                assert!(trace.events_total() >= most, "a longer piece holds no less: {cut}");
                most = trace.events_total();
                let warned = trace.warnings().any(|warning| warning.contains("it was read up to there"));
                assert_eq!(
                    warned,
                    cut != 0 && cut != metadata_end,
                    "{cut}: {:?}",
                    trace.warnings().collect::<Vec<_>>()
                );
            }
            Err(error) => {
                assert!(cut < 4, "{cut}: {error}");
                assert!(error.to_string().contains("is not a trace"));
            }
        }
    }
    assert_eq!(most, whole.events_total(), "all events lie before the last packet's padding");
}

#[test]
fn a_directory_whose_stream_file_is_cut_is_read_up_to_the_cut() {
    let path = directory("cut");
    small().write_directory(&path).unwrap();
    let whole = fs::read(path.join("stream_0")).unwrap();
    let events = source::load(&path, Limits::default()).unwrap().events_total();
    let mut most = 0;
    for cut in (0..whole.len()).step_by(37) {
        fs::write(path.join("stream_0"), &whole[..cut]).unwrap();
        let trace = source::load(&path, Limits::default()).unwrap();
        assert!((most..=events).contains(&trace.events_total()), "{cut}");
        most = trace.events_total();
        let says = |text| trace.warnings().any(|warning| warning.contains(text));
        assert!(cut % 4096 == 0 || says("it was read up to there") || says("holds no packets"), "{cut}");
    }
    assert_eq!(most, events);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn what_is_no_trace_is_refused_with_a_sentence_that_says_what_to_do() {
    let path = directory("foreign");
    let say = |path: &Path| source::load(path, Limits::default()).unwrap_err().to_string();
    assert!(say(&path.join("nowhere")).contains("there is no trace at"));
    assert!(say(&path).contains("holds a file named `metadata`"));
    let file = path.join("picture.png");
    fs::write(&file, b"\x89PNG\r\n\x1a\n and more").unwrap();
    assert!(say(&file).contains("is not a trace"));
    fs::write(&file, b"").unwrap();
    assert_eq!(source::load(&file, Limits::default()).unwrap().events_total(), 0);
    fs::write(path.join("metadata"), "/* CTF 1.8 */\ntrace { major = 1; };\n").unwrap();
    assert!(say(&path).contains("CTF trace of another tracer"));
    fs::write(path.join("metadata"), small().metadata().replace("version 1.0", "version 7.0")).unwrap();
    assert!(say(&path).contains("format version 7.0"));
    let headless = stream(&small()).split_off(metadata_packet::HEADER_BYTES + small().metadata().len());
    assert!(load_bytes(&headless).unwrap_err().to_string().contains("packets without their description"));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn streams_are_merged_by_time_and_rotated_files_follow_one_another() {
    let path = directory("rotated");
    fs::write(path.join("metadata"), small().metadata()).unwrap();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for cpu in 0..2u32 {
        let mut writer = StreamWriter::new(cpu, 4096);
        for packet in 0..3u64 {
            let mut bytes = Vec::new();
            let mut sink = |packet: &[u8]| bytes.extend_from_slice(packet);
            for event in 0..10 {
                writer.event(packet * 1000 + u64::from(cpu) * 500 + event, EventId::begin(22), 5, &[], &mut sink);
            }
            writer.seal(&mut sink);
            // Names that sort the wrong way round.
            files.push((format!("stream_{cpu}_{:03}", 9 - packet), bytes));
        }
    }
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).unwrap();
    }
    let mut reader = source::open(&path).unwrap();
    let mut order = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        if let Chunk::Packet(bytes) = chunk {
            let header = fata_wire::packet::PacketHeader::parse(bytes).unwrap();
            order.push((header.cpu_id, header.packet_seq_num));
        }
    }
    assert_eq!(order, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
    assert_eq!(reader.progress(), Some(1.0));
    assert_eq!(source::load(&path, Limits::default()).unwrap().events_total(), 60);
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_loader_thread_reads_the_trace_while_others_look() {
    let changes = Arc::new(AtomicU32::new(0));
    let theirs = Arc::clone(&changes);
    let reader = source::from_read("the pipe", std::io::Cursor::new(stream(&small()))).unwrap();
    let mut loader = Loader::spawn(reader, Limits::default(), move || {
        theirs.fetch_add(1, Ordering::Relaxed);
    });
    let mut seen = 0;
    while loader.progress() != Progress::Ended {
        let events = loader.trace().events_total();
        assert!(events >= seen);
        seen = events;
    }
    loader.wait();
    assert_eq!(loader.trace().stats(), load_bytes(&stream(&small())).unwrap().stats());
    assert!(changes.load(Ordering::Relaxed) >= 1);
    assert!(loader.version() > 0);
}

#[test]
fn a_loader_says_why_it_stopped() {
    let reader = source::from_read("the pipe", &b"not a trace at all"[..]).unwrap();
    let mut loader = Loader::spawn(reader, Limits::default(), || ());
    loader.wait();
    assert!(matches!(loader.progress(), Progress::Failed(why) if why.contains("the pipe is not a trace")));
}

#[test]
fn babeltrace2_counts_the_same_events_and_prints_the_same_names_in_the_same_order() {
    let path = directory("babeltrace");
    small().write_directory(&path).unwrap();
    let babeltrace = match Command::new("babeltrace2").arg(&path).output() {
        Ok(output) => output,
        Err(_) => return skipped("babeltrace2 is not installed"),
    };
    assert!(babeltrace.status.success(), "{}", String::from_utf8_lossy(&babeltrace.stderr));
    let theirs = String::from_utf8(babeltrace.stdout).unwrap();
    let mut ours = Vec::new();
    let events = dump(&mut source::open(&path).unwrap(), &mut ours).unwrap();
    assert_eq!(events, theirs.lines().count() as u64);
    assert_eq!(source::load(&path, Limits::default()).unwrap().events_total(), events);
    let ours = String::from_utf8(ours).unwrap();
    for (our, their) in ours.lines().zip(theirs.lines()) {
        let name = our.split("  ").nth(2).unwrap();
        assert!(their.contains(&format!(" {name}: ")), "{our}\n{their}");
    }
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_dump_of_several_streams_is_in_the_order_of_time() {
    let path = directory("merged");
    fs::write(path.join("metadata"), small().metadata()).unwrap();
    // Three streams whose packets overlap: each event of one lies between two of the others.
    let mut all = Vec::new();
    for cpu in 0..3u32 {
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::new(cpu, 4096);
        for i in 0..3000 {
            let ticks = 1_000_000 + i * 300 + u64::from(cpu) * 100 * (1 + i % 2);
            all.push((ticks, cpu));
            let number = u16::try_from(i).unwrap();
            writer.event(ticks, EventId::begin(4000), number, &[], &mut |packet| bytes.extend(packet));
        }
        writer.seal(&mut |packet| bytes.extend(packet));
        fs::write(path.join(format!("stream_{cpu}")), bytes).unwrap();
    }
    all.sort_unstable();
    let mut dumped = Vec::new();
    assert_eq!(dump(&mut source::open(&path).unwrap(), &mut dumped).unwrap(), 9000);
    let dumped = String::from_utf8(dumped).unwrap();
    let cpus = dumped.lines().map(|line| line.split("  cpu ").nth(1).unwrap().split(' ').next().unwrap());
    assert!(cpus.eq(all.iter().map(|(_, cpu)| cpu.to_string())), "the streams do not take turns as they did");
    let times: Vec<&str> = dumped.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert!(times.is_sorted(), "{:?}", times.windows(2).find(|pair| pair[0] > pair[1]));
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_dump_says_what_a_log_ring_had_lost_and_which_spans_are_around_a_record() {
    let path = directory("logged");
    let described = r#"
/* fata callsite 200 span info 1 "shop" "order" "" "id":u64:none */
/* fata callsite 201 context info 1 "shop" "order" "" "fata.span":object:none "id":u64:none */
/* fata callsite 202 log info 1 "shop" "said" "" "fata.spans":u64:none */
"#;
    fs::write(path.join("metadata"), small().metadata() + described).unwrap();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::new(0, 4096);
    writer.event(1_000_000, EventId::begin(LEDGER), 0, &[10, 400, 2, 72, 1], &mut |packet| bytes.extend(packet));
    writer.event(1_000_001, EventId::begin(201), 200, &[7], &mut |packet| bytes.extend(packet));
    let spans = MORE_SPANS | 200 << 16 | TOLD_SPANS | 300;
    writer.event(1_000_002, EventId::begin(202), 0, &[spans], &mut |packet| bytes.extend(packet));
    writer.seal(&mut |packet| bytes.extend(packet));
    fs::write(path.join("stream_0"), bytes).unwrap();
    let mut dumped = Vec::new();
    dump(&mut source::open(&path).unwrap(), &mut dumped).unwrap();
    let dumped = String::from_utf8(dumped).unwrap();
    let said: Vec<&str> = dumped.lines().map(|line| line.split_once("  cpu 0  ").unwrap().1).collect();
    assert_eq!(
        said,
        [
            "fata.ledger  recorded=10  recorded_bytes=400 B  discarded=2  discarded_bytes=72 B  undescribed=1",
            "order  fata.span=order  id=7",
            "said  fata.spans=…:order:#300"
        ]
    );
    fs::remove_dir_all(path).unwrap();
}

#[test]
fn a_dump_says_of_an_unfinished_record_which_one_it_was_to_be() {
    let path = directory("unfinished");
    fs::write(path.join("metadata"), small().metadata()).unwrap();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::new(0, 4096);
    // One whose writer had named it, and one whose writer had only taken the place.
    for meant in [EventId::begin(FIRST_CALLSITE).0, 0] {
        writer.event(1_000_000, EventId::begin(UNFINISHED), meant, &[], &mut |packet| bytes.extend(packet));
    }
    writer.seal(&mut |packet| bytes.extend(packet));
    fs::write(path.join("stream_0"), bytes).unwrap();
    let mut dumped = Vec::new();
    dump(&mut source::open(&path).unwrap(), &mut dumped).unwrap();
    let dumped = String::from_utf8(dumped).unwrap();
    let said: Vec<&str> = dumped.lines().map(|line| line.split_once("fata.unfinished").unwrap().1).collect();
    assert_eq!(said, ["  meant=http.request  at=synthetic.rs:1", ""]);
    fs::remove_dir_all(path).unwrap();
}
