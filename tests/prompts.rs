//! Prompts as A1111 and ComfyUI read them (`fixtures/prompts`): weights, chunks, embeddings, texts that
//! change, tags.

mod tiny;

use burn::tensor::Tensor;
use lorakeet::models::CLIPTextModel;
use lorakeet::pipelines::weigh;
use lorakeet::prompt::weights::{Part, parse};
use lorakeet::prompt::{
    Calls, Chunk, Emphasis, MOST_CHUNKS, Timeline, TokenCount, Words, chunks, read,
    without_networks,
};
use lorakeet::tokenizer::ClipTokenizer;
use serde_json::Value;
use tiny::clip::{text_model, tokenizer};
use tiny::{distance, host, read_values};

fn json(name: &str) -> Value {
    serde_json::from_slice(&tiny::read(&format!("prompts/{name}"))).unwrap()
}

fn clip_tokenizer(pad: &str) -> ClipTokenizer {
    let merges = tiny::read("../../web/clip-vocabulary/merges.txt");
    ClipTokenizer::from_merges(&merges, pad).unwrap()
}

/// `[[text, weight], ...]`; a break is ["BREAK", -1].
fn assert_parts(ours: &[Part], listed: &Value, what: &str) {
    let listed = listed.as_array().unwrap();
    assert_eq!(ours.len(), listed.len(), "{what}: {ours:?}");
    for (part, entry) in ours.iter().zip(listed) {
        let (text, weight) = match part {
            Part::Break => ("BREAK", -1.0),
            Part::Text(text, weight) => (text.as_str(), *weight),
        };
        assert_eq!(text, entry[0].as_str().unwrap(), "{what}");
        assert!((weight - entry[1].as_f64().unwrap()).abs() < 1e-12, "{what}: {text} has {weight}");
    }
}

/// `ids` without the end tokens that fill them up, `weights` where any isn't 1.
fn assert_rows(ours: &[Chunk], rows: &Value, what: &str) {
    let rows = rows.as_array().unwrap();
    assert_eq!(ours.len(), rows.len(), "{what}");
    for (chunk, row) in ours.iter().zip(rows) {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        let end = *chunk.ids.last().unwrap();
        assert_eq!(chunk.ids[..ids.len()], ids, "{what}");
        assert!(chunk.ids[ids.len()..].iter().all(|id| *id == end), "{what}");
        let told: Vec<f64> = match &row["weights"] {
            Value::Null => Vec::new(),
            weights => serde_json::from_value(weights.clone()).unwrap(),
        };
        for (at, weight) in chunk.weights.iter().enumerate() {
            let expected = told.get(at).copied().unwrap_or(1.0);
            assert!((weight - expected).abs() < 1e-12, "{what}: token {at} has {weight}");
        }
    }
}

/// A1111 fails at the one, and takes the break of the other for a word.
const OURS: [&str; 2] = ["two points in a number", "break in brackets"];

#[test]
fn weights_and_chunks_are_a1111s() {
    let (tiny, clip) = (tokenizer(), clip_tokenizer("<|endoftext|>"));
    let cases = json("prompts.json")["cases"].as_array().unwrap().clone();
    assert_eq!(cases.len(), 81);
    let mut plain = 0;
    for case in cases {
        let id = case["id"].as_str().unwrap();
        if OURS.contains(&id) {
            continue;
        }
        let parsed = parse(case["prompt"].as_str().unwrap());
        assert_parts(&parsed, &case["a1111"]["parsed"], id);
        assert_rows(
            &chunks(&tiny, &Words::default(), &parsed).unwrap(),
            &case["a1111"]["tiny"],
            id,
        );
        let rows = chunks(&clip, &Words::default(), &parsed).unwrap();
        assert_rows(&rows, &case["a1111"]["clip"], id);
        let count: usize = rows.iter().map(|row| row.counted).sum();
        assert_eq!(case["a1111"]["count"][0], count, "{id}");
        let prompt = case["prompt"].as_str().unwrap();
        let texts = Timeline::new(&read(prompt, 20).text, 20).entries;
        if texts.len() == 1 && texts[0].1 == prompt {
            let told =
                TokenCount::of(&clip, &Words::default(), prompt, 20, Emphasis::Original).unwrap();
            assert_eq!(
                [told.tokens, told.room].map(Value::from)[..],
                case["a1111"]["count"].as_array().unwrap()[..],
                "{id}"
            );
            plain += 1;
        }
    }
    assert!(plain > 60, "only {plain} prompts were counted");
}

