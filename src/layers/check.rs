//! What a device's kernels give for known numbers, beside what burn's operations give on the CPU.
//! A driver or a browser with a fault of its own is found when the device opens, not in a picture.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::functional::{LowRank, conv2d, linear};
use super::{Conv2dConfig, GroupNorm, LayerNorm, Weight, attention, geglu, silu};
use crate::kernels::{self, Choice, Operation, gpu};

/// The largest difference that is rounding, over the largest value.
const TOLERANCE: f32 = 1e-4;

/// One operation on numbers that are the same every time.
#[derive(Debug)]
pub struct Check {
    /// Whose kernel it is.
    pub operation: Operation,
    /// What the device makes of them, to be read back.
    pub result: Tensor<1>,
    expected: Vec<f32>,
}

impl Check {
    /// Whether `result`, read back, is what it has to be.
    pub fn passes(&self, result: &[f32]) -> bool {
        let most = self.expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * most;
        result.len() == self.expected.len() && result.iter().zip(&self.expected).all(near)
    }
}

/// The checks of all operations, queued on `device`. The sizes are odd and fill a workgroup; for a real
/// GPU there are also such as its tiles take, which do nearly all of a picture's work.
pub fn checks(device: &Device) -> Vec<Check> {
    // A software GPU has no tiles, and its shaders take long to compile.
    checks_of(device, !kernels::is_cpu(device) && !gpu::software())
}

fn checks_of(device: &Device, tiles: bool) -> Vec<Check> {
    use Operation::{
        Attention, Conv2d, Enlarged, Geglu, GroupNorm, Halves, LayerNorm, Linear, Silu,
    };
    let cpu = Device::flex();
    [Linear, Conv2d, Attention, GroupNorm, LayerNorm, Silu, Geglu, Enlarged, Halves]
        .into_iter()
        .map(|operation| {
            kernels::choose(Choice::None);
            let expected = run(operation, &cpu, tiles).into_data().convert::<f32>();
            kernels::choose(Choice::All);
            let result = run(operation, device, tiles);
            kernels::choose(Choice::Best);
            // On the CPU nothing but the dtype can fail here, and it was converted.
            let expected = expected.try_into_vec().unwrap_or_default();
            Check { operation, result, expected }
        })
        .collect()
}

fn values(dims: &[usize]) -> Vec<f32> {
    (0..dims.iter().product()).map(|i| (i as f32 * 1.7).sin()).collect()
}

fn numbers<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values(&dims), dims), device)
}

fn halves<const D: usize>(dims: [usize; D], device: &Device) -> Weight<D> {
    let values: Vec<_> = values(&dims).into_iter().map(half::f16::from_f32).collect();
    Weight::new(Tensor::from_data(TensorData::new(values, dims), (device, DType::F16)))
}

fn run(operation: Operation, device: &Device, tiles: bool) -> Tensor<1> {
    let mut all = vec![small(operation, device)];
    if tiles {
        all.extend(large(operation, device));
    }
    Tensor::cat(all, 0)
}

fn rows([length, width]: [usize; 2], device: &Device) -> Tensor<3> {
    numbers([1, length, width], device)
}

