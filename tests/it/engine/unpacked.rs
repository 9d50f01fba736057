//! The model inside the binary as a folder of the cache.

use crate::command::Place;

#[test]
fn the_embedded_model_is_unpacked_into_the_cache_once_and_mended_there() {
    let mut place = Place::new();
    // A program that is killed cannot leave anything where it can write nothing.
    place.environment.push(("TMPDIR", place.path("nowhere").into()));
    let generate =
        "generate --model embedded:tiny/model --prompt Hello --max-new-tokens 8 -q".split(' ');
    let generate: Vec<_> = generate.collect();
    let run = || {
        let done = place.mvpbench(&generate).output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        (done.stdout, said)
    };
    let (answer, said) = run();
    assert_eq!(said, "");
    let models: Vec<_> = std::fs::read_dir(place.path("cache/models")).unwrap().collect();
    assert_eq!(models.len(), 1);
    let folder = models[0].as_ref().unwrap().path();
    let sizes = || -> Vec<_> {
        let mut files: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect()
    };
    let whole = sizes();
    assert_eq!(whole.len(), 6);
    // As a killed program and a disk with a wrong bit leave it.
    let weights = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join(".tokenizer.json.12-34.partial"), "half").unwrap();
    let (again, said) = run();
    assert!(again == answer && sizes() == whole);
    assert!(said.contains("model.safetensors` has changed; it is written again"), "{said}");
    assert_eq!(run().1, "");
    // Without a cache a temporary folder serves.
    std::fs::remove_dir_all(place.path("cache")).unwrap();
    place.write("cache", "a file");
    std::fs::create_dir(place.path("nowhere")).unwrap();
    assert_eq!(run().0, answer);
    assert_eq!(std::fs::read_dir(place.path("nowhere")).unwrap().count(), 0);
}
