//! The layer: for programs whose subscriber is put together of several.
//!
//! ```
//! use tracing_subscriber::prelude::*;
//! tracing_subscriber::registry().with(fata_service::layer()).init();
//! ```
//! What the rules of Fata's log keep out is kept out here alone; other layers see what they asked for. A program without other
//! layers is better off with [`start`](crate::start) alone, which needs no registry.

use fata_probe::log::Subscriber;
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Event, Interest, LevelFilter, Metadata, Subscriber as _, subscriber};
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// Records events and spans. See [`layer`], which adds the filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layer;

/// The log's rules, as a filter of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules;

/// A layer with Fata's own rules.
#[must_use]
pub fn layer<S>() -> Filtered<Layer, Rules, S>
where
    S: subscriber::Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::Layer::with_filter(Layer, Rules)
}

impl<S> Filter<S> for Rules {
    fn enabled(&self, meta: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        Subscriber.enabled(meta)
    }

    fn callsite_enabled(&self, meta: &'static Metadata<'static>) -> Interest {
        Subscriber.register_callsite(meta)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Subscriber.max_level_hint()
    }
}

/// What we call a span of the registry.
struct Ours(Id);

/// Calls `with` on our id of the span, if we have one.
fn with_ours<S>(id: &Id, context: &Context<'_, S>, with: impl FnOnce(&Id))
where
    S: subscriber::Subscriber + for<'a> LookupSpan<'a>,
{
    if let Some(span) = context.span(id)
        && let Some(Ours(id)) = span.extensions().get::<Ours>()
    {
        with(id);
    }
}

impl<S> tracing_subscriber::Layer<S> for Layer
where
    S: subscriber::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Ours(Subscriber.new_span(attributes)));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        with_ours(id, &context, |ours| Subscriber.record(ours, values));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        Subscriber.event(event);
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        with_ours(id, &context, |ours| Subscriber.enter(ours));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        with_ours(id, &context, |ours| Subscriber.exit(ours));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        with_ours(&id, &context, |ours| {
            Subscriber.try_close(ours.clone());
        });
    }
}
