// What src/web and web/module.js leave for each other in a worker.

/** What a panic had to say. */
declare var lorakeetPanic: string | undefined;

/** Called by the module's stubs. */
declare var lorakeetGpuPart: (() => void) | undefined;
declare var lorakeetGpuBuffers: { readonly bytes: number, takePeak(): number } | undefined;

/** `self` of a worker; the library knows what all kinds of workers have. */
interface WorkerGlobalScope {
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}
