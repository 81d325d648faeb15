//! The facade of the crate `log`: what is said by `log::info!` and its like becomes a record as any other.
//!
//! `log` knows nothing of callsites: each record brings its target, file and line as texts, which therefore travel with it.
//! Whether a rule lets it through, and how many of it are allowed, stands in a table by what it brings.
//!
//! **When the table is full** ([`SITES`] places in the source), further ones ask the rules each time and share one rate limit
//! a level. A text longer than [`MESSAGE_BYTES`] is cut, which its mark says and the account counts.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use fata_wire::field::{Kind, Level};
use fata_wire::log::{FILE, LINE, MESSAGE, SEQ, SPANS, TARGET, TASK};
use log::{LevelFilter, Log, Metadata, Record};

use super::limit::Bucket;
use super::pairs::Pairs;
use super::payload::Missing;
use super::sentence::Sentence;
use super::summary::TARGET as TARGET_OF_ALL;
use super::text::Text;
use super::{Taken, context, places, rules};
use crate::callsite::{Callsite, UNDESCRIBED};
use crate::describe::{Outcome, describe};
use crate::value::{Cons, Nil, TaskId};

/// How many places in the source are known.
const SITES: usize = if cfg!(feature = "std") { 1024 } else { 128 };
/// So many places are tried before one counts as unknown.
const TRIES: usize = 8;
/// The longest text.
const MESSAGE_BYTES: usize = 1500;
/// Of a record with key-values, the room for its file and for its target, and for everything.
const NAME_WORDS: usize = 32;
const PAIRED_WORDS: usize = 1 + 2 * NAME_WORDS + MESSAGE_BYTES / 8 + super::pairs::WORDS;
const _: () = assert!(1 + 2 * NAME_WORDS + MESSAGE_BYTES / 8 <= context::SCRATCH_WORDS, "a record fits the scratch");

/// From now on the records of all code that uses the crate `log` are recorded. For the application, once.
///
/// # Errors
/// `Taken` where there is another logger.
pub fn install_facade() -> Result<(), Taken> {
    log::set_logger(&Facade).map_err(|_| Taken)?;
    rules_changed();
    Ok(())
}

/// Tells `log` which levels it need not ask about. Warnings are counted before any rule.
pub(crate) fn rules_changed() {
    let most = rules::most().map_or(LevelFilter::Warn, |level| match level {
        Level::Trace => LevelFilter::Trace,
        Level::Debug => LevelFilter::Debug,
        // The program's own words may be written at INFO.
        Level::Info | Level::App | Level::Warn | Level::Error => LevelFilter::Info,
    });
    log::set_max_level(most);
}

struct Facade;

impl Log for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = level_of(metadata);
        metadata.level() <= log::Level::Warn || rules::made_now(metadata.target(), level).unwrap_or(true)
    }

    fn log(&self, record: &Record<'_>) {
        let level = level_of(record.metadata());
        let hash = hash(record);
        let site = site(hash);
        let made = match site {
            Some(site) => site.is_on(record.target(), level),
            None => rules::made_now(record.target(), level).unwrap_or(true),
        };
        if !made {
            return super::filtered(level);
        }
        let callsite = callsite(level);
        let Some(template) = callsite.enabled() else { return super::filtered(level) };
        let bucket = site.map_or_else(|| &OTHERS[level as usize], |site| &site.bucket);
        // Places that share a bucket are told of by the callsite of their level.
        let id = || site.and_then(|_| places::id_of(record, level, hash)).or(callsite.id()).unwrap_or(0);
        if !super::record::is_admitted(bucket, level, id) {
            return;
        }
        if record.key_values().count() > 0 {
            return with_pairs(record, bucket, level);
        }
        if encoded(record, bucket, callsite, level, template) {
            return;
        }
        let mut message = Sentence::<MESSAGE_BYTES>::new();
        let text = match record.args().as_str() {
            Some(text) => text,
            None => {
                // A text that is too long is cut, which its mark says and the account counts.
                let _ = message.write_fmt(*record.args());
                message.text()
            }
        };
        let (file, line) = (record.file().unwrap_or(""), record.line().unwrap_or(0));
        let texts = Cons(record.target(), Cons(text, Nil));
        let fields = Cons(context::with(context::Context::spans), Cons(line, Cons(file, texts)));
        super::record::admitted(callsite, bucket, level, template, message.is_cut(), fields);
    }

    fn flush(&self) {}
}

