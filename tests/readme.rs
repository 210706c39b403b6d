//! What the README says of settings is what the code has.

use lorakeet::training::Config;
use serde_json::{Value, json};

#[test]
fn readme_shows_every_training_setting_with_its_default() {
    let readme = include_str!("../README.md");
    let block = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
    let defaults = json!(Config::default());
    let shown: Value = serde_json::from_str(block.unwrap()).unwrap_or_default();
    assert_eq!(shown, defaults, "\n{}", serde_json::to_string_pretty(&defaults).unwrap());
}
