//! Places in the source that have no callsite of their own, those of the crate `log`, by which the rate limit says whom it keeps
//! out: each gets an id and a description when that happens first.
//!
//! **When it is full** ([`PLACES`], the description area, or the ids), further places go by the callsite of their level. Names
//! that are too long are cut, which their mark says.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use fata_wire::describe::{Callsite as Description, Record};
use fata_wire::field::{Fields, Kind, Level};

use super::ids;
use super::sentence::Sentence;
use super::text::Text;
use crate::describe::exclusive;
use crate::region::{self, Region};

/// How many places are known: as many as there are tallies of what is suppressed.
const PLACES: usize = 64;
const FILE_WORDS: usize = 12;
const TARGET_WORDS: usize = 6;

/// A place; what it consists of is written before its id.
#[derive(Debug)]
struct Place {
    /// What tells it from others; 0 where this is free.
    hash: AtomicU64,
    /// 0 until it is described.
    id: AtomicU16,
    /// The line, and above it the level.
    line: AtomicU32,
    file: [AtomicU64; FILE_WORDS],
    target: [AtomicU64; TARGET_WORDS],
}

static TABLE: [Place; PLACES] = [const { Place::free() }; PLACES];
/// What the table takes.
pub(super) const BYTES: usize = size_of::<[Place; PLACES]>();
const LINE_BITS: u32 = 24;

/// The id of the place of `record`, whose level is `level` and whose hash `hash`, which it gets now if it has none. `None` where
/// there is no room, or where a description is being written beneath us.
#[cold]
pub(super) fn id_of(record: &log::Record<'_>, level: Level, hash: u64) -> Option<u16> {
    let known = || TABLE.iter().find(|place| place.hash.load(Ordering::Relaxed) == hash);
    // Acquire: pairs with the Release below.
    let id = |place: &Place| Some(place.id.load(Ordering::Acquire)).filter(|&id| id != 0);
    known().and_then(id).or_else(|| {
        exclusive(|| {
            let place = match known() {
                Some(place) => place,
                None => TABLE.iter().find(|place| place.hash.load(Ordering::Relaxed) == 0)?,
            };
            if let Some(id) = id(place) {
                return Some(id);
            }
            let line = record.line().unwrap_or(0) & ((1 << LINE_BITS) - 1);
            place.line.store(line | (level as u32) << LINE_BITS, Ordering::Relaxed);
            write(&place.file, record.file().unwrap_or(""));
            write(&place.target, record.target());
            place.hash.store(hash, Ordering::Relaxed);
            let id = ids::give(|id| region::all().filter(|region| !place.append(region, id)).count() == 0)?;
            // Release: pairs with the Acquire above.
            place.id.store(id, Ordering::Release);
            Some(id)
        })
        .flatten()
    })
}

/// Writes the descriptions of all places into a new region. The caller is inside `exclusive`.
pub(crate) fn describe_all(region: &Region) {
    for place in &TABLE {
        let id = place.id.load(Ordering::Relaxed);
        if id != 0 {
            place.append(region, id);
        }
    }
}

fn write(words: &[AtomicU64], text: &str) {
    let mut to = Text::new(words);
    to.add(text);
    to.end();
}

/// A text that `write` wrote, in bytes of its own.
fn read<const WORDS: usize, const BYTES: usize>(words: &[AtomicU64; WORDS]) -> Sentence<BYTES> {
    let mut text = Sentence::new();
    let bytes = words.each_ref().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
    let bytes = bytes.as_flattened();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    // There is room for all of it.
    let _ = text.write_str(core::str::from_utf8(&bytes[..end]).unwrap_or(""));
    text
}

impl Place {
    const fn free() -> Self {
        Place {
            hash: AtomicU64::new(0),
            id: AtomicU16::new(0),
            line: AtomicU32::new(0),
            file: [const { AtomicU64::new(0) }; FILE_WORDS],
            target: [const { AtomicU64::new(0) }; TARGET_WORDS],
        }
    }

    /// Writes its description into a region. The caller is inside `exclusive`.
    fn append(&self, region: &Region, id: u16) -> bool {
        let line = self.line.load(Ordering::Relaxed);
        let (line, level) = (line & ((1 << LINE_BITS) - 1), (line >> LINE_BITS) as u8);
        let file: Sentence<{ FILE_WORDS * 8 + 3 }> = read(&self.file);
        let target: Sentence<{ TARGET_WORDS * 8 + 3 }> = read(&self.target);
        let mut name = Sentence::<{ FILE_WORDS * 8 + 16 }>::new();
        let _ = write!(name, "{}:{line}", file.text());
        region.append(&Record::Callsite(Description {
            id,
            kind: Kind::Log,
            level: Level::from_u8(level).unwrap_or(Level::Info),
            line,
            category: target.text(),
            // As `tracing` calls an event.
            name: name.text(),
            file: file.text(),
            fields: Fields::EMPTY,
        }))
    }
}
