//! Reporters made of reporters: both, only some records, from a level on, and a second one for when the first fails.
//!
//! Invariant: what a filter leaves out is not lost, since the application asked for it; losses pass every filter. What one
//! branch alone could not take is counted there, and told there when it works again.
//!
//! ```
//! use fata_reporters::combine::{Filter, Tee, UpTo};
//! use fata_reporters::{Item, Level, Record, ReportError, Reporter};
//!
//! struct Last(Option<Level>);
//! impl Reporter for Last {
//!     fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
//!         self.0 = Some(item.level());
//!         Ok(())
//!     }
//! }
//! let (mut all, mut bad) = (Last(None), Last(None));
//! let mut tee = Tee::new(&mut all, Filter::new(&mut bad, UpTo(Level::Warn)));
//! tee.report(&Item::Record(Record { level: Level::Debug, ..Record::BLANK })).unwrap();
//! drop(tee);
//! assert_eq!((all.0, bad.0), (Some(Level::Debug), None));
//! ```

use core::fmt;
use core::task::{Context, Poll};

use fata_wire::field::Level;

use crate::loss::{Cause, Loss};
use crate::record::{Field, MESSAGE, Record, Value};
use crate::reporter::{Item, ReportError, Reporter};
use crate::text::Text;
use crate::time::Time;

/// The target of what reporters have to say themselves.
pub const OWN_TARGET: &str = "fata.reporters";

/// What a [`Filter`] hands on.
pub trait Wanted {
    /// Whether this record is.
    fn wants(&mut self, record: &Record<'_>) -> bool;
}

impl<F: FnMut(&Record<'_>) -> bool> Wanted for F {
    fn wants(&mut self, record: &Record<'_>) -> bool {
        self(record)
    }
}

/// Records of this level and more severe ones; the program's own words always are.
#[derive(Clone, Copy, Debug)]
pub struct UpTo(pub Level);

impl Wanted for UpTo {
    fn wants(&mut self, record: &Record<'_>) -> bool {
        record.level <= self.0
    }
}

/// Hands only some records on.
pub struct Filter<R, W> {
    reporter: R,
    wanted: W,
}

impl<R, W> Filter<R, W> {
    /// Records that `wanted` wants go to `reporter`.
    pub const fn new(reporter: R, wanted: W) -> Self
    where
        W: Wanted,
    {
        Filter { reporter, wanted }
    }
}

impl<R: fmt::Debug, W> fmt::Debug for Filter<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.reporter).finish()
    }
}

impl<R: Reporter, W: Wanted> Reporter for Filter<R, W> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        match item {
            Item::Record(record) if !self.wanted.wants(record) => Ok(()),
            _ => self.reporter.report(item),
        }
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.reporter.poll_ready(cx)
    }
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.reporter.poll_done(cx)
    }
    fn worst_case_bytes(&self) -> usize {
        self.reporter.worst_case_bytes()
    }
}

/// Hands everything to both.
#[derive(Debug)]
pub struct Tee<A, B> {
    first: Branch<A>,
    second: Branch<B>,
}

impl<A, B> Tee<A, B> {
    /// `first` and `second` each get everything. An item that one of them takes is taken.
    pub const fn new(first: A, second: B) -> Self {
        Tee { first: Branch::new(first), second: Branch::new(second) }
    }
}

/// Hands everything on, and counts what is not taken: for whoever has nobody else to give it to. What was counted is told
/// before the next item that is taken, and at the end.
#[derive(Debug)]
pub struct Counting<R>(Branch<R>);

impl<R> Counting<R> {
    /// Everything goes to `reporter`, which calls itself `place` where it did not take something.
    pub const fn new(reporter: R, place: &'static str) -> Self {
        Counting(Branch { reporter, place, missed: None })
    }
}

impl<R: Reporter> Reporter for Counting<R> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        if self.0.report(item).is_err() {
            self.0.miss(item);
        }
        Ok(())
    }
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.0.reporter.poll_ready(cx)
    }
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        self.0.poll_done(cx)
    }
    fn worst_case_bytes(&self) -> usize {
        self.0.reporter.worst_case_bytes()
    }
}

/// One of several reporters, with what it alone could not take.
#[derive(Debug)]
struct Branch<R> {
    reporter: R,
    place: &'static str,
    missed: Option<Loss<'static>>,
}

