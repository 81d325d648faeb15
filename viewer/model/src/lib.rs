//! A trace as data: ingest, columns, level of detail, queries.
//!
//! 1. **Decoded once.** A packet becomes columns, ticks become nanoseconds, and nothing looks at its bytes again.
//! 2. **Looking costs pixels.** What a view needs comes from pyramids of summaries, whatever lies beneath.
//! 3. **Whole at every moment.** After each packet the trace can be looked at; live and read back are the same trace.
//! 4. **Nothing is trusted.** Forged bytes are counted and said, never a panic, and memory is limited.
//! 5. **Holes are shown.** What a gap makes unknowable is called uncertain or unknown, not guessed.
//!
//! ```no_run
//! use fata_model::{ingest::Limits, lod::{View, Visible}, source};
//! let trace = source::load("trace".as_ref(), Limits::default())?;
//! let (view, mut visible) = (View { from: 0, to: trace.end(), columns: 1920 }, Visible::default());
//! for (id, track) in (0..).map(fata_model::trace::TrackId).zip(trace.tracks()) {
//!     trace.visible(id, &view, &mut visible);
//!     println!("{}: {} spans", trace.track_label(track.kind), visible.spans.len());
//! }
//! # Ok::<(), source::OpenError>(())
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | [`source`], [`live`] | where packets come from, and reading them beside a window |
//! | [`ingest`], [`description`] | packets and metadata to a trace |
//! | [`trace`] | tracks, wakes, gaps, names: what there is to see |
//! | [`guests`] | whose a number is, where there are several guests |
//! | [`columns`], [`samples`], [`pyramid`], [`lod`] | how it is kept, and what of it is visible |
//! | [`tasks`], [`lives`], [`spans`], [`objects`], [`flows`], [`wires`] | what events mean |
//! | [`logs`], [`log_losses`], [`log_filter`] | the log, what is missing from it, and what of it is asked for |
//! | [`stats`], [`histogram`], [`query`], [`dump`], [`text`] | answers |
//! | [`synthetic`], [`packets`], [`random`] | traces of things that never happened |
#![forbid(unsafe_code)]

mod args;
pub mod columns;
pub mod description;
pub mod dump;
pub mod flows;
pub mod guests;
pub mod histogram;
pub mod ingest;
pub mod live;
pub mod lives;
pub mod lod;
pub mod log_filter;
pub mod log_losses;
pub mod logs;
mod names;
pub mod objects;
pub mod packets;
pub mod pyramid;
pub mod query;
pub mod random;
pub mod repeats;
pub mod samples;
pub mod source;
pub mod spans;
pub mod stats;
pub mod streams;
pub mod synthetic;
pub mod tasks;
pub mod text;
pub mod time;
pub mod trace;
mod tracks;
mod wakes;
pub mod wires;
