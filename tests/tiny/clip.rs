//! A small CLIP for the vectors of prompts: its tokenizer and its text encoder
//! (`fixtures/prompts/tiny_clip.py`).

use lorakeet::layers::{Parameters, Storage};
use lorakeet::models::{CLIPTextConfig, CLIPTextModel};
use lorakeet::tokenizer::{ClipTokenizer, TokenizerFiles};
use lorakeet::weights::Component;

use super::{load_with, read, source};

fn file(name: &str) -> Vec<u8> {
    read(&format!("prompts/tiny-clip/{name}"))
}

pub fn tokenizer() -> ClipTokenizer {
    ClipTokenizer::new(TokenizerFiles {
        vocab: &file("vocab.json"),
        merges: &file("merges.txt"),
        config: Some(&file("tokenizer_config.json")),
        special_tokens_map: Some(&file("special_tokens_map.json")),
    })
    .unwrap()
}

pub fn text_model() -> CLIPTextModel {
    let source = source("model.safetensors", file("model.safetensors"));
    let config = serde_json::from_slice(&file("config.json")).unwrap();
    let component = Component::from_safetensors("text_encoder", source.as_ref(), config).unwrap();
    let config = CLIPTextConfig::parse(&component).unwrap();
    let build = |parameters: &Parameters| CLIPTextModel::load(&config, parameters);
    load_with(&component, source, Storage::F32, build).0
}
