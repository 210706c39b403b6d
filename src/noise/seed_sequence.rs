//! numpy's mixing of seeds (`numpy.random.SeedSequence`, after O'Neill's `seed_seq_fe`), with the pool of 24
//! words that torchsde asks for.

const POOL: usize = 24;

/// The first 32-bit word of the state of a seed, or of a node under it: `(key, depth)` is its spawn key.
pub(super) fn first_word(seed: u64, node: Option<(u64, u64)>) -> u32 {
    let mut entropy = words(seed);
    if let Some((key, depth)) = node {
        // So that a node can't be mistaken for more seed.
        entropy.resize(POOL, 0);
        entropy.extend(words(key));
        entropy.extend(words(depth));
    }
    let word = mixed(&entropy)[0] ^ 0x8B51_F9DD;
    let word = word.wrapping_mul(0x8B51_F9DD_u32.wrapping_mul(0x58F3_8DED));
    word ^ (word >> 16)
}

/// The pool after all words were mixed in.
fn mixed(entropy: &[u32]) -> [u32; POOL] {
    let mut constant = 0x43B0_D7E5_u32;
    let mut hash = |word: u32| {
        let word = word ^ constant;
        constant = constant.wrapping_mul(0x931E_8875);
        let word = word.wrapping_mul(constant);
        word ^ (word >> 16)
    };
    let mut pool: [u32; POOL] =
        std::array::from_fn(|i| hash(entropy.get(i).copied().unwrap_or_default()));
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            pool[target] = mix(pool[target], hash(pool[source]));
        }
    }
    for &word in entropy.iter().skip(POOL) {
        for target in &mut pool {
            *target = mix(*target, hash(word));
        }
    }
    pool
}

fn mix(x: u32, y: u32) -> u32 {
    let word = x.wrapping_mul(0xCA01_F9DD).wrapping_sub(y.wrapping_mul(0x4973_F715));
    word ^ (word >> 16)
}

/// 32 bits each, the lowest first, as many as the number needs.
fn words(number: u64) -> Vec<u32> {
    let (low, high) = (number as u32, (number >> 32) as u32);
    if high == 0 { vec![low] } else { vec![low, high] }
}
