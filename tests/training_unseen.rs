//! Leaving each picture out in turn: the same as training without it by hand, and nothing of the
//! picture in the adapter that judges it.

mod tiny;
mod tuning;

use std::rc::Rc;

use lorakeet::pipelines::StableDiffusion;
use lorakeet::training::leave_one_out::{LeaveOneOut, Progress, Report};
use lorakeet::training::trainer::read;
use lorakeet::training::{Config, Dataset, Role, estimate};
use serde_json::{Value, json};
use tuning::{brisk, config, evaluate, model, run, trainer};

/// Three pictures to train on, one held out and one of the class, in an order of their own.
fn pictures() -> Dataset {
    let mut dataset = tuning::dataset(&[[8, 8], [8, 8], [6, 10], [8, 8], [8, 8]]);
    dataset.examples[1].role = Role::HeldOut;
    dataset.examples[3].role = Role::Class;
    dataset
}

fn settings(json: Value) -> Config {
    let mut json = brisk(json);
    json["steps"] = 3.into();
    config(json)
}

/// The whole of it, and what it said of its progress after each pass.
fn leave_one_out(
    model: &Rc<StableDiffusion>,
    config: &Config,
    dataset: &Dataset,
) -> (Report, Vec<Progress>) {
    let (config, dataset) = (config.clone(), Rc::new(dataset.clone()));
    let mut work = LeaveOneOut::new(model.clone(), config, dataset).unwrap();
    let mut told = vec![work.progress()];
    while let Some(tensor) = work.advance().unwrap() {
        work.conclude(read(tensor).unwrap()).unwrap();
        told.push(work.progress());
    }
    (work.finish(), told)
}

#[test]
fn each_picture_is_judged_by_a_run_without_it() {
    let model = model();
    for json in [
        json!({"seed": 4, "accumulation": 2, "timesteps": "stratified"}),
        json!({"kind": "dora", "prior": {"weight": 0.5}}),
        json!({"init": "pissa"}),
    ] {
        let (config, dataset) = (settings(json.clone()), pictures());
        let (report, told) = leave_one_out(&model, &config, &dataset);
        let names: Vec<&str> = report.pictures.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["picture 0", "picture 2", "picture 4"], "those to train on, {json}");

        let mut sum = 0.0;
        for (place, judged) in [0, 2, 4].into_iter().zip(&report.pictures) {
            let mut dataset = dataset.clone();
            dataset.examples[place].role = Role::HeldOut;
            dataset.examples.remove(1);
            let mut alone = trainer(&model, &config, &dataset);
            run(&mut alone, config.steps);
            let by_hand = evaluate(&mut alone).held_out.unwrap();
            assert_eq!(judged.stable, by_hand, "{json}: {}", judged.name);
            assert!((judged.stable.ratio - 1.0).abs() > 1e-4, "{json}: it has learned nothing");
            sum += by_hand.ratio;
        }
        assert!((report.mean.ratio - sum / 3.0).abs() < 1e-12, "{json}");
        assert!(report.words.contains("% of the base"), "{}", report.words);

        let (first, last) = (&told[0], &told[told.len() - 1]);
        assert_eq!((first.fraction, first.done, first.pictures), (0.0, 0, 3));
        assert_eq!((last.fraction, last.done, last.pictures), (1.0, 2, 3), "{last:?}");
        assert!(told.windows(2).all(|two| two[0].fraction <= two[1].fraction), "{told:?}");
        let steps = told.iter().filter(|progress| progress.picture == "picture 2").count();
        assert!(steps >= config.steps * config.accumulation, "{steps}: {told:?}");
    }
}

/// Each judge hangs on the others' pictures and not on the one that it judges, nor on those held out.
#[test]
fn nothing_of_a_picture_is_in_its_judge() {
    let model = model();
    let config = settings(json!({}));
    let (before, _) = leave_one_out(&model, &config, &pictures());
    let mut changed = pictures();
    changed.examples[1].latents.mean.fill(7.0);
    let (after, _) = leave_one_out(&model, &config, &changed);
    assert_eq!(before, after, "a picture that is held out plays no part");

    let mut changed = pictures();
    changed.examples[0].latents.mean.iter_mut().for_each(|x| *x = -*x);
    let (after, _) = leave_one_out(&model, &config, &changed);
    for (i, (before, after)) in before.pictures.iter().zip(&after.pictures).enumerate() {
        assert_ne!(before, after, "picture {i}");
    }
    // The judge of picture 0 is the same: were it shown the old picture, it would say the same.
    let judge = |dataset: &Dataset| {
        let mut dataset = dataset.clone();
        dataset.examples[0].role = Role::HeldOut;
        let mut trainer = trainer(&model, &config, &dataset);
        run(&mut trainer, config.steps);
        tuning::bits(&trainer.adapter().parameters)
    };
    assert_eq!(judge(&pictures()), judge(&changed));
}

#[test]
fn too_few_pictures_are_refused_and_the_work_is_told_before() {
    let model = model();
    let config = settings(json!({"leaveOneOut": true}));
    let mut one = pictures();
    one.examples.truncate(2);
    let Err(error) = LeaveOneOut::new(model.clone(), config.clone(), Rc::new(one)) else {
        panic!("one picture was left out, and none stayed");
    };
    let error = error.to_string();
    assert!(error.starts_with("leaveOneOut: with 1 training picture"), "{error}");

    let told = |pictures, config: &Config| estimate(&model, config, pictures);
    let note = "Leaving one out in turn trains 5 adapters more, after the run.".to_string();
    assert!(told([5, 1, 0], &config).unwrap().notes.contains(&note));
    let error = told([1, 0, 0], &config).unwrap_err().to_string();
    assert!(error.starts_with("leaveOneOut: "), "{error}");
    // Pictures that the run will hold out by itself are none to leave out; those marked count apart.
    let holding = Config { hold_out: 3, ..config.clone() };
    assert!(told([8, 0, 0], &holding).unwrap().notes.contains(&note));
    assert!(told([5, 2, 0], &holding).unwrap().notes.contains(&note));
    assert!(told([4, 0, 0], &holding).is_err());
    let off = Config { leave_one_out: false, ..config };
    assert!(!told([5, 1, 0], &off).unwrap().notes.contains(&note));
    assert!(told([1, 0, 0], &off).is_ok());
}

/// One of the runs comes to NaN: the message names the picture and what to do.
#[test]
fn a_run_that_breaks_is_told_by_its_picture() {
    let (model, config) = (model(), settings(json!({})));
    let mut work = LeaveOneOut::new(model, config, Rc::new(pictures())).unwrap();
    // The norms of the weights, which come first, are good; every pass of the first run is not.
    let mut is_first = true;
    let error = loop {
        let mut values = read(work.advance().unwrap().unwrap()).unwrap();
        if !std::mem::take(&mut is_first) {
            values.fill(f32::NAN);
        }
        if let Err(error) = work.conclude(values) {
            break error.to_string();
        }
        assert!(work.judged().is_empty(), "the run came through");
    };
    assert!(error.starts_with("leaveOneOut: without picture 0: 3 steps in a row"), "{error}");
}
