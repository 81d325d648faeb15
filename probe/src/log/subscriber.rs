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
use super::encode::Encoder;
use super::payload::Payload;
use super::table::{self, Outcome};
use super::{Taken, fold, rules, spans};

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
    context::with(|context| context.slot().floods.counts(key(meta)))
}

/// The address by which the rate limit knows a callsite.
#[inline(always)]
fn key(meta: &Metadata<'_>) -> usize {
    core::ptr::from_ref(meta).addr()
}

/// As [`Subscriber::enabled`], where the callsite is not one that made too many a moment ago.
#[inline(never)]
fn is_enabled(meta: &Metadata<'_>) -> bool {
    is_counted(meta) || is_admitted(meta)
}

/// Whether one more event may be made; takes its token. A callsite that is not known yet takes it when it is.
fn is_admitted(meta: &Metadata<'_>) -> bool {
    let Some(site) = table::find(meta).filter(|_| meta.is_event()) else { return ask_the_rules(meta) };
    site.is_on()
        && context::recording(|context| {
            let is_allowed = site.bucket.allows(context.slot(), site.level(), || site.id(), key(meta));
            if is_allowed {
                context.grant(site);
            }
            is_allowed
        })
}

#[cold]
#[inline(never)]
fn ask_the_rules(meta: &Metadata<'_>) -> bool {
    rules::allow(meta.target(), table::level_of(meta)).unwrap_or(false)
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
        // `None` is asked from within a description: `tracing` asks again for each event.
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
pub(crate) fn record(event: &Event<'_>) {
    let meta = event.metadata();
    let level = table::level_of(meta);
    let of = class_of(level);
    context::recording(|context| {
        let slot = context.slot();
        let class = slot.class(of.0);
        let Some(site) = table::register(meta) else {
            slot.number(of);
            slot.count(Count::Discarded, of);
            return;
        };
        if !site.is_on() {
            if is_counted(meta) {
                slot.count(Count::Filtered, of);
            }
            return;
        }
        let is_kept_out = || slot.floods.counts(key(meta)) || !site.bucket.allows(slot, level, || site.id(), key(meta));
        if !context.take_grant(site) && is_kept_out() {
            return;
        }
        // Deeper than this only a field that logs while it is formatted comes, or an interrupt in an interrupt.
        let recorded = context.scratch().is_some_and(|scratch| {
            let mut encoder = Encoder::new(scratch.words, meta.fields().len());
            event.record(&mut encoder);
            let encoded = encoder.end();
            let template = match table::template(site, meta, encoded.signature) {
                Outcome::Template(template) => template,
                Outcome::Busy | Outcome::NoRoom => return false,
            };
            if encoded.cut {
                slot.count_cut(of.0);
            }
            let words = &scratch.words[..encoded.words.min(SCRATCH_WORDS)];
            let task = context.task();
            if !scratch.nested {
                if class.last.repeats(template, task, words) {
                    slot.count(Count::Folded, of);
                    return true;
                }
                fold::say(slot, of.0);
                class.last.keep(template, task, words);
            }
            let text = encoded.signature.has_text();
            let payload = Payload { seq: slot.number(of), spans: context.entered.word(), words, text, task };
            if !class.writer.record(template, payload) {
                slot.count(Count::Discarded, of);
            }
            true
        });
        if !recorded {
            slot.number(of);
            slot.count(Count::Discarded, of);
        }
    });
}

/// Makes a span: encodes its fields, for when it is entered.
pub(crate) fn new_span(span: &Attributes<'_>) -> Id {
    let meta = span.metadata();
    let Some(site) = table::register(meta).filter(|site| site.is_on()) else { return spans::new(None) };
    context::with(|context: &Context| {
        let Some(scratch) = context.scratch() else { return spans::new(None) };
        let room = &scratch.words[..spans::SPAN_WORDS];
        let mut encoder = Encoder::new(room, meta.fields().len());
        span.record(&mut encoder);
        let encoded = encoder.end();
        match table::template(site, meta, encoded.signature) {
            Outcome::Template(template) => {
                let payload = &room[..encoded.words.min(spans::SPAN_WORDS)];
                spans::new(Some(spans::Begin { site, template, signature: encoded.signature, payload }))
            }
            Outcome::Busy | Outcome::NoRoom => spans::new(None),
        }
    })
}
