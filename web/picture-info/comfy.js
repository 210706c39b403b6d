// ComfyUI's graph in a picture: the sampler nearest to the picture, and what leads to it. Nodes that compute numbers
// and nodes of others can't all be read; what isn't found stays unsaid.

import { found, numberOr, seedOr, stem } from "./found.js";
import { fromComfy } from "./names.js";
import { absoluteWeights } from "./comfy-weights.js";

/** No graph of a person's is deeper. */
const DEEPEST = 200;
/** Inputs that lead from a picture back to its sampler, nearest first. */
const BACK = ["images", "image", "samples", "pixels", "latent_image", "latent", "input"];
/** Where nodes that only hold a value hold it. */
const HELD = ["value", "text", "string", "seed", "int", "float", "number"];
const TEXTS = ["text", "text_g", "text_l", "string"];
/** Inputs that lead from a sampler back to its texts. */
const CONDITIONS = ["conditioning", "conditioning_1", "conditioning_to", "positive"];

/** @typedef {Record<string, {class_type: string, inputs: Record<string, any>}>} Graph */

/** @param {Graph} graph @returns {?import("./found.js").Found} */
export function readGraph(graph) {
  const nodes = Object.values(graph).filter((node) => node?.inputs);
  const start = nodes.find(({ class_type }) => /^SaveImage|SaveAnimated/.test(class_type)) ?? nodes.find(({ class_type }) => /PreviewImage|Save.*Image/.test(class_type));
  const sampler = (start && samplerBehind(graph, start)) ?? nodes.find(isSampler);
  if (!sampler) return promptsAlone(nodes);
  const { inputs } = sampler;
  const value = (name) => valueOf(graph, inputs[name]);
  const latent = behind(graph, inputs.latent_image, ["samples", "latent", "latent_image", "pixels", "image"], ({ inputs: of }) => numberOr(valueOf(graph, of.width)) !== null);
  const isEmpty = /^Empty/.test(latent?.class_type ?? "") && node(graph, inputs.latent_image) === latent;
  const { adapters, model } = modelBehind(graph, inputs.model);
  const layer = behind(graph, clipOf(graph, inputs.positive), ["clip", "model"], (one) => "stop_at_clip_layer" in one.inputs);
  const denoise = numberOr(value("denoise"));
  const later = numberOr(value("start_at_step"));
  const second = !isEmpty || (later ?? 0) > 0;
  const rest = [
    denoise !== null && denoise !== 1 && `denoise: ${denoise}`,
    later && `start_at_step: ${later}`,
  ].filter((one) => typeof one === "string");
  const notes = second ? ["it was drawn over another picture or in several passes, of which these are the settings of the last"] : [];
  return found("ComfyUI", {
    prompt: promptAt(graph, inputs.positive),
    negativePrompt: promptAt(graph, inputs.negative),
    emphasis: "comfy_ui",
    seed: seedOr(value("seed") ?? value("noise_seed")),
    steps: numberOr(value("steps")),
    guidance: numberOr(value("cfg")),
    sampler: fromComfy(String(value("sampler_name")), value("scheduler")),
    clipSkip: layer ? -(numberOr(valueOf(graph, layer.inputs.stop_at_clip_layer)) ?? -1) : 1,
    width: latent ? numberOr(valueOf(graph, latent.inputs.width)) : null,
    height: latent ? numberOr(valueOf(graph, latent.inputs.height)) : null,
    adapters, model, rest, notes,
  });
}

const isSampler = ({ inputs }) => "sampler_name" in inputs && ("steps" in inputs || "cfg" in inputs);

/** The node that an input is linked to. @param {Graph} graph */
function node(graph, input) {
  const there = Array.isArray(input) ? graph[input[0]] : null;
  return there?.inputs ? there : null;
}

/** Back along these inputs to the first node that is wanted. */
function behind(graph, input, names, isWanted) {
  let at = node(graph, input);
  for (let depth = 0; at && depth < DEEPEST; depth += 1) {
    if (isWanted(at)) return at;
    const { inputs } = at;
    at = node(graph, inputs[names.find((name) => node(graph, inputs[name]))]);
  }
  return null;
}

function samplerBehind(graph, start) {
  const link = start.inputs[BACK.find((name) => node(graph, start.inputs[name]))];
  return behind(graph, link, BACK, isSampler);
}

/** What an input says, be it here or in a node that holds it. */
function valueOf(graph, input, depth = 0) {
  const there = node(graph, input);
  if (!there) return Array.isArray(input) ? undefined : input;
  const name = HELD.find((one) => one in there.inputs);
  return name && depth < DEEPEST ? valueOf(graph, there.inputs[name], depth + 1) : undefined;
}

/** @returns {?string} with the weights that ComfyUI gives its words */
function promptAt(graph, input) {
  const textIn = ({ inputs }) => TEXTS.map((name) => valueOf(graph, inputs[name])).find((one) => typeof one === "string");
  const holder = behind(graph, input, CONDITIONS, (one) => textIn(one) !== undefined);
  const text = holder && textIn(holder);
  return typeof text === "string" ? absoluteWeights(text) : null;
}

/** What the prompt's text encoder is. */
function clipOf(graph, input) {
  return behind(graph, input, CONDITIONS, ({ inputs }) => "clip" in inputs)?.inputs.clip;
}

function modelBehind(graph, input) {
  const adapters = [];
  const last = behind(graph, input, ["model"], ({ inputs }) => {
    if ("lora_name" in inputs) {
      const unet = numberOr(valueOf(graph, inputs.strength_model)) ?? 1;
      const textEncoder = numberOr(valueOf(graph, inputs.strength_clip)) ?? unet;
      adapters.unshift({ name: stem(valueOf(graph, inputs.lora_name)), hash: null, unet, textEncoder });
    }
    return "ckpt_name" in inputs || "unet_name" in inputs;
  });
  const name = last && valueOf(graph, last.inputs.ckpt_name ?? last.inputs.unet_name);
  return { adapters, model: typeof name === "string" ? { name: stem(name), hash: null } : null };
}

/** Of a graph whose sampler can't be read, the texts. */
function promptsAlone(nodes) {
  const texts = nodes.filter(({ class_type, inputs }) => /CLIPTextEncode/.test(class_type) && typeof inputs.text === "string").map(({ inputs }) => inputs.text);
  if (texts.length === 0) return null;
  return found("ComfyUI", {
    prompt: absoluteWeights(texts[0]), emphasis: "comfy_ui", rest: texts.slice(1).map((text) => `text: ${text}`),
    notes: ["its graph has no sampler that can be read, so that only a text was found"],
  });
}

/** What only the editor's graph says: prompts, in the nodes' own fields. @param {{nodes?: any[]}} workflow */
export function readWorkflow({ nodes }) {
  if (!Array.isArray(nodes)) return null;
  return promptsAlone(nodes.map(({ type, widgets_values: [text] = [] }) => ({ class_type: String(type), inputs: { text } })));
}
