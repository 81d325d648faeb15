//! Spans of `tracing`: what is known of each until it closes, and which are entered.
//!
//! A span's fields are encoded when it is made and recorded each time that it is entered, as a begin of kind
//! [`Kind::Span`](fata_wire::field::Kind::Span) in the trace stream; so an `#[instrument]`ed future shows each of its polls.
//! Fields that are set later (`Span::record`) are an instant of the span's name within it, and are among its fields when it is
//! entered again. What records are told of the fields of the spans around them is in `told.rs`.
//!
//! When it is full: there is room for [`MAX_SPANS`] spans at a time. Further ones are not recorded, and neither are those that an
//! interrupt makes where they cannot be described; records within them name the spans around them, with a mark that there were
//! more. The same mark stands where more than the innermost four that are recorded would be to be named. Of a span's fields so
//! much is kept as fits [`SPAN_WORDS`].

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence};

use fata_wire::event::EventId;
use fata_wire::log::{MAX_SPANS as NAMED, MORE_SPANS};
use tracing_core::span::{Id, Record};

use super::context::{Context, MAX_ENTERED};
use super::encode::{Encoder, Signature, merge};
use super::table::{self, Site};
use crate::value::{Extent, FieldSet};

/// How many spans may be alive at once.
const MAX_SPANS: u32 = if cfg!(feature = "std") { 4096 } else { 256 };
/// The room for a span's fields.
pub(crate) const SPAN_WORDS: usize = 16;

/// A span that has no place: alive, and never recorded.
const NO_PLACE: u32 = u32::MAX;

/// A span that is alive, or a place for one.
#[derive(Debug)]
struct Alive {
    /// How many handles there are; 0 is a free place.
    handles: AtomicU32,
    /// The upper half of its begin event's header, with the flag [`TEXT`] where its payload has one.
    template: AtomicU32,
    /// Which fields lie in `words`.
    signature: AtomicU64,
    /// Somebody changes the fields: other threads leave them alone.
    changing: AtomicBool,
    /// Counts what was put here: another number, and these are other fields.
    version: AtomicU32,
    /// The callsite, where the span is recorded.
    site: AtomicPtr<Site>,
    len: AtomicUsize,
    words: [AtomicU64; SPAN_WORDS],
}

static SPANS: [Alive; MAX_SPANS as usize] = [const { Alive::free() }; MAX_SPANS as usize];
/// What all spans that are alive take.
pub(crate) const BYTES: usize = size_of::<[Alive; MAX_SPANS as usize]>();
/// Where to look for a free place first.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// In a template: the payload's length is written out because it varies.
pub(crate) const TEXT: u32 = 1 << 30;
/// In place of a template: the span should be recorded and is not.
const MISSED: u32 = 1 << 29;

impl Alive {
    const fn free() -> Self {
        Alive {
            handles: AtomicU32::new(0),
            template: AtomicU32::new(0),
            signature: AtomicU64::new(0),
            changing: AtomicBool::new(false),
            version: AtomicU32::new(0),
            site: AtomicPtr::new(core::ptr::null_mut()),
            len: AtomicUsize::new(0),
            words: [const { AtomicU64::new(0) }; SPAN_WORDS],
        }
    }
}

fn id_of(place: u32) -> Id {
    Id::from_non_zero_u64(NonZeroU64::MIN.saturating_add(u64::from(place)))
}

fn alive(id: &Id) -> Option<&'static Alive> {
    SPANS.get(usize::try_from(id.into_u64().checked_sub(1)?).ok()?)
}

/// What is recorded of a span when it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin<'a> {
    pub(crate) site: &'static Site,
    pub(crate) template: u32,
    pub(crate) signature: Signature,
    pub(crate) payload: &'a [AtomicU64],
}

impl Begin<'_> {
    fn put(&self, span: &Alive) {
        let text = if self.signature.has_text() { TEXT } else { 0 };
        span.template.store(self.template | text, Ordering::Relaxed);
        span.signature.store(self.signature.0, Ordering::Relaxed);
        span.site.store(core::ptr::from_ref(self.site).cast_mut(), Ordering::Relaxed);
        span.len.store(self.payload.len().min(SPAN_WORDS), Ordering::Relaxed);
        for (to, from) in span.words.iter().zip(self.payload) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        span.version.fetch_add(1, Ordering::Relaxed);
    }
}

/// A new span; `None` where it is not to be recorded.
pub(crate) fn new(begin: Option<Begin<'_>>) -> Id {
    let start = NEXT.load(Ordering::Relaxed);
    for i in 0..MAX_SPANS {
        let place = start.wrapping_add(i) % MAX_SPANS;
        let span = &SPANS[place as usize];
        // Acquire: pairs with the Release in `close`: nobody reads the words of the span that was here.
        if span.handles.load(Ordering::Relaxed) == 0
            && span.handles.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            NEXT.store(place.wrapping_add(1) % MAX_SPANS, Ordering::Relaxed);
            match begin {
                Some(begin) => begin.put(span),
                None => span.template.store(0, Ordering::Relaxed),
            }
            return id_of(place);
        }
    }
    missed()
}

