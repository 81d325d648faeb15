//! Which records are made: a level for each target, and one for all others.
//!
//! Rules are words, separated by commas, semicolons or blanks; both grammars that people know are read:
//!
//! | word | meaning |
//! |---|---|
//! | `info`, `*:info`, `*=info` | everything that no other rule speaks of is made up to INFO |
//! | `net:debug`, `net=debug` | the target `net` and all below it (`net::tcp`, `net.tcp`) up to DEBUG |
//! | `tcp:-`, `tcp:quiet`, `tcp=off` | nothing of it; WARN and ERROR are still counted |
//! | `my_crate::net`, or `net` where something logs as `net` | all of it |
//! | `reset` | first forget every rule |
//!
//! Levels are `app`, `error`, `warn` or `warning`, `info`, `debug`, `trace`, in any case. The longest target that fits a
//! record decides. New rules are added to those that hold, and replace those of the same target; they hold for targets that
//! register later too.
//!
//! A record of an interrupt asks the rules too, also where the code that it came into was describing something or changing
//! them. Where a thread waits for another one to do that, its signal handlers cannot ask: their records are made.
//!
//! When it is full: there is room for [`MAX_RULES`] targets of up to [`MAX_NAME_BYTES`]; what does not fit is refused with a
//! sentence, and nothing of the text is taken.
//!
//! ```
//! use fata_probe::log::rules;
//! let applied = rules::set("*:info, net:debug, tcp:-").map_err(|error| error.to_string())?;
//! assert!(applied.to_string().starts_with("ok: *:info net:debug tcp:off"));
//! assert_eq!(rules::set("net:loud").unwrap_err().to_string(), "column 5: \"loud\" is no level: write app, error, warn, info, debug, trace or off, or target:level");
//! # Ok::<(), String>(())
//! ```
#![expect(unsafe_code, reason = "the rules are a static, written under the describing lock")]

mod grammar;

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use fata_wire::field::{Kind, Level};

use crate::callsite;
use crate::describe::exclusive;
#[cfg(any(feature = "tracing", feature = "log"))]
use crate::describe::is_held_beneath;
use grammar::Rule;
#[cfg(any(feature = "tracing", feature = "log"))]
use grammar::Threshold;

pub use grammar::{MAX_NAME_BYTES, MAX_RULES, RuleError, Rules, is_within};

/// The rules in two places, of which [`CURRENT`] holds and the other is written.
struct Places([UnsafeCell<Rules>; 2]);

// SAFETY: the other place is written inside `exclusive`, which lets one at a time in, and the one that holds is read by who is
// inside or has interrupted it: see `look`.
unsafe impl Sync for Places {}

static RULES: Places = Places([const { UnsafeCell::new(Rules::NONE) }; 2]);
static CURRENT: AtomicUsize = AtomicUsize::new(0);
/// The host has stopped all recording.
static FROZEN: AtomicBool = AtomicBool::new(false);
/// The callsites' flags are not what they should be.
static STALE: AtomicBool = AtomicBool::new(false);
/// Changes with each change of the rules; never 0.
#[cfg(feature = "log")]
static GENERATION: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);
/// The most talkative level of any rule, as its number plus one; 0 is off.
static MOST: AtomicU8 = AtomicU8::new(Level::Info as u8 + 1);

/// What holds after [`set`]. Shown as one line: `ok: *:info net:debug`, and which targets nobody has so far.
#[derive(Clone, Copy)]
pub struct Applied {
    rules: Rules,
    /// A bit for each rule of whose target no callsite is known.
    unknown: u32,
}

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Applied {
    /// The targets of which no callsite is known; their rules are kept for when there is one.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let unknown = self.unknown;
        self.rules.all().iter().enumerate().filter(move |(i, _)| unknown >> i & 1 == 1).map(|(_, rule)| rule.name())
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ok: {}", self.rules)?;
        let mut names = self.unknown();
        if let Some(first) = names.next() {
            write!(f, "; nobody logs as {first}")?;
            names.try_for_each(|name| write!(f, ", {name}"))?;
            f.write_str(" so far: kept")?;
        }
        Ok(())
    }
}