/// Number, task, spans, line, file, target, message.
type Fields =
    Cons<u64, Cons<TaskId, Cons<u64, Cons<u32, Cons<&'static str, Cons<&'static str, Cons<&'static str, Nil>>>>>>>;

/// A record that is encoded where the thread has room for that; `false` where it has not, and nothing was done.
#[inline]
fn encoded(
    record: &Record<'_>,
    bucket: &'static Bucket,
    callsite: &'static Callsite,
    level: Level,
    template: u32,
) -> bool {
    context::recording(|context| {
        let Some(scratch) = context.scratch() else { return false };
        let (used, is_cut) = without_pairs(record, scratch.words);
        let template = match template & UNDESCRIBED {
            0 => Ok(template),
            _ => described(callsite),
        };
        super::record::encoded(context, bucket, level, template, &scratch.words[..used], is_cut);
        true
    })
}

/// Encodes line, file, target and message to the begin of `words`: how many they take, and whether one was cut.
#[inline]
fn without_pairs(record: &Record<'_>, words: &[AtomicU64]) -> (usize, bool) {
    let (mut used, mut is_cut) = (1, false);
    words[0].store(record.line().unwrap_or(0).into(), Ordering::Relaxed);
    let mut add = |room: usize, write: &mut dyn FnMut(&mut Text<'_>)| {
        let mut text = Text::new(&words[used..][..room]);
        write(&mut text);
        let (len, was_cut) = text.end();
        used += len;
        is_cut |= was_cut;
    };
    add(NAME_WORDS, &mut |text| text.add(record.file().unwrap_or("")));
    add(NAME_WORDS, &mut |text| text.add(record.target()));
    add(MESSAGE_BYTES / 8, &mut |text| match record.args().as_str() {
        Some(all) => text.add(all),
        // A text that is full ends the formatting, which its mark says.
        None => _ = text.write_fmt(*record.args()),
    });
    (used, is_cut)
}

/// The template of a callsite that is reached for the first time.
#[cold]
#[inline(never)]
fn described(callsite: &'static Callsite) -> Result<u32, Missing> {
    match describe(callsite, crate::value::types::<Fields>) {
        Outcome::Described(template) => Ok(template),
        Outcome::Busy => Err(Missing::Busy),
        Outcome::NoRoom => Err(Missing::NoRoom),
    }
}

/// A record with key-values, all of whose fields are encoded beside the ring.
#[inline(never)]
fn with_pairs(record: &Record<'_>, bucket: &'static Bucket, level: Level) {
    let words = [const { AtomicU64::new(0) }; PAIRED_WORDS];
    let pairs = Pairs::of(level, record.key_values());
    let (mut used, is_cut) = without_pairs(record, &words);
    for (to, from) in words[used..].iter().zip(pairs.words()) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        used += 1;
    }
    super::record::admitted_words(bucket, level, pairs.template(level), &words[..used], is_cut || pairs.is_cut);
}

/// The level of a record; those of the targets `app` and `app::…` are the program's own words.
fn level_of(metadata: &Metadata<'_>) -> Level {
    match metadata.level() {
        log::Level::Error => Level::Error,
        log::Level::Warn => Level::Warn,
        _ if super::is_app(metadata.target()) => Level::App,
        log::Level::Info => Level::Info,
        log::Level::Debug => Level::Debug,
        log::Level::Trace => Level::Trace,
    }
}

/// What is known of one place in the source.
struct Site {
    /// Its hash; 0 is a free place.
    hash: AtomicU64,
    /// Whether its records are made, in the lowest bit, and above it the rules' generation when that was found out.
    on: AtomicU32,
    bucket: Bucket,
}

