// What an address means: which host is asked for what, what it lists, and which files of that can be used here.

import { counted } from "../format.js";

const HUGGING_FACE = "https://huggingface.co";
/** Where Hugging Face sends on to for large files. */
const HUGGING_FACE_HOSTS = [HUGGING_FACE, "https://*.huggingface.co", "https://*.hf.co"];
/** Civitai keeps its files with Cloudflare and Backblaze. */
const CIVITAI_STORES = ["https://*.r2.cloudflarestorage.com", "https://*.backblazeb2.com"];

const PICKLE = /\.(ckpt|pt|pth|bin|pkl)$/i;
const WEIGHTS = /\.safetensors$/i;

/**
 * @typedef {object} Address
 * @property {string} page              as it was given, without what may identify a person
 * @property {string} host              for people
 * @property {string[]} hosts           that may be asked
 * @property {?string} list             the address of the list to ask for first; null: the file itself is asked for
 * @property {(answer: object) => {choices: Choice[], note: string}} [read]
 * @property {Choice} [choice]          where nothing has to be listed
 *
 * @typedef {object} Choice
 * @property {string} title
 * @property {string} name              of the entry
 * @property {"model"|"adapter"} kind   a guess; the file itself decides
 * @property {boolean} hasTokenizer
 * @property {?number} size             bytes; null: the host tells
 * @property {{path: string, url: string, size: ?number, wanted: ?string}[]} parts
 * @property {string[]} [triggers]
 * @property {?string} [base]
 */

/** @param {string} text @returns {Address}   Throws with words for people. */
export function readAddress(text) {
  const trimmed = text.trim();
  const url = URL.parse?.(trimmed) ?? parsed(/^[\w-]+(\.[\w-]+)+\//.test(trimmed) ? `https://${trimmed}` : trimmed);
  if (!url) throw new Error("This is no address. It begins with https, as in the browser's address line.");
  const here = ["localhost", "127.0.0.1"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && here)) {
    throw new Error("Only addresses that begin with https are asked, so that nobody on the way can change the file.");
  }
  if (url.username || url.password) throw new Error("The address holds a password. Take it out: this page sends none.");
  if (url.host === "huggingface.co" || url.host === "hf.co") return huggingFace(url);
  if (url.host === "civitai.com" || url.host === "civitai.red") return civitai(url);
  return plain(url);
}

