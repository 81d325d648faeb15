//! What lists of events mean: tasks' states, spans and whose time they are, wakes, objects, flows, gaps.

mod common;

use common::{
    A, ALIVE, B, C, CLIENT, CLOCK, CREATE, DONE, DROP, EXISTS, FAIL, FLOW_BEGIN, FLOW_END, Guest, HEAP, IRQ, LEVEL,
    MARK, PENDING, PENDING_FOR, POLL, READ, READY, REPLY, RESOLVE, SERVER, SIGNAL, SWITCH, SWITCH_FOR, TEXT, TRY,
    WAIT_FOR, row,
};
use fata_model::objects::Verdict;
use fata_model::tasks::State;
use fata_model::trace::{Actor, TaskRef, TrackKind};
use fata_wire::shared::Clock;

#[test]
fn a_task_is_idle_from_its_spawn_ready_from_its_wake_running_in_its_polls_and_done() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0) // 0
        .event(READY, 1) // 10
        .event(POLL, 1) // 20
        .event(PENDING, 1) // 30
        .at(100)
        .event(READY, 1) // 100
        .event(POLL, 1) // 110
        .event(DONE, 1) // 120
        .trace();
    assert_eq!(
        row(&trace, "Task {"),
        ["0..10 idle", "10..20 ready", "20..30 running", "30..100 idle", "100..110 ready", "110..120 running"]
    );
    assert_eq!(row(&trace, "Cpu {"), ["20..30 server #1", "110..120 server #1"]);
    let task = &trace.tasks()[0];
    assert_eq!((task.polls, task.wakes, task.done, task.state), (2, 2, Some(120), State::Done));
    let nanos = [State::Running, State::Ready, State::Idle].map(|state| task.nanos_in(state, task.since));
    assert_eq!(nanos, [20, 20, 80]);
    assert_eq!(task.max_ready_nanos, 10);
}

#[test]
fn a_task_whose_spawn_was_not_seen_has_the_name_that_is_said_again_and_stays_the_task_it_is() {
    let trace = Guest::new()
        .event(READY, 1) // 0
        .event(POLL, 1) // 10
        .event(PENDING, 1) // 20
        .with(ALIVE, 1, &[u64::from(SERVER), 0]) // 30
        .with(ALIVE, 2, &[u64::from(CLIENT), 1]) // 40
        .event(READY, 1) // 50
        .trace();
    assert_eq!(
        row(&trace, "Task { task: TaskRef(0)"),
        ["0..10 ready", "10..20 running", "20..50 idle", "50..50 open ready"]
    );
    let tasks: Vec<_> = trace.tasks().iter().map(|task| (task.number, task.name, task.parent, task.spawned)).collect();
    assert_eq!(tasks, [(1, Some(SERVER.into()), None, None), (2, Some(CLIENT.into()), Some(TaskRef(0)), None)]);
    assert_eq!(trace.tasks()[1].state, State::Unknown);
}

#[test]
fn a_switch_ends_one_poll_and_begins_the_next_at_the_same_instant() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .spawn(2, CLIENT, 1)
        .event(READY, 1) // 20
        .event(READY, 2) // 30
        .event(POLL, 1) // 40
        .event(SWITCH, 2) // 50
        .event(PENDING, 2) // 60
        .trace();
    assert_eq!(row(&trace, "Cpu {"), ["40..50 server #1", "50..60 client #2"]);
    assert_eq!(
        row(&trace, "Task { task: TaskRef(0)"),
        ["0..20 idle", "20..40 ready", "40..50 running", "50..60 open idle"]
    );
    assert_eq!(
        row(&trace, "Task { task: TaskRef(1)"),
        ["10..30 idle", "30..50 ready", "50..60 running", "60..60 open idle"]
    );
    assert_eq!(trace.tasks()[1].parent, Some(TaskRef(0)));
}

