//! What to do with an event of a guest, looked up by its id alone: a table that is made from the description, once.
//!
//! Invariant: [`Plans::get`] of any id is a plan; one that nothing describes has no kind. An event whose header has its plan's
//! [`shape`](Plan::shape) is finished and has exactly the words of payload that its callsite's fields take.

use fata_wire::event::{EventId, Header, MAX_CALLSITES, MAX_INLINE_WORDS};
use fata_wire::field::{FieldType, Kind, Level};
use fata_wire::shared::WIRE_CATEGORY;

use crate::args::Packing;
use crate::description::{Callsite, Description};
use crate::guests::GuestId;
use crate::spans::{Category, TagPart};

/// Ids of events: a begin and an end for each callsite.
pub(super) const IDS: usize = 2 * MAX_CALLSITES as usize;
/// Words of a packet.
pub(super) type Words<'a> = &'a [[u8; 8]];
/// No header has it.
pub(super) const NO_SHAPE: u8 = u8::MAX;

/// What to do with the events of an id. Of a length by which a table is quickly looked into.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Plan {
    /// `None` where nothing describes the callsite.
    pub(super) kind: Option<Kind>,
    /// What the header says of the length of an event whose callsite always has the same; [`NO_SHAPE`] for others.
    pub(super) shape: u8,
    /// The same for spans that a [run](super::run) may take; [`NO_SHAPE`] for all else.
    pub(super) run_shape: u8,
    pub(super) category: Category,
    /// What its spans' tags have in common.
    pub(super) tag: TagPart,
    pub(super) packing: Packing,
    /// The level of a record of a log stream, which says itself which task made it and which number of its level it has.
    pub(super) numbered: Option<Level>,
    /// The first field, where it is a number.
    pub(super) first: Option<FieldType>,
    /// Where it says which flow it is.
    pub(super) flow: FlowAt,
    /// Whether its events are counted as they come; spans are when they end.
    pub(super) is_counted: bool,
    /// Whether the callsite's name says what a task waits for.
    pub(super) waits: bool,
    /// The category's number, for flows: above it the guest's, since one id is one flow within a category of one guest.
    pub(super) flow_category: u16,
}

/// Where an event says which flow passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowAt {
    /// It is no flow, or says nothing that could be an id.
    Nowhere,
    /// In the header.
    Arg,
    /// In the payload's first word.
    Payload,
    /// It is the end of a packet's way between guests; its first field says which packet's.
    Wire,
}

const fn is_flow(callsite: &Callsite) -> bool {
    matches!(callsite.kind, Kind::FlowBegin | Kind::FlowStep | Kind::FlowEnd)
}

