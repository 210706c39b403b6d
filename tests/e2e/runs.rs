//! Nothing that a person made is lost: pictures before there is a run, and runs, while tabs die, disks are full and
//! others look at the same list.

use serde_json::{Value, json};

use crate::page::Page;

/// Every file that the page keeps, with its size.
const FILES: &str = "
    const found = {};
    const walk = async (folder, path) => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === 'directory') await walk(handle, `${path}${name}/`);
        else found[path + name] = (await handle.getFile()).size;
      }
    };
    await walk(await navigator.storage.getDirectory(), '');
    return found;";

#[track_caller]
fn files(page: &Page) -> Vec<(String, u64)> {
    let found = page.browser.run(&format!("return (async () => {{ {FILES} }})()"), json!([]));
    let found = found.as_object().unwrap().clone();
    found.into_iter().map(|(path, size)| (path, size.as_u64().unwrap())).collect()
}

/// The record of the only run there is.
#[track_caller]
fn record(page: &Page) -> Value {
    page.browser.run(
        "return (async () => {
           const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle('runs');
           for await (const folder of runs.values()) {
             const file = await (await folder.getFileHandle('run.json')).getFile();
             return JSON.parse(await file.text());
           }
         })()",
        json!([]),
    )
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_base_model_is_known_by_what_is_in_it() {
    let page = Page::new("base-model");
    page.open("");
    let found = page.browser.run(
        "return import('./web/train/base-model.js').then(async ({ baseModelOf }) => {
           const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 9)) & 255);
           const model = (path, data) => [{ path, blob: new Blob([data]) }];
           const whole = await baseModelOf(model('model.safetensors', bytes));
           const renamed = await baseModelOf(model('another name.safetensors', bytes));
           const inParts = [...model('unet/a.safetensors', bytes.subarray(0, 9)), ...model('vae/b.safetensors', bytes)];
           const parts = await baseModelOf(inParts);
           const turned = await baseModelOf([...inParts].reverse().concat(model('tokenizer/vocab.json', 'other words')));
           const others = [];
           for (const [from, to] of [[8, 9], [1_000_000, 1_100_000], [2_999_999, 3_000_000]]) {
             const other = bytes.slice();
             for (let i = from; i < to; i += 1) other[i] ^= 1;
             others.push(await baseModelOf(model('model.safetensors', other)));
           }
           others.push(await baseModelOf(model('model.safetensors', bytes.subarray(1))), parts);
           return { known: typeof whole === 'string' && whole.length === 64 && renamed === whole && turned === parts,
                    apart: new Set([whole, ...others]).size === others.length + 1 };
         })",
        json!([]),
    );
    assert_eq!(found, json!({ "known": true, "apart": true }));
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn pictures_and_captions_are_there_after_a_reload() {
    let page = Page::new("draft");
    page.open("?backend=cpu");
    page.set_up_a_run(6, 0);
    page.set(".picture textarea", "my own words");
    page.press(".picture .role");
    let before = page.captions();
    assert!(before.iter().any(|(_, caption)| caption == "my own words"), "{before:?}");
    page.wait(
        "the draft to be kept",
        "return navigator.storage.getDirectory().then((root) => root.getDirectoryHandle('draft'))
           .then((folder) => folder.getFileHandle('draft.json')).then((handle) => handle.getFile())
           .then((file) => file.text())
           .then((text) => JSON.parse(text).pictures.some(({ caption, role }) => caption === 'my own words' && role === 'heldOut'))
           .catch(() => false)",
    );
    page.reload();
    page.wait("the pictures", "return document.body.dataset.pictures === '8'");
    assert_eq!(page.captions(), before);
    let held = "return document.querySelector('.picture .role').dataset.role === 'heldOut'";
    assert!(page.is(held), "it is held out as before");
    page.step("pictures, captions and roles are back after a reload");

    // a run takes them over, and another one can be begun with them
    page.start_training();
    page.wait_for_training("finished");
    let kept = files(&page);
    let drafted = kept.iter().filter(|(path, _)| path.starts_with("draft/pictures/")).count();
    assert_eq!(drafted, 0, "{kept:?}");
    page.reload();
    page.wait("the run in the list", "return document.querySelector('[data-testid=run]')");
    assert!(page.is("return document.body.dataset.pictures === '0'"), "the run has them");
    page.step("a run takes them over");

    // pictures that were waiting are there again when a run that was opened is put away
    page.drop_files(&[&crate::files::here("web/demo-model/training-set/rocket.png")]);
    page.wait("one picture", "return document.body.dataset.pictures === '1'");
    page.set(".picture textarea", "by night");
    page.press("[data-testid=run] .quiet");
    page.wait("the run's pictures", "return document.body.dataset.pictures === '8'");
    page.wait_for_training("finished");
    page.browser.click("#train-new");
    page.wait("the picture of before", "return document.body.dataset.pictures === '1'");
    assert_eq!(page.captions(), [("rocket.png".into(), "by night".into())]);
    page.reload();
    page.wait("the picture", "return document.body.dataset.pictures === '1'");
    assert_eq!(page.captions(), [("rocket.png".into(), "by night".into())]);
    page.step("opening a run leaves them alone");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_full_disk_leaves_the_state_before() {
    let page = Page::new("full-disk");
    page.open("?backend=cpu");
    page.set_up_a_run(400, 0);
    page.start_training();
    page.wait_for_step(4);
    page.browser.click("#train-pause");
    page.wait_for_training("paused");
    let at = page.train_step();
    page.wait_until_kept(at);
    let kept = record(&page);
    assert_eq!((&kept["step"], &kept["version"]), (&json!(at), &json!(2)));
    page.step(&format!("paused and kept at step {at}"));

    // less than one more state takes
    page.browser.run(
        "return navigator.storage.estimate().then(({ usage }) => { window.usage = usage; })",
        json!([]),
    );
    let usage = page.browser.run("return window.usage", json!([])).as_u64().unwrap();
    let origin = page.browser.run("return location.origin", json!([]));
    page.browser.devtools(
        "Storage.overrideQuotaForOrigin",
        json!({ "origin": origin, "quotaSize": usage + 300_000 }),
    );
    page.browser.click("#train-start");
    page.wait_for_training("running");
    page.wait_for_step(at + 3);
    page.browser.click("#train-pause");
    let message = page.take_message();
    assert!(
        message.contains("room for files is full") && message.contains(&format!("up to step {at}")),
        "{message}"
    );
    page.wait_for_training("paused");
    assert!(page.train_step() > at, "it goes on in this tab");
    page.screenshot("runs-1-full-disk");
    let now = record(&page);
    assert_eq!((&now["step"], &now["state"]), (&kept["step"], &kept["state"]), "nothing changed");
    for (path, size) in files(&page) {
        assert!(size > 0, "{path} is empty");
    }
    page.step("a full disk is said, and what is kept stays");

    page.reload();
    page.wait("the run to be offered", "return !document.querySelector('#resume-offer').hidden");
    assert_eq!(page.text("[data-testid=resume-run]"), format!("Continue from step {at} of 400"));
    page.watch_steps();
    page.press("[data-testid=resume-run]");
    page.wait_for_step(at + 1);
    assert_eq!(page.steps_seen()[..3], [0, at, at + 1]);
    page.step("after a reload it goes on from there");

    // with room again, all is kept
    page.browser.devtools("Storage.overrideQuotaForOrigin", json!({ "origin": origin }));
    page.browser.click("#train-pause");
    page.wait("a pause", "return document.body.dataset.train === 'paused'");
    let at = page.train_step();
    page.wait("the state to be kept", "return document.body.dataset.train === 'paused'");
    page.wait_until_kept(at);
    page.step("with room again it is kept");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_run_that_another_tab_has_is_not_deleted() {
    let page = Page::new("runs-tabs");
    page.open("?backend=cpu");
    page.set_up_a_run(400, 0);
    page.start_training();
    page.wait_for_step(2);
    page.browser.click("#train-pause");
    page.wait_for_training("paused");
    page.browser.click("#train-new");
    page.wait("the run in the list", "return document.querySelector('[data-testid=run]')");

    let (second, first) = page.browser.another_tab();
    page.browser.switch_to(&second);
    page.open("?backend=cpu");
    page.browser.click("[data-testid=tab-train]");
    page.wait("the run to be offered", "return !document.querySelector('#resume-offer').hidden");
    page.press("[data-testid=resume-run]");
    page.wait_for_training("running");
    page.browser.switch_to(&first);
    page.wait(
        "the list to say so",
        "return document.querySelector('[data-testid=run]')?.textContent.includes('open in another tab')",
    );
    assert!(page.is("return document.querySelector('[data-testid=run] .icon').disabled"));
    page.step("the list of one tab says what another does");

    // a list that is old may still ask
    page.browser.run(
        "return import('./web/runs.js').then(async ({ Runs }) => {
           const runs = await Runs.open();
           const [{ id }] = await runs.list();
           window.refused = await runs.remove(id).then(() => 'deleted', (error) => error.message);
         })",
        json!([]),
    );
    let refused = page.browser.run("return window.refused", json!([]));
    assert!(refused.as_str().unwrap().contains("Another tab"), "{refused}");
    assert!(files(&page).len() > 8, "its files are there");
    page.browser.switch_to(&second);
    let at = page.train_step();
    page.wait_for_step(at + 1);
    page.browser.click("#train-pause");
    page.wait_for_training("paused");
    page.browser.click("#train-new");
    page.browser.switch_to(&first);
    page.wait(
        "the run to be free",
        "return !document.querySelector('[data-testid=run] .icon')?.disabled",
    );
    page.press("[data-testid=run] .icon");
    page.confirm("cannot be undone");
    page.wait("the run to go", "return !document.querySelector('[data-testid=run]')");
    page.browser.switch_to(&second);
    page.wait(
        "it to go from the other list",
        "return !document.querySelector('[data-testid=run]')",
    );
    assert_eq!(files(&page).iter().filter(|(path, _)| path.starts_with("runs/")).count(), 0);
    page.step("put away there, it can be deleted here");
    page.assert_no_console_errors();
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn broken_runs_are_listed_and_older_ones_open() {
    let page = Page::new("runs-old");
    page.open("?backend=cpu");
    page.set_up_a_run(6, 2);
    page.start_training();
    page.wait_for_training("finished");
    page.browser.click("#train-new");
    page.wait("the run in the list", "return document.querySelector('[data-testid=run]')");
    // as an earlier page kept it: names without numbers, no sizes, nothing owed
    page.browser.run(
        "return (async () => {
           const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle('runs');
           const put = async (folder, name, data) => {
             const stream = await (await folder.getFileHandle(name, { create: true })).createWritable();
             await stream.write(data);
             await stream.close();
           };
           for await (const folder of runs.values()) {
             const text = await (await (await folder.getFileHandle('run.json')).getFile()).text();
             const { files, owed, written, log, ...record } = JSON.parse(text);
             const move = async (path, to) => {
               const [name, file] = path.split('/');
               const inside = await folder.getDirectoryHandle(name);
               const blob = await (await inside.getFileHandle(file)).getFile();
               await put(to ? inside : folder, to ?? 'log.jsonl', blob);
               await inside.removeEntry(file);
             };
             await move(log);
             for (const mark of record.snapshots) {
               const padded = String(mark.step).padStart(6, '0');
               await move(mark.path, `${padded}.bin`);
               if (mark.image) await move(mark.image, `${padded}.png`);
             }
             const snapshots = record.snapshots.map(({ step, serial, preview }) => ({ step, serial, preview }));
             const last = snapshots.at(-1).step;
             await put(folder, 'run.json', JSON.stringify({ ...record, version: 1, step: last, snapshots,
               state: `snapshots/${String(last).padStart(6, '0')}.bin` }));
           }
           const broken = await runs.getDirectoryHandle('20990101000000000', { create: true });
           await broken.getFileHandle('run.json', { create: true });
           await put(broken, 'dataset.bin', new Uint8Array(2_000_000));
         })()",
        json!([]),
    );
    page.reload();
    page.wait("both runs", "return document.querySelectorAll('[data-testid=run]').length === 2");
    let broken = "[data-testid=run][data-run='20990101000000000']";
    let words = page.text(broken);
    assert!(words.contains("can't be read") && words.contains("2 MB"), "{words}");
    page.look_at(broken);
    page.screenshot("runs-2-broken");
    page.press(&format!("{broken} .icon"));
    page.confirm("2 MB");
    page.wait("it to go", "return document.querySelectorAll('[data-testid=run]').length === 1");
    page.step("a run that can't be read is listed, and deleted");

    page.press("[data-testid=run] .quiet");
    page.wait(
        "its timeline",
        "return document.querySelector('#timeline').dataset.steps === '0,2,4,6'",
    );
    page.wait_for_training("finished");
    assert_eq!(page.points(), 6, "its losses");
    page.choose_step(4);
    page.watch_steps();
    page.press("[data-testid=rewind]");
    page.confirm("Rewind to step 4?");
    page.wait(
        "the end once more",
        "return window.trainSteps.includes(4) && document.body.dataset.train === 'finished'",
    );
    assert_eq!(page.timeline(), [0, 2, 4, 6]);
    let now = record(&page);
    assert!(now["files"].as_object().is_some_and(|files| !files.is_empty()), "{now}");
    assert_eq!(now["status"], "finished");
    page.step("a run of an earlier page opens and goes on");
    page.assert_no_console_errors();
}

