//! Training, as JavaScript calls it: the contract stands in `web/protocol.js`.

use std::rc::Rc;

use js_sys::{Array, Date, Uint8Array};
use wasm_bindgen::prelude::*;

use super::events::{File, Files, Inspected, Prepared};
use super::mode::{Mode, Model};
use super::run::{Pictures, Run};
use super::values::{apart, parse, pictures, property, to_js};
use super::{Engine, JsResult};
use crate::error::Error;
use crate::memory;
use crate::training::export::Request;
use crate::training::picture::warnings;
use crate::training::{Config, Dataset, Estimate, Offer, Preset, Role};
use crate::web::failure::Failure;

#[wasm_bindgen]
impl Engine {
    /// The settings of a preset: `quick`, `normal` or `careful`.
    ///
    /// # Errors
    /// When there is no such preset, or no model.
    #[wasm_bindgen(js_name = trainPreset)]
    pub fn train_preset(&self, name: String) -> JsResult<JsValue> {
        let preset: Preset = serde_json::from_value(name.clone().into()).map_err(|_| {
            let problem = format!("there is none called {name}");
            Error::setting("preset", problem, "Use quick, normal or careful")
        })?;
        to_js(&preset.config(self.mode.model()?.diffusion.native_size()))
    }

    /// What to know of pictures `[{name, width, height, rgba}]` before training on them:
    /// `[{name, warnings}]`.
    ///
    /// # Errors
    /// When a picture can't be read, or there is no model.
    #[wasm_bindgen(js_name = trainInspect)]
    pub fn train_inspect(&self, list: Array) -> JsResult<JsValue> {
        let side = self.mode.model()?.diffusion.native_size();
        let pictures = pictures(&list)?;
        let found = pictures.iter().zip(warnings(&pictures, side));
        let found = found.map(|(picture, warnings)| Inspected { name: &picture.name, warnings });
        to_js(&found.collect::<Vec<_>>())
    }

    /// What a run of these settings will need, `{modules, parameters, bytes, checkpointed,
    /// learningRate, notes}`, with `counts` `{train, heldOut, class}`.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    #[wasm_bindgen(js_name = trainEstimate)]
    pub fn train_estimate(&self, config: JsValue, counts: JsValue) -> JsResult<JsValue> {
        let count = |name: &str| property(&counts, name).as_f64().unwrap_or(0.0) as usize;
        let counts = ["train", "heldOut", "class"].map(count);
        let config: Config = parse("settings", &config)?;
        to_js(&self.estimate(&config, counts)?)
    }

    /// Starts preparing `[{name, caption, role, width, height, rgba}]`; a run before it ends.
    ///
    /// # Errors
    /// Names the setting or picture at fault.
    #[wasm_bindgen(js_name = trainBegin)]
    pub fn train_begin(&mut self, config: JsValue, list: Array) -> JsResult<()> {
        let model = self.without_run()?;
        memory::start();
        let pictures = pictures(&list)?;
        let mut config: Config = parse("settings", &config)?;
        let count = |role| pictures.iter().filter(|picture| picture.role == role).count();
        let counts = [Role::Train, Role::HeldOut, Role::Class].map(count);
        self.estimate(&config, counts)?.settle(&mut config);
        let pictures = Pictures::new(&model, pictures, config)?;
        self.mode = Mode::Preparing { model, pictures: Box::new(pictures) };
        Ok(())
    }

    /// Prepares the next picture: `{kind: "progress", done, total, what}`, at the end
    /// `{kind: "ready", summary}`.
    ///
    /// # Errors
    /// Names the picture or caption at fault.
    #[wasm_bindgen(js_name = trainPrepare)]
    pub async fn train_prepare(&mut self) -> JsResult<JsValue> {
        let (model, pictures) = self.mode.preparing()?;
        if let Some(progress) = pictures.advance(model).await? {
            return to_js(&progress);
        }
        let model = model.clone();
        let mode = std::mem::replace(&mut self.mode, Mode::Idle(model.clone()));
        let Mode::Preparing { pictures, .. } = mode else { return Ok(JsValue::NULL) };
        let run = pictures.finish(&model).await?;
        let summary = run.summary(&model.diffusion)?;
        self.mode = Mode::Training { model, run: Box::new(run) };
        to_js(&Prepared::Ready { summary })
    }

