//! How a figure is printed: shares in percent with two decimals, everything else with four.

use crate::metrics::{Figure, Metric};

/// Stands where there is no figure.
pub const NONE: &str = "-";

/// OPA of a model that learned nothing: it moves half of the pairs each way.
pub const CHANCE: &str = "chance 50 %";

/// The printed value, or [`NONE`].
pub fn or_none(printed: Option<String>) -> String {
    printed.unwrap_or_else(|| NONE.to_owned())
}

/// `48.21 [46.10, 50.30]`; without brackets where there is no interval.
pub fn figure(metric: Metric, figure: &Figure) -> String {
    with_interval(figure, format_of(metric))
}

/// The same for a difference, with its sign: `+3.21 [+1.10, +5.40]`.
pub fn change(metric: Metric, figure: &Figure) -> String {
    with_interval(figure, |value| signed(format_of(metric)(value)))
}

/// A share in percent with its interval, as [`figure`] prints one.
pub fn share(share: &Figure) -> String {
    with_interval(share, percent)
}

/// A difference of shares in percent, as [`change`] prints one.
pub fn share_change(share: &Figure) -> String {
    with_interval(share, |value| signed(percent(value)))
}

/// A figure that is no share, such as a mean cosine: `0.4821 [0.4610, 0.5030]`.
pub fn decimal(figure: &Figure) -> String {
    with_interval(figure, four_decimals)
}

/// `48.21 %` for a share, `0.4821` for any other metric.
pub fn value(metric: Metric, value: f64) -> String {
    let unit = if metric.is_share() { " %" } else { "" };
    format!("{}{unit}", format_of(metric)(value))
}

/// The metric's key and, for a share, its unit: `preference_accuracy (%)`; for OPA its null too.
pub fn label(metric: Metric) -> String {
    match metric {
        Metric::Opa => format!("{} (%), {CHANCE}", metric.name()),
        _ if metric.is_share() => format!("{} (%)", metric.name()),
        _ => metric.name().to_owned(),
    }
}

/// A share in percent without its unit: `48.21`.
pub fn percent(share: f64) -> String {
    without_negative_zero(format!("{:.2}", 100.0 * share))
}

fn four_decimals(value: f64) -> String {
    without_negative_zero(format!("{value:.4}"))
}

fn format_of(metric: Metric) -> fn(f64) -> String {
    if metric.is_share() { percent } else { four_decimals }
}

fn with_interval(figure: &Figure, print: impl Fn(f64) -> String) -> String {
    let value = print(figure.value);
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", print(low), print(high)),
        _ => value,
    }
}

fn signed(number: String) -> String {
    if number.starts_with('-') { number } else { format!("+{number}") }
}

/// A small negative number rounds to "-0.00", which is no number.
fn without_negative_zero(number: String) -> String {
    let is_zero = number.chars().all(|digit| matches!(digit, '-' | '0' | '.'));
    if is_zero { number.trim_start_matches('-').to_owned() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_the_rest_is_not() {
        let plain = Figure { value: 0.5, low: None, high: None, n: 4, ties: None };
        assert_eq!(figure(Metric::Opa, &plain), "50.00");
        assert_eq!(figure(Metric::DpoLoss, &plain), "0.5000");
        assert_eq!(decimal(&plain), "0.5000");
        let bounded = Figure { low: Some(-0.012), high: Some(1.0), ..plain };
        assert_eq!(change(Metric::Opa, &bounded), "+50.00 [-1.20, +100.00]");
        assert_eq!(share_change(&bounded), change(Metric::Opa, &bounded));
        assert_eq!(change(Metric::Opa, &Figure { value: -1e-9, ..plain }), "+0.00");
    }
}
