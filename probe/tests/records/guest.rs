//! A region that logs, of which one test at a time has the process's rules and its subscriber.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use fata_probe::log::{install, rules, set_rate};
use fata_probe::region::{Attached, Config, Region};

use crate::records::Copy;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) struct Guest {
    pub(crate) region: &'static Region,
    _attached: Attached,
    _alone: MutexGuard<'static, ()>,
}

impl Guest {
    /// With the rules that there are at the start, and without a rate limit.
    pub(crate) fn with(config: &Config<'_>) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| install().unwrap());
        rules::set("reset").unwrap();
        set_rate(0);
        let region = Region::in_memory(config).unwrap();
        let attached = region.attach(0).unwrap();
        Guest { region, _attached: attached, _alone: alone }
    }

    pub(crate) fn copy(&self) -> Copy {
        Copy::of(self.region)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.copy().lines()
    }
}
