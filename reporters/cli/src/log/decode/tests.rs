use super::*;
use fata_wire::describe::{Callsite, Record};
use fata_wire::event::{EventId, FIRST_CALLSITE, Header, LEDGER};
use fata_wire::field::{Field, FieldType, Fields, Unit};
use fata_wire::metadata::{write_preamble, write_record};
use fata_wire::packet::{FLAG_MAY_REPEAT, FLAG_PIECE, HEADER_BYTES};
use fata_wire::shared::Clock;

const SAYS: u16 = FIRST_CALLSITE;
const SUPPRESSES: u16 = FIRST_CALLSITE + 1;

/// A decoder that knows a callsite that says something, and the one that tells how many records of others were suppressed.
fn decoder() -> Decoder {
    let number = |name| Field { name, ty: FieldType::U64, unit: Unit::None };
    let callsite = |id, name, more: &[&'static str]| {
        let mut fields = Fields::EMPTY;
        log::FIRST_FIELDS.into_iter().chain(more.iter().map(|name| number(name))).for_each(|field| {
            fields.push(field);
        });
        let (kind, level, category, file, line) = (Kind::Log, Level::Info, "fata.log", "x.rs", 1);
        Record::Callsite(Callsite { id, kind, level, line, category, name, file, fields })
    };
    let mut text = String::new();
    let clock = Clock { hz: 1_000_000_000, ..Clock::default() };
    write_preamble(&mut text, [7; 16], &clock).unwrap();
    write_record(&mut text, &callsite(SAYS, "says", &[])).unwrap();
    let suppressed = callsite(SUPPRESSES, log::SUPPRESSED, &["callsite", "count", "within_ticks"]);
    write_record(&mut text, &suppressed).unwrap();
    let mut decoder = Decoder::new("guest", true);
    decoder.metadata(&text).unwrap();
    decoder
}

/// A packet of stream 1 with these events: when, whose, and their words.
fn packet(discarded: Discarded, events: &[(u32, u16, &[u64])]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    for (ticks_low, callsite, words) in events {
        let id = EventId::begin(*callsite);
        let header =
            Header { ticks_low: *ticks_low, id, busy: false, words: u8::try_from(words.len()).unwrap(), arg: 0 };
        bytes.extend(header.pack().to_le_bytes());
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    }
    let bits = bytes.len() as u64 * 8;
    let header = PacketHeader {
        uuid: [7; 16],
        stream_id: 1 << 16,
        content_size: bits,
        packet_size: bits,
        timestamp_begin: 0,
        timestamp_end: 1000,
        packet_seq_num: 0,
        events_discarded: discarded.iter().sum(),
        lock: 2,
        events_before: 0,
        events: events.len() as u64,
        cpu_id: 0,
        flags: FLAG_LOG,
        discarded,
    };
    header.write(&mut bytes);
    bytes
}

/// What is shown: how many records, and the losses.
fn shown(decode: impl FnOnce(&mut dyn FnMut(Entry))) -> (usize, Vec<(Cause, Counts)>) {
    let (mut records, mut losses) = (0, Vec::new());
    decode(&mut |entry| match entry.what {
        What::Record(_) => records += 1,
        What::Loss { cause, counts, .. } => losses.push((cause, counts)),
    });
    (records, losses)
}

/// The same packet with another header.
fn changed(bytes: &[u8], change: impl FnOnce(&mut PacketHeader)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut header = PacketHeader::parse(&bytes).unwrap();
    change(&mut header);
    header.write(&mut bytes);
    bytes
}

fn info(count: u64) -> Counts {
    let mut counts = Counts::default();
    counts.by_level[Level::Info as usize] = count;
    counts
}

#[test]
fn how_many_records_of_a_callsite_that_nobody_described_were_suppressed_is_told_and_nothing_else_is_lost() {
    let mut decoder = decoder();
    let unknown = 4000;
    let bytes = packet(
        Discarded::default(),
        &[(1, SAYS, &[0]), (2, SUPPRESSES, &[1, unknown, 12, 1]), (3, SAYS, &[2]), (4, SUPPRESSES, &[3, 8, 5, 1])],
    );
    let (records, losses) = shown(|take| decoder.packet(&bytes, &mut |entry| take(entry)));
    assert_eq!(records, 2);
    let unknown = Counts { unknown: 12, ..Counts::default() };
    assert_eq!(losses, [(Cause::Limited, unknown), (Cause::Limited, info(5))]);
}

/// The packets as one collector numbers them.
fn in_order(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut before = 0;
    let number = |(bytes, seq): (&Vec<u8>, u64)| {
        changed(bytes, |header| {
            (header.packet_seq_num, header.events_before) = (seq, before);
            before += header.events;
        })
    };
    packets.iter().zip(0..).map(number).collect()
}

