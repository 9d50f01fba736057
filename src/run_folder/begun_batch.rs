//! How many pairs the steps of a run have: what its folder began with, on any number of ranks.

use std::path::Path;

use crate::config::{RunConfig, TrainSection};
use crate::run_folder::guard::{self, Resume};
use crate::run_folder::paths::Paths;
use crate::run_folder::purpose::Purpose;

/// `config` with `train.total_batch_size` set to what `ranks` ranks take at once, unless it is set or there is one rank; and a note where the run
/// in the folder, or that of the checkpoint to resume from, began with other steps. It keeps those.
pub fn settled(config: &RunConfig, ranks: usize, resume: &Resume) -> (RunConfig, Option<String>) {
    let mut settled = config.clone();
    if config.train.total_batch_size > 0 {
        return (settled, None);
    }
    let own = config.train.pairs_a_step() * ranks;
    let Some(begun) = begun(&config.output.dir, resume) else {
        if ranks > 1 {
            settled.train.total_batch_size = own;
        }
        return (settled, None);
    };
    settled.train.total_batch_size = begun.total_batch_size;
    let kept = begun.pairs_a_step();
    let note = (kept != own && begun.per_device_batch_size == config.train.per_device_batch_size)
        .then(|| {
            let on = if ranks == 1 { "1 rank".to_owned() } else { format!("{ranks} ranks") };
            format!("a step has {kept} pairs, as the run began; on {on} it would have {own}")
        });
    (settled, note)
}

/// The loop of the run in `output`, or else of the checkpoint that is resumed from; none where neither has a configuration. What cannot be
/// read or is damaged is left to [`guard::check`], which says so.
fn begun(output: &Path, resume: &Resume) -> Option<TrainSection> {
    let of = |folder: &Path| -> Option<TrainSection> {
        let file = Paths::of(folder).config(Purpose::Run);
        let text = guard::read_config(&file).ok().flatten()?;
        Some(Purpose::Run.parse(&text, &file.display().to_string()).ok()?.train)
    };
    of(output).or_else(|| {
        let Resume::From(checkpoint) = resume else { return None };
        of(checkpoint.canonicalize().ok()?.parent()?.parent()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(output: &Path, total: usize) -> RunConfig {
        let text = format!(
            "model.path = \"m\"\ndata.train = [\"a\"]\noutput.dir = {output:?}\n[train]\nper_device_batch_size = 2\n\
             gradient_accumulation_steps = 3\ntotal_batch_size = {total}\n"
        );
        RunConfig::parse(&text, "c.toml").unwrap()
    }

    #[test]
    fn a_run_keeps_the_pairs_of_its_steps_on_any_number_of_ranks() {
        let folder = tempfile::tempdir().unwrap();
        let total = |set: usize, ranks: usize| {
            let (settled, note) = settled(&config(folder.path(), set), ranks, &Resume::Auto);
            (settled.train.total_batch_size, note)
        };
        assert_eq!(total(0, 1), (0, None));
        assert_eq!(total(0, 4), (24, None));
        assert_eq!(total(8, 4), (8, None));
        let begin = |total: usize| {
            let text = config(folder.path(), total).to_toml().unwrap();
            std::fs::write(folder.path().join("config.toml"), text).unwrap();
        };
        begin(24);
        assert_eq!(total(0, 4), (24, None));
        let note = "a step has 24 pairs, as the run began; on 1 rank it would have 6".to_owned();
        assert_eq!(total(0, 1), (24, Some(note)));
        begin(0);
        let note = "a step has 6 pairs, as the run began; on 2 ranks it would have 12".to_owned();
        assert_eq!(total(0, 2), (0, Some(note)));
        assert_eq!(total(8, 2), (8, None), "the guard refuses what is set otherwise");
    }
}
