//! The probes one by one, each in a function of its own, for tools that look at machine code: the tests compare their
//! disassembly, and callgrind counts their instructions.

use fata_probe::{instant, span};

/// What the other functions do apart from probing.
#[inline(never)]
pub(crate) fn bare(n: u64) -> u64 {
    n.wrapping_mul(3) ^ 1
}

/// With an event that has no payload.
#[inline(never)]
pub(crate) fn plain(n: u64) -> u64 {
    instant!("hot.plain");
    n.wrapping_mul(3) ^ 1
}

/// With an event of one word.
#[inline(never)]
pub(crate) fn one_u64(n: u64) -> u64 {
    instant!("hot.u64", n = n);
    n.wrapping_mul(3) ^ 1
}

/// With an event of four words.
#[inline(never)]
pub(crate) fn fields4(n: u64) -> u64 {
    instant!("hot.fields4", a = n, b = !n, c = n + 1, d = n + 2);
    n.wrapping_mul(3) ^ 1
}

/// Within a span.
#[inline(never)]
pub(crate) fn spanned(n: u64) -> u64 {
    let _span = span!("hot.span");
    n.wrapping_mul(3) ^ 1
}

/// With an event that is off.
#[inline(never)]
pub(crate) fn disabled(n: u64) -> u64 {
    instant!(level: Debug, "hot.disabled", n = n);
    n.wrapping_mul(3) ^ 1
}

/// One of these functions.
type Hot = fn(u64) -> u64;

/// By the names that the tests use.
pub(crate) const ALL: [(&str, Hot); 6] = [
    ("bare", bare),
    ("plain", plain),
    ("one_u64", one_u64),
    ("fields4", fields4),
    ("spanned", spanned),
    ("disabled", disabled),
];

/// Calls `name` so many times.
pub(crate) fn call(name: &str, times: u64) -> Result<(), String> {
    let (_, function) = ALL.iter().find(|(known, _)| *known == name).ok_or(format!("`{name}` is not one of them"))?;
    for i in 0..times {
        std::hint::black_box(std::hint::black_box(function)(i));
    }
    Ok(())
}
