//! puffin: scopes in a frame that ends after each round; a frame that no view keeps is dropped.

use super::Server;
use crate::case::timed;

/// Turns scopes on. `before` each round something else is done.
pub(super) fn server(before: fn()) -> Server {
    puffin::set_scopes_on(true);
    puffin::GlobalProfiler::lock().new_frame();
    Box::new(move |events| {
        before();
        let nanos = {
            puffin::profile_scope!("bench.root");
            timed!(events, 1, |i| {
                {
                    puffin::profile_scope!("bench.span");
                }
            })
        };
        puffin::GlobalProfiler::lock().new_frame();
        Ok((nanos, None))
    })
}
