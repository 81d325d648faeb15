//! The events of a packet with their plans: what most are is decoded by what their callsite says, all others by the format's
//! own decoder.
//!
//! Invariant: what comes out is what [`Events`] gives, event by event, whatever the bytes and the plans.

use fata_wire::event::{Event, EventError, Events, Header, extend_ticks};

use super::plan::{Plan, Plans};

/// Where in a packet events are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// What comes next: whole words.
    pub(super) words: &'a [[u8; 8]],
    /// The full clock that the next stamp is extended from.
    pub(super) ticks: u64,
    /// How many events came before.
    pub(super) events: u64,
}

/// An event, its plan, and what comes after it.
pub(super) struct Next<'a, 'p> {
    pub(super) plan: &'p Plan,
    pub(super) event: Event<'a>,
    pub(super) after: Place<'a>,
}

impl<'a> Place<'a> {
    /// The next event.
    #[inline]
    pub(super) fn next<'p>(&self, plans: &'p Plans) -> Option<Result<Next<'a, 'p>, EventError>> {
        let (&first, rest) = self.words.split_first()?;
        let word = u64::from_le_bytes(first);
        let Header { ticks_low, id, arg, .. } = Header::unpack(word);
        let plan = plans.get(id);
        if plan.shape == Header::shape(word)
            && let Some((payload, rest)) = rest.split_at_checked(plan.words.into())
        {
            let ticks = extend_ticks(self.ticks, ticks_low);
            let event = Event { ticks, id, arg, payload: payload.as_flattened() };
            return Some(Ok(Next { plan, event, after: Place { words: rest, ticks, events: self.events + 1 } }));
        }
        Some(self.unusual().map(|(event, after)| Next { plan, event, after }))
    }

    #[inline(never)]
    fn unusual(&self) -> Result<(Event<'a>, Place<'a>), EventError> {
        let mut events = Events::new(self.words.as_flattened(), self.ticks);
        let event = events.next().unwrap_or(Err(EventError::Overrun))?;
        let left = events.rest_bytes() / 8;
        let words = self.words.get(self.words.len() - left..).unwrap_or(&[]);
        Ok((event, Place { words, ticks: events.ticks(), events: self.events + 1 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::Description;
    use crate::random::Random;
    use crate::synthetic::Synthetic;
    use fata_wire::event::{CLOCK, EventId};

    #[test]
    fn events_are_those_of_the_formats_own_decoder_whatever_the_bytes() {
        let mut description = Description::new();
        description.metadata(&Synthetic::default().metadata()).unwrap();
        let text = "/* fata callsite 40 instant info 1 \"a\" \"a.text\" \"f.rs\" \"n\":u64:none \"s\":str:none */\n";
        description.metadata(text).unwrap();
        assert!(description.callsite(40).is_some());
        let mut plans = Plans::new();
        plans.learn(&description, crate::guests::GuestId::default());
        let mut random = Random::new(12);
        let (mut usual, mut all) = (0, 0);
        for round in 0..20_000u64 {
            let mut content = Vec::new();
            for _ in 0..random.below(40) {
                let callsite = match random.below(20) {
                    0 => CLOCK,
                    1 => 40,
                    2 => u16::try_from(random.below(4096)).unwrap(),
                    _ => 8 + u16::try_from(random.below(22)).unwrap(),
                };
                let id = EventId(callsite << 1 | u16::from(random.below(2) == 0));
                // Mostly as the plan has it, so that the fast way is taken.
                let words = match plans.get(id) {
                    plan if plan.shape != NO_LENGTH && random.below(10) > 0 => plan.words,
                    _ => u8::try_from(random.below(8)).unwrap(),
                };
                let header = Header {
                    ticks_low: u32::try_from(random.next_u64() >> 32).unwrap(),
                    id,
                    busy: random.below(200) == 0,
                    words,
                    arg: u16::try_from(random.below(1 << 15)).unwrap(),
                };
                content.extend(header.pack().to_le_bytes());
                for _ in 0..words {
                    let bits = random.below(65);
                    content.extend((random.next_u64() >> (64 - bits.max(1))).to_le_bytes());
                }
            }
            if round % 7 == 0 {
                let len = random.below(content.len() as u64 + 1);
                content.truncate(usize::try_from(len).unwrap() / 8 * 8);
            }
            let begin = random.next_u64() >> random.below(64);
            let mut place = Place { words: content.as_chunks().0, ticks: begin, events: 0 };
            for (count, expected) in (1..).zip(Events::new(&content, begin)) {
                all += 1;
                match place.next(&plans).unwrap() {
                    Ok(next) => {
                        usual += usize::from(next.plan.shape != NO_LENGTH);
                        assert_eq!((next.plan.kind, next.after.events), (plans.get(next.event.id).kind, count));
                        assert_eq!(Ok(next.event), expected);
                        place = next.after;
                    }
                    Err(error) => {
                        assert_eq!(expected, Err(error));
                        place.words = &[];
                    }
                }
            }
            assert!(place.next(&plans).is_none());
        }
        assert!(usual * 2 > all, "{usual} of {all} went the fast way");
    }

    const NO_LENGTH: u8 = u8::MAX;
}
