//! What a trace gives up when it has reached its limit: the oldest intervals, for newer ones. Their overview stays.

use crate::trace::{Series, Trace};

impl Trace {
    /// Gives up the oldest intervals, about `wanted` of them, or as many as there are to give up.
    pub(super) fn forget_oldest(&mut self, wanted: u64) {
        let from = self.detail_from.unwrap_or(0);
        let mut freed = 0;
        // Up to half of the time that is known in detail, in steps.
        for part in 1..=8 {
            let horizon = from + (self.end - from) / 16 * part;
            let rows = self.tracks.list.iter_mut().filter_map(|track| match &mut track.series {
                Series::Row(row) => Some(row),
                Series::Samples(_) => None,
            });
            let intervals = rows.map(|row| row.forget_before(horizon)).sum::<usize>();
            let wakes = self.streams.iter_mut().map(|stream| stream.forget_wakes(horizon)).sum::<usize>();
            let records = self.logs.forget_before(horizon);
            if intervals + wakes + records > 0 {
                self.detail_from = Some(horizon);
            }
            // The nodes of what was forgotten stay.
            freed += intervals as u64 / 5 * 4 + (wakes + records) as u64;
            if freed >= wanted {
                break;
            }
        }
        self.tracks.room += freed;
    }
}
