//! Other tracers, each in a process of its own, on what each is made for: a span, recorded and taken away.
//!
//! What is taken away by threads of their own is taken away between the rounds, which are short: what is measured is what
//! the traced program waits for, at its best.

#[cfg(feature = "peers")]
mod chrome;
#[cfg(feature = "peers")]
mod compiled;
#[cfg(feature = "peers")]
mod defmt;
#[cfg(feature = "peers")]
mod fastrace;
#[cfg(feature = "peers")]
mod logs;
#[cfg(feature = "peers")]
mod lttng;
#[cfg(feature = "peers")]
mod puffin;
#[cfg(feature = "peers")]
mod quill;
#[cfg(feature = "peers")]
mod tracy;

#[cfg(feature = "peers")]
use crate::burst;
use crate::case::Case;
#[cfg(feature = "peers")]
use crate::case::Unit;
#[cfg(feature = "peers")]
use crate::case_of;
#[cfg(feature = "peers")]
use crate::served::Child;
use crate::served::Round;

/// A round of some case, for a child.
pub(crate) type Server = Box<dyn FnMut(u64) -> Result<Round, String>>;

/// What a child of this program can be asked for.
pub(crate) fn server(name: &str) -> Result<Server, String> {
    if let Some(server) = crate::logs::server(name) {
        return server;
    }
    #[cfg(feature = "peers")]
    if let Some(server) = logs::server(name) {
        return server;
    }
    Ok(match name {
        "switch" => Box::new(|events| Ok((crate::switch::round(events), None))),
        "full" => crate::full::server()?,
        #[cfg(not(feature = "profiling"))]
        "compiled_out" => Box::new(|events| Ok((crate::fata::compiled_out(events), None))),
        #[cfg(feature = "peers")]
        "tracy" => tracy::server(|| ())?,
        #[cfg(feature = "peers")]
        "tracy.burst" => tracy::server(burst::walk)?,
        #[cfg(feature = "peers")]
        "fastrace" => fastrace::server(|| ()),
        #[cfg(feature = "peers")]
        "fastrace.burst" => fastrace::server(burst::walk),
        #[cfg(feature = "peers")]
        "puffin" => puffin::server(|| ()),
        #[cfg(feature = "peers")]
        "puffin.burst" => puffin::server(burst::walk),
        #[cfg(feature = "peers")]
        "tracing-chrome" => chrome::server()?,
        _ => return Err(format!("`{name}` is not served here")),
    })
}

/// By the names of the cases that this program serves itself; how many spans a round has.
#[cfg(feature = "peers")]
const SPANS: [(&str, u64); 7] = [
    ("tracy", 8 << 10),
    ("tracy.burst", burst::EVENTS),
    ("fastrace", 4 << 10),
    ("fastrace.burst", burst::EVENTS),
    ("puffin", 2 << 10),
    ("puffin.burst", burst::EVENTS),
    ("tracing-chrome", 512),
];

/// The names of the cases, whether they can run here or not.
#[cfg(feature = "peers")]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    [&SPANS[..], &logs::CASES, &quill::CASES, &lttng::CASES].into_iter().flatten().map(|(name, _)| *name)
}

/// Built without peers.
#[cfg(not(feature = "peers"))]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    std::iter::empty()
}

/// Adds the peers that can run here, and says why others cannot.
#[cfg(feature = "peers")]
pub(crate) fn cases(cases: &mut Vec<Case>) -> Vec<String> {
    let mut skipped = Vec::new();
    for (name, spans) in SPANS {
        let child = if name.starts_with("tracy") { tracy::child(name) } else { Child::own(name) };
        match child {
            Ok(child) => cases.push(served_case(name, Unit::Span, spans, child)),
            Err(error) => skipped.push(format!("{name}: {error}")),
        }
    }
    for (name, records) in logs::CASES {
        match Child::own(name) {
            Ok(child) => cases.push(crate::log_case(name, records, child)),
            Err(error) => skipped.push(format!("{name}: {error}")),
        }
    }
    match quill::start() {
        Ok(children) => {
            let started = quill::CASES.into_iter().zip(children);
            cases.extend(started.map(|((name, records), child)| crate::log_case(name, records, child)));
        }
        Err(error) => skipped.push(format!("quill: {error}")),
    }
    match lttng::Session::start() {
        Ok(session) => cases.extend(session.cases()),
        Err(error) => skipped.push(format!("lttng-ust: {error}")),
    }
    skipped
}

#[cfg(feature = "peers")]
fn served_case(name: &'static str, unit: Unit, per_round: u64, child: Child) -> Case {
    let child = std::rc::Rc::new(std::cell::RefCell::new(child));
    let same = child.clone();
    let round = move |events| child.borrow_mut().round(events);
    case_of(name, unit, per_round, round, move || Ok(same.borrow().bytes()))
}

/// Built without peers.
#[cfg(not(feature = "peers"))]
pub(crate) fn cases(_cases: &mut Vec<Case>) -> Vec<String> {
    vec!["the peers: this program was built without its feature `peers`".into()]
}
