//! `mvpbench doctor` on a GPU: all is found well, a kernel that fails ends no other check, and every time stands beside its prediction.

use serde_json::Value;

use super::{environment, place};
use crate::command::Place;
use crate::require::{Need, skip};

/// What `doctor --quick` prints of the card in `place`, its exit status, and its JSON.
fn examined(place: &Place) -> (String, Option<i32>, Value) {
    let file = place.path("doctor.json");
    let json = format!("--json={}", file.display());
    let verb = ["doctor", "--device", "cuda", "--quick", &json];
    let output = place.mvpbench(&verb).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (said, output.status.code(), serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

fn checks(found: &Value) -> impl Iterator<Item = &Value> {
    let examinations = found["examinations"].as_array().unwrap();
    examinations.iter().flat_map(|examination| examination["checks"].as_array().unwrap())
}

#[test]
fn doctor_finds_a_gpu_well_in_both_dtypes_and_prints_predictions_of_a_known_card() {
    let mut place = place();
    place.environment.push(("EMULATED_NAME", "NVIDIA H100 80GB HBM3".into()));
    let (text, code, found) = examined(&place);
    assert_eq!(code, Some(0), "{text}");
    for part in
        ["\nbf16: copy ", "\nf32: copy ", "OK   attention backward", "sums are rounded once"]
    {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let card = &found["identity"]["card"];
    for key in ["name", "capability", "processors", "l2_mib", "driver_cuda", "ptx", "cublas"] {
        assert!(!card[key].is_null(), "{key}: {card}");
    }
    for check in checks(&found) {
        assert_eq!(check["ok"], true, "{check}");
        let Some(times) = check["times"].as_object() else { continue };
        assert!(times["best_us"].as_f64().unwrap() <= times["median_us"].as_f64().unwrap());
        assert!(times["repeated"].as_u64().unwrap() >= 3 && times["unequal"] == 0, "{check}");
        if environment().is_empty() || check["name"] == "layer forward and backward" {
            continue; // a real card may be none of the known ones
        }
        assert!(times["predicted_us"].as_f64().unwrap() > 0.0, "{check}");
    }
    for examination in found["examinations"].as_array().unwrap() {
        assert!(examination["matmul_sustained_tflops"].as_f64().unwrap() > 0.0);
        let step = &examination["step"];
        let ms = |key: &str| step[key].as_f64().unwrap();
        let parts = ms("forward_ms") + ms("backward_ms") + ms("optimizer_ms");
        assert!(parts > 0.0 && (parts - ms("device_ms")).abs() <= 0.01 * parts, "{step}");
        assert!(ms("reserved_memory_gib") >= ms("peak_memory_gib"), "{step}");
        // Two layers of 14 launches forward and as many back, and those of the output layer and of the optimizer.
        assert!(step["launches"].as_u64().unwrap() > 40, "{step}");
    }
    let kernels = found["kernels"]["kernels"].as_array().unwrap();
    assert!(kernels.len() > 40, "{}", kernels.len());
    for kernel in kernels {
        assert!(kernel["registers"].as_i64().unwrap() > 0, "{kernel}");
        assert!(kernel["blocks"].as_i64().unwrap() > 0, "{kernel}");
    }
    assert_eq!(found["kernels"]["modules"].as_array().unwrap().len(), 12);
}

#[test]
fn a_kernel_that_fails_is_named_in_the_drivers_words_and_ends_no_other_check() {
    if environment().is_empty() {
        return skip(Need::EmulatedCard, "");
    }
    let mut place = place();
    place.environment.push(("EMULATED_FAILING", "rms_norm_forward".into()));
    let (text, code, found) = examined(&place);
    assert_eq!(code, Some(1), "{text}");
    let names = |ok: bool| -> Vec<&str> {
        let found = checks(&found).filter(|check| check["ok"] == ok);
        found.map(|check| check["name"].as_str().unwrap()).collect()
    };
    // Of each dtype.
    let failed = ["memory", "step", "norms", "layer forward and backward"];
    assert_eq!(names(false), [failed, failed].concat(), "{text}");
    for name in ["rope", "dropout", "adamw", "linear backward", "q", "attention backward"] {
        assert_eq!(names(true).iter().filter(|ok| **ok == name).count(), 2, "{name}");
    }
    let mut told = checks(&found).filter(|check| check["ok"] == false);
    assert!(told.all(|check| check["note"].as_str().unwrap().contains("719")), "{text}");
    assert!(text.contains("8 of ") && text.contains("checks failed"), "{text}");
}
