// Work that shows how things are now.

/**
 * Runs it one at a time; asked for again meanwhile, once more, however often that was. Who asks waits until it is through.
 * @param {() => Promise<void>} work @param {(error: any) => void} failed
 * @returns {() => Promise<void>}
 */
export function onceMore(work, failed) {
  /** @type {?Promise<void>} */
  let running = null;
  let again = false;
  const run = async () => {
    do {
      again = false;
      await work();
    } while (again);
  };
  return () => {
    if (running !== null) again = true;
    else running = run().catch(failed).finally(() => { running = null; });
    return running;
  };
}
