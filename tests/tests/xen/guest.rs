//! A domain that runs one of the samples, from the xl.cfg beside it.
//!
//! ```ignore
//! let guest = Guest::create(dom0, "hello", "hello-1", "", "");        // sample, domain's name, boot parameters, more settings
//! guest.wait_for("hello from task 1");                                // on its console
//! ```
//! It is destroyed when dropped.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::dom0::Dom0;

/// Longer than any guest here takes to say what it is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// A domain.
pub(crate) struct Guest {
    dom0: &'static Dom0,
    pub(crate) name: String,
    /// Its number. That of a domain which is started anew is another one from then on.
    pub(crate) domid: u32,
    is_gone: bool,
}

impl Guest {
    /// Starts a domain called `name` with the sample, further boot parameters, and further settings as in an xl.cfg,
    /// separated by `;`. Whoever asks for it ends it too: no process of `xl` stays behind to see its end, which takes longer.
    pub(crate) fn create(dom0: &'static Dom0, sample: &str, name: &str, args: &str, settings: &str) -> Self {
        Guest::made(dom0, "xl create -e", sample, name, args, settings)
    }

    /// The same with that process, which does what the settings say when the domain ends by itself.
    pub(crate) fn attended(dom0: &'static Dom0, sample: &str, name: &str, args: &str, settings: &str) -> Self {
        Guest::made(dom0, "xl create", sample, name, args, settings)
    }

    /// An attended one, of which not one instruction has run.
    pub(crate) fn paused(dom0: &'static Dom0, sample: &str, name: &str, args: &str, settings: &str) -> Self {
        Guest::made(dom0, "xl create -p", sample, name, args, settings)
    }

    fn made(dom0: &'static Dom0, xl: &str, sample: &str, name: &str, args: &str, settings: &str) -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../samples/{sample}.cfg"));
        fs::copy(config, dom0.share().join(format!("{name}.cfg"))).unwrap();
        let said = dom0.sh(&format!(
            "{xl} -q {name}.cfg 'kernel=\"/bin/fata-image\"; name=\"{name}\"; cmdline=\"sample={sample} name={name} {args}\"; {settings}' &&
             xenstore-list /local/domain"
        ));
        // No other one is created meanwhile, and each has a higher number than those before it.
        let domid = said.lines().filter_map(|line| line.parse().ok()).max().unwrap();
        Guest { dom0, name: name.to_owned(), domid, is_gone: false }
    }

    /// Has it do what `services.rs` of the kernel's platform lists; it must have been created with `try=yes`.
    pub(crate) fn have_try(&self, what: &str) {
        self.dom0.sh(&format!("xenstore-write /local/domain/{}/control/try {what}", self.domid));
        self.wait_for("what was to be tried is done");
    }

    /// What it has written on its console.
    pub(crate) fn console(&self) -> String {
        // xenconsoled writes it into the share, and dom0 need not be asked.
        let bytes = fs::read(self.dom0.share().join(format!("console/guest-{}.log", self.name))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    /// Waits until its console says `text`, and returns all that it has said.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let console = self.console();
            if console.contains(text) {
                return console;
            }
            assert!(start.elapsed() < PATIENCE, "{}: {text:?} did not appear on its console: {console}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until `xl list` shows it no more.
    pub(crate) fn wait_until_gone(mut self) {
        self.dom0.sh(&format!("while xl list {} >/dev/null 2>&1; do sleep 0.3; done", self.name));
        self.is_gone = true;
    }

    /// Destroys it.
    pub(crate) fn destroy(mut self) {
        self.dom0.sh(&format!("xl destroy {}", self.name));
        self.is_gone = true;
    }

    /// Waits until a destroyed domain is gone altogether: dom0 lets go of the last pages, and with them of the domain.
    pub(crate) fn wait_for_its_last_page(mut self) {
        self.dom0.sh("while xl list | grep '(null)'; do sleep 0.3; done");
        self.is_gone = true;
    }

    /// Waits until Xen has it as one that has crashed, and is kept.
    pub(crate) fn wait_for_crash(&self) {
        self.dom0.sh(&format!("until xl list {} | grep -E ' [-a-z]{{4}}c[-d] '; do sleep 0.3; done", self.name));
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Of no test here does a guest end like this.
        for line in self.dom0.serial().lines().filter(|line| std::thread::panicking() && line.contains("Triple fault"))
        {
            println!("{line}");
        }
        if self.is_gone {
            return;
        }
        // It may have ended, and a test that fails must fail with its own words.
        let _ = std::panic::catch_unwind(|| {
            self.dom0.start(&format!("xl destroy {}", self.name)).wait(Duration::from_secs(30))
        });
    }
}

#[test]
fn beside_every_sample_lies_its_xl_cfg() {
    for sample in fata_samples::SAMPLES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../samples/{}.cfg", sample.name));
        let config = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in [format!("name = \"{}\"", sample.name), format!("cmdline = \"sample={}\"", sample.name)] {
            assert!(config.lines().any(|have| have == line), "{} lacks {line}", path.display());
        }
    }
}
