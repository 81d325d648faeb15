//! An ordinary program with the one line in it: the example that people copy, as a process, found and read by the command.
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking")]

mod common;
#[path = "../../../probe/service/examples/shop.rs"]
mod shop;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use common::{Ends, Place, text_of};

/// So many clerks, more than there are rings.
const CLERKS: u64 = 8;
const ORDERS: u64 = 20;

#[test]
#[ignore = "becomes the program; the other tests start it"]
fn shop_process() {
    shop::main().unwrap();
}

/// The program, which serves so many `orders` a clerk and sees `rules` in its environment.
fn shop(place: &Place, orders: u64, rules: &str) -> Ends {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([&orders.to_string(), "shop_process", "--exact", "--ignored"])
        .env("FATA_DIR", place.0.join("rings"))
        .env("FATA_LOG", rules);
    Ends(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn records(place: &Place, args: &[&str]) -> Vec<serde_json::Value> {
    let output = place.run(&[&["log", "shop", "--json", "--no-history"], args].concat());
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    text_of(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_record_of_every_thread_is_found_with_its_thread_and_its_spans() {
    let place = Place::new("service-dead");
    assert!(shop(&place, ORDERS, "debug").0.wait().unwrap().success());
    assert!(place.wait_until_listed("shop").contains("exited"));
    let all = records(&place, &["--level", "debug"]);
    let text = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or("").to_owned();
    assert!(all.iter().all(|record| record["loss"].is_null()), "{all:#?}");

    // One look into the shelf an order, by the clerk whose order it is, within both spans.
    let mut looks: BTreeMap<String, u64> = BTreeMap::new();
    for look in all.iter().filter(|record| text(record, "message") == "looking into the shelf") {
        let [order, sell] = &look["spans"].as_array().unwrap()[..] else { panic!("{look}") };
        assert_eq!((text(order, "name"), text(sell, "name")), ("order".into(), "sell".into()), "{look}");
        assert_eq!(format!("clerk-{}", order["fields"]["clerk"]), text(look, "task"), "{look}");
        assert_eq!(sell["fields"]["article"], look["fields"]["article"], "{look}");
        *looks.entry(text(look, "task")).or_default() += 1;
    }
    let clerks: BTreeMap<_, _> = (0..CLERKS).map(|clerk| (format!("clerk-{clerk}"), ORDERS)).collect();
    assert_eq!(looks, clerks, "{all:#?}");

    // What is said with `log` has the target and the place that it was said with.
    let warnings: Vec<_> = all.iter().filter(|record| text(record, "target") == "till").collect();
    assert_eq!(warnings.len() as u64, CLERKS);
    for warning in warnings {
        assert_eq!(text(warning, "level"), "warn");
        assert!(text(warning, "message").starts_with(&text(warning, "task").replace('-', " ")), "{warning}");
        assert!(text(warning, "file").ends_with("shop.rs") && warning["line"].is_u64(), "{warning}");
    }
    let sold_out = (0..CLERKS).flat_map(|clerk| (0..ORDERS).map(move |order| clerk * 10 + order));
    let sold_out = sold_out.filter(|&article| article > 0 && article.is_multiple_of(13)).count();
    let errors: Vec<_> = all.iter().filter(|record| text(record, "message") == "not sold").collect();
    assert_eq!(errors.len(), sold_out);
    assert!(errors.iter().all(|error| error.to_string().contains("is sold out")), "{errors:#?}");
    let app: Vec<_> = all.iter().filter(|record| text(record, "level") == "app").collect();
    assert_eq!(app.iter().map(|record| text(record, "task")).collect::<Vec<_>>(), ["shop_process"; 2]);
}

#[test]
fn the_level_of_a_program_that_runs_is_changed_from_outside_and_its_threads_are_known_to_who_comes_late() {
    let place = Place::new("service-live");
    let _shop = shop(&place, 100_000, "info");
    place.wait_until_listed("shop");
    let looks = |records: &[serde_json::Value]| records.iter().filter(|record| record["level"] == "debug").count();
    assert_eq!(looks(&records(&place, &[])), 0);
    let changed = place.run(&["ctl", "shop", "level", "service::shop=debug"]);
    assert!(changed.status.success(), "{}", text_of(&changed.stderr));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let found = records(&place, &["--level", "debug"]);
        let tasks: std::collections::BTreeSet<_> =
            found.iter().filter(|record| record["level"] == "debug").map(|record| record["task"].to_string()).collect();
        // All of them, and all by their names.
        if tasks.len() as u64 == CLERKS && tasks.iter().all(|task| task.contains("clerk-")) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{tasks:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
