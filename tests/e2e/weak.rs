//! WebGPU without what it needn't have: each optional feature, and limits above the defaults, taken
//! away in turn from the adapter and the device (`web/bench/weak.js`).

use serde_json::json;

use crate::page::{Page, assert_says};

/// Wraps the engine's worker: its GPU is weakened before its own module runs, and what device it got is
/// told. Messages that come too early are kept for it. Its script is trusted as the page's own are.
const WEAKER: &str = r#"
const make = TrustedTypePolicyFactory.prototype.createPolicy;
let policy;
TrustedTypePolicyFactory.prototype.createPolicy = function (...rules) { return policy = make.apply(this, rules); };
window.Worker = class extends Worker {
  constructor(url, options) {
    // The library's worker has no GPU.
    if (options.name !== "lorakeet") return super(url, options);
    const engine = new URL("web/worker.js" + location.search, document.baseURI);
    const weak = new URL("web/bench/weak.js", document.baseURI);
    const kind = new URLSearchParams(location.search).get("gpu");
    const text = `
      const early = [];
      const keep = ({ data }) => early.push(data);
      addEventListener("message", keep);
      const { get: limits } = Object.getOwnPropertyDescriptor(GPUDevice.prototype, "limits");
      const { weaken } = await import(${JSON.stringify(weak.href)});
      weaken(${JSON.stringify(kind)});
      const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...wanted) {
        const device = await request.apply(this, wanted);
        const { maxStorageBufferBindingSize: binding, maxBufferSize: buffer, maxComputeInvocationsPerWorkgroup: invocations,
          maxComputeWorkgroupStorageSize: shared, maxStorageBuffersPerShaderStage: buffers } = limits.call(device);
        postMessage({ device: { features: [...device.features].sort(), limits: [binding, buffer, invocations, shared, buffers] } });
        return device;
      };
      await import(${JSON.stringify(engine.href)});
      removeEventListener("message", keep);
      for (const data of early) dispatchEvent(new MessageEvent("message", { data }));`;
    super(policy.createScriptURL(URL.createObjectURL(new Blob([text], { type: "text/javascript" }))), options);
    this.addEventListener("message", ({ data }) => { window.device = data.device ?? window.device; });
  }
};"#;

/// Bytes of a binding and of a buffer, invocations and bytes of a workgroup, buffers of a stage.
const DEFAULTS: [u64; 5] = [128 << 20, 256 << 20, 256, 16 << 10, 8];

#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn webgpu_needs_no_feature_and_no_raised_limit() {
    let page = Page::new("weak");
    page.at_every_load(WEAKER);
    let draw = |query: &str| {
        page.open(query);
        let line = page.text("#capability summary");
        assert!(line.contains(if query.contains("webgpu") { "WebGPU" } else { "CPU" }), "{line}");
        crate::ask_for_reference_run(&page);
        page.set("#steps", 2);
        crate::drop_ink(&page);
        page.generate();
        page.wait_for_strength("1");
        [page.base(), page.now()]
    };
    let cpu = draw("?backend=cpu");
    page.step("the CPU's pictures, to compare with");

    // A bare one has no feature at all, and the limits that are promised everywhere.
    for (kind, lacks) in
        [("no-subgroups", Some("subgroups")), ("no-f16", Some("shader-f16")), ("bare", None)]
    {
        let gpu = draw(&format!("?backend=webgpu&patience=900&gpu={kind}"));
        let device = page.browser.run("return window.device", json!([]));
        println!("           {kind}: {device}");
        let features = device["features"].as_array().unwrap();
        match lacks {
            Some(feature) => assert!(!features.contains(&json!(feature)), "{kind}: {device}"),
            None => assert_eq!(device["limits"], json!(DEFAULTS), "{kind}"),
        }
        // Chromium counts its own set of basic features as one.
        let none = features.iter().all(|feature| feature == "core-features-and-limits");
        assert!(kind != "bare" || none, "{device}");
        let refused = page.text("#capability");
        assert!(!refused.contains("wrongly"), "{kind}: {refused}");
        for (gpu, cpu) in gpu.iter().zip(&cpu) {
            gpu.assert_close(cpu, 4, 0.3, kind);
        }
        page.assert_no_console_errors();
        page.step(&format!("{kind}: WebGPU draws what the CPU draws"));
    }
}

/// A picture that is too large for the GPU is refused before anything is drawn, not after all steps.
#[test]
#[ignore = "needs the built page: cargo xtask test --e2e"]
fn a_picture_too_large_for_the_gpu_is_refused_at_once() {
    let page = Page::new("small");
    page.at_every_load(WEAKER);
    page.open("?backend=webgpu&patience=900&gpu=small-buffers");
    crate::ask_for_reference_run(&page);
    page.set("#steps", 1);
    page.set("#width", 512);
    page.set("#height", 512);
    page.browser.click("#generate");
    let message = page.take_message();
    assert_says(
        &message,
        &["512x512", "16 MiB", "at most 4 MiB", "Choose 256x256", "?backend=cpu"],
    );
    page.set("#width", 256);
    page.set("#height", 256);
    page.generate();
    assert_eq!(page.now().width, 256);
    page.step("what is refused at 512 pixels is drawn at 256, with buffers full to the last byte and in bands");
    page.assert_no_console_errors();
}
