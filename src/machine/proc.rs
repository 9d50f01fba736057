//! Numbers that Linux tells in files of `/proc`.

/// The number of KiB that `file` gives for `field`.
pub(super) fn kibibytes(file: &str, field: &str) -> Option<f64> {
    number(file, field)
}

/// The number that `file` gives for `field`.
pub(super) fn number(file: &str, field: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok())
}
