//! Numbers as people read them: grouped digits, durations, bytes.

/// `12,345`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What a noun ends in after `count`: nothing after 1.
pub fn s(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `1 pair`, `12,345 pairs`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), s(number))
}

/// `USD 3.46`, or below ten cents `USD 0.0137`, so that what costs something is not nothing.
pub fn dollars(amount: f64) -> String {
    let digits = if amount > 0.0 && amount < 0.1 { 4 } else { 2 };
    format!("USD {amount:.digits$}")
}

/// `1 h 02 min 03 s`, `2 min 03 s` or `3.4 s`.
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours} h {minutes:02} min {seconds:02} s")
    } else {
        format!("{minutes} min {seconds:02} s")
    }
}

/// A number of bytes in the unit that suits it: `12.6 GiB`.
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = ((bytes.max(1.0).log2() / 10.0) as usize).min(units.len() - 1);
    let digits = if power == 0 { 0 } else { 1 };
    format!("{:.digits$} {}", bytes / 1024f64.powi(power as i32), units[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_ten_cents_have_four_digits() {
        let all = [0.0, 0.001_44, 0.0137, 0.25, 12.3].map(dollars);
        assert_eq!(all, ["USD 0.00", "USD 0.0014", "USD 0.0137", "USD 0.25", "USD 12.30"]);
    }

    #[test]
    fn counts_are_grouped_and_durations_carry() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 1_234].map(|n| counted(n, "pair")), ["0 pairs", "1 pair", "1,234 pairs"]);
        assert_eq!(
            [3.44, 59.94, 119.6, 3_723.0].map(duration),
            ["3.4 s", "59.9 s", "2 min 00 s", "1 h 02 min 03 s"]
        );
    }
}