#[test]
fn a_task_woken_during_its_own_poll_is_ready_when_the_poll_ends() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .event(READY, 1)
        .event(POLL, 1) // 20
        .event(READY, 1) // 30
        .event(PENDING, 1) // 40
        .event(POLL, 1) // 50
        .event(PENDING, 1)
        .trace();
    assert_eq!(
        row(&trace, "Task {"),
        ["0..10 idle", "10..20 ready", "20..40 running", "40..50 ready", "50..60 running", "60..60 open idle"]
    );
}

#[test]
fn a_wake_knows_its_waker_task_interrupt_or_scheduler() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .spawn(2, CLIENT, 0)
        .event(READY, 1) // 20, by the scheduler
        .event(POLL, 1) // 30
        .event(READY, 2) // 40, by task 1
        .begin(IRQ) // 50
        .event(READY, 1) // 60, by the interrupt
        .end(IRQ)
        .event(PENDING, 1)
        .trace();
    let wakes: Vec<_> = trace.wakes(0, 0, 1000).map(|wake| (wake.time, wake.from, wake.to)).collect();
    let (one, two) = (TaskRef(0), TaskRef(1));
    assert_eq!(wakes, [(20, Actor::Scheduler, one), (40, Actor::Task(one), two), (60, Actor::Interrupt, one)]);
    assert_eq!(trace.wakes(0, 21, 60).count(), 1);
    let chain: Vec<_> = trace.wake_chain(two, 100, 10).iter().map(|wake| (wake.time, wake.from)).collect();
    assert_eq!(chain, [(40, Actor::Task(one)), (20, Actor::Scheduler)]);
}

#[test]
fn what_a_task_waits_for_is_said_by_its_idle_interval() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .event(READY, 1)
        .event(POLL, 1)
        .event(WAIT_FOR, CLIENT)
        .event(PENDING, 1) // 40
        .event(READY, 1)
        .event(POLL, 1)
        .with(CREATE, 3, &[u64::from(REPLY)])
        .event(TRY, 3)
        .event(WAIT_FOR, CLIENT) // such as the timer of a timeout
        .event(PENDING, 1) // 100
        .trace();
    let states = trace.tasks()[0].states;
    let said = |time| {
        let details = trace.details(states, trace.entry_at(states, time).unwrap()).unwrap();
        details.lines.into_iter().find(|line| line.name == "waits for").map(|line| line.text)
    };
    assert_eq!(said(45).as_deref(), Some("client"));
    assert_eq!(said(100).as_deref(), Some("arp.reply"));
    assert_eq!(said(5), None);
}

#[test]
fn the_end_of_a_poll_may_say_what_its_task_waits_for_and_the_next_poll_may_say_it_along() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .spawn(2, CLIENT, 0)
        .event(POLL, 1) // 20
        .event(SWITCH_FOR, 2) // 30: task 1 waits
        .event(PENDING_FOR, 2) // 40: task 2 waits
        .event(READY, 2)
        .event(POLL, 2)
        .event(PENDING, 2) // 70: for nothing that is said
        .trace();
    let said = |task: usize, time| {
        let states = trace.tasks()[task].states;
        let details = trace.details(states, trace.entry_at(states, time).unwrap()).unwrap();
        details.lines.into_iter().find(|line| line.name == "waits for").map(|line| line.text)
    };
    assert_eq!(said(0, 35).as_deref(), Some("arp.reply"));
    assert_eq!(said(1, 45).as_deref(), Some("server"));
    assert_eq!(said(1, 70), None);
}

#[test]
fn a_number_that_is_used_again_is_another_task() {
    let mut guest = Guest::new();
    for name in [SERVER, CLIENT] {
        guest.spawn(1, name, 0).event(READY, 1).event(POLL, 1).event(DONE, 1);
    }
    let trace = guest.trace();
    assert_eq!(trace.tasks().len(), 2);
    assert_eq!([trace.task_label(TaskRef(0)), trace.task_label(TaskRef(1))], ["server #1", "client #1"]);
}

