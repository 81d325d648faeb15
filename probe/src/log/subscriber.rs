//! The subscriber of `tracing`: events become log records, spans become spans of the trace.
//!
//! `tracing` asks once per callsite what we want of it, and again when the rules change: nothing, or to be asked each time.
//! What is filtered thus costs a load. Each event's token is taken when `tracing` asks, before it has put an event together:
//! of what a record that the rate limit keeps out costs, two thirds are the way of `tracing` to here. Of WARN and ERROR we want
//! everything, since they are counted before any rule.

use core::sync::atomic::{AtomicBool, Ordering};

use fata_wire::field::Level;
use fata_wire::log::{Count, class_of};
use tracing_core::metadata::LevelFilter;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Interest, Metadata};

use super::context::{self, Context, SCRATCH_WORDS};
use super::encode::{self, Encoder};
use super::fold::{self, Candidate};
use super::limit::{Bucket, Length};
use super::payload::{Missing, Payload};
use super::slot::Slot;
use super::table::{self, Site};
use super::{Taken, rules, spans};
use crate::current::Lost;

/// The subscriber. All that it knows is in statics: there is one ring per vCPU, whoever asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscriber;

/// Whether `tracing` has asked us, and so keeps what we answered.
static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the records and spans of all code that uses `tracing` are recorded. For the application, once.
///
/// # Errors
/// `Taken` where there is another subscriber.
pub fn install() -> Result<(), Taken> {
    tracing_core::dispatcher::set_global_default(Dispatch::new(Subscriber)).map_err(|_| Taken)
}

/// Has `tracing` ask again what we want of each callsite.
pub(crate) fn rules_changed() {
    if ASKED.load(Ordering::Relaxed) {
        tracing_core::callsite::rebuild_interest_cache();
    }
}

impl tracing_core::Subscriber for Subscriber {
    fn register_callsite(&self, meta: &'static Metadata<'static>) -> Interest {
        ASKED.store(true, Ordering::Relaxed);
        interest(meta)
    }

    #[inline]
    fn enabled(&self, meta: &Metadata<'_>) -> bool {
        !is_flooding(meta) && is_enabled(meta)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        ASKED.store(true, Ordering::Relaxed);
        Some(max_level())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        context::recording(|context| spans::set_later(context, span, values));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        record(event);
    }

    fn enter(&self, span: &Id) {
        context::recording(|context| spans::enter(context, span));
    }

    fn exit(&self, span: &Id) {
        context::recording(|context| spans::exit(context, span));
    }

    fn clone_span(&self, id: &Id) -> Id {
        spans::clone(id);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        spans::close(&id)
    }
}

/// Whether the event is of a callsite that makes too many: then it is counted.
#[inline(always)]
fn is_flooding(meta: &Metadata<'_>) -> bool {
    context::with(|context| context.slot().floods.counts(key(meta), None::<fn() -> u16>))
}

/// The address by which the rate limit knows a callsite.
#[inline(always)]
fn key(meta: &Metadata<'_>) -> usize {
    core::ptr::from_ref(meta).addr()
}

/// As [`Subscriber::enabled`], where the callsite is not one that made too many a moment ago: whether one more event may be
/// made; takes its token. A callsite that is not known yet takes it when it is.
#[inline(never)]
fn is_enabled(meta: &Metadata<'_>) -> bool {
    let Some(site) = table::find(meta).filter(|_| meta.is_event()) else { return ask_the_rules(meta) };
    if is_counted(meta) {
        return true;
    }
    site.is_on()
        && context::recording(|context| {
            let is_allowed = site.bucket.allows(context.slot(), site.level(), || site.id(), key(meta), as_last);
            if is_allowed {
                context.grant(site);
            }
            is_allowed
        })
}

/// How long a record is of which nothing is known but that there was one.
fn as_last() -> (Length, u16) {
    (Length::AsLast, 0)
}

#[cold]
#[inline(never)]
fn ask_the_rules(meta: &Metadata<'_>) -> bool {
    if is_counted(meta) {
        return true;
    }
    // What cannot be asked is offered, and counted as discarded where it cannot be described either.
    rules::allow(meta.target(), table::level_of(meta)).unwrap_or(true)
}

/// What is counted before any rule.
fn is_counted(meta: &Metadata<'_>) -> bool {
    meta.is_event() && *meta.level() <= tracing_core::Level::WARN
}

pub(crate) fn interest(meta: &'static Metadata<'static>) -> Interest {
    if is_counted(meta) {
        return Interest::always();
    }
    match rules::allow(meta.target(), table::level_of(meta)) {
        Some(false) => Interest::never(),
        Some(true) if meta.is_span() => Interest::always(),
        // Where the rules cannot be asked, `tracing` asks again for each event.
        Some(true) | None => Interest::sometimes(),
    }
}

pub(crate) fn max_level() -> LevelFilter {
    match rules::most() {
        Some(Level::Trace) => LevelFilter::TRACE,
        Some(Level::Debug) => LevelFilter::DEBUG,
        // The program's own words may be written at INFO.
        Some(Level::Info | Level::App) => LevelFilter::INFO,
        Some(Level::Warn | Level::Error) => LevelFilter::INFO,
        None => LevelFilter::WARN,
    }
}

/// Makes a record of an event.
#[inline]
pub(crate) fn record(event: &Event<'_>) {
    context::recording(|context| {
        let slot = context.slot();
        let site = context.take_last_grant(event.metadata()).or_else(|| admitted(context, slot, event));
        if let Some(site) = site {
            make(context, slot, site, event);
        }
    });
}

