//! Masks, crops and sizes as A1111 and Pillow make them (`fixtures/pictures`), and how many steps a
//! strength leaves.

mod tiny;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lorakeet::image::fill::filled;
use lorakeet::image::mask::{Mask, Region, laid_over};
use lorakeet::image::resample::Fit;
use lorakeet::image::{Rgb, Rgba};
use lorakeet::pipelines::{Convention, Start};
use safetensors::SafeTensors;
use serde_json::Value;

/// Bytes with the shape of an array: rows, columns, channels.
type Bytes = (Vec<usize>, Vec<u8>);

static BYTES: LazyLock<BTreeMap<String, Bytes>> = LazyLock::new(|| {
    let file = tiny::read("pictures/pictures.safetensors");
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let each = tensors.tensors().into_iter();
    each.map(|(name, tensor)| (name, (tensor.shape().to_vec(), tensor.data().to_vec()))).collect()
});

static TABLES: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_slice(&tiny::read("pictures/pictures.json")).unwrap());

fn picture(name: &str) -> Rgb {
    let (shape, bytes) = &BYTES[name];
    assert_eq!(shape[2], 3);
    Rgb { width: shape[1], height: shape[0], bytes: bytes.clone() }
}

fn mask(name: &str) -> Mask {
    let (shape, bytes) = &BYTES[name];
    Mask { width: shape[1], height: shape[0], bytes: bytes.clone() }
}

/// The mask of the vectors: what is above 128 of one with a soft rim.
fn hard() -> Mask {
    let soft = mask("mask");
    let bytes = soft.bytes.iter().map(|byte| if *byte > 128 { 255 } else { 0 }).collect();
    Mask { bytes, ..soft }
}

fn within(ours: &[u8], expected: &[u8], most: u8, what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let off = ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off <= most, "{what}: off by {off} of 255");
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

fn pair(value: &Value) -> [usize; 2] {
    numbers(value).try_into().unwrap()
}

#[test]
fn pictures_come_to_a_size_as_pillow_resizes_them() {
    let image = picture("image");
    for (fit, name) in [(Fit::Stretch, "stretch"), (Fit::Crop, "crop"), (Fit::Fill, "fill")] {
        let expected = picture(&format!("resize.{name}"));
        let ours = fit.of(&image, [expected.width, expected.height]);
        // Pillow stretches bars from no columns at all, and mixes the three outermost for that.
        within(&ours.bytes, &expected.bytes, if fit == Fit::Fill { 8 } else { 1 }, name);
        assert_eq!(fit.of(&image, [image.width, image.height]), image, "{name}");
    }
    for row in TABLES["resize"].as_array().unwrap() {
        let [from, to] = ["image", "target"].map(|key| pair(&row[key]));
        assert_eq!(Fit::Crop.scaled(from, to), pair(&row["crop"]), "{row}");
        assert_eq!(Fit::Fill.scaled(from, to), pair(&row["fill"]), "{row}");
    }
    // The bars at both ends of what is narrower are the edges' colours, to the last column.
    let column = Rgb { width: 1, height: 2, bytes: vec![9, 9, 9, 200, 200, 200] };
    let filled = Fit::Fill.of(&column, [5, 2]);
    assert_eq!(filled.bytes, [[9; 15], [200; 15]].concat());
}

#[test]
fn masks_are_read_and_softened() {
    let (image, soft) = (picture("image"), mask("mask"));
    let pixel = |alpha: &dyn Fn(usize) -> u8| -> Rgba {
        let pixels = image.bytes.chunks_exact(3).enumerate();
        let bytes = pixels.flat_map(|(i, p)| [p[0], p[1], p[2], alpha(i)]).collect();
        Rgba { width: 64, height: 64, bytes }
    };
    assert_eq!(Mask::of(&pixel(&|i| soft.bytes[i])), hard(), "the alpha, where there is one");
    let grey = |value: u8| Rgba { width: 1, height: 1, bytes: vec![value, value, value, 255] };
    assert_eq!(Mask::of(&grey(77)).bytes, [77]);
    assert_eq!(Mask::of(&Rgba { bytes: vec![0, 255, 0, 255], ..grey(0) }).bytes, [150]);
    for sigma in [1, 4, 8, 16] {
        let ours = hard().blurred(f64::from(sigma));
        within(&ours.bytes, &mask(&format!("mask.blur{sigma}")).bytes, 1, &format!("{sigma}"));
    }
    assert_eq!(hard().blurred(0.0), hard());
    let rounded = tiny::read_values("pictures/pictures.safetensors");
    assert_eq!(mask("mask.blur4").of_latents(), rounded["mask.latent_rounded"].data);
    assert_eq!(hard().inverted().inverted(), hard());
}

