//! What the toolstack asks of the guest, through the place `control/shutdown` in XenStore: `xl shutdown`, `xl reboot`.
//!
//! The guest acknowledges by removing the word, seals its ring, and ends. Words that it does not know stay, and so `xl` says
//! that the guest does not react.
//!
//! The boot parameter `end_grants=MILLIS`, for trying out, has the guest end all its grants after so long.

use core::time::Duration;

use fata_probe::log::ResultExt;
use fata_probe::{instant, name};

use super::machine::{boot, trace};
use super::{grants, power, store, vchan};
use crate::Guest;

const PLACE: &str = "control/shutdown";

/// Starts the tasks that listen to the toolstack.
pub(in crate::platform) fn start(guest: &Guest) {
    guest.spawn(name!("xen.store"), store::serve());
    guest.spawn(name!("xen.control"), serve());
    if let Some(server) = vchan::Server::new() {
        guest.spawn(name!("xen.vchan"), server.serve());
    }
    if let Some(millis) = boot::number(boot::args(), "end_grants") {
        let guest = guest.clone();
        guest.clone().spawn(name!("xen.end_grants"), async move {
            guest.sleep(Duration::from_millis(millis)).await;
            grants::end_all();
            guest.log("all grants have been ended");
        });
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
