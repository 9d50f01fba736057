//! Folders of sentence encoders.

use mvpbench::encoder::embedder::Embedder;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use super::{config, damaged, damages, edited, edits, tame, text};
use crate::eval::encoder::{FILES, copy, folder};

#[test]
fn an_encoder_of_anything_is_taken_or_refused_by_name() {
    let place = copy();
    let whole = FILES.map(|file| std::fs::read(folder().join(file)).unwrap());
    let all: usize = whole.iter().map(Vec::len).sum();
    let cases = (any::<prop::sample::Index>(), edits(), damages(), any::<bool>(), text());
    let outcome =
        TestRunner::new(config(500)).run(&cases, |(which, edits, damages, edit, text)| {
            let which = which.index(FILES.len());
            let json: Option<Value> = serde_json::from_slice(&whole[which]).ok();
            let bytes = match json.filter(|_| edit) {
                Some(json) => edited(&json, &edits).to_string().into_bytes(),
                None => damaged(&whole[which], &damages),
            };
            let name = format!("encoder/{}", FILES[which]);
            place.write(&name, &bytes);
            let embed = || {
                let embedder = Embedder::load(&place.path("encoder"))?;
                embedder.embed(&[text.as_str(), "a"], |_| Ok(())).map(|_| ())
            };
            let outcome = tame("encoder", all + bytes.len() + text.len(), embed);
            place.write(&name, &whole[which]);
            outcome.map(|_| ())
        });
    outcome.unwrap();
}