    /// Goes on with a run that was kept: its settings, its data set, and its state, if it had one.
    ///
    /// # Errors
    /// Names what is broken or belongs to another model.
    #[wasm_bindgen(js_name = trainResume)]
    pub async fn train_resume(
        &mut self,
        config: JsValue,
        dataset: Uint8Array,
        state: Option<Uint8Array>,
    ) -> JsResult<JsValue> {
        let model = self.without_run()?;
        let mut config: Config = parse("settings", &config)?;
        let dataset = Rc::new(Dataset::from_bytes(&dataset.to_vec())?);
        let count = |role| dataset.of(role).len();
        let counts = [Role::Train, Role::HeldOut, Role::Class].map(count);
        self.estimate(&config, counts)?.settle(&mut config);
        let mut run = Run::new(&model, config, dataset, Vec::new()).await?;
        let summary = run.summary(&model.diffusion)?;
        if let Some(state) = state {
            run.restore(&state)?;
        }
        self.mode = Mode::Training { model, run: Box::new(run) };
        to_js(&summary)
    }

    /// Times a step and takes it back, after another that warms up where steps are short:
    /// `{secondsPerStep, bytes, peakBytes}`.
    ///
    /// # Errors
    /// When no run is ready or the device failed.
    #[wasm_bindgen(js_name = trainMeasure)]
    pub async fn train_measure(&mut self) -> JsResult<JsValue> {
        let (model, run) = self.mode.training()?;
        to_js(&run.measure(&model.diffusion).await?)
    }

    /// Latents and text embeddings as a file, to be kept with the run.
    ///
    /// # Errors
    /// Before the pictures are prepared.
    #[wasm_bindgen(js_name = trainDataset)]
    pub fn train_dataset(&mut self) -> JsResult<Uint8Array> {
        Ok(Uint8Array::from(self.mode.training()?.1.dataset()?.as_slice()))
    }

    /// One optimiser step; see `web/protocol.js` for what comes.
    ///
    /// # Errors
    /// When no run is ready, it is finished, or the device failed.
    #[wasm_bindgen(js_name = trainPull)]
    pub async fn train_pull(&mut self) -> JsResult<JsValue> {
        let (model, run) = self.ready_to_train()?;
        to_js(&run.step(&model.diffusion).await?)
    }

    /// Whether the state after the last step is to be measured: `{evaluation, unmeasured}`, the latter
    /// in words where there is no time for what is due. `finished`: no step comes after it.
    ///
    /// # Errors
    /// When no run is ready.
    #[wasm_bindgen(js_name = trainDue)]
    pub fn train_due(&mut self, finished: bool) -> JsResult<JsValue> {
        to_js(&self.mode.training()?.1.due(finished))
    }

    /// Starts an evaluation of the present state.
    ///
    /// # Errors
    /// When no run is ready.
    #[wasm_bindgen(js_name = trainEvaluate)]
    pub fn train_evaluate(&mut self) -> JsResult<()> {
        self.mode.training()?.1.evaluate();
        Ok(())
    }

    /// The next forward pass of it: `{kind: "progress", fraction}`, at the end `{kind:
    /// "evaluation", ..}`.
    ///
    /// # Errors
    /// When none was started or the device failed.
    #[wasm_bindgen(js_name = trainEvaluationPull)]
    pub async fn train_evaluation_pull(&mut self) -> JsResult<JsValue> {
        to_js(&self.ready_to_train()?.1.evaluation_pull().await?)
    }

    /// Starts training on all pictures but one, each left out in turn; goes on where it was, if it
    /// has started already.
    ///
    /// # Errors
    /// When no run is ready, or there are too few pictures.
    #[wasm_bindgen(js_name = trainLeaveOneOut)]
    pub fn train_leave_one_out(&mut self) -> JsResult<()> {
        let (model, run) = self.ready_to_train()?;
        Ok(run.leave_one_out(model)?)
    }

    /// The next pass of it: `{kind: "progress", picture, done, pictures, fraction}`, at the end
    /// `{kind: "leaveOneOut", pictures, mean, words}`.
    ///
    /// # Errors
    /// When none was started, one of the runs can't go on, or the device failed: it is dropped then.
    #[wasm_bindgen(js_name = trainLeaveOneOutPull)]
    pub async fn train_leave_one_out_pull(&mut self) -> JsResult<JsValue> {
        to_js(&self.ready_to_train()?.1.leave_one_out_pull().await?)
    }

    /// A picture with the adapter has taken so long, as the page saw it; `preview`: it was one that
    /// was due.
    #[wasm_bindgen(js_name = trainDrew)]
    pub fn train_drew(&mut self, seconds: f64, preview: bool) {
        // Without a run nobody counts.
        if let Ok((_, run)) = self.mode.training() {
            run.drew(seconds, preview);
        }
    }

