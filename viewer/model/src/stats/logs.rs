//! What became of log records, by level: also of those that no reader ever saw, as the guest itself counted them.

use fata_wire::field::Level;
use fata_wire::log::LostBytes;

use crate::trace::Trace;

/// The log records of one level, of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LogStats {
    /// Whose they are, where there are several guests.
    pub guest: String,
    /// Their level.
    pub level: &'static str,
    /// How many the program made, whatever became of them.
    pub made: u64,
    /// Kept out by a rule; counted at WARN and ERROR alone.
    pub filtered: u64,
    /// Kept out by the rate limit.
    pub suppressed: u64,
    /// The same as the one before.
    pub folded: u64,
    /// Found no room in the ring when they were made.
    pub discarded: u64,
}

/// How long the log records of a guest were, of all levels together, that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LogBytes {
    /// Whose they are, where there are several guests.
    pub guest: String,
    /// Of those that found no room in the ring when they were made.
    pub discarded: u64,
    /// Of those that the rate limit kept out, as far as a record has said so; an estimate, where their lengths vary.
    pub suppressed: u64,
}

/// What each guest has lost; none where it lost nothing, or where the trace does not say.
pub(super) fn bytes(trace: &Trace) -> Vec<LogBytes> {
    let of_guest = |guest| {
        let LostBytes { discarded, suppressed } = trace.description.log_fates(guest)?.bytes?;
        (discarded > 0 || suppressed > 0).then(|| LogBytes {
            guest: super::guest_name(trace, guest),
            discarded,
            suppressed,
        })
    };
    trace.guests().filter_map(of_guest).collect()
}

/// The levels at which each guest made records; none where the trace does not say, as one whose recording has not ended.
pub(super) fn logs(trace: &Trace) -> Vec<LogStats> {
    let of_guest = |guest| {
        let fates = trace.description.log_fates(guest);
        let level = move |level: &Level| {
            let fate = fates?.of(*level);
            (fate.made() > 0).then(|| LogStats {
                guest: super::guest_name(trace, guest),
                level: level.text(),
                made: fate.made(),
                filtered: fate.filtered,
                suppressed: fate.suppressed,
                folded: fate.folded,
                discarded: fate.discarded,
            })
        };
        Level::ALL.iter().filter_map(level)
    };
    trace.guests().flat_map(of_guest).collect()
}

#[cfg(test)]
mod tests {
    use fata_wire::log::Account;
    use fata_wire::metadata::{write_account, write_preamble};
    use fata_wire::shared::Clock;

    use super::*;
    use crate::ingest::{Ingest, Limits};

    #[test]
    fn records_that_nobody_read_are_there_by_level_and_a_trace_without_accounts_says_nothing() {
        let mut text = String::new();
        write_preamble(&mut text, [1; 16], &Clock { hz: 1_000_000_000, ..Clock::default() }).unwrap();
        let mut read = |more: &str| {
            text += more;
            let mut ingest = Ingest::new(Limits::default());
            ingest.metadata(&text).unwrap();
            ingest.finish()
        };
        let nothing = read("");
        assert_eq!((logs(&nothing), bytes(&nothing)), (vec![], vec![]));
        let lost = Some(LostBytes { discarded: 48, suppressed: 0 });
        let account = Account { filtered: [0, 0, 4], offered: [0, 3, 1], discarded: [0, 1, 0], ..Account::default() };
        let account = Account { bytes: lost, ..account };
        let mut line = String::new();
        write_account(&mut line, 2, 1, &account).unwrap();
        let trace = read(&line);
        let rows: Vec<_> =
            logs(&trace).into_iter().map(|row| (row.level, row.made, row.filtered, row.discarded)).collect();
        assert_eq!(bytes(&trace), [LogBytes { guest: String::new(), discarded: 48, suppressed: 0 }]);
        assert_eq!(rows, [("error", 3, 0, 1), ("warn", 5, 4, 0)]);
    }
}