#[test]
fn spans_nest_and_self_time_is_what_children_do_not_cover() {
    let trace = Guest::new()
        .event(POLL, 1) // 0
        .begin(A) // 10
        .begin(B) // 20
        .begin(C) // 30
        .end(C) // 40
        .end(B) // 50
        .begin(C) // 60
        .end(C) // 70
        .end(A) // 80
        .trace();
    let stats = trace.stats();
    let of = |name: &str| {
        let c = stats.callsites.iter().find(|c| c.name == name).unwrap();
        (c.count, c.total_ns, c.self_ns, c.max_ns)
    };
    assert_eq!((of("app.a"), of("app.b"), of("net.c")), ((1, 70, 30, 70), (1, 30, 20, 30), (2, 20, 20, 10)));
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 2 }"), ["30..40 net.c"]);
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 1 }"), ["20..50 app.b", "60..70 net.c"]);
    let a = &row(&trace, "TaskSpans { task: TaskRef(0), depth: 0 }")[0];
    assert_eq!(a, r#"10..80 app.a [FieldValue { name: "bytes", text: "1234 B (1.21 KiB)" }]"#);
}

#[test]
fn what_tracing_took_is_events_times_what_one_costs() {
    let clock = Clock { clock_cost_picos: 9_000, probe_cost_picos: 10_000, ..CLOCK };
    // 4 events recorded and 6 discarded, of 10 ns each, in 4 us.
    let trace = Guest::new().begin(A).end(A).discard(6).begin(B).at(4000).end(B).trace_by(&clock);
    let stats = trace.stats();
    assert_eq!(stats.duration_ns, 4000);
    assert_eq!(stats.clock.unwrap().perturbation_ppm, Some(25_000));
    assert_eq!(stats.warnings, Vec::<String>::new());
    assert_eq!(Guest::new().begin(A).end(A).trace().stats().clock.unwrap().perturbation_ppm, None, "not measured");
}

#[test]
fn a_clock_that_traps_is_warned_about() {
    let clock = Clock { clock_cost_picos: 1_300_000, ..CLOCK };
    let stats = Guest::new().begin(A).end(A).trace_by(&clock).stats();
    assert!(stats.warnings[0].starts_with("reading the guest's clock costs 1300 ns"), "{:?}", stats.warnings);
}

#[test]
fn a_span_held_across_polls_belongs_to_its_task_and_not_to_what_runs_between() {
    let trace = Guest::new()
        .event(POLL, 1) // 0
        .begin(A) // 10
        .event(SWITCH, 2) // 20
        .begin(B) // 30
        .end(B) // 40
        .event(SWITCH, 1) // 50
        .end(A) // 60
        .trace();
    assert!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 0 }")[0].starts_with("10..60 app.a"));
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(1), depth: 0 }"), ["30..40 app.b"]);
    let a = trace.stats().callsites.into_iter().find(|c| c.name == "app.a").unwrap();
    assert_eq!((a.total_ns, a.self_ns), (50, 50));
}

#[test]
fn an_interrupt_lies_over_whatever_runs_and_takes_its_self_time() {
    let trace = Guest::new()
        .event(POLL, 1) // 0
        .begin(B) // 10
        .begin(IRQ) // 20
        .with(MARK, 0, &[1]) // 30
        .end(IRQ) // 40
        .end(B) // 50
        .trace();
    assert_eq!(row(&trace, "CpuSpans"), ["20..40 irq.timer"]);
    assert_eq!(row(&trace, "CpuInstants").len(), 1, "what happens in an interrupt is the vCPU's");
    let b = trace.stats().callsites.into_iter().find(|c| c.name == "app.b").unwrap();
    assert_eq!((b.total_ns, b.self_ns), (40, 20));
}

#[test]
fn guards_that_end_in_another_order_keep_their_rows_and_their_own_time() {
    let trace = Guest::new()
        .event(POLL, 1) // 0
        .begin(A) // 10
        .begin(B) // 20
        .end(A) // 30
        .begin(C) // 40: above B, which kept its depth
        .end(C) // 50
        .end(B) // 60
        .trace();
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 1 }"), ["20..60 app.b"]);
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 2 }"), ["40..50 net.c"]);
    let stats = trace.stats();
    let own = |name: &str| stats.callsites.iter().find(|c| c.name == name).unwrap().self_ns;
    assert_eq!((own("app.a"), own("app.b"), own("net.c")), (10, 30, 10));
}

