//! What the host asks for: categories, level, mode, freeze; and requests, which are lines of text.
//!
//! A probe never looks at the control page. The guest does when a packet opens, and when its scheduler calls [`poll`] and
//! [`serve`]; what it finds is folded into the callsites' own flags. Nothing there is believed beyond what it can mean: a
//! wrong mode is overwrite, a wrong category bit belongs to nobody.
//!
//! The page is the collector's, and says what is wanted as a whole. A request changes one thing ([`answer`]), and holds
//! until another request takes it back, whatever collectors come and go: a callsite is on where both want it.

mod answer;
mod mailbox;
mod watch;

use core::sync::atomic::Ordering;

use fata_wire::field::{Kind, Level};
use fata_wire::shared::{Mode, WIRE_CATEGORY, control};

use crate::callsite::{self, Callsite};
use crate::region::{self, Region};

pub use answer::answer;
pub use mailbox::{Reply, is_asked, serve};
pub(crate) use watch::Watch;

/// Categories beyond the 63rd share the last bit.
const MAX_CATEGORIES: usize = 64;

/// The categories of the program's events, in the order of their bits: that of the first callsite of each.
pub(crate) fn categories() -> impl Iterator<Item = &'static str> {
    let all = callsite::all();
    // A log record's category is its target, which the log's own rules turn on and off; a name is no event.
    let is_probe = |callsite: &Callsite| !matches!(callsite.kind, Kind::Log | Kind::Name);
    let is_first = move |i: usize, callsite: &Callsite| {
        !all[..i].iter().any(|before| is_probe(before) && before.category == callsite.category)
    };
    all.iter()
        .enumerate()
        .filter(move |(i, callsite)| is_probe(callsite) && is_first(*i, callsite))
        .map(|(_, callsite)| callsite.category)
        .take(MAX_CATEGORIES)
}

fn bit_of(category: &str) -> u64 {
    1 << categories().position(|other| other == category).unwrap_or(MAX_CATEGORIES - 1).min(MAX_CATEGORIES - 1)
}

/// Looks at the control page of every region and does what changed. Cheap when nothing did: one load each. For the
/// scheduler, when it is idle and every so often when it is not.
pub fn poll() {
    if crate::ENABLED {
        for region in region::all() {
            poll_region(region);
            watch(region);
        }
    }
}

/// A number that changes whenever a host has asked for something, such as a collector that joins: a reason to say again what
/// it cannot know. Folds in what [`poll`], or a packet that opened, has seen.
#[must_use]
pub fn generation() -> u32 {
    if !crate::ENABLED {
        return 0;
    }
    let dumps = answer::dumps();
    region::all().fold(dumps, |sum, region| sum.wrapping_add(region.generation().load(Ordering::Relaxed)))
}

pub(crate) fn poll_region(region: &Region) {
    if let Some(asked) = look(region) {
        asked.apply();
    }
}

/// Looks whether the collector that asked for discard mode still lives.
pub(crate) fn watch(region: &Region) {
    region.watch().look(region);
}

/// What a host asks of the callsites, as a whole.
pub(crate) struct Asked {
    categories: u64,
    level: u32,
    pub(crate) frozen: bool,
    /// Whether packets are to be told by what other guests call them too.
    wire: bool,
}

impl Asked {
    /// What is asked where no host has said anything: all categories, up to [`Level::Info`].
    const DEFAULT: Asked = Asked { categories: u64::MAX, level: Level::Info as u32, frozen: false, wire: false };

    /// Turns on what is asked for and what no request has turned off.
    fn apply(&self) {
        let requested = answer::requested(self.level);
        let on = !self.frozen && !requested.stopped;
        crate::log::rules::freeze(!on);
        apply(|callsite| {
            on && callsite.level as u32 <= requested.level
                && self.is_on(&requested, callsite.category, bit_of(callsite.category))
        });
    }

    /// Whether events of `category`, which has this bit, are asked for.
    fn is_on(&self, requested: &answer::Requested, category: &str, bit: u64) -> bool {
        let categories = (self.categories | requested.enabled) & !requested.disabled;
        let is_asked = category != WIRE_CATEGORY || self.wire || requested.enabled & bit != 0;
        is_asked && categories & bit != 0
    }
}

/// Takes over the mode, and says what else is asked for, if the host has changed anything.
pub(crate) fn look(region: &Region) -> Option<Asked> {
    let (generation, mode) = split(region.control_word(control::GENERATION));
    if generation == region.generation().load(Ordering::Relaxed) {
        return None;
    }
    region.generation().store(generation, Ordering::Relaxed);
    region.set_mode(if mode == Mode::Discard as u32 { Mode::Discard } else { Mode::Overwrite });
    region.watch().reset(region);
    Some(asked(region))
}

/// What the control page says now, whether it has changed or not.
fn asked(region: &Region) -> Asked {
    if region.generation().load(Ordering::Relaxed) == 0 {
        return Asked::DEFAULT;
    }
    let (level, freeze) = split(region.control_word(control::LEVEL));
    let (wire, _) = split(region.control_word(control::WIRE));
    Asked { categories: region.control_word(control::CATEGORIES), level, frozen: freeze == 1, wire: wire == 1 }
}

#[expect(clippy::cast_possible_truncation, reason = "the low and the high half of a word")]
fn split(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Turns on what is on in a region that no host has seen yet.
pub(crate) fn apply_defaults() {
    Asked::DEFAULT.apply();
}

fn apply(on: impl Fn(&Callsite) -> bool) {
    for callsite in callsite::all().iter().filter(|callsite| callsite.kind != Kind::Log) {
        let template = match callsite.id() {
            // A name is no event: its template only holds its id.
            Some(id) if callsite.kind == Kind::Name || on(callsite) => callsite.on_template(id),
            _ => 0,
        };
        callsite.set_template(template);
    }
}
