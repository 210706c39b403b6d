//! Training, as JavaScript calls it: the contract stands in `web/protocol.js`.

use std::rc::Rc;

use js_sys::{Array, JSON, Object, Reflect, Uint8Array, Uint8ClampedArray};
use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

use super::engine::{Engine, JsResult, read, set_picture, to_js, unreadable};
use crate::error::Error;
use crate::pipelines::StableDiffusion;
use crate::training::export::Request;
use crate::training::picture::warnings;
use crate::training::{
    Config, Dataset, Estimate, Evaluation, LeaveOneOut, Picture, Preparation, Preset, Role, Setup,
    Trainer, estimate, previews,
};

/// A run, from its pictures on.
#[derive(Default)]
pub(super) struct Training {
    config: Config,
    preparation: Option<Preparation>,
    dataset: Option<Rc<Dataset>>,
    trainer: Option<Trainer>,
    evaluation: Option<Evaluation>,
    leave_one_out: Option<LeaveOneOut>,
    spent: previews::Spent,
    notes: Vec<String>,
    /// Final latents of the last picture drawn with the adapter.
    latents: Vec<f32>,
}

impl Training {
    /// A picture was drawn with the adapter.
    pub(super) fn pictured(&mut self, latents: Vec<f32>) {
        self.latents = latents;
    }

