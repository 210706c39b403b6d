use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::AttentionModuleOptions;

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
    let [n, length, width] = q.dims();
    let split = |x: Tensor<3>| {
        let [n, length, width] = x.dims();
        x.reshape([n, length, heads, width / heads]).swap_dims(1, 2)
    };
    let options = AttentionModuleOptions { is_causal: causal, ..Default::default() };
    module::attention(split(q), split(k), split(v), None, None, options)
        .swap_dims(1, 2)
        .reshape([n, length, width])
}