impl Plan {
    /// The payload of an event with the header `word` before `rest`, and what comes after it, where the event is as its callsite's
    /// always are.
    #[inline(always)]
    pub(super) fn payload<'a>(&self, word: u64, rest: Words<'a>) -> Option<(Words<'a>, Words<'a>)> {
        if self.shape != Header::shape(word) {
            return None;
        }
        rest.split_at_checked(Header::unpack(word).words.into())
    }

    const UNKNOWN: Plan = Plan {
        kind: None,
        shape: NO_SHAPE,
        run_shape: NO_SHAPE,
        category: Category::Ordinary,
        tag: TagPart::NONE,
        packing: Packing::Nothing,
        numbered: None,
        first: None,
        flow: FlowAt::Nowhere,
        is_counted: false,
        waits: false,
        flow_category: 0,
    };

    fn of(callsite: &Callsite, flow_category: u16) -> Plan {
        let raw = |ty| matches!(ty, FieldType::I64 | FieldType::F64 | FieldType::Str | FieldType::Flow);
        let fixed = callsite.wire_fields().fixed_words().filter(|&words| words <= MAX_INLINE_WORDS);
        let words = fixed.and_then(|words| u8::try_from(words).ok());
        // The clock's own events set the reader's clock; what was not finished has any length; a ledger is read as a whole.
        let described = !matches!(callsite.kind, Kind::Clock | Kind::Unfinished | Kind::Ledger);
        let first = callsite.fields.first();
        // Behind the length of a payload that varies nothing lies at a place that is known.
        let first_number =
            first.map(|field| field.ty).filter(|&ty| ty.is_narrow() || (words.is_some() && ty != FieldType::Str));
        let shape = words.filter(|_| described).map_or(NO_SHAPE, Header::shape_of);
        let category = match &*callsite.category {
            "irq" => Category::Interrupt,
            "heap" => Category::Heap,
            _ => Category::Ordinary,
        };
        // With an interrupt another stack's turn comes.
        let in_runs = callsite.kind == Kind::Span && category != Category::Interrupt;
        Plan {
            kind: Some(callsite.kind),
            shape,
            run_shape: if in_runs { shape } else { NO_SHAPE },
            category,
            tag: TagPart::new(callsite.id, category),
            packing: match &*callsite.fields {
                [] => Packing::Nothing,
                fields if fields.iter().any(|field| raw(field.ty)) => Packing::Raw,
                fields if words == Some(1) && fields.iter().all(|field| !field.ty.is_narrow()) => Packing::Number,
                _ => Packing::Numbers,
            },
            numbered: (callsite.kind == Kind::Log && first.is_some_and(|field| *field.name == *fata_wire::log::SEQ))
                .then_some(callsite.level),
            first: first_number,
            flow: match first_number {
                _ if !is_flow(callsite) => FlowAt::Nowhere,
                _ if callsite.kind != Kind::FlowStep && *callsite.category == *WIRE_CATEGORY => FlowAt::Wire,
                Some(FieldType::Packet | FieldType::Small) => FlowAt::Arg,
                Some(FieldType::Flow | FieldType::U64) => FlowAt::Payload,
                _ => FlowAt::Nowhere,
            },
            is_counted: callsite.kind != Kind::Span,
            waits: callsite.kind.waits_for(&callsite.name).is_some(),
            flow_category,
        }
    }
}

const _: () = assert!(size_of::<Plan>() == 16);

/// See the module.
#[derive(Debug)]
pub(super) struct Plans {
    list: Box<[Plan; IDS]>,
    /// Those of flows.
    categories: Vec<Box<str>>,
}

impl Plans {
    pub(super) fn new() -> Self {
        Plans { list: Box::new([Plan::UNKNOWN; IDS]), categories: Vec::new() }
    }

    /// All of them, by id.
    #[inline]
    pub(super) fn table(&self) -> &[Plan; IDS] {
        &self.list
    }

    /// The plan of an id; every id has one.
    #[inline]
    pub(super) fn get(&self, id: EventId) -> &Plan {
        &self.list[usize::from(id.0) % IDS]
    }

    /// The number of a flow's category, 0 for what is no flow: the flows of the first of them are looked up fastest.
    fn flow_category(&mut self, callsite: &Callsite) -> u16 {
        if !is_flow(callsite) {
            return 0;
        }
        let known = self.categories.iter().position(|category| *category == callsite.category);
        let number = known.unwrap_or_else(|| {
            self.categories.push(callsite.category.clone());
            self.categories.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX).min(MAX_CALLSITES - 1)
    }

    /// Makes the plans of all callsites of `guest` that are described by now.
    pub(super) fn learn(&mut self, description: &Description, guest: GuestId) {
        for callsite in description.callsites().filter(|callsite| GuestId::of_callsite(callsite.id) == guest) {
            let plan = Plan::of(callsite, guest.callsite(self.flow_category(callsite)));
            // The end of a span has no fields; that of anything else means what its event does.
            let mut end = Plan { is_counted: false, ..plan };
            if plan.kind == Some(Kind::Span) {
                (end.shape, end.packing) = (Header::shape_of(0), Packing::Nothing);
                end.run_shape = end.shape;
            }
            let own = callsite.id % MAX_CALLSITES;
            for (id, plan) in [(EventId::begin(own), plan), (EventId::end(own), end)] {
                self.list[usize::from(id.0) % IDS] = plan;
            }
        }
    }
}