/// Of texts that change the longest counts, comments and tags don't, and where there are too many tokens
/// it is told how many there may be.
#[test]
fn the_longest_text_is_counted() {
    let clip = clip_tokenizer("<|endoftext|>");
    let of = |prompt: &str| {
        TokenCount::of(&clip, &Words::default(), prompt, 20, Emphasis::Original).unwrap()
    };
    let count = |tokens, room| TokenCount { tokens, room, most: 600 };
    assert_eq!(of(""), count(0, 75));
    assert_eq!(of("a cat # on a mat\n<lora:ink:1>"), count(2, 75));
    assert_eq!(of("[a cat:three red dogs here:0.5]"), count(4, 75));
    assert_eq!(of("(a cat:1.5) on"), count(3, 75));
    assert_eq!(of(&"cat ".repeat(76)), count(76, 150));
    assert!(of(&"cat ".repeat(900)).tokens > 600);
    let none = TokenCount::of(&clip, &Words::default(), "(a cat:1.5)", 20, Emphasis::None).unwrap();
    assert!(none.tokens > 2, "brackets are text");
}

/// SD 2 fills with `!`.
#[test]
fn padding_is_the_models() {
    let tokenizer = clip_tokenizer("!");
    for case in json("prompts.json")["sd2_padding"].as_array().unwrap() {
        let rows = chunks(&tokenizer, &Words::default(), &parse(case["prompt"].as_str().unwrap()))
            .unwrap();
        let ids: Vec<Vec<u32>> = serde_json::from_value(case["a1111"].clone()).unwrap();
        let ours: Vec<Vec<u32>> = rows.into_iter().map(|row| row.ids).collect();
        assert_eq!(ours, ids, "{}", case["id"]);
    }
}

/// What the pipeline makes of a text's chunks, one after the other.
fn embedded(
    model: &CLIPTextModel,
    rows: &[Chunk],
    emphasis: Emphasis,
    skipped: usize,
) -> Tensor<2> {
    let hidden = |ids: &[u32]| model.hidden(&[ids.to_vec()], skipped).unwrap();
    let empty = hidden(&tokenizer().filled(&[]));
    let row = |chunk: &Chunk| weigh(hidden(&chunk.ids), &chunk.weights, emphasis, Some(&empty));
    Tensor::cat(rows.iter().map(row).collect(), 1).squeeze_dim(0)
}

#[test]
fn embeddings_are_a1111s_and_comfyuis() {
    const CLOSE: f64 = 2e-5;
    let (tokenizer, model) = (tokenizer(), text_model());
    let expected = read_values("prompts/prompts.safetensors");
    let mut compared = [0; 5];
    for case in json("prompts.json")["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        if OURS.contains(&id) {
            continue;
        }
        let rows = chunks(&tokenizer, &Words::default(), &parse(case["prompt"].as_str().unwrap()))
            .unwrap();
        // ComfyUI has another grammar and other chunks.
        let same = case["a1111"]["tiny"] == case["comfy"]["tiny"];
        for (at, (tool, key, emphasis, skipped)) in [
            ("a1111", "original", Emphasis::Original, 0),
            ("a1111", "no_norm", Emphasis::NoNorm, 0),
            ("a1111", "original_clip_skip_2", Emphasis::Original, 1),
            ("comfy", "embedding", Emphasis::ComfyUi, 0),
            ("comfy", "layer_-2", Emphasis::ComfyUi, 1),
        ]
        .into_iter()
        .enumerate()
        {
            let Some(name) = case[tool][key].as_str().filter(|_| same || tool == "a1111") else {
                continue;
            };
            let ours = host(embedded(&model, &rows, emphasis, skipped));
            let apart = distance(&ours, &expected[name]);
            assert!(apart < CLOSE, "{id}, {key}: {apart:e}");
            compared[at] += 1;
        }
    }
    assert!(compared.iter().all(|count| *count > 2), "{compared:?}");
}

