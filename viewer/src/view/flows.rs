//! Packets on their way: each a chain of legs from one station to the next, side by side where several are under way.
//!
//! Invariant: where more than [`MAX_LEGS`] legs would be visible, a density row stands for them, so the cost is bounded.

use std::collections::HashMap;

use fata_model::trace::Trace;

use super::display::{Column, Density, Ink, Quad, TextStyle};
use super::lanes::{FLOW_ROWS, ROW_HEIGHT};
use super::layout::Layout;
use super::pick::Pick;

/// Legs that are drawn one by one, at most.
const MAX_LEGS: usize = 3_000;
/// Points of one packet that are followed.
pub(super) const MAX_POINTS: usize = 64;
/// Points of one pixel that count as a full one.
const FULL_COLUMN: u16 = 96;
/// The height of a packet as a share of a span's.
pub(super) const LEG_SHARE: f32 = 0.9;
/// The height of one packet.
const LEG_HEIGHT: f32 = ROW_HEIGHT * LEG_SHARE;

impl Layout<'_> {
    /// The lane of packets, from `y` on.
    pub(super) fn packets(&mut self, y: f32) {
        let flows = self.scene.trace.flows();
        // A leg that ends just beyond the screen's edge is seen as well.
        let span = self.view.to - self.view.from;
        let legs: Vec<_> =
            flows.arrows(self.view.from, self.view.to.saturating_add(span / 8)).take(MAX_LEGS + 1).collect();
        if legs.len() > MAX_LEGS {
            self.packet_density(y);
            return;
        }
        let mut rows: HashMap<u64, usize> = HashMap::new();
        let mut free = [f32::NEG_INFINITY; FLOW_ROWS];
        for (a, b) in legs {
            let (x0, x1) = (self.scene.projection.x_from_nanos(a.time), self.scene.projection.x_from_nanos(b.time));
            let first_free = || {
                let free = free.iter().enumerate();
                free.min_by(|a, b| (a.1.max(x0)).total_cmp(&b.1.max(x0))).map_or(0, |(row, _)| row)
            };
            let row = match rows.get(&a.id) {
                Some(&row) if a.previous.is_some() => row,
                _ => first_free(),
            };
            // What found no free row lies over another packet, without a name.
            let alone = free.get(row).is_none_or(|&end| x0 >= end) || rows.get(&a.id) == Some(&row);
            rows.insert(a.id, row);
            if let Some(end) = free.get_mut(row) {
                *end = end.max(x1 + 3.0);
            }
            let top = y + LEG_HEIGHT * f32::from(u8::try_from(row).unwrap_or(0));
            let (x0, x1) = (x0.max(-8.0), x1.min(self.scene.width() + 8.0));
            if x1 < x0 {
                continue;
            }
            let ink = self.scene.names.callsite_ink(b.callsite);
            let dim = self.scene.matches.is_some_and(|matches| !matches.callsite(b.callsite));
            let quad = Quad { x0, x1: x1.max(x0 + 1.0), y0: top, y1: top + LEG_HEIGHT - 1.5, ink, dim };
            self.list.quads.push(quad);
            let style = if dim { TextStyle::OnDimFill(ink) } else { TextStyle::OnFill(ink) };
            let names = self.scene.names;
            if alone {
                self.label_within(x0, x1, top + LEG_HEIGHT / 2.0, style, || names.callsite(b.callsite).text);
            }
        }
    }

    fn packet_density(&mut self, y: f32) {
        let width = i64::from(self.view.columns);
        let span = self.view.to - self.view.from;
        let edge = |column: i64| {
            self.view.from + i64::try_from(i128::from(span) * i128::from(column) / i128::from(width)).unwrap_or(0)
        };
        let flows = self.scene.trace.flows();
        let columns = (0..width).map(|column| {
            let mut ends = flows.arrows(edge(column), edge(column + 1)).take(usize::from(FULL_COLUMN));
            let Some((_, first)) = ends.next() else { return Column::EMPTY };
            let count = u16::try_from(ends.count() + 1).unwrap_or(FULL_COLUMN);
            // Logarithmic, so that one packet is seen beside a hundred.
            let share = f32::from(count).ln_1p() / f32::from(FULL_COLUMN).ln_1p();
            let ink = self.scene.names.callsite_ink(first.callsite);
            Column { ink, share: super::rows::byte(share), dim: self.scene.matches.is_some() }
        });
        let columns: Vec<Column> = columns.collect();
        if columns.iter().any(|column| column.ink != Ink::Muted || column.share > 0) {
            let height = LEG_HEIGHT * f32::from(u8::try_from(FLOW_ROWS).unwrap_or(1));
            self.list.densities.push(Density { y0: y, y1: y + height - 2.0, columns });
        }
    }
}

/// The packet that is under way at `time`: of several, the one whose leg is shortest.
pub(super) fn pick(trace: &Trace, time: i64, reach: i64) -> Option<Pick> {
    let flows = trace.flows();
    let legs = flows.arrows(time.saturating_sub(reach), i64::MAX).take(512);
    let under_way = legs.filter(|(a, _)| a.time <= time.saturating_add(reach));
    let (_, end) = under_way.min_by_key(|(a, b)| b.time - a.time)?;
    Some(Pick::Flow { point: flows.point_at(end.time, end.callsite)? })
}