    fn trainer(&mut self) -> JsResult<&mut Trainer> {
        self.trainer.as_mut().ok_or_else(not_ready)
    }
}

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
        to_js(&preset.config(self.model()?.native_size()))
    }

    /// What to know of pictures `[{name, width, height, rgba}]` before training on them:
    /// `[{name, warnings}]`.
    ///
    /// # Errors
    /// When a picture can't be read, or there is no model.
    #[wasm_bindgen(js_name = trainInspect)]
    pub fn train_inspect(&self, pictures: Array) -> JsResult<JsValue> {
        let side = self.model()?.native_size();
        let pictures: Vec<Picture> =
            pictures.iter().map(|entry| picture(&entry)).collect::<JsResult<_>>()?;
        let found = pictures.iter().zip(warnings(&pictures, side)).map(
            |(picture, warnings)| serde_json::json!({ "name": picture.name, "warnings": warnings }),
        );
        to_js(&found.collect::<Vec<_>>())
    }

    /// What a run of these settings will need, `{modules, parameters, bytes, checkpointed,
    /// learningRate, notes}`, with `counts` `{train, heldOut, class}`.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    #[wasm_bindgen(js_name = trainEstimate)]
    pub fn train_estimate(&self, config: JsValue, counts: JsValue) -> JsResult<JsValue> {
        let count = |name: &str| {
            let value = Reflect::get(&counts, &name.into()).unwrap_or_default();
            value.as_f64().unwrap_or(0.0) as usize
        };
        let counts = [count("train"), count("heldOut"), count("class")];
        to_js(&estimate(&*self.model()?, &parse::<Config>(&config)?, counts)?)
    }

    /// Starts preparing `[{name, caption, role, width, height, rgba}]`; a run before it ends.
    ///
    /// # Errors
    /// Names the setting or picture at fault.
    #[wasm_bindgen(js_name = trainBegin)]
    pub fn train_begin(&mut self, config: JsValue, pictures: Array) -> JsResult<()> {
        self.train_end();
        let config: Config = parse(&config)?;
        let pictures = pictures.iter().map(|entry| picture(&entry)).collect::<JsResult<_>>()?;
        let preparation = Preparation::new(self.model()?, pictures, &config)?;
        self.training =
            Some(Training { config, preparation: Some(preparation), ..Training::default() });
        Ok(())
    }

    /// Prepares the next picture: `{kind: "progress", done, total, what}`, at the end
    /// `{kind: "ready", summary}`.
    ///
    /// # Errors
    /// Names the picture or caption at fault.
    #[wasm_bindgen(js_name = trainPrepare)]
    pub async fn train_prepare(&mut self) -> JsResult<JsValue> {
        self.model()?.mute_adapters(true);
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        let preparation = training.preparation.as_mut().ok_or_else(not_ready)?;
        let what = preparation.current().to_string();
        if let Some(tensor) = preparation.advance()? {
            preparation.conclude(&read(tensor).await?)?;
            let (done, total) = preparation.progress();
            return to_js(&serde_json::json!({
                "kind": "progress", "done": done, "total": total, "what": what,
            }));
        }
        training.notes = preparation.notes().to_vec();
        let dataset = training.preparation.take().map(Preparation::finish);
        training.dataset = dataset.map(Rc::new);
        let summary = self.train_set_up().await?;
        to_js(&serde_json::json!({ "kind": "ready", "summary": summary }))
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
        self.train_end();
        let config: Config = parse(&config)?;
        let dataset = Rc::new(Dataset::from_bytes(&dataset.to_vec())?);
        self.training = Some(Training { config, dataset: Some(dataset), ..Training::default() });
        let summary = self.train_set_up().await?;
        if let Some(state) = state {
            self.train_restore(state)?;
        }
        to_js(&summary)
    }

    /// Times two steps and takes them back: `{secondsPerStep, bytes, peakBytes}`.
    ///
    /// # Errors
    /// When no run is ready or the device failed.
    #[wasm_bindgen(js_name = trainMeasure)]
    pub async fn train_measure(&mut self) -> JsResult<JsValue> {
        let before = self.training.as_mut().ok_or_else(not_ready)?.trainer()?.state()?;
        let mut seconds = 0.0;
        for _ in 0..2 {
            // The first one compiles kernels; the second counts.
            let started = js_sys::Date::now();
            let trainer = self.training.as_mut().ok_or_else(not_ready)?.trainer()?;
            if !trainer.finished() {
                step(trainer).await?;
            }
            seconds = (js_sys::Date::now() - started) / 1000.0;
        }
        let summary = self.train_summary()?;
        let trainer = self.training.as_mut().ok_or_else(not_ready)?.trainer()?;
        trainer.restore(&before)?;
        to_js(&serde_json::json!({
            "secondsPerStep": seconds, "bytes": summary.bytes, "peakBytes": trainer.peak_bytes(),
        }))
    }

    /// Latents and text embeddings as a file, to be kept with the run.
    ///
    /// # Errors
    /// Before the pictures are prepared.
    #[wasm_bindgen(js_name = trainDataset)]
    pub fn train_dataset(&self) -> JsResult<Uint8Array> {
        let dataset = self.training.as_ref().and_then(|training| training.dataset.as_ref());
        let bytes = dataset.ok_or_else(not_ready)?.to_bytes()?;
        Ok(Uint8Array::from(bytes.as_slice()))
    }

    /// One optimiser step; see `web/protocol.js` for what comes.
    ///
    /// # Errors
    /// When no run is ready, it is finished, or the device failed.
    #[wasm_bindgen(js_name = trainPull)]
    pub async fn train_pull(&mut self) -> JsResult<JsValue> {
        let model = self.ready_to_train()?;
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        let started = js_sys::Date::now();
        let report = step(training.trainer()?).await?;
        let seconds = (js_sys::Date::now() - started) / 1000.0;
        training.spent.trained(seconds);
        let spent = training.spent;
        let trainer = training.trainer()?;
        let finished = trainer.finished();
        let config = trainer.config();
        let due = |every: usize| finished || (every > 0 && report.step.is_multiple_of(every));
        let mut event = serde_json::json!(report);
        event["kind"] = "step".into();
        event["seconds"] = seconds.into();
        event["peakBytes"] = serde_json::json!(trainer.peak_bytes());
        event["finished"] = finished.into();
        event["due"] = serde_json::json!({
            "evaluation": due(config.evaluate_every),
            "snapshot": due(config.snapshot_every),
            "preview": spent.is_preview_due(config, report.step, finished),
        });
        let event = to_js(&event)?;
        let mut thumbnail = JsValue::NULL;
        if let Some((latents, [height, width])) = trainer.first_guess() {
            let picture = Object::new();
            set_picture(&picture, &model.latent_rgb.preview(latents, width, height))?;
            thumbnail = picture.into();
        }
        Reflect::set(&event, &"thumbnail".into(), &thumbnail)
            .map_err(|_| unreadable("thumbnail"))?;
        Ok(event)
    }

    /// Starts an evaluation of the present state.
    ///
    /// # Errors
    /// When no run is ready.
    #[wasm_bindgen(js_name = trainEvaluate)]
    pub fn train_evaluate(&mut self) -> JsResult<()> {
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        training.evaluation = Some(Evaluation::new(training.trainer()?));
        Ok(())
    }

    /// The next forward pass of it: `{kind: "progress", fraction}`, at the end `{kind:
    /// "evaluation", ..}`.
    ///
    /// # Errors
    /// When none was started or the device failed.
    #[wasm_bindgen(js_name = trainEvaluationPull)]
    pub async fn train_evaluation_pull(&mut self) -> JsResult<JsValue> {
        self.ready_to_train()?;
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        let mut evaluation = training.evaluation.take().ok_or_else(not_ready)?;
        if let Some(tensor) = evaluation.advance(training.trainer()?)? {
            evaluation.conclude(read(tensor).await?);
            let fraction = evaluation.fraction();
            training.evaluation = Some(evaluation);
            return to_js(&serde_json::json!({ "kind": "progress", "fraction": fraction }));
        }
        let latents = std::mem::take(&mut training.latents);
        let trainer = training.trainer()?;
        let mut event = serde_json::json!(evaluation.finish(trainer));
        event["kind"] = "evaluation".into();
        event["copying"] = match trainer.nearest(&latents) {
            Some((name, similarity)) if !latents.is_empty() => {
                serde_json::json!({ "name": name, "similarity": similarity })
            }
            _ => serde_json::Value::Null,
        };
        training.latents = latents;
        to_js(&event)
    }

    /// Starts training on all pictures but one, each left out in turn; goes on where it was, if it
    /// has started already.
    ///
    /// # Errors
    /// When no run is ready, or there are too few pictures.
    #[wasm_bindgen(js_name = trainLeaveOneOut)]
    pub fn train_leave_one_out(&mut self) -> JsResult<()> {
        let model = self.ready_to_train()?;
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        if training.leave_one_out.is_none() {
            let dataset = training.dataset.clone().ok_or_else(not_ready)?;
            let config = training.config.clone();
            training.leave_one_out = Some(LeaveOneOut::new(model, config, dataset)?);
        }
        Ok(())
    }

    /// The next pass of it: `{kind: "progress", picture, done, pictures, fraction}`, at the end
    /// `{kind: "leaveOneOut", pictures, mean, words}`.
    ///
    /// # Errors
    /// When none was started, one of the runs can't go on, or the device failed: it is dropped then.
    #[wasm_bindgen(js_name = trainLeaveOneOutPull)]
    pub async fn train_leave_one_out_pull(&mut self) -> JsResult<JsValue> {
        self.ready_to_train()?;
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        let mut work = training.leave_one_out.take().ok_or_else(not_ready)?;
        let Some(tensor) = work.advance()? else {
            let mut event = serde_json::json!(work.finish());
            event["kind"] = "leaveOneOut".into();
            return to_js(&event);
        };
        work.conclude(read(tensor).await?)?;
        let mut event = serde_json::json!(work.progress());
        event["kind"] = "progress".into();
        training.leave_one_out = Some(work);
        to_js(&event)
    }

    /// A picture with the adapter has taken so long, as the page saw it; `preview`: it was one that
    /// was due.
    #[wasm_bindgen(js_name = trainDrew)]
    pub fn train_drew(&mut self, seconds: f64, preview: bool) {
        let Some(training) = &mut self.training else { return };
        match preview {
            true => training.spent.drew(seconds),
            false => training.spent.drew_apart(seconds),
        }
    }

    /// All that resuming bit for bit needs.
    ///
    /// # Errors
    /// When no run is ready.
    #[wasm_bindgen(js_name = trainState)]
    pub fn train_state(&mut self) -> JsResult<Uint8Array> {
        let state = self.training.as_mut().ok_or_else(not_ready)?.trainer()?.state()?;
        Ok(Uint8Array::from(state.as_slice()))
    }

    /// Rewinds, or goes on elsewhere; gives the step.
    ///
    /// # Errors
    /// When the state is broken or of another run; all stays as it is then.
    #[wasm_bindgen(js_name = trainRestore)]
    pub fn train_restore(&mut self, state: Uint8Array) -> JsResult<f64> {
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        training.evaluation = None;
        let trainer = training.trainer()?;
        trainer.restore(&state.to_vec())?;
        Ok(trainer.step() as f64)
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
        let model = self.model()?;
        let trainer = self.training.as_mut().ok_or_else(not_ready)?.trainer()?;
        let modules = match state {
            None => trainer.modules(),
            Some(state) => {
                let parameters = trainer.parameters_of(&state.to_vec())?;
                trainer.adapter().to_modules(&parameters)
            }
        };
        model.mute_adapters(true);
        let id = model.attach_modules("the adapter in training", modules)?;
        let started = model
            .set_adapter(id, true, strength, strength)
            .map_err(JsError::from)
            .and_then(|()| self.new_job(settings, Some(id)));
        match started {
            Ok(job) => self.job = Some(job),
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
        let state = Reflect::get(&request, &"state".into()).unwrap_or_default();
        let request = {
            let copy = Object::assign(&Object::new(), request.unchecked_ref());
            Reflect::delete_property(&copy, &"state".into()).map_err(|_| unreadable("state"))?;
            let mut request: Request = parse(&copy)?;
            request.date =
                request.date.or_else(|| Some(js_sys::Date::new_0().to_iso_string().into()));
            request
        };
        let trainer = self.training.as_mut().ok_or_else(not_ready)?.trainer()?;
        let files = match state.dyn_into::<Uint8Array>() {
            Err(_) => trainer.export(&request)?,
            Ok(state) => {
                let present = trainer.state()?;
                trainer.restore(&state.to_vec())?;
                let files = trainer.export(&request);
                trainer.restore(&present)?;
                files?
            }
        };
        let list = Array::new();
        for file in files {
            let entry = Object::new();
            let bytes = Uint8Array::from(file.bytes.as_slice());
            for (key, value) in [("name", JsValue::from(file.name)), ("bytes", bytes.into())] {
                Reflect::set(&entry, &key.into(), &value).map_err(|_| unreadable(key))?;
            }
            list.push(&entry);
        }
        let answer = Object::new();
        Reflect::set(&answer, &"files".into(), &list).map_err(|_| unreadable("files"))?;
        Ok(answer.into())
    }

    /// Drops the run.
    #[wasm_bindgen(js_name = trainEnd)]
    pub fn train_end(&mut self) {
        if self.training.take().is_some() {
            self.stop();
        }
    }
}

