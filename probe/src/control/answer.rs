//! What a request does: the part of the answers that any program with probes can give.
//!
//! ```
//! use fata_probe::control::{Reply, answer};
//! let mut reply = Reply::new();
//! answer("mode sideways", &mut reply);
//! assert_eq!(reply.text(), "error: mode wants overwrite|discard after it");
//! ```

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use fata_wire::field::Level;
use fata_wire::request::Request;
use fata_wire::shared::Mode;

use super::mailbox::Reply;
use super::{MAX_CATEGORIES, categories};
use crate::region::{self, Region};
use crate::{Kind, event};

static STOPPED: AtomicBool = AtomicBool::new(false);
/// A bit per category.
static TURNED_ON: AtomicU64 = AtomicU64::new(0);
static TURNED_OFF: AtomicU64 = AtomicU64::new(0);
/// The level that a request has asked for, 0 for none; it holds until a collector asks for another.
static LEVEL: AtomicU32 = AtomicU32::new(0);
/// What the control page asked for when a request last said otherwise.
static LEVEL_THEN: AtomicU32 = AtomicU32::new(0);
static DUMPS: AtomicU32 = AtomicU32::new(0);

/// What requests have changed.
pub(super) struct Requested {
    pub(super) stopped: bool,
    pub(super) enabled: u64,
    pub(super) disabled: u64,
    pub(super) level: u32,
}

/// What requests have changed, where the control page asks for `page_level`.
pub(super) fn requested(page_level: u32) -> Requested {
    let level = match LEVEL.load(Ordering::Relaxed) {
        0 => page_level,
        _ if LEVEL_THEN.load(Ordering::Relaxed) != page_level => {
            LEVEL.store(0, Ordering::Relaxed);
            page_level
        }
        level => level - 1,
    };
    Requested {
        stopped: STOPPED.load(Ordering::Relaxed),
        enabled: TURNED_ON.load(Ordering::Relaxed),
        disabled: TURNED_OFF.load(Ordering::Relaxed),
        level,
    }
}

/// How often a request has asked that all be said again.
pub(super) fn dumps() -> u32 {
    DUMPS.load(Ordering::Relaxed)
}

/// Does what `line` asks for and says so, in lines that begin with `ok` or `error:`.
///
/// To be called by whoever may record, on the vCPU whose stream is to be flushed.
pub fn answer(line: &str, reply: &mut Reply) {
    let request = match Request::parse(line) {
        Ok(request) => request,
        Err(error) => return say(reply, format_args!("error: {error}")),
    };
    let Some(region) = region::all().next() else {
        return say(reply, format_args!("error: this guest records nothing: build it with the feature `profiling`"));
    };
    match request {
        Request::Ping => say(reply, format_args!("ok")),
        Request::Start => {
            STOPPED.store(false, Ordering::Relaxed);
            say(reply, format_args!("ok: recording"));
        }
        Request::Stop => {
            crate::current::get().flush();
            crate::log::slot::get().flush();
            STOPPED.store(true, Ordering::Relaxed);
            say(reply, format_args!("ok: stopped; `start` goes on"));
        }
        Request::Freeze => {
            STOPPED.store(true, Ordering::Relaxed);
            say(reply, format_args!("ok: frozen; `start` goes on"));
        }
        Request::Flush => {
            crate::current::get().flush();
            crate::log::slot::get().flush();
            say(reply, format_args!("ok: all that was recorded is in sealed packets"));
        }
        Request::Mode(mode) => {
            region.set_mode(mode);
            say(reply, format_args!("ok: {}, until a collector comes or goes", mode_text(mode)));
        }
        Request::Enable(category) => turn(category, true, reply),
        Request::Disable(category) => turn(category, false, reply),
        Request::Level(rules) => set_level(region, rules, reply),
        Request::Mark(text) => mark(text, reply),
        Request::Dump => {
            DUMPS.fetch_add(1, Ordering::Relaxed);
            crate::current::get().flush();
            crate::log::slot::get().flush();
            dump(region, reply);
        }
    }
    super::asked(region).apply();
}

fn say(reply: &mut Reply, text: core::fmt::Arguments<'_>) {
    // A reply takes what fits.
    let _ = reply.write_fmt(text);
}

fn turn(category: &str, on: bool, reply: &mut Reply) {
    let Some(bit) = categories().position(|known| known == category) else {
        say(reply, format_args!("error: this guest has no category {category:?}; it has"));
        for (i, known) in categories().enumerate() {
            say(reply, format_args!("{} {known}", if i == 0 { "" } else { "," }));
        }
        return;
    };
    let bit = 1 << bit.min(MAX_CATEGORIES - 1);
    let (to, from) = if on { (&TURNED_ON, &TURNED_OFF) } else { (&TURNED_OFF, &TURNED_ON) };
    to.fetch_or(bit, Ordering::Relaxed);
    from.fetch_and(!bit, Ordering::Relaxed);
    say(reply, format_args!("ok: {category} is {}", if on { "on" } else { "off" }));
}

/// The rules of the log; where they are one level alone, that of all other events too.
fn set_level(region: &Region, rules: &str, reply: &mut Reply) {
    match crate::log::rules::set(rules) {
        Ok(applied) => say(reply, format_args!("{applied}")),
        Err(error) => return say(reply, format_args!("error: {error}")),
    }
    if let Some(level) = Level::from_text(rules) {
        LEVEL_THEN.store(super::asked(region).level, Ordering::Relaxed);
        LEVEL.store(level as u32 + 1, Ordering::Relaxed);
        say(reply, format_args!("; events up to {} are on", level.text()));
    }
}

#[cfg_attr(feature = "profiling", expect(unsafe_code, reason = "the probe's own link section"))]
fn mark(text: &str, reply: &mut Reply) {
    if event!(Kind::Instant, "fata.mark", text = text) {
        say(reply, format_args!("ok: marked"));
    } else if STOPPED.load(Ordering::Relaxed) {
        say(reply, format_args!("error: nothing is recorded: `start` first"));
    } else {
        say(reply, format_args!("error: there is no room for the mark, or the category fata is off"));
    }
}

/// What is on, and how much was recorded; a line per stream.
fn dump(region: &Region, reply: &mut Reply) {
    let asked = super::asked(region);
    let requested = requested(asked.level);
    let state = if requested.stopped || asked.frozen { "stopped" } else { "recording" };
    let level = Level::ALL.iter().rfind(|known| **known as u32 <= requested.level).map_or("none", |level| level.text());
    say(reply, format_args!("ok: {state}, {}, up to {level}", mode_text(region.mode())));
    for stream in 0..region.geometry().stream_count {
        let (recorded, discarded) = region.recorded(stream);
        say(reply, format_args!("\nstream {stream}: {recorded} events recorded, {discarded} discarded"));
    }
    say(reply, format_args!("\ncategories:"));
    for (bit, category) in categories().enumerate() {
        let mark = if asked.is_on(&requested, category, 1 << bit) { " " } else { " -" };
        say(reply, format_args!("{mark}{category}"));
    }
}

const fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Overwrite => "overwrite",
        Mode::Discard => "discard",
    }
}