/// The place of the event's callsite, if a record of it is to be made; otherwise it is counted.
#[inline(never)]
fn admitted(context: &Context, slot: &'static Slot, event: &Event<'_>) -> Option<&'static Site> {
    let meta = event.metadata();
    let site = match table::register(meta) {
        Ok(site) => site,
        Err(missing) => {
            miss(context, slot, event, missing);
            return None;
        }
    };
    if !site.is_on() {
        if is_counted(meta) {
            slot.count(Count::Filtered, site.class());
        }
        return None;
    }
    let is_kept_out = || {
        slot.floods.counts(key(meta), None::<fn() -> u16>)
            || !site.bucket.allows(slot, site.level(), || site.id(), key(meta), as_last)
    };
    (context.take_grant(site) || !is_kept_out()).then_some(site)
}

/// As [`record`], of a callsite whose record has its token.
#[inline]
fn make(context: &Context, slot: &'static Slot, site: &'static Site, event: &Event<'_>) {
    let (meta, of) = (event.metadata(), site.class());
    // Deeper than this only a field that logs while it is formatted comes, or an interrupt in an interrupt.
    let Some(scratch) = context.scratch() else {
        return slot.miss(of, Missing::Busy, encode::least_length(event));
    };
    let mut encoder = Encoder::new(scratch.words, meta.fields().len());
    event.record(&mut encoder);
    let encoded = encoder.end();
    let text = encoded.has_text;
    let length = Payload::words_of(encoded.words, text);
    site.bucket.note_length(length, text);
    let template = match table::template(site, meta, encoded.signature) {
        Ok(template) => template,
        Err(missing) => return slot.miss(of, missing, length),
    };
    if encoded.cut {
        slot.count_cut(of.0);
    }
    let words = &scratch.words[..encoded.words.min(SCRATCH_WORDS)];
    let (task, spans) = (context.task(), context.spans_told(slot.class(of.0)));
    if fold::folds_words(slot, of, Candidate { template, task, spans }, words) {
        return;
    }
    let payload = Payload { seq: slot.number(of), spans, words, text, task };
    if !slot.class(of.0).writer.record(template, payload) {
        slot.lose(of, Lost { words: length, is_undescribed: false });
    }
}

/// Counts a record of a callsite that has no place, as one that cannot be made. Those of a level share one rate limit, so that
/// what is said of their losses is no flood.
#[cold]
#[inline(never)]
fn miss(context: &Context, slot: &'static Slot, event: &Event<'_>, missing: Missing) {
    static OTHERS: [Bucket; Level::ALL.len()] = [const { Bucket::new() }; Level::ALL.len()];
    let level = table::level_of(event.metadata());
    let bucket = &OTHERS[level as usize];
    let key = core::ptr::from_ref(bucket).addr();
    if slot.floods.counts(key, None::<fn() -> u16>) || !bucket.allows(slot, level, || 0, key, as_last) {
        return;
    }
    let length = match context.scratch() {
        Some(scratch) => {
            let mut encoder = Encoder::new(scratch.words, event.metadata().fields().len());
            event.record(&mut encoder);
            let encoded = encoder.end();
            Payload::words_of(encoded.words, encoded.has_text)
        }
        None => encode::least_length(event),
    };
    bucket.note_length(length, true);
    slot.miss(class_of(level), missing, length);
}

/// Makes a span: encodes its fields, for when it is entered.
pub(crate) fn new_span(span: &Attributes<'_>) -> Id {
    let meta = span.metadata();
    let site = match table::register(meta) {
        Ok(site) if site.is_on() => site,
        Ok(_) => return spans::new(None),
        Err(_) => return spans::missed(),
    };
    context::with(|context: &Context| {
        let Some(scratch) = context.scratch() else { return spans::missed() };
        let room = &scratch.words[..spans::SPAN_WORDS];
        let mut encoder = Encoder::new(room, meta.fields().len());
        span.record(&mut encoder);
        let encoded = encoder.end();
        match table::template(site, meta, encoded.signature) {
            Ok(template) => {
                let payload = &room[..encoded.words.min(spans::SPAN_WORDS)];
                spans::new(Some(spans::Begin { site, template, signature: encoded.signature, payload }))
            }
            Err(_) => spans::missed(),
        }
    })
}

#[cfg(all(test, feature = "std", not(loom)))]
mod tests {
    use fata_wire::log::Account;
    use fata_wire::shared::StreamStatus;

    use super::Subscriber;
    use crate::describe::exclusive;
    use crate::region::{Config, Region};

    #[test]
    fn a_record_of_an_interrupt_of_a_description_is_discarded_and_counted_if_the_rules_would_have_it() {
        let config = Config { name: "beneath", log_streams: 2, ..Config::default() };
        let region = Region::in_memory(&config).unwrap_or_else(|error| panic!("{error}"));
        let Some(_attached) = region.attach(0) else { panic!("the stream is taken") };
        let say = || {
            tracing::debug!("kept out");
            tracing::info!("beneath");
            tracing::warn!("beneath");
        };
        tracing::subscriber::with_default(Subscriber, || {
            assert_eq!(exclusive(say), Some(()));
            let copy = region.copy();
            let Some(page) = copy.first_chunk() else { panic!("no header page") };
            let account = |stream| Account::parse(&copy[region.geometry().log_account(stream)..]);
            assert_eq!((account(1).offered, account(1).discarded), ([1, 0, 0], [1, 0, 0]));
            assert_eq!((account(2).offered, account(2).discarded), ([0, 0, 1], [0, 0, 1]));
            let by_cause = [1, 2].map(|stream| StreamStatus::parse(page, stream).discarded);
            assert_eq!(by_cause, [[0, 1, 0, 0, 0]; 2]);
        });
    }
}