/// A span that was to be recorded and cannot be.
pub(crate) fn missed() -> Id {
    id_of(NO_PLACE)
}

/// Values that the span `id` was given after it began: an instant within it, and among its fields from now on.
pub(crate) fn set_later(context: &Context, id: &Id, values: &Record<'_>) {
    let Some(span) = alive(id).filter(|span| span.template.load(Ordering::Relaxed) != 0) else { return };
    let Some(site) = site_of(span) else { return };
    let Some(meta) = site.meta() else { return };
    let Some(scratch) = context.scratch() else { return };
    let (room, merged) = scratch.words[..2 * SPAN_WORDS].split_at(SPAN_WORDS);
    let mut encoder = Encoder::new(room, meta.fields().len());
    values.record(&mut encoder);
    let encoded = encoder.end();
    let words = &room[..encoded.words.min(SPAN_WORDS)];
    let is_entered = context.entered.holds(id);
    if is_entered && let Ok(template) = table::template(site, meta, encoded.signature.later()) {
        let fields = Words { words, text: encoded.signature.has_text() };
        crate::current::get().record(template, fields);
    }
    // Acquire and Release: of two threads that give the same span values, one after the other.
    if span.changing.swap(true, Ordering::Acquire) {
        return;
    }
    let old = Signature(span.signature.load(Ordering::Relaxed));
    let len = span.len.load(Ordering::Relaxed).min(SPAN_WORDS);
    if let Some((signature, used)) = merge(merged, (old, &span.words[..len]), (encoded.signature, words))
        && let Ok(template) = table::template(site, meta, signature)
    {
        Begin { site, template, signature, payload: &merged[..used] }.put(span);
    }
    span.changing.store(false, Ordering::Release);
}

#[expect(unsafe_code, reason = "a reference to a static in an atomic")]
fn site_of(span: &Alive) -> Option<&'static Site> {
    // SAFETY: null, or stored by `Begin::put` from a reference that lives for ever.
    unsafe { span.site.load(Ordering::Relaxed).cast_const().as_ref() }
}

/// One more handle.
pub(crate) fn clone(id: &Id) {
    if let Some(span) = alive(id) {
        span.handles.fetch_add(1, Ordering::Relaxed);
    }
}

/// One handle less; whether it was the last.
pub(crate) fn close(id: &Id) -> bool {
    // Release: pairs with the Acquire in `new`.
    alive(id).is_some_and(|span| span.handles.fetch_sub(1, Ordering::Release) == 1)
}

/// The spans that are entered where the context is, the innermost last.
///
/// Invariant: an interrupt may come between any two instructions, and enters and leaves spans of its own then. So a place is taken
/// before it is filled, and emptied before it is given back; above `depth` all are empty. What was half changed is found as it was.
#[derive(Debug)]
pub(crate) struct Entered {
    depth: AtomicU32,
    /// Each span's id and template; in bit 63 whether its begin was recorded. 0 is no span.
    spans: [AtomicU64; MAX_ENTERED],
    /// The innermost of those that are recorded, as a record has them.
    word: AtomicU64,
    /// Their ids, in the order of the word's lanes.
    named: [AtomicU32; NAMED],
    /// What records of the reserved stream add to the word: whether the spans' fields were told there.
    pub(super) told: AtomicU64,
}

const RECORDED: u64 = 1 << 63;

impl Entered {
    pub(crate) const fn new() -> Self {
        Entered {
            depth: AtomicU32::new(0),
            spans: [const { AtomicU64::new(0) }; MAX_ENTERED],
            word: AtomicU64::new(0),
            named: [const { AtomicU32::new(0) }; NAMED],
            told: AtomicU64::new(0),
        }
    }

    /// The spans as a record has them: [`fata_wire::log::SPANS`].
    #[inline(always)]
    pub(crate) fn word(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    /// Whether the span is entered here.
    fn holds(&self, id: &Id) -> bool {
        let depth = (self.depth.load(Ordering::Relaxed) as usize).min(MAX_ENTERED);
        self.spans.iter().take(depth).any(|entry| is_of(entry, id))
    }

    fn renew(&self, depth: u32) {
        // An interrupt that comes before the word does not take it for that of other spans.
        self.word.store(MORE_SPANS, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        let depth = depth as usize;
        let (mut word, mut named) = (if depth > MAX_ENTERED { MORE_SPANS } else { 0 }, 0);
        for entry in self.spans.iter().take(depth).rev() {
            let entry = entry.load(Ordering::Relaxed);
            let callsite = entry >> 33 & 0xfff;
            if entry >> 32 & u64::from(MISSED) != 0 || callsite != 0 && named == NAMED {
                word |= MORE_SPANS;
            } else if callsite != 0 {
                word |= callsite << (16 * named);
                if let Some(lane) = self.named.get(named) {
                    lane.store((entry & 0xffff_ffff) as u32, Ordering::Relaxed);
                }
                named += 1;
            }
        }
        self.told.store(0, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.word.store(word, Ordering::Relaxed);
    }

    /// The spans that a record names, the outermost first.
    pub(super) fn named(&self) -> impl Iterator<Item = Around> + '_ {
        let word = self.word();
        self.named.iter().enumerate().rev().filter_map(move |(lane, id)| {
            let (callsite, id) = ((word >> (16 * lane) & 0xfff) as u16, id.load(Ordering::Relaxed));
            let span = SPANS.get((id as usize).checked_sub(1)?)?;
            (callsite != 0).then_some(Around { callsite, id, span })
        })
    }
}

/// A span around a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    /// The number of its callsite, as the record has it.
    pub(super) callsite: u16,
    id: u32,
    span: &'static Alive,
}

impl Around {
    /// Another number than before, and it is another span, or has other fields.
    pub(super) fn identity(self) -> u64 {
        u64::from(self.span.version.load(Ordering::Relaxed)) << 32 | u64::from(self.id)
    }

