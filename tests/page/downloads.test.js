// What an address means, beyond what tests/e2e/download.rs pastes into the dialog; and how fast something comes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { goesOut, readAddress, readHost } from "../../web/download/address.js";
import { Pace } from "../../web/download/pace.js";

const tree = (path, size = 10) => ({ type: "file", path, size });

test("only https is asked, but for this machine; no password goes out", () => {
  assert.throws(() => readAddress("http://example.org/a.safetensors"), /begin with https/);
  assert.throws(() => readAddress("https://me:secret@example.org/a.safetensors"), /holds a password/);
  assert.equal(readAddress("http://localhost:8000/a.safetensors").host, "localhost:8000");
  assert.equal(readAddress("example.org/a.safetensors").hosts[0], "https://example.org");
});

test("the page of a file is told without its query, which may hold a token; the file is asked for with it", () => {
  const { page, choice, list } = readAddress(" https://example.org/m/My%20LoRA.safetensors?token=abc ");
  assert.equal(page, "https://example.org/m/My%20LoRA.safetensors");
  assert.equal(list, null);
  assert.equal(choice.name, "My LoRA");
  assert.equal(choice.parts[0].url, "https://example.org/m/My%20LoRA.safetensors?token=abc");
});

test("files that can run code are refused, on every host", () => {
  for (const address of ["https://example.org/a.ckpt", "https://huggingface.co/a/b/blob/main/a.PT", "https://huggingface.co/a/b/resolve/main/x/a.bin"]) {
    assert.throws(() => readAddress(address), /can run code/, address);
  }
});

test("a folder of a repository lists that folder; branches and names are encoded", () => {
  const { list, read } = readAddress("https://huggingface.co/a/b/tree/my%2Fbranch/sub%20one");
  assert.equal(list, "https://huggingface.co/api/models/a/b/tree/my%2Fbranch/sub%20one?recursive=true");
  const { choices, note } = read([tree("sub one/x.safetensors"), tree("sub one/x.ckpt")]);
  assert.deepEqual(choices.map(({ title }) => title), ["sub one/x.safetensors"]);
  assert.equal(choices[0].parts[0].url, "https://huggingface.co/a/b/resolve/my%2Fbranch/sub%20one/x.safetensors");
  assert.equal(note, "Left out: 1 file of kinds that can run code.");
});

test("SDXL's folder brings both text encoders; one in shards is no whole model, and what there is instead is said", () => {
  const whole = ["model_index.json", "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"];
  const read = (files) => readAddress("huggingface.co/a/b").read(files.map((path) => tree(path)));
  assert.equal(read(whole).choices[0].parts.length, 4);
  const hasWhole = (files) => read(files).choices.some(({ parts }) => parts.length > 1);
  const xl = [...whole, ...["text_encoder", "text_encoder_2"].map((part) => `${part}/config.json`), "text_encoder_2/model.safetensors", "tokenizer_2/vocab.json"];
  assert.equal(read(xl).choices[0].parts.length, xl.length);
  assert.equal(hasWhole([...whole, "text_encoder_2/model-00001-of-00002.safetensors"]), false);
  const shards = whole.map((path) => path.replace("unet/diffusion_pytorch_model", "unet/diffusion_pytorch_model-00001-of-00002"));
  assert.equal(hasWhole([...shards, "lora.safetensors"]), false);
  assert.throws(() => read(["a.ckpt", "b.bin"]), /only 2 files of kinds that can run code/);
});

test("a model of Civitai without a version lists all of them", () => {
  const { list, read } = readAddress("https://civitai.com/models/12/some-name");
  assert.equal(list, "https://civitai.com/api/v1/models/12");
  const file = (id) => ({ name: `v${id}.safetensors`, sizeKB: 1.5, type: "Model", downloadUrl: `https://elsewhere.example/api/download/models/${id}` });
  const { choices } = read({ name: "Night", type: "Checkpoint", modelVersions: [{ name: "2", files: [file(2)] }, { name: "1", files: [file(1)] }] });
  assert.deepEqual(choices.map(({ title, kind, size }) => [title, kind, size]), [["Night, 2", "model", 1536], ["Night, 1", "model", 1536]]);
  // whatever host the list names, this one is asked
  assert.equal(choices[0].parts[0].url, "https://civitai.com/api/download/models/2");
});

test("what goes out names every host that may hear of it", () => {
  const address = readAddress("huggingface.co/a/b");
  assert.match(goesOut(address, null), /^This asks huggingface\.co for its list of files\. .* become known to it\./);
  const { choices } = address.read([tree("x.safetensors")]);
  assert.match(goesOut(address, choices[0]), /sends on to \(\*\.huggingface\.co, \*\.hf\.co\), for x\.safetensors\. .* become known to them\./);
});

test("a host by hand is a host and nothing that a policy could read otherwise", () => {
  assert.equal(readHost(" https://Files.Example.org/a/b "), "https://files.example.org");
  assert.equal(readHost("*.example.org:8443"), "https://*.example.org:8443");
  for (const text of ["*", "localhost", "a.org; script-src *", "'self'", "a b.org", ""]) assert.throws(() => readHost(text), /is no host/, text);
});

test("speed is that of the last seconds; a pause and a new beginning don't count", () => {
  const pace = new Pace();
  pace.add(0, 0);
  assert.equal(pace.speed, null);
  for (let now = 1000; now <= 4000; now += 1000) pace.add(2000 * (now / 1000), now);
  assert.equal(pace.speed, 2000);
  assert.equal(pace.left(10_000), 5);
  pace.add(9000, 60_000); // nothing for a minute
  assert.equal(pace.speed, null);
  pace.add(10_000, 61_000);
  assert.equal(pace.speed, 1000);
  pace.add(0, 62_000); // from the start
  assert.equal(pace.left(1), null);
});
