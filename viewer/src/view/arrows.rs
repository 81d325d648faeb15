//! Causes as arrows: who spawned and who woke the selected task, whom it spawned and woke, and the packets that passed. A packet
//! from one guest to another is an arrow whatever is selected, with whiskers where its end may be off: as wide as what nobody
//! knows of the two clocks.
//!
//! Invariant: at most [`MAX_ARROWS`] arrows are drawn, and no two at the same pixel between the same lanes; where there
//! would be more, zooming in shows them.

use std::collections::{HashMap, HashSet};

use fata_model::trace::{Actor, TaskRef};
use fata_model::wires::Wire;

use super::display::{Arrow, Ink};
use super::lanes::{Content, LaneKey, Lanes, STATE_HEIGHT};
use super::layout::Layout;
use super::pick::Pick;

/// The most arrows of a picture.
const MAX_ARROWS: usize = 400;
/// The most packets between guests that are drawn: where there are more, none is.
const MAX_WIRES: usize = 200;
/// A packet that was under way for longer is drawn only where its arrival is on the screen.
const LONGEST_WIRE: i64 = 1_000_000_000;
/// The most wakes that are looked at for a picture.
const MAX_WAKES: usize = 200_000;

/// The middle of each actor's line; of a task in a folded group, the group's.
struct Places {
    tasks: HashMap<TaskRef, f32>,
    cpus: HashMap<u32, f32>,
}

impl Places {
    fn of(lanes: &Lanes, scroll: f32) -> Self {
        let mut places = Self { tasks: HashMap::new(), cpus: HashMap::new() };
        for (top, lane) in lanes.tops.iter().zip(&lanes.list) {
            let y = top - scroll + STATE_HEIGHT * 0.55;
            match (&lane.content, &lane.key) {
                // Its own lane comes after the group's and takes its place.
                (Content::Task { task, .. }, _) => drop(places.tasks.insert(*task, y)),
                (Content::Group(members), _) => places.tasks.extend(members.iter().map(|&member| (member, y))),
                (_, LaneKey::Cpu(cpu)) => drop(places.cpus.insert(*cpu, y)),
                _ => {}
            }
        }
        places
    }

    fn y(&self, actor: Actor, cpu: u32) -> Option<f32> {
        match actor {
            Actor::Task(task) => self.tasks.get(&task).copied(),
            Actor::Scheduler | Actor::Interrupt => self.cpus.get(&cpu).copied(),
            Actor::Unknown => None,
        }
    }
}

