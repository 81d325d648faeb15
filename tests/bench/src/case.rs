//! One row of the table: how to do a round of it, and what its rounds came to.

/// What a case counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// One occurrence with its time stamp.
    Event,
    /// One change of a task's state.
    Change,
    /// A log record with its time stamp.
    Record,
    /// A begin and its end: what such a tracer's users count, and two readings of the clock.
    Span,
}

impl Unit {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Unit::Event => "event",
            Unit::Change => "change",
            Unit::Record => "record",
            Unit::Span => "span",
        }
    }
}

/// Something to measure.
pub(crate) struct Case {
    /// As `--json` names it.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    /// So many that a round is long beside the clock that times it, and short beside the scheduler's time slice.
    pub(crate) events_per_round: u64,
    pub(crate) round: Box<dyn FnMut(u64) -> Result<f64, String>>,
    pub(crate) bytes: Box<dyn FnMut() -> Result<Option<f64>, String>>,
}

impl Case {
    /// Does a round and returns nanoseconds per unit.
    pub(crate) fn round(&mut self, events: u64) -> Result<f64, String> {
        (self.round)(events).map_err(|error| format!("{}: {error}", self.name))
    }

    /// Bytes per unit, as they were found where they end up; `None` where the case has no such place.
    pub(crate) fn bytes(&mut self) -> Result<Option<f64>, String> {
        (self.bytes)().map_err(|error| format!("{}: {error}", self.name))
    }
}

/// What was measured of a case, in nanoseconds per unit.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) median: f64,
    pub(crate) p10: f64,
    pub(crate) p90: f64,
    pub(crate) rounds: usize,
    pub(crate) bytes: Option<f64>,
}

impl Row {
    pub(crate) fn new(case: &Case, mut rounds: Vec<f64>, bytes: Option<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |percent: usize| rounds.get(rounds.len() * percent / 100).copied().unwrap_or(f64::NAN);
        Row { name: case.name, unit: case.unit, median: at(50), p10: at(10), p90: at(90), rounds: rounds.len(), bytes }
    }
}

/// Repeats a statement sixteen times, so that the loop around it weighs little even where the statement is one
/// instruction. Each copy is a probe of its own.
macro_rules! sixteen {
    ($($body:tt)*) => {
        $crate::case::four! { $($body)* }
        $crate::case::four! { $($body)* }
        $crate::case::four! { $($body)* }
        $crate::case::four! { $($body)* }
    };
}
macro_rules! four {
    ($($body:tt)*) => { $($body)* $($body)* $($body)* $($body)* };
}
pub(crate) use {four, sixteen};

/// Runs `$body` in sixteens until at least `$events` events are made, `$each` per body, and gives nanoseconds per event.
macro_rules! timed {
    ($events:expr, $each:literal, |$i:ident| $($body:tt)*) => {{
        let sixteens = ($events / (16 * $each)).max(1);
        let start = std::time::Instant::now();
        for $i in 0..sixteens {
            let $i = std::hint::black_box($i);
            let _ = $i;
            $crate::case::sixteen! { $($body)* }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let nanos = start.elapsed().as_nanos() as f64 / (sixteens * 16 * $each) as f64;
        nanos
    }};
}
pub(crate) use timed;
