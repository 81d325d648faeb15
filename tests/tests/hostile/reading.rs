//! A receiver that holds what a collector publishes to the format.

use fata_collector::sink::{Sink, SinkError};
use fata_wire::packet::{Discarded, Packet};

/// Reads what a collector publishes as any receiver would, and holds it to the format. With `between`, the guest gets a turn
/// at every packet that is published, which is in the middle of a poll.
pub(super) struct Reading<'a> {
    between: Option<&'a dyn Fn()>,
    pub(super) packets: u64,
    pub(super) events: u64,
    pub(super) values: u64,
    pub(super) last: Option<(u64, u64, Discarded)>,
    pub(super) text_bytes: usize,
    pub(super) lost: u64,
    pub(super) out_of_order: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(between: Option<&'a dyn Fn()>) -> Self {
        Reading { between, packets: 0, events: 0, values: 0, last: None, text_bytes: 0, lost: 0, out_of_order: 0 }
    }
}

impl Sink for Reading<'_> {
    fn metadata(&mut self, _uuid: [u8; 16], text: &str) -> Result<(), SinkError> {
        assert!(text.ends_with('\n'), "a piece of metadata ends with a whole line");
        self.text_bytes += text.len();
        if let Some(between) = self.between {
            between();
        }
        Ok(())
    }

    fn packet(&mut self, _stream: u32, bytes: &[u8]) -> Result<(), SinkError> {
        assert!(self.text_bytes > 0, "metadata comes first");
        let packet = Packet::parse(bytes).unwrap();
        let header = packet.header;
        assert_eq!(packet.bytes.len(), bytes.len());
        let (mut events, mut ticks) = (0, header.timestamp_begin);
        for event in packet.events() {
            let event = event.unwrap();
            assert!(event.ticks >= ticks, "a clock that runs backwards was published");
            ticks = event.ticks;
            events += 1;
            if event.payload.len() == 8 {
                let value = u64::from_le_bytes(*event.payload.first_chunk().unwrap());
                self.out_of_order += u64::from(value != self.values);
                self.values = value.wrapping_add(1);
            }
        }
        assert_eq!(header.events, events, "a packet says how many events it holds");
        assert!(ticks <= header.timestamp_end && header.timestamp_end <= i64::MAX.cast_unsigned());
        if let Some((seq, end, discarded)) = self.last {
            assert_eq!(header.packet_seq_num, seq + 1);
            assert!(header.timestamp_begin >= end);
            for (now, before) in header.discarded.iter().zip(discarded) {
                assert!(*now >= before, "what was discarded stays so");
                self.lost = self.lost.saturating_add(now - before);
            }
        }
        self.last = Some((header.packet_seq_num, header.timestamp_end, header.discarded));
        self.packets += 1;
        self.events += events;
        if let Some(between) = self.between {
            between();
        }
        Ok(())
    }
}
