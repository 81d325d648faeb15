//! Traces with nothing in them: what is missing, and what to do, instead of tables of zeros and empty pictures.
//!
//! A recording without a single event is refused by whoever shows it. Collecting is different: a living guest that has nothing
//! to say yet is no error, one that has ended without a word is.

use std::path::Path;

use fata_collector::End;

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
    } else if path == Path::new("-") || std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
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

/// Refuses the trace at `path` if it is none, or there is no event in it. Reads to the first one.
#[cfg(feature = "viewer")]
pub(crate) fn refuse(path: &Path) -> anyhow::Result<()> {
    use fata_model::ingest::{Ingest, Limits};
    use fata_model::source::{Chunk, OpenError};
    use fata_wire::packet::PacketHeader;

    // What can be read only once is left to whoever shows it.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok(());
    }
    let mut reader = fata_model::source::open(path)?;
    let mut ingest = Ingest::new(Limits::default());
    let mut discarded = 0;
    while let Some(chunk) = reader.next_chunk()? {
        match chunk {
            Chunk::Metadata(text) => ingest.metadata(text).map_err(OpenError::from)?,
            Chunk::Packet(packet) => match PacketHeader::parse(packet) {
                Ok(header) if header.events > 0 => return Ok(()),
                Ok(header) => discarded = header.events_discarded,
                Err(_) => {}
            },
        }
    }
    Err(in_trace(path, discarded))
}

/// Why a recording that ended like this has no event, where that is an error: whoever still runs may yet say something.
pub(crate) fn recorded(guest: &str, end: &End) -> Option<anyhow::Error> {
    match end {
        End::Stopped | End::ReaderGone => None,
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
