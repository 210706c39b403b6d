//! How often a run stops to draw a picture for looking at. A picture costs as much as several steps
//! (12 denoising steps under guidance are 24 forward passes, a training step about three), so how
//! much of the run's time pictures may take is a limit here, not an accident.

use crate::training::settings::config::Config;

pub use crate::training::settings::choices::Previews;

/// Of training and drawing together, what drawing may take.
pub const SHARE: f64 = 0.2;

/// The time that a run has spent, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    training: f64,
    drawing: f64,
    /// What the picture drawn last took: the next one will take about the same.
    picture: f64,
}

impl Spent {
    /// A step was done.
    pub fn trained(&mut self, seconds: f64) {
        self.training += seconds;
    }

    /// A preview was drawn.
    pub fn drew(&mut self, seconds: f64) {
        self.drawing += seconds;
        self.picture = seconds;
    }

    /// A picture was drawn that somebody asked for: it tells what one takes, and is no preview.
    pub fn drew_apart(&mut self, seconds: f64) {
        self.picture = seconds;
    }

    /// Whether a preview is to be drawn after this step.
    pub fn is_preview_due(&self, config: &Config, step: usize, finished: bool) -> bool {
        let due = |every: usize| every > 0 && step.is_multiple_of(every);
        match config.previews {
            Previews::Off => false,
            Previews::Few if config.preview_every == 0 => false,
            Previews::Few => finished || (due(config.preview_every) && self.has_room()),
            Previews::Snapshots => finished || due(config.snapshot_every),
        }
    }

    fn has_room(&self) -> bool {
        let drawing = self.drawing + self.picture;
        drawing <= SHARE * (self.training + drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` steps of a second each, a picture taking so many; the steps with a preview.
    fn drawn(config: &Config, picture: f64) -> (Vec<usize>, Spent) {
        let mut spent = Spent::default();
        // The base's picture comes before the first step.
        spent.drew_apart(picture);
        let mut drawn = Vec::new();
        for step in 1..=config.steps {
            spent.trained(1.0);
            if spent.is_preview_due(config, step, step == config.steps) {
                spent.drew(picture);
                drawn.push(step);
            }
        }
        (drawn, spent)
    }

    #[test]
    fn few_previews_take_their_share_and_no_more() {
        let config = Config { steps: 100, preview_every: 10, ..Config::default() };
        assert_eq!(config.previews, Previews::Few);
        // Cheap ones are all drawn.
        assert_eq!(drawn(&config, 1.0).0, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
        // Dear ones as far as there is room: 6 s of 30 s of training and drawing are a fifth.
        let (steps, spent) = drawn(&config, 6.0);
        assert_eq!(steps, [30, 50, 80, 100]);
        let before_last = spent.drawing - 6.0;
        assert!(before_last <= SHARE * (spent.training + before_last), "{spent:?}");
        // One that takes longer than the run is drawn at its end alone.
        assert_eq!(drawn(&config, 1000.0).0, [100]);
        for picture in [0.5, 2.0, 3.0, 7.0, 11.0, 20.0] {
            let (steps, spent) = drawn(&config, picture);
            let before_last = spent.drawing - picture;
            let share = before_last / (spent.training + before_last);
            assert!(share <= SHARE, "{picture} s a picture, at {steps:?}: {share}");
        }
    }

    #[test]
    fn off_draws_none_and_snapshots_draw_all() {
        let config =
            |previews| Config { previews, steps: 30, snapshot_every: 10, ..Config::default() };
        assert_eq!(drawn(&config(Previews::Off), 1.0).0, [0; 0]);
        assert_eq!(drawn(&config(Previews::Snapshots), 1000.0).0, [10, 20, 30]);
        let none = Config { preview_every: 0, ..config(Previews::Few) };
        assert_eq!(drawn(&none, 1.0).0, [0; 0]);
        let last = Config { snapshot_every: 0, ..config(Previews::Snapshots) };
        assert_eq!(drawn(&last, 1.0).0, [30]);
    }
}
