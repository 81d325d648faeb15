//! The probes one by one, each in a function of its own, for tools that look at machine code: the tests compare their
//! disassembly, and callgrind counts their instructions.
//!
//! In each the probe comes last, or around all, so that nothing of the function itself has to be kept across it.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use fata_probe::{instant, log, span};

static RESULT: AtomicU64 = AtomicU64::new(0);

/// Something to do, without a stack.
#[inline(always)]
fn work(n: u64) {
    RESULT.store(n.wrapping_mul(3), Ordering::Relaxed);
}

/// What the other functions do apart from probing.
#[inline(never)]
fn bare(n: u64) {
    work(n);
}

/// With an event that has no payload.
#[inline(never)]
fn plain(n: u64) {
    work(n);
    instant!("hot.plain");
}

/// With an event of one word.
#[inline(never)]
fn one_u64(n: u64) {
    work(n);
    instant!("hot.u64", n = n);
}

/// With an event of four words.
#[inline(never)]
fn fields4(n: u64) {
    work(n);
    instant!("hot.fields4", a = n, b = !n, c = n + 1, d = n + 2);
}

/// Within a span.
#[inline(never)]
fn spanned(n: u64) {
    let _span = span!("hot.span");
    work(n);
}

/// With an event that is off: callsites of this level are until a host asks for them.
#[inline(never)]
fn disabled(n: u64) {
    work(n);
    instant!(level: Debug, "hot.disabled", n = n);
}

/// With a log record of three integers.
#[inline(never)]
fn log_three(n: u64) {
    work(n);
    log!(Info, "hot.log", a = n, b = !n, c = n + 1);
}

/// With a log record that a rule keeps out. A load and a branch, and ten to save the registers that a record would need: in a
/// function that does more than this one those are saved anyway.
#[inline(never)]
fn log_off(n: u64) {
    work(n);
    log!(Debug, "hot.log", n = n);
}

/// With a log record that the rate limit keeps out.
#[inline(never)]
fn log_flooded(n: u64) {
    work(n);
    log!(Info, "hot.flood", a = n, b = !n, c = n + 1);
}

/// One of these functions.
type Hot = fn(u64);

/// By the names that the tests use.
const ALL: [(&str, Hot); 9] = [
    ("bare", bare),
    ("plain", plain),
    ("one_u64", one_u64),
    ("fields4", fields4),
    ("spanned", spanned),
    ("disabled", disabled),
    ("log_three", log_three),
    ("log_off", log_off),
    ("log_flooded", log_flooded),
];

/// Calls `name` so many times.
pub(crate) fn call(name: &str, times: u64) -> Result<(), String> {
    // As many records as there are, or hardly any.
    log::set_rate(if name == "log_flooded" { 1 } else { 0 });
    let (_, function) = ALL.iter().find(|(known, _)| *known == name).ok_or(format!("`{name}` is not one of them"))?;
    for i in 0..times {
        black_box(function)(i);
    }
    black_box(RESULT.load(Ordering::Relaxed));
    Ok(())
}

/// Prints where each function lies: those of which the compiler made the same code may be one.
pub(crate) fn print_addresses() {
    for (name, function) in ALL {
        println!("{name} {:p}", black_box(function));
    }
}
