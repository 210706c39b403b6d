//! Weights in 8-bit blocks, in plain code: the format that WebGPU's kernels read.
//!
//! Of every 32 numbers of a row, 9 words: the largest magnitude m (bits of an f32), then 32 integers
//! q from -127 to 127, four to a word, the first in the lowest byte; a number is `q / 127 * m`. That
//! is 9 bits a number, and an error of at most m / 254.

/// Numbers of a block.
pub const BLOCK: usize = 32;

/// Words of a block.
const WORDS: usize = 1 + BLOCK / 4;

/// The words of whole blocks of numbers.
pub fn encode(values: &[f32]) -> Vec<u32> {
    assert!(values.len().is_multiple_of(BLOCK), "{} numbers", values.len());
    let mut words = Vec::with_capacity(values.len() / BLOCK * WORDS);
    for block in values.chunks_exact(BLOCK) {
        let most = block.iter().fold(0f32, |most, value| most.max(value.abs()));
        words.push(most.to_bits());
        // A block of zeros has no direction; anything will do to divide by.
        let step = if most == 0.0 { 1.0 } else { most / 127.0 };
        for four in block.chunks_exact(4) {
            let bytes = [0, 1, 2, 3].map(|i| (four[i] / step).round() as i8 as u8);
            words.push(u32::from_le_bytes(bytes));
        }
    }
    words
}

/// The numbers of such words.
pub fn decode(words: &[u32]) -> Vec<f32> {
    let blocks = words.chunks_exact(WORDS).flat_map(|block| {
        let most = f32::from_bits(block[0]);
        let bytes = block[1..].iter().flat_map(|word| word.to_le_bytes());
        bytes.map(move |byte| f32::from(byte as i8) / 127.0 * most)
    });
    blocks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let values: Vec<f32> = (0..256).map(|i| (i as f32 * 1.7).sin() * (i / 32) as f32).collect();
        let words = encode(&values);
        assert_eq!(words.len(), 8 * 9);
        assert_eq!(decode(&words[..9]), [0.0; 32]);
        for (block, back) in values.chunks(32).zip(decode(&words).chunks(32)) {
            let most = block.iter().fold(0f32, |most, value| most.max(value.abs()));
            let off = block.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= most / 253.9, "{off} of {most}");
            // The largest one is exact.
            assert!(back.iter().any(|value| value.abs() == most));
        }
    }
}
