//! Models and adapters that stay: kept, there at the next visit, renamed, deleted, cleared by the browser, and the same
//! in two tabs.

use serde_json::{Value, json};

use crate::page::Page;

/// Names and what is said of each, in the library's list.
#[track_caller]
fn entries(page: &Page) -> Vec<(String, String)> {
    let found = page.browser.run(
        "return [...document.querySelectorAll('#library-list .entry')].map((entry) =>
           ['.entry-name', '.entry-words'].map((part) => entry.querySelector(part).textContent))",
        json!([]),
    );
    let text = |value: &Value| value.as_str().unwrap().to_string();
    found.as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

#[track_caller]
pub fn wait_for_entries(page: &Page, count: usize) {
    page.wait_with(
        &format!("{count} whole entries in the library"),
        "return document.querySelectorAll('#library-list .entry[data-state=whole]').length === arguments[0]
           && document.querySelectorAll('#library-list .entry').length === arguments[0]",
        json!([count]),
    );
}

pub fn unfold(page: &Page) {
    page.browser.run("document.querySelector('#library').open = true", json!([]));
}

/// Presses a button of an entry, unfolded or not.
#[track_caller]
pub fn press(page: &Page, name: &str, button: &str) {
    let pressed = page.browser.run(
        "const entry = [...document.querySelectorAll('#library-list .entry')]
           .find((entry) => entry.querySelector('.entry-name').textContent === arguments[0]);
         const button = entry?.querySelector(arguments[1]);
         if (!button || button.disabled || button.hidden) return false;
         entry.querySelector('details').open = true;
         button.click();
         return true;",
        json!([name, button]),
    );
    assert_eq!(pressed, true, "{name} has no {button} to press. {}", page.describe());
}

#[track_caller]
pub fn delete(page: &Page, name: &str) {
    press(page, name, ".entry-delete");
    page.wait("the question", "return document.querySelector('#confirm-dialog').open");
    page.browser.click("#confirm-yes");
}

