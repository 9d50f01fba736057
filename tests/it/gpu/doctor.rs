//! `mvpbench doctor` on a GPU: all is found well, a kernel that fails ends no other check, and every time stands beside its prediction.

use serde_json::Value;

use super::{environment, place};

fn checks(found: &Value) -> impl Iterator<Item = &Value> {
    let examinations = found["examinations"].as_array().unwrap();
    examinations.iter().flat_map(|examination| examination["checks"].as_array().unwrap())
}

/// One process, for the time of the tests: on the emulated card a kernel of f32 fails, and all of bf16 is well.
#[test]
fn doctor_finds_a_gpu_well_but_for_a_kernel_that_fails_and_prints_predictions_of_a_known_card() {
    let emulated = !environment().is_empty();
    let mut place = place();
    place.environment.push(("EMULATED_NAME", "NVIDIA H100 80GB HBM3".into()));
    place.environment.push(("EMULATED_FAILING", "rms_norm_forward_float".into()));
    place.environment.push(("RUST_BACKTRACE", "1".into())); // which candle adds to its errors
    let file = place.path("doctor.json");
    let json = format!("--json={}", file.display());
    let verb = ["doctor", "--device", "cuda", "--quick", &json];
    let output = place.mvpbench(&verb).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let found: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();

    assert_eq!(output.status.code(), Some(i32::from(emulated)), "{said}");
    for part in
        ["\nbf16: copy ", "\nf32: copy ", "OK   attention backward", "sums are rounded once"]
    {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    let card = &found["identity"]["card"];
    for key in ["name", "capability", "processors", "l2_mib", "driver_cuda", "ptx", "cublas"] {
        assert!(!card[key].is_null(), "{key}: {card}");
    }
    // What needs the kernel, and nothing else, has failed, in the driver's words.
    let failed: Vec<&Value> = checks(&found).filter(|check| check["ok"] == false).collect();
    let names: Vec<&str> = failed.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let needing: &[&str] = &["memory", "step", "norms", "layer forward and backward"];
    assert_eq!(names, if emulated { needing } else { &[] }, "{said}");
    for check in failed {
        let note = check["note"].as_str().unwrap();
        assert!(note.contains("LAUNCH_FAILED") && !note.contains('\n'), "{note}");
    }
    assert!(!emulated || said.contains("4 of ") && said.contains("checks failed"), "{said}");

    let of_dtype = found["examinations"].as_array().unwrap();
    assert_eq!(of_dtype[0]["dtype"], "bf16");
    for name in ["rope", "dropout", "adamw", "linear backward", "q", "attention backward"] {
        assert_eq!(checks(&found).filter(|check| check["name"] == name).count(), 2, "{name}");
    }
    for check in checks(&found) {
        let Some(times) = check["times"].as_object() else { continue };
        assert!(times["best_us"].as_f64().unwrap() <= times["median_us"].as_f64().unwrap());
        assert!(times["repeated"].as_u64().unwrap() >= 3 && times["unequal"] == 0, "{check}");
        // A real card may be none of the known ones.
        if emulated && check["name"] != "layer forward and backward" {
            assert!(times["predicted_us"].as_f64().unwrap() > 0.0, "{check}");
        }
    }
    for examination in of_dtype {
        assert!(examination["matmul_sustained_tflops"].as_f64().unwrap() > 0.0);
        assert_eq!(examination["step"].is_null(), emulated && examination["dtype"] == "f32");
    }
    let step = &of_dtype[0]["step"];
    let ms = |key: &str| step[key].as_f64().unwrap();
    let parts = ms("forward_ms") + ms("backward_ms") + ms("optimizer_ms");
    assert!(parts > 0.0 && (parts - ms("device_ms")).abs() <= 0.01 * parts, "{step}");
    assert!(ms("reserved_memory_gib") >= ms("peak_memory_gib"), "{step}");
    // Two layers of 14 launches forward and as many back, and those of the output layer and of the optimizer.
    assert!(step["launches"].as_u64().unwrap() > 40, "{step}");
    let kernels = found["kernels"]["kernels"].as_array().unwrap();
    assert!(kernels.len() > 40, "{}", kernels.len());
    for kernel in kernels {
        assert!(kernel["registers"].as_i64().unwrap() > 0, "{kernel}");
        assert!(kernel["blocks"].as_i64().unwrap() > 0, "{kernel}");
    }
    assert_eq!(found["kernels"]["modules"].as_array().unwrap().len(), 12);
}