#[test]
fn the_part_around_a_mask_has_the_shape_of_what_is_painted() {
    for row in TABLES["crops"].as_array().unwrap() {
        let [width, height] = pair(&row["image"]);
        let mut mask = Mask { width, height, bytes: vec![0; width * height] };
        let [x0, y0, x1, y1]: [usize; 4] = numbers(&row["mask_box"]).try_into().unwrap();
        for y in y0..y1 {
            mask.bytes[y * width + x0..y * width + x1].fill(255);
        }
        let region = mask.region(row["padding"].as_u64().unwrap() as usize).unwrap();
        let of = |key: &str| {
            let [x0, y0, x1, y1]: [usize; 4] = numbers(&row[key]).try_into().unwrap();
            Region { from: [x0, y0], to: [x1, y1] }
        };
        assert_eq!(region, of("crop"), "{row}");
        let shaped = region.shaped(pair(&row["processed_at"]), [width, height]);
        assert_eq!(shaped, of("expanded"), "{row}");
    }
    assert_eq!(Mask { width: 8, height: 8, bytes: vec![0; 64] }.region(4), None);
}

#[test]
fn what_is_painted_begins_with_the_colours_around_it_and_ends_under_what_stays() {
    let (image, soft) = (picture("image"), mask("mask.blur4"));
    // Pillow rounds to bytes after each layer, and colours that are nearly transparent with them.
    let (ours, expected) = (filled(&image, &soft).bytes, picture("fill").bytes);
    within(&ours, &expected, 8, "fill");
    let off: usize = ours.iter().zip(&expected).map(|(a, b)| usize::from(a.abs_diff(*b))).sum();
    assert!(off < ours.len() / 2, "{off} of {}", ours.len());
    let inverse = Rgb { bytes: image.bytes.iter().map(|byte| 255 - byte).collect(), ..image };
    let over = laid_over(&inverse, &picture("image"), &soft.doubled());
    within(&over.bytes, &picture("overlay.whole").bytes, 1, "overlay");
}

#[test]
fn a_strength_leaves_as_many_steps_as_in_the_other_programs() {
    let number = |value: &Value| value.as_f64().unwrap();
    let whole = |value: &Value| value.as_u64().unwrap() as usize;
    for row in TABLES["steps"]["a1111"]["rows"].as_array().unwrap() {
        let (steps, strength) = (whole(&row[0]), number(&row[1]));
        let start = Start { strength, ..Start::default() };
        // t_enc + 1 calls are made of the schedule's steps.
        assert_eq!(start.steps(steps).unwrap(), (steps, steps - 1 - whole(&row[3])), "{row}");
        let exact = Start { exact_steps: true, ..start };
        match exact.steps(steps) {
            Ok(made) => {
                assert_eq!(made, (whole(&row[4]), whole(&row[4]) - 1 - whole(&row[5])), "{row}");
            }
            Err(error) => {
                assert_eq!(strength, 0.0, "{row}");
                assert!(error.to_string().starts_with("strength: 0 leaves none of"), "{error}");
            }
        }
    }
    let table: Value = serde_json::from_slice(&tiny::read("pictures/pipelines.json")).unwrap();
    for row in table["strength"]["rows"].as_array().unwrap() {
        let (steps, strength, made) = (whole(&row[0]), number(&row[1]), whole(&row[2]));
        let start = Start { strength, convention: Convention::Diffusers, ..Start::default() };
        match start.steps(steps) {
            Ok(plan) => assert_eq!(plan, (steps, steps - made), "{row}"),
            Err(error) => {
                assert_eq!(made, 0, "{row}");
                assert!(error.to_string().contains("leaves none"), "{error}");
            }
        }
    }
}
