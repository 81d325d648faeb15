//! Waiting uses no CPU. In a program of its own: a wake of any guest ends the wait of every guest of its process.

use std::fs;
use std::time::Duration;

use fata_kernel::{Boot, Guest};

/// What this thread has used of a CPU.
fn cpu_nanos() -> u64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").expect("a /proc of Linux");
    schedstat.split_ascii_whitespace().next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

#[test]
fn an_idle_guest_uses_no_cpu() {
    async fn idle(guest: Guest) {
        let before = cpu_nanos();
        guest.sleep(Duration::from_secs(1)).await;
        let used = cpu_nanos() - before;
        assert!(used < 10_000_000, "one idle second took {used} ns of a CPU");
    }
    fata_kernel::run(Boot { name: "idle", args: "" }, |guest| Box::pin(idle(guest)));
}
