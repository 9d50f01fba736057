//! `strftime_now` of transformers, for a day that is given: Python's `strftime` of a date without a time of day.

use chrono::NaiveDate;
use minijinja::{Environment, Error};

use super::python_values::refused;

/// The name under which a template calls it.
pub(super) const NAME: &str = "strftime_now";

/// Directives of a date, which mean the same to Python in the C locale and to chrono.
const OF_A_DATE: &str = "aAbBhCdDeFgGjmntuUVwWxyY%";

/// Directives of a date of that list that write no number, so that no flag changes them here.
const OF_WORDS: &str = "aAbBhDFnx%t";

/// Makes `strftime_now` give `date`.
pub(super) fn add(environment: &mut Environment<'static>, date: NaiveDate) {
    environment.add_function(NAME, move |format: &str| written(date, format));
}

/// `date` as `format` has it. Refuses the time of day, which there is none of, and what Python leaves to the platform.
fn written(date: NaiveDate, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut directive = rest.next();
        let flag = directive.filter(|c| "-_0".contains(*c));
        if flag.is_some() {
            directive = rest.next();
        }
        let shown = || {
            let all = ['%'].into_iter().chain(flag).chain(directive);
            format!("`{NAME}` with `{}`", all.collect::<String>())
        };
        match directive {
            Some('z' | 'Z') if flag.is_none() => {} // no time zone, as in transformers
            Some(name)
                if OF_A_DATE.contains(name) && !(flag.is_some() && OF_WORDS.contains(name)) =>
            {
                let one: String = ['%'].into_iter().chain(flag).chain([name]).collect();
                text.push_str(&date.format(&one).to_string());
            }
            Some(name) if "HIklMpPrRsScfTX".contains(name) => {
                let what = format!("{}, the time of day: here it gives a day alone", shown());
                return Err(refused(what));
            }
            _ => return Err(refused(format!("{}, which is not known here", shown()))),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_python_writes_it() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/data/golden/strftime.json")).unwrap();
        let mut checked = 0;
        for (day, texts) in golden.as_object().unwrap() {
            let date: NaiveDate = day.parse().unwrap();
            for (format, expected) in texts.as_object().unwrap() {
                let found = written(date, format).unwrap();
                assert_eq!(found, expected.as_str().unwrap(), "{day}, {format}");
                checked += 1;
            }
        }
        assert!(checked > 100, "{checked}");
    }

    #[test]
    fn a_time_of_day_and_what_is_not_known_are_refused_by_name() {
        let date: NaiveDate = "2026-11-27".parse().unwrap();
        for format in ["%H:%M", "%I", "%p", "%c", "%X", "%T", "%s", "%-S", "%f"] {
            let error = written(date, format).unwrap_err().to_string();
            assert!(error.contains("the time of day"), "{format}: {error}");
        }
        for format in ["%Q", "%", "%-", "%^a", "%Ey", "%-a", "%10d"] {
            let error = written(date, format).unwrap_err().to_string();
            assert!(error.contains("which is not known here"), "{format}: {error}");
        }
        assert_eq!(written(date, "%d %b %Y").unwrap(), "27 Nov 2026");
    }
}
