//! Which records are shown.

use fata_probe::log::rules::Rules;
use fata_reporters::record::Value;

use super::entry::{Entry, Owned, Said, What};
use super::when::When;

/// What `fata log` was asked to show.
pub(super) struct Filter {
    pub(super) shown: Rules,
    pub(super) since: Option<When>,
    pub(super) until: Option<When>,
    pub(super) targets: Vec<String>,
    pub(super) tasks: Vec<String>,
    pub(super) fields: Vec<(String, String)>,
    pub(super) grep: Option<String>,
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
        let is_below = |target: &String| {
            said.target
                .strip_prefix(target.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with('.'))
        };
        let is_task = |task: &String| said.task_name == *task || task.parse() == Ok(said.task);
        (self.targets.is_empty() || self.targets.iter().any(is_below))
            && (self.tasks.is_empty() || self.tasks.iter().any(is_task))
            && self
                .fields
                .iter()
                .all(|(key, wanted)| said.fields.iter().any(|(name, value)| name == key && shown(value) == *wanted))
            && self.grep.as_ref().is_none_or(|text| contains(said, text))
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

fn contains(said: &Said, text: &str) -> bool {
    said.target.contains(text)
        || said
            .fields
            .iter()
            .any(|(name, value)| shown(value).contains(text) || format!("{name}={}", shown(value)).contains(text))
        || said.spans.iter().any(|span| span.contains(text))
}

/// `key=value`.
pub(super) fn parse_field(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no field: write key=value, such as port=80")),
    }
}
