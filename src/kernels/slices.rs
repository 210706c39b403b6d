//! burn-flex's tensors as slices, and slices as its tensors.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, TensorData};

use super::cpu::pack::Matrix;
use super::ops::Bias;

/// A tensor whose elements lie in order.
pub(super) struct Dense(pub(super) FlexTensor);

impl Dense {
    pub(super) fn new(tensor: FlexTensor) -> Self {
        Self(tensor.to_contiguous())
    }

    pub(super) fn values(&self) -> &[f32] {
        let layout = self.0.layout();
        &self.0.storage::<f32>()[layout.start_offset()..][..layout.num_elements()]
    }

    /// To be written into: copied before where somebody else holds it.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.0.storage_mut()
    }
}

pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// A matrix as it lies, where its strides let a [`Matrix`] say so.
pub(super) fn matrix(tensor: FlexTensor) -> FlexTensor {
    let backwards = tensor.layout().strides().iter().any(|stride| *stride < 0);
    if backwards { tensor.to_contiguous() } else { tensor }
}

pub(super) fn view(tensor: &FlexTensor) -> Matrix<'_> {
    let layout = tensor.layout();
    let [row, column] = [0, 1].map(|i| layout.strides()[i] as usize);
    Matrix { data: &tensor.storage::<f32>()[layout.start_offset()..], row, column }
}

pub(super) fn bias(bias: Bias<Flex>) -> Option<Dense> {
    match bias {
        Bias::Absent => None,
        Bias::Each(tensor) => Some(Dense::new(tensor)),
    }
}