/// The disk is slow, so that Cancel comes while pictures and data set are written.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn cancel_works_to_the_end_of_preparing() {
    let page = Page::new("runs-cancel");
    page.open("?backend=cpu");
    page.set_up_a_run(400, 0);
    page.browser.run(
        "const write = FileSystemFileHandle.prototype.createWritable;
         FileSystemFileHandle.prototype.createWritable = async function (...words) {
           await new Promise((resolve) => setTimeout(resolve, 200));
           return write.apply(this, words);
         };",
        json!([]),
    );
    page.wait_for_training("ready");
    page.browser.click("#train-start");
    page.wait(
        "the run's pictures to be written",
        "return document.querySelector('#train-status').textContent.includes('keeping pictures')",
    );
    page.browser.click("#train-stop");
    page.wait("the way back", "return document.body.dataset.train === 'ready'");
    assert_eq!(page.messages(), "");
    assert!(page.is("return document.body.dataset.trainStep === '0'"), "it never ran");
    let left: Vec<_> =
        files(&page).into_iter().filter(|(path, _)| path.starts_with("runs/")).collect();
    assert_eq!(left, [], "nothing of it stays");
    assert!(page.is("return document.body.dataset.pictures === '8'"), "the pictures are there");
    page.step("cancelled while it was being written");
    page.assert_no_console_errors();
}
