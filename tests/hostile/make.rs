//! Hostile bytes: real files changed a little, and files by the grammar of their format whose parts
//! lie.

use super::random::Random;

/// Numbers that parsers and arithmetic trip over, beside small ones.
const NUMBERS: [&str; 34] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "8",
    "64",
    "320",
    "-1",
    "0.5",
    "1e3",
    "1e-9",
    "1.0",
    "-0",
    "-0.0",
    "77",
    "1000",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "99999999999999999999999",
    "1e38",
    "1e39",
    "1e300",
    "-1e300",
    "5e-324",
    "0.012",
];

/// Values that stand where another type is expected.
const OTHERS: [&str; 14] = [
    "null",
    "true",
    "false",
    "\"\"",
    "\"4\"",
    "[]",
    "{}",
    "[1]",
    "[[[[[]]]]]",
    "NaN",
    "-Infinity",
    "\"\\u0000\"",
    "\"\\ud83d\\ude00\"",
    "{\"a\":{\"a\":{}}}",
];

/// One of the two.
pub fn value(random: &mut Random) -> String {
    let from: &[&str] = if random.once_in(3) { &OTHERS } else { &NUMBERS };
    random.pick(from).to_string()
}

/// A list of numbers.
pub fn list(random: &mut Random, most: usize) -> String {
    let values: Vec<String> = (0..random.below(most + 1)).map(|_| value(random)).collect();
    format!("[{}]", values.join(","))
}

/// A JSON object of some of these fields, each with one of its words or with any value.
pub fn object(random: &mut Random, fields: &[(&str, &[&str])]) -> String {
    let mut out = Vec::new();
    for (field, words) in fields {
        let value = match random.below(6) {
            0 | 1 => continue,
            2 => value(random),
            3 => list(random, 5),
            _ if words.is_empty() => value(random),
            _ => random.pick(words).to_string(),
        };
        out.push(format!("\"{field}\":{value}"));
    }
    format!("{{{}}}", out.join(","))
}

/// As [`object`], of few of the fields, most of them with one of their words.
pub fn few(random: &mut Random, fields: &[(&str, &[&str])]) -> String {
    let one = |random: &mut Random| {
        let (field, words) = fields[random.below(fields.len())];
        let value = if random.once_in(4) { value(random) } else { random.pick(words).to_string() };
        format!("\"{field}\":{value}")
    };
    let fields: Vec<String> = (0..1 + random.below(3)).map(|_| one(random)).collect();
    format!("{{{}}}", fields.join(","))
}

/// Header length, header, data.
pub fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    // Finite in every type of float.
    bytes.extend((0..data).map(|i| (i * 31 % 112) as u8));
    bytes
}

/// A header of these tensors, most of which are honest about their sizes; and how many bytes follow.
pub fn header(random: &mut Random, tensors: &[(String, Vec<usize>)]) -> (String, usize) {
    const DTYPES: [(&str, usize); 8] = [
        ("F32", 4),
        ("F16", 2),
        ("BF16", 2),
        ("F64", 8),
        ("F8_E4M3", 1),
        ("I64", 8),
        ("U8", 1),
        ("BOOL", 1),
    ];
    let mut at = 0;
    let mut entries = Vec::new();
    for (name, shape) in tensors {
        let mut shape = shape.clone();
        if random.once_in(100) && !shape.is_empty() {
            let place = random.below(shape.len());
            shape[place] = [0, 1, 2, 7, 63][random.below(5)];
        }
        if random.once_in(50) {
            shape.push(1);
        }
        let (dtype, size) = match random.below(100) {
            0 => DTYPES[random.below(8)],
            other => DTYPES[other % 5],
        };
        let bytes = size * shape.iter().product::<usize>();
        let lying = random.once_in(300);
        let shape = if lying { list(random, 5) } else { format!("{shape:?}") };
        let offsets = match random.below(400) {
            0 => list(random, 3),
            1 => format!("[0,{bytes}]"),
            _ => format!("[{at},{}]", at + bytes),
        };
        entries.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}"
        ));
        at += bytes;
    }
    if random.once_in(3) {
        let metadata = match random.below(4) {
            0 => value(random),
            1 => format!("{{\"ss_tag_frequency\":{:?}}}", tags(random)),
            2 => format!("{{\"lora_adapter_metadata\":{:?}}}", peft(random)),
            _ => "{\"ss_base_model_version\":\"sd\\u001b[2J_v1\",\"modelspec.resolution\":\"0x0\"}"
                .into(),
        };
        entries.push(format!("\"__metadata__\":{metadata}"));
    }
    (format!("{{{}}}", entries.join(",")), at)
}

fn tags(random: &mut Random) -> String {
    format!("{{\"a\":{{\"x\":{},\"y\":{}}},\"b\":{}}}", value(random), value(random), value(random))
}

/// An `adapter_config.json`.
pub fn peft(random: &mut Random) -> String {
    const PATTERNS: [&str; 6] = [
        "{\"(a{900}){900}\":1}",
        "{\"(?<=x)y\":2}",
        "{\".*.*.*.*b\":3}",
        "{\"[\":1,\"\":2}",
        "{\"to_k\":4,\"mid_block.*\":0}",
        "{\"(((((((((a?)?)?)?)?)?)?)?)?)*\":1}",
    ];
    let flags: &[&str] = &["true", "false"];
    object(
        random,
        &[
            ("r", &["8"]),
            ("lora_alpha", &["16"]),
            ("alpha", &["4"]),
            ("alpha_pattern", &PATTERNS),
            ("rank_pattern", &PATTERNS),
            ("use_rslora", flags),
            ("unet.r", &["4"]),
        ],
    )
}

/// A file with some bytes changed, cut out, doubled or moved, or with other numbers in its text.
pub fn mutated(random: &mut Random, original: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random.below(32)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.below(64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            5 => {
                let length = bytes.len().min(8);
                let value = random.next() >> random.below(64);
                bytes[..length].copy_from_slice(&value.to_le_bytes()[..length]);
            }
            _ => other_number(random, &mut bytes, at),
        }
    }
    bytes
}

/// Puts another number, or another value, in place of the next digits; corrects the length of a
/// safetensors header for it, so that what is behind that is met.
fn other_number(random: &mut Random, bytes: &mut Vec<u8>, from: usize) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|i| from + i) else {
        return;
    };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = value(random);
    let grown = value.len() as u64;
    bytes.splice(start..start + digits, value.bytes());
    if let Some((length, _)) = bytes.split_first_chunk_mut::<8>() {
        let header = u64::from_le_bytes(*length);
        if start >= 8 && header < 1 << 24 {
            *length = (header + grown).saturating_sub(digits as u64).to_le_bytes();
        }
    }
}
