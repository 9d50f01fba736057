//! The time of day.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

/// Now; the beginning of 1970 on a clock that stands before it, as on a board without a battery.
pub fn now() -> DateTime<Utc> {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seconds = since.as_secs().try_into().unwrap_or_default();
    DateTime::from_timestamp(seconds, since.subsec_nanos()).unwrap_or_default()
}
