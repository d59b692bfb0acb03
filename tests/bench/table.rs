//! The table: figures of all sides, their ratios, and whether the target was met.
//!
//! A figure is the median of the rounds, with the least and the most beside it.
//! A ratio is the median of the ratios of each round, in which the sides took
//! turns within seconds. What could not be measured says why in its place.

use std::collections::BTreeMap;

use crate::rows::{Metric, Row, Sample, Target, of};
use crate::servers::Side;

const WIDTH: usize = 24;

/// What came of a row.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The samples of each side, a round each.
    pub(crate) samples: BTreeMap<Side, Vec<Sample>>,
    /// Why a side was not measured, or not to the end.
    pub(crate) reasons: BTreeMap<Side, String>,
}

impl Outcome {
    fn values(&self, side: Side, metric: Metric) -> Vec<f64> {
        let samples = self.samples.get(&side).map_or(&[][..], Vec::as_slice);
        samples.iter().filter_map(|sample| of(sample, metric).ok()).collect()
    }

    /// One value to another, round by round.
    fn ratios(&self, to: Side, metric: Metric) -> Vec<f64> {
        let (ours, theirs) = (self.values(Side::Kat, metric), self.values(to, metric));
        ours.iter().zip(&theirs).filter(|(_, theirs)| **theirs > 0.0).map(|(a, b)| a / b).collect()
    }
}

/// The line above all rows.
pub(crate) fn heading() -> String {
    let mut line = pad("", 30);
    for word in ["kat", "etcd", "floor", "kat : etcd"] {
        line += &pad(word, WIDTH);
    }
    line + &pad("kat : floor", 13) + "target"
}

/// A row of the table, some lines of text.
pub(crate) fn render(row: &Row, outcome: &Outcome) -> String {
    let mut text = format!("{}\n", row.title);
    for (metric, target) in &row.lines {
        let mut line = pad(&format!("  {}", metric.label()), 30);
        for side in Side::ALL {
            line += &pad(&spread(&outcome.values(side, *metric)), WIDTH);
        }
        let to_etcd = outcome.ratios(Side::Etcd, *metric);
        line += &pad(&spread(&to_etcd), WIDTH);
        let to_floor = outcome.ratios(Side::Floor, *metric);
        line += &pad(&middle(&to_floor).map_or("–".into(), short), 13);
        line += &verdict(*target, middle(&outcome.values(Side::Kat, *metric)), middle(&to_etcd));
        text += line.trim_end();
        text.push('\n');
    }
    for (side, reason) in &outcome.reasons {
        text += &format!("  {}: not measured: {reason}\n", side.name());
    }
    text
}

/// One line for somebody who waits.
pub(crate) fn progress(sample: &Sample) -> String {
    let figures =
        sample.iter().map(|(metric, value)| format!("{}: {}", metric.label(), short(*value)));
    figures.collect::<Vec<_>>().join("; ")
}

fn verdict(target: Target, ours: Option<f64>, ratio: Option<f64>) -> String {
    let (aim, figure, at_least, bound) = match target {
        Target::None => return String::new(),
        Target::TimesEtcdMin(bound) => (format!("≥{bound} ×"), ratio, true, bound),
        Target::TimesEtcdMax(bound) => (format!("≤{bound} ×"), ratio, false, bound),
        Target::Min(bound) => (format!("≥{bound}"), ours, true, bound),
        Target::Max(bound) => (format!("≤{bound}"), ours, false, bound),
    };
    let judgement = match figure {
        None => "not measured",
        Some(figure) if figure == bound || (bound < figure) == at_least => "met",
        Some(_) => "missed",
    };
    pad(&aim, 9) + judgement
}

fn spread(values: &[f64]) -> String {
    let Some(middle) = middle(values) else { return "–".into() };
    if values.len() == 1 {
        return short(middle);
    }
    let (least, most) =
        values.iter().fold((f64::MAX, f64::MIN), |(a, b), value| (a.min(*value), b.max(*value)));
    format!("{} [{} {}]", short(middle), short(least), short(most))
}

/// The median, of an even count the lower of the two in the middle.
fn middle(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Three digits are more than the machine's noise allows.
fn short(value: f64) -> String {
    match value.abs() {
        above if above >= 999_500.0 => format!("{:.2}M", value / 1e6),
        above if above >= 9_995.0 => format!("{:.1}k", value / 1e3),
        above if above >= 99.95 => format!("{value:.0}"),
        above if above >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Blanks by characters; the standard formatter would count them alike.
fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}