#[test]
fn what_a_done_task_still_held_ends_when_it_is_given_up() {
    let trace = Guest::new().event(POLL, 1).begin(B).event(DONE, 1).end(B).event(POLL, 2).trace();
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 0 }"), ["10..30 app.b"]);
    assert_eq!(trace.warnings().count(), 0);
}

#[test]
fn a_span_without_an_end_lasts_until_the_trace_ends() {
    let trace = Guest::new().event(POLL, 1).begin(B).at(500).with(MARK, 0, &[0]).trace();
    assert_eq!(row(&trace, "TaskSpans"), ["10..500 open app.b"]);
    let b = trace.stats().callsites.into_iter().find(|c| c.name == "app.b").unwrap();
    assert_eq!((b.count, b.open, b.total_ns), (1, 1, 0));
}

#[test]
fn heap_phases_are_shown_with_the_task_and_in_a_lane_of_their_own() {
    let trace = Guest::new().event(POLL, 1).begin(HEAP).end(HEAP).trace();
    assert_eq!(row(&trace, "TaskSpans"), ["10..20 heap.refill"]);
    assert_eq!(row(&trace, "Phases"), ["10..20 heap.refill"]);
    assert_eq!(trace.stats().callsites.iter().find(|c| c.name == "heap.refill").unwrap().count, 1);
}

#[test]
fn discarded_events_make_a_gap_after_which_nothing_is_guessed() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0) // 0
        .event(READY, 1) // 10
        .event(POLL, 1) // 20
        .begin(A) // 30
        .begin(B) // 40
        .discard(7)
        .at(1000)
        .with(MARK, 0, &[0]) // 1000: of whom?
        .event(POLL, 1) // 1010
        .end(A) // 1020: B must have ended before
        .event(PENDING, 1) // 1030
        .trace();
    let gaps: Vec<_> = trace.gaps().iter().map(|gap| (gap.from, gap.to, gap.events())).collect();
    assert_eq!(gaps, [(40, 1000, 7)]);
    assert_eq!(row(&trace, "CpuInstants").len(), 1, "nobody knows whose instant it was");
    assert_eq!(
        row(&trace, "Task {"),
        ["0..10 idle", "10..20 ready", "20..40 running", "1010..1030 running", "1030..1030 open idle"]
    );
    assert!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 0 }")[0].starts_with("30..1020 app.a ?"));
    assert_eq!(row(&trace, "TaskSpans { task: TaskRef(0), depth: 1 }"), ["40..40 app.b ?"]);
    let stats = trace.stats();
    let a = stats.callsites.iter().find(|c| c.name == "app.a").unwrap();
    assert_eq!((a.count, a.uncertain, a.total_ns), (1, 1, 0));
    assert_eq!((stats.discarded.full, stats.discarded.total), (7, 7));
    assert_eq!((stats.tasks[0].running_ns, stats.tasks[0].idle_ns), (40, 10));
}

#[test]
fn a_task_that_nothing_names_after_a_gap_is_in_an_unknown_state() {
    let trace = Guest::new().spawn(1, SERVER, 0).discard(3).at(500).with(MARK, 0, &[0]).trace();
    assert_eq!(trace.state_of(TaskRef(0)), Some((State::Unknown, 0)));
    assert_eq!(row(&trace, "Task {"), ["0..0 open idle"]);
    assert_eq!((trace.stats().tasks[0].state, trace.stats().tasks[0].idle_ns), ("unknown", 0));
}

#[test]
fn a_missing_packet_is_a_gap_and_numbers_may_mean_other_tasks_after_it() {
    let trace =
        Guest::new().spawn(1, SERVER, 0).event(READY, 1).skip_packet().at(500).event(POLL, 1).event(PENDING, 1).trace();
    assert_eq!(trace.gaps().iter().map(|gap| gap.missing_packets).collect::<Vec<_>>(), [1]);
    assert_eq!(trace.tasks().len(), 2);
    assert_eq!(trace.stats().discarded.missing_packets, 1);
}

