//! A generator's numbers as tensors.

use burn::tensor::{Device, Tensor, TensorData};

use crate::noise::Generator;

/// The next unit normal noise.
pub(super) fn normal(generator: &mut Generator, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let noise = generator.randn(shape.iter().product());
    Tensor::from_data(TensorData::new(noise, shape), device)
}
