//! What the toolstack asks of the guest, through the place `control/shutdown` in XenStore: `xl shutdown`, `xl reboot`.
//!
//! The guest acknowledges by removing the word, seals its ring, and ends. Words that it does not know stay, and so `xl` says
//! that the guest does not react.
//!
//! With the boot parameter `try=yes` a guest listens at `control/try` as well, for what no guest does by itself and those who read
//! it must live with:
//!
//! | word | what it does |
//! |---|---|
//! | `end_grants` | ends all its grants |
//! | `reset_tsc` | sets its counter to 0, as a move to another machine may |
//! | `advance_tsc` | sets it ahead by a second |
//! | `ring_bell` | from then on tells dom0 all the time that packets are ready |

use core::time::Duration;

use fata_probe::log::ResultExt;
use fata_probe::{instant, name};

use super::machine::{boot, trace};
use super::{clock, grants, power, store, vchan};
use crate::Guest;

const PLACE: &str = "control/shutdown";
const TRY: &str = "control/try";

/// Starts the tasks that listen to the toolstack.
pub(in crate::platform) fn start(guest: &Guest) {
    guest.spawn(name!("xen.store"), store::serve());
    guest.spawn(name!("xen.control"), serve());
    if let Some(server) = vchan::Server::new() {
        guest.spawn(name!("xen.vchan"), server.serve());
    }
    if boot::value(boot::args(), "try").is_some() {
        guest.spawn(name!("xen.try"), try_out(guest.clone()));
    }
}

async fn try_out(guest: Guest) {
    let Ok(mut asked) = store::watch(TRY) else { return };
    loop {
        asked.changed().await;
        match store::read(TRY).as_deref() {
            Ok("end_grants") => grants::end_all(),
            Ok("reset_tsc") => clock::set_counter(0),
            Ok("advance_tsc") => clock::advance_counter(1000),
            Ok("ring_bell") => {
                let ringer = guest.clone();
                guest.spawn(name!("xen.ringer"), async move {
                    loop {
                        (0..100).for_each(|_| super::trace::ring_bell());
                        ringer.sleep(Duration::from_millis(1)).await;
                    }
                });
            }
            _ => continue,
        }
        guest.log("what was to be tried is done");
    }
}

async fn serve() {
    // Not asked to watch for a word, the toolstack offers none.
    for feature in ["control/feature-poweroff", "control/feature-reboot"] {
        let offered = store::write(feature, "1").map(|()| true);
        if !offered.on_error("the toolstack cannot ask this domain to end", false) {
            return;
        }
    }
    let watch = store::watch(PLACE).map(Some).on_error("what the toolstack asks is not heard", None);
    let Some(mut asked) = watch else { return };
    loop {
        asked.changed().await;
        let Ok(word) = store::read(PLACE) else { continue };
        match word.as_str() {
            "poweroff" | "halt" => {
                acknowledge(&word);
                power::stop(0)
            }
            "reboot" => {
                acknowledge(&word);
                power::reboot()
            }
            _ => {}
        }
    }
}

fn acknowledge(word: &str) {
    instant!("xen.shutdown", word = word);
    // The toolstack takes the end itself for an answer as well.
    let _ = store::write(PLACE, "");
    trace::exited();
}
