//! Textual inversion: files in every form, the words that they teach in prompts of A1111, ComfyUI and
//! diffusers (`fixtures/prompts/textual_inversion.py`), and a word taught to the demo model.

mod support;
mod tiny;

use std::rc::Rc;

use burn::tensor::Tensor;
use lorakeet::adapters::{self, AdapterFile, Embedding, Part};
use lorakeet::error::Result;
use lorakeet::models::CLIPTextModel;
use lorakeet::pipelines::{Settings, weigh};
use lorakeet::prompt::weights::parse;
use lorakeet::prompt::{Chunk, Emphasis, FIRST_ID, Word, Words, chunks};
use lorakeet::tokenizer::ClipTokenizer;
use lorakeet::weights::{Bytes, Index};
use serde_json::Value;
use tiny::clip::{text_model, tokenizer};
use tiny::{Host, distance, host, read_values};

const FOLDER: &str = "prompts/textual-inversion";
const CLOSE: f64 = 2e-5;

fn cases() -> Value {
    serde_json::from_slice(&tiny::read(&format!("{FOLDER}/cases.json"))).unwrap()
}

/// For a text encoder of width 16.
fn read_bytes(name: &str, bytes: Vec<u8>) -> Result<AdapterFile> {
    let site = |path: &str, shape: [usize; 2]| adapters::file::Site {
        part: Part::TextEncoder,
        path: format!("text_model.encoder.layers.0.{path}"),
        shape: shape.to_vec(),
    };
    let sites = [site("self_attn.q_proj", [16, 16]), site("mlp.fc1", [32, 16])];
    adapters::file::read(&Bytes::new(name, bytes), None, &sites, None)
}

fn read_file(name: &str) -> Result<AdapterFile> {
    let file = format!("{name}.safetensors");
    let bytes = tiny::read(&format!("{FOLDER}/{file}"));
    read_bytes(&file, bytes)
}

/// Words of these files, with the vectors behind their ids.
fn taught(files: &[&str], tokenizer: &ClipTokenizer) -> (Words, Vec<Embedding>) {
    let (mut words, mut embeddings, mut next) = (Words::default(), Vec::new(), FIRST_ID);
    for file in files {
        for embedding in read_file(file).unwrap().embeddings {
            let ids = next..next + embedding.vectors() as u32;
            next = ids.end;
            for name in &embedding.names {
                let tokens = tokenizer.tokens(name).unwrap();
                words.add(Word { name: name.clone(), tokens, ids: ids.clone() });
            }
            embeddings.push(embedding);
        }
    }
    (words, embeddings)
}

fn vector(embeddings: &[Embedding], id: u32) -> Option<&[f32]> {
    let mut rows = embeddings.iter().flat_map(|embedding| embedding.values.chunks(embedding.width));
    rows.nth(id.checked_sub(FIRST_ID)? as usize)
}

const A1111_FILES: [&str; 8] =
    ["UPPER", "half", "one", "seventy", "sty", "style red", "style", "two-words here"];