#[test]
fn prompts_change_when_a1111s_do() {
    let cases = json("prompt-editing.json")["editing"].as_array().unwrap().clone();
    let mut compared = 0;
    for case in &cases {
        let whole = |key: &str| case[key].as_u64().map(|steps| steps as usize);
        let first = whole("steps").unwrap();
        // Of a picture that is drawn twice, the second pass.
        let (steps, before) =
            whole("hires_steps").map_or((first, None), |second| (second, Some(first)));
        let calls = Calls { count: steps, before };
        let timeline = Timeline::new(case["prompt"].as_str().unwrap(), calls);
        let entries: Vec<(usize, String)> =
            serde_json::from_value(case["schedule"].clone()).unwrap();
        assert_eq!(timeline.entries, entries, "{}", case["prompt"]);
        let calls: Vec<usize> = (0..steps).map(|call| timeline.at_call(call)).collect();
        assert_eq!(serde_json::json!(calls), case["calls"], "{}", case["prompt"]);
        compared += 1;
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn tags_are_a1111s() {
    for case in json("extra-networks.json")["cases"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let read = read(prompt, 20);
        assert_eq!(read.text, case["rest"].as_str().unwrap(), "{prompt}");
        let mut found = serde_json::Map::new();
        for tag in &read.tags {
            let list = found.entry(tag.kind.clone()).or_insert_with(|| serde_json::json!([]));
            list.as_array_mut().unwrap().push(serde_json::json!(tag.parts));
        }
        assert_eq!(Value::Object(found), case["found"], "{prompt}");
        let Some(listed) = case["lora"].as_array() else {
            continue;
        };
        let ours: Vec<Value> = (read.tags.iter().filter(|tag| tag.kind == "lora"))
            .map(|tag| {
                let network = tag.network().unwrap();
                let (text_encoder, unet) = (network.text_encoder, network.unet);
                serde_json::json!({"name": network.name, "text_encoder": text_encoder, "unet": unet})
            })
            .collect();
        for (ours, theirs) in ours.iter().zip(listed) {
            for key in ["name", "text_encoder", "unet"] {
                assert_eq!(ours[key], theirs[key], "{prompt}");
            }
        }
        assert_eq!(ours.len(), listed.len(), "{prompt}");
    }
}

#[test]
fn tags_that_are_meant_are_taken_out() {
    let prompt =
        "a # <lora:ink:1>\ncat <lora:ink:0.8>, <lora:soft:1> <hypernet:ink:1> <lora:ink:b>";
    let ink = without_networks(prompt, |network| network.name == "ink");
    assert_eq!(ink, prompt.replace("<lora:ink:0.8>", ""));
    assert_eq!(without_networks(prompt, |_| false), prompt);
    assert_eq!(without_networks("<<lora:é:1>< é", |_| true), "<< é");
}

#[test]
fn a_strength_that_is_no_number_is_told() {
    let read = read("a cat <lora:ink:abc>", 20);
    assert_eq!(read.tags[0].network(), None);
    assert!(read.notes[0].contains("<lora:ink:abc>"), "{:?}", read.notes);
}

#[test]
fn a_prompt_of_any_length_is_refused_with_its_limit() {
    let tokenizer = clip_tokenizer("<|endoftext|>");
    let words = |count: usize| parse(&"cat ".repeat(count));
    assert_eq!(
        chunks(&tokenizer, &Words::default(), &words(75 * MOST_CHUNKS)).unwrap().len(),
        MOST_CHUNKS
    );
    for parts in [words(75 * MOST_CHUNKS + 1), words(100_000), parse(&"BREAK ".repeat(1000))] {
        let error = chunks(&tokenizer, &Words::default(), &parts).unwrap_err().to_string();
        assert!(error.contains("600 tokens"), "{error}");
    }
}
