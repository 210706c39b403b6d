//! What JavaScript is thrown: an `Error` that says in its `kind` which sort of thing went wrong, so that
//! nobody has to tell it by words.

use std::error::Error as AnyError;

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use crate::error::Error;

/// An error on its way to JavaScript. `kind` is the one of an [`enum@Error`] ([`Error::kind`]); other
/// errors, which are nothing that a person did, have none.
pub struct Failure(JsValue);

/// What a call from JavaScript gives.
pub type JsResult<T> = Result<T, Failure>;

impl Failure {
    /// One that has no kind.
    pub(super) fn new(message: &str) -> Self {
        Self(js_sys::Error::new(message).into())
    }
}

impl<E: AnyError + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let failure = Self::new(&error.to_string());
        let any: &(dyn AnyError + 'static) = &error;
        if let Some(error) = any.downcast_ref::<Error>() {
            // An object that was just made takes a property.
            let _ = Reflect::set(&failure.0, &"kind".into(), &error.kind().into());
        }
        failure
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}