#[test]
fn files_are_read_in_every_form_and_others_are_refused_by_name() {
    let tokenizer = tokenizer();
    let cases = cases();
    for (name, listed) in cases["a1111_files"].as_object().unwrap() {
        let read = read_file(name);
        let Some(vectors) = listed["vectors"].as_u64() else {
            let error = read.unwrap_err().to_string();
            let said = match name.as_str() {
                "sdxl" => "Stable Diffusion XL",
                "wrong width" => "vectors of 24 numbers, and this model's text encoder has 16",
                _ => "holds no tensor with an adapter's name",
            };
            assert!(error.contains(said) && error.contains(name), "{error}");
            continue;
        };
        let file = read.unwrap();
        assert!(file.modules.is_empty(), "{name}");
        assert_eq!(file.embeddings.len(), 1, "{name}");
        assert_eq!(file.embeddings[0].vectors() as u64, vectors, "{name}");
        assert_eq!(file.embeddings[0].names[0], *name);
        assert_eq!(file.report.trigger_words, std::slice::from_ref(name));
        let tokens: Vec<u32> = serde_json::from_value(listed["tokens"].clone()).unwrap();
        assert_eq!(tokenizer.tokens(name).unwrap(), tokens, "{name}");
    }

    let bundle = read_file("bundle").unwrap();
    assert_eq!(bundle.modules.len(), 1);
    let names: Vec<&str> = bundle.embeddings.iter().map(|one| one.names[0].as_str()).collect();
    assert_eq!(names, ["also", "inside"]);
    assert_eq!(bundle.report.unused, []);
    assert_eq!(bundle.report.trigger_words, ["also", "inside"]);

    let of = |key: &str, shape: &[usize], value: f32| {
        let data = vec![value; shape.iter().product()];
        let values = [(key.to_string(), Host { shape: shape.to_vec(), data })].into();
        read_bytes("bad.safetensors", tiny::file(&values)).unwrap_err().to_string()
    };
    assert!(of("emb_params", &[76, 16], 1.0).contains("76 vectors"));
    assert!(of("emb_params", &[0, 16], 1.0).contains("0 vectors"));
    assert!(of("emb_params", &[2, 2, 4], 1.0).contains("shape [2, 2, 4]"));
    assert!(of("emb_params", &[2, 16], f32::NAN).contains("NaN"));
    // Of another model's width, under whatever name.
    assert!(of("anything", &[1024], 1.0).contains("1024 numbers (Stable Diffusion 2)"));
}

/// `ids` with 0 or "vector" in the places of vectors, without the end tokens that fill them up.
fn assert_rows(ours: &[Chunk], listed: &Value, what: &str) {
    let listed = listed.as_array().unwrap();
    assert_eq!(ours.len(), listed.len(), "{what}");
    for (chunk, row) in ours.iter().zip(listed) {
        let ids = row["ids"].as_array().unwrap();
        let own = chunk.ids.iter().take(ids.len());
        let own: Vec<Option<u32>> = own.map(|id| (*id < FIRST_ID).then_some(*id)).collect();
        let theirs: Vec<Option<u32>> =
            ids.iter().map(|id| id.as_u64().map(|id| id as u32).filter(|id| *id > 0)).collect();
        assert_eq!(own, theirs, "{what}");
        let end = chunk.ids.last().unwrap();
        assert!(chunk.ids[ids.len()..].iter().all(|id| id == end), "{what}");
        for (at, weight) in row["weights"].as_array().into_iter().flatten().enumerate() {
            assert!((chunk.weights[at] - weight.as_f64().unwrap()).abs() < 1e-12, "{what}: {at}");
        }
    }
}

struct Reader {
    tokenizer: ClipTokenizer,
    model: CLIPTextModel,
    words: Words,
    embeddings: Vec<Embedding>,
    expected: tiny::Values,
}

impl Reader {
    fn new(files: &[&str]) -> Self {
        let tokenizer = tokenizer();
        let (words, embeddings) = taught(files, &tokenizer);
        let expected = read_values(&format!("{FOLDER}/cases.safetensors"));
        Self { tokenizer, model: text_model(), words, embeddings, expected }
    }

    fn rows(&self, prompt: &str) -> Vec<Chunk> {
        chunks(&self.tokenizer, &self.words, &parse(prompt)).unwrap()
    }

    /// How far the text's embedding is from the reference's.
    fn error(&self, rows: &[Chunk], emphasis: Emphasis, key: &Value) -> f64 {
        let hidden = |ids: &[u32]| {
            let taught = |id| vector(&self.embeddings, id);
            self.model.hidden_with(&[ids.to_vec()], 0, taught).unwrap()
        };
        let empty = hidden(&self.tokenizer.filled(&[]));
        let row = |chunk: &Chunk| match chunk.is_weighted() {
            true => weigh(hidden(&chunk.ids), &chunk.weights, emphasis, Some(&empty)),
            false => hidden(&chunk.ids),
        };
        let ours: Tensor<2> = Tensor::cat(rows.iter().map(row).collect(), 1).squeeze_dim(0);
        let expected = &self.expected[key.as_str().unwrap()];
        distance(&host(ours), expected)
    }
}

