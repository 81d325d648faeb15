//! Each ordering between guest and host is needed: left out, a model fails. And each that is in the source is in a model, or among
//! those that no host sees, or a reader's.

use std::string::String;
use std::vec::Vec;

use super::{all, fails};
use crate::sync::model::{self, Site};

/// The files whose orderings between guest and host are modelled.
const SOURCES: [(&str, &str); 5] = [
    ("region.rs", include_str!("../../region.rs")),
    ("ring/ledger.rs", include_str!("../ledger.rs")),
    ("ring/mod.rs", include_str!("../mod.rs")),
    ("ring/switch.rs", include_str!("../switch.rs")),
    ("ring/word.rs", include_str!("../word.rs")),
];

/// Where the guest orders what a host sees, once for each place in the source.
const ORDERED: [&str; 14] = [
    "region.rs, append",
    "region.rs, control_word",
    "region.rs, forget_clock",
    "region.rs, publish_stream",
    "region.rs, put_reply",
    "region.rs, set_running",
    "region.rs, set_state",
    "region.rs, sign",
    "ring/mod.rs, commit",
    "ring/mod.rs, commit",
    "ring/switch.rs, open",
    "ring/switch.rs, open",
    "ring/switch.rs, seal",
    "ring/word.rs, fence_publish",
];

/// Where it orders what no host sees, and what loom is therefore not asked: the list of regions, which threads of one process
/// walk, and a writer's state, which an interrupt on the same CPU finds (of which `nested` and `ledgers` try every point).
const PRIVATE: [&str; 7] = [
    "region.rs, all",
    "region.rs, publish",
    "ring/ledger.rs, tell",
    "ring/mod.rs, reserve",
    "ring/mod.rs, reserve_or_say",
    "ring/switch.rs, open",
    "ring/word.rs, compare_exchange_local",
];

/// Where a reader within the guest's own program orders its copies, as the models' reader does.
const WITHIN: [&str; 1] = ["ring/word.rs, copy_word"];

/// The function that a line of a source is in.
fn place((file, text): (&str, &str), line: usize) -> String {
    let name = |line: &str| Some(String::from(line.split_once("fn ")?.1.split(['(', '<']).next()?));
    let before = text.lines().take(line).filter(|line| !line.trim_start().starts_with("//"));
    let function = before.filter_map(name).last().unwrap_or_default();
    std::format!("{file}, {function}")
}

/// The places of the guest's code that order anything in the models.
fn modelled() -> Vec<(Site, String)> {
    let place = |site: Site| {
        let source = SOURCES.into_iter().find(|(file, _)| site.0.ends_with(&std::format!("src/{file}")))?;
        Some((site, place(source, usize::try_from(site.1).unwrap())))
    };
    model::sites().into_iter().filter_map(place).collect()
}

#[test]
fn every_ordering_in_the_ring_is_needed() {
    all();
    let modelled = modelled();
    let mut places: Vec<_> = modelled.iter().map(|(_, place)| place.as_str()).collect();
    places.sort_unstable();
    // `fence_publish` is where its callers are.
    assert!(places.iter().eq(ORDERED.iter().filter(|place| !place.ends_with("fence_publish"))), "{places:#?}");
    let mut needless = Vec::new();
    for (site, place) in modelled {
        model::weaken(Some(site));
        let failed = fails(all);
        model::weaken(None);
        std::println!("without {place} ({}): {}", site.1, if failed { "a model fails" } else { "NOTHING FAILS" });
        if !failed {
            needless.push(place);
        }
    }
    assert_eq!(needless, [""; 0], "orderings that no model needs");
}

#[test]
fn no_ordering_in_the_source_is_without_a_model() {
    let mut found = Vec::new();
    for (file, text) in SOURCES {
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let orders =
                ["Ordering::Acquire", "Ordering::Release", "Ordering::AcqRel", "Ordering::SeqCst", "fence_publish();"];
            if orders.iter().any(|order| line.contains(order)) {
                found.push(place((file, text), i + 1));
            }
        }
    }
    found.sort_unstable();
    let mut listed: Vec<_> = ORDERED.into_iter().chain(PRIVATE).chain(WITHIN).collect();
    listed.sort_unstable();
    assert_eq!(found, listed);
}
