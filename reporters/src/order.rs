//! Several inputs (vCPUs, guests) as one order of time.
//!
//! Invariant: what goes on is sorted by time, except for items that came more than the window after younger ones had gone on;
//! those go on at once, marked [`Record::late`]. Nothing is left out.
//!
//! An item is held until one arrives that is younger by the window, or [`Order::advance`] says that so much time has passed,
//! or everything is asked for ([`Reporter::poll_done`]). When what is held fills its bytes, the oldest go on early: the window
//! is narrower then, and what comes for it is marked.
//!
//! ```
//! use fata_reporters::lines::{Format, Lines};
//! use fata_reporters::order::Order;
//! use fata_reporters::time::Time;
//! use fata_reporters::{Item, Record, Reporter};
//! use std::time::Duration;
//!
//! let lines = Lines::new(Vec::new(), "a buffer", Format::plain());
//! let mut order = Order::new(lines, Duration::from_millis(10), 1 << 20);
//! for (millis, name) in [(5, "second"), (3, "first"), (40, "third"), (1, "much too late")] {
//!     let time = Time::wall(millis * 1_000_000);
//!     order.report(&Item::Record(Record { time, name, ..Record::BLANK })).unwrap();
//! }
//! let text = String::from_utf8(order.finish().unwrap().into_inner()).unwrap();
//! let ends: Vec<_> = text.lines().map(|line| line.split_once("INFO  ").unwrap().1).collect();
//! assert_eq!(ends, ["first", "second", "(late) much too late", "third"]);
//! ```

use core::task::{Context, Poll};
use std::collections::BTreeMap;
use std::time::Duration;
use std::vec::Vec;

use crate::codec::{self, Limits};
use crate::loss::{Cause, Loss};
use crate::record::Record;
use crate::reporter::{Item, ReportError, Reporter};
use crate::time::Time;

/// What an item costs beside its own bytes: its place in the tree, and the vector's three words.
const ENTRY_BYTES: usize = 96;

/// Sorts what passes through it.
#[derive(Debug)]
pub struct Order<R> {
    next: R,
    window_nanos: i64,
    max_bytes: usize,
    /// By time, and by arrival where that is equal, so that one input's order stays.
    held: BTreeMap<(Time, u64), Vec<u8>>,
    held_bytes: usize,
    arrivals: u64,
    newest: Option<Time>,
    /// The time of the youngest item that went on.
    reached: Option<Time>,
    /// What the next reporter refused for good, and has not been told.
    refused: Option<Loss<'static>>,
}

impl<R: Reporter> Order<R> {
    /// Hands on to `next` what has waited for `window`; holds at most `max_bytes`.
    pub fn new(next: R, window: Duration, max_bytes: usize) -> Self {
        Order {
            next,
            window_nanos: i64::try_from(window.as_nanos()).unwrap_or(i64::MAX),
            max_bytes: max_bytes.max(4096),
            held: BTreeMap::new(),
            held_bytes: 0,
            arrivals: 0,
            newest: None,
            reached: None,
            refused: None,
        }
    }

    /// Hands on what is older than the window at `now`. For inputs that may fall silent.
    ///
    /// # Errors
    /// Those of the next reporter; what it did not take is still held.
    pub fn advance(&mut self, now: Time) -> Result<(), ReportError> {
        let due = now.nanos.saturating_sub(self.window_nanos);
        while self.held.first_key_value().is_some_and(|((time, _), _)| time.nanos <= due) {
            self.pass_on()?;
        }
        Ok(())
    }

    /// Hands on everything, and gives back the next reporter.
    ///
    /// # Errors
    /// Those of the next reporter; what is still held then is given up.
    pub fn finish(mut self) -> Result<R, ReportError> {
        while !self.held.is_empty() {
            self.pass_on()?;
        }
        Ok(self.next)
    }