fn small(operation: Operation, device: &Device) -> Tensor<1> {
    let square = || numbers([1, 8, 9, 9], device);
    let rows = |length| rows([length, 16], device);
    let each = |count| (numbers([count], device), numbers([count], device) * 0.5);
    match operation {
        Operation::Linear => {
            let (weight, bias) = (numbers([19, 16], device), Some(numbers([19], device)));
            let plain = linear(rows(21), weight.clone(), bias.clone(), None);
            let (hidden, up) = (numbers([1, 21, 4], device), numbers([4, 19], device).transpose());
            let more = Some(LowRank { hidden, up, factor: 0.5 });
            let adapted = linear(rows(21), weight, bias, more);
            Tensor::cat(vec![plain.flatten(0, 2), adapted.flatten(0, 2)], 0)
        }
        Operation::Conv2d => {
            let (weight, bias) = (numbers([9, 8, 3, 3], device), numbers([9], device));
            conv2d(square(), weight, Some(bias), Conv2dConfig::SAME).flatten(0, 3)
        }
        Operation::Attention => attention(rows(21), rows(13), rows(13), 2, false).flatten(0, 2),
        Operation::GroupNorm => {
            let (weight, bias) = each(8);
            GroupNorm::new(weight, bias, 2, 1e-5).forward_silu(square()).flatten(0, 3)
        }
        Operation::LayerNorm => {
            let (weight, bias) = each(16);
            LayerNorm::new(weight, bias, 1e-5).forward(rows(21)).flatten(0, 2)
        }
        Operation::Silu => silu(rows(21)).flatten(0, 2),
        Operation::Geglu => geglu(rows(21)).flatten(0, 2),
        Operation::Enlarged => {
            let weight = Weight::new(numbers([9, 8, 3, 3], device));
            weight.conv2d_enlarged(square(), None).flatten(0, 3)
        }
        Operation::Halves => {
            let rows = halves([19, 16], device).linear(rows(21), None, None).flatten(0, 2);
            let weight = halves([9, 8, 3, 3], device).packed();
            let square = weight.conv2d(square(), None, Conv2dConfig::SAME).flatten(0, 3);
            Tensor::cat(vec![rows, square], 0)
        }
    }
}

/// What an operation's kernels in tiles give, where it has some: more than one tile in each direction,
/// the last of them not full, and more than one step of the sums.
fn large(operation: Operation, device: &Device) -> Vec<Tensor<1>> {
    let tokens = || rows([70, 64], device);
    let image = |side| numbers([1, 32, side, side], device);
    match operation {
        Operation::Linear => {
            let (weight, bias) = (numbers([68, 64], device), Some(numbers([68], device)));
            let (hidden, up) = (numbers([1, 70, 4], device), numbers([4, 68], device).transpose());
            let more = Some(LowRank { hidden, up, factor: 0.5 });
            let adapted = linear(tokens(), weight.clone(), bias.clone(), more);
            vec![linear(tokens(), weight, bias, None), adapted]
                .into_iter()
                .map(|y| y.flatten(0, 2))
                .collect()
        }
        Operation::Conv2d => {
            let (weight, bias) = (numbers([66, 32, 3, 3], device), Some(numbers([66], device)));
            let convolve = |config, side| {
                conv2d(image(side), weight.clone(), bias.clone(), config).flatten(0, 3)
            };
            let point = Weight::new(numbers([66, 32, 1, 1], device));
            vec![
                convolve(Conv2dConfig::SAME, 9),
                convolve(Conv2dConfig::HALVE, 17),
                point.conv2d(image(9), None, Conv2dConfig::POINT).flatten(0, 3),
            ]
        }
        Operation::Attention => {
            // The widths of SD 1, of SD 2 and of the text encoders, which see what comes before alone.
            let head = |(width, causal): (usize, bool)| {
                let rows = |length| rows([length, 2 * width], device);
                let keys = if causal { 70 } else { 77 };
                attention(rows(70), rows(keys), rows(keys), 2, causal).flatten(0, 2)
            };
            [(40, false), (80, false), (160, false), (64, false), (64, true)].map(head).to_vec()
        }
        Operation::Enlarged => {
            let weight = Weight::new(numbers([66, 32, 3, 3], device));
            vec![weight.conv2d_enlarged(image(5), None).flatten(0, 3)]
        }
        Operation::GroupNorm
        | Operation::LayerNorm
        | Operation::Silu
        | Operation::Geglu
        | Operation::Halves => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_results_pass_and_wrong_ones_do_not() {
        for tiles in [false, true] {
            let checks = checks_of(&Device::flex(), tiles);
            assert_eq!(checks.len(), 9);
            for check in checks {
                let name = check.operation.name();
                let mut result: Vec<f32> = check.result.to_data().try_into_vec().unwrap();
                assert!(check.passes(&result), "{name}");
                assert!(!check.passes(&result[1..]), "{name}");
                let most = result.iter().fold(0f32, |most, x| most.max(x.abs()));
                *result.last_mut().unwrap() += 1e-3 * most;
                assert!(!check.passes(&result), "{name}");
                result[3] = f32::NAN;
                assert!(!check.passes(&result), "{name}");
            }
        }
    }
}
