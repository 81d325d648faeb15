//! The names of callsites and tasks with their colours, looked up once per name and not once per frame.
//!
//! Invariant: an entry never changes, because what a trace described once it never describes anew; entries are only added.

use std::sync::Arc;

use fata_model::trace::{TaskRef, Trace};

use super::display::{Ink, ink_of_name};

/// A name, ready to be drawn.
#[derive(Clone, Debug)]
pub struct Named {
    /// The text.
    pub text: Arc<str>,
    /// Its colour.
    pub ink: Ink,
}

impl Named {
    fn new(text: &str) -> Self {
        Self { text: text.into(), ink: ink_of_name(text) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Names {
    callsites: Vec<Option<Named>>,
    tasks: Vec<Named>,
}

impl Names {
    /// Takes in what the trace has described since the last time.
    pub fn update(&mut self, trace: &Trace) {
        for callsite in trace.description().callsites() {
            let at = usize::from(callsite.id);
            if self.callsites.len() <= at {
                self.callsites.resize_with(at + 1, || None);
            }
            if let Some(slot @ None) = self.callsites.get_mut(at) {
                *slot = Some(Named::new(&callsite.name));
            }
        }
        for (task, _) in (0u32..).map(TaskRef).zip(trace.tasks()).skip(self.tasks.len()) {
            let ink = ink_of_name(trace.task_name(task).unwrap_or("task"));
            self.tasks.push(Named { text: trace.task_label(task).into(), ink });
        }
    }

    /// The callsite of this number.
    #[must_use]
    pub fn callsite(&self, id: u16) -> Named {
        match self.callsites.get(usize::from(id)) {
            Some(Some(named)) => named.clone(),
            _ => Named { text: format!("callsite {id}").into(), ink: Ink::Muted },
        }
    }

    /// The ink of a callsite alone.
    #[must_use]
    pub fn callsite_ink(&self, id: u16) -> Ink {
        self.callsites.get(usize::from(id)).and_then(Option::as_ref).map_or(Ink::Muted, |named| named.ink)
    }

    /// A task.
    #[must_use]
    pub fn task(&self, task: TaskRef) -> Named {
        let known = usize::try_from(task.0).ok().and_then(|at| self.tasks.get(at));
        known.cloned().unwrap_or_else(|| Named { text: format!("task {}", task.0).into(), ink: Ink::Muted })
    }

    /// The ink of a task alone.
    #[must_use]
    pub fn task_ink(&self, task: TaskRef) -> Ink {
        usize::try_from(task.0).ok().and_then(|at| self.tasks.get(at)).map_or(Ink::Muted, |named| named.ink)
    }
}
