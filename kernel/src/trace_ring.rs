//! What the trace ring of every platform is: how large, of how many streams, and the text of a guest's last words.
//!
//! When it is full, the newest events replace the oldest, unless a collector asks otherwise: see `fata_probe::ring`.

use core::fmt;

use fata_probe::region::Config;
use fata_wire::shared::MESSAGE_BYTES;

use crate::logs;

const PACKET_BYTES: u32 = 64 << 10;
/// Unless the parameter `ring_mib=` says otherwise.
const DEFAULT_MIB: u64 = 4;
const MAX_MIB: u64 = 1024;

/// One stream of `ring_mib` MiB (rounded up to a power of two, and at least 1), and the two of its log.
pub(crate) fn config(name: &str, ring_mib: Option<u64>, log_kib: Option<u64>) -> Config<'_> {
    let ring_bytes = (ring_mib.unwrap_or(DEFAULT_MIB).clamp(1, MAX_MIB) << 20).next_power_of_two();
    Config {
        name,
        packets_per_stream: u32::try_from(ring_bytes / u64::from(PACKET_BYTES)).unwrap_or(u32::MAX),
        packet_bytes: PACKET_BYTES,
        log_streams: 2,
        log_packets: logs::packets(log_kib),
        log_packet_bytes: logs::PACKET_BYTES,
        ..Config::default()
    }
}

/// A guest's last words, in memory of their own: cut between two characters where they are too long, which is no error.
pub(crate) struct LastWords {
    bytes: [u8; MESSAGE_BYTES],
    len: usize,
}

impl LastWords {
    pub(crate) fn of(words: fmt::Arguments<'_>) -> Self {
        let mut text = LastWords { bytes: [0; MESSAGE_BYTES], len: 0 };
        // Never fails: see `write_str`.
        let _ = fmt::write(&mut text, words);
        text
    }

    pub(crate) fn text(&self) -> &str {
        // Whole characters were written, so it is never anything else.
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl fmt::Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let text = &text[..text.floor_char_boundary(room)];
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_that_are_too_long_are_cut_between_two_characters() {
        let long = "é".repeat(MESSAGE_BYTES);
        let words = LastWords::of(format_args!("x{long}"));
        assert_eq!(words.text().len(), MESSAGE_BYTES - 1);
        assert!(words.text().ends_with('é'));
    }

    #[test]
    fn a_ring_is_a_power_of_two_of_mebibytes_whatever_is_asked() {
        let packets = |ring_mib| config("guest", ring_mib, None).packets_per_stream;
        assert_eq!([None, Some(0), Some(3), Some(u64::MAX)].map(packets), [64, 16, 64, 16384]);
    }
}
