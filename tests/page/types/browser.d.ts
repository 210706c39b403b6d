// What browsers have and TypeScript's library doesn't.

declare var trustedTypes: { createPolicy<Rules>(name: string, rules: Rules): Rules } | undefined;

interface GPUAdapter {
  /** Where browsers had it before `info` did. */
  isFallbackAdapter?: boolean;
}

interface Window {
  /** Chromium's, of an installed page. */
  launchQueue?: { setConsumer(take: (launch: { files: FileSystemFileHandle[] }) => void): void };
}

interface Navigator {
  /** Chromium's. */
  userAgentData?: { brands: { brand: string, version: string }[], platform: string };
}

interface FileSystemFileHandle {
  /** Not everywhere. */
  move(name: string): Promise<void>;
}