    /// How many items are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Hands on the oldest item.
    fn pass_on(&mut self) -> Result<(), ReportError> {
        if let Some(refused) = self.refused
            && self.next.report(&Item::Loss(refused)).is_ok()
        {
            self.refused = None;
        }
        let Some((&key, bytes)) = self.held.first_key_value() else { return Ok(()) };
        match codec::decode(bytes, |item| self.next.report(item)).unwrap_or(Ok(())) {
            Ok(()) => {}
            // The next reporter will never take this one; that must not keep it from the others.
            Err(ReportError::Item(_)) => {
                let place = "the reporter behind the sorting";
                let refused = self.refused.get_or_insert(Loss::new(Cause::Failed, place, key.0));
                codec::decode(bytes, |item| match item {
                    Item::Record(record) => refused.add(record.level, bytes.len() as u64, record.time),
                    Item::Loss(loss) => refused.merge(loss),
                });
            }
            Err(error) => return Err(error),
        }
        self.held_bytes -= bytes.len() + ENTRY_BYTES;
        self.held.remove(&key);
        self.reached = self.reached.max(Some(key.0));
        Ok(())
    }

    fn hold(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let item_bytes = self.max_bytes / 2;
        let mut bytes = Vec::new();
        if !codec::encode(&mut bytes, item, 0, Limits { item: item_bytes, text: item_bytes / 4 }) {
            return Err(ReportError::item(format_args!("a record of more than {item_bytes} bytes cannot be sorted")));
        }
        bytes.shrink_to_fit();
        while self.held_bytes + bytes.len() + ENTRY_BYTES > self.max_bytes && !self.held.is_empty() {
            self.pass_on()?;
        }
        self.held_bytes += bytes.len() + ENTRY_BYTES;
        self.held.insert((item.time(), self.arrivals), bytes);
        self.arrivals += 1;
        Ok(())
    }
}

