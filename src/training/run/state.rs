//! What a run is between two steps, and that as a safetensors file: everything that it needs to go on as
//! if nothing had happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::history::Evaluated;
use crate::error::{Error, Result};
use crate::training::optim::optimizer::{Optimizer, SQUARES, Scalars};
use crate::training::plan::grid::is_baseline;
use crate::training::settings::optimizer_config::OptimizerConfig;
use crate::training::trained::adapter::{Adapter, Piece};
use crate::weights::save::{Named, Precision, write};
use crate::weights::{Bytes, Index};

const FILE: &str = "the run's state";
const REMEDY: &str = "Go back to an earlier snapshot, or start the run anew";

/// What isn't a tensor.
#[derive(Serialize, Deserialize)]
struct Numbers {
    step: usize,
    skipped: usize,
    bad: usize,
    optimizer: Scalars,
    history: Vec<Evaluated>,
    /// The layers and factors that the vector is made of, and what the optimiser keeps of each.
    layout: String,
}

/// What a run is between two steps: plain data.
#[derive(Debug, Clone)]
pub struct State {
    /// The adapter with its parameters.
    pub adapter: Adapter,
    /// What the optimiser remembers.
    pub optimizer: Optimizer,
    /// Optimiser steps done.
    pub step: usize,
    /// Steps skipped.
    pub skipped: usize,
    /// Steps skipped in a row.
    pub bad: usize,
    /// The base model's losses on the grid of [`Evaluation`](crate::training::Evaluation).
    pub baseline: Option<Vec<f32>>,
    /// Evaluations so far.
    pub history: Vec<Evaluated>,
}

impl State {
    /// That of an adapter before the first step.
    ///
    /// # Errors
    /// A constant of the optimiser that is out of its range.
    pub fn new(adapter: Adapter, config: &OptimizerConfig) -> Result<Self> {
        let optimizer = Optimizer::new(config, &adapter.parameters)?;
        let (baseline, history) = (None, Vec::new());
        Ok(Self { adapter, optimizer, step: 0, skipped: 0, bad: 0, baseline, history })
    }

    /// Numbers on the host: parameters, what the optimiser keeps of each, and frozen factors.
    pub fn numbers(&self) -> usize {
        let frozen = self.adapter.modules.iter().filter_map(|module| module.frozen.as_ref());
        self.adapter.parameters.len()
            + self.optimizer.state().map(|(_, values)| values.len()).sum::<usize>()
            + frozen.map(|(down, up)| down.len() + up.len()).sum::<usize>()
    }

    /// Everything in it as a safetensors file. There is no random generator in it: draws are functions of seed
    /// and step.
    ///
    /// # Errors
    /// When it can't be written, which nothing in it should bring about.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensor = |name: &str, values: &[f32]| {
            Named::new(name.into(), vec![values.len()], values, Precision::F32)
        };
        let mut tensors = vec![tensor("parameters", &self.adapter.parameters)];
        for (name, values) in self.optimizer.state() {
            tensors.push(tensor(&format!("optimizer.{name}"), values));
        }
        if let Some(baseline) = &self.baseline {
            tensors.push(tensor("baseline", baseline));
        }
        let numbers = Numbers {
            step: self.step,
            skipped: self.skipped,
            bad: self.bad,
            optimizer: self.optimizer.scalars(),
            history: self.history.clone(),
            layout: self.layout(),
        };
        let json = serde_json::to_string(&numbers)
            .map_err(|error| Error::file(FILE, error.to_string(), REMEDY))?;
        write(&tensors, &BTreeMap::from([("run".to_string(), json)]))
    }

    /// The parameters in a state that [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn parameters_of(&self, bytes: &[u8]) -> Result<Vec<f32>> {
        let source = Bytes::new(FILE, bytes);
        let index = Index::read(&source)?;
        self.read(&source, &index).map(|(_, parameters)| parameters)
    }

    fn read(&self, source: &Bytes, index: &Index) -> Result<(Numbers, Vec<f32>)> {
        let json = index.metadata.get("run").map_or("", String::as_str);
        let numbers: Numbers = serde_json::from_str(json)
            .map_err(|error| Error::file(FILE, format!("can't be read ({error})"), REMEDY))?;
        if numbers.layout != self.layout() {
            let problem = "is of a run with another adapter, optimiser or model";
            return Err(Error::file(FILE, problem, "Open it with the settings it was made with"));
        }
        let parameters = index.read_f32(source, "parameters")?;
        if parameters.len() != self.adapter.parameters.len() {
            return Err(Error::key(FILE, "parameters", "is of another length", REMEDY));
        }
        if parameters.iter().any(|value| !value.is_finite()) {
            return Err(Error::key(FILE, "parameters", "holds NaN or infinity", REMEDY));
        }
        Ok((numbers, parameters))
    }

    /// Goes to a state that [`Self::to_bytes`] wrote: back in time, or on after a pause.
    ///
    /// # Errors
    /// Names what is missing, broken, or of another run; the state stays as it is then.
    pub fn restore(&mut self, bytes: &[u8], context: &Context) -> Result<()> {
        let source = Bytes::new(FILE, bytes);
        let index = Index::read(&source)?;
        let (numbers, parameters) = self.read(&source, &index)?;
        let values = |name: &str| index.read_f32(&source, name);
        // One bad number of these would be in the parameters after a step, and nothing would say why.
        for (name, _) in self.optimizer.state() {
            let key = format!("optimizer.{name}");
            // One that is missing is told below.
            let values = values(&key).unwrap_or_default();
            if values.iter().any(|value| !value.is_finite()) {
                return Err(Error::key(FILE, key, "holds NaN or infinity", REMEDY));
            }
            if name == SQUARES && values.iter().any(|&value| value < 0.0) {
                let problem = "is below 0, where it is a mean of squares";
                return Err(Error::key(FILE, key, problem, REMEDY));
            }
        }
        let optimizer = Optimizer::restore(
            &context.config.optimizer,
            parameters.len(),
            numbers.optimizer,
            |name| values(&format!("optimizer.{name}")).ok(),
        )?;
        let has_baseline = index.tensors.contains_key("baseline");
        let baseline = has_baseline.then(|| values("baseline")).transpose()?;
        let bad = |baseline: &Vec<f32>| !is_baseline(baseline, &context.dataset);
        if baseline.as_ref().is_some_and(bad) {
            let problem = "is not the base model's losses on the run's pictures";
            return Err(Error::key(FILE, "baseline", problem, REMEDY));
        }
        self.baseline = baseline;
        self.adapter.parameters = parameters;
        self.optimizer = optimizer;
        self.history = numbers.history;
        self.step = numbers.step;
        self.skipped = numbers.skipped;
        self.bad = numbers.bad;
        Ok(())
    }

    fn layout(&self) -> String {
        let pieces = self.adapter.modules.iter().flat_map(|module| {
            // What is added to the weight hangs on these, too.
            let (scale, frozen) = (module.scale, module.frozen.is_some());
            let name = move |piece: &Piece| {
                format!("{}.{} {:?} {scale} {frozen}\n", module.path, piece.name, piece.shape)
            };
            module.pieces.iter().map(name)
        });
        let optimizer = self.optimizer.state().map(|(name, _)| name);
        let layout = pieces.chain(optimizer.map(String::from)).collect::<String>();
        crate::weights::save::sha256(layout.as_bytes())
    }
}