impl<R> Branch<R> {
    const fn new(reporter: R) -> Self {
        Branch { reporter, place: "this one of several reporters", missed: None }
    }

    fn miss(&mut self, item: &Item<'_>) {
        let missed = self.missed.get_or_insert(Loss::new(Cause::Failed, self.place, item.time()));
        match item {
            Item::Record(record) => missed.add(record.level, record.least_bytes(), record.time),
            Item::Loss(loss) => missed.merge(loss),
        }
    }
}

impl<R: Reporter> Branch<R> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        if let Some(missed) = self.missed {
            self.reporter.report(&Item::Loss(missed))?;
            self.missed = None;
        }
        self.reporter.report(item)
    }

    /// At the end of what there is to report, what was missed is told too.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        if let Some(missed) = self.missed
            && self.reporter.report(&Item::Loss(missed)).is_ok()
        {
            self.missed = None;
        }
        self.reporter.poll_done(cx)
    }
}

impl<A: Reporter, B: Reporter> Reporter for Tee<A, B> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        match (self.first.report(item), self.second.report(item)) {
            (Ok(()), Ok(())) => {}
            (Err(_), Ok(())) => self.first.miss(item),
            (Ok(()), Err(_)) => self.second.miss(item),
            (Err(error @ ReportError::Never(_)), Err(other)) => {
                return Err(if matches!(other, ReportError::Never(_)) { error } else { other });
            }
            (Err(error), Err(_)) => return Err(error),
        }
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        match (self.first.reporter.poll_ready(cx), self.second.reporter.poll_ready(cx)) {
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
            (Poll::Ready(first), Poll::Ready(second)) => Poll::Ready(first.or(second)),
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        match (self.first.poll_done(cx), self.second.poll_done(cx)) {
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
            (Poll::Ready(first), Poll::Ready(second)) => Poll::Ready(first.and(second)),
        }
    }

    fn worst_case_bytes(&self) -> usize {
        self.first.reporter.worst_case_bytes() + self.second.reporter.worst_case_bytes()
    }
}

/// Goes to the second reporter while the first fails, and says so on both.
#[derive(Debug)]
pub struct Fallback<A, B> {
    first: A,
    second: B,
    /// Items that went to the second since the first failed; `None` while it works.
    diverted: Option<u64>,
}

impl<A, B> Fallback<A, B> {
    /// `first`, and `second` for what it does not take.
    pub const fn new(first: A, second: B) -> Self {
        Fallback { first, second, diverted: None }
    }
}

/// Says `sentence` as a record of the reporters' own.
fn say(reporter: &mut impl Reporter, time: Time, sentence: &str) -> Result<(), ReportError> {
    let fields = [Field { name: MESSAGE, value: Value::Str(sentence.as_bytes()) }];
    let level = Level::Warn;
    reporter.report(&Item::Record(Record { time, level, target: OWN_TARGET, fields: &fields, ..Record::BLANK }))
}