impl Engine {
    /// The model before a pass of a run, with nothing in the way that pictures left behind.
    fn ready_to_train(&self) -> JsResult<Rc<StableDiffusion>> {
        let model = self.model()?;
        model.mute_adapters(true);
        // A preview, or pictures drawn in a pause, brought text encoder and VAE back. Those of a
        // large model (0.8 GB in SD 1.5) are memory that a pass needs; they go only now and not
        // after each picture, so that several in a row load them once. Those of a small one
        // cost next to nothing, and loading them for every preview would.
        if self.large {
            model.release_encoders();
        }
        Ok(model)
    }

    async fn train_set_up(&mut self) -> JsResult<Estimate> {
        let model = self.model()?;
        let training = self.training.as_mut().ok_or_else(not_ready)?;
        let dataset = training.dataset.clone().ok_or_else(not_ready)?;
        // Latents and text embeddings are there: nothing of training asks for the encoders again.
        model.release_encoders();
        let mut setup = Setup::new(model, training.config.clone(), dataset, None)?;
        while let Some(tensor) = setup.advance()? {
            setup.conclude(read(tensor).await?)?;
        }
        training.trainer = Some(setup.finish()?);
        self.train_summary()
    }

    fn train_summary(&self) -> JsResult<Estimate> {
        let training = self.training.as_ref().ok_or_else(not_ready)?;
        let (Some(trainer), Some(dataset)) = (&training.trainer, &training.dataset) else {
            return Err(not_ready());
        };
        let counts = [Role::Train, Role::HeldOut, Role::Class].map(|role| dataset.of(role).len());
        let mut summary = estimate(&*self.model()?, trainer.config(), counts)?;
        summary.learning_rate = Some(trainer.learning_rate());
        summary.checkpointed = trainer.checkpointed();
        summary.notes.extend(training.notes.iter().cloned());
        Ok(summary)
    }
}

