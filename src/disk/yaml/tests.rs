use super::*;

fn read(text: &str) -> String {
    let keys = table(text, "a.yaml").unwrap();
    Yaml::Table(keys).to_string()
}

fn refused(text: &str) -> String {
    InputError::of(&table(text, "a.yaml").unwrap_err()).unwrap().to_string()
}

#[test]
fn values_are_those_of_pyyaml() {
    // Of PyYAML 6: yaml.safe_load, printed as JSON.
    let text = "a: 5e-6\nb: 5.0e-6\nc: 5.0e6\nd: no\ne: On\nf: 'no'\ng: ~\nh:\ni: 010\nj: 0x1F\nk: 1_000\nl: 1:30\nm: .5\nn: -.inf\n\
                o: [1, two, null]\np: {q: 1.0}\nr: |\n  x\n  y\ns: >-\n  x\n  y\nt: !!str 5\nu: 1.\nv: +12\nw: true # not false\n";
    let expected = "{a: 5e-6, b: 0.000005, c: 5.0e6, d: false, e: true, f: \"no\", g: null, h: null, i: 8, j: 31, k: 1000, l: 90, m: 0.5, \
                    n: -inf, o: [1, two, null], p: {q: 1.0}, r: \"x\\ny\\n\", s: \"x y\", t: \"5\", u: 1.0, v: 12, w: true}";
    assert_eq!(read(text), expected);
}

#[test]
fn anchors_and_merges_are_read_and_what_is_explicit_wins() {
    let text = "base: &b {a: 1, b: 2}\nother: &o {b: 3, c: 4}\none: {<<: *b, b: 9}\nboth:\n  <<: [*b, *o]\n";
    assert_eq!(
        read(text),
        "{base: {a: 1, b: 2}, other: {b: 3, c: 4}, one: {b: 9, a: 1}, both: {a: 1, b: 2, c: 4}}"
    );
}

#[test]
fn json_is_read_too_with_tabs() {
    assert_eq!(
        read("{\n\t\"a\": 5e-6,\n\t\"b\": [true, null]\n}"),
        "{a: 0.000005, b: [true, null]}"
    );
}

#[test]
fn what_pyyaml_passes_over_or_refuses_is_refused_with_its_line() {
    for (text, expected) in [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: `a` stands twice, first in line 1"),
        ("a:\n  - b: 1\n    b: 2\n", "a.yaml:3: `b` stands twice, first in line 2"),
        (
            "a: !!python/object:os.system x\n",
            "a.yaml:1: the tag `tag:yaml.org,2002:python/object:os.system` is not read",
        ),
        ("a: !ENV x\n", "a.yaml:1: the tag `!ENV` is not read"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: a second document begins, expected one"),
        ("- a\n- b\n", "a.yaml: expected keys and values, found `[a, b]`"),
        ("# nothing\n", "a.yaml: the file is empty"),
        ("", "a.yaml: the file is empty"),
        ("? [a]\n: 1\n", "a.yaml:1: a list or a table stands in place of a key"),
        ("a: {<<: 3}\n", "a.yaml:1: `<<` merges tables alone"),
    ] {
        assert_eq!(refused(text), expected);
    }
    assert!(refused("a: [1\nb: 2").starts_with("a.yaml:"));
    assert!(refused("a: *nobody\n").starts_with("a.yaml:1"));
    assert!(refused(&format!("a: {}1{}", "[".repeat(70), "]".repeat(70))).contains("64 deep"));
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let inner = vec![format!("*a{}", i - 1); 10].join(", ");
        text += &format!("a{i}: &a{i} [{inner}]\n");
    }
    assert!(refused(&text).contains("repeat more than 20000 values"));
}

#[test]
fn each_value_is_the_one_that_pyyaml_reads() {
    let golden: Vec<(String, String, serde_json::Value)> =
        serde_json::from_str(include_str!("../../../tests/data/yaml_scalars.json")).unwrap();
    assert!(golden.len() > 50);
    for (text, kind, value) in golden {
        let keys = table(&format!("a: {text}\n"), "a").unwrap();
        let found = &keys[0].1.value;
        let same = match (&*kind, found) {
            ("null", Yaml::Null) => true,
            ("bool", Yaml::Bool(flag)) => value == *flag,
            ("integer", Yaml::Integer(integer)) => value == *integer,
            ("number", Yaml::Number(number)) => match value.as_str() {
                Some(name) => format!("{number}").to_lowercase() == name,
                None => value.as_f64() == Some(*number),
            },
            ("text", Yaml::Text(text)) => value == text.as_str(),
            _ => false,
        };
        assert!(same, "`{text}`: expected {kind} {value}, got {found:?}");
    }
}
