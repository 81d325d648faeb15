//! What every synchronisation object has towards the trace: a number while it exists, and its name for readers that were not
//! there when it was made.
//!
//! What lives is noted in a table by number, four bytes each, so that [`say_again`] can say it: all at once when a collector
//! joins, and otherwise so many a second in turn (`executor/census.rs`). Objects beyond the last number share one, and are not
//! said again.

use core::sync::atomic::{AtomicU32, Ordering};

use fata_probe::Name;

use crate::executor::{Due, events};
use crate::numbers::{CROWD, Numbers};

/// One set for the process: objects are made without a guest at hand.
static OBJECTS: Numbers = Numbers::new();
/// By number, what an object is in the upper half and its name's id in the lower; 0 where there is none.
static LIVING: [AtomicU32; 1 << 15] = [const { AtomicU32::new(0) }; 1 << 15];

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum What {
    Timer = 1,
    Promise = 2,
    Channel = 3,
    Condition = 4,
    Semaphore = 5,
}

impl What {
    fn from_u32(number: u32) -> Option<Self> {
        [What::Timer, What::Promise, What::Channel, What::Condition, What::Semaphore]
            .into_iter()
            .find(|what| *what as u32 == number)
    }
}

/// The number of an object. Creating one emits the create event, dropping it the drop event.
pub(crate) struct Object {
    number: u16,
}

impl Object {
    /// A number, announced.
    pub(crate) fn new(what: What, name: Name) -> Self {
        if !events::ON {
            return Object { number: 0 };
        }
        let number = OBJECTS.take();
        events::create(what, number, name);
        if number != CROWD {
            // Relaxed: the table is read on the same CPU, and a reader elsewhere would find a whole entry or none.
            LIVING[usize::from(number)].store((what as u32) << 16 | u32::from(name.id()), Ordering::Relaxed);
        }
        Object { number }
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if events::ON {
            events::drop_object(self.number);
            LIVING[usize::from(self.number)].store(0, Ordering::Relaxed);
            OBJECTS.give_back(self.number);
        }
    }
}

/// Says what the living objects are called: those that are due.
pub(crate) fn say_again(due: Due) {
    if !events::ON || due == Due::Nothing {
        return;
    }
    let due = due.of(OBJECTS.chunks_in_use().count());
    for numbers in OBJECTS.chunks_in_use().skip(due.start).take(due.len()) {
        let entries = LIVING.get(numbers.clone()).unwrap_or(&[]);
        for (entry, number) in entries.iter().zip(numbers) {
            let word = entry.load(Ordering::Relaxed);
            let (Some(what), Ok(number)) = (What::from_u32(word >> 16), u16::try_from(number)) else { continue };
            #[expect(clippy::cast_possible_truncation, reason = "the lower half of a word")]
            events::exists(what, number, Name::of_id(word as u16));
        }
    }
}
