//! The configurations of several runs: which runs differ only in the seed, and which keys differ.

use std::collections::BTreeSet;

use crate::report::cell;
use crate::report::folder::Run;
use crate::report::table::Table;
use crate::report::text::Text;

/// The groups of two runs or more whose configurations differ only in seed and folder.
pub fn seeds<'a>(runs: &[&'a Run]) -> Vec<Vec<&'a Run>> {
    let mut groups: Vec<(toml::Table, Vec<&Run>)> = Vec::new();
    for &run in runs {
        let rest = without_seed(run);
        match groups.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, alike)) => alike.push(run),
            None => groups.push((rest, vec![run])),
        }
    }
    let seed = |run: &Run| run.setting("train.seed").map(toml::Value::to_string);
    let all_differ = |alike: &[&Run]| {
        alike.iter().map(|run| seed(run)).collect::<BTreeSet<_>>().len() == alike.len()
    };
    groups.into_iter().map(|(_, alike)| alike).filter(|a| a.len() > 1 && all_differ(a)).collect()
}

fn without_seed(run: &Run) -> toml::Table {
    let mut config = run.config.clone();
    config.remove("output");
    if let Some(train) = config.get_mut("train").and_then(|train| train.as_table_mut()) {
        train.remove("seed");
    }
    config
}

/// The keys whose values are not the same in all runs.
pub fn differences(runs: &[&Run]) -> Table {
    let keys: BTreeSet<String> = runs
        .iter()
        .flat_map(|run| &run.config)
        .flat_map(|(section, table)| {
            let keys = table.as_table().into_iter().flatten();
            keys.map(move |(key, _)| format!("{section}.{key}"))
        })
        .collect();
    let header = runs.iter().map(|run| run.name.clone());
    let mut rows = Table::new(["key".to_owned()].into_iter().chain(header));
    for key in keys.into_iter().filter(|key| key != "output.dir") {
        let value = |run: &&Run| cell::or_none(run.setting(&key).map(toml::Value::to_string));
        let values: Vec<String> = runs.iter().map(value).collect();
        if values.iter().any(|value| *value != values[0]) {
            rows.push([Text::code(key)].into_iter().chain(values.into_iter().map(Text::from)));
        }
    }
    rows
}
