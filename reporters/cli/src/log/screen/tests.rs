use super::history::HISTORY;
use super::*;
use crate::log::entry::Said;
use fata_probe::log::rules::Rules;

pub(super) fn said(millis: i64, level: Level, task: u16, name: &str) -> Entry {
    let said = Said {
        sequence: 0,
        level,
        stream: 1,
        task,
        task_name: format!("task {task}"),
        target: "net".to_owned(),
        name: name.to_owned(),
        file: String::new(),
        line: 0,
        spans: Vec::new(),
        fields: Vec::new(),
        late: false,
        history: false,
    };
    Entry {
        counted: None,
        time: Time::wall(millis * 1_000_000),
        guest: "guest".into(),
        what: What::Record(Box::new(said)),
    }
}

fn screen(window: Duration) -> Screen {
    let filter = Filter {
        shown: Rules::NONE,
        since: None,
        until: None,
        targets: Vec::new(),
        tasks: Vec::new(),
        fields: Vec::new(),
        grep: None,
    };
    Screen::new(filter, window, true)
}

/// What is shown of `entries`, in order; with marks.
fn shown(window: Duration, entries: Vec<Entry>) -> Vec<String> {
    let mut screen = screen(window);
    let (mut lines, mut newest) = (Vec::new(), None);
    let mut report = |item: &Item<'_>| {
        if let Item::Record(record) = item {
            let marks = [(record.late, " late"), (record.history, " history")];
            let marks: String = marks.iter().filter(|(set, _)| *set).map(|(_, mark)| *mark).collect();
            lines.push(format!("{}{marks}", record.name));
        }
        Ok(())
    };
    for entry in entries {
        let reached = newest.max(Some(entry.time)).unwrap();
        newest = Some(reached);
        screen.push(entry);
        assert!(screen.release_excess(&mut report).is_ok() && screen.release_before(reached, &mut report).is_ok());
    }
    assert!(screen.release_all(&mut report).is_ok());
    lines
}

#[test]
fn records_of_several_streams_are_sorted_within_the_window_and_marked_beyond_it() {
    let entries = vec![
        said(5, Level::Info, 1, "second"),
        said(3, Level::Warn, 2, "first"),
        said(100, Level::Info, 1, "fourth"),
        said(2, Level::Info, 1, "much too late"),
        said(99, Level::Info, 1, "third"),
    ];
    assert_eq!(shown(Duration::from_millis(10), entries), ["first", "second", "much too late late", "third", "fourth"]);
}

#[test]
fn an_error_brings_what_its_task_had_said_before_and_nobody_elses() {
    let entries = vec![
        said(1, Level::Debug, 1, "mine"),
        said(2, Level::Debug, 2, "another's"),
        said(3, Level::Info, 2, "shown"),
        said(4, Level::Trace, 1, "mine too"),
        said(5, Level::Error, 1, "error"),
        said(6, Level::Debug, 1, "after"),
    ];
    // All of it still waits: true time order.
    assert_eq!(shown(Duration::from_secs(1), entries.clone()), ["mine history", "shown", "mine too history", "error"]);
    // The rest has gone on: the history comes before the error.
    assert_eq!(shown(Duration::ZERO, entries), ["shown", "mine history", "mine too history", "error"]);
}

#[test]
fn a_history_is_bounded_and_told_once() {
    let mut entries: Vec<_> = (0..1000).map(|i| said(i, Level::Debug, 1, &i.to_string())).collect();
    entries.push(said(2000, Level::Error, 1, "error"));
    entries.push(said(3000, Level::Error, 1, "another"));
    let lines = shown(Duration::ZERO, entries);
    assert_eq!(lines.len(), HISTORY + 2);
    assert_eq!(lines[0], format!("{} history", 1000 - HISTORY));
    assert_eq!(lines[HISTORY..], ["error", "another"]);
}
