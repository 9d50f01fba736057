//! A whole layer with its adapter, forward and backward.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

use crate::config::{LoraSection, Projection};
use crate::data::pack::Pack;
use crate::doctor::examiner::{Cost, Examiner, exact, worst};
use crate::doctor::run::Run;
use crate::doctor::{Sizes, llama, pack};
use crate::model::batch::{Batch, Rows};
use crate::model::frozen::Linear;
use crate::model::layer::{Dropout, Layer, LayerLora, LayerPass, Stream};
use crate::model::lora::{Adapter, InputGradient};
use crate::model::shape::Shape;

/// Makes a tensor from its dimensions, a magnitude and a seed.
type Numbers<'a> = dyn Fn(&[usize], f64, u64) -> Result<Tensor> + 'a;

/// A layer with an adapter on q and v, its input and the gradient of its output.
struct Whole {
    layer: Layer,
    adapter: Adapter,
    x: Tensor,
    dy: Tensor,
    batch: Batch,
    shape: Shape,
}

impl Whole {
    /// `number` makes every tensor.
    fn new(
        number: &Numbers<'_>,
        shape: &Shape,
        pack: &Pack,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut projections = Vec::new();
        for projection in Projection::ALL {
            let (out, from) = shape.projection(projection);
            let weight = number(&[out, from], 1.0 / (from as f64).sqrt(), projection as u64)?;
            let bias = match shape.has_bias(projection) {
                true => Some(number(&[out], 1.0, 30 + projection as u64)?),
                false => None,
            };
            projections.push(Linear { weight: weight.into(), bias });
        }
        let mut adapter = Adapter::fresh(shape, &LoraSection::default(), 1, device)?;
        adapter.tensors = adapter.tensors.map(|tensor| number(tensor.dims(), 0.1, 20))?;
        let tokens = pack.tokens();
        let Ok(projections) = projections.try_into() else {
            bail!("a layer has seven projections")
        };
        Ok(Self {
            layer: Layer {
                input_layernorm: number(&[shape.hidden], 1.0, 10)?,
                projections,
                post_attention_layernorm: number(&[shape.hidden], 1.0, 11)?,
            },
            adapter,
            x: number(&[tokens, shape.hidden], 1.0, 12)?,
            dy: number(&[tokens, shape.hidden], 1.0, 13)?,
            batch: Batch::new(pack, shape.vocab, &shape.rotary(dtype, device))?,
            shape: shape.clone(),
        })
    }

    /// Output, gradient of the input, and the gradients of q's A and B.
    fn run(&self) -> Result<[Tensor; 4]> {
        let dropout = Some(Dropout { probability: 0.05, seed: 1, step: 2 });
        let lora = LayerLora { layer: 0, adapter: Some(&self.adapter), dropout };
        let pass = LayerPass { batch: &self.batch, shape: &self.shape, lora, rows: Rows::All };
        let input = Stream { base: self.x.clone(), delta: None };
        let (stream, saved) = self.layer.forward(&input, pass)?;
        let (dx, gradients) = self.layer.backward(&self.dy, &saved, pass, InputGradient::Wanted)?;
        let (Some(delta), Some(dx), Some(pair)) =
            (stream.delta, dx, gradients.get(Projection::QProj))
        else {
            bail!("a layer without an output or a gradient")
        };
        Ok([(stream.base + delta)?, dx, pair.a.clone(), pair.b.clone()])
    }
}

pub(super) fn examine(examiner: &mut Examiner, sizes: &Sizes) -> Result<()> {
    let (dtype, device) = (examiner.dtype, examiner.device.clone());
    let here = |shape: &[usize], scale, seed| examiner.random(shape, scale, seed);
    let long = pack(sizes.tokens, sizes.shape.vocab);
    let large = Whole::new(&here, &sizes.shape, &long, dtype, &device)?;
    let (tiny, short) = (llama([64, 96], [2, 2], 64, 1)?, pack(60, 64));
    let error = |examiner: &Examiner| {
        let here = |shape: &[usize], scale, seed| examiner.random(shape, scale, seed);
        let there = |shape: &[usize], scale, seed| exact(&examiner.random(shape, scale, seed)?);
        let got = Whole::new(&here, &tiny, &short, dtype, &device)?.run()?;
        let want = Whole::new(&there, &tiny, &short, DType::F64, &Device::Cpu)?.run()?;
        let [y, dx, a, b] = want;
        worst([(&got[0], y), (&got[1], dx), (&got[2], a), (&got[3], b)])
    };
    let parameters: usize = Projection::ALL
        .iter()
        .map(|&projection| sizes.shape.projection(projection))
        .map(|(out, from)| out * from)
        .sum();
    let flop = Cost::Flop(4.0 * (parameters * long.tokens()) as f64);
    let run = Run::alone(|| Ok(large.run()?.into()));
    examiner.examine("layer forward and backward", 10.0, error, flop, run);
    Ok(())
}
