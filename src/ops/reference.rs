//! The obvious version of each operation: a composition of candle primitives that candle's tape can differentiate. Tests and
//! `mvpbench doctor` compare the CPU bodies and the kernels with it; nothing trains with it.

use candle_core::{D, Result, Tensor, Var};

use crate::ops::adamw::{BETA1, BETA2, EPS, Parameter, Rule, Step};

/// `x / sqrt(mean(x^2) + eps) * weight`; `x`: `[tokens, hidden]`, `weight`: `[hidden]`.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let inv = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    x.broadcast_mul(&inv)?.broadcast_mul(weight)
}

/// `y + bias` in every row; `y`: `[tokens, out]`, `bias`: `[out]`.
pub fn bias(y: &Tensor, bias: &Tensor) -> Result<Tensor> {
    y.broadcast_add(bias)
}

/// Turns the first elements of each head by the angles, and the whole head where there are as many; `x`: `[tokens, heads * head_dim]`, `cos`, `sin`:
/// `[tokens, half]`.
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, head_dim: usize) -> Result<Tensor> {
    let ((tokens, width), half) = (x.dims2()?, cos.dim(1)?);
    let x = x.reshape((tokens, width / head_dim, head_dim))?;
    let rest = x.narrow(2, 2 * half, head_dim - 2 * half)?;
    let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let left = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let right = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    Tensor::cat(&[left, right, rest], 2)?.reshape((tokens, width))
}

/// `silu(gate) * up`.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// `z[target] - logsumexp(z)` of each row of `logits`, `[rows, vocab]`; `targets`: `[rows]` u32.
pub fn logps(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?.detach())?;
    let all = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?;
    all.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)
}

/// `sum_i p_i (ln p_i - ln q_i)` of each row, `p` and `q` the softmax of `policy` and `reference`, `[rows, vocab]`.
pub fn kl(policy: &Tensor, reference: &Tensor) -> Result<Tensor> {
    let all = |logits: &Tensor| -> Result<Tensor> {
        let shifted = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)
    };
    let (p, q) = (all(policy)?, all(reference)?);
    (p.exp()? * (p - q)?)?.sum(1)
}

/// One step of AdamW by the rule of `step` with `gradient`, multiplied by `scale` first.
pub fn adamw(
    parameter: &Parameter,
    gradient: &Tensor,
    step: &Step,
    scale: f64,
) -> Result<Parameter> {
    let g = (gradient * scale)?;
    let first = ((&parameter.first_moment * BETA1)? + (&g * (1.0 - BETA1))?)?;
    let second = ((&parameter.second_moment * BETA2)? + (g.sqr()? * (1.0 - BETA2))?)?;
    let bias = |beta: f64| 1.0 - beta.powf(step.count as f64);
    let keep = 1.0 - step.learning_rate * step.weight_decay;
    let value = match step.rule {
        Rule::Torch => {
            let (m, v) = ((&first / bias(BETA1))?, (&second / bias(BETA2))?);
            ((&parameter.value * keep)? - (m / (v.sqrt()? + EPS)?)? * step.learning_rate)?
        }
        Rule::Transformers => {
            let size = step.learning_rate * bias(BETA2).sqrt() / bias(BETA1);
            let moved = (&parameter.value - (&first / (second.sqrt()? + EPS)?)? * size)?;
            (&moved - (&moved * (step.learning_rate * step.weight_decay))?)?
        }
    };
    Ok(Parameter { value, first_moment: first, second_moment: second })
}

/// Gradients of `sum(weights * f(inputs))` by candle's tape; `f` must be a composition that keeps the graph.
pub fn gradients(
    inputs: &[&Tensor],
    weights: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let variables = inputs.iter().map(|t| Var::from_tensor(t)).collect::<Result<Vec<Var>>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let mut gradients = (f(&tensors)? * weights)?.sum_all()?.backward()?;
    let of = |v: &Var| {
        let gradient = gradients.remove(v);
        gradient.map_or_else(|| candle_core::bail!("the graph is cut"), |g| Ok(g.detach()))
    };
    variables.iter().map(of).collect()
}