impl Layout<'_> {
    /// All arrows of the picture.
    pub(super) fn arrows(&mut self, lanes: &Lanes, scroll: f32, height: f32) {
        let wires = self.visible_wires();
        if wires.is_empty() && self.scene.selection.is_none() {
            return;
        }
        let places = Places::of(lanes, scroll);
        self.wires(&wires, &places, height);
        let Some(pick) = self.scene.selection else { return };
        let is_flow = matches!(pick, Pick::Flow { .. });
        if let Some(task) = pick.task(self.scene.trace).filter(|_| !is_flow) {
            self.spawns(task, &places, height);
            self.wakes(task, &places, height);
        }
        self.flow(pick, &places);
    }

    fn arrow(&mut self, from: (f32, f32), to: (f32, f32), ink: Ink, height: f32) {
        self.arrow_with_error(Arrow { from, to, ink, error: 0.0 }, height);
    }

    fn arrow_with_error(&mut self, arrow: Arrow, height: f32) {
        let Arrow { from, to, .. } = arrow;
        let seen = |y: f32| (-20.0..=height + 20.0).contains(&y);
        // An arrow of which neither end is on the screen would only be clutter.
        if (seen(from.1) || seen(to.1)) && self.list.arrows.len() < MAX_ARROWS && (from.1 - to.1).abs() > 2.0 {
            self.list.arrows.push(arrow);
        }
    }

    /// The packets between guests that are under way on the screen; none where there are too many.
    fn visible_wires(&self) -> Vec<Wire> {
        let wires = self.scene.trace.wires().between(self.view.from, self.view.to, LONGEST_WIRE);
        let wires: Vec<Wire> = wires.take(MAX_WIRES + 1).copied().collect();
        if wires.len() > MAX_WIRES { Vec::new() } else { wires }
    }

    fn wires(&mut self, wires: &[Wire], places: &Places, height: f32) {
        let x = |time| self.scene.projection.x_from_nanos(time);
        let arrows: Vec<Arrow> = wires
            .iter()
            .filter_map(|wire| {
                let Wire { from, to } = wire;
                let (y0, y1) = (places.y(from.actor, from.cpu)?, places.y(to.actor, to.cpu)?);
                let (sender, receiver) = wire.guests();
                let error = self.scene.trace.error_between(sender, receiver).unwrap_or(0);
                let error = (x(to.time.saturating_add(error)) - x(to.time)).min(self.scene.width());
                let ink = self.scene.names.callsite_ink(to.callsite);
                Some(Arrow { from: (x(from.time), y0), to: (x(to.time), y1), ink, error })
            })
            .collect();
        arrows.into_iter().for_each(|arrow| self.arrow_with_error(arrow, height));
    }

    fn spawns(&mut self, task: TaskRef, places: &Places, height: f32) {
        let trace = self.scene.trace;
        let own = trace.task(task).map(|known| (task, known));
        let children = (0u32..).map(TaskRef).zip(trace.tasks()).filter(|(_, known)| known.parent == Some(task));
        let mut columns = HashSet::new();
        for (child, known) in own.into_iter().chain(children) {
            let (Some(time), Some(parent)) = (known.spawned, known.parent) else { continue };
            if time < self.view.from || time >= self.view.to {
                continue;
            }
            let x = self.scene.projection.x_from_nanos(time);
            let (Some(from), Some(to)) = (places.y(Actor::Task(parent), known.cpu()), places.y(Actor::Task(child), 0))
            else {
                continue;
            };
            if columns.insert((x.to_bits() >> 12, to.to_bits())) {
                self.arrow((x, from), (x, to), Ink::SpawnArrow, height);
            }
        }
    }

    fn wakes(&mut self, task: TaskRef, places: &Places, height: f32) {
        let trace = self.scene.trace;
        let mut columns = HashSet::new();
        for stream in trace.streams() {
            for wake in trace.wakes(stream.cpu, self.view.from, self.view.to).take(MAX_WAKES) {
                if wake.to != task && wake.from != Actor::Task(task) {
                    continue;
                }
                let x = self.scene.projection.x_from_nanos(wake.time);
                #[expect(clippy::cast_possible_truncation, reason = "a pixel's number")]
                let column = x.round() as i32;
                let (Some(from), Some(to)) = (places.y(wake.from, wake.cpu), places.y(Actor::Task(wake.to), wake.cpu))
                else {
                    continue;
                };
                if !columns.insert((column, from.to_bits(), to.to_bits())) {
                    continue;
                }
                self.arrow((x, from), (x, to), Ink::WakeArrow, height);
                if self.list.arrows.len() >= MAX_ARROWS {
                    return;
                }
            }
        }
    }

    /// The way of the packet whose event is selected.
    fn flow(&mut self, pick: Pick, places: &Places) {
        let trace = self.scene.trace;
        let point = match pick {
            Pick::Flow { point } => Some(point),
            Pick::Interval { track, index } => {
                trace.entry(track, index).and_then(|entry| trace.flows().point_at(entry.start, entry.key))
            }
            _ => None,
        };
        let points = point.map_or_else(Vec::new, |point| trace.flows().flow_of(point, super::flows::MAX_POINTS));
        for pair in points.windows(2) {
            let [a, b] = pair else { continue };
            let (Some(y0), Some(y1)) = (places.y(a.actor, a.cpu), places.y(b.actor, b.cpu)) else { continue };
            let (x0, x1) = (self.scene.projection.x_from_nanos(a.time), self.scene.projection.x_from_nanos(b.time));
            let ink = self.scene.names.callsite_ink(b.callsite);
            self.list.arrows.push(Arrow { from: (x0, y0), to: (x1, y1), ink, error: 0.0 });
        }
    }
}
