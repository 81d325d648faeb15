//! The macros: one grammar, two meanings.
//!
//! `name!("category.name" [, level: L] …, field = value, …)`: options come first, then the name, then up to 12 fields. With
//! the feature `profiling` a macro makes a static [`Callsite`](crate::Callsite) and records; without it the values are
//! type-checked inside a closure that is never called.
//!
//! Each static is `#[used]`: the optimiser sees nobody write to it, since that happens through the linker's section
//! symbols, and would otherwise take its template for a constant 0.

/// Records an event of a given [`Kind`](crate::Kind): `event!(Kind::Ready, "task.ready", task = TaskId(3))`.
///
/// Options before the name: `level: Debug` (default `Info`; from `Debug` on, callsites are off until the host asks for
/// them) and `category: "net"` (default: the word before the name's first dot).
#[cfg(feature = "profiling")]
#[macro_export]
macro_rules! event {
    ($kind:expr, $($rest:tt)+) => {
        $crate::__probe!([$kind] [Info] [] [$crate::__private::record] [{ false }] $($rest)+)
    };
}

/// Begins a span and returns it: [`span_end!`](crate::span_end!) ends it. See [`span!`](crate::span!) for one that ends by itself.
#[cfg(feature = "profiling")]
#[macro_export]
macro_rules! span_begin {
    ($($rest:tt)+) => {
        $crate::__probe!([$crate::Kind::Span] [Info] [] [$crate::__private::begin] [$crate::Span::OFF] $($rest)+)
    };
}

/// The name of something, known at link time: `const PORT: Name = name!("evtchn.port")`.
#[cfg(feature = "profiling")]
#[macro_export]
macro_rules! name {
    ($text:expr) => {
        $crate::Name::of_callsite($crate::__callsite!(
            $crate::Kind::Name,
            $crate::__private::category_of($text),
            $text,
            &[]
        ))
    };
}

/// Not for use by hand: a callsite of this kind, category, name and these fields, by reference.
#[cfg(feature = "profiling")]
#[doc(hidden)]
#[macro_export]
macro_rules! __callsite {
    ($kind:expr, $category:expr, $name:expr, $fields:expr) => {{
        #[used]
        #[unsafe(link_section = "fata_callsites")]
        static CALLSITE: $crate::__private::Callsite = $crate::__private::Callsite::new(
            $kind,
            $crate::Level::Info,
            $category,
            $name,
            ::core::file!(),
            ::core::line!(),
            $fields,
        );
        &CALLSITE
    }};
}

/// What a task may wait for, as a `&'static` [`Wait`](crate::Wait): `wait!("tcp.read")`, or `wait!()` for what has no name.
#[cfg(feature = "profiling")]
#[macro_export]
macro_rules! wait {
    () => {
        $crate::__wait!("task.pending", "task.switch")
    };
    ($text:literal) => {
        $crate::__wait!(::core::concat!("task.pending/", $text), ::core::concat!("task.switch/", $text))
    };
}

/// Not for use by hand: the names of the two callsites.
#[cfg(feature = "profiling")]
#[doc(hidden)]
#[macro_export]
macro_rules! __wait {
    ($pending:expr, $switch:expr) => {{
        static WAIT: $crate::Wait = $crate::Wait::of_callsites(
            $crate::__callsite!($crate::Kind::Pending, "task", $pending, &["task"]),
            $crate::__callsite!($crate::Kind::Switch, "task", $switch, &["task"]),
        );
        &WAIT
    }};
}

/// Not for use by hand: `[kind] [level] [category?] [function] [value when off] options… name fields…`.
#[cfg(feature = "profiling")]
#[doc(hidden)]
#[macro_export]
macro_rules! __probe {
    ([$kind:expr] [$level:ident] [$($category:expr)?] [$function:path] [$off:expr] level: $new:ident, $($rest:tt)+) => {
        $crate::__probe!([$kind] [$new] [$($category)?] [$function] [$off] $($rest)+)
    };
    ([$kind:expr] [$level:ident] [$($category:expr)?] [$function:path] [$off:expr] category: $new:expr, $($rest:tt)+) => {
        $crate::__probe!([$kind] [$level] [$new] [$function] [$off] $($rest)+)
    };
    ([$kind:expr] [$level:ident] [] [$function:path] [$off:expr] $name:expr $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::__probe!([$kind] [$level] [$crate::__private::category_of($name)] [$function] [$off] $name $(, $field = $value)*)
    };
    ([$kind:expr] [$level:ident] [$category:expr] [$function:path] [$off:expr] $name:expr $(, $field:ident = $value:expr)* $(,)?) => {{
        #[used]
        #[unsafe(link_section = "fata_callsites")]
        static CALLSITE: $crate::__private::Callsite = $crate::__private::Callsite::new(
            $kind, $crate::Level::$level, $category, $name, ::core::file!(), ::core::line!(),
            &[$(::core::stringify!($field)),*],
        );
        match $crate::__template!(CALLSITE) {
            0 => $off,
            template => {
                let fields = $crate::__fields!($($value,)*);
                $crate::__when_on!($level, $function(&CALLSITE, template, fields))
            }
        }
    }};
}

