//! Weights in 8-bit blocks, in plain code: the format that WebGPU's kernels read.
//!
//! Of every 32 numbers of a row, 9 words: the largest magnitude m (bits of an f32), then 32 integers
//! q from -127 to 127, four to a word, the first in the lowest byte; a number is `q / 127 * m`. That
//! is 9 bits a number, and an error of at most m / 254.

/// Numbers of a block.
pub const BLOCK: usize = 32;

/// Words of a block.
pub const WORDS: usize = 1 + BLOCK / 4;

/// The words of whole blocks of numbers, and the sum of squares of what rounding changed. `fill` writes
/// a block's numbers, given which one it is.
pub fn encode(blocks: usize, mut fill: impl FnMut(usize, &mut [f32; BLOCK])) -> (Vec<u32>, f64) {
    let mut words = Vec::with_capacity(blocks * WORDS);
    let (mut values, mut error) = ([0f32; BLOCK], 0.0);
    for block in 0..blocks {
        fill(block, &mut values);
        let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
        // A block of zeros, or of what is next to zero, has no direction.
        let inverse = 127.0 / most;
        let (inverse, most) = if inverse.is_finite() { (inverse, most) } else { (0.0, 0.0) };
        words.push(most.to_bits());
        let rounded = values.map(|value| (value * inverse).round_ties_even());
        let bytes = rounded.map(|value| value as i8);
        words.extend(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|four| u32::from_le_bytes(four.map(i8::cast_unsigned))),
        );
        let squares =
            values.iter().zip(rounded).map(|(value, q)| (value - q * (most / 127.0)).powi(2));
        error += f64::from(squares.sum::<f32>());
    }
    (words, error)
}

/// How many numbers there are.
pub fn numbers(words: &[u32]) -> usize {
    words.len() / WORDS * BLOCK
}

/// What the integers of a block are multiplied by.
fn step(words: &[u32]) -> f32 {
    f32::from_bits(words[0]) / 127.0
}

/// One of the numbers.
pub fn number(words: &[u32], index: usize) -> f32 {
    let words = &words[index / BLOCK * WORDS..][..WORDS];
    let q = words[1 + index % BLOCK / 4].to_le_bytes()[index % 4] as i8;
    f32::from(q) * step(words)
}

/// The numbers from `first` on.
pub fn read(words: &[u32], first: usize, into: &mut [f32]) {
    let (mut at, mut rest) = (first, into);
    while !rest.is_empty() {
        let within = at % BLOCK;
        let (now, later) = rest.split_at_mut((BLOCK - within).min(rest.len()));
        let words = &words[at / BLOCK * WORDS..][..WORDS];
        let (step, bytes): (_, &[i8]) = (step(words), bytemuck::cast_slice(&words[1..]));
        let bytes = &bytes[within..][..now.len()];
        now.iter_mut().zip(bytes).for_each(|(number, q)| *number = f32::from(*q) * step);
        at += now.len();
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_within_half_a_step() {
        let values: Vec<f32> = (0..256).map(|i| (i as f32 * 1.7).sin() * (i / 32) as f32).collect();
        let fill = |block: usize, into: &mut [f32; BLOCK]| {
            into.copy_from_slice(&values[BLOCK * block..][..BLOCK]);
        };
        let (words, error) = encode(8, fill);
        assert_eq!((words.len(), numbers(&words)), (8 * 9, 256));
        let mut back = [0f32; 256];
        read(&words, 0, &mut back);
        assert_eq!(back[..32], [0.0; 32]);
        for (block, back) in values.chunks(32).zip(back.chunks(32)) {
            let most = block.iter().fold(0f32, |most, value| most.max(value.abs()));
            let off = block.iter().zip(back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= most / 253.9, "{off} of {most}");
            // The largest one stays.
            assert!(back.iter().any(|value| (value.abs() - most).abs() <= 1e-7 * most));
        }
        let squares = values.iter().zip(back).map(|(a, b)| f64::from(a - b).powi(2));
        assert!((squares.sum::<f64>() / error - 1.0).abs() < 1e-5);
        // From anywhere on, and one by one.
        for (first, count) in [(0, 1), (31, 2), (17, 100), (40, 216)] {
            let mut some = vec![0f32; count];
            read(&words, first, &mut some);
            assert_eq!(some, back[first..][..count]);
        }
        assert!((0..256).all(|i| number(&words, i) == back[i]));
    }

    #[test]
    fn what_is_next_to_zero_is_zero() {
        let (words, _) = encode(1, |_, into| *into = [1e-44; BLOCK]);
        let mut back = [1f32; BLOCK];
        read(&words, 0, &mut back);
        assert_eq!(back, [0.0; BLOCK]);
    }
}