/// Adds rules to those that hold, or none of them where one does not parse. In force when this returns.
///
/// Not for interrupt handlers: it looks at every callsite.
///
/// # Errors
/// [`RuleError`], with the word and its column.
pub fn set(text: &str) -> Result<Applied, RuleError<'_>> {
    let applied = exclusive(|| {
        let changed = current().with(text)?;
        let other = CURRENT.load(Ordering::Relaxed) ^ 1;
        // SAFETY: nobody else is inside `exclusive`, and an interrupt of this thread reads the place that holds.
        unsafe { *RULES.0[other & 1].get() = changed };
        // Release: pairs with the Acquire in `current`: the rules are there.
        CURRENT.store(other, Ordering::Release);
        let most = changed.all().iter().fold(changed.others, |most, rule| most.max(rule.threshold));
        MOST.store(most.map_or(0, |level| level as u8 + 1), Ordering::Relaxed);
        apply_to_callsites();
        let is_unknown = |rule: &Rule| !targets().any(|target| rule.fits(target));
        let unknown = changed.all().iter().enumerate().filter(|(_, rule)| is_unknown(rule));
        Ok(Applied { rules: changed, unknown: unknown.fold(0, |bits, (i, _)| bits | 1 << i) })
    })
    .unwrap_or(Err(RuleError::Busy))?;
    #[cfg(feature = "tracing")]
    super::subscriber::rules_changed();
    #[cfg(feature = "log")]
    super::facade::rules_changed();
    Ok(applied)
}

/// Every target that has a callsite.
fn targets() -> impl Iterator<Item = &'static str> {
    let linked = callsite::all().iter().filter(|callsite| callsite.kind == Kind::Log).map(|callsite| callsite.category);
    #[cfg(feature = "tracing")]
    let linked = linked.chain(super::table::targets());
    linked
}

/// The rules that hold. For who is inside `exclusive`, or has interrupted it.
fn current() -> &'static Rules {
    // Acquire: pairs with the Release in `set`.
    let place = &RULES.0[CURRENT.load(Ordering::Acquire) & 1];
    // SAFETY: by the caller's promise nobody else is inside `exclusive`, and code that was interrupted there writes the other
    // place.
    unsafe { &*place.get() }
}

/// Asks the rules. `None` in an interrupt of a thread that waits for another one to have described something.
#[cfg(any(feature = "tracing", feature = "log"))]
fn look<T>(at: impl Fn(&Rules) -> T) -> Option<T> {
    let look = || at(current());
    exclusive(look).or_else(|| is_held_beneath().then(look))
}

/// Whether the rules let a record through; `None` where that is not known, see [`look`].
#[cfg(feature = "tracing")]
pub(crate) fn allow(target: &str, level: Level) -> Option<bool> {
    look(|rules| rules.allow(target, level))
}

/// Whether a record is made; `None` where that is not known, see [`look`].
#[cfg(feature = "log")]
pub(crate) fn made_now(target: &str, level: Level) -> Option<bool> {
    look(|rules| is_made_by(rules, target, level))
}

/// Changes with each change of the rules.
#[cfg(feature = "log")]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Whether a record is made, now that the host may have stopped all. For who is inside `exclusive`.
pub(crate) fn is_made(target: &str, level: Level) -> bool {
    is_made_by(current(), target, level)
}

fn is_made_by(rules: &Rules, target: &str, level: Level) -> bool {
    !FROZEN.load(Ordering::Relaxed) && (target == super::summary::TARGET || rules.allow(target, level))
}

/// The most talkative level that any rule lets through; `None` is off.
#[cfg(any(feature = "tracing", feature = "log"))]
pub(crate) fn most() -> Threshold {
    MOST.load(Ordering::Relaxed).checked_sub(1).and_then(Level::from_u8)
}

/// Turns the log callsites off where the host has stopped all recording, and on again.
pub(crate) fn freeze(frozen: bool) {
    FROZEN.store(frozen, Ordering::Relaxed);
    // Where a description is being written beneath us, the next look at the host's wishes is soon enough.
    STALE.store(exclusive(apply_to_callsites).is_none(), Ordering::Relaxed);
}

/// Does what an interrupt could not.
pub(crate) fn refresh() {
    if STALE.load(Ordering::Relaxed) {
        freeze(FROZEN.load(Ordering::Relaxed));
    }
}

/// Sets every log callsite to what the rules say. The caller is inside `exclusive`.
fn apply_to_callsites() {
    #[cfg(feature = "log")]
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for callsite in callsite::all().iter().filter(|callsite| callsite.kind == Kind::Log) {
        let on = callsite.id().filter(|_| is_made(callsite.category, callsite.level));
        callsite.set_template(on.map_or(0, |id| callsite.on_template(id)));
    }
    #[cfg(feature = "tracing")]
    super::table::apply();
    // A callsite that is off now is not one that makes too many.
    crate::region::all().flat_map(crate::region::Region::slots).for_each(|slot| slot.floods.clear());
}
