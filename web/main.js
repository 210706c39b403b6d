// Puts the page together: the engine, the parts of the page, and the controller that wires them.

import { Controller } from "./controller.js";
import { Engine } from "./engine.js";
import { AdapterList } from "./ui/adapter-list.js";
import { CapabilityLine } from "./ui/capability.js";
import { DropTarget } from "./ui/drop-target.js";
import { GenerateForm } from "./ui/generate-form.js";
import { History } from "./ui/history.js";
import { Messages } from "./ui/messages.js";
import { ModelPanel } from "./ui/model-panel.js";
import { Progress } from "./ui/progress.js";
import { TwoUp } from "./ui/two-up.js";

const forced = new URLSearchParams(location.search).get("backend");

const controller = new Controller(new Engine(), {
  form: new GenerateForm(),
  twoUp: new TwoUp(),
  progress: new Progress(),
  history: new History(),
  adapters: new AdapterList(),
  model: new ModelPanel(),
  capability: new CapabilityLine(),
  messages: new Messages(),
  drop: new DropTarget(),
});

controller.start(["webgpu", "cpu"].includes(forced) ? forced : null);
