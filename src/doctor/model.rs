//! A model of two layers with its adapter and a batch, for the memory and the time of a step: the last layer, for the scored rows alone,
//! and one below it.

use anyhow::Result;
use candle_core::{DType, Tensor};

use crate::config::LoraSection;
use crate::data::pack::Pack;
use crate::doctor::examiner::Examiner;
use crate::doctor::{Sizes, llama, pack};
use crate::machine::memory::{DeviceKind, PassBytes, PassPlan};
use crate::model::batch::Batch;
use crate::model::decoder::{Decoder, Keep};
use crate::model::layer::Dropout;
use crate::model::lora::{Adapter, LoraTensors};

/// Tokens on a CPU, and with `--quick`, whose rows are short: enough that a step takes many times the noise in the memory of the program.
const CPU_TOKENS: [usize; 2] = [2048, 4096];

/// As a recipe has it.
const DROPOUT: Option<Dropout> = Some(Dropout { probability: 0.05, seed: 1, step: 2 });

/// The model, and what a step of it reads.
pub(super) struct TwoLayers {
    pub(super) model: Decoder,
    pub(super) adapter: Adapter,
    pub(super) batch: Batch,
    /// The adapter in the model's dtype.
    policy: Adapter,
    /// Gradient of each scored token's log-probability.
    dlogps: Tensor,
    pub(super) pack: Pack,
}

impl TwoLayers {
    pub(super) fn new(examiner: &Examiner, sizes: &Sizes) -> Result<Self> {
        let one = &sizes.shape;
        let heads = [one.heads.heads, one.heads.kv_heads];
        let shape = llama([one.hidden, one.intermediate], heads, one.vocab, 2)?;
        let (dtype, device) = (examiner.dtype, &examiner.device);
        let mut seed = 0;
        let model = Decoder::assemble(shape, dtype, device, &mut |_, shape| {
            seed += 1;
            Ok(examiner.random(shape, 0.02, seed)?.into())
        })?;
        let adapter = Adapter::fresh(&model.shape, &LoraSection::default(), 1, device)?;
        let on_cpu = CPU_TOKENS[usize::from(examiner.quick)];
        let pack = pack(if device.is_cpu() { on_cpu } else { sizes.tokens }, one.vocab);
        let scored = pack.targets.len();
        let (batch, policy) = (model.batch(&pack)?, model.bring(&adapter)?);
        let dlogps = Tensor::ones(scored, DType::F32, device)?;
        Ok(Self { model, adapter, batch, policy, dlogps, pack })
    }

    /// Gradients of the adapter; `between`: called between the forward and the backward pass.
    pub(super) fn gradients(
        &self,
        keep: Keep,
        between: impl FnOnce() -> Result<()>,
    ) -> Result<LoraTensors> {
        let (_, tape) = self.model.forward(&self.batch, &self.policy, DROPOUT, keep)?;
        between()?;
        Ok(self.model.backward(&self.dlogps, tape, &self.batch, &self.policy, DROPOUT)?)
    }

    /// What the plan of `--dry-run` says of a pass.
    pub(super) fn planned(&self, keep: Keep) -> PassBytes {
        let Self { model, adapter, pack, .. } = self;
        let pass = PassPlan {
            shape: &model.shape,
            lora: &adapter.plan,
            device: DeviceKind::of(&model.device),
            dtype: model.dtype,
            tokens: pack.tokens(),
            scored: pack.targets.len(),
        };
        pass.bytes(keep)
    }
}
