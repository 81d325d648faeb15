//! What every synchronisation object has towards the trace: a number while it exists.

use crate::executor::events;
use crate::numbers::Numbers;

/// One set for the process: objects are made without a guest at hand.
static OBJECTS: Numbers = Numbers::new();

/// The number of an object. Creating one is followed by its create event, dropping it emits the drop event.
pub(crate) struct Object {
    number: u16,
}

impl Object {
    /// A number, announced by `create`.
    pub(crate) fn new(create: impl FnOnce(u16)) -> Self {
        let number = if events::ON { OBJECTS.take() } else { 0 };
        create(number);
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
            OBJECTS.give_back(self.number);
        }
    }
}
