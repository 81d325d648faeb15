//! The guest's log on its own console: a background task, which is polled only where no other has something to do.
//!
//! Invariant: the guest never waits for the console. The task writes what the console takes at once (of a serial port: 16
//! bytes), then sleeps; records wait in their rings meanwhile, and what those overwrite is told as a loss in its place. When
//! the guest ends, what is left in the rings is written, up to the first 20 ms in which the console takes nothing.
//!
//! The boot parameter `console=LEVEL` turns it on, for records of this level and more severe ones; what is recorded at all,
//! `log=` says.

use alloc::format;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::time::Duration;

use fata_probe::name;
use fata_reporters::console::Console;
use fata_reporters::reporter::Item;
use fata_reporters::rings::Reader;
use fata_reporters::text::Text;
use fata_wire::field::Level;

use crate::Guest;
use crate::platform::{clock, console};

/// A line is cut at this.
const LINE_BYTES: usize = 1024;
/// Between two looks for records.
const IDLE: Duration = Duration::from_millis(20);
/// Between two writes: about what a serial port of 115,200 baud takes to send its FIFO.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest that anybody waits for a console that takes nothing: when another line is to be written, and at the end.
const PATIENCE_NANOS: u64 = 20_000_000;
/// At the end so many lines are written at most; the rings hold fewer, unless somebody fills them faster than they are read.
const LAST_LINES: usize = 100_000;

/// The log on its way to the console.
#[derive(Clone)]
pub(crate) struct ConsoleLog {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    reader: Reader,
    format: Console,
    level: Level,
    line: Text<LINE_BYTES>,
    /// How much of the line is written, its end included.
    written: usize,
}

impl ConsoleLog {
    /// Starts the task where the boot parameters ask for it.
    pub(crate) fn start(guest: &Guest) -> Option<Self> {
        let word = guest.arg("console")?;
        let Some(level) = Level::from_text(word) else {
            guest.log(&format!("console={word}: a level is one of app, error, warn, info, debug, trace"));
            return None;
        };
        let reader = super::reader()?;
        let bytes = super::memory_bytes() + (reader.worst_case_bytes() + size_of::<Inner>()) as u64;
        guest.log(&format!(
            "the log from {word} up is shown here; all of the log takes at most {bytes} bytes of memory"
        ));
        let inner = Inner { reader, format: Console::plain(), level, line: Text::EMPTY, written: 0 };
        let log = ConsoleLog { inner: Rc::new(RefCell::new(inner)) };
        let (task, sleeper) = (log.clone(), guest.clone());
        drop(guest.spawn_background(name!("console"), async move {
            loop {
                let pause = if task.inner.borrow_mut().step(&sleeper) { PAUSE } else { IDLE };
                sleeper.sleep(pause).await;
            }
        }));
        Some(log)
    }

    /// Ends the line that was begun, so that another can be written.
    pub(crate) fn end_line(&self) {
        // Whoever has it borrowed is writing this very line.
        if let Ok(mut inner) = self.inner.try_borrow_mut() {
            inner.write_rest();
        }
    }

    /// Writes everything that is left.
    pub(crate) fn finish(&self, guest: &Guest) {
        let Ok(mut inner) = self.inner.try_borrow_mut() else { return };
        for _ in 0..LAST_LINES {
            if !inner.write_rest() || !inner.next_line(guest) {
                return;
            }
        }
    }
}

impl Inner {
    /// Writes as much as the console takes at once; `false` where there is nothing to write.
    fn step(&mut self, guest: &Guest) -> bool {
        if self.written >= self.line.as_str().len() && !self.next_line(guest) {
            return false;
        }
        self.written += console::try_write(self.line.as_str().as_bytes().get(self.written..).unwrap_or(&[]));
        true
    }

    /// Writes the rest of the line; `false` where the console took nothing for [`PATIENCE_NANOS`].
    fn write_rest(&mut self) -> bool {
        let mut since = clock::now();
        while let Some(rest) = self.line.as_str().get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = console::try_write(rest.as_bytes());
            self.written += written;
            if written > 0 {
                since = clock::now();
            } else if clock::now() - since > PATIENCE_NANOS {
                self.written = self.line.as_str().len();
                return false;
            }
        }
        true
    }

    /// Makes a line of the next record that is to be shown; `false` where there is none.
    fn next_line(&mut self, guest: &Guest) -> bool {
        let Inner { reader, format, level, line, written } = self;
        *written = 0;
        loop {
            line.clear();
            let shown = reader.next(&|number| guest.task_name(number), |_, item| {
                if matches!(item, Item::Record(record) if record.level > *level) {
                    return false;
                }
                // A `Text` takes what fits.
                let _ = format.write(line, item);
                true
            });
            match shown {
                None => return false,
                Some(false) => {}
                Some(true) => {
                    line.end_cut_line();
                    return true;
                }
            }
        }
    }
}
