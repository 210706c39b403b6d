use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;

use crate::kernels;

/// The most bytes of scores that one piece of attention may have in a graph that is differentiated:
/// such a graph keeps them whole, and half of WebGPU's default limit of 128 MiB for one binding
/// leaves room for what the backward pass makes of them.
const MOST_SCORES: usize = 64 << 20;

/// The same without a graph, on a GPU whose kernels don't take such heads: of an autoencoder's one wide
/// head over all pixels, the scores would outgrow any buffer.
const MOST_SCORES_AT_ONCE: usize = 16 << 20;

/// How many queries' scores over so many keys exist at a time without a graph; `heads` of all sequences.
pub fn queries_at_once(heads: usize, keys: usize) -> usize {
    (MOST_SCORES_AT_ONCE / (4 * heads * keys).max(1)).max(1)
}

/// Multi-head scaled dot-product attention, `softmax(q k^T / sqrt(d)) v`.
///
/// `q [n, lq, heads * d]`, `k` and `v [n, lk, heads * d]` `-> [n, lq, heads * d]`. With `causal`
/// a position sees itself and those before it.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
) -> Tensor<3> {
    if kernels::serve_attention(&q, q.dims()[2] / heads) {
        return kernels::attention(q, k, v, heads, causal);
    }
    let [n, length, _] = q.dims();
    let keys = k.dims()[1];
    let graph = q.is_autodiff() || k.is_autodiff() || v.is_autodiff();
    let rows = match graph {
        _ if causal => length,
        true => (MOST_SCORES / (4 * n * heads * keys)).max(1),
        // burn's attention on the CPU keeps no scores.
        false if kernels::on_cpu(&q) => length,
        false => queries_at_once(n * heads, keys),
    };
    attention_by_rows(q, k, v, heads, causal, rows)
}

/// The same, `rows` queries at a time (rows of the scores are independent of each other).
fn attention_by_rows(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
    rows: usize,
) -> Tensor<3> {
    let [n, length, width] = q.dims();
    let split = |x: Tensor<3>| {
        let [n, length, width] = x.dims();
        x.reshape([n, length, heads, width / heads]).swap_dims(1, 2)
    };
    let options = AttentionModuleOptions { is_causal: causal, ..Default::default() };
    let (q, k, v) = (split(q), split(k), split(v));
    let piece = |q| module::attention(q, k.clone(), v.clone(), None, None, options);
    let mixed = if rows >= length {
        piece(q)
    } else {
        let starts = (0..length).step_by(rows);
        let pieces =
            starts.map(|start| piece(q.clone().narrow(2, start, rows.min(length - start))));
        Tensor::cat(pieces.collect(), 2)
    };
    mixed.swap_dims(1, 2).reshape([n, length, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;

    /// T17: by rows or at once, forward and backward.
    #[test]
    fn pieces_make_the_whole() {
        let device = Device::flex();
        device.seed(3);
        let draw =
            |length| Tensor::<3>::random([2, length, 12], Distribution::Normal(0.0, 1.0), &device);
        let (q, k, v, g) = (draw(7), draw(5), draw(5), draw(7));
        let run = |rows| {
            let leaves = [&q, &k, &v].map(|x| x.clone().autodiff().require_grad());
            let [q, k, v] = leaves.clone();
            let y = attention_by_rows(q, k, v, 3, false, rows);
            let gradients = (y.clone() * g.clone()).sum().backward();
            let mut all = vec![y.inner()];
            all.extend(leaves.iter().map(|leaf| leaf.grad(&gradients).unwrap()));
            all
        };
        for (whole, pieces) in run(7).into_iter().zip(run(3)) {
            let difference = (whole.clone() - pieces).abs().max() / whole.abs().max();
            assert!(difference.into_scalar::<f32>() < 1e-5);
        }
    }
}
