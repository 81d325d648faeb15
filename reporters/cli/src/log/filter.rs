//! Which records are shown.

use fata_probe::log::rules::{Rules, is_within};
use fata_reporters::record::Value;

use super::entry::{Entry, Owned, Said, What};
use super::when::When;

/// A text that is to stand in a record.
pub(super) struct Grep {
    text: String,
    ignore_case: bool,
}

impl Grep {
    pub(super) fn new(text: &str, ignore_case: bool) -> Self {
        Grep { text: if ignore_case { text.to_lowercase() } else { text.to_owned() }, ignore_case }
    }

    fn is_in(&self, hay: &str) -> bool {
        if self.ignore_case { hay.to_lowercase().contains(&self.text) } else { hay.contains(&self.text) }
    }

    fn is_said(&self, said: &Said) -> bool {
        let is_field = |(name, value): &(String, Owned)| {
            let value = shown(value);
            self.is_in(&value) || self.is_in(&format!("{name}={value}"))
        };
        self.is_in(&said.target)
            || said.all_fields().any(is_field)
            || said.spans.iter().any(|(name, _)| self.is_in(name))
    }
}

/// What `fata log` was asked to show.
pub(super) struct Filter {
    pub(super) shown: Rules,
    pub(super) since: Option<When>,
    pub(super) until: Option<When>,
    pub(super) targets: Vec<String>,
    pub(super) tasks: Vec<String>,
    pub(super) fields: Vec<(String, String)>,
    pub(super) grep: Option<Grep>,
}

impl Filter {
    /// Whether an entry may be shown at all, whatever its level.
    pub(super) fn passes(&self, entry: &Entry) -> bool {
        let time = entry.time;
        if self.since.is_some_and(|since| !since.is_at_or_before(time))
            || self.until.is_some_and(|until| !until.is_at_or_after(time))
        {
            return false;
        }
        match &entry.what {
            // A loss may be of anything.
            What::Loss { .. } => true,
            What::Record(said) => self.passes_said(said),
        }
    }

    fn passes_said(&self, said: &Said) -> bool {
        let is_below = |target: &String| is_within(&said.target, target);
        let is_task = |task: &String| said.task_name == *task || task.parse() == Ok(said.task);
        (self.targets.is_empty() || self.targets.iter().any(is_below))
            && (self.tasks.is_empty() || self.tasks.iter().any(is_task))
            && self
                .fields
                .iter()
                .all(|(key, wanted)| said.all_fields().any(|(name, value)| name == key && shown(value) == *wanted))
            && self.grep.as_ref().is_none_or(|grep| grep.is_said(said))
    }

    /// Whether a record's level is shown.
    pub(super) fn shows(&self, entry: &Entry) -> bool {
        match &entry.what {
            What::Loss { .. } => true,
            What::Record(said) => self.shown.allow(&said.target, said.level),
        }
    }
}

fn shown(value: &Owned) -> String {
    match value.value() {
        Value::Str(text) => String::from_utf8_lossy(text).into_owned(),
        value => value.to_string(),
    }
}

/// `key=value`.
pub(super) fn parse_field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no field: write key=value, such as port=80")),
    }
}
