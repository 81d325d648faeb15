//! The smallest unikernel that has something to show: tasks that sleep, are woken, and are waited for.

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use fata_kernel::Guest;
use fata_probe::name;

pub(crate) async fn main(guest: Guest) {
    guest.log("hello from a unikernel");
    let tasks: Vec<_> = (1..=3u64)
        .map(|n| {
            let guest = guest.clone();
            guest.clone().spawn(name!("greeter"), async move {
                guest.sleep(Duration::from_millis(10 * n)).await;
                guest.log(&format!("hello from task {n}"));
                n
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await;
    }
    guest.log(&format!("{sum} greetings' worth of hello, good bye"));
}