/// Not for use by hand: records, out of the way where the level says that this is seldom wanted. What is off by default then
/// takes no room between the instructions of what is not.
#[cfg(feature = "profiling")]
#[doc(hidden)]
#[macro_export]
macro_rules! __when_on {
    (Debug, $record:expr) => {
        $crate::__private::seldom(move || $record)
    };
    (Trace, $record:expr) => {
        $crate::__private::seldom(move || $record)
    };
    ($level:ident, $record:expr) => {
        $record
    };
}

/// Not for use by hand: the word of a static [`Callsite`](crate::Callsite) that says whether it is on, by one load.
///
/// A static that the linker must keep is one that a shared library might replace, so the compiler loads its address before
/// it loads the word. Named in an instruction, it is where it is. (Rust: a relaxed load, which is what an aligned `mov` is;
/// the word is the first of the static.)
#[cfg(all(target_arch = "x86_64", feature = "profiling", not(miri), not(loom)))]
#[doc(hidden)]
#[macro_export]
macro_rules! __template {
    ($callsite:ident) => {{
        let template: u32;
        // SAFETY: reads four aligned bytes of a static that lives for ever, and which are only written as an atomic.
        unsafe {
            ::core::arch::asm!(
                "mov {template:e}, dword ptr [rip + {callsite}]",
                template = out(reg) template,
                callsite = sym $callsite,
                options(readonly, nostack, preserves_flags),
            );
        }
        template
    }};
}

/// Not for use by hand: the word of a static [`Callsite`](crate::Callsite) that says whether it is on.
#[cfg(all(any(not(target_arch = "x86_64"), miri, loom), feature = "profiling"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __template {
    ($callsite:ident) => {
        $callsite.enabled().unwrap_or(0)
    };
}

/// Not for use by hand: values as nested cells.
#[doc(hidden)]
#[macro_export]
macro_rules! __fields {
    () => { $crate::__private::Nil };
    ($value:expr, $($rest:expr,)*) => { $crate::__private::Cons($value, $crate::__fields!($($rest,)*)) };
}

/// Makes a log record: `log!(Warn, "segment retransmitted", port = 80u16)`. See [`mod@crate::log`].
///
/// First the level (`App`, `Error`, `Warn`, `Info`, `Debug`, `Trace`), then `target: "net"` where it is not the module's path,
/// then the text, which is known when the program is written, then up to 10 fields; at ERROR and WARN up to 9, since those
/// records name the spans of `tracing` around them too. Others do not, as it would cost each of them what two fields do.
#[cfg(feature = "profiling")]
#[macro_export]
macro_rules! log {
    (Error, target: $target:expr, $($rest:tt)+) => {
        $crate::__log!(Error, $target, ["fata.spans",] [$crate::log::Spans,] $($rest)+)
    };
    (Warn, target: $target:expr, $($rest:tt)+) => {
        $crate::__log!(Warn, $target, ["fata.spans",] [$crate::log::Spans,] $($rest)+)
    };
    ($level:ident, target: $target:expr, $($rest:tt)+) => {
        $crate::__log!($level, $target, [] [] $($rest)+)
    };
    ($level:ident, $text:expr $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::log!($level, target: ::core::module_path!(), $text $(, $field = $value)*)
    };
}

/// Not for use by hand: `level, target, [own names,] [own values,] text, fields…`.
#[cfg(feature = "profiling")]
#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    (
        $level:ident, $target:expr, [$($own:literal,)?] [$($own_value:expr,)?]
        $text:expr $(, $field:ident = $value:expr)* $(,)?
    ) => {{
        #[used]
        #[unsafe(link_section = "fata_callsites")]
        static CALLSITE: $crate::__private::Callsite = $crate::__private::Callsite::new(
            $crate::Kind::Log, $crate::Level::$level, $target, $text, ::core::file!(), ::core::line!(),
            &["fata.seq", "fata.task", $($own,)? $(::core::stringify!($field)),*],
        );
        static BUCKET: $crate::log::Bucket = $crate::log::Bucket::new();
        match $crate::__template!(CALLSITE) {
            0 => $crate::log::filtered($crate::Level::$level),
            template => $crate::log::record(
                &CALLSITE, &BUCKET, $crate::Level::$level, template, $crate::__fields!($($own_value,)? $($value,)*),
            ),
        }
    }};
}

