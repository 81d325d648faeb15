//! Names: texts that events refer to by number, so that no text travels per event.

use crate::callsite::Callsite;

/// A text that events refer to by its number. `Copy`, a word long.
///
/// ```
/// use fata_probe::{name, Name};
/// const CONNECTION: Name = name!("http.connection");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Name(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    /// A callsite of kind `Name`; its template holds its id from the moment that a region is installed.
    Callsite(&'static Callsite),
    /// The number of a text in the description area.
    Dynamic(u16),
}

impl Name {
    /// The name of what has none, or whose name found no room.
    pub const UNNAMED: Name = Name(Source::Dynamic(0));

    /// The name that a callsite of kind `Name` stands for. For [`name!`](crate::name!).
    #[must_use]
    pub const fn of_callsite(callsite: &'static Callsite) -> Self {
        Name(Source::Callsite(callsite))
    }

    /// The name whose number [`id`](Name::id) gave, for whoever keeps numbers.
    #[must_use]
    pub const fn of_id(id: u16) -> Self {
        Name(Source::Dynamic(id))
    }

    /// Appends `text` to the description area, cut at 120 bytes; [`Name::UNNAMED`] where that is full, which is counted.
    ///
    /// Each call takes room for good: for names known when the program is written, use [`name!`](crate::name!).
    #[must_use]
    pub fn new_dynamic(text: &str) -> Self {
        if crate::ENABLED {
            crate::describe::dynamic_name(text).map_or(Name::UNNAMED, |id| Name(Source::Dynamic(id)))
        } else {
            Name::UNNAMED
        }
    }

    /// The number; 0 for what has no name yet.
    #[inline(always)]
    #[must_use]
    pub fn id(self) -> u16 {
        match self.0 {
            Source::Callsite(callsite) => callsite
                .enabled()
                .map_or(0, |template| fata_wire::event::EventId((template & 0x1fff) as u16).callsite()),
            Source::Dynamic(id) => id,
        }
    }
}