    /// All that resuming bit for bit needs.
    ///
    /// # Errors
    /// When no run is ready.
    #[wasm_bindgen(js_name = trainState)]
    pub fn train_state(&mut self) -> JsResult<Uint8Array> {
        let state = self.mode.training()?.1.trainer().state()?;
        Ok(Uint8Array::from(state.as_slice()))
    }

    /// Rewinds, or goes on elsewhere; gives the step.
    ///
    /// # Errors
    /// When the state is broken or of another run; all stays as it is then.
    #[wasm_bindgen(js_name = trainRestore)]
    pub fn train_restore(&mut self, state: Uint8Array) -> JsResult<f64> {
        Ok(self.mode.training()?.1.restore(&state)? as f64)
    }

    /// Starts a picture with a state of the trained adapter (none: the present one) at a strength,
    /// and no other adapter; `pull` and `stop` as for any picture.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    #[wasm_bindgen(js_name = trainPicture)]
    pub fn train_picture(
        &mut self,
        state: Option<Uint8Array>,
        strength: f32,
        settings: JsValue,
    ) -> JsResult<()> {
        self.stop();
        let (model, run) = self.mode.training()?;
        let trainer = run.trainer();
        let modules = match state {
            None => trainer.modules(),
            Some(state) => {
                let parameters = trainer.parameters_of(&state.to_vec())?;
                trainer.adapter().to_modules(&parameters)
            }
        };
        let model = model.diffusion.clone();
        model.mute_adapters(true);
        let id = model.attach_modules("the adapter in training", modules)?;
        let started = model
            .set_adapter(id, true, strength, strength)
            .map_err(Failure::from)
            .and_then(|()| self.new_job(&settings, &JsValue::UNDEFINED, Some(id)));
        match started {
            Ok(job) => self.mode.draw(job),
            Err(error) => {
                model.remove_adapter(id)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the adapter: `{files: [{name, bytes}]}`, read again and compared. `request`: `{state,
    /// format, half, title, thumbnail}`.
    ///
    /// # Errors
    /// When the adapter changes nothing, or the format has no room for its kind.
    #[wasm_bindgen(js_name = trainExport)]
    pub fn train_export(&mut self, request: JsValue) -> JsResult<JsValue> {
        let (state, rest) = apart(&request, "state")?;
        let mut request: Request = parse("settings", &rest)?;
        request.date.get_or_insert_with(|| Date::new_0().to_iso_string().into());
        let (_, run) = self.mode.training()?;
        let files = run
            .export(state.dyn_into().ok(), &request)?
            .into_iter()
            .map(|file| File { name: file.name, bytes: Uint8Array::from(file.bytes.as_slice()) });
        to_js(&Files { files: files.collect() })
    }

    /// Drops the run.
    #[wasm_bindgen(js_name = trainEnd)]
    pub fn train_end(&mut self) {
        self.mode.end_run();
    }
}

impl Engine {
    /// What a run needs, of what there is; refuses one that can't fit.
    fn estimate(&self, config: &Config, counts: [usize; 3]) -> JsResult<Estimate> {
        let model = &self.mode.model()?.diffusion;
        // Text encoder and VAE leave for a run.
        let taken = self.device.held().saturating_sub(model.encoder_bytes());
        let offer = self.device.offer(taken);
        let offer = Offer { free: offer.workspace(), buffer: offer.buffer };
        Ok(offer.estimate(model, config, counts)?)
    }

    /// The model, once no run and no picture uses it.
    fn without_run(&mut self) -> JsResult<Model> {
        self.mode.end_run();
        self.mode.stop();
        Ok(self.mode.model()?.clone())
    }

    /// The run before a pass of it, with nothing in the way that pictures left behind.
    fn ready_to_train(&mut self) -> JsResult<(&Model, &mut Run)> {
        let (model, run) = self.mode.training()?;
        model.diffusion.mute_adapters(true);
        // A preview, or pictures drawn in a pause, brought text encoder and VAE back. Those of a
        // large model (0.8 GB in SD 1.5) are memory that a pass needs; they go only now and not
        // after each picture, so that several in a row load them once. Those of a small one
        // cost next to nothing, and loading them for every preview would.
        if model.sizes.are_large() {
            model.diffusion.release_encoders();
        }
        Ok((model, run))
    }
}