static TABLE: [Site; SITES] =
    [const { Site { hash: AtomicU64::new(0), on: AtomicU32::new(0), bucket: Bucket::new() } }; SITES];
/// What the table takes.
pub(crate) const BYTES: usize = size_of::<[Site; SITES]>();
/// The buckets of places that are not known, by level.
static OTHERS: [Bucket; 6] = [const { Bucket::new() }; 6];

impl Site {
    fn is_on(&'static self, target: &str, level: Level) -> bool {
        let generation = rules::generation() << 1;
        let known = self.on.load(Ordering::Relaxed);
        if known & !1 == generation {
            return known & 1 == 1;
        }
        // Where the rules cannot be asked the record is made, and the next one asks again.
        let Some(made) = rules::made_now(target, level) else { return true };
        self.on.store(generation | u32::from(made), Ordering::Relaxed);
        made
    }
}

fn site(hash: u64) -> Option<&'static Site> {
    let start = usize::try_from(hash >> 32).unwrap_or(0);
    (0..TRIES).map(|i| &TABLE[(start + i) % SITES]).find(|site| {
        let known = site.hash.load(Ordering::Relaxed);
        known == hash
            || known == 0
                && match site.hash.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => true,
                    Err(now) => now == hash,
                }
    })
}

/// What tells two places apart; never 0. The address of a target that lives for ever stands for its text.
fn hash(record: &Record<'_>) -> u64 {
    // As rustc's own tables do it: multiply, and turn what is well mixed into the place of what is not.
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let (target, line) = (record.target(), u64::from(record.line().unwrap_or(0)));
    let file = record.file_static().map_or(0, |file| file.as_ptr().addr() as u64);
    let place = mix(mix(0, file), line << 8 | record.level() as u64);
    let is_static = record.module_path_static().is_some_and(|path| core::ptr::eq(path, target));
    let hash = match is_static {
        true => mix(place, target.as_ptr().addr() as u64),
        false => target.bytes().fold(place, |hash, byte| mix(hash, u64::from(byte))),
    };
    hash | 1
}

macro_rules! callsites {
    ($($name:ident $level:ident),+) => {
        $(
            #[used]
            #[unsafe(link_section = "fata_callsites")]
            #[expect(unsafe_code, reason = "a callsite lies in the linker's section of callsites")]
            static $name: Callsite = Callsite::new(
                // No rule turns these off: rules are about the targets that the records bring.
                Kind::Log, Level::$level, TARGET_OF_ALL, "log", "", 0, &[SEQ, TASK, SPANS, LINE, FILE, TARGET, MESSAGE],
            );
        )+
        /// The callsite of all records of this level.
        fn callsite(level: Level) -> &'static Callsite {
            match level {
                $(Level::$level => &$name,)+
            }
        }
    };
}

callsites!(APP App, ERROR Error, WARN Warn, INFO Info, DEBUG Debug, TRACE Trace);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_interrupt_of_a_description_is_made_or_counted() {
        use crate::region::{Config, Region};
        let config = Config { name: "facade", log_streams: 2, ..Config::default() };
        let region = Region::in_memory(&config).unwrap_or_else(|error| panic!("{error}"));
        let Some(_attached) = region.attach(0) else { panic!("the stream is taken") };
        let say = |line| {
            for level in [log::Level::Info, log::Level::Debug] {
                Facade.log(&Record::builder().level(level).target("beneath").line(Some(line)).build());
            }
        };
        let account = || {
            let copy = region.copy();
            let account = fata_wire::log::Account::parse(&copy[region.geometry().log_account(1)..]);
            (account.offered, account.discarded)
        };
        assert_eq!(crate::describe::exclusive(|| say(1)), Some(()));
        assert_eq!(account(), ([1, 0, 0], [1, 0, 0]));
        say(2);
        assert_eq!(crate::describe::exclusive(|| say(3)), Some(()));
        assert_eq!(account(), ([3, 0, 0], [1, 0, 0]));
    }
}
