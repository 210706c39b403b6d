//! Tools on adapters' files: what they write is what they say, number by number, and what they can't do
//! they refuse by name. `fixtures/adapters/check_tools.py` loads results with diffusers.

#[allow(unused_imports, reason = "support's reference runs are of no use here")]
mod support;
mod tiny;

use std::collections::BTreeMap;

use lorakeet::adapters::file::{Part, Site};
use lorakeet::adapters::format::Format;
use lorakeet::adapters::tools::change::{Base, change, norm};
use lorakeet::adapters::tools::extract::Wanted;
use lorakeet::adapters::tools::resize::total_error;
use lorakeet::adapters::tools::{self, Goal, Layers, Opened, Weighted};
use lorakeet::adapters::{AdapterModule, Kind};
use lorakeet::weights::{Bytes, Checkpoint, FileSource, Index, Source};
use serde_json::Value;
use support::path;
use tiny::Values;

fn demo() -> Checkpoint {
    Checkpoint::open_path(path("web/demo-model/model")).unwrap()
}

fn open(name: &str, layers: &Layers) -> Opened {
    let file = FileSource::open(path(&format!("web/demo-model/lora/{name}.kohya.safetensors")));
    Opened::read(&file.unwrap(), None, layers).unwrap()
}

fn shape<'a>(layers: &'a Layers, module: &AdapterModule) -> &'a [usize] {
    layers.shapes()[&(module.part, module.path.as_str())]
}

/// What modules add to each layer's weight, on no base.
fn changes(modules: &[AdapterModule], layers: &Layers) -> BTreeMap<String, Vec<f32>> {
    let mut sums: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for module in modules {
        let delta = change(module, shape(layers, module), &Base::default(), 1.0).unwrap();
        let delta = delta.weight.unwrap();
        let sum = sums.entry(module.path.clone()).or_insert_with(|| vec![0.0; delta.len()]);
        sum.iter_mut().zip(delta).for_each(|(sum, x)| *sum += x);
    }
    sums
}

