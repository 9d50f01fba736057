//! The house: every import goes to a floor below, and no files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The floors that `text` draws, top to bottom, each a list of rooms.
fn floors(text: &str) -> Vec<Vec<String>> {
    let line = text.lines().find_map(|line| {
        let line = line.trim_start_matches(['/', '!', ' ']).trim_matches('`');
        line.starts_with("bin > ").then_some(line)
    });
    let line = line.expect("a line that begins with `bin > `");
    line.split(" > ").map(|floor| floor.split(", ").map(str::to_owned).collect()).collect()
}

/// The modules of the crate by path, `["data", "pack"]`, with their text: no comments, no unit tests.
fn modules() -> BTreeMap<Vec<String>, String> {
    fn collect(folder: &Path, module: &[String], found: &mut BTreeMap<Vec<String>, String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let stem = entry.file_stem().unwrap().to_str().unwrap().to_owned();
            let inner = [module, std::slice::from_ref(&stem)].concat();
            if entry.is_dir() {
                collect(&entry, &inner, found);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let is_parent = stem == "mod" || stem == "lib";
                let text = code(&std::fs::read_to_string(&entry).unwrap());
                found.insert(if is_parent { module.to_vec() } else { inner }, text);
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&root().join("src"), &[], &mut found);
    found
}

/// `text` without comments and without what stands from the first test module on.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap()).collect();
    let tests =
        lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && two[1].contains("mod "));
    lines[..tests.unwrap_or(lines.len())].join("\n")
}

/// The paths of a use tree or of a plain path that `text` begins with, such as `a::{b, c::d}`.
fn paths(text: &str) -> (Vec<Vec<String>>, usize) {
    let mut prefix = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if let Some(inside) = rest.strip_prefix('{') {
            let (mut all, mut place) = (Vec::new(), 0);
            loop {
                place += inside[place..].len()
                    - inside[place..].trim_start_matches([' ', '\n', '\t', ',']).len();
                if inside[place..].is_empty() || inside[place..].starts_with('}') {
                    return (all, at + 1 + place + 1);
                }
                let (found, length) = paths(&inside[place..]);
                assert!(length > 0, "not a use tree: {rest}");
                all.extend(found.into_iter().map(|path| [&prefix[..], &path].concat()));
                place += length;
                if inside[place..].trim_start().starts_with("as ") {
                    place += inside[place..].find([',', '}']).unwrap();
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*');
        let end = end.unwrap_or(rest.len());
        if end == 0 {
            return (vec![prefix], at);
        }
        prefix.push(rest[..end].to_owned());
        at += end;
        match text[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => return (vec![prefix], at),
        }
    }
}

/// Absolute paths of everything that the text of `module` names; `children`: modules directly in it.
fn named(module: &[String], text: &str, children: &[&str]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for first in ["crate", "mvpbench", "super", "self"].iter().chain(children) {
        for (place, _) in text.match_indices(&format!("{first}::")) {
            let before = text[..place].chars().next_back().unwrap_or(' ');
            let is_inner = before.is_alphanumeric() || "_:$".contains(before);
            if is_inner || text[..place].ends_with("pub(in ") {
                continue;
            }
            for path in paths(&text[place..]).0 {
                let mut base = module.to_vec();
                let mut path = &path[..];
                match &*path[0] {
                    "crate" | "mvpbench" => (base, path) = (Vec::new(), &path[1..]),
                    "self" => path = &path[1..],
                    _ => {
                        while path.first().is_some_and(|part| part == "super") {
                            base.pop();
                            path = &path[1..];
                        }
                    }
                }
                all.push([&base[..], path].concat());
            }
        }
    }
    all
}

/// Which modules each module imports.
fn imports() -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules = modules();
    let of = |(module, text): (&Vec<String>, &String)| {
        let inside = |path: &&Vec<String>| {
            path.len() == module.len() + 1 && path.starts_with(module) && !module.is_empty()
        };
        let children: Vec<&str> =
            modules.keys().filter(inside).map(|p| &**p.last().unwrap()).collect();
        let targets = named(module, text, &children).into_iter().filter_map(|path| {
            let prefixes = (1..=path.len()).rev().map(|length| path[..length].to_vec());
            prefixes.into_iter().find(|prefix| modules.contains_key(prefix))
        });
        (module.clone(), targets.filter(|target| target != module).collect())
    };
    modules.iter().map(of).collect()
}

#[test]
fn every_room_stands_on_one_floor_and_both_documents_draw_the_same_house() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let house = floors(&read("src/lib.rs"));
    assert_eq!(house, floors(&read("ARCHITECTURE.md")), "lib.rs and ARCHITECTURE.md differ");
    let mut drawn: Vec<&String> = house.iter().flatten().collect();
    let modules = modules();
    let mut rooms: Vec<&String> = modules.keys().filter_map(|path| path.first()).collect();
    rooms.dedup();
    drawn.sort();
    assert_eq!(drawn, rooms, "the floors and the rooms of src/ differ");
}

#[test]
fn no_room_imports_from_its_own_floor_or_from_above() {
    let house = floors(&std::fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let floor = |module: &[String]| house.iter().position(|rooms| rooms.contains(&module[0]));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (from, targets) in imports().iter().filter(|(from, _)| !from.is_empty()) {
        for to in targets.iter().filter(|to| to[0] != from[0]) {
            seen += 1;
            if floor(from) >= floor(to) {
                wrong.push(format!("{} imports {}", from.join("::"), to.join("::")));
            }
        }
    }
    assert!(seen > 300, "only {seen} imports were seen");
    assert!(wrong.is_empty(), "imports that do not go down:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut left = imports();
    // A module and the files it is split into are one idea: they may name what their parent declares.
    for (from, targets) in &mut left {
        targets.retain(|to| !from.starts_with(to));
    }
    // What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    loop {
        let before = left.len();
        let names: BTreeSet<Vec<String>> = left.keys().cloned().collect();
        left.retain(|_, targets| targets.iter().any(|target| names.contains(target)));
        let used: BTreeSet<Vec<String>> = left.values().flatten().cloned().collect();
        left.retain(|name, _| used.contains(name));
        if left.len() == before {
            break;
        }
    }
    let names: BTreeSet<&Vec<String>> = left.keys().collect();
    let line = |(from, targets): (&Vec<String>, &BTreeSet<Vec<String>>)| {
        let to: Vec<_> =
            targets.iter().filter(|to| names.contains(to)).map(|to| to.join("::")).collect();
        format!("{} -> {}", from.join("::"), to.join(", "))
    };
    let lines: Vec<String> = left.iter().map(line).collect();
    assert!(lines.is_empty(), "circles among:\n{}", lines.join("\n"));
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let module = ["a".to_owned(), "b".to_owned()];
    let text = code(
        "use super::{c, d::{self, E as F}};\nuse crate::g::*; // crate::no\nlet x = super::super::h::f();\nb1::call();\n#[cfg(test)]\nmod tests {\n use crate::never;\n}",
    );
    let mut seen: Vec<String> =
        named(&module, &text, &["b1"]).iter().map(|path| path.join("::")).collect();
    seen.sort();
    assert_eq!(seen, ["a::b::b1::call", "a::c", "a::d::E", "a::d::self", "g::*", "h::f"]);
}
