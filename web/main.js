// Puts the page together: the engine, the parts of the page, and the controller that wires them.

import { Controller } from "./controller.js";
import { Engine } from "./engine.js";
import { Library } from "./library/library.js";
import { AdapterList } from "./ui/adapter-list.js";
import { CapabilityLine } from "./ui/capability.js";
import { ExportDialog } from "./ui/dialogs.js";
import { DownloadDialog } from "./ui/download-dialog.js";
import { DropTarget } from "./ui/drop-target.js";
import { FamilyPanel } from "./ui/family-panel.js";
import { FocusKeeper } from "./ui/focus.js";
import { GalleryPanel } from "./ui/gallery-panel.js";
import { GenerateForm } from "./ui/generate-form.js";
import { Herald } from "./ui/herald.js";
import { History } from "./ui/history.js";
import { InstallButton } from "./ui/install.js";
import { KeepLine } from "./ui/keep-line.js";
import { LibraryPanel } from "./ui/library-panel.js";
import { LookChoice } from "./ui/look-choice.js";
import { Messages } from "./ui/messages.js";
import { ModelPanel } from "./ui/model-panel.js";
import { OfflineLine } from "./ui/offline.js";
import { PictureSwitches } from "./ui/picture-switches.js";
import { Progress } from "./ui/progress.js";
import { PromptShelf } from "./ui/prompt-shelf.js";
import { QueueLine } from "./ui/queue-line.js";
import { SheetDialog } from "./ui/sheet-dialog.js";
import { Shortcuts } from "./ui/shortcuts.js";
import { StartPanel } from "./ui/start-panel.js";
import { StorageDialog } from "./ui/storage-dialog.js";
import { Tabs } from "./ui/tabs.js";
import { TrainBar } from "./ui/train-bar.js";
import { TrainHeat } from "./ui/train-heat.js";
import { TrainPictures } from "./ui/train-pictures.js";
import { TrainPlot } from "./ui/train-plot.js";
import { TrainPreview } from "./ui/train-preview.js";
import { TrainRuns } from "./ui/train-runs.js";
import { TrainSettings } from "./ui/train-settings.js";
import { TrainTimeline } from "./ui/train-timeline.js";
import { TrainUnseen } from "./ui/train-unseen.js";
import { TwoUp } from "./ui/two-up.js";
import { VersionNotice } from "./ui/version-notice.js";
import { Viewer } from "./ui/viewer.js";
import { Visits } from "./visits.js";

const asked = new URLSearchParams(location.search);
const forced = asked.get("backend");
/** Seconds that the engine may be silent. */
const patience = Number(asked.get("patience")) || undefined;

/** web/too-old.js has said so. */
const tooOld = !document.querySelector("#too-old").hidden;

const messages = new Messages();
const herald = new Herald();
new FocusKeeper();
new InstallButton();
new LookChoice();
const offline = new OfflineLine();

// What nobody expected is told too, and not to the console alone.
const unexpected = (error) => {
  if (error?.name === "AbortError" || tooOld) return;
  messages.error("Something went wrong in this page", `${error?.message ?? error}. What you see may not be whole; save what you need, then reload.`);
};
addEventListener("error", ({ error, message }) => error && unexpected(error ?? message));
addEventListener("unhandledrejection", ({ reason }) => unexpected(reason));

const worker = new URL("./worker.js", import.meta.url);
// `?kernels=off` of the page's address is for the worker
worker.search = location.search;

const controller = new Controller(new Engine({ worker, patience }), new Library(), {
  form: new GenerateForm(),
  switches: new PictureSwitches(),
  gallery: new GalleryPanel(),
  viewer: new Viewer(),
  keys: new Shortcuts(),
  shelf: new PromptShelf(),
  twoUp: new TwoUp(),
  progress: new Progress(),
  history: new History(),
  queue: new QueueLine(),
  sheet: new SheetDialog(),
  start: new StartPanel(),
  adapters: new AdapterList(),
  model: new ModelPanel(),
  family: new FamilyPanel(),
  capability: new CapabilityLine(),
  messages,
  herald,
  drop: new DropTarget(),
  library: {
    panel: new LibraryPanel(),
    dialog: new DownloadDialog(),
    storage: new StorageDialog(),
    keepModel: new KeepLine("#keep-model"),
    keepAdapters: new KeepLine("#keep-adapters"),
  },
  train: {
    tabs: new Tabs(),
    messages,
    herald,
    pictures: new TrainPictures(),
    settings: new TrainSettings(),
    bar: new TrainBar(),
    plot: new TrainPlot(),
    heat: new TrainHeat(),
    preview: new TrainPreview(),
    timeline: new TrainTimeline(),
    unseen: new TrainUnseen(),
    runs: new TrainRuns(),
    exportDialog: new ExportDialog(),
  },
});

const visits = new Visits(new VersionNotice(), () => controller.busy);
if (!tooOld) {
  await visits.begin();
  await controller.start(["webgpu", "cpu"].includes(forced) ? forced : null);
  if (await visits.loaded()) offline.kept();
}
