//! Events: as a writer leaves them, committed or not, and as any bytes at all.

use fata_wire::event::{ARG_LIMIT, Event, EventId, Events, Header, MAX_CALLSITES, MAX_PAYLOAD_WORDS, UNFINISHED};
use fata_wire::field::{Field, FieldType, Fields, MAX_FIELDS, Unit, Value};
use fata_wire::repair::{End, committed_prefix, repair, repair_open};
use proptest::collection::vec;
use proptest::prelude::*;

use super::mutations::{mutate, mutations};
use super::pick;

/// One event as a writer leaves it: committed, or busy with part of its payload, or reserved and never begun.
#[derive(Clone, Debug)]
pub(super) enum Written {
    Committed { gap: u32, callsite: u16, end: bool, arg: u16, payload: Vec<u64> },
    Busy { callsite: u16, words: u16, written: u16 },
    Untouched { words: u16 },
}

pub(super) fn committed() -> impl Strategy<Value = Written> {
    let payload = prop_oneof![4 => vec(any::<u64>(), 0..7), 1 => vec(any::<u64>(), 7..40)];
    (any::<u32>(), 8..200u16, any::<bool>(), 0..ARG_LIMIT, payload).prop_map(
        |(gap, callsite, end, arg, mut payload)| {
            // No stamp is more than half of its range after the one before: the writer makes a clock event instead.
            let gap = gap >> 1;
            if payload.len() > 6 {
                payload[0] = payload.len() as u64;
            }
            Written::Committed { gap, callsite, end, arg, payload }
        },
    )
}

pub(super) fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        8 => committed(),
        1 => (8..200u16, 1..20u16, 0..20u16).prop_map(|(callsite, words, written)| Written::Busy { callsite, words, written }),
        1 => (1..20u16).prop_map(|words| Written::Untouched { words }),
    ]
}

pub(super) const CALLSITES: u16 = 200;

/// The content that these writes leave, and how many committed events it holds.
pub(super) fn content(writes: &[Written], ticks: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ticks = ticks;
    for write in writes {
        match write {
            Written::Committed { gap, callsite, end, arg, payload } => {
                ticks += u64::from(*gap);
                let id = if *end { EventId::end(*callsite) } else { EventId::begin(*callsite) };
                let words = u8::try_from(payload.len()).unwrap().min(7);
                let ticks_low = u32::try_from(ticks & 0xffff_ffff).unwrap();
                bytes.extend(Header { ticks_low, id, busy: false, words, arg: *arg }.pack().to_le_bytes());
                bytes.extend(payload.iter().flat_map(|word| word.to_le_bytes()));
            }
            Written::Busy { callsite, words, written } => {
                let id = EventId::begin(*callsite);
                bytes.extend(Header { ticks_low: 1, id, busy: true, words: 0, arg: *words }.pack().to_le_bytes());
                bytes.extend((0..*words).flat_map(|i| u64::from(i < *written).to_le_bytes()));
            }
            Written::Untouched { words } => bytes.extend(std::iter::repeat_n(0, usize::from(*words) * 8)),
        }
    }
    bytes
}

