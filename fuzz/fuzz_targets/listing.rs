//! A data set of the hub or a folder: the first byte is what is wanted of it, then the card `README.md`, a zero byte, the names of its files,
//! one a line. A folder of `save_to_disk` has the same text as its `state.json` and its `dataset_dict.json`.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use mvpbench::data::listing::{Tree, Wanted};
use mvpbench_fuzz::{halves, tame};

fuzz_target!(|data: &[u8]| {
    let [wanted, rest @ ..] = data else { return };
    let (card, names) = halves(rest);
    let names = String::from_utf8_lossy(names);
    let read = |_: &str| Ok(card.to_vec());
    let files: Vec<String> = names.lines().map(str::to_owned).collect();
    let tree = Tree { title: "folder `fuzz`".to_owned(), files, read: &read };
    let wanted = Wanted {
        config: (wanted & 1 != 0).then_some("b"),
        split: (wanted & 2 != 0).then_some("test"),
        fallback: (wanted & 4 != 0).then_some("train"),
    };
    let Some(chosen) = tame("fuzz", tree.choose(wanted)) else { return };
    assert!(!chosen.files.is_empty());
    let known: HashSet<&String> = tree.files.iter().collect();
    for file in &chosen.files {
        assert!(known.contains(file), "`{file}` is none of the files");
    }
    assert_eq!(tree.choose(wanted).ok(), Some(chosen), "chosen twice, two choices");
});
