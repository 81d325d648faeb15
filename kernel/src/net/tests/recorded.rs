//! What this thread records while a program runs, as texts: `net.rx id=7 bytes=54`.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use fata_probe::region::{Config, Region};
use fata_wire::describe::{Record, Records};
use fata_wire::event::{CLOCK, Events};
use fata_wire::field::Value;
use fata_wire::packet::{HEADER_BYTES, PacketHeader};
use fata_wire::shared::{Geometry, PAGE_BYTES, Status};

/// Every event of the categories `net` and `tcp`, in order.
pub(super) fn network_events_of(program: impl FnOnce()) -> Vec<String> {
    let config = Config { name: "test", packets_per_stream: 64, ..Config::default() };
    let region = Region::in_memory(&config).unwrap();
    let attached = region.attach(0).unwrap();
    program();
    drop(attached);
    read(&region.copy())
}

fn read(bytes: &[u8]) -> Vec<String> {
    let page = bytes.first_chunk::<PAGE_BYTES>().unwrap();
    let geometry = Geometry::parse(page, bytes.len() as u64).unwrap();
    let described = usize::try_from(Status::parse(page, &geometry).description_used).unwrap();
    let start = usize::try_from(geometry.description_offset).unwrap();
    let callsites: Vec<_> = Records::new(&bytes[start..start + described])
        .filter_map(|record| match record.unwrap() {
            Record::Callsite(callsite) => Some(callsite),
            _ => None,
        })
        .collect();
    let mut texts = Vec::new();
    for number in 0..u64::from(geometry.packets_per_stream) {
        let at = usize::try_from(geometry.packet_offset(0, number)).unwrap();
        let packet = &bytes[at..at + usize::try_from(geometry.packet_bytes).unwrap()];
        let Ok(header) = PacketHeader::parse(packet) else { break };
        assert!(header.lock <= 2 * number + 2, "the test recorded more than its ring holds");
        if header.lock != 2 * number + 2 {
            break;
        }
        let content = &packet[HEADER_BYTES..usize::try_from(header.content_size / 8).unwrap()];
        for event in Events::new(content, header.timestamp_begin).map(Result::unwrap) {
            if event.id.callsite() == CLOCK {
                continue;
            }
            let callsite = callsites.iter().find(|callsite| callsite.id == event.id.callsite()).unwrap();
            if event.id.is_end() || !matches!(callsite.category, "net" | "tcp") {
                continue;
            }
            let mut text = callsite.name.to_owned();
            for (field, value) in callsite.fields.values(event.arg, event.payload) {
                text += &match value {
                    Value::U64(v) | Value::Flow(v) => format!(" {}={v}", field.name),
                    other => format!(" {}={other:?}", field.name),
                };
            }
            texts.push(text);
        }
    }
    texts
}
