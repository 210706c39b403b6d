// bench.html: measures this machine and shows a table to copy. Nothing is sent anywhere.

import { CASES, getCase } from "./cases.js";
import { adapterName, measure, SOFTWARE } from "./measure.js";
import { raced } from "./raced.js";
import { followVersion } from "../visits.js";
import { cells, HEAD, markdown } from "./table.js";

const PLAN = { least: 3, most: 21, seconds: 20 };
/** `?gpu=default-limits` and the like: as on a weaker GPU (weak.js). */
const gpu = new URLSearchParams(location.search).get("gpu") ?? undefined;
/** @returns {NodeListOf<HTMLInputElement>} */
const all = (selector) => document.querySelectorAll(selector);
/** @returns {any} */
const find = (id) => document.querySelector(`#${id}`);
const rows = [];
let stop = null;

async function start(adapter) {
  stop = new AbortController();
  show(true);
  rows.length = 0;
  render(adapter);
  const wanted = (name) => [...all(`[name=${name}]:checked`)].map(({ value }) => value);
  try {
    for (const id of wanted("case")) {
      const subject = await getCase(id);
      for (const side of wanted("side")) {
        if (stop.signal.aborted) return;
        const tell = (line) => say(`${subject.title}: ${line}`);
        const [entry] = await measure(subject, [side], PLAN, { tell, signal: stop.signal, gpu });
        rows.push(cells(subject, entry));
        render(adapter);
      }
    }
    say("Done.");
  } catch (error) {
    say(`It failed: ${error.message}`);
  } finally {
    show(false);
  }
}

function show(running) {
  find("start").disabled = running;
  find("stop").disabled = !running;
  find("copy").disabled = running || !rows.length;
  document.body.dataset.state = running ? "running" : "ready";
}

function say(line) {
  find("status").textContent = line;
}

function render(adapter) {
  find("head").replaceChildren(...HEAD.map((text) => cell("th", text)));
  find("rows").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    line.replaceChildren(...row.map((text) => cell("td", text)));
    return line;
  }));
  find("markdown").hidden = !rows.length;
  find("markdown").value = `Lorakeet, ${adapter}, ${browser()}\n\n${markdown(rows)}\n`;
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function browser() {
  const brands = navigator.userAgentData?.brands?.filter(({ brand }) => !brand.includes("Not")) ?? [];
  const name = brands.map(({ brand, version }) => `${brand} ${version}`).join(", ");
  return `${name || navigator.userAgent}, ${navigator.hardwareConcurrency} processor threads`;
}

async function page() {
  const gpu = await adapterName();
  const adapter = gpu ?? "no WebGPU";
  find("machine").textContent = `${adapter}; ${browser()}`;
  for (const input of all("[name=case]")) input.nextElementSibling.textContent = CASES[input.value];
  // The page itself would choose so (worker.js).
  const real = gpu !== null && !gpu.endsWith(SOFTWARE);
  const side = (id) => all(`[name=side][value=${id}]`)[0];
  side("ours-webgpu").checked = real;
  side("ours-webgpu").disabled = gpu === null;
  side("ours-cpu").checked = !real;
  find("start").addEventListener("click", () => start(adapter));
  find("stop").addEventListener("click", () => {
    stop?.abort();
    say("Stopping after the step in hand…");
  });
  find("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(find("markdown").value).then(() => say("Copied."), () => find("markdown").select());
  });
  show(false);
}

followVersion(() => document.body.dataset.state === "running", () => say("A new version of Lorakeet is here: load this page anew."));

const query = new URLSearchParams(location.search);
if (query.has("race")) raced(query);
else page();
