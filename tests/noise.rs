//! The noise of PyTorch's CPU generator, bit for bit (`fixtures/noise/generate.py`).

use lorakeet::noise::TorchGenerator;
use safetensors::SafeTensors;

fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn bits(data: &[u8]) -> Vec<u32> {
    data.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn randn_equals_torch_bit_for_bit() {
    let bytes = read("noise/noise.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.len(), 8 * 8 + 1);
    for (name, tensor) in tensors.tensors() {
        let parts: Vec<u64> = name.split('.').filter_map(|part| part.parse().ok()).collect();
        let every = parts.get(3).map_or(1, |&every| every as usize);
        let mut generator = TorchGenerator::new(parts[0]);
        let mut ours = generator.randn(parts[1] as usize);
        ours.extend(generator.randn(parts[2] as usize));
        let ours: Vec<u32> = ours.iter().step_by(every).map(|x| x.to_bits()).collect();
        let theirs = bits(tensor.data());
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let wrong = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{name}: {wrong} of {} differ", ours.len());
    }
}

#[test]
fn demo_model_noise_is_that_of_its_seeds() {
    let bytes = read("demo-model/reference/noise.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let (_, tensor) = tensors.tensors().into_iter().next().unwrap();
    assert_eq!(tensor.shape(), [2, 4, 16, 16]);
    let ours: Vec<u32> = [11, 12]
        .into_iter()
        .flat_map(|seed| TorchGenerator::new(seed).randn(4 * 16 * 16))
        .map(f32::to_bits)
        .collect();
    assert_eq!(ours, bits(tensor.data()));
}

#[test]
fn only_the_low_32_bits_of_a_seed_count() {
    let numbers = |seed| TorchGenerator::new(seed).randn(64);
    assert_eq!(numbers(5), numbers((1 << 32) + 5));
    assert_ne!(numbers(5), numbers(6));
}
