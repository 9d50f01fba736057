//! `mvpbench doctor` from the command line.

use crate::command::Place;

#[test]
fn doctor_finds_the_cpu_well_in_lines_and_in_json() {
    let place = Place::new();
    let output = place.mvpbench(&["doctor", "--device", "cpu"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("cpu, ") && text.contains("\nf32: copy "), "{text}");
    assert!(text.contains("\nbf16 by ") && text.contains(" products: copy "), "{text}");
    assert!(text.contains("\nmvpbench ") && text.contains("\nstep of two layers, ms: "), "{text}");
    let verdicts = text.lines().filter(|line| line.starts_with("OK") || line.starts_with("FAIL"));
    assert!(verdicts.clone().all(|line| line.starts_with("OK")), "{text}");
    assert_eq!(verdicts.count(), 2 * 50, "{text}");
    for part in ["attention backward", "adamw", "layer forward and backward", "memory, recompute"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }

    let quick = ["doctor", "--device", "cpu", "--quick"];
    let output = place.mvpbench(&[&quick[..], &["--json"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The same beside the lines, in a file.
    let file = place.path("doctor.json");
    let beside = format!("--json={}", file.display());
    let output = place.mvpbench(&[&quick[..], &[&beside]].concat()).output().unwrap();
    assert!(output.stdout.starts_with(b"cpu, "));
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let keys = |object: &serde_json::Value| -> Vec<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&written), keys(&found));
    assert!(found["device"].as_str().unwrap().starts_with("cpu, "));
    let examinations = found["examinations"].as_array().unwrap();
    let of = |key: &str| examinations.iter().map(|found| found[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("dtype"), ["bf16", "f32"]);
    let products = of("products");
    assert!(products[0].is_string() && products[1].is_null(), "{products:?}");
    for examination in examinations {
        assert!(examination["copy_gb_per_s"].as_f64().unwrap() > 0.0);
        assert!(examination["matmul_tflops"].as_f64().unwrap() > 0.0);
        let checks = examination["checks"].as_array().unwrap();
        assert_eq!(checks.len(), 50);
        checks.iter().for_each(assert_well);
    }
}

/// That a check has passed, with an error, a rate and times where it has one.
fn assert_well(check: &serde_json::Value) {
    assert_eq!(check["ok"], true, "{check}");
    let name = check["name"].as_str().unwrap();
    if !check["note"].is_null() {
        assert!(name.starts_with("memory"), "{check}");
        return;
    }
    assert_eq!(check["times"].is_null(), name.contains("keep") || name == "memory, recompute");
    let (error, bound) = (check["error"].as_f64().unwrap(), check["bound"].as_f64().unwrap());
    assert!(error <= bound && check["rate"].as_f64().unwrap() > 0.0, "{check}");
}

#[test]
fn doctor_refuses_a_way_of_multiplying_that_is_none() {
    let mut place = Place::new();
    place.environment.push(("MVPBENCH_CPU_PRODUCT", "abacus".into()));
    let output = place.mvpbench(&["doctor", "--device", "cpu", "--quick"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`MVPBENCH_CPU_PRODUCT=abacus`"));
}

#[test]
fn doctor_refuses_a_device_that_is_none() {
    let output = Place::new().mvpbench(&["doctor", "--device", "abacus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`abacus`"));
}