#[test]
fn words_in_prompts_are_a1111s() {
    let reader = Reader::new(&A1111_FILES);
    for case in cases()["a1111"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        let rows = reader.rows(prompt);
        assert_rows(&rows, &case["chunks"], prompt);
        let counted: usize = rows.iter().map(|row| row.counted).sum();
        assert_eq!(case["count"], counted, "{prompt}");
        for (key, emphasis) in [("original", Emphasis::Original), ("no_norm", Emphasis::NoNorm)] {
            let error = reader.error(&rows, emphasis, &case[key]);
            assert!(error < CLOSE, "{prompt}, {key}: {error:e}");
        }
    }
}

#[test]
fn comfyuis_words_are_known_by_their_files() {
    let reader = Reader::new(&A1111_FILES);
    let mut compared = 0;
    for case in cases()["comfy"].as_array().unwrap() {
        let prompt = case["prompt"].as_str().unwrap();
        // There a name's case counts, a plain name is no word, and what is missing is left out.
        let differs = ["STYLE", "sdxl", "missing", "in style", "catembedding", "seventy"];
        if differs.iter().any(|mark| prompt.contains(mark)) && !prompt.contains("embedding:style") {
            continue;
        }
        if prompt.contains("catembedding") || prompt.contains("seventy") {
            continue;
        }
        let rows = reader.rows(prompt);
        assert_rows(&rows, &case["chunks"], prompt);
        let error = reader.error(&rows, Emphasis::ComfyUi, &case["embedding"]);
        assert!(error < CLOSE, "{prompt}: {error:e}");
        compared += 1;
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn diffusers_words_are_known_by_their_keys() {
    for case in cases()["diffusers"].as_array().unwrap() {
        let (prompt, file) = (case["prompt"].as_str().unwrap(), case["file"].as_str().unwrap());
        // A plain name is A1111's word there as well, and a token of one's own no file says.
        if case["token"] == "<mine>" || prompt == "a one cat" {
            continue;
        }
        let reader = Reader::new(&[file]);
        let rows = reader.rows(prompt);
        let error = reader.error(&rows, Emphasis::Original, &case["embedding"]);
        assert!(error < CLOSE, "{prompt}: {error:e}");
    }
}

/// The demo model's own vectors of a word, under another name, draw what the word draws, bit for bit;
/// switched off or gone, the name is plain words.
#[test]
fn a_word_that_is_taught_draws_what_its_vectors_say() {
    let model = Rc::new(support::demo_model());
    let source = support::path("web/demo-model/model/text_encoder/model.fp16.safetensors");
    let source = lorakeet::weights::FileSource::open(source).unwrap();
    let table = Index::read(&source).unwrap();
    let table = table.read_f32(&source, "text_model.embeddings.token_embedding.weight").unwrap();
    let width = model.text_encoder().unwrap().config().hidden_size;
    let ids = model.tokenizer.tokens("red apple").unwrap();
    let rows = ids.iter().flat_map(|id| &table[*id as usize * width..][..width]);
    let data: Vec<f32> = rows.copied().collect();
    let values = [("emb_params".to_string(), Host { shape: vec![ids.len(), width], data })].into();
    let file = Bytes::new("zorp.safetensors", tiny::file(&values));

    let drawn = |prompt: &str| {
        let settings = Settings {
            prompt: prompt.into(),
            negative_prompt: "blue".into(),
            steps: 2,
            guidance: 4.0,
            seed: 3,
            width: 64,
            height: 64,
            ..support::settings(0, "ddim")
        };
        support::latents(&model, settings, None)
    };
    let (apple, words) = (drawn("a red apple, round"), drawn("a zorp, round"));
    assert_ne!(apple, words);
    let id = model.add_adapter(&file, None).unwrap();
    assert_eq!(drawn("a zorp, round"), apple);
    assert_eq!(drawn("a ZORP, round"), apple);
    assert_eq!(drawn("a embedding:zorp, round"), apple);
    model.set_adapter(id, false, 0.0, 0.0).unwrap();
    assert_eq!(drawn("a zorp, round"), words);
    model.set_adapter(id, true, 0.0, 1.0).unwrap();
    assert_eq!(drawn("a zorp, round"), apple);
    model.remove_adapter(id).unwrap();
    assert_eq!(drawn("a zorp, round"), words);
    // Its ids aren't given again: what was encoded with them stays as it is.
    model.add_adapter(&file, None).unwrap();
    assert_eq!(drawn("a zorp, round"), apple);
}
