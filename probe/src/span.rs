//! Spans: a begin event with fields, and an end event of 8 bytes.
//!
//! Invariant: an end is recorded only where its begin was, so that neither a category that is turned on in between nor a
//! full ring makes an end of nothing.

use core::marker::PhantomData;

use crate::callsite::{Callsite, UNDESCRIBED};
use crate::value::FieldSet;

/// A span that has begun and is ended by [`span_end!`](crate::span_end!). Dropping it leaves the span open.
///
/// Not `Send`: a span ends on the stream where it began.
#[must_use = "a span that is not ended lasts to the end of the trace"]
#[derive(Debug)]
pub struct Span {
    /// The upper half of the end's header; 0 when the begin was not recorded.
    end: u32,
    not_send: PhantomData<*const ()>,
}

impl Span {
    /// A span that was not recorded.
    pub const OFF: Span = Span { end: 0, not_send: PhantomData };

    /// Records the end.
    #[inline(always)]
    pub fn end(self) {
        if self.end != 0 {
            crate::current::get().record(self.end, crate::value::Nil);
        }
    }

    /// Ends the span when the guard is dropped.
    #[inline(always)]
    pub fn guard(self) -> SpanGuard {
        SpanGuard { end: self.end, not_send: PhantomData }
    }
}

/// A span that ends when this is dropped. May be held across `.await`: spans nest per task.
#[must_use = "the span ends where this is dropped: bind it to a name, `let _span = …`"]
#[derive(Debug)]
pub struct SpanGuard {
    end: u32,
    not_send: PhantomData<*const ()>,
}

impl Drop for SpanGuard {
    #[inline(always)]
    fn drop(&mut self) {
        Span { end: self.end, not_send: PhantomData }.end();
    }
}

/// Records the begin of a span of `callsite`, which is on with `template`. For the macros.
#[inline(always)]
pub fn begin<F: FieldSet>(callsite: &'static Callsite, template: u32, fields: F) -> Span {
    let recorded = crate::current::record(callsite, template, fields);
    Span { end: if recorded { template & !UNDESCRIBED | 1 } else { 0 }, not_send: PhantomData }
}
