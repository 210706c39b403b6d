//! 8-bit floats in files: every one of them against PyTorch's (`fixtures/families/generate.py`), and
//! the scales that ComfyUI writes beside them.

use std::rc::Rc;

use lorakeet::weights::{Bytes, Component, Index, Source};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;

#[test]
fn every_8_bit_float_is_pytorchs() {
    let file = Bytes::new(
        "eight-bit.safetensors",
        include_bytes!("fixtures/families/eight-bit.safetensors").as_slice(),
    );
    let index = Index::read(&file).unwrap();
    for name in ["e4m3", "e5m2"] {
        let ours = index.read_f32(&file, name).unwrap();
        let expected = index.read_f32(&file, &format!("{name}.wide")).unwrap();
        assert_eq!(ours.len(), 256);
        for (code, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
            let equal = ours.to_bits() == expected.to_bits();
            assert!(equal || (ours.is_nan() && expected.is_nan()), "{name} {code:#x}: {ours}");
        }
    }
}

/// `a.weight` of four 8-bit floats (1, -2, 0.5, 448), with what stands beside it.
fn component(beside: &[(&str, Dtype, &[usize], &[f32])]) -> lorakeet::error::Result<Vec<f32>> {
    let bytes: Vec<Vec<u8>> = beside
        .iter()
        .map(|(.., values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let weight = [0x38, 0xC0, 0x30, 0x7E];
    let mut views = vec![(
        "a.weight".to_string(),
        TensorView::new(Dtype::F8_E4M3, vec![2, 2], &weight).unwrap(),
    )];
    for ((name, dtype, shape, _), bytes) in beside.iter().zip(&bytes) {
        views.push(((*name).into(), TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
    }
    let file = serialize(views, None).unwrap();
    let source: Rc<dyn Source> = Rc::new(Bytes::new("f.safetensors", file));
    let component = Component::from_safetensors("unet", source.as_ref(), Value::Null)?;
    assert_eq!(component.tensors.len(), 1, "scales and markers belong to no component");
    component.tensors["a.weight"].read_f32(&[source])
}

#[test]
fn a_weights_scale_is_applied_and_others_are_refused_by_name() {
    assert_eq!(component(&[]).unwrap(), [1.0, -2.0, 0.5, 448.0]);
    let scaled = [0.25, -0.5, 0.125, 112.0];
    let marker = ("scaled_fp8", Dtype::F32, &[1][..], &[0.0][..]);
    let input = ("a.scale_input", Dtype::F32, &[][..], &[3.0][..]);
    for name in ["a.scale_weight", "a.weight_scale"] {
        assert_eq!(component(&[(name, Dtype::F32, &[], &[0.25]), marker, input]).unwrap(), scaled);
    }
    for (beside, problem) in [
        (("a.weight_scale", Dtype::F32, &[2, 1][..], &[1.0, 2.0][..]), "has 2 factors"),
        (("b.weight_scale", Dtype::F32, &[], &[1.0]), "scales b.weight, which isn't there"),
        (("a.scale_weight", Dtype::F32, &[], &[f32::NAN]), "is NaN or infinity"),
    ] {
        let error = component(&[beside]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("f.safetensors: {}: {problem}", beside.0)), "{error}");
        assert!(error.contains("Use a version of the file in float16"), "{error}");
    }
}