    pub(super) fn has_fields(self) -> bool {
        self.span.len.load(Ordering::Relaxed) > 0
    }

    /// Its fields, and the template of the event that tells them; `None` where that cannot be described.
    pub(super) fn context(self) -> Option<(u32, Words<'static>)> {
        let site = site_of(self.span)?;
        let signature = Signature(self.span.signature.load(Ordering::Relaxed));
        let template = table::template(site, site.meta()?, signature.context()).ok()?;
        let len = self.span.len.load(Ordering::Relaxed).min(SPAN_WORDS);
        Some((template, Words { words: &self.span.words[..len], text: signature.has_text() }))
    }
}

/// Whether an entry is that of the span `id`.
fn is_of(entry: &AtomicU64, id: &Id) -> bool {
    let entry = entry.load(Ordering::Relaxed);
    entry != 0 && entry & 0xffff_ffff == id.into_u64() & 0xffff_ffff
}

/// Enters a span: records its begin.
pub(crate) fn enter(context: &Context, id: &Id) {
    let span = alive(id);
    let template = span.map_or(MISSED, |span| span.template.load(Ordering::Relaxed));
    let recorded = span.filter(|_| template != 0).is_some_and(|span| {
        let len = span.len.load(Ordering::Relaxed).min(SPAN_WORDS);
        let fields = Words { words: &span.words[..len], text: template & TEXT != 0 };
        crate::current::get().record(template & !TEXT, fields)
    });
    let entered = &context.entered;
    let depth = entered.depth.load(Ordering::Relaxed);
    entered.depth.store(depth + 1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if let Some(entry) = entered.spans.get(depth as usize) {
        let mark = if recorded { RECORDED } else { 0 };
        let place = id.into_u64() & 0xffff_ffff;
        entry.store(mark | u64::from(template & !TEXT) << 32 | place, Ordering::Relaxed);
    }
    entered.renew(depth + 1);
}

/// Leaves a span: records its end if its begin was. Spans may be left in another order than they were entered.
pub(crate) fn exit(context: &Context, id: &Id) {
    let entered = &context.entered;
    let Some(depth) = entered.depth.load(Ordering::Relaxed).checked_sub(1) else { return };
    let end = (depth as usize + 1).min(MAX_ENTERED);
    let entries = entered.spans.get(..end).unwrap_or(&[]);
    let left = entries.iter().rposition(|entry| is_of(entry, id)).map(|at| {
        let entry = entries[at].load(Ordering::Relaxed);
        for (to, from) in entries[at..].iter().zip(entries.get(at + 1..).unwrap_or(&[])) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if let Some(last) = entries.last() {
            last.store(0, Ordering::Relaxed);
        }
        entry
    });
    compiler_fence(Ordering::SeqCst);
    entered.depth.store(depth, Ordering::Relaxed);
    if let Some(entry) = left {
        let template = (entry >> 32) as u32 & 0x7fff_ffff;
        if entry & RECORDED != 0 {
            let end = u32::from(EventId::end(0).0);
            crate::current::get().record(template | end, crate::value::Nil);
        }
    }
    entered.renew(depth);
}

/// A payload that was encoded before.
pub(crate) struct Words<'a> {
    pub(crate) words: &'a [AtomicU64],
    /// The callsite's payload varies in length, so it is written out.
    pub(crate) text: bool,
}

impl FieldSet for Words<'_> {
    const LEN: usize = 0;
    const NARROW: bool = false;
    const TEXT: bool = true;
    const WORDS: usize = 0;

    fn arg(&self) -> u16 {
        0
    }

    fn text_words(&self) -> usize {
        self.words.len()
    }

    fn put(&self, slot: &mut impl FnMut(u64), _narrow_taken: bool, _text_words_left: usize) {
        self.words.iter().for_each(|word| slot(word.load(Ordering::Relaxed)));
    }

    fn types(_types: &mut impl FnMut(fata_wire::field::FieldType, fata_wire::field::Unit)) {}

    fn extent(&self) -> Extent {
        Extent::of_words(self.words.len(), self.text)
    }
}