/// What must hold of any packet's events, whatever the bytes: they lie in the content, one after another, and time grows.
pub(super) fn check_events(events: Events<'_>, content_bytes: usize, begin: u64) -> Result<(), TestCaseError> {
    let (mut bytes, mut ticks) = (0, begin);
    let mut ended = false;
    for event in events {
        prop_assert!(!ended, "nothing follows an error");
        match event {
            Ok(Event { ticks: now, arg, payload, .. }) => {
                bytes += 8 + payload.len();
                prop_assert!(payload.len() <= MAX_PAYLOAD_WORDS * 8 && arg < ARG_LIMIT);
                prop_assert!(now >= ticks, "the clock runs backwards");
                ticks = now;
            }
            Err(_) => ended = true,
        }
    }
    prop_assert!(bytes <= content_bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_header_word_is_some_header_and_is_packed_to_itself(word: u64) {
        prop_assert_eq!(Header::unpack(word).pack(), word);
    }

    #[test]
    fn committed_events_are_read_back_as_they_were_written(
        writes in vec(committed(), 0..30),
        ticks in 0..1u64 << 60,
    ) {
        let content = content(&writes, ticks);
        let mut now = ticks;
        let mut events = Events::new(&content, ticks);
        for write in &writes {
            let Written::Committed { gap, callsite, end, arg, payload } = write else { unreachable!("generated") };
            now += u64::from(*gap);
            let event = events.next().unwrap().unwrap();
            let id = if *end { EventId::end(*callsite) } else { EventId::begin(*callsite) };
            prop_assert_eq!((event.ticks, event.id, event.arg), (now, id, *arg));
            prop_assert_eq!(event.payload, payload.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        }
        prop_assert_eq!(events.next(), None);
        let walk = committed_prefix(&content, ticks, CALLSITES);
        prop_assert_eq!((walk.events, walk.bytes, walk.ticks, walk.end), (writes.len() as u64, content.len(), now, End::Whole));
    }

    #[test]
    fn repair_counts_each_committed_event_once_and_takes_no_unfinished_one_for_whole(
        writes in vec(written(), 0..30),
        ticks in 0..1u64 << 60,
    ) {
        let mut bytes = content(&writes, ticks);
        let committed = writes.iter().filter(|write| matches!(write, Written::Committed { .. })).count() as u64;
        let prefix = committed_prefix(&bytes, ticks, CALLSITES);
        let whole = writes.iter().take_while(|write| matches!(write, Written::Committed { .. })).count() as u64;
        prop_assert_eq!(prefix.events, whole);
        let before = bytes.clone();
        let walk = repair(&mut bytes, ticks, CALLSITES);
        prop_assert_eq!((walk.events, walk.end, walk.bytes), (committed, End::Whole, bytes.len()));
        let holes = writes.len() as u64 - committed;
        prop_assert!((u64::from(holes > 0)..=holes).contains(&walk.unfinished), "untouched neighbours are one hole");
        let (mut read, mut unfinished, mut offset) = (0, 0, 0);
        for event in Events::new(&bytes, ticks) {
            let event = event.unwrap();
            let len = 8 + event.payload.len();
            if event.id.callsite() == UNFINISHED {
                unfinished += 1;
            } else {
                read += 1;
                prop_assert_eq!(&before[offset..offset + len], &bytes[offset..offset + len]);
            }
            offset += len;
        }
        prop_assert_eq!((read, unfinished), (walk.events, walk.unfinished));
        let again = repair(&mut bytes.clone(), ticks, CALLSITES);
        prop_assert_eq!((again.events, again.unfinished), (walk.events + walk.unfinished, 0), "what is repaired is whole");
    }

    #[test]
    fn free_space_at_the_end_of_an_open_packet_is_no_event(mut writes in vec(written(), 0..10), free in 0..50usize) {
        // An untouched reservation at the very end looks like free space, and nothing tells them apart.
        writes.truncate(writes.iter().rposition(|write| !matches!(write, Written::Untouched { .. })).map_or(0, |i| i + 1));
        let mut bytes = content(&writes, 5);
        let used = bytes.len();
        bytes.extend(vec![0; free * 8]);
        let walk = repair_open(&mut bytes, 5, CALLSITES);
        prop_assert_eq!((walk.end, walk.bytes), (End::Whole, used));
    }

    #[test]
    fn no_content_makes_a_walk_panic_leave_its_bytes_or_disagree_with_its_own_events(
        writes in vec(written(), 0..30),
        noise in vec(any::<u64>(), 0..20),
        mutations in mutations(),
        ticks: u64,
        callsites in 0..MAX_CALLSITES,
    ) {
        let mut bytes = content(&writes, ticks & 0xffff_ffff_ffff);
        bytes.extend(noise.iter().flat_map(|word| word.to_le_bytes()));
        mutate(&mut bytes, &mutations);
        let len = bytes.len();
        check_events(Events::new(&bytes, ticks), len, ticks)?;
        let prefix = committed_prefix(&bytes, ticks, callsites);
        prop_assert!(prefix.bytes <= len && prefix.events <= (len / 8) as u64 && prefix.unfinished == 0);
        for mend in [repair, repair_open] {
            let mut copy = bytes.clone();
            let walk = mend(&mut copy, ticks, callsites);
            prop_assert!(walk.bytes <= len && walk.bytes >= prefix.bytes && walk.events >= prefix.events);
            prop_assert_eq!(copy.len(), len);
            prop_assert_eq!(&copy[walk.bytes..], &bytes[walk.bytes..], "what is refused is left as it was");
            let events: Vec<_> = Events::new(&copy[..walk.bytes], ticks).collect();
            prop_assert!(events.iter().all(Result::is_ok));
            prop_assert_eq!(events.len() as u64, walk.events + walk.unfinished);
        }
    }

    #[test]
    fn no_payload_makes_a_field_decoder_panic_or_give_more_values_than_fields(
        types in vec(pick(FieldType::ALL), 0..=MAX_FIELDS),
        arg in 0..ARG_LIMIT,
        payload in vec(any::<u8>(), 0..200),
    ) {
        let list: Vec<_> = types.iter().map(|&ty| Field { name: "f", ty, unit: Unit::None }).collect();
        let fields = Fields::new(&list);
        let values: Vec<_> = fields.values(arg, &payload).collect();
        prop_assert!(values.len() <= list.len());
        let texts: usize = values.iter().map(|(_, value)| if let Value::Str(text) = value { text.len() } else { 0 }).sum();
        prop_assert!(texts <= payload.len());
        if let Some(words) = fields.fixed_words() {
            let needed = (words + usize::from(fields.is_extended())) * 8;
            prop_assert_eq!(values.len() == list.len(), payload.len() >= needed);
        }
    }
}
