//! The tables: rows by contenders, then how we compare with the best of the others.

use crate::race::{Lane, best_peer, ratio_to_best};

/// Who is compared with the others.
pub(crate) const OURS: &str = "wakeful";

/// Up to here we are not slower than the best peer. What is counted may not be above.
pub(crate) const EVEN: f64 = 1.0;

/// What is timed may not be above this: more than a busy computer, or one with other caches, makes of a race that is
/// even.
pub(crate) const BY_FAR: f64 = 1.5;

/// No row is so noisy that it may be off by more.
const MOST_NOISE: f64 = 0.1;

/// Where we are going.
const GOAL: f64 = 0.7;

const TITLE_WIDTH: usize = 34;

/// The line above the rows.
pub(crate) fn head(unit: &str, names: &[&str]) -> String {
    let names: String = names.iter().map(|name| format!("{name:>11}")).collect();
    format!("{unit:<TITLE_WIDTH$}{names}{:>15}", "to best peer")
}

/// One row: the figure of each contender, our ratio to the best peer, and the judgement on it.
pub(crate) fn row(title: &str, lanes: &[Lane], gate: Option<f64>) -> String {
    let cell = |lane: &Lane| match lane.figure() {
        None => "-".to_owned(),
        Some(figure) if lane.compared => number(figure),
        Some(figure) => format!("({})", number(figure)),
    };
    let cells: String = lanes.iter().map(|lane| format!("{:>11}", cell(lane))).collect();
    let ratio = ratio(lanes);
    let judgement = |ratio| match gate {
        Some(gate) => judgement(ratio, noise(lanes), gate),
        None => "(no gate)",
    };
    let judged = ratio.map(|ratio| format!("{ratio:>14.2}x  {}", judgement(ratio)));
    format!("{title:<TITLE_WIDTH$}{cells}{}", judged.unwrap_or_default())
}

/// Whether we are slower than the best peer in this row, by more than the rounds of one of the two scatter.
pub(crate) fn is_behind(lanes: &[Lane]) -> bool {
    ratio(lanes).is_some_and(|ratio| ratio > EVEN + noise(lanes))
}

/// Whether our ratio to the best peer is above the gate.
pub(crate) fn misses(gate: f64, lanes: &[Lane]) -> bool {
    ratio(lanes).is_some_and(|ratio| ratio > gate)
}

/// By how much the rounds of the noisier one of us and the best peer scatter.
fn noise(lanes: &[Lane]) -> f64 {
    let best = best_peer(lanes, OURS).and_then(Lane::noise);
    let ours = lanes.iter().find(|lane| lane.name == OURS).and_then(Lane::noise);
    best.into_iter().chain(ours).fold(0.0, f64::max).min(MOST_NOISE)
}

/// Ours to the best peer's, to two places: as it is printed, so it is judged.
fn ratio(lanes: &[Lane]) -> Option<f64> {
    ratio_to_best(lanes, OURS).map(|ratio| (ratio * 100.0).round() / 100.0)
}

fn judgement(ratio: f64, noise: f64, gate: f64) -> &'static str {
    match ratio {
        _ if ratio <= GOAL => "goal",
        _ if ratio <= EVEN => "ok",
        _ if ratio > gate => "GATE MISSED",
        _ if ratio <= EVEN + noise => "within noise",
        _ => "behind",
    }
}

/// Three digits, more where the number is large.
fn number(value: f64) -> String {
    match value {
        _ if value < 10.0 => format!("{value:.2}"),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_judged() {
        let lane = |name, figure| Lane { name, compared: true, rounds: vec![figure] };
        let lanes = |ours| [lane("peer", 20.0), lane(OURS, ours), lane("slow", 1234.0)];
        assert!(
            row("x", &lanes(14.0), Some(BY_FAR))
                .ends_with("20.0       14.0       1234          0.70x  goal")
        );
        assert!(row("x", &lanes(20.0), Some(BY_FAR)).ends_with("1.00x  ok"));
        assert!(row("x", &lanes(21.0), Some(BY_FAR)).ends_with("1.05x  behind"));
        assert!(row("x", &lanes(21.0), None).ends_with("1.05x  (no gate)"));
        assert!(row("x", &lanes(30.0), Some(BY_FAR)).ends_with("1.50x  behind"));
        assert!(row("x", &lanes(31.0), Some(BY_FAR)).ends_with("1.55x  GATE MISSED"));
        assert!(row("x", &lanes(21.0), Some(EVEN)).ends_with("1.05x  GATE MISSED"));
        assert!(is_behind(&lanes(21.0)) && !misses(BY_FAR, &lanes(30.0)));
        assert!(misses(BY_FAR, &lanes(31.0)) && misses(EVEN, &lanes(21.0)));
        // Its rounds scatter by as much, but never by more than a tenth.
        let mut noisy = lanes(21.0);
        noisy[1].rounds = [vec![21.0; 2], vec![22.5; 9]].concat();
        assert!(row("x", &noisy, Some(BY_FAR)).ends_with("1.05x  within noise"));
        assert!(!is_behind(&noisy));
        noisy[1].rounds = [vec![23.0; 2], vec![40.0; 9]].concat();
        assert!(is_behind(&noisy));
        assert!(!is_behind(&lanes(20.0)));
        assert!(!is_behind(&lanes(20.0)[..1]));
    }

    #[test]
    fn who_has_no_such_thing_has_a_dash() {
        let lanes = [Lane { name: OURS, compared: true, rounds: Vec::new() }];
        assert!(row("x", &lanes, Some(BY_FAR)).ends_with(" -"));
    }
}
