//! Names for a collector that joins late. In a program of its own: what a host asks for is asked of every guest of the process.
#![cfg(feature = "profiling")]

mod recorded;

use std::time::Duration;

use fata_kernel::name;
use fata_kernel::sync::{Condition, oneshot};

use recorded::{assert_events, record};

#[test]
fn who_joins_late_is_told_what_the_living_tasks_and_objects_are_called() {
    let recorded = record(
        |guest| {
            Box::pin(async move {
                guest.spawn(name!("short"), async {}).await;
                let _plugged = Condition::new(name!("plugged"));
                drop(oneshot::<()>(name!("forgotten")));
                let child = guest.spawn(name!("child"), std::future::pending::<()>());
                guest.sleep(Duration::from_millis(50)).await;
                drop(child);
            })
        },
        true,
    );
    assert_events(
        &recorded,
        r#"create timer timer; spawn 1 "main" 0; ready 1; poll 1
               spawn 2 "short" 1; ready 2; join "join" 2; switch 2; ready 1; done 2
               poll 1
               create condition plugged; create promise forgotten; fail forgotten; drop forgotten
               spawn 3 "child" 1; ready 3; switch/sleep 3; pending 3
               exists timer timer; exists condition plugged; alive 1 "main" 0; alive 3 "child" 1
               signal timer 1; ready 1; poll 1; drop plugged; done 1"#,
    );
}
