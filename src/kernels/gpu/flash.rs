//! Attention's kernels and their order.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;

use super::super::cpu::attention::Shape;
use super::attention::{Attention, Pass, Sizes};
use super::launch::{launch, output};
use super::software;

fn sizes(shape: Shape) -> Sizes {
    let sizes = [shape.n, shape.queries, shape.keys, shape.heads].map(|size| size as u32);
    let [n, queries, keys, heads] = sizes;
    Sizes { n, queries, keys, heads }
}

/// The output and, where the shape asks for statistics, those of each query.
pub fn attention(
    q: &CubeTensor,
    k: &CubeTensor,
    v: &CubeTensor,
    shape: Shape,
) -> (CubeTensor, CubeTensor) {
    let (sizes, width) = (sizes(shape), shape.width as u32);
    let pass = Pass::Forward { statistics: shape.statistics };
    let kernel = Attention::choose(pass, width, shape.causal, &sizes, software());
    let o = output(q, q.shape());
    let kept = [shape.n, shape.heads, if shape.statistics { shape.queries } else { 1 }];
    let lse = output(q, kept);
    let mut outputs = vec![&o];
    outputs.extend(shape.statistics.then_some(&lse));
    launch(kernel, &[q, k, v], &outputs, &sizes.info(shape.scale()), kernel.grid(&sizes));
    (o, lse)
}

/// The gradients of q, k and v for that of the output, `g`.
pub fn gradients(
    [q, k, v]: [&CubeTensor; 3],
    o: &CubeTensor,
    lse: &CubeTensor,
    g: &CubeTensor,
    shape: Shape,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (sizes, width) = (sizes(shape), shape.width as u32);
    let info = sizes.info(shape.scale());
    let stats = output(q, [shape.n, shape.heads, shape.queries, 2]);
    let choose = |pass| Attention::choose(pass, width, shape.causal, &sizes, software());
    let kernel = choose(Pass::Statistics);
    launch(kernel, &[g, o, lse], &[&stats], &info, kernel.grid(&sizes));
    let [dq, dk, dv] = [q, k, v].map(|like| output(like, like.shape()));
    let kernel = choose(Pass::QueryGradient);
    launch(kernel, &[q, k, v, g, &stats], &[&dq], &info, kernel.grid(&sizes));
    let kernel = choose(Pass::KeyGradient);
    launch(kernel, &[q, k, v, g, &stats], &[&dk, &dv], &info, kernel.grid(&sizes));
    (dq, dk, dv)
}
