// `self` of the service worker; the library knows what all kinds of workers have.

interface WorkerGlobalScope {
  readonly clients: Clients;
  readonly registration: ServiceWorkerRegistration;
  readonly BackgroundFetchManager?: { prototype: any };
  skipWaiting(): Promise<void>;
  addEventListener<Type extends keyof ServiceWorkerGlobalScopeEventMap>(
    type: Type, listener: (event: ServiceWorkerGlobalScopeEventMap[Type]) => void,
  ): void;
}
