//! `mvpbench doctor` from the command line.

use crate::command::Place;

#[test]
fn doctor_finds_the_cpu_well_in_lines_and_in_json() {
    let place = Place::new();
    let output = place.mvpbench(&["doctor", "--device", "cpu"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with("cpu, ") && text.contains("\nf32: copy "), "{text}");
    let verdicts = text.lines().skip(2).map(|line| line.split_whitespace().next());
    assert!(verdicts.clone().all(|word| word == Some("OK")) && verdicts.count() == 26, "{text}");
    for part in ["attention backward", "adamw", "layer forward and backward", "memory, recompute"] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }

    let output = place.mvpbench(&["doctor", "--device", "cpu", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["device"].as_str().unwrap().starts_with("cpu, "));
    let examination = &found["examinations"][0];
    assert_eq!(examination["dtype"], "f32");
    assert!(examination["copy_gb_per_s"].as_f64().unwrap() > 0.0);
    assert!(examination["matmul_tflops"].as_f64().unwrap() > 0.0);
    let checks = examination["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 26);
    for check in checks {
        assert_eq!(check["ok"], true, "{check}");
        if !check["note"].is_null() {
            assert!(check["name"].as_str().unwrap().starts_with("memory"), "{check}");
            continue;
        }
        let (error, bound) = (check["error"].as_f64().unwrap(), check["bound"].as_f64().unwrap());
        assert!(error <= bound && check["rate"].as_f64().unwrap() > 0.0, "{check}");
    }
}

#[test]
fn doctor_refuses_a_device_that_is_none() {
    let output = Place::new().mvpbench(&["doctor", "--device", "abacus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`abacus`"));
}
