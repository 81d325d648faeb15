//! Several inputs (vCPUs, guests) as one order of time.
//!
//! Invariant: what goes on is sorted by time, except for items that came more than the window after younger ones had gone on;
//! those go on at once, marked [`Record::late`]. Nothing is left out.
//!
//! An item is held until one arrives that is younger by the window, or [`Order::advance`] says that so much time has passed,
//! or everything is asked for ([`Reporter::poll_done`]). Long texts are cut, as in a front's queue ([`ITEM_BYTES`]). When what is held fills its bytes, the oldest go on early: the window
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

use crate::codec;
use crate::loss::{Cause, Loss};
use crate::queue::ITEM_BYTES;
use crate::record::Record;
use crate::reporter::{Item, ReportError, Reporter};
use crate::time::Time;

/// What an item costs beside its own bytes: its place in the tree, and the vector's three words.
const ENTRY_BYTES: usize = 96;

/// What waits to be put in its place among others, by time.
///
/// Holds what it is given: whoever gives takes out what is [due](Sorter::is_due), or everything beyond
/// [`max_bytes`](Sorter::is_over_full).
#[derive(Debug)]
pub struct Sorter<T> {
    window_nanos: i64,
    max_bytes: usize,
    /// By time, and by arrival where that is equal, so that one input's order stays.
    held: BTreeMap<(Time, u64), (T, usize)>,
    held_bytes: usize,
    arrivals: u64,
    newest: Option<Time>,
    /// The time of the youngest that was taken out.
    reached: Option<Time>,
}

impl<T> Sorter<T> {
    /// Things wait until one is younger by `window`, and take at most `max_bytes` together.
    #[must_use]
    pub fn new(window: Duration, max_bytes: usize) -> Self {
        Sorter {
            window_nanos: i64::try_from(window.as_nanos()).unwrap_or(i64::MAX),
            max_bytes,
            held: BTreeMap::new(),
            held_bytes: 0,
            arrivals: 0,
            newest: None,
            reached: None,
        }
    }

    /// Whether something of this time has no place any more: something younger has gone on.
    #[must_use]
    pub fn is_late(&self, time: Time) -> bool {
        self.reached.is_some_and(|reached| time < reached)
    }

    /// Puts something in its place, of so many bytes.
    pub fn hold(&mut self, time: Time, value: T, bytes: usize) {
        self.held_bytes += bytes;
        self.held.insert((time, self.arrivals), (value, bytes));
        self.arrivals += 1;
        self.newest = self.newest.max(Some(time));
    }

    /// Takes out again what was put in last.
    fn take_last(&mut self, time: Time) {
        if let Some((_, bytes)) = self.held.remove(&(time, self.arrivals.wrapping_sub(1))) {
            self.held_bytes -= bytes;
        }
    }

    /// The time of the youngest that ever was put in.
    #[must_use]
    pub fn newest(&self) -> Option<Time> {
        self.newest
    }

    /// Whether the oldest has waited long enough at `now`.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        let due = now.nanos.saturating_sub(self.window_nanos);
        self.held.first_key_value().is_some_and(|((time, _), _)| time.nanos <= due)
    }

    /// Whether more is held than there is to be, `more_bytes` included.
    #[must_use]
    pub fn is_over_full(&self, more_bytes: usize) -> bool {
        self.held_bytes + more_bytes > self.max_bytes && !self.held.is_empty()
    }

    /// The oldest, and its time.
    #[must_use]
    pub fn first(&self) -> Option<(Time, &T)> {
        self.held.first_key_value().map(|((time, _), (value, _))| (*time, value))
    }

    /// Takes the oldest out.
    pub fn pop(&mut self) -> Option<T> {
        let ((time, _), (value, bytes)) = self.held.pop_first()?;
        self.held_bytes -= bytes;
        self.reached = self.reached.max(Some(time));
        Some(value)
    }

    /// What is held and not younger than `time`, the oldest first.
    pub fn up_to(&mut self, time: Time) -> impl Iterator<Item = &mut T> {
        self.held.range_mut(..=(time, u64::MAX)).map(|(_, (value, _))| value)
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// Sorts what passes through it.
#[derive(Debug)]
pub struct Order<R> {
    next: R,
    max_bytes: usize,
    /// Encoded items.
    held: Sorter<Vec<u8>>,
    /// What the next reporter refused for good, and has not been told.
    refused: Option<Loss<'static>>,
}

impl<R: Reporter> Order<R> {
    /// Hands on to `next` what has waited for `window`; holds at most `max_bytes`.
    pub fn new(next: R, window: Duration, max_bytes: usize) -> Self {
        let max_bytes = max_bytes.max(4096);
        Order { next, max_bytes, held: Sorter::new(window, max_bytes), refused: None }
    }

    /// Hands on what is older than the window at `now`. For inputs that may fall silent.
    ///
    /// # Errors
    /// Those of the next reporter; what it did not take is still held.
    pub fn advance(&mut self, now: Time) -> Result<(), ReportError> {
        while self.held.is_due(now) {
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
        let Some((time, bytes)) = self.held.first() else { return Ok(()) };
        match codec::decode(bytes, |item| self.next.report(item)).unwrap_or(Ok(())) {
            Ok(()) => {}
            // The next reporter will never take this one; that must not keep it from the others.
            Err(ReportError::Item(_)) => {
                let place = "the reporter behind the sorting";
                let refused = self.refused.get_or_insert(Loss::new(Cause::Failed, place, time));
                codec::decode(bytes, |item| match item {
                    Item::Record(record) => refused.add(record.level, bytes.len() as u64, record.time),
                    Item::Loss(loss) => refused.merge(loss),
                });
            }
            Err(error) => return Err(error),
        }
        self.held.pop();
        Ok(())
    }

    fn item_bytes(&self) -> usize {
        ITEM_BYTES.min(self.max_bytes / 2)
    }

    fn hold(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let bytes = encode(item, self.item_bytes())?;
        let len = bytes.len() + ENTRY_BYTES;
        while self.held.is_over_full(len) {
            self.pass_on()?;
        }
        self.held.hold(item.time(), bytes, len);
        Ok(())
    }
}

/// The item as it waits: its long texts are cut, also where it does not wait, so that what comes behind can rely on it.
fn encode(item: &Item<'_>, item_bytes: usize) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    if !codec::encode_within(&mut bytes, item, 0, item_bytes) {
        return Err(ReportError::item(format_args!("a record of more than {item_bytes} bytes cannot be sorted")));
    }
    bytes.shrink_to_fit();
    Ok(bytes)
}

impl<R: Reporter> Reporter for Order<R> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let time = item.time();
        if self.held.is_late(time) {
            let item = match item {
                Item::Record(record) => Item::Record(Record { late: true, ..*record }),
                Item::Loss(loss) => Item::Loss(*loss),
            };
            return codec::decode(&encode(&item, self.item_bytes())?, |item| self.next.report(item)).unwrap_or(Ok(()));
        }
        self.hold(item)?;
        match self.advance(self.held.newest().unwrap_or(time)) {
            // It is held; what the next reporter does not take now, it gets with the next item.
            Ok(()) | Err(ReportError::Later(_)) => Ok(()),
            Err(error) => {
                // What is not taken is the caller's again.
                self.held.take_last(time);
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
        // What is held, one that is being taken in, and one that is taken apart on its way out.
        self.max_bytes + 4 * ITEM_BYTES + codec::decoded_bytes(ITEM_BYTES) + self.next.worst_case_bytes()
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
                prop_assert!(order.held.held_bytes <= bytes);
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