function parsed(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function plain(url) {
  const path = nameOf(url);
  refusePickle(path);
  return {
    page: `${url.origin}${url.pathname}`, host: url.host, hosts: [url.origin], list: null,
    choice: single(path, { url: url.href, size: null, wanted: null }),
  };
}

function nameOf(url) {
  const path = decodeURIComponent(url.pathname.split("/").filter(Boolean).at(-1) ?? "") || "model.safetensors";
  return /\.\w{2,12}$/.test(path) ? path : `${path}.safetensors`;
}

function refusePickle(path) {
  if (PICKLE.test(path)) {
    throw new Error("Files of this kind can run code when opened, so Lorakeet doesn't read them. Look for the same model as .safetensors.");
  }
}

/** @returns {Choice} */
function single(path, { url, size, wanted }) {
  const file = path.split("/").at(-1);
  return {
    title: path, name: file.replace(WEIGHTS, ""), kind: "model", hasTokenizer: false, size,
    parts: [{ path: file, url, size, wanted }],
  };
}

// ---- Hugging Face --------------------------------------------------------------------------------

/** /owner/name, /owner/name/tree/revision/folder, /owner/name/(blob|resolve|raw)/revision/path */
function huggingFace(url) {
  const [owner, name, verb, revision = "main", ...rest] = url.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  if (["datasets", "spaces", "docs", "models", "collections"].includes(owner)) {
    throw new Error("This isn't a model's address. A model's is huggingface.co/owner/name.");
  }
  if (!owner || !name) throw new Error("Which model? An address here is huggingface.co/owner/name.");
  const path = rest.join("/");
  const file = ["blob", "resolve", "raw"].includes(verb) ? path : null;
  if (file !== null) refusePickle(file);
  const folder = file === null ? path : path.split("/").slice(0, -1).join("/");
  const encoded = (text) => text.split("/").map(encodeURIComponent).join("/");
  const repository = `${encoded(owner)}/${encoded(name)}`;
  const list = `${HUGGING_FACE}/api/models/${repository}/tree/${encodeURIComponent(revision)}${folder ? `/${encoded(folder)}` : ""}${file === null ? "?recursive=true" : ""}`;
  const at = (wanted) => `${HUGGING_FACE}/${repository}/resolve/${encodeURIComponent(revision)}/${encoded(wanted)}`;
  return {
    page: `${HUGGING_FACE}/${repository}`, host: "huggingface.co", hosts: HUGGING_FACE_HOSTS, list,
    read: (answer) => filesOfTree(answer, `${owner}/${name}`, folder, file, at),
  };
}

/** @param {{type: string, path: string, size: number, lfs?: {oid: string, size: number}}[]} tree */
function filesOfTree(tree, repository, folder, file, at) {
  if (!Array.isArray(tree)) throw new Error("huggingface.co answered with no list of files.");
  const files = tree.filter(({ type }) => type === "file").map(({ path, size, lfs }) => ({
    path, url: at(path), size: lfs?.size ?? size, wanted: lfs?.oid?.replace(/^sha256:/, "") ?? null,
  }));
  if (file !== null) {
    const found = files.find(({ path }) => path === file);
    if (!found) throw new Error(`There is no ${file} in ${repository}.`);
    return { choices: [single(file, found)], note: "" };
  }
  const root = folder ? `${folder}/` : "";
  const whole = files.some(({ path }) => path === `${root}model_index.json`) ? wholeModel(files, root, repository) : null;
  const inside = new Set(whole?.parts.map(({ url }) => url));
  const parts = (path) => whole && /^(unet|vae|text_encoder\w*|safety_checker|image_encoder)\//.test(path.slice(root.length));
  const alone = files.filter(({ path, url }) => WEIGHTS.test(path) && !inside.has(url) && !parts(path));
  const singles = alone.map((found) => single(found.path, found));
  const pickles = files.filter(({ path }) => PICKLE.test(path)).length;
  const choices = [...(whole ? [whole] : []), ...singles];
  if (choices.length === 0) {
    throw new Error(
      `There is nothing in ${repository} that Lorakeet reads: no .safetensors file${pickles ? `, only ${counted(pickles, "file")} of kinds that can run code` : ""}.`,
    );
  }
  return { choices, note: pickles ? `Left out: ${counted(pickles, "file")} of kinds that can run code.` : "" };
}

/** What a diffusers folder has beside its weights. */
const SMALL = [
  /^model_index\.json$/,
  /^(unet|vae|text_encoder(_2)?)\/config\.json$/,
  /^scheduler\/scheduler_config\.json$/,
  /^tokenizer(_2)?\/[^/]+\.(json|txt)$/,
];

/**
 * A diffusers folder: its configs, its tokenizer, and of each network one file of weights, in halves where there is one.
 * @returns {?Choice}
 */
function wholeModel(files, root, repository) {
  const within = files.filter(({ path }) => path.startsWith(root)).map((found) => ({ ...found, path: found.path.slice(root.length) }));
  // Stable Diffusion XL has two
  const second = within.some(({ path }) => path.startsWith("text_encoder_2/")) ? ["text_encoder_2"] : [];
  const weights = ["unet", "vae", "text_encoder", ...second].map((part) => {
    const all = within.filter(({ path }) => path.startsWith(`${part}/`) && WEIGHTS.test(path) && !/non_ema|-of-\d/.test(path));
    return all.find(({ path }) => /\.fp16\.safetensors$/.test(path)) ?? all.find(({ path }) => /\/(diffusion_pytorch_model|model)\.safetensors$/.test(path));
  });
  if (weights.some((found) => !found)) return null;
  const small = within.filter(({ path }) => SMALL.some((pattern) => pattern.test(path)));
  const parts = [...small, ...weights];
  return {
    title: "the whole model, as a diffusers folder", name: repository.split("/").at(-1), kind: "model",
    hasTokenizer: small.some(({ path }) => path.startsWith("tokenizer/")),
    size: parts.reduce((sum, { size }) => sum + size, 0), parts,
  };
}

// ---- Civitai -------------------------------------------------------------------------------------

/** /models/1/name?modelVersionId=2, /api/download/models/2 */
function civitai(url) {
  const download = /^\/api\/download\/models\/(\d+)/.exec(url.pathname);
  const model = /^\/(?:api\/v1\/)?models\/(\d+)/.exec(url.pathname);
  const version = download?.[1] ?? url.searchParams.get("modelVersionId") ?? /^\/api\/v1\/model-versions\/(\d+)/.exec(url.pathname)?.[1];
  if (!version && !model) throw new Error("This isn't a model's address. A model's is civitai.com/models/ and a number.");
  const { origin, host } = url;
  const list = version ? `${origin}/api/v1/model-versions/${Number(version)}` : `${origin}/api/v1/models/${Number(model[1])}`;
  return {
    page: version ? `${origin}/api/download/models/${Number(version)}` : `${origin}/models/${Number(model[1])}`,
    host, hosts: [origin, `https://*.${host}`, ...CIVITAI_STORES], list,
    read: (answer) => filesOfCivitai(answer, origin),
  };
}

/** @returns {{choices: Choice[], note: string}} */
function filesOfCivitai(answer, origin) {
  const versions = answer.modelVersions ?? [answer];
  let left = 0;
  const choices = versions.flatMap((version) => (version.files ?? []).flatMap(({ name, sizeKB, hashes, downloadUrl, type }) => {
    const model = version.model ?? answer;
    if (!WEIGHTS.test(name ?? "") || !downloadUrl) {
      left += 1;
      return [];
    }
    const { pathname, search } = new URL(downloadUrl);
    const choice = single(name, { url: `${origin}${pathname}${search}`, size: null, wanted: hashes?.SHA256 ?? null });
    return [{
      ...choice,
      title: [model?.name, version.name, type !== "Model" && type].filter(Boolean).join(", "),
      kind: model?.type === "Checkpoint" ? "model" : "adapter",
      size: sizeKB ? Math.round(sizeKB * 1024) : null,
      triggers: version.trainedWords ?? [],
      base: version.baseModel ?? null,
    }];
  }));
  if (choices.length === 0) throw new Error("Civitai lists no .safetensors file there.");
  return { choices, note: left ? `Left out: ${counted(left, "file")} that Lorakeet doesn't read.` : "" };
}

// ---- words ---------------------------------------------------------------------------------------

/** What goes out when its list is asked for, or its file. @param {Address} address @param {?Choice} choice */
export function goesOut({ host, hosts }, choice) {
  const others = hosts.length > 1 && choice ? `, and the storage that it sends on to (${hosts.slice(1).map((name) => name.replace(/^https:\/\//, "")).join(", ")}),` : "";
  const what = choice ? (choice.parts.length === 1 ? choice.parts[0].path : `${choice.parts.length} files of ${choice.name}`) : "its list of files";
  return `This asks ${host}${others} for ${what}. Your internet address, this page's address and what every browser says of itself become known to ${others ? "them" : "it"}. No prompt, picture, file, password or cookie is sent.`;
}

/** A host that a person adds by hand. @returns {string} a source for the policy */
export function readHost(text) {
  const trimmed = text.trim().replace(/^https:\/\//, "").replace(/\/.*$/, "").toLowerCase();
  if (!/^(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)+(:\d{1,5})?$/.test(trimmed)) {
    throw new Error(`“${text.trim()}” is no host. One looks like files.example.org.`);
  }
  return `https://${trimmed}`;
}
