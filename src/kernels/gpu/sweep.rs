//! What goes over a tensor once, on its way to the kernels: norms and activations.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;

use super::super::cpu::norm::Groups;
use super::launch::{launch, output};
use super::norm::{Elementwise, Norm, Operation, Rows};
use super::software;

/// The rows of a group norm of `x`.
pub fn group_rows(x: &CubeTensor, shape: Groups) -> Rows {
    let pictures = x.shape().num_elements() / (shape.channels * shape.pixels);
    let sizes =
        [pictures * shape.groups, shape.groups, shape.channels / shape.groups, shape.pixels];
    let [count, groups, channels, pixels] = sizes.map(|size| size as u32);
    Rows { count, groups, channels, pixels }
}

/// The rows of a layer norm of `x`.
pub fn layer_rows(x: &CubeTensor) -> Rows {
    let width = *x.shape().last().unwrap_or(&1);
    let count = (x.shape().num_elements() / width) as u32;
    Rows { count, groups: 1, channels: width as u32, pixels: 1 }
}

/// A norm of the first tensor, or its gradient.
pub fn normalise(
    tensors: &[CubeTensor],
    rows: &Rows,
    silu: bool,
    gradient: bool,
    epsilon: f32,
) -> CubeTensor {
    let kernel = Norm::choose(rows, silu, gradient, software());
    let y = output(&tensors[0], tensors[0].shape());
    let inputs: Vec<_> = tensors.iter().collect();
    launch(kernel, &inputs, &[&y], &rows.info(epsilon), kernel.grid(rows.count));
    y
}

/// A function of every number of the first tensor.
pub fn each(operation: Operation, tensors: &[CubeTensor]) -> CubeTensor {
    let y = output(&tensors[0], tensors[0].shape());
    let count = y.shape().num_elements() as u32;
    let vectors = count.is_multiple_of(4);
    let count = if vectors { count / 4 } else { count };
    let kernel = Elementwise { operation, vectors };
    let inputs: Vec<_> = tensors.iter().collect();
    launch(kernel, &inputs, &[&y], &[count], kernel.grid(count));
    y
}

/// The sums of 2 x 2 pixels of `x [n, channels, 2 h, 2 w]`.
pub fn sum_blocks(x: &CubeTensor) -> CubeTensor {
    let [n, channels, h, w] = x.shape().dims::<4>();
    let y = output(x, [n, channels, h / 2, w / 2]);
    let sizes = [y.shape().num_elements() as u32, w as u32 / 2];
    let kernel = Elementwise { operation: Operation::SumBlocks, vectors: false };
    launch(kernel, &[x], &[&y], &sizes, kernel.grid(sizes[0]));
    y
}

/// GEGLU of the first tensor, or its gradient.
pub fn gated(operation: Operation, tensors: &[CubeTensor]) -> CubeTensor {
    let mut dims = tensors[0].shape().to_vec();
    let last = dims.len() - 1;
    let width = dims[last] / 2;
    let half = (tensors[0].shape().num_elements() / 2) as u32;
    if operation == Operation::Geglu {
        dims[last] = width;
    }
    let y = output(&tensors[0], dims);
    let vectors = width.is_multiple_of(4);
    let unit = if vectors { 4 } else { 1 };
    let sizes = [half / unit, width as u32 / unit];
    let kernel = Elementwise { operation, vectors };
    let inputs: Vec<_> = tensors.iter().collect();
    launch(kernel, &inputs, &[&y], &sizes, kernel.grid(sizes[0]));
    y
}