#[test]
fn a_task_whose_end_was_lost_ends_where_its_number_is_used_again_and_its_spans_at_the_gap() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .event(READY, 1)
        .event(POLL, 1)
        .begin(B) // 30
        .discard(5)
        .at(500)
        .spawn(1, CLIENT, 0)
        .trace();
    assert_eq!(row(&trace, "TaskSpans"), ["30..30 app.b ?"]);
    assert_eq!(trace.tasks().iter().map(|task| task.done).collect::<Vec<_>>(), [Some(500), None]);
    assert_eq!(row(&trace, "Task {"), ["0..10 idle", "10..20 ready", "20..30 running"]);
}

#[test]
fn an_end_without_its_begin_is_counted_and_said() {
    let trace = Guest::new().event(POLL, 1).end(B).trace();
    assert_eq!(
        trace.warnings().collect::<Vec<_>>(),
        ["1 spans end whose begin is not in the trace; their ends are counted, not shown"]
    );
    assert_eq!(trace.events_total(), 2);
}

#[test]
fn a_signal_before_its_waiter_waits_is_a_lost_signal() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .with(CREATE, 5, &[u64::from(REPLY)])
        .with(CREATE, 6, &[u64::from(CLIENT)])
        .event(SIGNAL, 5) // 30
        .event(READY, 1)
        .event(POLL, 1)
        .event(TRY, 5) // 60
        .event(PENDING, 1)
        .event(TRY, 6) // 80
        .trace();
    let list: Vec<_> = trace.unresolved().into_iter().map(|u| (u.name, u.kind, u.verdict, u.task, u.since)).collect();
    let promise = || "sync.promise".to_owned();
    assert_eq!(
        list,
        [
            ("arp.reply".to_owned(), promise(), Verdict::SignalLost, Some(TaskRef(0)), 60),
            ("client".to_owned(), promise(), Verdict::NeverResolved, None, 80),
        ]
    );
}

#[test]
fn an_object_that_was_made_before_the_trace_began_has_the_name_and_kind_that_are_said_again() {
    let mut guest = Guest::new();
    guest.event(POLL, 1).event(TRY, 5).with(EXISTS, 5, &[u64::from(REPLY)]);
    // What is known is not changed by what is said again.
    guest.with(CREATE, 6, &[u64::from(CLIENT)]).with(EXISTS, 6, &[u64::from(REPLY)]).event(TRY, 6);
    let list: Vec<_> = guest.trace().waited_for().into_iter().map(|waited| (waited.name, waited.kind)).collect();
    let text = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(list, [text("arp.reply", "sync.condition"), text("client", "sync.promise")]);
}

#[test]
fn a_promise_whose_waiter_gave_up_is_still_never_resolved() {
    let trace = Guest::new().with(CREATE, 6, &[u64::from(CLIENT)]).event(POLL, 1).event(TRY, 6).event(DONE, 1).trace();
    assert_eq!(trace.unresolved().into_iter().map(|u| u.verdict).collect::<Vec<_>>(), [Verdict::NeverResolved]);
}

#[test]
fn objects_that_answered_or_are_no_more_are_not_unresolved() {
    let mut guest = Guest::new();
    guest.event(POLL, 1);
    for object in 1..=4 {
        guest.with(CREATE, object, &[u64::from(REPLY)]).event(TRY, object);
    }
    guest.event(RESOLVE, 1).event(FAIL, 2).event(DROP, 3).event(SIGNAL, 4).event(READ, 4);
    assert_eq!(guest.trace().unresolved(), []);
}

