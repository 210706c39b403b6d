//! DPM-Solver++ 2M: <https://arxiv.org/abs/2211.01095>, `scheduling_dpmsolver_multistep.py`.

use super::config::{BetaSchedule, Settings, Spacing};
use super::{NoiseSchedule, Step, sigmas, timesteps, too_many};
use crate::error::Result;

/// The timesteps and noise levels (one more: the final one).
fn levels(settings: &Settings, noise: &NoiseSchedule, n: usize) -> Result<(Vec<usize>, Vec<f64>)> {
    let train = settings.num_train_timesteps;
    let table = noise.sigmas();
    let log_table: Vec<f32> = table.iter().map(|s| s.ln()).collect();
    let final_level = if settings.final_sigma_zero { 0.0 } else { f64::from(table[0]) };

    let (timesteps, mut levels): (Vec<usize>, Vec<f64>) = if settings.karras && train > 1 {
        let levels = sigmas::karras(f64::from(table[0]), f64::from(table[train - 1]), n);
        let rounds = settings.beta_schedule != BetaSchedule::SquaredcosCapV2;
        let timesteps = levels.iter().map(|&sigma| {
            let t = sigmas::sigma_to_t(sigma, &log_table);
            (if rounds { t.round_ties_even() } else { t }) as usize
        });
        (timesteps.collect(), levels)
    } else {
        // Timesteps whose half log-SNR lies below `lambda_min_clipped` are left out.
        let clipped = noise
            .alphas_cumprod
            .iter()
            .filter(|&&abar| {
                let abar = abar as f32;
                let lambda = abar.sqrt().ln() - (1.0 - abar).sqrt().ln();
                f64::from(lambda) < settings.lambda_min_clipped
            })
            .count();
        let last = train - clipped;
        let timesteps = match settings.spacing {
            Spacing::Linspace => {
                let points = timesteps::linspace(last.saturating_sub(1) as f64, n + 1);
                points.into_iter().skip(1).rev().map(|t| t.round_ties_even() as usize).collect()
            }
            Spacing::Leading => {
                let ratio = last / (n + 1);
                if ratio == 0 {
                    return Err(too_many(n, last.saturating_sub(1)));
                }
                let mut points = timesteps::leading(ratio, n + 1, settings.steps_offset);
                points.truncate(n);
                points
            }
            Spacing::Trailing => timesteps::trailing(last, train, n),
        };
        let levels = timesteps.iter().map(|&t| sigmas::interpolate(t as f64, &table)).collect();
        (timesteps, levels)
    };
    levels.push(final_level);
    Ok((timesteps, levels.into_iter().map(|sigma| f64::from(sigma as f32)).collect()))
}

/// The `n` steps.
pub(super) fn steps(settings: &Settings, noise: &NoiseSchedule, n: usize) -> Result<Vec<Step>> {
    let (timesteps, levels) = levels(settings, noise, n)?;
    let count = timesteps.len();
    // "Improve numerical stability for small number of steps"
    let euler_at_final = settings.euler_at_final
        || (settings.lower_order_final && count < 15)
        || settings.final_sigma_zero;

    let list = (0..count).map(|i| {
        let (from, to) = (levels[i], levels[i + 1]);
        // A level `sigma` is a sample `alpha * x0 + alpha * sigma * noise`, lambda = -ln(sigma).
        let alpha_from = 1.0 / (from * from + 1.0).sqrt();
        let alpha_to = 1.0 / (to * to + 1.0).sqrt();
        let step = Step::variance_preserving(
            timesteps[i] as f64,
            settings.prediction,
            alpha_from,
            alpha_from * from,
            None,
        );
        let from_sample = (alpha_to * to) / (alpha_from * from);
        // exp(-h) - 1 with h = lambda_to - lambda_from
        let expm1 = to / from - 1.0;
        let first = -alpha_to * expm1;

        let earlier = match i.checked_sub(1) {
            Some(before) if settings.solver_order > 1 && !(i + 1 == count && euler_at_final) => {
                Some(levels[before])
            }
            _ => None,
        };
        // Rounding can give two equal levels at many steps; diffusers divides by zero there.
        let Some(before) = earlier.filter(|&before| before != from && to != from) else {
            return Step { from_sample, from_x0: first, ..step };
        };
        let h = (from / to).ln();
        let ratio = (before / from).ln() / h;
        let second = if settings.heun { alpha_to * (expm1 / h + 1.0) } else { 0.5 * first };
        Step {
            from_sample,
            from_x0: first + second / ratio,
            from_previous_x0: -second / ratio,
            ..step
        }
    });
    Ok(list.collect())
}