#[track_caller]
fn wait_for_model(page: &Page, name: &str) {
    page.wait_with(
        &format!("{name} to be loaded"),
        "return document.querySelector('#model-name').textContent === arguments[0]
           && document.body.dataset.state === 'ready'",
        json!([name]),
    );
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn what_is_kept_is_there_at_the_next_visit() {
    let page = Page::new("library");
    page.open("");
    let file = page.file("tiny-sd.safetensors", &crate::files::single_file());
    page.browser.type_into("#file-input", file.to_str().unwrap());
    wait_for_model(&page, "tiny-sd");
    assert_eq!(entries(&page), [], "nothing is kept without a word");
    page.screenshot("library-1-offer");
    page.browser.click("#keep-model input");
    wait_for_entries(&page, 1);
    page.step("a model is kept");
    crate::drop_ink(&page);
    page.browser.click("#keep-adapters input");
    wait_for_entries(&page, 2);
    page.step("and an adapter");
    for (field, value) in [("#steps", "2"), ("#width", "64"), ("#height", "64"), ("#seed", "7")] {
        page.set(field, value);
    }
    page.set("#prompt", "a cat");
    page.set(".card .strength input[type=range]", "0.6");
    page.generate();
    page.wait_for_strength("0.6");
    let before = page.now();
    page.wait(
        "the strength to be kept",
        "return import('./web/library/library.js').then(({ Library }) => new Library().list())
           .then((list) => list.some(({ strength }) => strength?.unet === 0.6))",
    );

    page.reload();
    wait_for_model(&page, "tiny-sd");
    unfold(&page);
    page.screenshot("library-2-next-visit");
    page.step("the model of the last visit opens by itself");
    press(&page, "ink.kohya", ".entry-use");
    page.wait("the adapter's card", "return document.querySelector('.card') !== null");
    page.wait_until_ready();
    let strength = page
        .browser
        .run("return document.querySelector('.card .strength input[type=range]').value", json!([]));
    assert_eq!(strength, "0.6");
    for (field, value) in [("#steps", "2"), ("#width", "64"), ("#height", "64"), ("#seed", "7")] {
        page.set(field, value);
    }
    page.set("#prompt", "a cat");
    page.generate();
    page.wait_for_strength("0.6");
    page.now().assert_same(&before, "model, adapter and strength are those of before");
    page.step("an adapter from the library draws as it did");

    // the same file once more is no second copy
    page.browser.type_into("#file-input", file.to_str().unwrap());
    page.wait(
        "the model to be known again",
        "return document.querySelector('#keep-model .keep-words').textContent.startsWith('Kept')
           && document.body.dataset.state === 'ready'",
    );
    wait_for_entries(&page, 2);
    page.step("a file that is kept is known again");

    press(&page, "ink.kohya", "summary");
    page.browser.run(
        "const form = [...document.querySelectorAll('.entry')].find((e) => e.textContent.includes('ink.kohya')).querySelector('form');
         form.querySelector('input').value = 'black ink';
         form.requestSubmit();",
        json!([]),
    );
    page.wait(
        "the new name",
        "return [...document.querySelectorAll('.entry-name')].some((name) => name.textContent === 'black ink')",
    );
    delete(&page, "black ink");
    wait_for_entries(&page, 1);
    assert!(page.is("return document.querySelector('.card') === null"), "its card goes too");
    delete(&page, "tiny-sd");
    wait_for_entries(&page, 0);
    wait_for_model(&page, "Emoji Diffusion");
    let files = page.browser.run(
        "return navigator.storage.getDirectory().then((root) => root.getDirectoryHandle('library'))
           .then((folder) => Array.fromAsync(folder.keys()))",
        json!([]),
    );
    assert_eq!(files, json!([]), "nothing of it stays on disk");
    page.step("renamed and deleted");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_folder_is_one_entry_and_what_the_browser_cleared_is_said() {
    let page = Page::new("evicted");
    page.open("");
    page.drop_files(&[&crate::files::here("web/demo-model/model")]);
    wait_for_model(&page, "model");
    page.browser.click("#keep-model input");
    wait_for_entries(&page, 1);
    page.step("a folder is kept as one entry");
    page.reload();
    wait_for_model(&page, "model");
    page.generate();
    page.step("and opens by itself");

    page.browser.run(
        "return navigator.storage.getDirectory().then((root) => root.getDirectoryHandle('library'))
           .then(async (folder) => {
             const names = await Array.fromAsync(folder.keys());
             await folder.removeEntry(names[0]);
           })",
        json!([]),
    );
    page.reload();
    wait_for_model(&page, "Emoji Diffusion");
    let message = page.take_message();
    assert!(
        message.contains("was not opened by itself") && message.contains("cleared"),
        "{message}"
    );
    unfold(&page);
    let said = &entries(&page)[0].1;
    assert!(said.contains("its files are gone"), "{said}");
    page.screenshot("library-3-evicted");
    delete(&page, "model");
    wait_for_entries(&page, 0);
    page.step("what is gone is said, and can be deleted");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn two_tabs_have_the_same_library() {
    let page = Page::new("library-tabs");
    page.open("");
    crate::drop_ink(&page);
    page.browser.click("#keep-adapters input");
    wait_for_entries(&page, 1);
    // the copy in the library is what is used from here on
    page.browser.click(".card .remove");
    press(&page, "ink.kohya", ".entry-use");
    page.wait("the adapter's card", "return document.querySelector('.card') !== null");
    page.wait_until_ready();

    let (second, first) = page.browser.another_tab();
    page.browser.switch_to(&second);
    page.open("");
    wait_for_entries(&page, 1);
    delete(&page, "ink.kohya");
    let message = page.take_message();
    assert!(
        message.contains("was not deleted") && message.contains("Another tab uses it"),
        "{message}"
    );
    wait_for_entries(&page, 1);
    page.step("what another tab uses can't be deleted");

    page.browser.switch_to(&first);
    page.browser.click(".card .remove");
    page.wait("the card to go", "return document.querySelector('.card') === null");
    page.wait_until_ready();
    page.browser.switch_to(&second);
    delete(&page, "ink.kohya");
    wait_for_entries(&page, 0);
    page.browser.switch_to(&first);
    wait_for_entries(&page, 0);
    page.step("what one tab deletes goes from the other's list");
    page.assert_no_console_errors();
}

/// A handle to a file stands for one that was dropped: where the browser gives them, nothing is copied.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_place_is_remembered_without_a_copy() {
    let page = Page::new("places");
    page.open("");
    let result = page.browser.run(
        "return (async () => {
           const { Library } = await import('./web/library/library.js');
           const library = new Library();
           const root = await navigator.storage.getDirectory();
           const handle = await root.getFileHandle('elsewhere.safetensors', { create: true });
           const stream = await handle.createWritable();
           await stream.write('hello');
           await stream.close();
           const file = await handle.getFile();
           const { entry } = await library.keep({ kind: 'adapter', name: 'place' }, [{ path: 'p.safetensors', blob: file }], { handle });
           const opened = await library.open(entry.id);
           const text = await opened.files[0].blob.text();
           library.release(entry.id);
           const copies = await Array.fromAsync((await root.getDirectoryHandle('library')).keys());
           await root.removeEntry('elsewhere.safetensors');
           const gone = await library.open(entry.id).then(() => '', (error) => error.message);
           return { by: entry.by, sum: entry.files[0].sha256, text, copies, gone };
         })()",
        json!([]),
    );
    assert_eq!((&result["by"], &result["text"]), (&json!("place"), &json!("hello")));
    // of "hello": a known answer of SHA-256
    let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(result["sum"], sum);
    assert_eq!(result["copies"], json!([]));
    assert!(result["gone"].as_str().unwrap().contains("moved, renamed or deleted"), "{result}");
    page.assert_no_console_errors();
}

/// Against WebCrypto's, over lengths around the blocks' ends.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn sums_are_sha256() {
    let page = Page::new("sha256");
    page.open("");
    let wrong = page.browser.run(
        "return (async () => {
           const { Sha256 } = await import('./web/library/sha256.js');
           const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
           const wrong = [];
           for (const length of [0, 1, 3, 55, 56, 57, 63, 64, 65, 111, 119, 120, 128, 1000, 65537, 3000001]) {
             const bytes = Uint8Array.from({ length }, (_, i) => i * 167 + (i >> 8) & 255);
             const sum = new Sha256();
             for (let at = 0, step = 1; at < length; at += step, step = step * 5 % 4099 + 1) sum.update(bytes.subarray(at, Math.min(length, at + step)));
             if (sum.hex() !== hex(await crypto.subtle.digest('SHA-256', bytes))) wrong.push(length);
           }
           return wrong;
         })()",
        json!([]),
    );
    assert_eq!(wrong, json!([]));
}
