//! What an evaluation means, in a word and in a sentence.

use serde::Serialize;

use crate::training::run::history::Evaluated;

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It still gets better.
    Learning,
    /// It gets no better.
    Settled,
    /// Better on what it was trained on, worse on what it wasn't.
    Memorising,
    /// It has changed what it wasn't meant to.
    Forgetting,
}

/// Improvement of the judged ratio per evaluation below which nothing happens any more.
const STILL: f64 = 0.002;
/// Share of what was gained on held-out pictures that may be lost again.
const LOST: f64 = 0.05;
/// Drift above which the base is being forgotten: the answer to the blank prompt has moved by more
/// than the base is wrong there itself.
const FAR: f64 = 1.0;

/// Change of a mean ratio on unseen pictures that means nothing.
const NOTHING: f64 = 0.01;

pub(super) fn verdict(history: &[Evaluated], now: &Evaluated) -> Verdict {
    if now.drift > FAR {
        return Verdict::Forgetting;
    }
    let best = history.iter().map(Evaluated::judged).fold(f64::MAX, f64::min);
    if now.held_out.is_some() && best < now.judged() {
        let lost = (now.judged() - best) / (1.0 - best).max(1e-9);
        if lost > LOST {
            return Verdict::Memorising;
        }
    }
    // No gain over the last three evaluations together.
    let [.., third, _, _] = history else { return Verdict::Learning };
    let gain = (third.judged() - now.judged()) / third.judged().max(1e-9);
    if gain < 3.0 * STILL { Verdict::Settled } else { Verdict::Learning }
}

/// What leaving each picture out in turn has found.
pub(super) fn unseen(mean: f64, ratios: &[f64]) -> String {
    let percent = |ratio: f64| format!("{:.0} %", 100.0 * ratio);
    let (least, most) = ratios.iter().fold((f64::MAX, 0f64), |(a, b), &x| (a.min(x), b.max(x)));
    let meaning = if mean < 1.0 - NOTHING {
        "what it learns helps with pictures that it never saw"
    } else if mean <= 1.0 + NOTHING {
        "what it learns is of no use to pictures that it never saw: it knows its own by heart"
    } else {
        "it makes pictures that it never saw worse: train fewer steps, or with a gentler strength"
    };
    format!(
        "Pictures left out come to {} of the base model's loss (from {} to {}): {meaning}.",
        percent(mean),
        percent(least),
        percent(most)
    )
}

pub(super) fn words(verdict: Verdict, history: &[Evaluated]) -> String {
    let best = history.iter().min_by(|a, b| a.judged().total_cmp(&b.judged()));
    let best = best.map_or(0, |best| best.step);
    let held = history.last().is_some_and(|last| last.held_out.is_some());
    match verdict {
        Verdict::Learning if held => "Still learning: it does better on pictures it never saw.".into(),
        Verdict::Learning => {
            "Still learning. No picture is held out, so memorising can't be told from it.".into()
        }
        Verdict::Settled => format!("It has settled: step {best} is as good as any."),
        Verdict::Memorising => {
            format!("Memorising: pictures it never saw were better at step {best}.")
        }
        Verdict::Forgetting => {
            "Forgetting: it changes the blank prompt as much as its own. Rewind, or switch on prior \
             preservation."
                .into()
        }
    }
}
