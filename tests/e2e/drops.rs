//! What is dropped, and which of it is meant: adapters by their bytes, captions by their paths, and of many
//! files those that a person chooses.

use serde_json::json;

use crate::files::{self, here};
use crate::page::Page;

/// Names, switches and strengths of the cards.
#[track_caller]
fn cards(page: &Page) -> Vec<String> {
    let found = page.browser.run(
        "return [...document.querySelectorAll('.card')].map((card) => [
           card.querySelector('.name').textContent,
           card.querySelector('.enabled').checked ? 'on' : 'off',
           card.querySelector('.strength input').value].join(' '))",
        json!([]),
    );
    found.as_array().unwrap().iter().map(|card| card.as_str().unwrap().into()).collect()
}

/// An adapter with other numbers than ink, and as many bytes.
fn trained_anew(by: u8) -> Vec<u8> {
    let mut bytes = files::ink();
    *bytes.last_mut().unwrap() ^= by;
    bytes
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn adapters_are_told_apart_by_their_bytes() {
    let page = Page::new("identity");
    page.open("?backend=cpu");
    crate::ask_for_reference_run(&page);
    page.set("#steps", 2);
    crate::drop_ink(&page);
    page.generate();
    page.wait_for_strength("1");
    let ink = page.now();
    page.slide_to("0.5");

    crate::drop_ink(&page);
    assert!(page.take_message().contains("already here; see its card"));
    crate::drop_ink_as(&page, "copy.safetensors");
    assert!(page.take_message().contains("already here, as ink.kohya: the same bytes"));
    assert_eq!(cards(&page), ["ink.kohya on 0.5"]);
    page.step("the same bytes are the same adapter, whatever their name");

    page.drop_files(&[&page.file("ink.kohya.safetensors", &trained_anew(0x40))]);
    let message = page.take_message();
    assert!(message.contains("took the place of the older one"), "{message}");
    assert_eq!(cards(&page), ["ink.kohya on 0.5"]);
    page.slide_to("1");
    page.now().assert_differs_at_all(&ink, "the newer file's picture");
    page.step("a newer file of the same name and size takes its place, at its strength");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn of_many_files_a_person_chooses() {
    let page = Page::new("many");
    page.open("?backend=cpu");
    let folder = page.folder.join("loras");
    std::fs::create_dir_all(&folder).unwrap();
    for i in 1..=3 {
        std::fs::write(folder.join(format!("some {i}.safetensors")), trained_anew(i)).unwrap();
    }
    page.drop_files(&[&folder]);
    assert!(page.take_message().contains("3 adapters are here, switched off"));
    assert_eq!(cards(&page), ["some 1 off 1", "some 2 off 1", "some 3 off 1"]);
    page.step("a few adapters come switched off");

    let models = page.folder.join("models");
    std::fs::create_dir_all(&models).unwrap();
    let checkpoint = files::single_file();
    for name in ["first", "second"] {
        std::fs::write(models.join(format!("{name}.safetensors")), &checkpoint).unwrap();
    }
    for i in 4..=12 {
        std::fs::write(models.join(format!("more {i:02}.safetensors")), trained_anew(i)).unwrap();
    }
    page.drop_files(&[&models]);
    let asked = "return document.querySelector('#choice-dialog').open
       && document.querySelector('#choice-heading').textContent === arguments[0]";
    page.wait_with("the choice of a model", asked, json!(["Which model?"]));
    page.screenshot("drops-1-models");
    page.browser.click("#choice-options label:nth-child(2)");
    page.browser.click("#choice-yes");
    page.wait_with("the choice of adapters", asked, json!(["Which adapters?"]));
    assert_eq!(page.text("#model-name"), "second");
    page.screenshot("drops-2-adapters");
    page.browser.click("#choice-options label:nth-child(9)");
    page.browser.click("#choice-yes");
    page.wait("its card", "return document.querySelectorAll('.card').length === 4");
    assert_eq!(cards(&page)[3], "more 12 off 1");
    page.step("of two models one is loaded, of nine adapters one is added");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn captions_belong_to_the_picture_beside_them() {
    let page = Page::new("captions");
    page.open("?backend=cpu");
    let set = page.folder.join("set");
    for (folder, picture, caption) in
        [("10_rocket", "rocket", "a rocket"), ("5_house", "house", "a house")]
    {
        let folder = set.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let picture = here(&format!("web/demo-model/training-set/{picture}.png"));
        std::fs::copy(picture, folder.join("1.png")).unwrap();
        std::fs::write(folder.join("1.txt"), caption).unwrap();
    }
    page.drop_files(&[&set]);
    page.wait("two pictures", "return document.body.dataset.pictures === '2'");
    let message = page.take_message();
    assert!(message.contains("5_house, 10_rocket") && message.contains("not used"), "{message}");
    let mut captions: Vec<_> = page.captions().into_iter().map(|(_, caption)| caption).collect();
    captions.sort();
    assert_eq!(captions, ["a house", "a rocket"]);
    page.step("each picture has the caption of its folder");
    page.assert_no_console_errors();
}
