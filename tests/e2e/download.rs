//! Downloads by address: what goes out and when, and that a file comes whole through cuts, a closed tab and a full disk.

use std::time::Duration;

use serde_json::{Value, json};

use crate::host::Host;
use crate::library::{delete, press, unfold, wait_for_entries};
use crate::page::Page;

/// A .safetensors file of 24 MB with a header and nothing that the engine is asked for.
fn file() -> Vec<u8> {
    let mut tensors = crate::files::named(&["model.diffusion_model.input_blocks.0.0.weight"]);
    let mut state = 1u32;
    tensors.extend((0..24_000_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223); // Numerical Recipes' constants
        (state >> 24) as u8
    }));
    tensors
}

/// Pastes an address into the dialog.
#[track_caller]
fn paste(page: &Page, address: &str) {
    unfold(page);
    page.browser.click("#download-open");
    page.set("#download-address", address);
}

#[track_caller]
fn go(page: &Page) {
    page.browser.click("#download-go");
}

/// Of what lies in the library, by WebCrypto.
#[track_caller]
fn sums_on_disk(page: &Page) -> Value {
    page.browser.run(
        "return (async () => {
           const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('library');
           const sums = [];
           for await (const handle of folder.values()) {
             const sum = await crypto.subtle.digest('SHA-256', await (await handle.getFile()).arrayBuffer());
             sums.push([...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
           }
           return sums;
         })()",
        json!([]),
    )
}