fn norm_of(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// The norm of the difference, over that of what was wanted.
fn off(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    norm_of(found.iter().zip(wanted).map(|(a, b)| a - b)) / norm_of(wanted.iter().copied())
}

/// One layer with an adapter of a kind, of `fixtures/adapters/kinds.py`.
fn kind(name: &str) -> (Layers, Vec<AdapterModule>) {
    let values = tiny::read_values("adapters/kinds.safetensors");
    let adapter: Values = tiny::below(&values, &format!("{name}/adapter/"));
    let shape = values[&format!("{name}/weight")].shape.clone();
    let modules = tiny::read_for(&shape, &adapter, None).unwrap().modules;
    let site = Site { part: Part::UNet, path: "proj_in".into(), shape };
    (Layers { sites: vec![site], layout: None }, modules)
}

#[test]
fn without_a_model_layers_are_those_of_stable_diffusion() {
    let fixture: Value = serde_json::from_slice(&tiny::read("sd15-keys/keys.json")).unwrap();
    let mut wanted: Vec<(Part, String, Vec<usize>)> = Vec::new();
    for (part, name) in [(Part::UNet, "unet"), (Part::TextEncoder, "text_encoder")] {
        for row in fixture[name].as_array().unwrap() {
            let key = row[0].as_str().unwrap();
            let Some(path) = key.strip_suffix(".weight") else { continue };
            if !path.contains(".embeddings.") {
                wanted.push((part, path.into(), serde_json::from_value(row[1].clone()).unwrap()));
            }
        }
    }
    let told_by = |metadata: &[(&str, &str)]| {
        let file = tiny::file_with(&Values::new(), metadata);
        Layers::told_by(&Bytes::new("a.safetensors", file)).unwrap()
    };
    let layers = told_by(&[]);
    let mut found: Vec<_> =
        layers.sites.iter().map(|one| (one.part, one.path.clone(), one.shape.clone())).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
    let second = told_by(&[("ss_base_model_version", "sd_v2")]);
    let reads = |layers: &Layers| {
        let site = layers.sites.iter().find(|site| site.path.ends_with("attn2.to_k")).unwrap();
        site.shape[1]
    };
    assert_eq!((reads(&layers), reads(&second)), (768, 1024));
}

#[test]
fn an_adapter_goes_through_every_format_and_back() {
    let layers = Layers::of(&demo());
    for name in ["ink", "soft"] {
        let opened = open(name, &layers);
        let wanted = changes(&opened.file.modules, &layers);
        for format in [Format::Kohya, Format::Diffusers, Format::Peft] {
            let modules = &opened.file.modules;
            let (files, left_out) =
                opened.origin.write(modules, format, Some(false), &layers, "here").unwrap();
            assert_eq!(left_out, []);
            let config = files.get(1).map(|file| serde_json::from_slice(&file.bytes).unwrap());
            let source = Bytes::new(&files[0].name, files[0].bytes.clone());
            let again = Opened::read(&source, config.as_ref(), &layers).unwrap();
            assert_eq!(changes(&again.file.modules, &layers), wanted, "{name} {format:?}");
            // What is said of it comes along where there is room, what became untrue doesn't.
            let said = &again.origin.metadata;
            if format == Format::Kohya {
                assert_eq!(said["ss_network_dim"], opened.file.report.ranks[0].to_string());
                assert_eq!(said["lorakeet_made"], "here");
                let before = opened.origin.metadata.get("ss_base_model_version");
                assert_eq!(said.get("ss_base_model_version"), before.or(Some(&"sd_v1".into())));
            }
        }
    }
}

#[test]
fn what_a_format_has_no_room_for_is_named() {
    let (layers, mut modules) = kind("lora.linear");
    modules[0].path = "other".into();
    let (_, loha) = kind("loha.linear");
    let site = Site { path: "other".into(), ..layers.sites[0].clone() };
    let layers = Layers { sites: [layers.sites, vec![site]].concat(), layout: None };
    let origin = tools::Origin { title: "mixed".into(), ..tools::Origin::default() };
    let both = [modules, loha.clone()].concat();
    let write =
        |modules: &[AdapterModule], format| origin.write(modules, format, None, &layers, "a test");
    let (_, left_out) = write(&both, Format::Diffusers).unwrap();
    assert_eq!(left_out.len(), 1);
    assert!(left_out[0].0 == "proj_in" && left_out[0].1.contains("LoHa"), "{left_out:?}");
    assert_eq!(write(&both, Format::Kohya).unwrap().1, []);
    let error = write(&loha, Format::Peft).unwrap_err().to_string();
    assert!(error.contains("LoHa adapters go out as kohya files only"), "{error}");
}

#[test]
fn inspecting_tells_ranks_norms_and_words() {
    let layers = Layers::of(&demo());
    let opened = open("soft", &layers);
    let found = tools::inspect(&opened, &layers).unwrap();
    assert_eq!(found.layers.len(), opened.file.modules.len());
    for (layer, module) in found.layers.iter().zip(&opened.file.modules) {
        let delta = change(module, shape(&layers, module), &Base::default(), 1.0).unwrap();
        let wanted = norm_of(delta.weight.unwrap().into_iter());
        assert!((layer.norm.unwrap() / wanted - 1.0).abs() < 1e-5, "{}", layer.path);
        assert_eq!((layer.rank, layer.kind), (module.rank, module.kind().label()));
    }
    let tags = r#"{"a": {"cat": 3, "dog": 5}, "b": {"cat": 4}}"#;
    let mut opened = opened;
    opened.origin.metadata.insert("ss_tag_frequency".into(), tags.into());
    let found = tools::inspect(&opened, &layers).unwrap();
    assert_eq!(found.tags, [("cat".to_string(), 7), ("dog".to_string(), 5)]);
    let text = found.to_string();
    assert!(text.contains("     7  cat") && text.contains("unet.down_blocks.0"), "{text}");
    let (layers, modules) = kind("dora.linear.rows");
    assert_eq!(norm(&modules[0], &layers.sites[0].shape).unwrap(), None);
}

#[test]
fn resizing_loses_what_it_says() {
    let layers = Layers::of(&demo());
    let mut cases = vec![(layers.clone(), open("ink", &layers).file.modules)];
    cases.push((layers.clone(), open("soft", &layers).file.modules));
    cases.extend(["loha.conv3", "lokr.both", "loha.tucker"].map(kind));
    for (layers, modules) in &cases {
        let before = changes(modules, layers);
        let most = modules.iter().map(|module| module.rank).max().unwrap();
        for (rank, error) in [(2, None), (most, Some(0.3)), (4096, Some(0.0))] {
            let goal = Goal { rank, error };
            let (smaller, told, kept) = tools::resize(modules, layers, goal).unwrap();
            let after = changes(&smaller, layers);
            for row in &told {
                let off = off(&after[&row.path], &before[&row.path]);
                assert!((off - row.error).abs() < 1e-4, "{}: {off} {}", row.path, row.error);
                assert!(row.rank <= rank, "{row:?}");
                assert!(error.is_none_or(|most| row.error <= most + 1e-4), "{row:?}");
                let norm = norm_of(before[&row.path].iter().copied());
                assert!((row.norm / norm - 1.0).abs() < 1e-4);
            }
            assert_eq!(told.len() + kept.len(), modules.len());
            let lost = total_error(&told);
            assert!((0.0..1.0).contains(&lost));
            let kinds = Kind::of(&smaller);
            assert!(kinds.iter().all(|kind| kind.label().starts_with("Lo")), "{kinds:?}");
        }
    }
    // Fewer ranks lose more.
    let (layers, modules) = &cases[0];
    let lost =
        |rank| total_error(&tools::resize(modules, layers, Goal { rank, error: None }).unwrap().1);
    let lost = [1, 2, 4, 7].map(lost);
    assert!(lost.is_sorted_by(|a, b| a > b) && lost[3] > 0.01, "{lost:?}");
    for goal in [Goal { rank: 0, error: None }, Goal { rank: 4, error: Some(1.5) }] {
        let error = tools::resize(modules, layers, goal).unwrap_err().to_string();
        assert!(error.contains("is not"), "{error}");
    }
}

#[test]
fn dora_keeps_its_magnitudes_and_others_stay() {
    let (layers, modules) = kind("dora.conv3.rows");
    let goal = Goal { rank: 1, error: None };
    let (smaller, told, _) = tools::resize(&modules, &layers, goal).unwrap();
    assert_eq!((smaller[0].kind(), smaller[0].rank, told.len()), (modules[0].kind(), 1, 1));
    let magnitude = |module: &AdapterModule| module.factors.named()[2].1.clone();
    assert_eq!(magnitude(&smaller[0]), magnitude(&modules[0]));
    let big = Goal { rank: 8, error: None };
    let (same, told, kept) = tools::resize(&modules, &layers, big).unwrap();
    assert_eq!((same, told), (modules, vec![]));
    assert!(kept[0].1.contains("no more ranks"));
}

fn weighted<'a>(name: &'a str, modules: &'a [AdapterModule], strength: f32) -> Weighted<'a> {
    Weighted { name, modules, strengths: [strength; 2] }
}

#[test]
fn merging_adds_up() {
    let layers = Layers::of(&demo());
    let [ink, soft] = ["ink", "soft"].map(|name| open(name, &layers).file.modules);
    let mut wanted = BTreeMap::new();
    for (modules, strength) in [(&ink, 0.5), (&soft, -0.8)] {
        for (path, delta) in changes(modules, &layers) {
            let sum: &mut Vec<f32> = wanted.entry(path).or_insert_with(|| vec![0.0; delta.len()]);
            sum.iter_mut().zip(delta).for_each(|(sum, x)| *sum += strength * x);
        }
    }
    let both = [weighted("ink", &ink, 0.5), weighted("soft", &soft, -0.8)];
    let merged = tools::merge(&both, &layers, None, None).unwrap();
    assert_eq!((merged.whole, merged.left_out.len(), merged.resized.len()), (0, 0, 0));
    let found = changes(&merged.modules, &layers);
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (path, wanted) in &wanted {
        assert!(off(&found[path], wanted) < 1e-6, "{path}");
    }
    // Into fewer ranks, with the error told; and it can be written.
    let goal = Goal { rank: 4, error: None };
    let smaller = tools::merge(&both, &layers, Some(goal), None).unwrap();
    let found = changes(&smaller.modules, &layers);
    assert!(smaller.resized.iter().all(|row| row.rank <= 4));
    for row in &smaller.resized {
        let off = off(&found[&row.path], &wanted[&row.path]);
        assert!((off - row.error).abs() < 1e-4, "{row:?} {off}");
    }
    let origin = tools::Origin::default();
    origin.write(&smaller.modules, Format::Kohya, None, &layers, "merged").unwrap();
}

#[test]
fn kinds_that_differ_make_a_whole_difference() {
    let (layers, lora) = kind("lora.linear");
    for (name, needs_base) in
        [("loha.linear", false), ("lokr.half", false), ("dora.linear.rows", true)]
    {
        let (_, other) = kind(name);
        let base = Base { weight: Some((0..96).map(|i| (i as f32).sin()).collect()), bias: None };
        let delta = |modules: &[AdapterModule]| {
            change(&modules[0], &layers.sites[0].shape, &base, 1.0).unwrap().weight.unwrap()
        };
        let (first, second) = (delta(&lora), delta(&other));
        let wanted: Vec<f32> = first.iter().zip(&second).map(|(a, b)| 0.5 * a - 1.5 * b).collect();
        let both = [weighted("a", &lora, 0.5), weighted("b", &other, -1.5)];
        let bases = |_: &Site| Ok(base.clone());
        let merged = tools::merge(&both, &layers, None, Some(&bases)).unwrap();
        assert_eq!((merged.whole, merged.modules.len()), (1, 1), "{name}");
        assert!(off(&delta(&merged.modules), &wanted) < 1e-6, "{name}");
        let origin = tools::Origin::default();
        origin.write(&merged.modules, Format::Kohya, None, &layers, "merged").unwrap();
        // Without the model, what depends on it is left out and named.
        let merged = tools::merge(&both, &layers, None, None).unwrap();
        assert_eq!(merged.left_out.len(), usize::from(needs_base), "{name}");
        assert!(merged.left_out.iter().all(|(_, why)| why.contains("--model")));
    }
    // Alone a kind stays what it is, its strength in its scale.
    let (layers, loha) = kind("loha.linear");
    let merged = tools::merge(&[weighted("a", &loha, -2.0)], &layers, None, None).unwrap();
    assert_eq!(merged.modules[0].kind(), loha[0].kind());
    assert_eq!(merged.modules[0].scale, -2.0 * loha[0].scale);
}

/// A checkpoint's file with adapters in it, and that file opened beside the others of its folder.
fn baked(model: &Checkpoint, adapters: &[Weighted]) -> (Vec<u8>, usize, Checkpoint) {
    let layers = Layers::of(model);
    let unet = model.sources.iter().position(|file| file.name().starts_with("unet/")).unwrap();
    let mut bytes = Vec::new();
    let mut write = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    let done = tools::bake(model, unet, &layers.sites, adapters, &mut write).unwrap();
    assert_eq!(done.left_out, []);
    let mut tuned = demo();
    let name = model.sources[unet].name().to_string();
    let source: std::rc::Rc<dyn Source> = std::rc::Rc::new(Bytes::new(name, bytes.clone()));
    // The header has grown, and every tensor lies that much further on.
    let index = Index::read(source.as_ref()).unwrap();
    for stored in tuned.unet.tensors.values_mut() {
        stored.info = index.tensors[&stored.key].clone();
    }
    tuned.sources[unet] = source;
    tuned.name = "baked".into();
    (bytes, done.changed, tuned)
}

#[test]
fn what_is_baked_can_be_extracted() {
    let model = demo();
    let layers = Layers::of(&model);
    let ink = open("ink", &layers).file.modules;
    let (bytes, changed, tuned) = baked(&model, &[weighted("ink", &ink, 0.7)]);
    assert_eq!(changed, ink.len());
    let new = Index::read(&Bytes::new("baked", bytes)).unwrap();
    assert!(new.metadata["lorakeet_baked"].contains("\"ink\""));

    // Every other tensor is the same, these are the sum rounded to halves.
    let deltas = changes(&ink, &layers);
    for (name, stored) in &model.unet.tensors {
        let (ours, theirs) = (&tuned.unet.tensors[name], stored);
        assert_eq!((ours.info.dtype, &ours.info.shape), (theirs.info.dtype, &theirs.info.shape));
        let before = theirs.read_f32(&model.sources).unwrap();
        let after = ours.read_f32(&tuned.sources).unwrap();
        let delta = name.strip_suffix(".weight").and_then(|path| deltas.get(path));
        let Some(delta) = delta else {
            assert_eq!(after, before, "{name}");
            continue;
        };
        for ((after, before), delta) in after.iter().zip(&before).zip(delta) {
            let wanted = before + 0.7 * delta;
            assert!(
                (after - wanted).abs() <= 1e-3 * wanted.abs() + 1e-6,
                "{name}: {after} {wanted}"
            );
        }
    }

    // Whole, the difference is all there is; with ranks it is near.
    let nothing = &mut |_: f32| {};
    let whole = tools::extract(&model, &tuned, Wanted::default(), nothing).unwrap();
    assert_eq!((whole.modules.len(), whole.left_out.len()), (ink.len(), 0));
    let (again, ..) = (baked(&model, &[weighted("whole", &whole.modules, 1.0)]).2, 0);
    for (name, stored) in &tuned.unet.tensors {
        let ours = again.unet.tensors[name].read_f32(&again.sources).unwrap();
        assert_eq!(ours, stored.read_f32(&tuned.sources).unwrap(), "{name}");
    }
    let goal = Some(Goal { rank: 8, error: None });
    let ranks = tools::extract(&model, &tuned, Wanted { goal, biases: false }, nothing).unwrap();
    let found = changes(&ranks.modules, &layers);
    for (path, delta) in &deltas {
        let wanted: Vec<f32> = delta.iter().map(|x| 0.7 * x).collect();
        assert!(off(&found[path], &wanted) < 0.01, "{path}");
    }
    assert!(total_error(&ranks.resized) < 0.01);

    let error = tools::extract(&model, &demo(), Wanted::default(), nothing).unwrap_err();
    assert!(error.to_string().contains("nothing to extract"), "{error}");
    let layers = Layers::of(&model);
    let number = model.sources.iter().position(|file| file.name().starts_with("unet/")).unwrap();
    let strong = [weighted("ink", &ink, 1e7)];
    let error = tools::bake(&model, number, &layers.sites, &strong, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("too large for F16"), "{error}");
}