#[test]
fn how_long_missing_records_were_is_told_by_the_ledgers_and_by_the_account_at_the_end() {
    let mut decoder = decoder();
    // Each record is 16 bytes. The first packet lacks nothing; then a packet with seven others was overwritten.
    let ledger =
        |recorded, discarded: (u64, u64), undescribed| [recorded, 16 * recorded, discarded.0, discarded.1, undescribed];
    let mut discarded = Discarded::default();
    let first = packet(discarded, &[(1, SAYS, &[0]), (2, SAYS, &[1])]);
    let (full, one) = (ledger(9, (0, 0), 0), ledger(9, (1, 40), 1));
    let second = packet(discarded, &[(5, LEDGER, &full), (6, SAYS, &[9]), (7, LEDGER, &one)]);
    discarded[fata_wire::packet::Cause::Full as usize] = 3;
    let third = packet(discarded, &[(8, SAYS, &[11])]);
    let account = Account {
        offered: [15, 0, 0],
        discarded: [4, 0, 0],
        bytes: Some(log::LostBytes { discarded: 100, suppressed: 0 }),
        ..Account::default()
    };
    let third = changed(&third, |header| header.discarded = Discarded::default());
    let packets = in_order(&[first, second, third, packet(discarded, &[])]);
    let mut told = Vec::new();
    let mut take = |entry: Entry| {
        if let What::Loss { cause, length, .. } = entry.what {
            told.push((cause, length.bytes, length.is_about));
        }
    };
    packets.iter().for_each(|bytes| decoder.packet(bytes, &mut take));
    decoder.end(&[(1, 0, account)], &mut take);
    let expected = [
        (Cause::Overwritten, Some(7 * 16), false),
        (Cause::Undescribed, Some(40), false),
        (Cause::Full, Some(60), false),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_a_killed_collector_had_handed_on_is_not_told_again_by_its_successor_nor_by_the_same_stream_behind_itself() {
    let mut decoder = decoder();
    let numbered = |bytes: &[u8], seq: u64, events_before: u64, flags: u32| {
        changed(bytes, |header| {
            (header.packet_seq_num, header.events_before, header.flags) = (seq, events_before, FLAG_LOG | flags);
        })
    };
    let none = Discarded::default();
    let empty = packet(none, &[]);
    let (first, more) = (packet(none, &[(1, SAYS, &[0]), (2, SAYS, &[1])]), packet(none, &[(3, SAYS, &[2])]));
    let again = packet(none, &[(1, SAYS, &[0]), (2, SAYS, &[1]), (3, SAYS, &[2]), (4, SAYS, &[3])]);
    let killed = [numbered(&empty, 0, 0, 0), numbered(&first, 1, 0, FLAG_PIECE), numbered(&more, 2, 2, FLAG_PIECE)];
    // It goes on with the packet of which the last piece was perhaps handed on.
    let successor = [numbered(&empty, 0, 2, 0), numbered(&again, 1, 0, FLAG_MAY_REPEAT)];
    let whole: Vec<_> = killed.iter().chain(&successor).collect();
    let (records, losses) =
        shown(|take| whole.iter().for_each(|bytes| decoder.packet(bytes, &mut |entry| take(entry))));
    assert_eq!((records, losses, decoder.repeated()), (4, vec![], 0));
    let (records, losses) = shown(|take| decoder.packet(whole[4], &mut |entry| take(entry)));
    assert_eq!((records, losses, decoder.repeated()), (0, vec![], 1));
}

#[test]
fn what_is_missing_has_the_cause_that_the_ring_counted_in_the_middle_and_at_the_end() {
    let mut decoder = decoder();
    let mut discarded = Discarded::default();
    let first = packet(discarded, &[(1, SAYS, &[3])]);
    discarded[fata_wire::packet::Cause::TooBig as usize] = 2;
    let second = packet(discarded, &[(5, SAYS, &[6])]);
    discarded[fata_wire::packet::Cause::Full as usize] = 4;
    // As a collector ends: no events, and what was discarded since.
    let last = packet(discarded, &[]);
    let account = Account { offered: [11, 0, 0], ..Account::default() };
    let (records, losses) = shown(|take| {
        for bytes in in_order(&[first.clone(), second.clone(), last.clone()]) {
            decoder.packet(&bytes, &mut |entry| take(entry));
        }
        decoder.end(&[(1, 0, account), (2, 1, Account::default())], &mut |entry| take(entry));
    });
    assert_eq!(records, 2);
    assert_eq!(losses, [(Cause::Overwritten, info(3)), (Cause::TooBig, info(2)), (Cause::Full, info(4))]);
}