/// Makes a log record; compiled out.
#[cfg(not(feature = "profiling"))]
#[macro_export]
macro_rules! log {
    ($level:ident, target: $target:expr, $text:expr $(, $field:ident = $value:expr)* $(,)?) => {{
        let _ = $crate::Level::$level;
        $crate::__unused!($text $(, $field = $value)*);
    }};
    ($level:ident, $text:expr $(, $field:ident = $value:expr)* $(,)?) => {
        $crate::log!($level, target: "", $text $(, $field = $value)*)
    };
}

/// Records an event of a given kind; compiled out.
#[cfg(not(feature = "profiling"))]
#[macro_export]
macro_rules! event {
    ($kind:expr, $($rest:tt)+) => {{ let _ = || -> $crate::Kind { $kind }; $crate::__unused!($($rest)+); false }};
}

/// Begins a span and returns it; compiled out.
#[cfg(not(feature = "profiling"))]
#[macro_export]
macro_rules! span_begin {
    ($($rest:tt)+) => {{ $crate::__unused!($($rest)+); $crate::Span::OFF }};
}

/// The name of something; compiled out.
#[cfg(not(feature = "profiling"))]
#[macro_export]
macro_rules! name {
    ($text:expr) => {{
        const _: &str = $text;
        $crate::Name::UNNAMED
    }};
}

/// What a task may wait for; compiled out.
#[cfg(not(feature = "profiling"))]
#[macro_export]
macro_rules! wait {
    ($($text:literal)?) => {
        &$crate::Wait::OFF
    };
}

/// Not for use by hand: checks the types of the values without evaluating them.
#[cfg(not(feature = "profiling"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __unused {
    (level: $level:ident, $($rest:tt)+) => { $crate::__unused!($($rest)+) };
    (category: $category:expr, $($rest:tt)+) => {
        let _ = || -> &str { $category };
        $crate::__unused!($($rest)+)
    };
    ($name:expr $(, $field:ident = $value:expr)* $(,)?) => {
        let _ = || {
            let _ = $crate::__fields!($($value,)*);
        };
    };
}

/// Begins a span that ends when the returned guard is dropped: `let _span = span!("net.rx", bytes = n);`.
///
/// The guard may be held across `.await`: spans nest per task.
#[macro_export]
macro_rules! span {
    ($($rest:tt)+) => { $crate::span_begin!($($rest)+).guard() };
}

/// Ends a span that [`span_begin!`](crate::span_begin!) began.
#[macro_export]
macro_rules! span_end {
    ($span:expr) => {
        $crate::Span::end($span)
    };
}

/// Records that something happened: `instant!("dns.miss", port = 53u16)`.
#[macro_export]
macro_rules! instant {
    ($($rest:tt)+) => { { let _recorded: bool = $crate::event!($crate::Kind::Instant, $($rest)+); } };
}

/// Records the absolute value of something that changes: `counter!("heap.live", bytes = n)`. The first field is the value.
#[macro_export]
macro_rules! counter {
    ($($rest:tt)+) => { { let _recorded: bool = $crate::event!($crate::Kind::Counter, $($rest)+); } };
}

/// Begins a flow, the arrow that joins what belongs together across tasks and layers: `flow_begin!("net.packet", id = FlowId(7))`.
/// The first field is its id; one id is one flow within a category.
#[macro_export]
macro_rules! flow_begin {
    ($($rest:tt)+) => { { let _recorded: bool = $crate::event!($crate::Kind::FlowBegin, $($rest)+); } };
}

/// Records a point that a flow passes.
#[macro_export]
macro_rules! flow_step {
    ($($rest:tt)+) => { { let _recorded: bool = $crate::event!($crate::Kind::FlowStep, $($rest)+); } };
}

/// Records a flow's last point.
#[macro_export]
macro_rules! flow_end {
    ($($rest:tt)+) => { { let _recorded: bool = $crate::event!($crate::Kind::FlowEnd, $($rest)+); } };
}