impl<R: Reporter> Reporter for Order<R> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let time = item.time();
        if self.reached.is_some_and(|reached| time < reached) {
            return match item {
                Item::Record(record) => self.next.report(&Item::Record(Record { late: true, ..*record })),
                Item::Loss(_) => self.next.report(item),
            };
        }
        self.hold(item)?;
        let newest = self.newest.map_or(time, |newest| newest.max(time));
        self.newest = Some(newest);
        match self.advance(newest) {
            // It is held; what the next reporter does not take now, it gets with the next item.
            Ok(()) | Err(ReportError::Later(_)) => Ok(()),
            Err(error) => {
                // What is not taken is the caller's again.
                if let Some(bytes) = self.held.remove(&(time, self.arrivals - 1)) {
                    self.held_bytes -= bytes.len() + ENTRY_BYTES;
                }
                Err(error)
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.next.poll_ready(cx)
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        while !self.held.is_empty() {
            match self.next.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            if let Err(error) = self.pass_on() {
                return Poll::Ready(Err(error));
            }
        }
        self.next.poll_done(cx)
    }

    fn worst_case_bytes(&self) -> usize {
        self.max_bytes + self.next.worst_case_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    /// Keeps time, sequence and lateness of what it gets.
    #[derive(Default)]
    struct Kept(Vec<(i64, u64, bool)>);

    impl Reporter for Kept {
        fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
            if let Item::Record(record) = item {
                self.0.push((record.time.nanos, record.sequence, record.late));
            }
            Ok(())
        }
    }

    fn record(nanos: i64, sequence: u64) -> Item<'static> {
        Item::Record(Record { time: Time::wall(nanos), sequence, ..Record::BLANK })
    }

    proptest! {
        #[test]
        fn what_comes_within_the_window_is_sorted_and_nothing_is_marked_or_missing(
            steps in proptest::collection::vec((0i64..50, 0i64..100), 0..300),
        ) {
            // Each item is made a while after the last, and arrives up to 99 later than it was made.
            let mut made = 0;
            let mut arriving: Vec<_> = steps.iter().enumerate().map(|(i, (step, delay))| {
                made += step;
                (made + delay, made, i as u64)
            }).collect();
            arriving.sort_unstable();
            let mut order = Order::new(Kept::default(), Duration::from_nanos(100), 1 << 20);
            for (_, made, sequence) in arriving {
                order.report(&record(made, sequence)).unwrap();
            }
            let kept = order.finish().unwrap().0;
            prop_assert_eq!(kept.len(), steps.len());
            prop_assert!(kept.iter().all(|(_, _, late)| !late));
            prop_assert!(kept.is_sorted_by_key(|(nanos, ..)| *nanos));
        }

        #[test]
        fn whatever_comes_later_than_that_is_marked_and_all_the_others_are_still_sorted(
            times in proptest::collection::vec(0i64..10_000, 0..300),
            bytes in 4096usize..20_000,
        ) {
            let mut order = Order::new(Kept::default(), Duration::from_nanos(500), bytes);
            for (sequence, nanos) in times.iter().enumerate() {
                order.report(&record(*nanos, sequence as u64)).unwrap();
                prop_assert!(order.held_bytes <= bytes);
            }
            let kept = order.finish().unwrap().0;
            let mut sequences: Vec<_> = kept.iter().map(|(_, sequence, _)| *sequence).collect();
            sequences.sort_unstable();
            prop_assert_eq!(sequences, (0..times.len() as u64).collect::<Vec<_>>());
            let in_time: Vec<_> = kept.iter().filter(|(_, _, late)| !late).collect();
            prop_assert!(in_time.is_sorted_by_key(|(nanos, ..)| *nanos));
            // A mark is never a lie: something younger stands before it.
            for (i, (nanos, _, late)) in kept.iter().enumerate() {
                let younger_before = kept[..i].iter().any(|(before, ..)| before > nanos);
                prop_assert_eq!(*late, younger_before);
            }
        }
    }

    #[test]
    fn items_of_one_time_stay_in_the_order_of_their_arrival() {
        let mut order = Order::new(Kept::default(), Duration::from_nanos(5), 1 << 20);
        (0..100).for_each(|sequence| order.report(&record(7, sequence)).unwrap());
        assert!(order.finish().unwrap().0.is_sorted_by_key(|(_, sequence, _)| *sequence));
    }

    #[test]
    fn an_input_that_falls_silent_is_handed_on_when_the_time_has_passed() {
        let mut order = Order::new(Kept::default(), Duration::from_nanos(100), 1 << 20);
        order.report(&record(1000, 0)).unwrap();
        order.advance(Time::wall(1099)).unwrap();
        assert_eq!(order.held(), 1);
        order.advance(Time::wall(1100)).unwrap();
        assert_eq!(order.held(), 0);
    }

    #[test]
    fn a_record_that_the_next_reporter_refuses_is_told_and_keeps_none_of_the_others() {
        #[derive(Default)]
        struct Choosy(Vec<u64>, u64);
        impl Reporter for Choosy {
            fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
                match item {
                    Item::Record(record) if record.sequence % 3 == 0 => return Err(ReportError::item("not this one")),
                    Item::Record(record) => self.0.push(record.sequence),
                    Item::Loss(loss) => self.1 += loss.counts.total(),
                }
                Ok(())
            }
        }
        let mut order = Order::new(Choosy::default(), Duration::ZERO, 1 << 20);
        (0..10).for_each(|nanos| order.report(&record(nanos, nanos.unsigned_abs())).unwrap());
        order.report(&record(11, 1)).unwrap();
        let next = order.finish().unwrap();
        assert_eq!((next.0.len(), next.1), (7, 4));
    }

    #[test]
    fn a_next_reporter_that_takes_nothing_now_gets_everything_later() {
        struct Stubborn(bool, Kept);
        impl Reporter for Stubborn {
            fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
                if self.0 { self.1.report(item) } else { Err(ReportError::later("not now")) }
            }
        }
        let mut order = Order::new(Stubborn(false, Kept::default()), Duration::ZERO, 4096);
        let mut taken = 0;
        while order.report(&record(taken, 0)).is_ok() {
            taken += 1;
        }
        assert!(taken > 5);
        order.next.0 = true;
        assert_eq!(order.finish().unwrap().1.0.len(), usize::try_from(taken).unwrap());
    }
}