fn sum_of(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_download_comes_whole_through_twenty_cuts() {
    let host = Host::new();
    let bytes = file();
    host.put("/dream.safetensors", bytes.clone());
    host.cut(20, 14);
    let page = Page::new("download");
    page.open("");
    paste(&page, &format!("{}/dream.safetensors", host.url));
    let asks = page.text("#download-asks");
    assert!(asks.contains("This asks 127.0.0.1") && asks.contains("dream.safetensors"), "{asks}");
    page.screenshot("download-1-asks");
    assert_eq!(host.asked(), [""; 0], "nothing goes out before the click");
    page.set("#download-sum", sum_of(&bytes));
    go(&page);
    wait_for_entries(&page, 1);
    assert_eq!(host.cuts_left(), 0);
    assert_eq!(sums_on_disk(&page), json!([sum_of(&bytes)]));
    let asked = host.asked();
    assert_eq!(asked.len(), 21, "{asked:?}");
    assert!(asked[20].contains("range: bytes="), "{asked:?}");
    for told in ["referer", "cookie", "authorization", "OPTIONS"] {
        assert!(!asked.iter().any(|one| one.contains(told)), "{told} went out: {asked:?}");
    }
    page.step("20 cuts, one whole file");

    // what the page itself may do has not changed, and the frame is gone
    let sent = page.browser.run(
        "return fetch(arguments[0]).then(() => 'sent', () => 'refused')",
        json!([format!("{}/dream.safetensors", host.url)]),
    );
    assert_eq!(sent, "refused");
    assert_eq!(host.asked(), [""; 0]);
    page.wait("the frame to go", "return document.querySelector('iframe') === null");
    page.step("the page may ask nobody else, then as before");
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_download_goes_on_after_a_closed_tab_and_a_full_disk() {
    let host = Host::new();
    let bytes = file();
    host.put("/dream.safetensors", bytes.clone());
    host.pause(Duration::from_millis(60));
    let page = Page::new("resume");
    page.open("");
    let (second, first) = page.browser.another_tab();
    page.browser.switch_to(&second);
    page.open("");
    paste(&page, &format!("{}/dream.safetensors", host.url));
    go(&page);
    let far = "return /^(9|1\\d)\\.\\d MB of/.test(document.querySelector('.entry-words')?.textContent ?? '')";
    page.wait("nine megabytes", far);
    page.screenshot("download-2-moving");
    page.browser.close_tab();
    page.browser.switch_to(&first);
    page.browser.reload();
    page.arrived();
    unfold(&page);
    page.wait(
        "the download to stand still",
        "return /^paused at 8\\.\\d MB/.test(document.querySelector('.entry-words')?.textContent ?? '')",
    );
    page.screenshot("download-3-paused");
    page.step("the tab is closed, what came is kept");

    let origin = page.browser.run("return location.origin", json!([]));
    let room = |bytes: u64| {
        let quota = json!({ "origin": origin, "quotaSize": bytes });
        page.browser.devtools("Storage.overrideQuotaForOrigin", quota);
    };
    host.asked();
    room(18_000_000);
    press(&page, "dream", ".entry-use");
    let message = page.take_message();
    assert!(message.contains("room for files is full"), "{message}");
    let asked = host.asked();
    assert!(asked[0].contains("range: bytes=8"), "it begins again where it was: {asked:?}");
    page.step("the disk is full: it stands still and says so");

    room(1_000_000_000);
    press(&page, "dream", ".entry-use");
    wait_for_entries(&page, 1);
    let asked = host.asked();
    assert!(asked[0].contains("range: bytes="), "{asked:?}");
    assert_eq!(sums_on_disk(&page), json!([sum_of(&bytes)]));
    page.step("with room again it becomes whole");

    page.browser.run(
        "return navigator.storage.getDirectory().then((root) => root.getDirectoryHandle('library'))
           .then(async (folder) => {
             for (const name of await Array.fromAsync(folder.keys())) await folder.removeEntry(name);
           })",
        json!([]),
    );
    page.reload();
    page.wait(
        "the file to be missed",
        "return document.querySelector('.entry[data-gone] .entry-words')?.textContent.includes('are gone')",
    );
    host.pause(Duration::ZERO);
    press(&page, "dream", ".entry-use");
    page.wait(
        "the file to be back",
        "return document.querySelector('.entry:not([data-gone])[data-state=whole]')",
    );
    assert_eq!(sums_on_disk(&page), json!([sum_of(&bytes)]));
    page.step("what the browser cleared is fetched again");
    delete(&page, "dream");
    wait_for_entries(&page, 0);
}

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn what_cannot_be_downloaded_is_said() {
    let host = Host::new();
    host.put("/text.safetensors", b"This is a text, whatever it is called.".to_vec());
    host.put("/dream.safetensors", file());
    let page = Page::new("download-refused");
    page.open("");
    let refused = [
        ("/login.safetensors", "Log in there in a tab of its own"),
        ("/elsewhere.safetensors", "a host that you didn't choose"),
        ("/nothing.safetensors", "has no such file"),
        ("/text.safetensors", "is no .safetensors file"),
    ];
    for (path, says) in refused {
        paste(&page, &format!("{}{path}", host.url));
        go(&page);
        let message = page.take_message();
        println!("           {message}");
        assert!(message.contains("was not downloaded") && message.contains(says), "{message}");
        wait_for_entries(&page, 0);
    }
    for (address, says) in [
        ("http://example.org/x.safetensors", "begin with https"),
        ("https://example.org/x.ckpt", "can run code"),
        ("https://huggingface.co/datasets/a/b", "isn't a model's address"),
        ("what?", "no address"),
    ] {
        paste(&page, address);
        let problem = page.text("#download-problem");
        assert!(problem.contains(says), "{address}: {problem}");
        assert!(page.is("return document.querySelector('#download-go').disabled"));
        page.browser.click("#download-form button[value=close]");
    }
    paste(&page, &format!("{}/dream.safetensors", host.url));
    page.set("#download-sum", "0".repeat(64));
    go(&page);
    let message = page.take_message();
    assert!(message.contains("isn't what was promised"), "{message}");
    page.step("another sum than was promised: thrown away");
}

/// What hosts list: in the forms that their interfaces have.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn lists_of_hosts_become_choices() {
    let page = Page::new("addresses");
    page.open("");
    let found = page.browser.run(
        "return import('./web/download/address.js').then(({ readAddress }) => {
           const tree = (path, size, oid) => ({ type: 'file', path, size, ...(oid ? { lfs: { oid, size, pointerSize: 135 } } : {}) });
           const folder = readAddress('huggingface.co/nota-ai/bk-sdm-tiny');
           const files = [tree('model_index.json', 540), tree('scheduler/scheduler_config.json', 300), tree('tokenizer/merges.txt', 524619),
             tree('text_encoder/config.json', 612), tree('text_encoder/model.safetensors', 492, 'aa'), tree('unet/config.json', 1470),
             tree('unet/diffusion_pytorch_model.fp16.safetensors', 647, 'bb'), tree('unet/diffusion_pytorch_model.safetensors', 1290, 'cc'),
             tree('unet/diffusion_pytorch_model.bin', 1290, 'dd'), tree('vae/config.json', 547), tree('vae/diffusion_pytorch_model.safetensors', 334, 'ee'),
             tree('safety_checker/model.safetensors', 1216, 'ff'), { type: 'directory', path: 'unet' }];
           const whole = folder.read(files).choices;
           const one = readAddress('https://huggingface.co/a/b/blob/main/sub/x y.safetensors');
           const single = one.read([tree('sub/x y.safetensors', 2132, 'sum')]).choices;
           const version = readAddress('https://civitai.com/models/12/name?modelVersionId=34');
           const civitai = version.read({ name: 'v2', baseModel: 'SD 1.5', trainedWords: ['night style'], model: { name: 'Night', type: 'LORA' },
             files: [{ name: 'night.safetensors', sizeKB: 1024, type: 'Model', hashes: { SHA256: 'ABC' }, downloadUrl: 'https://civitai.com/api/download/models/34' },
                     { name: 'night.zip', sizeKB: 9, type: 'Training Data', downloadUrl: 'https://civitai.com/api/download/models/34?type=Training' }] });
           return { list: folder.list, hosts: folder.hosts, whole, oneList: one.list, single, civitaiList: version.list, civitai };
         })",
        json!([]),
    );
    assert_eq!(
        found["list"],
        "https://huggingface.co/api/models/nota-ai/bk-sdm-tiny/tree/main?recursive=true"
    );
    assert_eq!(found["whole"].as_array().unwrap().len(), 1, "{}", found["whole"]);
    let whole = &found["whole"][0];
    let paths: Vec<&str> =
        whole["parts"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "tokenizer/merges.txt",
            "text_encoder/config.json",
            "unet/config.json",
            "vae/config.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
        ]
    );
    assert_eq!(
        (&whole["hasTokenizer"], &whole["parts"][6]["wanted"]),
        (&json!(true), &json!("bb"))
    );
    assert_eq!(found["oneList"], "https://huggingface.co/api/models/a/b/tree/main/sub");
    let part = &found["single"][0]["parts"][0];
    assert_eq!(part["url"], "https://huggingface.co/a/b/resolve/main/sub/x%20y.safetensors");
    assert_eq!((&part["size"], &part["wanted"]), (&json!(2132), &json!("sum")));
    assert_eq!(found["civitaiList"], "https://civitai.com/api/v1/model-versions/34");
    let choice = &found["civitai"]["choices"][0];
    assert_eq!(choice["kind"], "adapter");
    assert_eq!(
        (&choice["size"], &choice["parts"][0]["wanted"]),
        (&json!(1_048_576), &json!("ABC"))
    );
    assert_eq!(found["civitai"]["choices"].as_array().unwrap().len(), 1);
}
