//! Files that people drop: good ones, broken ones, and ones that belong elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lorakeet::keys::ldm::{UNetLayout, unet_module_to_ldm};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// Tensors by name: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A path from the package's root.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The demo model's adapter, in kohya's names.
pub fn ink() -> Vec<u8> {
    std::fs::read(here("web/demo-model/lora/ink.kohya.safetensors")).unwrap()
}

/// A file that breaks off within its tensors.
pub fn truncated() -> Vec<u8> {
    let mut bytes = ink();
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// An adapter in which one number is NaN, and that tensor's name.
pub fn with_nan() -> (Vec<u8>, String) {
    let mut tensors = parse(&ink());
    let key = tensors.keys().find(|key| key.ends_with("lora_up.weight")).unwrap().clone();
    let (dtype, _, bytes) = tensors.get_mut(&key).unwrap();
    assert_eq!(*dtype, Dtype::F16);
    bytes[..2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    (serialize(&tensors), key)
}

/// An embedding with the demo model's own vectors of these words, each of which is one token.
pub fn embedding(words: &str) -> Vec<u8> {
    let model = here("web/demo-model/model");
    let read = |path: &str| std::fs::read(model.join(path)).unwrap();
    let vocabulary: BTreeMap<String, usize> =
        serde_json::from_slice(&read("tokenizer/vocab.json")).unwrap();
    let text_encoder = parse(&read("text_encoder/model.fp16.safetensors"));
    let (dtype, shape, table) = &text_encoder["text_model.embeddings.token_embedding.weight"];
    let row = table.len() / shape[0];
    let ids: Vec<usize> = words.split(' ').map(|word| vocabulary[&format!("{word}</w>")]).collect();
    let rows = ids.iter().flat_map(|id| table[id * row..][..row].iter().copied()).collect();
    serialize(&[("emb_params".into(), (*dtype, vec![ids.len(), shape[1]], rows))].into())
}

/// One small matrix for each name: a file whose names matter and nothing else.
pub fn named(names: &[&str]) -> Vec<u8> {
    let matrix = |name: &&str| (name.to_string(), (Dtype::F32, vec![4, 4], vec![0; 64]));
    serialize(&names.iter().map(matrix).collect())
}

/// The demo model in one file, in ldm names, for CLIP's own vocabulary, since such a file brings no
/// tokenizer; tokens that the demo model lacks get nothing. Its pictures are no longer pictures:
/// numbers of groups and heads are not in such a file either.
pub fn single_file() -> Vec<u8> {
    serialize(&single_file_tensors())
}

/// The same with a NaN in its VAE, which is read last, and that tensor's name in the model.
pub fn single_file_with_nan() -> (Vec<u8>, &'static str) {
    let mut tensors = single_file_tensors();
    let (dtype, _, bytes) = tensors.get_mut("first_stage_model.decoder.conv_out.weight").unwrap();
    assert_eq!(*dtype, Dtype::F16);
    bytes[..2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    (serialize(&tensors), "decoder.conv_out.weight")
}

/// The same without one tensor of its VAE, and that tensor's name in the model.
pub fn single_file_with_a_gap() -> (Vec<u8>, &'static str) {
    let mut tensors = single_file_tensors();
    tensors.remove("first_stage_model.decoder.conv_out.weight").unwrap();
    (serialize(&tensors), "decoder.conv_out.weight")
}

fn single_file_tensors() -> Tensors {
    const TOKENS: usize = 49408;
    let folder = here("web/demo-model/model");
    let part = |path: &str| parse(&std::fs::read(folder.join(path)).unwrap());
    let config = std::fs::read_to_string(folder.join("unet/config.json")).unwrap();
    let layout = UNetLayout::from_config(&serde_json::from_str(&config).unwrap()).unwrap();

    let mut whole = Tensors::new();
    for (key, tensor) in part("unet/diffusion_pytorch_model.fp16.safetensors") {
        let (module, parameter) = key.rsplit_once('.').unwrap();
        let module = unet_module_to_ldm(module, &layout).unwrap();
        whole.insert(format!("model.diffusion_model.{module}.{parameter}"), tensor);
    }
    for (key, tensor) in part("vae/diffusion_pytorch_model.fp16.safetensors") {
        whole.insert(format!("first_stage_model.{key}"), tensor);
    }
    for (key, (dtype, mut shape, mut bytes)) in part("text_encoder/model.fp16.safetensors") {
        if key.ends_with("token_embedding.weight") {
            bytes.resize(bytes.len() / shape[0] * TOKENS, 0);
            shape[0] = TOKENS;
        }
        whole.insert(format!("cond_stage_model.transformer.{key}"), (dtype, shape, bytes));
    }
    whole
}

fn parse(bytes: &[u8]) -> Tensors {
    let tensors = SafeTensors::deserialize(bytes).unwrap().tensors();
    let own = |(name, tensor): (String, TensorView)| {
        (name, (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
    };
    tensors.into_iter().map(own).collect()
}

fn serialize(tensors: &Tensors) -> Vec<u8> {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}
