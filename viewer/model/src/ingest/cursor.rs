//! The events of a packet with their plans: what most are is decoded by what their callsite says, all others by the format's
//! own decoder.
//!
//! Invariant: what comes out is what [`Events`] gives, event by event, whatever the bytes and the plans.

use fata_wire::event::{Event, EventError, Events, Header, extend_ticks};

use super::plan::{Plan, Plans};

/// An event's plan, the event, what comes after it, and the clock that the next stamp is extended from.
pub(super) type Next<'a, 'p> = (&'p Plan, Event<'a>, &'a [[u8; 8]], u64);

/// The event at the begin of `words`, of which there is at least one, where the clock was `ticks` before it.
#[inline(always)]
pub(super) fn next<'a, 'p>(words: &'a [[u8; 8]], ticks: u64, plans: &'p Plans) -> Result<Next<'a, 'p>, EventError> {
    let Some((&first, rest)) = words.split_first() else { return Err(EventError::Overrun) };
    let word = u64::from_le_bytes(first);
    let Header { ticks_low, id, arg, .. } = Header::unpack(word);
    let plan = plans.get(id);
    if let Some((payload, rest)) = plan.payload(word, rest) {
        let ticks = extend_ticks(ticks, ticks_low);
        return Ok((plan, Event { ticks, id, arg, payload: payload.as_flattened() }, rest, ticks));
    }
    unusual(words, ticks).map(|(event, rest, ticks)| (plan, event, rest, ticks))
}

#[inline(never)]
fn unusual(words: &[[u8; 8]], ticks: u64) -> Result<(Event<'_>, &[[u8; 8]], u64), EventError> {
    let mut events = Events::new(words.as_flattened(), ticks);
    let event = events.next().unwrap_or(Err(EventError::Overrun))?;
    let left = events.rest_bytes() / 8;
    Ok((event, words.get(words.len() - left..).unwrap_or(&[]), events.ticks()))
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
                    plan if plan.shape != NO_LENGTH && random.below(10) > 0 => {
                        (0..8).find(|&words| Header::shape_of(words) == plan.shape).unwrap()
                    }
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
            let (mut words, mut ticks) = (content.as_chunks().0, begin);
            for expected in Events::new(&content, begin) {
                all += 1;
                match next(words, ticks, &plans) {
                    Ok((plan, event, rest, now)) => {
                        usual += usize::from(plan.shape != NO_LENGTH);
                        assert_eq!((plan.kind, Ok(event)), (plans.get(event.id).kind, expected));
                        (words, ticks) = (rest, now);
                    }
                    Err(error) => {
                        assert_eq!(expected, Err(error));
                        words = &[];
                    }
                }
            }
            assert!(words.is_empty());
        }
        assert!(usual * 2 > all, "{usual} of {all} went the fast way");
    }

    const NO_LENGTH: u8 = u8::MAX;
}
