// A stranger's program, for the compiler alone: what it may write, and what it may not.

import { Adapter, Drawing, Lorakeet, filesOfDrop } from "lorakeet";
import { LorakeetTwoUp } from "lorakeet/two-up";

export async function use(event: DragEvent, canvas: HTMLCanvasElement, signal: AbortSignal) {
  const lorakeet = await Lorakeet.open({ backend: "webgpu", memory: "3GB" });
  const threads: number | undefined = lorakeet.device.threads;
  const { report, judged } = await lorakeet.loadModel(await filesOfDrop(event.dataTransfer!), { weights: "f16", signal });
  const adapter: Adapter = await lorakeet.attach(new File([], "ink.safetensors"));
  adapter.strength = 0.8;
  const words: string[] = adapter.report.trigger_words;

  const drawing: Drawing = lorakeet.draw({ prompt: "a cat", steps: 20, seed: 7n, hires: { scale: 2 } }, { signal });
  for await (const { fraction, preview } of drawing) {
    const done: number = fraction;
    if (preview) canvas.getContext("2d")!.putImageData(preview, 0, done);
  }
  const image: ImageData = await drawing;
  const again = lorakeet.draw({ start: { picture: image, strength: 0.5, mask: new Blob() } });
  const size: Promise<[ImageData, string]> = Promise.all([again, Promise.resolve(again.settings.seed)]);

  const training = await lorakeet.train([{ image, caption: "a cat" }], { steps: 50 });
  for await (const { step, evaluation } of training.run({ preview: { prompt: "a cat" }, signal })) {
    const loss: number | undefined = step?.loss ?? evaluation?.train.loss;
    console.log(loss);
  }
  const [file] = await training.export({ format: "diffusers" });
  await lorakeet.attach(file);

  const two: LorakeetTwoUp = document.querySelector("lorakeet-two-up")!;
  two.position = 30;
  two.leftLabel = words[0] ?? report.family.label;

  // @ts-expect-error there is no such setting
  lorakeet.draw({ promt: "a cat" });
  // @ts-expect-error an engine is opened, which takes its time
  new Lorakeet();
  // @ts-expect-error strengths are numbers
  adapter.strength = "strong";
  return { threads, size, weights: judged.weights };
}
