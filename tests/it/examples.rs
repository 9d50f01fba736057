//! The examples, called as the code they are: they compile, and compute what the program computes.

use std::f64::consts::LN_2;

use mvpbench::config::TrainSection;

use crate::golden::path;

#[path = "../../examples/score_pairs.rs"]
mod score_pairs;
#[path = "../../examples/train_in_memory.rs"]
mod train_in_memory;

#[test]
fn a_model_that_is_its_own_reference_ties_every_pair() {
    let scores = score_pairs::score(&path("models/tiny"), &path("pairs.jsonl")).unwrap();
    assert_eq!(scores.len(), 13);
    for score in &scores {
        assert!(score.policy_chosen_logps < 0.0 && score.policy_rejected_logps < 0.0, "{score:?}");
        assert_eq!(
            score.policy_chosen_logps.to_bits(),
            score.reference_chosen_logps.to_bits(),
            "{score:?}"
        );
    }
}

#[test]
fn training_in_memory_starts_at_ln_2_and_lowers_the_loss() {
    let settings = TrainSection {
        epochs: 4.0,
        per_device_batch_size: 2,
        gradient_accumulation_steps: 4,
        learning_rate: 1e-2,
        ..TrainSection::default()
    };
    let (adapter, losses) =
        train_in_memory::train(&path("models/tiny"), &path("pairs.jsonl"), &settings).unwrap();
    assert_eq!(losses.len(), 8);
    assert!((losses[0] - LN_2).abs() <= 1e-6, "{losses:?}");
    assert!(losses[7] < losses[0] - 0.05, "{losses:?}");
    assert!(adapter.tensors.parameters() > 0);
}
