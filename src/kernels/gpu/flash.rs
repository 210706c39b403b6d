//! Attention's kernels and their order.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;

use super::super::cpu::attention::Shape;
use super::attention::{Attention, Pass, Sizes};
use super::launch::{launch_parts, output};
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
    let grid = kernel.grid(&sizes);
    let work = kernel.work(&sizes);
    launch_parts(kernel, &[q, k, v], &outputs, &sizes.info(shape.scale()), grid, work);
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
    let grid = kernel.grid(&sizes);
    launch_parts(kernel, &[g, o, lse], &[&stats], &info, grid, 0);
    let [dq, dk, dv] = [q, k, v].map(|like| output(like, like.shape()));
    let kernel = choose(Pass::QueryGradient);
    let (grid, work) = (kernel.grid(&sizes), kernel.work(&sizes));
    launch_parts(kernel, &[q, k, v, g, &stats], &[&dq], &info, grid, work);
    let kernel = choose(Pass::KeyGradient);
    let (grid, work) = (kernel.grid(&sizes), kernel.work(&sizes));
    launch_parts(kernel, &[q, k, v, g, &stats], &[&dk, &dv], &info, grid, work);
    (dq, dk, dv)
}