/// One whole optimiser step.
async fn step(trainer: &mut Trainer) -> JsResult<crate::training::StepReport> {
    loop {
        let values = read(trainer.advance()?).await?;
        if let Some(report) = trainer.conclude(&values)? {
            return Ok(report);
        }
    }
}

fn not_ready() -> JsError {
    Error::setting("run", "is not ready", "Prepare its pictures first").into()
}

/// By way of JSON, so that a wrong field is named as it is on the command line.
fn parse<T: DeserializeOwned>(value: &JsValue) -> JsResult<T> {
    let json = JSON::stringify(value).map_err(|_| unreadable("settings"))?;
    serde_json::from_str(&String::from(json)).map_err(|error| {
        Error::setting("settings", error.to_string(), "Check the values in the form").into()
    })
}

fn picture(entry: &JsValue) -> JsResult<Picture> {
    let get = |key: &str| Reflect::get(entry, &key.into()).unwrap_or_default();
    let text = |key: &str| get(key).as_string().unwrap_or_default();
    let role = match text("role").as_str() {
        "heldOut" => Role::HeldOut,
        "class" => Role::Class,
        _ => Role::Train,
    };
    let rgba: Uint8ClampedArray = get("rgba").dyn_into().map_err(|_| unreadable("rgba"))?;
    let size = ["width", "height"].map(|key| get(key).as_f64().unwrap_or(0.0) as usize);
    Ok(Picture::new(text("name"), text("caption"), role, size, rgba.to_vec())?)
}
