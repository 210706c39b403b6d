//! What `bench.html` runs on our side: a network alone, weights and inputs given.

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use wasm_bindgen::prelude::*;
use web_sys::Blob;

use super::blob::BlobSource;
use super::failure::JsResult;
use super::readback::read;
use super::session::open_device;
use crate::error::Error;
use crate::layers::{Parameters, Storage};
use crate::models::unet_2d_blocks::DownBlock2D;
use crate::models::{UNet2DConditionConfig, UNet2DConditionModel};
use crate::weights::{Component, Source};

/// A network on a device.
#[wasm_bindgen]
pub struct Bench {
    device: Device,
    network: Network,
}

enum Network {
    Unet(Box<UNet2DConditionModel>),
    Block(Box<DownBlock2D>),
}

#[wasm_bindgen]
impl Bench {
    /// Opens a device and loads a UNet, or its first block alone, from a safetensors file in
    /// diffusers names.
    ///
    /// # Errors
    /// When there is no such device, or weights and config don't belong together.
    pub async fn open(
        backend: String,
        config: String,
        block: bool,
        weights: Blob,
    ) -> JsResult<Bench> {
        let (device, _) = open_device(&backend).await?;
        let source: Rc<dyn Source> =
            Rc::new(BlobSource::new("weights.safetensors".into(), weights)?);
        let config = serde_json::from_str(&config)?;
        let component = Component::from_safetensors("unet", source.as_ref(), config)?;
        let config = UNet2DConditionConfig::parse(&component)?;
        let sources = [source];
        let mut ignore = |_: crate::layers::Progress<'_>| {};
        let parameters = Parameters::new(&component, &sources, &device, Storage::F32, &mut ignore);
        let network = if block {
            let parameters = parameters.at("down_blocks").at(0);
            Network::Block(Box::new(UNet2DConditionModel::load_down_block(&config, 0, &parameters)))
        } else {
            Network::Unet(Box::new(UNet2DConditionModel::load(&config, &parameters)))
        };
        let (report, _) = parameters.finish()?;
        report.check(&component.file)?;
        Ok(Self { device, network })
    }

    /// One pass, read back. `time` is a timestep for each of the batch, or the block's time
    /// embedding.
    ///
    /// # Errors
    /// When the device fails.
    pub async fn run(
        &self,
        sample: Vec<f32>,
        sample_shape: Vec<usize>,
        time: Vec<f32>,
        context: Vec<f32>,
        context_shape: Vec<usize>,
    ) -> JsResult<Vec<f32>> {
        let sample = self.tensor::<4>(sample, sample_shape)?;
        let context = self.tensor::<3>(context, context_shape)?;
        let output = match &self.network {
            Network::Unet(unet) => {
                let times: Vec<f64> = time.into_iter().map(f64::from).collect();
                unet.forward(sample, &times, context)
            }
            Network::Block(block) => {
                let shape = vec![sample.dims()[0], time.len() / sample.dims()[0]];
                let emb = self.tensor::<2>(time, shape)?;
                block.forward(sample, &emb, &context, &mut Vec::new())
            }
        };
        read(output).await
    }
}

impl Bench {
    fn tensor<const D: usize>(&self, values: Vec<f32>, shape: Vec<usize>) -> JsResult<Tensor<D>> {
        if shape.len() != D || shape.iter().product::<usize>() != values.len() {
            return Err(Error::setting(
                "shape",
                format!("{shape:?} isn't that of {} values", values.len()),
                "This is a mistake in bench.html",
            )
            .into());
        }
        Ok(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }
}
