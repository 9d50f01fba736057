//! How a figure is printed: shares in percent with two decimals, everything else with four.

use crate::metrics::{Figure, Metric};

/// What stands where there is no figure.
pub const NONE: &str = "-";

/// `48.21 [46.10, 50.30]`; without brackets where there is no interval.
pub fn figure(metric: Metric, figure: &Figure) -> String {
    with_interval(figure, |value| number(metric, value))
}

/// A share in percent with its interval, as [`figure`] prints one.
pub fn share(share: &Figure) -> String {
    figure(Metric::Opa, share)
}

/// A difference of shares in percent, as [`change`] prints one.
pub fn share_change(share: &Figure) -> String {
    change(Metric::Opa, share)
}

/// The same for a difference, with its sign: `+3.21 [+1.10, +5.40]`.
pub fn change(metric: Metric, figure: &Figure) -> String {
    with_interval(figure, |value| {
        let number = number(metric, value);
        if number.starts_with('-') { number } else { format!("+{number}") }
    })
}

/// `48.21 %`, or `0.4821` of what is no share.
pub fn value(metric: Metric, value: f64) -> String {
    let unit = if metric.is_share() { " %" } else { "" };
    format!("{}{unit}", number(metric, value))
}

/// The metric's key and, for a share, its unit: `opa (%)`.
pub fn label(metric: Metric) -> String {
    if metric.is_share() { format!("{} (%)", metric.name()) } else { metric.name().to_owned() }
}

fn with_interval(figure: &Figure, number: impl Fn(f64) -> String) -> String {
    let value = number(figure.value);
    match (figure.low, figure.high) {
        (Some(low), Some(high)) => format!("{value} [{}, {}]", number(low), number(high)),
        _ => value,
    }
}

fn number(metric: Metric, value: f64) -> String {
    let number =
        if metric.is_share() { format!("{:.2}", 100.0 * value) } else { format!("{value:.4}") };
    // A small negative number rounds to "-0.00", which is no number.
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
        let bounded = Figure { low: Some(-0.012), high: Some(1.0), ..plain };
        assert_eq!(change(Metric::Opa, &bounded), "+50.00 [-1.20, +100.00]");
        assert_eq!(change(Metric::Opa, &Figure { value: -1e-9, ..plain }), "+0.00");
    }
}
