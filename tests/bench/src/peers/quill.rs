//! quill, the C++ logger that comes closest to ours by design: it copies arguments into a queue, and its backend formats them.
//!
//! Headers alone, of which Debian has no package: `QUILL_INCLUDE` names the folder `include` of its repository
//! (github.com/odygrd/quill), unless they lie where the compiler looks. The program is `quill/bench.cpp`: its queue is allocated
//! before and long enough for a round, its clock is the TSC, as it is by default, and between the rounds its backend takes all.

use std::ffi::OsStr;
use std::process::Command;

use super::compiled::Scratch;
use crate::served::Child;

/// By the names of the cases; how many records a round has. Each of the three takes less than the 128 KiB of its queue.
pub(super) const CASES: [(&str, u64); 4] =
    [("quill.0", 1 << 10), ("quill.1", 1 << 10), ("quill.3", 1 << 10), ("quill.filtered", 8 << 10)];
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/quill/bench.cpp");

/// Compiles the program, as quill's own benchmarks are, and starts it for each case.
pub(super) fn start() -> Result<Vec<Child>, String> {
    let include = std::env::var_os("QUILL_INCLUDE");
    let mut args = ["-O3", "-DNDEBUG", "-std=c++17", "-pthread", SOURCE].map(OsStr::new).to_vec();
    if let Some(include) = &include {
        args.extend([OsStr::new("-isystem"), include]);
    }
    let scratch = Scratch::new("quill")?;
    let hint = "QUILL_INCLUDE says where the folder `include` of github.com/odygrd/quill lies";
    let program = scratch.compile("c++", &args, hint)?;
    let fields = CASES.iter().filter_map(|(name, _)| name.strip_prefix("quill."));
    fields.map(|fields| Child::start(Command::new(&program).arg(fields))).collect()
}
