//! Values on their way from JavaScript and back.

use js_sys::{Array, JSON, Object, Reflect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::JsResult;
use crate::error::Error;
use crate::image::Rgba;
use crate::pipelines::Pictures;
use crate::training::{Picture, Role};
use crate::web::blob::BlobSource;
use crate::web::failure::Failure;

/// Serialises as plain objects and arrays.
pub(super) fn to_js<T: Serialize + ?Sized>(value: &T) -> JsResult<JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(|error| Failure::new(&error.to_string()))
}

/// By way of JSON, so that a wrong field is named as it is on the command line. What is left out
/// altogether is an empty object.
pub(super) fn parse<T: DeserializeOwned>(what: &'static str, value: &JsValue) -> JsResult<T> {
    let json = match value.is_undefined() {
        true => "{}".into(),
        false => JSON::stringify(value).map_err(|_| unreadable(what))?,
    };
    serde_json::from_str(&String::from(json)).map_err(|error| {
        Error::setting(what, error.to_string(), "Check the values in the form").into()
    })
}

pub(super) fn unreadable(key: &str) -> Failure {
    Failure::new(&format!("can't read {key}"))
}

/// A property; undefined where there is none.
pub(super) fn property(object: &JsValue, key: &str) -> JsValue {
    Reflect::get(object, &key.into()).unwrap_or_default()
}

/// The same object without one of its properties, and that.
pub(super) fn apart(object: &JsValue, key: &str) -> JsResult<(JsValue, JsValue)> {
    let rest = Object::assign(&Object::new(), object.unchecked_ref());
    Reflect::delete_property(&rest, &key.into()).map_err(|_| unreadable(key))?;
    Ok((property(object, key), rest.into()))
}

/// Sources from `[{path, blob}]`.
pub(super) fn sources(files: &Array) -> JsResult<Vec<BlobSource>> {
    let source = |entry: JsValue| {
        let path = property(&entry, "path").as_string();
        let (Some(path), Ok(blob)) = (path, property(&entry, "blob").dyn_into::<Blob>()) else {
            return Err(Failure::new("a model is a list of {path, blob}"));
        };
        Ok(BlobSource::new(path, blob)?)
    };
    files.iter().map(source).collect()
}

/// Training pictures from `[{name, caption, role, width, height, rgba}]`.
pub(super) fn pictures(list: &Array) -> JsResult<Vec<Picture>> {
    list.iter().map(|entry| picture(&entry)).collect()
}

fn picture(entry: &JsValue) -> JsResult<Picture> {
    let text = |key: &str| property(entry, key).as_string().unwrap_or_default();
    let role = match text("role").as_str() {
        "heldOut" => Role::HeldOut,
        "class" => Role::Class,
        _ => Role::Train,
    };
    let Rgba { width, height, bytes } = pixels(entry)?;
    Ok(Picture::new(text("name"), text("caption"), role, [width, height], bytes)?)
}

/// `{width, height, rgba}`.
fn pixels(entry: &JsValue) -> JsResult<Rgba> {
    let rgba: js_sys::Uint8ClampedArray =
        property(entry, "rgba").dyn_into().map_err(|_| unreadable("rgba"))?;
    let [width, height] =
        ["width", "height"].map(|key| property(entry, key).as_f64().unwrap_or(0.0) as usize);
    Ok(Rgba { width, height, bytes: rgba.to_vec() })
}

/// What a picture starts from, from `{picture, mask}`; None: there is none.
pub(super) fn start_pictures(value: &JsValue) -> JsResult<Option<Pictures>> {
    let there =
        |value: JsValue| Some(value).filter(|value| !value.is_undefined() && !value.is_null());
    if there(value.clone()).is_none() {
        return Ok(None);
    }
    let mask = there(property(value, "mask")).map(|mask| pixels(&mask)).transpose()?;
    Ok(Some(Pictures { picture: pixels(&property(value, "picture"))?, mask }))
}
