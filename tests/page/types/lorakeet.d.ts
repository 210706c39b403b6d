// What the page's module offers to its workers: src/web, as wasm-bindgen writes it when the page is built.
// (base.json has the compiler look here for web/../lorakeet.js.)

import type * as protocol from "../../../web/protocol.js";
import type { Spread } from "../../../web/spread.js";

type Progress = { phase: string, step: number, steps: number, fraction: number, preview?: protocol.Pixels };
type Picture = protocol.Pixels & { seconds: number, notes: string[] };
type Due = { snapshot?: boolean, evaluation?: boolean, preview?: boolean, unmeasured?: string | null };

export default function init(how: { module_or_path: WebAssembly.Module, memory?: WebAssembly.Memory }): Promise<WebAssembly.Exports>;

/** The file beside the module, if `cargo xtask build` cut it in two. */
export const gpuPart: string | undefined;

export function threadMaterial(): { module: WebAssembly.Module, memory: WebAssembly.Memory } | null;
export function threadsReady(helpers: number, sleep: boolean): void;

export class Engine {
  static open(backend: string, kernels?: string, memory?: string): Promise<Engine>;
  kernels(): protocol.Opened["kernels"];
  memory(): protocol.Memory;

  judgeModel(files: protocol.ModelFile[], options: protocol.ModelOptions): protocol.Judged;
  loadModel(files: protocol.ModelFile[], options: protocol.ModelOptions, progress: (done: number, total: number, what: string) => void): protocol.ModelReport;
  addAdapter(name: string, blob: Blob, config: string | null): { id: number, report: protocol.CoverageReport, blocks: string[] };
  setAdapter(id: number, enabled: boolean, unet: number, textEncoder: number): void;
  spreadAdapter(id: number, spread: Partial<Spread>): void;
  removeAdapter(id: number): void;

  countTokens(prompt: string, steps: number, emphasis: string): protocol.TokenCount;
  start(settings: protocol.Settings, pictures?: protocol.StartPixels): void;
  stop(): void;
  pull(): Promise<{ kind: "progress" } & Progress | { kind: "done" } & Picture>;

  trainPreset(name: string): protocol.TrainConfig;
  trainInspect(pictures: ({ name: string } & protocol.Pixels)[]): { name: string, warnings: string[] }[];
  trainEstimate(config: protocol.TrainConfig, counts: { train: number, heldOut: number, class: number }): protocol.Estimate;
  trainBegin(config: protocol.TrainConfig, pictures: protocol.TrainPicture[]): void;
  trainPrepare(): Promise<{ kind: "progress", done: number, total: number, what: string } | { kind: "ready", summary: protocol.Estimate }>;
  trainResume(config: protocol.TrainConfig, dataset: Uint8Array, state: Uint8Array | null): Promise<protocol.Estimate>;
  trainMeasure(): Promise<{ secondsPerStep: number, bytes: number, peakBytes: number }>;
  trainDataset(): Uint8Array;
  trainPull(): Promise<protocol.TrainStep & { due: Due }>;
  trainDue(finished: boolean): Due;
  trainEvaluate(): void;
  trainEvaluationPull(): Promise<{ kind: "progress", fraction: number } | { kind: "evaluation", start?: protocol.Evaluation } & protocol.Evaluation>;
  trainLeaveOneOut(): void;
  trainLeaveOneOutPull(): Promise<{ kind: "progress", picture: string, done: number, pictures: number, fraction: number } | { kind: "leaveOneOut" } & protocol.LeaveOneOut>;
  trainDrew(seconds: number, preview: boolean): void;
  trainState(): Uint8Array;
  trainRestore(state: Uint8Array): number;
  trainPicture(state: Uint8Array | null, strength: number, settings: protocol.Settings): void;
  trainExport(order: protocol.ExportOrder): { files: { name: string, bytes: Uint8Array }[] };
  trainEnd(): void;
}

/** A network alone (bench.html). */
export class Bench {
  static open(backend: string, config: string, block: string | null, weights: Blob): Promise<Bench>;
  run(values: Float32Array, shape: number[], time: Float32Array, context: Float32Array, contextShape: number[]): Promise<Float32Array>;
}
