//! Pictures that PyTorch and diffusers made too (`tests/fixtures/demo-model/recipe/reference.py`).

use crate::files;
use crate::page::{Page, Picture};

pub const PROMPT: &str = "smiling face with sunglasses";
pub const SEED: u32 = 11;

pub fn reference(run: &str) -> Picture {
    Picture::read(&files::here(&format!("tests/fixtures/demo-model/reference/{run}.png")))
}

/// 3 levels at the worst pixel: sums in another order, then 20 steps and rounding to 255 levels.
#[track_caller]
pub fn assert_reference(picture: &Picture, run: &str) {
    picture.assert_close(&reference(run), 3, 0.2, run);
}

#[track_caller]
pub fn ask_for_reference_run(page: &Page) {
    page.set("#prompt", PROMPT);
    page.set("#seed", SEED);
    page.set("#scheduler", "ddim");
    page.set("#steps", 20);
    page.set("#guidance", 4);
}