impl<A: Reporter, B: Reporter> Reporter for Fallback<A, B> {
    fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
        let tried = match self.diverted {
            // Before its first record, the first reporter is told what it does not have.
            Some(count) => {
                let sentence =
                    Text::<116>::of(format_args!("works again; {count} items went to the fallback meanwhile"));
                say(&mut self.first, item.time(), sentence.as_str())
            }
            None => Ok(()),
        };
        let error = match tried.and_then(|()| self.first.report(item)) {
            Ok(()) => {
                self.diverted = None;
                return Ok(());
            }
            // The fault of the item alone is no reason to move all others.
            Err(error @ ReportError::Item(_)) => return self.second.report(item).map_err(|_| error),
            Err(error) => error,
        };
        if self.diverted.is_none() {
            let sentence = Text::<200>::of(format_args!("{error}; records come here from now on"));
            say(&mut self.second, item.time(), sentence.as_str())?;
        }
        self.second.report(item)?;
        self.diverted = Some(self.diverted.unwrap_or(0) + 1);
        Ok(())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        match self.first.poll_ready(cx) {
            Poll::Ready(Err(_)) => self.second.poll_ready(cx),
            other => other,
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReportError>> {
        let second = self.second.poll_done(cx);
        match (self.first.poll_done(cx), self.diverted) {
            // That the first one fails has been said; what it did not take has arrived at the second.
            (_, Some(_)) => second,
            (Poll::Pending, None) => Poll::Pending,
            (Poll::Ready(first), None) => second.map(|second| first.and(second)),
        }
    }

    fn worst_case_bytes(&self) -> usize {
        self.first.worst_case_bytes() + self.second.worst_case_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// Keeps what it takes; fails as long as it is told to.
    #[derive(Default)]
    struct Kept {
        lines: Vec<String>,
        fails: bool,
    }

    impl Reporter for Kept {
        fn report(&mut self, item: &Item<'_>) -> Result<(), ReportError> {
            if self.fails {
                return Err(ReportError::later("the cable is out"));
            }
            self.lines.push(match item {
                Item::Record(record) => match record.message() {
                    Some(message) => String::from_utf8_lossy(message).into_owned(),
                    None => record.sequence.to_string(),
                },
                Item::Loss(loss) => std::format!("loss of {}", loss.counts.total()),
            });
            Ok(())
        }
    }

    fn item(sequence: u64) -> Item<'static> {
        Item::Record(Record { sequence, ..Record::BLANK })
    }

    #[test]
    fn a_branch_that_failed_alone_is_told_what_it_missed_before_it_goes_on() {
        let mut tee = Tee::new(Kept::default(), Kept::default());
        for sequence in 0..4 {
            tee.second.reporter.fails = sequence == 1 || sequence == 2;
            tee.report(&item(sequence)).unwrap();
        }
        assert_eq!(tee.first.reporter.lines, ["0", "1", "2", "3"]);
        assert_eq!(tee.second.reporter.lines, ["0", "loss of 2", "3"]);
    }

    #[test]
    fn what_nobody_took_is_told_before_the_next_that_is_taken_and_at_the_end() {
        let mut counting = Counting::new(Kept::default(), "the far end");
        for sequence in 0..7 {
            counting.0.reporter.fails = (1..4).contains(&sequence) || sequence > 4;
            counting.report(&item(sequence)).unwrap();
        }
        assert_eq!(counting.0.reporter.lines, ["0", "loss of 3", "4"]);
        counting.0.reporter.fails = false;
        let done = counting.poll_done(&mut Context::from_waker(core::task::Waker::noop()));
        assert_eq!((done, counting.0.reporter.lines.last().unwrap().as_str()), (Poll::Ready(Ok(())), "loss of 2"));
    }

    #[test]
    fn an_item_that_no_branch_takes_is_still_the_callers() {
        let (mut a, mut b) = (Kept { fails: true, ..Kept::default() }, Kept { fails: true, ..Kept::default() });
        let mut tee = Tee::new(&mut a, &mut b);
        assert!(matches!(tee.report(&item(0)), Err(ReportError::Later(_))));
        assert!(tee.first.missed.is_none() && tee.second.missed.is_none());
    }

    #[test]
    fn a_fallback_takes_over_says_why_and_gives_back_saying_how_many() {
        let mut chain = Fallback::new(Kept::default(), Kept::default());
        for sequence in 0..6 {
            chain.first.fails = (2..4).contains(&sequence);
            chain.report(&item(sequence)).unwrap();
        }
        assert_eq!(chain.first.lines, ["0", "1", "works again; 2 items went to the fallback meanwhile", "4", "5"]);
        assert_eq!(chain.second.lines, ["the cable is out; records come here from now on", "2", "3"]);
    }

    #[test]
    fn filters_leave_out_records_and_never_a_loss() {
        let mut kept = Kept::default();
        let wanted = |record: &Record<'_>| record.sequence != 1;
        let mut chain = Filter::new(Filter::new(&mut kept, wanted), UpTo(Level::Warn));
        for (sequence, level) in [(0, Level::Warn), (1, Level::Error), (2, Level::Info), (3, Level::App)] {
            chain.report(&Item::Record(Record { sequence, level, ..Record::BLANK })).unwrap();
        }
        chain.report(&Item::Loss(Loss::new(Cause::Full, "x", Time::wall(0)))).unwrap();
        assert_eq!(kept.lines, ["0", "3", "loss of 0"]);
    }
}
