//! What a frame is called by both of its ends: a number that each computes from the frame's own headers.
//!
//! Between guests a packet has no name that both know: the tracer's packet numbers are each guest's own. What is the same at
//! both ends are the addresses, the ports, the place in the stream and what is acknowledged; of these the identity is made.
//! Whatever is changed on the way or filled in by a device (checksums, the time to live) is left out.
//!
//! Invariant: a frame that arrives as it was sent has the identity it was sent with. Frames whose headers do not differ, such
//! as a segment that is sent again, share one: a reader joins each arrival to the last sending before it.
//!
//! Computed only while a host records several guests ([`WIRE_CATEGORY`](fata_wire::shared::WIRE_CATEGORY)): it takes about 40
//! instructions.

use super::header::{IPV4, TCP};

/// The identity of a frame, which begins with its Ethernet header: what `wire.tx` and `wire.rx` record, for whoever sees the frame in
/// between. Its first 64 bytes are enough for TCP without options of IP. Never 0.
#[inline(never)]
#[must_use]
pub fn identity(frame: &[u8]) -> u64 {
    let ethertype = frame.get(12..14).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut mix = Mix(ethertype.into());
    match (ethertype, frame.get(14..).unwrap_or(&[])) {
        (IPV4, packet) => ipv4(&mut mix, packet),
        (IPV6, packet) => ipv6(&mut mix, packet),
        // Of anything else (ARP, above all) what the smallest frame holds.
        (_, rest) => mix.take(rest.get(..28).unwrap_or(rest)),
    }
    mix.0.max(1)
}

const IPV6: u16 = 0x86dd;
const UDP: u8 = 17;

fn ipv4(mix: &mut Mix, packet: &[u8]) {
    let Some(header) = packet.first_chunk::<20>() else { return mix.take(packet) };
    // Length, identification, fragment; then the addresses.
    mix.take(&header[2..8]);
    mix.take(&header[12..20]);
    let header_bytes = usize::from(header[0] & 15) * 4;
    transport(mix, header[9], packet.get(header_bytes..).unwrap_or(&[]));
}

fn ipv6(mix: &mut Mix, packet: &[u8]) {
    let Some(header) = packet.first_chunk::<40>() else { return mix.take(packet) };
    mix.take(&header[4..6]);
    mix.take(&header[8..40]);
    transport(mix, header[6], packet.get(40..).unwrap_or(&[]));
}

fn transport(mix: &mut Mix, protocol: u8, bytes: &[u8]) {
    mix.word(protocol.into());
    match protocol {
        // Ports, sequence, acknowledgement, flags, window: all before the checksum.
        TCP => mix.take(bytes.get(..16).unwrap_or(bytes)),
        UDP => {
            // Ports and length, and as much of what is sent as tells two datagrams apart.
            mix.take(bytes.get(..6).unwrap_or(&[]));
            mix.take(bytes.get(8..24).unwrap_or(bytes.get(8..).unwrap_or(&[])));
        }
        // Type and code; behind the checksum identifier and sequence number, or the address that is asked for.
        _ => {
            mix.take(bytes.get(..2).unwrap_or(&[]));
            mix.take(bytes.get(4..24).unwrap_or(bytes.get(4..).unwrap_or(&[])));
        }
    }
}

/// Words folded into one, each by the finishing steps of SplitMix64 (Steele, Lea and Flood).
struct Mix(u64);

impl Mix {
    fn take(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|&word| self.word(u64::from_le_bytes(word)));
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ mixed >> 31;
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::segment;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_devices_and_routers_change_on_the_way_does_not_change_the_identity() {
        let (sent, mut arrived) = (segment(), segment());
        // The Ethernet addresses, the time to live, both checksums.
        arrived[..12].fill(0xab);
        arrived[22] = 63;
        arrived[24..26].fill(0xcd);
        arrived[50..52].fill(0xef);
        assert_eq!(identity(&sent), identity(&arrived));
    }

    #[test]
    fn any_other_bit_of_the_headers_is_another_packet() {
        let sent = segment();
        let mut seen = HashSet::from([identity(&sent)]);
        // Length and identification, addresses, ports, sequence, acknowledgement, flags, window.
        for at in (16..20).chain(26..50) {
            for bit in 0..8 {
                let mut other = sent;
                other[at] ^= 1 << bit;
                assert!(seen.insert(identity(&other)), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_cut_anywhere_and_one_of_any_bytes_has_an_identity() {
        let frame = segment();
        for len in 0..frame.len() {
            assert_ne!(identity(&frame[..len]), 0);
        }
        for ethertype in [[8, 0], [0x86, 0xdd], [8, 6]] {
            for fill in 0..=255 {
                let mut frame = [fill; 64];
                frame[12..14].copy_from_slice(&ethertype);
                for len in 12..frame.len() {
                    assert_ne!(identity(&frame[..len]), 0);
                }
            }
        }
    }
}
