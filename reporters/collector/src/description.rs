//! Follows a guest's description area and hands it over as TSDL text.
//!
//! Invariant: a record is decoded once and handed over once; the text is kept until then, and no longer. What is full: text is
//! handed over whenever there is a MiB of it, the area is at most 4 MiB, a callsite or name counts once however often the guest
//! repeats it, and of `env` facts the first [`MAX_ENV`] are taken; what is over is counted in
//! [`refused`](Description::refused) and its events are shown by number.

use std::collections::HashSet;

use fata_wire::describe::{DescribeError, MAX_RECORD_BYTES, Record, Records};
use fata_wire::event::FIRST_CALLSITE;
use fata_wire::log::Account;
use fata_wire::metadata;
use fata_wire::shared::{Clock, at};

use crate::shared::SharedMemory;

/// How many facts of a guest are kept.
pub const MAX_ENV: usize = 256;
/// How much of the area is copied at a time.
const STEP_BYTES: usize = 64 << 10;
/// So much text waits at most before it is handed over, but for that of the last step.
const PIECE_BYTES: usize = 1 << 20;

/// The description of a guest, as far as it was read.
#[derive(Debug)]
pub struct Description {
    guest: u16,
    /// What is not handed over yet.
    text: String,
    consumed_bytes: usize,
    callsite_limit: u16,
    callsites: HashSet<u16>,
    names: HashSet<u16>,
    env: usize,
    refused: u64,
    damaged: Option<DescribeError>,
    buffer: Vec<u8>,
}

impl Description {
    /// What is said of the guest of this number before it has said anything: its clock, and the facts that the collector
    /// knows itself. The text is a part of a trace's metadata, to which [`metadata::write_trace`] is the begin.
    #[must_use]
    pub fn new(guest: u16, clock: &Clock, error_nanos: Option<u64>, facts: &[(&str, &str)]) -> Self {
        let mut description = Description {
            guest,
            text: String::new(),
            consumed_bytes: 0,
            callsite_limit: FIRST_CALLSITE,
            callsites: HashSet::new(),
            names: HashSet::new(),
            env: 0,
            refused: 0,
            damaged: None,
            buffer: Vec::new(),
        };
        // Writing to a `String` does not fail.
        let _ = metadata::write_guest(&mut description.text, guest, clock, error_nanos);
        for (key, value) in facts {
            let _ = metadata::write_record_of(&mut description.text, guest, &Record::Env { key, value });
        }
        description
    }

    /// The description of a guest that has a trace of identity `uuid` for itself.
    #[must_use]
    pub fn alone(uuid: [u8; 16], clock: &Clock, facts: &[(&str, &str)]) -> Self {
        let mut description = Description::new(0, clock, None, facts);
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = metadata::write_trace(&mut text, uuid);
        description.text.insert_str(0, &text);
        description
    }

    /// Adds what became of the records of the log streams until now: number, class and account of each.
    pub(crate) fn add_accounts(&mut self, accounts: &[(u32, u32, Account)]) {
        for (stream, class, account) in accounts {
            // Writing to a `String` does not fail.
            let _ = metadata::write_account(&mut self.text, *stream, *class, account);
        }
    }

    /// Every callsite id that the guest has described is below this.
    #[must_use]
    pub fn callsite_limit(&self) -> u16 {
        self.callsite_limit
    }

    /// Records that were not taken.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Why the area cannot be read further, if it cannot.
    #[must_use]
    pub fn damaged(&self) -> Option<DescribeError> {
        self.damaged
    }

    /// Takes the records that the guest has added, and hands over their text in pieces that end with a whole record.
    ///
    /// # Errors
    /// That of `hand_over`, after which nothing more is.
    pub fn follow<E>(
        &mut self,
        memory: &SharedMemory,
        mut hand_over: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let more = self.read(memory);
            if !self.text.is_empty() {
                hand_over(&self.text)?;
                self.text.clear();
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Takes records until there is a piece of text, and says whether there are more.
    fn read(&mut self, memory: &SharedMemory) -> bool {
        if self.damaged.is_some() {
            return false;
        }
        let geometry = memory.geometry();
        // `load` acquires: pairs with the guest's Release of the used length after a record is whole.
        let used = memory.load(at::DESCRIPTION_USED).min(geometry.description_capacity) & !7;
        let (Ok(used), Ok(start)) = (usize::try_from(used), usize::try_from(geometry.description_offset)) else {
            return false;
        };
        while self.consumed_bytes < used {
            if self.text.len() >= PIECE_BYTES {
                return true;
            }
            let step = (used - self.consumed_bytes).min(STEP_BYTES);
            let mut buffer = std::mem::take(&mut self.buffer);
            memory.copy(start + self.consumed_bytes, step, &mut buffer);
            let mut records = Records::new(&buffer);
            let mut error = None;
            for record in records.by_ref() {
                match record {
                    Ok(record) => self.take(&record),
                    Err(found) => error = Some(found),
                }
            }
            let good = records.consumed_bytes();
            self.consumed_bytes += good;
            self.buffer = buffer;
            // A record cut by the step is whole in the next one; one that is cut although there was room is damage.
            match error {
                Some(DescribeError::Incomplete) if good > 0 && step == STEP_BYTES => {}
                Some(DescribeError::Incomplete) if step < MAX_RECORD_BYTES => break,
                Some(error) => {
                    self.damaged = Some(error);
                    break;
                }
                None => {}
            }
        }
        false
    }

    fn take(&mut self, record: &Record<'_>) {
        let fresh = match record {
            Record::Callsite(callsite) => {
                self.callsite_limit = self.callsite_limit.max(callsite.id + 1);
                callsite.id >= FIRST_CALLSITE && self.callsites.insert(callsite.id)
            }
            Record::Name { id, .. } => self.names.insert(*id),
            Record::Env { .. } => {
                self.env += 1;
                self.env <= MAX_ENV
            }
        };
        if fresh {
            let _ = metadata::write_record_of(&mut self.text, self.guest, record);
        } else {
            self.refused += 1;
        }
    }
}
