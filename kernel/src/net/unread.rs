//! The packets of a connection, or a port, that were received and that no task has read yet: their numbers, oldest first.
//!
//! Full: [`REMEMBERED`] are kept; the next one takes the place of the oldest, which is given back to be said.

use core::cell::Cell;

use fata_probe::Packet;

/// Packets that were received and not read.
const REMEMBERED: usize = 8;

/// The packets that wait for a task to read them, oldest first.
#[derive(Default)]
pub(super) struct Unread {
    packets: [Cell<Packet>; REMEMBERED],
    len: Cell<usize>,
}

impl Unread {
    /// Adds the newest; gives the oldest if there is no room for both.
    #[inline(always)]
    pub(super) fn push(&self, packet: Packet) -> Option<Packet> {
        let Some(place) = self.packets.get(self.len.get()) else { return self.push_out(packet) };
        place.set(packet);
        self.len.set(self.len.get() + 1);
        None
    }

    #[cold]
    #[inline(never)]
    fn push_out(&self, packet: Packet) -> Option<Packet> {
        let oldest = self.pop();
        self.push(packet);
        oldest
    }

    /// The oldest.
    pub(super) fn pop(&self) -> Option<Packet> {
        let rest = self.len.get().checked_sub(1)?;
        let oldest = self.packets[0].get();
        for index in 0..rest {
            self.packets[index].swap(&self.packets[index + 1]);
        }
        self.len.set(rest);
        Some(oldest)
    }

    /// All of them; none are left.
    pub(super) fn take(&self) -> impl Iterator<Item = Packet> {
        self.packets.iter().take(self.len.take()).map(Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn one_more_than_there_is_room_for_gives_the_oldest_back() {
        let unread = Unread::default();
        let given: Vec<_> = (1..=10).filter_map(|number| unread.push(Packet(number))).collect();
        assert_eq!(given, [Packet(1), Packet(2)]);
        assert_eq!(unread.pop(), Some(Packet(3)));
        assert_eq!(unread.take().collect::<Vec<_>>(), (4..=10).map(Packet).collect::<Vec<_>>());
        assert_eq!(unread.pop(), None);
    }
}