#[test]
fn an_object_in_use_that_someone_waits_for_is_not_unresolved() {
    let mut guest = Guest::new();
    guest.event(POLL, 1).with(CREATE, 1, &[u64::from(REPLY)]);
    guest.event(TRY, 1).event(SIGNAL, 1).event(READ, 1).event(TRY, 1);
    let trace = guest.trace();
    assert_eq!(trace.unresolved(), []);
    assert_eq!(
        trace.waited_for().iter().map(|u| (u.verdict, u.since)).collect::<Vec<_>>(),
        [(Verdict::StillWaiting, 50)]
    );
}

#[test]
fn points_of_a_flow_are_joined_across_tasks() {
    let trace = Guest::new()
        .with(FLOW_BEGIN, 9, &[60]) // 0, nobody's
        .event(POLL, 1)
        .event(FLOW_END, 9) // 20
        .trace();
    let arrows: Vec<_> = trace.flows().arrows(0, 100).map(|(a, b)| (a.time, a.actor, b.time, b.actor)).collect();
    assert_eq!(arrows, [(0, Actor::Scheduler, 20, Actor::Task(TaskRef(0)))]);
    assert_eq!(trace.flows().point_at(20, FLOW_END), Some(1));
}

#[test]
fn a_counter_keeps_its_samples_and_its_unit() {
    let trace = Guest::new().with(LEVEL, 0, &[5]).with(LEVEL, 0, &[9]).with(LEVEL, 0, &[7]).trace();
    let counters = trace.stats().counters;
    let found: Vec<_> = counters.iter().map(|c| (c.name.as_str(), c.unit, c.last, c.min, c.max, c.count)).collect();
    assert_eq!(found, [("heap.live", "bytes", 7.0, 5.0, 9.0, 3)]);
}

#[test]
fn searching_finds_spans_tasks_and_instants_by_any_part_of_their_name() {
    let trace = Guest::new()
        .spawn(1, SERVER, 0)
        .event(READY, 1)
        .event(POLL, 1)
        .begin(A)
        .end(A)
        .begin(B)
        .with(MARK, 0, &[1])
        .event(PENDING, 1)
        .trace();
    let found = |text: &str| trace.search(text, 100).iter().map(|hit| (hit.start, hit.end)).collect::<Vec<_>>();
    assert_eq!(found("APP."), [(30, 40), (50, 70), (60, 60)]);
    assert_eq!(found("serv"), [(20, 70)]);
    assert_eq!(found("nothing"), []);
    assert_eq!(trace.search("app", 2).len(), 2);
}

#[test]
fn stepping_through_a_row_visits_every_interval_and_then_the_open_one() {
    let trace = Guest::new().event(POLL, 1).begin(B).end(B).begin(C).end(C).begin(B).trace();
    let id = trace
        .tracks_of_task(TaskRef(0))
        .find(|&id| matches!(trace.track(id).map(|track| track.kind), Some(TrackKind::TaskSpans { .. })));
    let id = id.unwrap();
    let mut at = trace.entry_at(id, 10);
    let mut starts = Vec::new();
    while let Some(index) = at {
        starts.push(trace.entry(id, index).unwrap().start);
        at = if trace.next_entry(id, index) == at { None } else { trace.next_entry(id, index) };
        if starts.len() > 5 {
            break;
        }
    }
    assert_eq!(starts, [10, 30, 50]);
    assert_eq!(trace.previous_entry(id, u32::MAX), Some(1));
}

#[test]
fn text_of_a_record_comes_back_as_it_was_written() {
    let mut words = vec![u64::from_le_bytes(*b"nine cha"), u64::from_le_bytes(*b"r\0\0\0\0\0\0\0")];
    words.insert(0, 3);
    // The writer puts the length in front only of long payloads; a text always has one.
    let trace = Guest::new().with(TEXT, 0, &words).trace();
    assert_eq!(row(&trace, "CpuInstants"), [r#"0..0 log.info [FieldValue { name: "text", text: "\"nine char\"" }]"#]);
}

#[test]
fn the_time_of_day_comes_from_the_clocks_anchor() {
    let trace = Guest::new().event(POLL, 1).trace();
    assert_eq!(trace.origin().unwrap().unix_nanos, Some(1_000_000_001_000));
}
