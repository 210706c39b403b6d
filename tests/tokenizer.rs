//! The tokenizer against transformers' `CLIPTokenizer` (`fixtures/tokenizer/generate.py`).

use std::collections::BTreeMap;

use lorakeet::error::Error;
use lorakeet::tokenizer::{ClipTokenizer, Encoding, TokenizerFiles};

fn read(path: &str) -> Vec<u8> {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[derive(serde::Deserialize)]
struct Fixture {
    pad: BTreeMap<String, u32>,
    special_text: String,
    special: BTreeMap<String, Special>,
    sweep: Vec<String>,
    prompts: Vec<Prompt>,
}

#[derive(serde::Deserialize)]
struct Special {
    config: serde_json::Value,
    special_tokens_map: serde_json::Value,
    pad: u32,
    length: usize,
    ids: Vec<u32>,
}

#[derive(serde::Deserialize)]
struct Prompt {
    text: String,
    demo: Vec<u32>,
    sd15: Vec<u32>,
    sd2: Vec<u32>,
    sd15_count: usize,
}

fn fixture() -> Fixture {
    serde_json::from_slice(&read("tests/fixtures/tokenizer/prompts.json")).unwrap()
}

fn merges() -> Vec<u8> {
    read("web/clip-vocabulary/merges.txt")
}

fn sd15() -> ClipTokenizer {
    ClipTokenizer::from_merges(&merges(), "<|endoftext|>").unwrap()
}

fn demo() -> ClipTokenizer {
    let file = |name: &str| read(&format!("web/demo-model/model/tokenizer/{name}"));
    ClipTokenizer::new(TokenizerFiles {
        vocab: &file("vocab.json"),
        merges: &file("merges.txt"),
        config: Some(&file("tokenizer_config.json")),
        special_tokens_map: Some(&file("special_tokens_map.json")),
    })
    .unwrap()
}

/// CLIP's `vocab.json`, which a model folder would hold.
fn vocab() -> Vec<u8> {
    let merges = String::from_utf8(merges()).unwrap();
    let printable: Vec<u32> = (33..127).chain(161..173).chain(174..256).collect();
    let bytes: Vec<String> = printable
        .into_iter()
        .chain(256..256 + 68)
        .map(|c| char::from_u32(c).unwrap().to_string())
        .collect();
    let mut tokens = bytes.clone();
    tokens.extend(bytes.iter().map(|token| format!("{token}</w>")));
    tokens.extend(merges.lines().skip(1).map(|line| line.replace(' ', "")));
    tokens.extend(["<|startoftext|>", "<|endoftext|>"].map(String::from));
    assert_eq!(tokens.len(), 49408);
    let vocab: BTreeMap<String, usize> =
        tokens.into_iter().enumerate().map(|(i, token)| (token, i)).collect();
    serde_json::to_vec(&vocab).unwrap()
}

fn with_special(config: &serde_json::Value, map: &serde_json::Value) -> ClipTokenizer {
    let bytes = |value: &serde_json::Value| (!value.is_null()).then(|| value.to_string());
    let (config, map) = (bytes(config), bytes(map));
    ClipTokenizer::new(TokenizerFiles {
        vocab: &vocab(),
        merges: &merges(),
        config: config.as_ref().map(String::as_bytes),
        special_tokens_map: map.as_ref().map(String::as_bytes),
    })
    .unwrap()
}

fn check(encoding: &Encoding, expected: &[u32], pad: u32, length: usize, what: &str) {
    assert_eq!(encoding.ids.len(), length, "{what}");
    assert_eq!(encoding.ids[..expected.len()], *expected, "{what}");
    assert!(encoding.ids[expected.len()..].iter().all(|&id| id == pad), "{what}");
}

#[test]
fn odd_prompts_equal_transformers() {
    let fixture = fixture();
    assert!(fixture.prompts.len() >= 200);
    let (demo, sd15) = (demo(), sd15());
    let sd2 = &fixture.special["sd2"];
    let sd2 = with_special(&sd2.config, &sd2.special_tokens_map);
    // As a single file has it, which brings merges alone.
    let plain2 = ClipTokenizer::from_merges(&merges(), "!").unwrap();
    let encode = |tokenizer: &ClipTokenizer, text: &str| tokenizer.encode(text).unwrap();
    for prompt in &fixture.prompts {
        let what = format!("{:?}", prompt.text);
        check(&encode(&demo, &prompt.text), &prompt.demo, fixture.pad["demo"], 77, &what);
        check(&encode(&sd15, &prompt.text), &prompt.sd15, fixture.pad["sd15"], 77, &what);
        for sd2 in [&sd2, &plain2] {
            check(&encode(sd2, &prompt.text), &prompt.sd2, fixture.pad["sd2"], 77, &what);
        }
        let cut = encode(&sd15, &prompt.text).truncated;
        assert_eq!(cut.is_some(), prompt.sd15_count > 75, "{what}");
    }
}

#[test]
fn special_token_files_count_as_in_transformers() {
    let fixture = fixture();
    for (name, special) in &fixture.special {
        let tokenizer = with_special(&special.config, &special.special_tokens_map);
        assert_eq!(tokenizer.max_length(), special.length, "{name}");
        let encoding = tokenizer.encode(&fixture.special_text).unwrap();
        check(&encoding, &special.ids, special.pad, special.length, name);
    }
}

#[test]
fn a_tokenizer_gives_no_more_than_the_text_encoder_takes() {
    let long =
        with_special(&serde_json::json!({"model_max_length": 512}), &serde_json::Value::Null);
    assert_eq!(long.max_length(), 512);
    let fitted = long.at_most(77);
    assert_eq!(fitted.encode("a cat").unwrap().ids, sd15().encode("a cat").unwrap().ids);
    assert_eq!(fitted.at_most(5).encode("one two three four").unwrap().ids.len(), 5);
}

/// Every Unicode character between two letters, by a checksum for each 4096 of them.
#[test]
fn every_character_equals_transformers() {
    let fixture = fixture();
    let tokenizer = sd15();
    let (end, mut different) = (49407, Vec::new());
    for (block, expected) in fixture.sweep.iter().enumerate() {
        let mut sum = 0xcbf2_9ce4_8422_2325u64;
        let from = block as u32 * 4096;
        for c in (from..from + 4096).filter_map(char::from_u32) {
            let ids = tokenizer.encode(&format!("a{c}b")).unwrap().ids;
            for &id in ids[1..].iter().take_while(|&&id| id != end) {
                sum = (sum ^ u64::from(id)).wrapping_mul(0x100_0000_01b3);
            }
        }
        if format!("{sum:016x}") != *expected {
            different.push(format!("U+{from:04X}"));
        }
    }
    assert_eq!(different, Vec::<String>::new());
}

#[test]
fn truncation_tells_what_did_not_fit() {
    let tokenizer = sd15();
    let text = format!("{}blue cat FACE ", "word ".repeat(74));
    let encoding = tokenizer.encode(&text).unwrap();
    assert_eq!(encoding.truncated.as_deref(), Some("cat FACE"));
    assert_eq!(encoding.ids.len(), 77);
    let text = format!("{}日本", "word ".repeat(74));
    let cut = tokenizer.encode(&text).unwrap().truncated;
    assert!(cut.as_deref().is_some_and(|cut| text.ends_with(cut)), "{cut:?}");
    assert_eq!(tokenizer.encode(&"word ".repeat(75)).unwrap().truncated, None);
}

#[test]
fn demo_model_prompts_have_their_reference_ids() {
    let ids: serde_json::Value =
        serde_json::from_slice(&read("tests/fixtures/demo-model/reference/token-ids.json"))
            .unwrap();
    let tokenizer = demo();
    let mut count = 0;
    for (prompt, expected) in ids.as_object().unwrap() {
        let expected: Vec<u32> = serde_json::from_value(expected.clone()).unwrap();
        assert_eq!(tokenizer.encode(prompt).unwrap().ids, expected, "{prompt}");
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn bad_files_are_named() {
    let files = |vocab: &[u8], merges: &[u8], config: Option<&[u8]>| {
        let special_tokens_map = None;
        let error =
            ClipTokenizer::new(TokenizerFiles { vocab, merges, config, special_tokens_map }).err();
        error.expect("no error").to_string()
    };
    let vocab = br#"{"a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3, "<|endoftext|>": 4}"#;
    assert!(files(b"[]", b"", None).starts_with("vocab.json: "));
    assert!(files(br#"{"a": 0}"#, b"", None).starts_with("vocab.json: <|startoftext|>: "));
    assert!(files(vocab, b"#version: 0.2\na b\na b c\n", None).starts_with("merges.txt: line 3: "));
    assert!(files(vocab, b"a \xff\n", None).starts_with("merges.txt: "));
    assert!(files(vocab, b"a c\n", None).starts_with("merges.txt: "));
    assert!(files(vocab, b"", Some(b"{")).starts_with("tokenizer_config.json: "));
    let config = br#"{"pad_token": "!"}"#;
    assert!(files(vocab, b"", Some(config)).starts_with("vocab.json: !: "));
    assert!(matches!(
        ClipTokenizer::from_merges(b"a b\nnonsense\n", "<|endoftext|>"),
        Err(Error::Key { .. })
    ));
}
