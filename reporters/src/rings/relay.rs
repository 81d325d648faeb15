//! From a program's rings to a reporter of the same program, without end only if the program has none.
//!
//! Invariant: a reporter gets everything but what was recorded while it reported. That is counted, and told with the next
//! record that is not its own: by itself it would have the reporter report, and record, again.

use crate::loss::{Cause, Loss};
use crate::reporter::{Item, Reporter};

/// Hands items on to a reporter that may record some itself.
#[derive(Debug)]
pub struct Relay<R> {
    /// Where items go. It takes everything, or counts what it does not ([`Counting`](crate::combine::Counting)).
    pub reporter: R,
    nested: Option<Loss<'static>>,
}

impl<R: Reporter> Relay<R> {
    /// Nothing has been handed on yet.
    pub const fn new(reporter: R) -> Self {
        Relay { reporter, nested: None }
    }

    /// Hands `item` on, unless the reporter's own doing made it.
    pub fn hand_on(&mut self, is_own: bool, item: &Item<'_>) {
        match item {
            Item::Record(record) if is_own => self
                .nested
                .get_or_insert(Loss::new(Cause::Nested, "a reporter", record.time))
                .add(record.level, record.least_bytes(), record.time),
            Item::Record(_) => {
                self.tell();
                let _ = self.reporter.report(item);
            }
            Item::Loss(_) => {
                let _ = self.reporter.report(item);
            }
        }
    }

    /// Tells what was counted and not told, at the end.
    pub fn tell(&mut self) {
        if let Some(nested) = self.nested.take() {
            let _ = self.reporter.report(&Item::Loss(nested));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::reporter::ReportError;
    use crate::time::Time;
    use std::vec::Vec;

    /// A line for each item: the record's number, or how many were lost.
    struct Kept(Vec<(bool, u64)>);

    impl Reporter for Kept {
        fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
            self.0.push(match item {
                Item::Record(record) => (true, record.sequence),
                Item::Loss(loss) => (false, loss.counts.total()),
            });
            Ok(())
        }
    }

    #[test]
    fn what_the_reporter_recorded_is_told_before_the_next_record_of_others_and_never_by_itself() {
        let mut relay = Relay::new(Kept(Vec::new()));
        let record = |sequence| Item::Record(Record { sequence, ..Record::BLANK });
        relay.hand_on(false, &record(0));
        (1..4).for_each(|sequence| relay.hand_on(true, &record(sequence)));
        relay.hand_on(false, &Item::Loss(Loss::new(Cause::Full, "x", Time::wall(0))));
        assert_eq!(relay.reporter.0, [(true, 0), (false, 0)], "a loss of others does not have it told");
        relay.hand_on(false, &record(4));
        relay.hand_on(true, &record(5));
        relay.tell();
        assert_eq!(relay.reporter.0[2..], [(false, 3), (true, 4), (false, 1)]);
    }
}
