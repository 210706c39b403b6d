//! Numbers from the device, waited for.

use burn::tensor::{Device, Tensor};

use super::failure::{Failure, JsResult};
use crate::error::Error;

/// A tensor's numbers.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> JsResult<Vec<f32>> {
    let data = tensor.into_data_async().await.map_err(|error| lost(&error.to_string()))?;
    data.convert::<f32>().try_into_vec::<f32>().map_err(|error| lost(&format!("{error:?}")))
}

/// Waits until the device has done everything queued so far.
pub(super) async fn wait(device: &Device) -> JsResult<()> {
    read(Tensor::<1>::zeros([1], device)).await.map(|_| ())
}

fn lost(error: &str) -> Failure {
    Error::device(
        format!("the GPU failed: {error}"),
        "Try a smaller picture, or add ?backend=cpu to the page's address",
    )
    .into()
}
