//! What is known of a recording while it goes on and when it is over: what was published, what was discarded and refused, and what
//! the user should know.

use std::time::Duration;

use fata_wire::log::Account;
use fata_wire::packet::Discarded;
use fata_wire::shared::{PAGE_BYTES, Platform, State, Status as GuestStatus};

use super::Collector;
use crate::drain::Totals;

/// A clock that takes so long to read is emulated: the instruction takes 10 to 40 ns.
const SLOW_CLOCK_MICROS: u64 = 1;

/// What is known while collecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the guest last said of itself.
    pub state: State,
    /// What was published, all streams together.
    pub totals: Totals,
    /// Since this collector came.
    pub elapsed: Duration,
}

impl Collector {
    /// What is known now.
    #[must_use]
    pub fn status(&self) -> Status {
        let page = self.memory.header_page();
        let state = GuestStatus::parse(&page, self.memory.geometry()).state;
        Status { state, totals: self.totals(), elapsed: self.started.elapsed() }
    }

    /// What was published, all streams together.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for stream in &self.streams {
            let totals = stream.totals();
            sum.events += totals.events;
            sum.unfinished += totals.unfinished;
            sum.packets += totals.packets;
            sum.bytes += totals.bytes;
            for (sum, count) in sum.discarded.iter_mut().zip(totals.discarded) {
                *sum = sum.saturating_add(count);
            }
        }
        sum
    }

    /// What was refused of the guest besides its events, which [`totals`](Collector::totals) count: a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(description) = &self.description {
            if let Some(damage) = description.damaged() {
                warnings.push(format!("{damage}; events that are described after it were refused"));
            }
            if description.refused() > 0 {
                let refused = description.refused();
                warnings.push(format!("{refused} descriptions were refused: repeated, or more than a guest may have"));
            }
        }
        let page = self.memory.header_page();
        let status = GuestStatus::parse(&page, self.memory.geometry());
        let micros = status.clock.clock_cost_picos / 1_000_000;
        if self.platform() == Platform::Xen && micros >= SLOW_CLOCK_MICROS {
            warnings.push(format!(
                "reading its clock costs this domain {micros} µs, and so does every event: Xen emulates its TSC; set \
                 tsc_mode=\"native\" in its xl.cfg and create it anew"
            ));
        }
        let unnamed = status.names_refused;
        if unnamed > 0 {
            warnings
                .push(format!("{unnamed} callsites and names found no room in the guest: they are shown by number"));
        }
        warnings
    }

    /// How the guest's memory was to be had, where that was not as usual: a sentence.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.memory.remark()
    }

    /// The accounts of the guest's log streams: stream, class, and what was made and what was lost of it.
    #[must_use]
    pub fn log_accounts(&self) -> Vec<(u32, u32, Account)> {
        self.accounts_in(&self.memory.header_page())
    }

    /// The accounts of the guest's log streams in a copy of its header page: stream, class, account.
    pub(super) fn accounts_in(&self, page: &[u8; PAGE_BYTES]) -> Vec<(u32, u32, Account)> {
        let geometry = self.memory.geometry();
        let account = |stream| Account::of_page(page, geometry, stream);
        let class = |stream: u32| (stream - geometry.stream_count) % 2;
        (geometry.stream_count..geometry.all_streams()).map(|stream| (stream, class(stream), account(stream))).collect()
    }
}

/// The discarded events of all causes together.
#[must_use]
pub fn discarded_in_all(discarded: &Discarded) -> u64 {
    discarded.iter().fold(0, |sum, &count| sum.saturating_add(count))
}
