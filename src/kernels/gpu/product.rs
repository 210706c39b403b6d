//! Matrix products on their way to the kernels.

use burn::backend::ops::FloatTensorOps;
use burn::backend::wgpu::{CubeTensor, into_contiguous};
use burn::backend::{Cube, TensorMetadata};
use burn::tensor::DType;

use super::launch::{launch_parts, output};
use super::matmul::{Bias, Form, LowRank, Matmul, Product};
use super::software;
use super::stored::Stored;

/// A matrix in order, or the transpose of one.
struct Factor {
    tensor: CubeTensor,
    transposed: bool,
}

impl Factor {
    fn new(tensor: CubeTensor) -> Self {
        let [rows, columns] = tensor.shape().dims::<2>();
        let strides = tensor.meta.strides();
        let transposed = rows > 1 && columns > 1 && strides[0] == 1 && strides[1] == rows;
        let tensor = if transposed { tensor } else { into_contiguous(tensor) };
        Self { tensor, transposed }
    }
}

/// One product, or a batch of them: sizes and, from one of the batch to the next, elements of a, b
/// and y.
pub struct Batch {
    /// `[m, n, k]`.
    pub size: [usize; 3],
    /// How many.
    pub count: usize,
    /// Of a, b and y.
    pub strides: [usize; 3],
}

impl Batch {
    fn one(size: [usize; 3]) -> Self {
        Self { size, count: 1, strides: [0; 3] }
    }
}

/// What becomes of a product: `factor * product + bias + onto`, or `product + bias + onto + factor *
/// product of low rank`.
pub struct Sum<'a> {
    /// What one of them is multiplied by.
    pub factor: f32,
    /// What is added to each row or column.
    pub bias: Option<(&'a CubeTensor, Bias)>,
    /// What is added to each element.
    pub onto: Option<&'a CubeTensor>,
    /// Another product's factors, `[m, rank]` and `[rank, n]`, in order.
    pub low_rank: Option<[&'a CubeTensor; 2]>,
}

impl Sum<'_> {
    /// The product itself.
    pub const PRODUCT: Self = Self { factor: 1.0, bias: None, onto: None, low_rank: None };
}

/// How a tensor's numbers lie: integers are the words of 8-bit blocks.
pub fn stored(tensor: &CubeTensor) -> Stored {
    match tensor.dtype {
        DType::F16 => Stored::halves(),
        DType::I32 | DType::U32 => Stored::Blocks,
        _ => Stored::F32,
    }
}

/// Whether a tensor is a constant weight that isn't f32: its elements lie in order, since only a
/// weight as it was loaded can be one.
pub fn is_narrow(tensor: &CubeTensor) -> bool {
    stored(tensor) != Stored::F32
}

/// Products into `y`, whose factors lie in order.
pub fn product(
    form: Form,
    a: &CubeTensor,
    b: &CubeTensor,
    sum: &Sum<'_>,
    y: &CubeTensor,
    batch: &Batch,
) {
    let [m, n, k] = batch.size.map(|size| size as u32);
    let bias = sum.bias.map_or(Bias::None, |(_, kind)| kind);
    let rank = sum.low_rank.map_or(0, |[hidden, _]| hidden.shape()[1] as u32);
    let (residual, low_rank) = (sum.onto.is_some(), LowRank::of(rank));
    let product = Product { form, bias, residual, low_rank, a: stored(a), b: stored(b) };
    let kernel = Matmul::choose(product, [m, n, k], software());
    let [of_a, of_b, of_y] = batch.strides.map(|stride| stride as u32);
    let sizes = [m, n, k, of_a, of_b, of_y, sum.factor.to_bits(), rank];
    let mut inputs = vec![a, b];
    inputs.extend(sum.bias.map(|(bias, _)| bias));
    inputs.extend(sum.onto);
    inputs.extend(sum.low_rank.into_iter().flatten());
    let grid = kernel.grid(m, n, batch.count as u32);
    let work = batch.size.iter().map(|size| *size as u64).product::<u64>();
    launch_parts(kernel, &inputs, &[y], &sizes, grid, 2 * work * batch.count as u64);
}

/// `a [m, k]`, `b [k, n]` as they lie.
pub fn multiply(a: CubeTensor, b: CubeTensor, sum: &Sum<'_>) -> CubeTensor {
    let ([m, k], [_, n]) = (a.shape().dims::<2>(), b.shape().dims::<2>());
    if is_narrow(&b) {
        return narrow(Form::Nn, a, &b, sum, [m, n, k]);
    }
    let (a, mut b) = (Factor::new(a), Factor::new(b));
    if a.transposed && b.transposed {
        // No kernel has both turned; it doesn't happen but in tests.
        b = Factor { tensor: into_contiguous(b.tensor), transposed: false };
    }
    let form = match (a.transposed, b.transposed) {
        (false, true) => Form::Nt,
        (false, false) => Form::Nn,
        (true, _) => Form::Tn,
    };
    let y = output(&a.tensor, [m, n]);
    product(form, &a.tensor, &b.tensor, sum, &y, &Batch::one([m, n, k]));
    y
}

/// `x [m, k]`, `weight [n, k] -> x weight^T [m, n]`.
pub fn linear(x: CubeTensor, weight: CubeTensor, sum: &Sum<'_>) -> CubeTensor {
    if is_narrow(&weight) {
        let ([m, k], [n, _]) = (x.shape().dims::<2>(), weight.shape().dims::<2>());
        return narrow(Form::Nt, x, &weight, sum, [m, n, k]);
    }
    multiply(x, Cube::float_transpose(weight), sum)
}

/// A product with a weight that isn't f32, of sizes `[m, n, k]`.
pub fn narrow(
    form: Form,
    x: CubeTensor,
    weight: &CubeTensor,
    sum: &Sum<'_>,
    size: [usize; 3],
) -> CubeTensor {
    let x = into_contiguous(x);
    let y = output(&x, [size[0], size[1]]);
    product(form, &x, weight, sum, &y, &Batch::one(size));
    y
}
