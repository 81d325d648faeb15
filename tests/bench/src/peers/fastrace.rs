//! fastrace: local spans beneath one root, and a reporter that drops what it is given.

use fastrace::collector::{Config, Reporter, SpanContext, SpanRecord};
use fastrace::prelude::{LocalSpan, Span};

use super::Server;
use crate::case::timed;

struct Nowhere;

impl Reporter for Nowhere {
    fn report(&mut self, spans: Vec<SpanRecord>) {
        std::hint::black_box(spans);
    }
}

/// Starts its collector. `before` each round something else is done.
pub(super) fn server(before: fn()) -> Server {
    fastrace::set_reporter(Nowhere, Config::default());
    Box::new(move |events| {
        before();
        let nanos = {
            let root = Span::root("bench.root", SpanContext::random());
            let _parent = root.set_local_parent();
            // A local parent keeps 10240 spans at most, and the rest costs nothing since it is not kept.
            timed!(events, 1, |i| {
                let _span = LocalSpan::enter_with_local_parent("bench.span");
            })
        };
        fastrace::flush();
        Ok((nanos, None))
    })
}
