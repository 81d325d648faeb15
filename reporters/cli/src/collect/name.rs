//! What a guest is called while it is collected: the toolstack may rename a domain, and starts it anew by its latest name.
//!
//! Invariant: a guest that is not there any more keeps the name that it had last.

use std::time::{Duration, Instant};

use fata_collector::source::Guest;

/// How often it is looked. Costs a question to XenStore.
const INTERVAL: Duration = Duration::from_secs(1);

/// The name of a guest.
#[derive(Debug)]
pub(super) struct Name {
    guest: Guest,
    renamed: Option<String>,
    looked: Instant,
}

impl Name {
    pub(super) fn of(guest: &Guest) -> Self {
        Name { guest: guest.clone(), renamed: None, looked: Instant::now() }
    }

    /// Looks, unless it has just been looked, and says what is new.
    pub(super) fn look(&mut self) -> Option<String> {
        if self.looked.elapsed() < INTERVAL {
            return None;
        }
        self.looked = Instant::now();
        let name = self.guest.renamed()?;
        let sentence = format!("{} was renamed to {name}: the recording goes on", self.guest.label());
        self.guest.name.clone_from(&name);
        self.renamed = Some(name);
        Some(sentence)
    }

    /// The name that it has now, if it was renamed.
    pub(super) fn renamed(self) -> Option<String> {
        self.guest.renamed().or(self.renamed)
    }
}
