//! Traces with nothing in them: what is missing, and what to do, instead of tables of zeros and empty pictures.
//!
//! A recording without a single event is refused by whoever shows it. Collecting is different: a living guest that has nothing
//! to say yet is no error, one that has ended without a word is.

use std::path::Path;

use fata_collector::End;
#[cfg(feature = "viewer")]
use fata_model::source::{self, Ahead, TraceReader};

/// Why the trace at `path`, which was read to its end without an event, has none.
pub(crate) fn in_trace(path: &Path, discarded: u64) -> anyhow::Error {
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => path.display().to_string(),
    };
    if discarded > 0 {
        anyhow::anyhow!(
            "{name} holds no event: all {discarded} were discarded; the collector came too late or was too slow, give the \
             guest a longer ring (`ring_mib=`) and record again"
        )
    } else if path == Path::new("-") || !path.is_dir() {
        anyhow::anyhow!(
            "{name} is empty: not one event was written to it; record a guest that runs (`fata list` shows all) with \
             `fata collect GUEST -o {}`",
            if path == Path::new("-") { "-" } else { "DIR" }
        )
    } else {
        anyhow::anyhow!(
            "{name} holds a description and not one event: the guest recorded nothing while it was collected; record it again \
             while it works (`fata list` shows the rate of each), or take what its ring still holds with --snapshot"
        )
    }
}

/// The trace at `path`, to be read from its begin; refused if it is none, or there is no event in it.
///
/// Reads to the first event, for which a pipe may take its time.
#[cfg(feature = "viewer")]
pub(crate) fn open_unless_empty(path: &Path) -> anyhow::Result<TraceReader> {
    let mut reader = source::open(path)?;
    match reader.look_ahead()? {
        Ahead::Event => Ok(reader),
        Ahead::Nothing { discarded } => Err(in_trace(path, discarded)),
    }
}

/// Why a recording that ended like this has no event, where that is an error: whoever still runs may yet say something.
pub(crate) fn recorded(guest: &str, end: &End) -> Option<anyhow::Error> {
    match end {
        End::Stopped | End::ReaderGone | End::ClockChanged => None,
        End::Copied | End::Image(..) => Some(anyhow::anyhow!(
            "the ring of {guest} is empty: it has recorded nothing yet; try again once `fata list` shows events, or with a \
             higher --level"
        )),
        End::Exited | End::Asked(_) | End::Panicked(_) | End::Killed(_) | End::Crashed(_) | End::Restarted => {
            Some(anyhow::anyhow!(
                "nothing is left in the ring of {guest}, which has ended: what it held was collected before; --snapshot copies it \
             once more"
            ))
        }
    }
}
